# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 on one connection: requests one after the other."""
import asyncio
from http import HTTPStatus

from .faults import lines_of
from .messages import Answer, Drop, Request

HEAD_LIMIT = 64 << 10
BODY_LIMIT = 128 << 20  # tests put a whole cluster at once


class Http1:
    def __init__(self, connection):
        self.connection = connection
        self.buffer = bytearray()
        self.arrived = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def receive(self, data):
        self.buffer += data
        self.arrived.set()

    def closed(self):
        self.task.cancel()

    async def _serve(self):
        try:
            while await self._one():
                pass
        except (Drop, ValueError, IndexError):
            pass
        self.connection.drop()

    async def _take(self, size):
        while len(self.buffer) < size:
            await self._more()
        out = bytes(self.buffer[:size])
        del self.buffer[:size]
        return out

    async def _take_until(self, mark):
        while (at := self.buffer.find(mark)) < 0:
            if len(self.buffer) > HEAD_LIMIT:
                raise ValueError("a head beyond the limit")
            await self._more()
        out = bytes(self.buffer[:at])
        del self.buffer[:at + len(mark)]
        return out.decode("latin-1")

    async def _more(self):
        self.arrived.clear()
        await self.arrived.wait()

    async def _one(self):
        """One request and its answer. False: the connection is to be closed."""
        lines = (await self._take_until(b"\r\n\r\n")).split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            await self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await self._body(headers)
        request = Request(method, target, headers, body, self.connection.certificate, "HTTP/1.1")
        out = await self.connection.server.answer(request)
        close = headers.get("connection", "").lower() == "close"
        await self._send(out, close)
        return not close

    async def _body(self, headers):
        if headers.get("transfer-encoding", "").lower() != "chunked":
            size = int(headers.get("content-length", 0))
            if size > BODY_LIMIT:
                raise ValueError("a body beyond the limit")
            return await self._take(size)
        body = b""
        while size := int((await self._take_until(b"\r\n")).partition(";")[0], 16):
            body += await self._take(size)
            await self._take(2)
        await self._take_until(b"\r\n")
        return body

    async def _send(self, out, close):
        fields = {"Content-Type": out.content_type, "Date": self.connection.date()} | out.headers
        if isinstance(out, Answer):
            fields["Content-Length"] = str(len(out.body))
        else:
            fields["Transfer-Encoding"] = "chunked"
        if close:
            fields["Connection"] = "close"
        head = f"HTTP/1.1 {out.status} {HTTPStatus(out.status).phrase}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
        if isinstance(out, Answer):
            await self.connection.write(head.encode("latin-1") + out.body)
            return
        await self.connection.write(head.encode("latin-1"))
        async for part in lines_of(out):
            await self.connection.write(b"%x\r\n%s\r\n" % (len(part), part))
        await self.connection.write(b"0\r\n\r\n")

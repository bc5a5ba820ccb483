#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Both ends of the soak's traffic: HTTP/1 with and without chunks, slow readers, upgrades, HTTP/2 with resets, gRPC calls
and streams, and the scale test's byte connections. What an exchange carries follows from its number, so either end sees
corruption. The client prints one JSON document when its stop file appears."""
import asyncio
import collections
import json
import os
import random
import resource
import socket
import sys
import time

import grpc
import h2.config
import h2.connection
import h2.events
import traffic
from traffic import content, read_all

HTTP1, HTTP2, GRPC = 2, 3, 4  # ports, from the byte connections' on (traffic.py has that one and the next)
REQUESTS = 5  # on one HTTP/1 connection
STREAMS = 4  # on one HTTP/2 connection, of which the last is reset
MESSAGES = 6  # on one gRPC stream


def sizes(number, most=60_000):
    chosen = random.Random(number)
    return chosen.randrange(1, most), chosen.randrange(1, most)


def expect(got, number, size, what):
    if bytes(got) != content(number, size):
        raise ValueError(f"{what}: {len(got)} of {size} bytes, or others")


# ---- HTTP/1

async def read_head(reader):
    """First line and fields (lower case); "" at the end of the connection."""
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return "", {}
    first, *lines = text[:-4].split("\r\n")
    return first, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def read_exactly(reader, size, slow):
    """And nothing of what follows."""
    if not slow:
        return await reader.readexactly(size)
    got = b""
    while len(got) < size:
        got += await reader.readexactly(min(2048, size - len(got)))
        await asyncio.sleep(0.002)
    return got


async def read_body(reader, fields, slow=False):
    if "chunked" not in fields.get("transfer-encoding", ""):
        return await read_exactly(reader, int(fields.get("content-length", "0")), slow)
    body = b""
    while size := int(await reader.readline(), 16):
        body += await read_exactly(reader, size, slow)
        await reader.readline()
    await reader.readline()
    return body


def write_message(writer, first, body, chunked):
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
    writer.write(f"{first}\r\n{length}\r\n\r\n".encode())
    if chunked:
        for at in range(0, len(body), 7000):
            piece = body[at:at + 7000]
            writer.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
        writer.write(b"0\r\n\r\n")
    else:
        writer.write(body)


async def serve_http1(reader, writer):
    while True:
        first, fields = await read_head(reader)
        if not first:
            return
        number = int(first.split()[1].strip("/"))
        up, down = sizes(number)
        if "upgrade" in fields:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            expect(await reader.readexactly(up), number, up, "upgraded")
            writer.write(content(number + 1, down))
            await writer.drain()
            writer.write_eof()
            return
        expect(await read_body(reader, fields), number, up, "request")
        write_message(writer, "HTTP/1.1 200 OK", content(number + 1, down), number % 2)
        await writer.drain()


async def http1(host, port, number, slow=False):
    reader, writer = await asyncio.open_connection(host, port + HTTP1, limit=1 << 18)
    try:
        for each in range(number, number + REQUESTS):
            up, down = sizes(each)
            write_message(writer, f"POST /{each} HTTP/1.1\r\nhost: soak", content(each, up), each % 3 == 0)
            await writer.drain()
            first, fields = await read_head(reader)
            if " 200 " not in first:
                raise ValueError(f"answered {first!r} {fields.get('l5d-proxy-error', '')}")
            expect(await read_body(reader, fields, slow), each + 1, down, "answer")
    finally:
        writer.close()


async def slow_http1(host, port, number):
    await http1(host, port, number, True)


async def upgrade(host, port, number):
    up, down = sizes(number)
    reader, writer = await asyncio.open_connection(host, port + HTTP1, limit=1 << 18)
    try:
        writer.write(f"GET /{number} HTTP/1.1\r\nhost: soak\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                     "sec-websocket-version: 13\r\nsec-websocket-key: c29ha3MgYSB3aG9sZSBkYQ==\r\n\r\n".encode())
        first, _ = await read_head(reader)
        if " 101 " not in first:
            raise ValueError(f"answered {first!r}")
        writer.write(content(number, up))
        await writer.drain()
        expect(await read_all(reader, down + 1, False), number + 1, down, "upgraded")
    finally:
        writer.close()


# ---- HTTP/2

class Http2:
    """One end of a connection: sends bodies as the windows allow."""

    def __init__(self, reader, writer, client):
        self.reader, self.writer = reader, writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.unsent = {}  # stream -> the rest of its body

    async def flush(self):
        for stream, body in list(self.unsent.items()):
            while body and (room := min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)) > 0:
                self.h2.send_data(stream, body[:room])
                body = body[room:]
            self.unsent[stream] = body
            if not body:
                self.h2.end_stream(stream)
                del self.unsent[stream]
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def events(self):
        """Until the connection ends."""
        await self.flush()
        while data := await self.reader.read(65536):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                yield event
            await self.flush()


async def serve_http2(reader, writer):
    end = Http2(reader, writer, False)
    numbers, bodies = {}, {}
    async for event in end.events():
        stream = getattr(event, "stream_id", 0)
        if isinstance(event, h2.events.RequestReceived):
            numbers[stream], bodies[stream] = int(dict(event.headers)[":path"].strip("/")), bytearray()
        elif isinstance(event, h2.events.DataReceived):
            bodies[stream] += event.data
        elif isinstance(event, h2.events.StreamReset):
            for streams in (numbers, bodies, end.unsent):
                streams.pop(stream, None)
        elif isinstance(event, h2.events.StreamEnded):
            number = numbers.pop(stream)
            up, down = sizes(number)
            expect(bodies.pop(stream), number, up, "request")
            end.h2.send_headers(stream, [(":status", "200")])
            end.unsent[stream] = content(number + 1, down)


async def http2(host, port, number):
    reader, writer = await asyncio.open_connection(host, port + HTTP2, limit=1 << 18)
    try:
        end = Http2(reader, writer, True)
        wanted, bodies = {}, {}
        for each in range(number, number + STREAMS):
            stream = end.h2.get_next_available_stream_id()
            end.h2.send_headers(stream, [(":method", "POST"), (":scheme", "http"), (":authority", "soak"), (":path", f"/{each}")])
            up, _ = sizes(each)
            if each == number + STREAMS - 1:
                end.h2.send_data(stream, content(each, up)[:min(up // 2, 10_000)])
                end.h2.reset_stream(stream, 8)
            else:
                wanted[stream], bodies[stream], end.unsent[stream] = each, bytearray(), content(each, up)
        async for event in end.events():
            stream = getattr(event, "stream_id", 0)
            if isinstance(event, h2.events.ResponseReceived) and dict(event.headers)[":status"] != "200":
                raise ValueError(f"answered {event.headers}")
            if isinstance(event, h2.events.DataReceived) and stream in bodies:
                bodies[stream] += event.data
            elif isinstance(event, h2.events.StreamReset) and stream in wanted:
                raise ValueError(f"reset with {event.error_code}")
            elif isinstance(event, h2.events.StreamEnded) and stream in wanted:
                each = wanted.pop(stream)
                expect(bodies.pop(stream), each + 1, sizes(each)[1], "answer")
                if not wanted:
                    return
        raise ValueError(f"the connection ended before {len(wanted)} answers")
    finally:
        writer.close()


# ---- gRPC, its messages as bytes: a number, then what belongs to it

def message(number):
    return number.to_bytes(8, "big") + content(number, sizes(number)[0])


def answer_to(request):
    number = int.from_bytes(request[:8], "big")
    expect(request[8:], number, sizes(number)[0], "message")
    return content(number + 1, sizes(number)[1])


async def answer_call(request, _):
    return answer_to(request)


async def answer_stream(requests, _):
    async for request in requests:
        yield answer_to(request)


def grpc_server(port):
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("soak.Soak", {
        "Call": grpc.unary_unary_rpc_method_handler(answer_call),
        "Stream": grpc.stream_stream_rpc_method_handler(answer_stream)}),))
    server.add_insecure_port(f"[::]:{port}")
    return server


async def grpc_calls(host, port, number):
    async with grpc.aio.insecure_channel(f"{host}:{port + GRPC}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary("/soak.Soak/Call")
        expect(await call(message(number)), number + 1, sizes(number)[1], "answer")
        numbers = range(number, number + MESSAGES)
        each = iter(numbers)
        async for got in channel.stream_stream("/soak.Soak/Stream")(message(one) for one in numbers):
            sent = next(each)
            expect(got, sent + 1, sizes(sent)[1], "streamed")
        if next(each, None) is not None:
            raise ValueError("the stream ended early")


# ---- all of it

async def byte_connection(host, port, number):
    if bad := await traffic.connect_one(host, port, number // len(KINDS)):
        raise ValueError(bad)


KINDS = {"bytes": byte_connection, "http1": http1, "slow http1": slow_http1, "upgrade": upgrade, "http2": http2, "grpc": grpc_calls}


def told(serve):
    """A server's handler that says what was wrong."""
    async def handle(reader, writer):
        try:
            await serve(reader, writer)
        except (ValueError, KeyError) as error:
            print(f"BAD {serve.__name__}: {error}", flush=True)
        except (OSError, asyncio.IncompleteReadError):
            pass  # a client that was ended in the middle; others say themselves what they miss
        finally:
            writer.close()
    return handle


async def serve(port):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    handlers = {port: traffic.serve_one, port + 1: traffic.idle_one, port + HTTP1: told(serve_http1), port + HTTP2: told(serve_http2)}
    for each, handler in handlers.items():
        listener = socket.create_server(("::", each), family=socket.AF_INET6, dualstack_ipv6=True)
        await asyncio.start_server(handler, sock=listener, limit=1 << 18, backlog=4096)
    server = grpc_server(port + GRPC)
    await server.start()
    await server.wait_for_termination()


async def load(hosts, port, first, parallel, rate, stop):
    """Exchanges of every kind with every host, about `rate` a second, until the file `stop` exists."""
    done, errors = collections.Counter(), collections.Counter()
    names = list(KINDS)

    async def work(number):
        while not os.path.exists(stop):
            begin = time.monotonic()
            kind = names[number % len(names)]
            try:
                await asyncio.wait_for(KINDS[kind](hosts[number // len(names) % len(hosts)], port, number), 60)
                done[kind] += 1
            except (OSError, ValueError, asyncio.TimeoutError, asyncio.IncompleteReadError, grpc.aio.AioRpcError) as error:
                errors[f"{kind}: {type(error).__name__} {str(error)[:200]}"] += 1
            number += parallel
            await asyncio.sleep(max(0, parallel / rate - (time.monotonic() - begin)))

    await asyncio.gather(*(work(first + each) for each in range(parallel)))
    print(json.dumps({"done": done, "errors": errors}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
    else:
        asyncio.run(load(sys.argv[2].split(","), *(int(word) for word in sys.argv[3:7]), sys.argv[7]))

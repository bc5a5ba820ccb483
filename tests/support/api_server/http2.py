# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 on one connection: requests beside each other."""
import asyncio

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import GoAwayFrame

from .faults import lines_of
from .messages import Answer, Drop, Request, Reset

STREAMS = 250  # at once, as the real server has it
CLOSED_AFTER = 1.0  # seconds from the last answer after a farewell, as the real server has it


class Http2:
    def __init__(self, connection):
        self.connection = connection
        self.loop = asyncio.get_running_loop()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS})
        self.incoming = {}  # stream -> [headers, body]
        self.tasks = {}  # stream -> task
        self.opened = asyncio.Event()  # a window may have opened
        self.last = 0  # the newest stream
        self.leaving = False  # the client was told to go elsewhere
        self._flush()

    def receive(self, data):
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self._flush()
            self.connection.drop()
            return
        for event in events:
            self._on(event)
        self._flush()

    def closed(self):
        for task in list(self.tasks.values()):
            task.cancel()

    def _on(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.incoming[event.stream_id] = [event.headers, bytearray()]
        elif isinstance(event, h2.events.DataReceived):
            if event.stream_id in self.incoming:
                self.incoming[event.stream_id][1] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._begin(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.incoming.pop(event.stream_id, None)
            if task := self.tasks.pop(event.stream_id, None):
                task.cancel()
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self.opened.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.connection.drop()

    def _begin(self, stream):
        fields, body = self.incoming.pop(stream)
        if self.leaving:
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        self.last = stream
        headers = dict(fields)
        request = Request(headers.pop(":method"), headers.pop(":path"), headers, bytes(body), self.connection.certificate, "HTTP/2")
        task = self.loop.create_task(self._serve(stream, request))
        self.tasks[stream] = task
        task.add_done_callback(lambda _: self._ended(stream))

    def _ended(self, stream):
        self.tasks.pop(stream, None)
        if self.leaving and not self.tasks:
            # Closed at once, what is on its way to the client would be lost with a reset.
            self.loop.call_later(CLOSED_AFTER, self.connection.drop)

    def _say_farewell(self):
        """The library's own GOAWAY ends the connection at once; running requests are to be answered."""
        if not self.leaving:
            self.leaving = True
            self.connection.transport.write(GoAwayFrame(0, last_stream_id=self.last).serialize())

    async def _serve(self, stream, request):
        try:
            out = await self.connection.server.answer(request)
            if out.farewell:
                self._say_farewell()
            fields = {"content-type": out.content_type, "date": self.connection.date()} | {
                name.lower(): value for name, value in out.headers.items()}
            if isinstance(out, Answer):
                fields["content-length"] = str(len(out.body))
            self.h2.send_headers(stream, [(":status", str(out.status)), *fields.items()])
            if isinstance(out, Answer):
                await self._send(stream, out.body)
            else:
                self._flush()
                async for part in lines_of(out):
                    await self._send(stream, part)
            self.h2.end_stream(stream)
            self._flush()
        except Reset:
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            self._flush()
        except Drop:
            self.connection.drop()
        except h2.exceptions.ProtocolError:
            pass  # the client has reset the stream, or the connection ends

    async def _send(self, stream, data):
        while data:
            size = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data))
            if size <= 0:
                self.opened.clear()
                await self.opened.wait()
                continue
            self.h2.send_data(stream, data[:size])
            data = data[size:]
            await self.connection.write(self.h2.data_to_send())

    def _flush(self):
        if data := self.h2.data_to_send():
            self.connection.transport.write(data)

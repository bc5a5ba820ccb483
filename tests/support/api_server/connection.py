# SPDX-License-Identifier: Apache-2.0
"""Connections: TLS is asyncio's, ALPN decides which HTTP is spoken."""
import asyncio
import time

from .http1 import Http1
from .http2 import Http2


class Connection(asyncio.Protocol):
    """server: what answers; connections: the set that it is in while it lives."""

    def __init__(self, server, connections):
        self.server = server
        self.connections = connections
        self.transport = None
        self.certificate = None
        self.http = None
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport):
        self.transport = transport
        self.connections.add(self)
        tls = transport.get_extra_info("ssl_object")
        self.certificate = transport.get_extra_info("peercert")
        self.http = (Http2 if tls and tls.selected_alpn_protocol() == "h2" else Http1)(self)

    def data_received(self, data):
        self.http.receive(data)

    def connection_lost(self, _error):
        self.connections.discard(self)
        self.writable.set()
        self.http.closed()

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()

    async def write(self, data):
        await self.writable.wait()
        self.transport.write(data)

    def drop(self):
        """What was written before is sent."""
        if self.transport.get_write_buffer_size() == 0:
            self.transport.abort()
        else:
            self.transport.close()

    @staticmethod
    def date():
        return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())

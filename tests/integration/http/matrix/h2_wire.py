# SPDX-License-Identifier: Apache-2.0
"""One HTTP/2 connection on a socket, for either side: sends what is queued as windows allow, gathers what comes."""

import socket
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings


@dataclass
class Received:
    """What came of one stream."""

    fields: list = field(default_factory=list)
    interim: list = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: list = field(default_factory=list)
    ended: bool = False
    reset: int = -1

    def over(self):
        return self.ended or self.reset >= 0


@dataclass
class Sending:
    body: bytes
    trailers: list
    at: int = 0


class Ended(Exception):
    """The connection was closed by the peer."""


class Connection:
    def __init__(self, sock, client):
        self.sock = sock
        config = h2.config.H2Configuration(client_side=client, header_encoding=None, normalize_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.streams = {}
        self.sending = {}
        self.went_away = False  # the peer said GOAWAY
        self.flush()

    def flush(self):
        if data := self.h2.data_to_send():
            self.sock.sendall(data)

    def head(self, stream, fields, end=False):
        self.h2.send_headers(stream, fields, end_stream=end)

    def content(self, stream, body, trailers=()):
        """The rest of the message, as the windows allow."""
        self.sending[stream] = Sending(body, list(trailers))
        self.pump()

    def pump(self):
        for stream in list(self.sending):
            try:
                self.send_some(stream)
            except (h2.exceptions.StreamClosedError, h2.exceptions.NoSuchStreamError):
                self.sending.pop(stream, None)
        self.flush()

    def send_some(self, stream):
        left = self.sending[stream]
        while left.at < len(left.body):
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                return
            part = left.body[left.at : left.at + room]
            left.at += len(part)
            last = left.at == len(left.body) and not left.trailers
            self.h2.send_data(stream, part, end_stream=last)
        if left.trailers:
            self.h2.send_headers(stream, left.trailers, end_stream=True)
        elif not left.body:
            self.h2.send_data(stream, b"", end_stream=True)
        del self.sending[stream]

    def receive(self):
        """Waits for bytes; the streams of which something came."""
        got = self.sock.recv(256 * 1024)
        if not got:
            raise Ended("the connection was closed")
        return self.take(got)

    def take(self, got):
        touched = []
        for event in self.h2.receive_data(got):
            number = getattr(event, "stream_id", None)
            if not number:
                if isinstance(event, h2.events.ConnectionTerminated):
                    self.went_away = True
                    if event.error_code:
                        raise Ended(f"GOAWAY {event.error_code}")
                    # No new streams; h2 would let those that run not go on either.
                    self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
                continue
            self.note(self.streams.setdefault(number, Received()), event)
            touched.append(number)
        self.pump()
        return touched

    def note(self, stream, event):
        if isinstance(event, (h2.events.RequestReceived, h2.events.ResponseReceived)):
            stream.fields = [(bytes(n), bytes(v)) for n, v in event.headers]
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream.interim.append([(bytes(n), bytes(v)) for n, v in event.headers])
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            stream.trailers = [(bytes(n), bytes(v)) for n, v in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = int(event.error_code)
            self.sending.pop(event.stream_id, None)


def connect(address):
    sock = socket.create_connection(address, timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(sock, True)

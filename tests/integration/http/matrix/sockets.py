# SPDX-License-Identifier: Apache-2.0
"""WebSocket's way from HTTP to bytes (RFC 6455), granted and refused, through heddle."""

import base64
import hashlib
import os
import struct

import h1_wire as wire
from listening import Listening

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MESSAGES = 50


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def write_message(payload, mask):
    size = len(payload)
    head = bytes([0x82]) + (bytes([mask << 7 | size]) if size < 126 else bytes([mask << 7 | 126]) + struct.pack("!H", size))
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def read_message(reader):
    first, second = reader.exactly(2)
    size = second & 0x7F
    if size == 126:
        size = struct.unpack("!H", reader.exactly(2))[0]
    key = reader.exactly(4) if second & 0x80 else b"\0\0\0\0"
    return first & 0x0F, bytes(byte ^ key[i % 4] for i, byte in enumerate(reader.exactly(size)))


class Server(Listening):
    """/chat: greets and echoes. /refuse/STATUS: does not switch. /plain: does not know how to."""

    def __init__(self):
        self.trouble = []
        super().__init__()

    def serve(self, sock):
        reader = wire.Reader(sock)
        with sock:
            try:
                while (reader.buffer or reader.fill()) and self.answer(sock, reader):
                    pass
            except OSError:
                pass
            except (wire.Broken, ValueError) as error:
                self.trouble.append(f"the WebSocket server read: {error}")

    def answer(self, sock, reader):
        path, fields = reader.line().split(b" ")[1], reader.fields()
        if path == b"/plain":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")
            return True
        if path.startswith(b"/refuse/"):
            sock.sendall(b"HTTP/1.1 %s Refused\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 6\r\n\r\nrefuse" %
                         path[8:])
            return True
        wanted = [value.lower() for value in wire.values(fields, b"upgrade")]
        if wanted != [b"websocket"] or b"upgrade" not in b",".join(wire.values(fields, b"connection")).lower():
            raise wire.Broken(f"no wish to switch in {fields}")
        key = wire.values(fields, b"sec-websocket-key")[0]
        # The greeting in one piece with the head.
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
                     accept_of(key) + b"\r\nSec-WebSocket-Protocol: chat\r\n\r\n" + write_message(b"welcome", False))
        while True:
            kind, payload = read_message(reader)
            if kind == 8:
                sock.sendall(bytes([0x88, 0]))
                return False
            sock.sendall(write_message(payload[::-1], False))


class Checks:
    def __init__(self):
        self.server = Server()
        self.problems = []

    def run(self, way, address):
        checks = (self.chat, self.eager, self.refused, self.plain)
        for check in checks:
            try:
                for what, want, got in check(address):
                    if want != got:
                        self.problems.append(f"{way}: {check.__name__}: {what}: {got!r} instead of {want!r}")
            except (wire.Broken, OSError, ValueError, IndexError) as error:
                self.problems.append(f"{way}: {check.__name__}: {error!r}")
        return len(checks)

    @staticmethod
    def ask(address, path, more=b""):
        sock = wire.connect(address)
        key = base64.b64encode(os.urandom(16))
        sock.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: web.test\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
                     b"Sec-WebSocket-Key: " + key + b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n" + more)
        return sock, wire.Reader(sock), key

    def chat(self, address, more=b"", early=0):
        sock, reader, key = self.ask(address, b"/chat", more)
        with sock:
            yield "status", b"101", reader.line().split(b" ")[1]
            fields = reader.fields()
            yield "accept", [accept_of(key)], wire.values(fields, b"sec-websocket-accept")
            yield "protocol", [b"chat"], wire.values(fields, b"sec-websocket-protocol")
            yield "upgrade", [b"websocket"], [value.lower() for value in wire.values(fields, b"upgrade")]
            yield "connection", [b"upgrade"], [value.lower() for value in wire.values(fields, b"connection")]
            yield "greeting", (2, b"welcome"), read_message(reader)
            for number in range(early):
                yield "early echo", (2, (b"%d early" % number)[::-1]), read_message(reader)
            for number in range(MESSAGES):
                payload = b"%d " % number + b"p" * (number * 500)
                sock.sendall(write_message(payload, True))
                yield "echo", (2, payload[::-1]), read_message(reader)
            sock.sendall(bytes([0x88, 0x80, 1, 2, 3, 4]))
            yield "close", (8, b""), read_message(reader)
            yield "end", b"", reader.rest()

    def eager(self, address):
        """Sends messages before it knows that it may."""
        yield from self.chat(address, b"".join(write_message(b"%d early" % number, True) for number in range(3)), 3)

    def refused(self, address):
        for status in (b"426", b"403", b"404", b"503"):
            sock, reader, _ = self.ask(address, b"/refuse/" + status)
            with sock:
                message, _ = wire.read_response_head(reader, "GET")
                wire.read_content(reader, message, True)
                yield "status", status, message.line.split(b" ")[1]
                yield "content", b"refuse", message.body
                wanted = [b"websocket"] if status == b"426" else []  # RFC 9110 15.5.22
                yield status.decode() + " upgrade", wanted, wire.values(message.fields, b"upgrade")

    def plain(self, address):
        """A server that does not switch answers as ever."""
        sock, reader, _ = self.ask(address, b"/plain")
        with sock:
            message, _ = wire.read_response_head(reader, "GET")
            wire.read_content(reader, message, True)
            yield "status", b"200", message.line.split(b" ")[1]
            yield "content", b"plain", message.body

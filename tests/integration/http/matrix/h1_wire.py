# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 as bytes on sockets: written exactly as a case says, read without forgiving anything."""

import socket
from dataclasses import dataclass, field


class Broken(Exception):
    """What came is no HTTP/1 message, or ended before it was whole."""


class Reader:
    """Reads messages off a socket; knows whether the peer has closed."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()
        self.ended = False

    def fill(self):
        if self.ended:
            return False
        try:
            got = self.sock.recv(256 * 1024)
        except ConnectionError:
            got = b""
        if not got:
            self.ended = True
            return False
        self.buffer += got
        return True

    def line(self):
        while True:
            end = self.buffer.find(b"\r\n")
            if end >= 0:
                text = bytes(self.buffer[:end])
                del self.buffer[: end + 2]
                return text
            if not self.fill():
                raise Broken(f"ended within a line: {bytes(self.buffer[:80])!r}")

    def exactly(self, size):
        while len(self.buffer) < size:
            if not self.fill():
                raise Broken(f"ended {size - len(self.buffer)} bytes early")
        text = bytes(self.buffer[:size])
        del self.buffer[:size]
        return text

    def rest(self):
        while self.fill():
            pass
        text = bytes(self.buffer)
        self.buffer.clear()
        return text

    def fields(self):
        found = []
        while text := self.line():
            name, colon, value = text.partition(b":")
            if not colon or not name or name != name.strip():
                raise Broken(f"no field line: {text!r}")
            found.append((name, value.strip(b" \t")))
        return found

    def chunks(self):
        body = bytearray()
        while size := int(self.line().split(b";")[0], 16):
            body += self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise Broken("a chunk without its end")
        return bytes(body), self.fields()


def values(fields, name):
    return [value for each, value in fields if each.lower() == name]


def is_chunked(fields):
    return values(fields, b"transfer-encoding") == [b"chunked"]


@dataclass
class Message:
    """A request or response as somebody received it."""

    line: bytes
    fields: list
    body: bytes = b""
    trailers: list = field(default_factory=list)
    framing: str = "none"
    interim: list = field(default_factory=list)  # of a response: (status, fields) of the 1xx before it
    continued: bool = False  # of a response: content was only sent after 100


def read_content(reader, message, until_close):
    lengths = values(message.fields, b"content-length")
    if is_chunked(message.fields):
        message.framing = "chunked"
        message.body, message.trailers = reader.chunks()
    elif lengths:
        message.framing = "sized"
        message.body = reader.exactly(int(lengths[0]))
    elif until_close:
        message.framing = "until close"
        message.body = reader.rest()


def read_response_head(reader, method):
    """The head, after any interim ones; true with it if content follows."""
    interim = []
    while True:
        message = Message(reader.line(), reader.fields())
        status = int(message.line.split(b" ")[1])
        if status >= 200 or status == 101:
            break
        interim.append((status, message.fields))
    message.interim = interim
    bodyless = method == "HEAD" or status in (101, 204, 304)
    return message, not bodyless


def write_chunked(body, sizes, trailers, extension=b""):
    out = bytearray()
    at = turn = 0
    while at < len(body):
        size = min(sizes[turn % len(sizes)], len(body) - at)
        out += b"%x%s\r\n" % (size, extension) + body[at : at + size] + b"\r\n"
        at += size
        turn += 1
    out += b"0\r\n" + b"".join(b"%s: %s\r\n" % each for each in trailers) + b"\r\n"
    return bytes(out)


def connect(address):
    sock = socket.create_connection(address, timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def will_close(version, fields):
    options = b",".join(values(fields, b"connection")).lower()
    if b"close" in options:
        return True
    return version == b"HTTP/1.0" and b"keep-alive" not in options

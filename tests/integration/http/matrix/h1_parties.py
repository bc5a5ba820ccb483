# SPDX-License-Identifier: Apache-2.0
"""The server and the client of the HTTP/1 exchanges: both do what the case says, and keep what they received."""

import re
import threading

import h1_wire as wire
from listening import Listening

BODYLESS = (204, 304)


def request_head(case):
    fields = ([(b"Host", case.host.encode())] if case.host else []) + list(case.fields)
    if case.framing == "sized":
        fields.append((b"Content-Length", b"%d" % len(case.body)))
    if case.framing in ("chunked", "trailers"):
        fields.append((b"Transfer-Encoding", b"chunked"))
    if case.expect:
        fields.append((b"Expect", b"100-continue"))
    return head(f"{case.method} {case.target} {case.version}", fields)


def request_content(case):
    if case.framing == "sized":
        return case.body
    if case.framing in ("chunked", "trailers"):
        trailers = case.trailers if case.framing == "trailers" else []
        return wire.write_chunked(case.body, case.chunks, trailers, case.extension)
    return b""


def head(line, fields):
    return line.encode("latin-1") + b"\r\n" + b"".join(b"%s: %s\r\n" % each for each in fields) + b"\r\n"


def answer_framing(case, version):
    """A server has no chunks for a client of HTTP/1.0."""
    if version == b"HTTP/1.0" and case.answer_framing in ("chunked", "trailers"):
        return "until close"
    return case.answer_framing


def answer(case, request):
    """The bytes of the final response, and whether the connection ends after them."""
    version = request.line.rpartition(b" ")[2]
    framing = answer_framing(case, version)
    body = case.answer_body
    fields = list(case.answer_fields)
    bodyless = case.status in BODYLESS or case.method == "HEAD"
    closes = case.early or wire.will_close(version, request.fields) or wire.will_close(b"HTTP/1.1", case.answer_fields)
    if framing in ("sized", "old sized", "length only"):
        if not (case.status == 204 and framing != "length only"):
            fields.append((b"Content-Length", b"%d" % len(body)))
    elif framing in ("chunked", "trailers"):
        if case.status != 204:
            fields.append((b"Transfer-Encoding", b"chunked"))
    elif framing != "none" and not bodyless:
        closes = True
    if closes:
        fields.append((b"Connection", b"close"))
    elif version == b"HTTP/1.0" or framing.startswith("old"):
        fields.append((b"Connection", b"keep-alive"))
    speaks = "HTTP/1.0" if framing.startswith("old") else "HTTP/1.1"
    out = head(f"{speaks} {case.status} {case.reason}", fields)
    if bodyless:
        return out, closes
    if framing in ("chunked", "trailers"):
        trailers = case.answer_trailers if framing == "trailers" else []
        return out + wire.write_chunked(body, case.answer_chunks, trailers), closes
    return out + body, closes


class Server(Listening):
    """Answers as the cases say and keeps the requests it got, by case."""

    def __init__(self, cases):
        self.cases = cases
        self.seen = {}
        self.trouble = []
        super().__init__()

    def serve(self, sock):
        reader = wire.Reader(sock)
        with sock:
            try:
                while (reader.buffer or reader.fill()) and self.exchange(sock, reader):
                    pass
            except ConnectionError:
                pass  # the client's side ends a connection whose content it no longer sends
            except (wire.Broken, ValueError) as error:
                self.trouble.append(f"the server read: {error}")

    def exchange(self, sock, reader):
        request = wire.Message(reader.line(), reader.fields())
        version = request.line.rpartition(b" ")[2]
        number = re.search(rb"case(\d+)\.", request.line)
        case = self.cases[int(number.group(1))]
        expects = version == b"HTTP/1.1" and wire.values(request.fields, b"expect")
        if not case.early:
            if expects:
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            wire.read_content(reader, request, False)
        self.seen[case.id] = request
        if version == b"HTTP/1.1":
            for status, fields in case.interim:
                sock.sendall(head(f"HTTP/1.1 {status} Interim", fields))
        out, closes = answer(case, request)
        sock.sendall(out)
        return not closes


class Client:
    """Sends cases to one address, over one connection as long as it lasts."""

    def __init__(self, address):
        self.address = address
        self.sock = None

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None

    def open(self):
        if not self.sock:
            self.sock = wire.connect(self.address)
            self.reader = wire.Reader(self.sock)

    def exchange(self, case):
        return self.pipeline([case])[0]

    def pipeline(self, cases):
        """All requests at once, then all answers."""
        self.open()
        waits = cases[0].expect == "continue"
        out = b"".join(request_head(case) + (b"" if waits else request_content(case)) for case in cases)
        sender = threading.Thread(target=self.send, args=(out,)) if len(out) > 65536 else None
        if sender:
            sender.start()
        else:
            self.send(out)
        try:
            return [self.receive(case) for case in cases]
        finally:
            if sender:
                sender.join()
            if self.reader.ended or self.reader.buffer:
                self.close()

    def send(self, out):
        try:
            self.sock.sendall(out)
        except ConnectionError:
            pass  # the answer tells

    def receive(self, case):
        continued = False
        if case.expect == "continue":
            continued = self.await_continue()
            if continued:
                self.send(request_content(case))
        message, has_content = wire.read_response_head(self.reader, case.method)
        message.continued = continued
        if has_content:
            wire.read_content(self.reader, message, True)
        if self.last(case, message) or (case.expect == "continue" and not continued):
            if self.reader.rest():
                raise wire.Broken("bytes after the last answer")
        return message

    @staticmethod
    def last(case, message):
        once = case.version == "HTTP/1.0" and not wire.values(case.fields, b"connection")
        return once or wire.will_close(message.line.partition(b" ")[0], message.fields)

    def await_continue(self):
        """Takes an answer 100 off the connection; leaves any other."""
        while b"\r\n\r\n" not in self.reader.buffer:
            if not self.reader.fill():
                raise wire.Broken("neither 100 nor an answer")
        if self.reader.buffer.split(b" ")[1] != b"100":
            return False
        self.reader.line()
        return not self.reader.fields()

# SPDX-License-Identifier: Apache-2.0
"""The HTTP/2 exchanges: what goes over streams, and how streams are reset."""

import itertools
import re
import threading
from dataclasses import dataclass, field

import h2.exceptions

import h1_cases
import h2_wire
from listening import Listening

TOGETHER = 8  # streams at once on a connection
CLIENTS = 3
CODES = (0x0, 0x1, 0x2, 0x5, 0x7, 0x8, 0xA, 0xB, 0xC, 0xD)  # of RST_STREAM; 0xD is HTTP_1_1_REQUIRED
# What a reset becomes on its way. REFUSED_STREAM before an answer is tried again, and passed on when all refuse.
MAPPED = {0x0: 0x2, 0x5: 0x2, 0xA: 0x2, 0xC: 0x2, 0xD: 0x2, 0x1: 0x2}


@dataclass
class Case:
    about: str
    method: bytes = b"GET"
    fields: list = field(default_factory=list)
    body: bytes = None  # None: the head ends the request
    trailers: list = field(default_factory=list)
    status: int = 200
    interim: list = field(default_factory=list)
    answer_fields: list = field(default_factory=list)
    answer_body: bytes = b"hello"
    answer_trailers: list = field(default_factory=list)
    reset: tuple = ()  # of the answer: where and with what code
    id: int = 0


def cases():
    content = h1_cases.content
    for size, trailers in itertools.product((None,) + h1_cases.SIZES + (1 << 20,), (False, True)):
        for method in (b"POST", b"GET", b"DELETE") if (size or 0) <= 20000 else (b"POST",):
            yield Case(f"{method} of {size}", method, body=content(size) if size is not None else None,
                       trailers=[(b"x-end", b"1"), (b"x-end", b"\xe4")] if trailers and size is not None else [])
            yield Case(f"answer of {size} to {method}", method, answer_body=content(size or 0),
                       answer_fields=[(b"content-length", b"%d" % (size or 0))] if size else [],
                       answer_trailers=[(b"x-end", b"1"), (b"grpc-status", b"0")] if trailers else [])
    for status, method in itertools.product(h1_cases.STATUSES, (b"GET", b"HEAD", b"QUERY")):
        empty = status in (204, 304) or method == b"HEAD"
        yield Case(f"{method} answered {status}", method, status=status, answer_body=None if empty else b"x",
                   answer_fields=[(b"content-length", b"5")] if method == b"HEAD" and status != 204 else [])
    for shape in h1_cases.field_shapes():
        hop = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te", b"http2-settings")
        sent, answered = ([(n.lower(), v.strip()) for n, v in given if n.lower() not in hop]
                          for given in (shape.fields, shape.answer_fields))
        yield Case(f"{shape.about}", shape.method.encode(), sent, shape.body or None, answer_fields=answered,
                   answer_body=None if shape.method == "HEAD" else b"x")
    for statuses in ((100,), (103,), (103, 103, 102), (103,) * 20):
        yield Case(f"{statuses} first", interim=[(s, [(b"link", b"</a>")]) for s in statuses])
    yield Case("te", fields=[(b"te", b"trailers")])
    for where, code in itertools.product(("before", "head", "content"), CODES):
        yield Case(f"reset {code} after {where}", b"POST", body=b"abc", answer_body=content(20000), reset=(where, code))


class Server(Listening):
    """Answers each stream as its case says."""

    def __init__(self, all_cases):
        self.cases = all_cases
        self.seen = {}
        self.trouble = []
        super().__init__()

    def serve(self, sock):
        with sock:
            try:
                connection = h2_wire.Connection(sock, False)
                while True:
                    for number in dict.fromkeys(connection.receive()):
                        if connection.streams[number].ended:
                            self.answer(connection, number, connection.streams.pop(number))
            except (h2_wire.Ended, OSError):
                pass
            except h2.exceptions.ProtocolError as error:
                self.trouble.append(f"the HTTP/2 server read: {error!r}")

    def answer(self, connection, number, request):
        path = dict(request.fields)[b":path"]
        case = self.cases[int(re.search(rb"case(\d+)\.", path).group(1))]
        self.seen[case.id] = request
        for status, fields in case.interim:
            connection.h2.send_headers(number, [(b":status", b"%d" % status)] + fields)
        where, code = case.reset or ("", 0)
        if where == "before":
            return self.reset(connection, number, code)
        end = case.answer_body is None
        connection.head(number, [(b":status", b"%d" % case.status)] + case.answer_fields, end)
        if where == "content":
            connection.h2.send_data(number, case.answer_body[:10000])
        if where:
            return self.reset(connection, number, code)
        if end:
            return connection.flush()
        return connection.content(number, case.answer_body, case.answer_trailers)

    @staticmethod
    def reset(connection, number, code):
        connection.h2.reset_stream(number, code)
        connection.flush()


class Exchanges:
    def __init__(self):
        self.cases = list(cases())
        for number, case in enumerate(self.cases):
            case.id = number
        self.server = Server(self.cases)
        self.direct = {}
        self.problems = []

    def run(self, address):
        results = {}

        def work(mine):
            for at in range(0, len(mine), TOGETHER):
                self.exchange(address, mine[at : at + TOGETHER], results)

        shares = [self.cases[i::CLIENTS] for i in range(CLIENTS)]
        threads = [threading.Thread(target=work, args=(share,)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def exchange(self, address, together, results):
        """Several streams of one connection, all begun before anything is awaited."""
        connection = h2_wire.connect(address)
        by_stream = {}
        for case in together:
            number = connection.h2.get_next_available_stream_id()
            by_stream[number] = case
            connection.streams[number] = h2_wire.Received()
            connection.head(number, self.head_of(case), case.body is None)
            if case.body is not None:
                connection.content(number, case.body, case.trailers)
        try:
            connection.flush()
            while not all(connection.streams[number].over() for number in by_stream):
                connection.receive()
        except (h2_wire.Ended, OSError, h2.exceptions.ProtocolError) as error:
            self.problems.append(f"{[case.about for case in together]}: {error!r}")
        connection.sock.close()
        for number, case in by_stream.items():
            results[case.id] = (self.server.seen.pop(case.id, None), connection.streams[number])

    @staticmethod
    def head_of(case):
        path = b"/case%d.?x=%%20" % case.id
        return [(b":method", case.method), (b":scheme", b"http"), (b":authority", b"web.test"), (b":path", path)] + case.fields

    def run_direct(self):
        self.direct = self.run(self.server.address)

    def compare(self, way, address, identity):
        for number, (request, response) in self.run(address).items():
            case = self.cases[number]
            want = self.expected(case, identity, *self.direct[number])
            for part, (wanted, got) in enumerate(zip(want, self.received(request, response))):
                if wanted != got:
                    self.problems.append(f"{way}: HTTP/2 {case.about}: part {part}: {str(wanted)[:300]} became {str(got)[:300]}")

    @staticmethod
    def expected(case, identity, request, response):
        cookies = [value for name, value in request.fields if name == b"cookie"]
        fields = [each for each in request.fields if not private(each[0]) and (each[0] != b"cookie" or len(cookies) == 1)]
        if len(cookies) > 1:
            fields.append((b"cookie", b"; ".join(cookies)))
        answered = [[each for each in fields if not private(each[0])] for fields in (response.fields, *response.interim)]
        if case.status == 204:
            answered[0] = [each for each in answered[0] if each[0] != b"content-length"]
        reset = MAPPED.get(response.reset, response.reset)
        if reset >= 0:  # what came before it may be lost
            answered, response = [None], h2_wire.Received()
        return [sorted(fields + [(b"l5d-client-id", identity)]), bytes(request.body), request.trailers, answered[0], answered[1:],
                bytes(response.body) if reset < 0 else None, response.trailers, reset]

    @staticmethod
    def received(request, response):
        seen = request or h2_wire.Received()
        if response.reset >= 0:
            response = h2_wire.Received(fields=None, reset=response.reset)
        return [sorted(seen.fields), bytes(seen.body), seen.trailers, response.fields, response.interim,
                bytes(response.body) if response.reset < 0 else None, response.trailers, response.reset]


def private(name):
    return name.startswith((b"l5d-", b"heddle-"))

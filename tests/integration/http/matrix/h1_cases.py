# SPDX-License-Identifier: Apache-2.0
"""The HTTP/1 exchanges: what the client sends and what the server answers, along every axis."""

import itertools
import random
from dataclasses import dataclass, field

SIZES = (0, 1, 16383, 16384, 16385)
LARGE = 1 << 20
STATUSES = (
    200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 299, 300, 301, 302, 303, 304, 305, 307, 308, 399, 400, 401,
    402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425,
    428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511, 599,
)
FRAMINGS = ("sized", "chunked", "trailers", "until close", "old until close", "old sized")
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "M-SEARCH", "x!#$%'*+.^_`|~")


@dataclass
class Case:
    about: str
    method: str = "GET"
    target: str = "/{id}"
    version: str = "HTTP/1.1"
    host: str = "web.test:8080"
    fields: list = field(default_factory=list)
    body: bytes = b""
    framing: str = "none"  # none, sized, chunked, trailers
    chunks: tuple = (4096,)
    extension: bytes = b""
    expect: str = ""  # "continue": the client waits for 100; "hasty": it does not
    trailers: list = field(default_factory=list)
    # The answer. `early`: before the request's content is read, which then never comes.
    status: int = 200
    reason: str = "Fine"
    interim: list = field(default_factory=list)
    answer_fields: list = field(default_factory=list)
    answer_body: bytes = b"hello"
    answer_framing: str = "sized"
    answer_chunks: tuple = (1000, 1, 70000)
    answer_trailers: list = field(default_factory=list)
    early: bool = False
    id: int = 0


def content(size):
    return random.Random(size).randbytes(size)


def methods_and_contents():
    sizes = [("none", 0)] + [(framing, size) for framing in ("sized", "chunked", "trailers") for size in SIZES]
    for method, (framing, size) in itertools.product(METHODS, sizes):
        if method == "TRACE" and framing != "none":
            continue  # refused, as the corpus of smuggled requests says
        yield Case(f"{method} with {framing} content of {size}", method, body=content(size), framing=framing,
                   trailers=[(b"x-sum", b"1"), (b"X-Sum", b"2")])
    for framing, chunk in itertools.product(("sized", "chunked"), ((1 << 20,), (16384,), (8191, 3))):
        yield Case(f"POST of 1 MiB {framing} {chunk}", "POST", body=content(LARGE), framing=framing, chunks=chunk)
    for size in (1, 17, 4096):
        yield Case(f"chunk extensions {size}", "POST", body=content(size), framing="chunked", chunks=(7,),
                   extension=b';name="quoted \\" text";other')


def statuses():
    for status, framing, method in itertools.product(STATUSES, FRAMINGS, ("GET", "HEAD")):
        yield Case(f"{method} answered {status} {framing}", method, status=status, answer_framing=framing,
                   answer_trailers=[(b"x-end", b"yes")])
    for status, method in itertools.product((200, 304, 404), ("GET", "HEAD")):
        yield Case(f"{method} answered {status} without any length", method, status=status,
                   answer_framing="none" if status == 304 or method == "HEAD" else "until close")
    for status in (204, 304):
        yield Case(f"{status} with the length of something", status=status, answer_framing="length only")


def versions_and_sizes():
    clients = (("HTTP/1.1", []), ("HTTP/1.1", [(b"Connection", b"close")]), ("HTTP/1.0", []),
               ("HTTP/1.0", [(b"Connection", b"Keep-Alive")]))
    for (version, fields), size, framing in itertools.product(clients, SIZES + (LARGE,), FRAMINGS):
        yield Case(f"{version} {fields} gets {size} {framing}", version=version, fields=list(fields),
                   answer_body=content(size), answer_framing=framing, answer_trailers=[(b"x-end", b"yes")])
    for fields, size in itertools.product(([], [(b"Connection", b"Keep-Alive")]), SIZES):
        yield Case(f"HTTP/1.0 POST {size} {fields}", "POST", version="HTTP/1.0", fields=list(fields),
                   body=content(size), framing="sized")
    for fields in ([], [(b"Connection", b"Keep-Alive")]):
        yield Case(f"HTTP/1.0 without Host {fields}", version="HTTP/1.0", host="", fields=fields)
    yield Case("Host without a name", host="", fields=[(b"Host", b"")])


def field_shapes():
    visible = bytes(range(0x21, 0x7F))
    shapes = {
        "many": [(b"X-%d" % i, b"v%d" % i) for i in range(200)],
        "long value": [(b"X-Long", b"v" * 30000)],
        "long name": [(b"X-" + b"n" * 4000, b"v")],
        "repeated": [(b"Accept", b"a"), (b"X-A", b"1"), (b"accept", b"b, c"), (b"X-A", b"1"), (b"ACCEPT", b"")],
        "empty": [(b"X-Empty", b""), (b"Accept-Encoding", b"")],
        "obs-text": [(b"X-Text", bytes(range(0x80, 0x100))), (b"X-Latin", "Grüße".encode("latin-1"))],
        "visible": [(b"X-Visible", visible), (b"!#$%&'*+-.^_`|~09azAZ", b"token")],
        "inner white space": [(b"X-Space", b"a  b\tc")],
        "white space around": [(b"X-Padded", b" \t padded \t ")],
        "cookies": [(b"Cookie", b"a=1; b=2"), (b"X-Between", b"1"), (b"Cookie", b"c=3")],
        "one cookie": [(b"Cookie", b"a=1; b=2"), (b"X-After", b"1")],
        "set-cookie": [(b"Set-Cookie", b"a=1; Path=/"), (b"Set-Cookie", b"b=2, c"), (b"Set-Cookie", b"a=1")],
        "ranges": [(b"Range", b"bytes=0-4,-1"), (b"If-Range", b'"x"'), (b"Content-Range", b"bytes 0-4/100")],
        "validators": [(b"ETag", b'W/"x"'), (b"If-None-Match", b"*"), (b"Last-Modified", b"Tue, 01 Jan 2030 00:00:00 GMT")],
        "authentication": [(b"Authorization", b"Basic eDp5"), (b"Proxy-Authorization", b"Basic eDp5"),
                           (b"WWW-Authenticate", b'Basic realm="a, b"'), (b"Proxy-Authenticate", b"Basic")],
        "nominated": [(b"Connection", b"X-Hop, close"), (b"X-Hop", b"1"), (b"X-Stays", b"1")],
        "nominated twice": [(b"Connection", b"x-a"), (b"Connection", b" ,x-b,"), (b"X-A", b"1"), (b"X-B", b"2")],
        "nominates what stays": [(b"Connection", b"Host, Content-Length, X-Hop"), (b"X-Hop", b"1")],
        "hop by hop": [(b"Keep-Alive", b"timeout=5"), (b"Proxy-Connection", b"keep-alive"), (b"TE", b"gzip")],
        "trailers announced": [(b"Trailer", b"x-end"), (b"TE", b"trailers"), (b"Connection", b"TE")],
        "trailers and codings": [(b"TE", b"gzip;q=0.5, trailers"), (b"Connection", b"te")],
        "mesh fields": [(b"L5d-Client-Id", b"evil"), (b"l5d-dst-override", b"x"), (b"l5d-orig-proto", b"HTTP/1.0"),
                        (b"Heddle-Client", b"1.2.3.4:5"), (b"l5d-proxy-error", b"x")],
        "via and forwarded": [(b"Via", b"1.1 other"), (b"Forwarded", b"for=1.2.3.4"), (b"X-Forwarded-For", b"1.2.3.4"),
                              (b"Max-Forwards", b"0")],
        "names of HTTP/2": [(b"Priority", b"u=1, i"), (b"HTTP2-Settings", b"AAMAAABkAAQAAP__")],
        "upgrade declined": [(b"Upgrade", b"h2c"), (b"Connection", b"Upgrade, HTTP2-Settings"), (b"HTTP2-Settings", b"AA")],
        "content": [(b"Content-Type", b'multipart/form-data; boundary="--x"'), (b"Content-Encoding", b"gzip"),
                    (b"Content-Language", b"de"), (b"Content-Location", b"/x")],
        "server's": [(b"Server", b"x/1"), (b"Date", b"Tue, 01 Jan 2030 00:00:00 GMT"), (b"Alt-Svc", b"clear"), (b"Age", b"1")],
    }
    for (name, fields), method in itertools.product(shapes.items(), ("GET", "POST", "HEAD")):
        sent = [each for each in fields if each[0] != b"Content-Range"]
        framing = "chunked" if method == "POST" else "none"
        body = b"abc" if method == "POST" else b""
        yield Case(f"{method} fields {name}", method, fields=sent, body=body, framing=framing)
        yield Case(f"{method} answered with fields {name}", method, body=body, framing=framing, answer_fields=fields)
        yield Case(f"{method} both fields {name}", method, fields=sent, body=body, framing=framing,
                   answer_fields=fields, answer_framing="trailers", answer_trailers=[(b"X-End", b"1"), (b"x-end", b"\xe4")])


def targets():
    for target in ("/{id}?a=b&c=%20", "/{id}/%2e%2e/..//a;b=c,d", "/{id}?", "/{id}?a?b/c", "/{id}" + "/long" * 3000,
                   "/{id}/\"<>[]^`{|}\\", "/{id}/@:!$&'()*+", "//{id}//", "/{id}/%00%ff", "/{id}?url=http://a/b",
                   "http://web.test:8080/{id}", "http://web.test:8080/{id}?a=b", "HTTP://web.test:8080/{id}", "http://web.test:8080?{id}",
                   "https://web.test:8080/{id}"):
        for method in ("GET", "POST"):
            yield Case(f"{method} {target[:60]}", method, target)
    # No path at all: of OPTIONS that asks about the server. Its host says which case it is.
    for method in ("GET", "OPTIONS"):
        yield Case(f"{method} of a host", method, "http://{id}test:8080")
    yield Case("a host other than the target's", target="http://right.test/{id}", host="wrong.test")
    for host in ("web.test", "WEB.test:80", "[::1]:8080", "127.0.0.1", "web_test", "web.test:"):
        yield Case(f"host {host}", host=host)


def expectations():
    for size, framing, status in itertools.product((1, 16384, LARGE), ("sized", "chunked"), (200, 404)):
        yield Case(f"waits for 100, {size} {framing} {status}", "POST", body=content(size), framing=framing, status=status,
                   expect="continue")
        yield Case(f"does not wait for 100, {size} {framing} {status}", "POST", body=content(size), framing=framing,
                   status=status, expect="hasty")
    for framing, status, answer in itertools.product(("sized", "chunked"), (200, 401, 413, 417, 503), ("sized", "chunked", "until close")):
        yield Case(f"refused {status} {answer} instead of 100, {framing}", "PUT", body=content(16384), framing=framing,
                   status=status, answer_framing=answer, expect="continue", early=True)
    yield Case("HTTP/1.0 expects 100 in vain", "POST", version="HTTP/1.0", body=b"abc", framing="sized", expect="hasty")


def interims():
    hints = [(b"Link", b"</a.css>; rel=preload"), (b"Link", b"</b.js>; rel=preload")]
    lists = ([(103, hints)], [(100, [])], [(102, [])], [(103, hints), (103, [(b"X-A", b"\xff")])], [(199, [(b"X-A", b"1")])],
             [(102, [])] * 20, [(100, []), (103, hints)])
    for interim, status, framing, version in itertools.product(lists, (200, 204, 304, 500), ("sized", "trailers"), ("HTTP/1.1", "HTTP/1.0")):
        yield Case(f"{version} {[each[0] for each in interim]} before {status} {framing}", version=version, interim=interim,
                   status=status, answer_framing=framing, answer_trailers=[(b"x-end", b"1")])


def random_mixtures(count):
    rng = random.Random(20260101)
    pool = list(field_shapes())
    for i in range(count):
        shape, other = rng.choice(pool), rng.choice(pool)
        method = rng.choice(METHODS + ("HEAD",))
        request = "none" if method == "TRACE" else rng.choice(("none", "sized", "chunked", "trailers"))
        interim = [(103, [(b"link", b"<%d>" % n)]) for n in range(rng.choice((0, 0, 0, 1, 3)))]
        yield Case(f"mixture {i}", method, rng.choice(("/{id}", "/{id}?q=%d" % i)),
                   fields=list(shape.fields), body=content(rng.choice(SIZES + (77,))) if request != "none" else b"",
                   framing=request, chunks=tuple(rng.choices((1 << 16, 9000, 333, 16384), k=3)),
                   trailers=[(b"x-t%d" % n, b"v" * n) for n in range(rng.choice((0, 1, 5)))], status=rng.choice(STATUSES),
                   reason=rng.choice(("Fine", "", "Not So \xe4\xf6 Fine", "OK")), interim=interim, answer_fields=list(other.answer_fields),
                   answer_body=content(rng.choice(SIZES + (4711,))), answer_framing=rng.choice(FRAMINGS),
                   answer_chunks=tuple(rng.choices((1 << 16, 9000, 333, 16384), k=3)),
                   answer_trailers=[(b"x-e%d" % n, b"w" * n) for n in range(rng.choice((0, 1, 5)))])


def all_cases(mixtures):
    cases = list(itertools.chain(methods_and_contents(), statuses(), versions_and_sizes(), field_shapes(), targets(),
                                 expectations(), interims(), random_mixtures(mixtures)))
    for number, case in enumerate(cases):
        case.id = number
        case.target = case.target.replace("{id}", f"case{number}.")
    return cases

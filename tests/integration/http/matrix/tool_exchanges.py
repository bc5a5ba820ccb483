# SPDX-License-Identifier: Apache-2.0
"""Exchanges between programs that others wrote: curl, nghttp, h2load, hey and wrk with the servers of tool_servers."""

import re
import subprocess

# Of each hop, or another each time.
IGNORED = (b"date:", b"connection:", b"keep-alive:", b"transfer-encoding:", b"upgrade:", b"l5d-client-id:")
VERBOSE = re.compile(rb"\[ *[\d.]+\] recv \(stream_id=(\d+)(?:, sensitive)?\) (.*)")


class Exchanges:
    """With one server."""

    def __init__(self, server):
        self.server = server
        self.name = server.name
        self.version = server.version
        self.port = server.port
        self.page = str(server.root / "page")
        self.large = str(server.root / "large")
        self.problems = []

    def compare(self, ways):
        """`ways`: addresses that lead to the server, by name."""
        direct = self.run(("127.0.0.1", self.port))
        self.problems += [f"directly: {what} of {self.name}: {shown}" for what, shown in direct if b"TROUBLE" in shown]
        for way, address in ways.items():
            for (what, want), (_, got) in zip(direct, self.run(address), strict=True):
                if want != got:
                    self.problems.append(f"{way}: {what} of {self.name}: {str(want)[:600]} became {str(got)[:600]}")
        self.problems += self.server.trouble()
        self.server.stop()
        return len(direct)

    def run(self, address):
        base = f"http://127.0.0.1:{address[1]}/"
        found = [(f"curl {arguments}", self.curl(base, arguments)) for arguments in self.curl_commands()]
        if self.version == 2:
            found += [(f"nghttp {arguments}", nghttp(base, arguments)) for arguments in self.nghttp_commands()]
        return found + [(load.__name__, load(base + path)) for load, path in self.loads()]

    def curl_commands(self):
        """Options and, last, the path."""
        kind = self.name.rstrip("12")
        return {"nginx": self.of_nginx, "apache": self.of_apache, "node": self.of_node, "nghttpd": self.of_nghttpd}[kind]()

    def of_files(self):
        for name in ("one", "large"):
            yield [name]
        for name in ("empty", "page", "missing"):
            for more in ([], ["-I"], ["-r", "0-0"], ["-r", "-5"], ["-r", "0-1,4-5"], ["--compressed", "-H", "Accept-Encoding: gzip"],
                         ["-H", "If-Modified-Since: Wed, 15 Nov 2023 00:00:00 GMT"], ["-X", "OPTIONS"], ["-r", "9999999-"]):
                if (self.name, name, more) != ("nghttpd2", "missing", ["-I"]):  # it sends content then
                    yield [*more, name]
        if self.version == 1:  # over HTTP/2 this curl breaks off what it uses again
            yield ["REUSED", "page"]

    def of_nginx(self):
        yield from self.of_files()
        for name in ("moved", "error", "none", "forbidden", "status/418"):
            yield [name]
        # Over HTTP/2 nginx answers this before it was read, which this curl may take for a broken stream.
        if self.version == 1:
            yield ["--data-binary", "@" + self.page, "page"]

    def of_apache(self):
        yield from self.of_files()
        for name in ("moved", "gone", "none", "legal", "forbidden", "parts", "hints.asis", "page/more"):
            yield [name]
        yield ["-H", 'If-None-Match: "4001-609f9a2a3d400"', "page"]
        yield ["-X", "TRACE", "page"]
        if self.version == 1:
            yield ["-0", "parts"]
        yield from self.of_echo()
        # In this order: each finds what the one before left.
        for method in ("PUT", "PUT", "GET", "HEAD", "DELETE", "DELETE"):
            content = ["--data-binary", "@" + self.page, "-H", "Expect: 100-continue"] if method == "PUT" else []
            yield [*content, *(["-I"] if method == "HEAD" else ["-X", method]), "dav/new"]
        yield ["-X", "MKCOL", "dav/new/folder"]
        yield ["-X", "PUT", "--data-binary", "@" + self.large, "-H", "Transfer-Encoding: chunked", "dav/large"]
        yield ["-X", "DELETE", "dav/large"]

    def of_echo(self):
        for file in (self.page, self.large):
            for more in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"], ["-X", "PUT"]):
                if "Transfer-Encoding: chunked" not in more or "apache" not in self.name:  # its Lua reads no chunks
                    yield ["--data-binary", "@" + file, *more, "echo?a=%20b"]
        yield ["-d", "", "echo"]
        if self.version == 1:
            yield ["REUSED", "--data-binary", "@" + self.page, "echo"]

    def of_node(self):
        yield from self.of_echo()
        for name in ("trailers", "hints", "parts", "missing"):
            yield [name]
            yield ["-I", name]
        for code in (200, 201, 204, 206, 304, 400, 429, 500, 503):
            yield [f"status/{code}"]
        for more in ([], ["-H", "X-A: 1", "-H", "x-a: 2"], ["-H", "Cookie: a=1; b=2"], ["-H", "Range: bytes=0-4"], ["-X", "QUERY", "-d", "a"],
                     ["-H", "TE: trailers"], ["-H", "Upgrade: nothing", "-H", "Connection: Upgrade"] if self.version == 1 else []):
            yield [*more, "tell?b=1"]
        if self.version == 1:
            yield ["--data-binary", "@" + self.page, "-H", "Expect: 100-continue", "refused"]
            yield ["-0", "parts"]
            yield ["-0", "tell"]

    def of_nghttpd(self):
        yield from self.of_files()
        for file in (self.page, self.large):
            yield ["--data-binary", "@" + file, "one"]

    def nghttp_commands(self):
        """nghttp gives its streams weights and dependencies (RFC 7540 5.3)."""
        echo = "one" if self.name == "nghttpd2" else "echo"
        if self.name == "nginx2":
            return [["page"], ["-H", ":method: HEAD", "page"], ["-H", "range: bytes=1-3", "page"]]
        return [[echo], ["-H", ":method: HEAD", echo], ["-d", self.page, echo], ["-d", self.page, "--trailer=x-sent: yes", echo],
                ["-d", self.large, echo], ["-d", self.page, "--no-content-length", echo],
                ["--no-dep", "-d", self.page, echo], ["-p", "1", "-d", self.page, echo], ["-b", "4096", "-d", self.page, echo],
                ["-w", "10", "-W", "12", "-d", self.large, echo], ["-m", "20", echo], ["trailers"], ["hints"], ["missing"]]

    def loads(self):
        if self.version == 2:
            return [(h2load, "echo" if self.name == "node2" else "page")]
        return {"nginx1": [(wrk, "page")], "apache1": [(hey, "page"), (h2load_of_http1, "page")], "node1": [(hey, "parts")]}[self.name]

    def curl(self, base, arguments):
        version = "--http2-prior-knowledge" if self.version == 2 else "--http1.1"
        *options, path = arguments
        urls = ["-o", "/dev/null" if "-I" in options else "-", base + path]
        shows = []
        if options[:1] == ["REUSED"]:  # how many connections each of several transfers needed
            options, urls, shows = options[1:], urls * 3, ["-w", "connections %{num_connects}\n"]
        ran = subprocess.run(["curl", "-sS", "-m", "40", "-D", "/dev/stderr", "-H", "Host: web.test", version, *shows, *options, *urls],
                             capture_output=True, check=False, stdin=subprocess.DEVNULL)
        heads = without_address(ran.stderr, base).split(b"\r\n\r\n")
        content = without_client_id(ran.stdout).lower() if "TRACE" in options else ran.stdout
        shown = [b"curl ended with %d" % ran.returncode] + [without_own_fields(head) for head in heads if not head.startswith(b"curl:")]
        return without_boundary(b"\n".join(shown) + b"\n\n" + without_address(content, base))


def nghttp(base, arguments):
    """Each stream's fields, in order, and its content."""
    *options, path = arguments
    command = ["nghttp", "-H", ":authority: web.test", *options, base + path]
    verbose = subprocess.run([*command, "-nv", "-t", "40"], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    plain = subprocess.run([*command, "-t", "40"], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    streams = {}
    for stream, text in VERBOSE.findall(verbose.stdout):
        if not text.lower().startswith(IGNORED):
            streams.setdefault(int(stream), []).append(text)
    resets = b"RST_STREAM" in verbose.stdout
    trouble = b"" if streams and plain.returncode == 0 else b"TROUBLE: " + verbose.stdout[-300:] + plain.stderr
    fields = b"\n\n".join(b"\n".join(lines) for _, lines in sorted(streams.items()))
    return trouble + fields + b"\nreset %d\n" % resets + without_address(plain.stdout, base)


def h2load(url, *options):
    ran = subprocess.run(["h2load", "-n", "400", "-c", "8", "-m", "10", *options, url], capture_output=True, check=False)
    counts = re.search(rb"requests: .*\nstatus codes: .*\n", ran.stdout)
    content = re.search(rb"(\d+)\) data", ran.stdout)
    if not counts or not content or b" 400 2xx" not in counts[0]:
        return b"TROUBLE: " + ran.stdout + ran.stderr
    return counts[0] + b"content " + content[1]


def h2load_of_http1(url):
    return h2load(url, "--h1")


def hey(url):
    ran = subprocess.run(["hey", "-n", "400", "-c", "8", url], capture_output=True, check=False)
    counts = re.search(rb"Status code distribution:(?s:.*)", ran.stdout)
    size = re.search(rb"Size/request:\s+(\d+)", ran.stdout)
    if not counts or b"[200]\t400 responses" not in counts[0] or b"Error distribution" in counts[0]:
        return b"TROUBLE: " + ran.stdout + ran.stderr
    return counts[0].strip() + b" of " + (size[1] if size else b"unknown size")


def wrk(url):
    """It counts nothing but what went wrong, for the second that it lasts at least."""
    ran = subprocess.run(["wrk", "-t", "1", "-c", "8", "-d", "1s", url], capture_output=True, check=False)
    if b"requests in" not in ran.stdout or b" 0 requests in" in ran.stdout or b"Non-2xx" in ran.stdout or b"Socket errors" in ran.stdout:
        return b"TROUBLE: " + ran.stdout + ran.stderr
    return b"answered"


def without_own_fields(head):
    """Names of fields are lower case across nodes; their order, the version and the reason are compared elsewhere."""
    lines = head.split(b"\r\n")
    fields = [name.lower() + b":" + value for name, _, value in (line.partition(b":") for line in lines[1:])]
    return b"\n".join([b"".join(lines[0].split(b" ")[1:2])] + sorted(each for each in fields if not each.startswith(IGNORED)))


def without_client_id(text):
    """TRACE's answer is the request as the server saw it."""
    return re.sub(rb"(?i)l5d-client-id: [^\r]*\r\n", b"", text)


def without_address(text, base):
    """Which address is dialled is no difference."""
    return text.replace(base.encode(), b"http://ADDRESS/")


def without_boundary(text):
    """Multipart answers are delimited by something that is another each time."""
    boundary = re.search(rb"multipart/byteranges; boundary=(\w+)", text)
    return text.replace(boundary[1], b"BOUNDARY") if boundary else text

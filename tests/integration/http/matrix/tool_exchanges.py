# SPDX-License-Identifier: Apache-2.0
"""Exchanges between programs that others wrote: curl and nginx."""

import os
import pathlib
import random
import socket
import subprocess
import tempfile
import time

IGNORED = (b"date:", b"connection:", b"etag:", b"server:", b"transfer-encoding:", b"l5d-client-id:")
FILES = {"empty": 0, "one": 1, "page": 16385, "large": 1 << 20}


class Exchanges:
    """`version`: of HTTP, that nginx and curl speak."""

    def __init__(self, version):
        self.version = version
        self.name = f"nginx{version}"
        self.folder = tempfile.TemporaryDirectory(prefix="heddle-matrix-")
        self.root = pathlib.Path(self.folder.name)
        for name, size in FILES.items():
            (self.root / name).write_bytes(random.Random(size).randbytes(size))
            os.utime(self.root / name, (1_700_000_000, 1_700_000_000))
        self.problems = []
        self.port = free_port()
        self.process = self.start(self.port)
        self.direct = self.run(("127.0.0.1", self.port))

    def start(self, port):
        h2 = " http2" if self.version == 2 else ""
        (self.root / "nginx.conf").write_text(
            "daemon off; master_process off; pid pid; error_log error.log; events {} http { access_log off; "
            "client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; "
            "gzip on; gzip_min_length 1; gzip_types *; gzip_comp_level 1; "
            f"server {{ listen 127.0.0.1:{port}{h2}; root {self.root}; "
            "location /status/ { if ($request_uri ~ ^/status/(...)) { return 418; } } location /moved { return 301 /page; } "
            "location /error { return 503 sorry; } location /none { return 204; } location /forbidden { deny all; } } }")
        process = subprocess.Popen(["nginx", "-c", str(self.root / "nginx.conf"), "-p", self.folder.name],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not accepts(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError("nginx does not start")
        return process

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def commands(self):
        for name in ("one", "large", "moved", "error", "none", "forbidden", "status/418"):
            yield [name]
        for name in ("empty", "page", "missing"):
            for more in ([], ["-I"], ["-r", "0-0"], ["-r", "-5"], ["-r", "0-1,4-5"], ["--compressed", "-H", "Accept-Encoding: gzip"],
                         ["-H", "If-Modified-Since: Wed, 15 Nov 2023 00:00:00 GMT"], ["-X", "OPTIONS"], ["-r", "9999999-"]):
                yield [*more, name]
            # Over HTTP/2 nginx answers this before it was read, which this curl may take for a broken stream.
            if self.version == 1:
                yield ["--data-binary", "@" + str(self.root / "page"), name]

    def run(self, address):
        found = []
        for *arguments, name in self.commands():
            version = ["--http2-prior-knowledge"] if self.version == 2 else ["--http1.1"]
            url = f"http://127.0.0.1:{address[1]}/{name}"
            ran = subprocess.run(["curl", "-sSi", "-m", "20", "-H", "Host: web.test", *version, *arguments, url],
                                 capture_output=True, check=False, stdin=subprocess.DEVNULL)
            head, _, body = ran.stdout.rpartition(b"\r\n\r\n") if arguments == ["-I"] else ran.stdout.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            status = lines[0].split(b" ")[1:2]
            fields = sorted(line.lower() for line in lines[1:] if not line.lower().startswith(IGNORED))
            found.append((ran.returncode, status, without_boundary(fields, body), arguments, name))
        return found

    def compare(self, way, address):
        for want, got in zip(self.direct, self.run(address), strict=True):
            if want != got:
                self.problems.append(f"{way}: curl {want[3]} {want[4]} of {self.name}: {str(want)[:400]} became {str(got)[:400]}")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def accepts(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def without_boundary(fields, body):
    """Multipart answers are delimited by something that is another each time."""
    for field in fields:
        if field.startswith(b"content-type: multipart/byteranges; boundary="):
            boundary = field.rpartition(b"=")[2]
            return [each for each in fields if each != field], body.replace(boundary, b"BOUNDARY")
    return fields, body

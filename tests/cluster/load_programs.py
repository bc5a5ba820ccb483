#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What runs in the pods of the load test: an application, and a client that never stops asking it.

  load_programs.py serve                 HTTP/1.1 on 8080, lines sent back on 9000
  load_programs.py load ADDRESS          requests to ADDRESS:80, lines to ADDRESS:9000; reads words from standard input

The client answers each word that it reads with one line of JSON:
  count   how many requests and lines were answered, what failed since the last time (when it began and ended, from which
          address and port, what and how), and the longest that an answer took since then
  idle    opens connections, uses each once and keeps them
  probe   uses each connection that `idle` opened once more; how many answered, were ended in order, what failed
"""
import errno
import http.server
import json
import os
import select
import socket
import sys
import threading
import time

SECONDS = 60  # for any answer: connections wait for a proxy that is being replaced
KEPT = 3  # seconds that a connection is used: less than the grace that a replaced proxy gives those it has
PAUSE = 0.05
IDLE = 4


class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.path.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


def send_back(connection):
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass


def serve():
    listener = socket.create_server(("", 9000), backlog=1024)

    def accept():
        while True:
            threading.Thread(target=send_back, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    Server(("", 8080), Application).serve_forever()


class Failed(Exception):
    """A request or line that was not answered as it must be."""


def failure(error):
    if isinstance(error, OSError) and error.errno:
        return errno.errorcode.get(error.errno, str(error.errno))
    return f"{type(error).__name__} {error}"


def failed(began, name, connection, error):
    """What is to know of a failure, to be found again in proxies' logs."""
    return {"began": began, "ended": time.time(), "who": connection.who if connection else "",
            "what": f"{name} {connection.step if connection else 'connecting'} after {time.time() - began:.2f} s: {failure(error)}"}


class Lines:
    """Bytes that no proxy knows: each line must come back."""
    kind = "opaque"
    port = 9000
    step = "opened"  # what was done last, in words

    def __init__(self, address):
        self.socket = socket.create_connection((address, self.port), timeout=SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.who = "{}:{}".format(*self.socket.getsockname()[:2])

    def ended(self):
        """In order by the other side. A reset is a failure."""
        readable, _, _ = select.select([self.socket], [], [], 0)
        return bool(readable) and self.socket.recv(1, socket.MSG_PEEK) == b""

    def ask(self, word):
        """Whether the connection can be used again."""
        line = b"woven " + word.encode() + b"\n"
        self.step = "sending"
        self.socket.sendall(line)
        self.step = "waiting for the line"
        back = b""
        while not back.endswith(b"\n"):
            data = self.socket.recv(65536)
            if not data:
                raise Failed(f"ended after {back!r}")
            back += data
        if back != line:
            raise Failed(f"{back!r} came back")
        return True

    def close(self):
        self.socket.close()


class Requests(Lines):
    kind = "http"
    port = 80

    def ask(self, word):
        path = "/" + word
        self.step = "sending"
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nhost: web\r\n\r\n".encode())
        self.step = "waiting for the answer"
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more(received)
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        while len(body) < int(fields.get("content-length", 0)):
            body += self._more(received)
        if " 200 " not in lines[0] or body.decode() != path:
            raise Failed(f"{lines[0]}: {body[:200]!r}")
        return fields.get("connection") != "close"

    def _more(self, received):
        data = self.socket.recv(65536)
        if not data:
            raise Failed(f"ended after {received!r}")
        return data


class Load:
    """Every worker asks one thing after the other, on connections that it keeps for a while or uses once."""

    def __init__(self, address):
        self.address = address
        self.lock = threading.Lock()
        self.answered = {}
        self.failures = []
        self.slowest = 0.0
        self.idle = []
        for kind, kept in ((Requests, KEPT), (Requests, KEPT), (Requests, 0), (Lines, KEPT), (Lines, 0)):
            threading.Thread(target=self.work, args=(kind, kept), daemon=True).start()

    def work(self, kind, kept):
        name = f"{kind.kind} {'kept' if kept else 'new'}"
        connection, opened, number = None, 0.0, 0
        while True:
            began, now = time.monotonic(), time.time()
            number += 1
            try:
                if connection and (began - opened >= kept or connection.ended()):
                    connection.close()
                    connection = None
                if not connection:
                    connection, opened = kind(self.address), time.monotonic()
                if not connection.ask(f"{name.replace(' ', '-')}-{number}"):
                    opened = 0.0
                self.count(name, time.monotonic() - began)
            except (OSError, Failed, ValueError) as error:
                self.fail(now, f"{name}, opened {began - opened:.1f} s before," if connection else f"{name},", connection, error)
                if connection:
                    connection.close()
                connection = None
            time.sleep(PAUSE)

    def count(self, name, took):
        with self.lock:
            self.answered[name] = self.answered.get(name, 0) + 1
            self.slowest = max(self.slowest, took)

    def fail(self, began, name, connection, error):
        with self.lock:
            self.failures.append(failed(began, name, connection, error))

    def do_count(self):
        with self.lock:
            slowest, self.slowest = self.slowest, 0.0
            failures, self.failures = self.failures, []
            return {"answered": dict(self.answered), "failures": failures, "slowest": round(slowest, 2)}

    def do_idle(self):
        for _, connection in self.idle:
            connection.close()
        self.idle = []
        for number in range(IDLE):
            for kind in (Requests, Lines):
                connection, began = None, time.time()
                try:
                    connection = kind(self.address)
                    connection.ask(f"idle-{number}")
                    self.idle.append((f"{kind.kind} idle {number}", connection))
                except (OSError, Failed, ValueError) as error:
                    self.fail(began, f"{kind.kind} idle {number} at its begin,", connection, error)
        return {"idle": len(self.idle)}

    def do_probe(self):
        """All at the same time: each may have to wait."""
        out = {"answered": 0, "ended": 0, "failed": []}
        kept = []

        def probe(name, connection):
            began = time.time()
            try:
                ended = connection.ended()
                again = not ended and connection.ask("probe")
            except (OSError, Failed, ValueError) as error:
                with self.lock:
                    out["failed"].append(failed(began, name, connection, error))
                return
            with self.lock:
                out["ended" if ended else "answered"] += 1
                if again:
                    kept.append((name, connection))

        threads = [threading.Thread(target=probe, args=each) for each in self.idle]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.idle = kept
        return out


def load(address):
    running = Load(address)
    for word in sys.stdin:
        print(json.dumps(getattr(running, "do_" + word.strip())()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        load(sys.argv[2])

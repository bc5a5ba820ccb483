# SPDX-License-Identifier: Apache-2.0
"""GOAWAY, RST_STREAM, priorities and CONNECT of HTTP/2 through heddle: each check says what it found wrong."""

import itertools
import re
import socket
import threading

import h2.exceptions
import hyperframe.frame

import h2_wire
from listening import Listening

WAIT = 20  # seconds, for what comes at once
HELD = 64 * 1024  # of a request's content, to send it again


class Server(Listening):
    """Answers a request with the number of the connection that it came over; one of a path that ends in a key of `waits`
    only when it is told to."""

    def __init__(self):
        self.connections = []
        self.changed = threading.Condition()
        self.requests = []  # (connection, stream, path) in order
        self.resets = {}  # code by path
        self.waits = set()
        super().__init__()

    def serve(self, sock):
        with sock:
            connection = h2_wire.Connection(sock, False)
            with self.changed:
                connection.number = len(self.connections)
                self.connections.append(connection)
            try:
                while got := sock.recv(256 * 1024):
                    with self.changed:
                        for stream in dict.fromkeys(connection.take(got)):
                            self.look(connection, stream)
                        self.changed.notify_all()
            except (h2_wire.Ended, OSError, h2.exceptions.ProtocolError):
                pass

    def look(self, connection, stream):
        received = connection.streams[stream]
        path = dict(received.fields).get(b":path", b"").decode()
        if (connection, stream, path) not in self.requests:
            self.requests.append((connection, stream, path))
        if received.reset >= 0:
            self.resets[path] = received.reset
        elif received.ended and not any(path.endswith(key) for key in self.waits):
            self.answer(connection, stream)

    @staticmethod
    def answer(connection, stream):
        fields = dict(connection.streams[stream].fields)
        connection.head(stream, [(b":status", b"200"), (b"x-priority", fields.get(b"priority", b""))])
        connection.content(stream, b"%d" % connection.number)

    def wait(self, key, count):
        """The first `count` requests whose path ends in the key."""
        def found():
            return [each for each in self.requests if each[2].endswith(key)]
        with self.changed:
            if not self.changed.wait_for(lambda: len(found()) >= count, WAIT):
                raise h2_wire.Ended(f"the server saw {len(found())} of {count} requests")
            return found()

    def wait_reset(self, path):
        with self.changed:
            self.changed.wait_for(lambda: path in self.resets, WAIT)
            return self.resets.get(path)

    def go_away(self, connection, last, answered=()):
        with self.changed:
            connection.h2.close_connection(last_stream_id=last)
            connection.flush()
            # It says GOAWAY and serves on; h2 takes the word for the end.
            connection.h2.state_machine.state = h2.connection.ConnectionState.SERVER_OPEN
            for stream in answered:
                self.answer(connection, stream)


class Client:
    def __init__(self, address):
        self.connection = h2_wire.connect(address)
        self.connection.sock.settimeout(WAIT)

    def ask(self, path, method=b"GET", content=None, end=True, more=()):
        connection = self.connection
        stream = connection.h2.get_next_available_stream_id()
        connection.streams[stream] = h2_wire.Received()
        head = [(b":method", method), (b":scheme", b"http"), (b":authority", b"web.test"), (b":path", path.encode()), *more]
        connection.head(stream, head, end and content is None)
        if content is not None:
            self.send(stream, content, end)
        connection.flush()
        return stream

    def send(self, stream, content, end):
        """As the windows allow."""
        connection = self.connection
        while content:
            room = min(connection.h2.local_flow_control_window(stream), connection.h2.max_outbound_frame_size)
            if room == 0:
                connection.receive()
                continue
            connection.h2.send_data(stream, content[:room], end_stream=end and len(content) <= room)
            content = content[room:]
            connection.flush()

    def raw(self, *frames):
        self.connection.sock.sendall(b"".join(frames))

    def result(self, stream):
        """ "STATUS CONTENT", or "reset CODE". An answer before the request's end may be followed by a reset (RFC 9113 8.1)."""
        while not self.connection.streams[stream].over():
            self.connection.receive()
        received = self.connection.streams[stream]
        if received.reset > 0 or not received.ended:
            return f"reset {received.reset}"
        return f"{dict(received.fields)[b':status'].decode()} {received.body.decode()}"

    def close(self):
        self.connection.sock.close()


class Checks:
    def __init__(self):
        self.server = Server()
        self.problems = []
        self.keys = itertools.count()

    def run(self, way, address):
        checks = [name for name in dir(self) if name.startswith("check_")]
        for name in checks:
            client = Client(address)
            try:
                for what, want, got in getattr(self, name)(client, f"/{way}{next(self.keys)}."):
                    if not re.fullmatch(want, str(got)):
                        self.problems.append(f"{way}: {name}: {what}: {got!r} instead of {want!r}")
            except (h2_wire.Ended, OSError, h2.exceptions.ProtocolError) as error:
                self.problems.append(f"{way}: {name}: {error!r}")
            client.close()
        return len(checks)

    def drain(self, way, address, drain):
        """`drain`: has the proxy begin to. Clients are told at once, and what runs is finished."""
        key = f"/{way}-drained."
        self.hold(key)
        client = Client(address)
        try:
            running = client.ask(key)
            connection, stream, _ = self.server.wait(key, 1)[0]
            drain()
            while not client.connection.went_away:
                client.connection.receive()
            with self.server.changed:
                self.server.answer(connection, stream)
            if client.result(running) != f"200 {connection.number}":
                self.problems.append(f"{way}: a stream that ran while the proxy drained: {client.result(running)}")
            while client.connection.sock.recv(4096):
                pass
        except (h2_wire.Ended, OSError, h2.exceptions.ProtocolError) as error:
            self.problems.append(f"{way}: drained: {error!r}")
        client.close()

    def hold(self, key):
        self.server.waits.add(key)

    def release(self, key):
        self.server.waits.discard(key)

    def check_goaway_below_streams(self, client, key):
        """Those above the last one were not processed: they are sent again, whatever their method."""
        self.hold(key)
        contents = {b"GET": None, b"POST": b"x" * HELD}
        first = client.ask("/first" + key)
        below = self.server.wait("/first" + key, 1)[0]
        others = {method: client.ask(f"/{method.decode()}{key}", method, content) for method, content in contents.items()}
        seen = {method: self.server.wait(f"/{method.decode()}{key}", 1)[0] for method in others}
        yield "all are on one connection", "1", len({each[0].number for each in (below, *seen.values())})
        # What ends only when it is not held any more would be answered here.
        with self.server.changed:
            self.server.changed.wait_for(lambda: all(each.streams[stream].ended for each, stream, _ in seen.values()), WAIT)
        self.release(key)
        self.server.go_away(below[0], below[1], [below[1]])
        yield "the last one is answered where it is", f"200 {below[0].number}", client.result(first)
        for method, stream in others.items():
            yield f"{method} is answered elsewhere", rf"200 (?!{below[0].number}$)\d+", client.result(stream)

    def check_goaway_below_content_that_is_gone(self, client, key):
        """More of it was sent than is kept: the client has to know."""
        self.hold(key)
        first = client.ask("/first" + key)
        below = self.server.wait("/first" + key, 1)[0]
        large = client.ask("/large" + key, b"POST", b"x" * (HELD + 1), end=False)
        above = self.server.wait("/large" + key, 1)[0]
        yield "both are on one connection", str(below[0].number), above[0].number
        with self.server.changed:
            self.server.changed.wait_for(lambda: len(above[0].streams[above[1]].body) > HELD, WAIT)
        self.release(key)
        self.server.go_away(below[0], below[1], [below[1]])
        yield "the last one is answered", f"200 {below[0].number}", client.result(first)
        yield "the client may try again", "reset 7|502 ", client.result(large)

    def check_goaway_leaves_running_streams(self, client, key):
        self.hold(key)
        running = client.ask("/running" + key)
        here = self.server.wait("/running" + key, 1)[0]
        self.server.go_away(here[0], here[1])
        # The word has been heard when a stream goes elsewhere; all do from then on.
        for _ in range(1000):
            number = client.result(client.ask("/next"))
            if number != f"200 {here[0].number}":
                break
        for _ in range(10):
            yield "new streams go elsewhere", rf"200 (?!{here[0].number}$)\d+", client.result(client.ask("/next"))
        with self.server.changed:
            self.server.answer(here[0], here[1])
        yield "the old one ends in order", f"200 {here[0].number}", client.result(running)

    def check_end_without_an_answer(self, client, key):
        """GOAWAY says that they may have been processed: only what may be repeated is."""
        self.hold(key)
        streams = {method: client.ask(f"/{method.decode()}{key}", method) for method in (b"GET", b"POST")}
        here = [self.server.wait(f"/{method.decode()}{key}", 1)[0] for method in streams]
        self.release(key)
        self.server.go_away(here[0][0], max(each[1] for each in here))
        here[0][0].sock.shutdown(socket.SHUT_RDWR)
        yield "GET is tried again", rf"200 (?!{here[0][0].number}$)\d+", client.result(streams[b"GET"])
        yield "POST is not", "502 ", client.result(streams[b"POST"])
        yield "POST was sent once", "1", len(self.server.wait(f"/POST{key}", 1))

    def check_a_client_that_resets(self, client, key):
        self.hold(key)
        other, given_up = client.ask("/other" + key), client.ask("/given-up" + key, b"POST", b"abc", end=False)
        self.server.wait(key, 2)
        client.connection.h2.reset_stream(given_up, 0x8)
        client.connection.flush()
        yield "the server is told", "8", self.server.wait_reset("/given-up" + key)
        self.release(key)
        connection, stream, _ = self.server.wait("/other" + key, 1)[0]
        with self.server.changed:
            self.server.answer(connection, stream)
        yield "the other stream goes on", r"200 \d+", client.result(other)

    def check_priorities(self, client, key):
        """RFC 7540's and RFC 9218's change nothing, the field reaches the server."""
        frames = [hyperframe.frame.PriorityFrame(number, depends_on=on, stream_weight=255, exclusive=True).serialize()
                  for number, on in ((3, 0), (5, 3), (7, 5), (3, 7), (101, 99))]
        update = b"\0\0\x0a\x10\0\0\0\0\0" + (1).to_bytes(4, "big") + b"u=0, i"  # PRIORITY_UPDATE of stream 1
        client.raw(*frames, update)
        streams = [client.ask(f"/{number}{key}", more=[(b"priority", b"u=%d, i" % number)]) for number in range(8)]
        client.raw(update.replace(b"u=0", b"???"), *frames)
        for number, stream in enumerate(streams):
            yield "an answer", r"200 \d+", client.result(stream)
            yield "the field", f"u={number}, i", dict(client.connection.streams[stream].fields)[b"x-priority"].decode()

    def check_connect(self, client, key):
        """Neither form is served at an app's connection, and both leave it as it was."""
        client.connection.h2.config.validate_outbound_headers = False
        yield "before", r"200 \d+", client.result(client.ask(key))
        offered = client.connection.h2.remote_settings.get(0x8, 0)
        yield "extended CONNECT is not offered (RFC 8441 3)", "0", int(offered)
        connection = client.connection
        for about, head, want in (
            ("CONNECT", [(b":method", b"CONNECT"), (b":authority", b"web.test:80")], "501 "),
            ("extended", [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/"),
                          (b":authority", b"web.test")], "reset 1"),
        ):
            stream = connection.h2.get_next_available_stream_id()
            connection.streams[stream] = h2_wire.Received()
            connection.head(stream, head)
            connection.flush()
            yield about, want, client.result(stream)
        yield "after", r"200 \d+", client.result(client.ask(key))

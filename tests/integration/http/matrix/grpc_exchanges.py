# SPDX-License-Identifier: Apache-2.0
"""gRPC by grpcio: calls of all four shapes, with every status, metadata, deadlines and cancellations."""

import concurrent.futures
import itertools
import threading

import grpc

LONG = 60  # seconds that nobody waits for
MESSAGE = "über % \n'quoted'"


def identity(data):
    return data


class Service(grpc.GenericRpcHandler):
    """Does what the metadata of a call asks for."""

    def __init__(self):
        self.ended = {}  # by call: set when the server saw that it is over

    def service(self, details):
        shape = details.method.rpartition("/")[2]
        make = {"unary": grpc.unary_unary_rpc_method_handler, "pushed": grpc.unary_stream_rpc_method_handler,
                "gathered": grpc.stream_unary_rpc_method_handler, "both": grpc.stream_stream_rpc_method_handler}[shape]
        return make(getattr(self, shape), identity, identity)

    def begin(self, context):
        asked = dict(context.invocation_metadata())
        if "initial" in asked:
            context.send_initial_metadata([("x-initial", asked["initial"]), ("x-bytes-bin", bytes(range(256)))])
        if "trailing" in asked:
            context.set_trailing_metadata([("x-trailing", asked["trailing"]), ("x-trailing-bin", b"\x00\xff")])
        if "hang" in asked:
            ended = self.ended.setdefault(asked["hang"], threading.Event())
            if not context.add_callback(ended.set):
                ended.set()  # it was over before
            ended.wait(LONG)
        return asked

    @staticmethod
    def finish(context, asked):
        code = int(asked.get("status", "0"))
        if code:
            context.abort(next(each for each in grpc.StatusCode if each.value[0] == code), MESSAGE)

    def unary(self, request, context):
        self.finish(context, self.begin(context))
        return request[::-1]

    def pushed(self, request, context):
        asked = self.begin(context)
        for number in range(int(asked.get("count", "3"))):
            yield b"%d:" % number + request
        self.finish(context, asked)

    def gathered(self, requests, context):
        asked = self.begin(context)
        gathered = b"|".join(requests)
        self.finish(context, asked)
        return gathered

    def both(self, requests, context):
        asked = self.begin(context)
        for request in requests:
            yield request[::-1]
        self.finish(context, asked)


def calls():
    """(shape, messages, metadata) of each."""
    for shape, size in itertools.product(("unary", "pushed", "gathered", "both"), (0, 1, 16384, 1 << 20)):
        yield shape, [b"ab" * (size // 2) + b"c" * (size % 2)] * (1 if shape in ("unary", "pushed") else 3), []
    for shape, code in itertools.product(("unary", "pushed", "gathered", "both"), range(17)):
        yield shape, [b"x"], [("status", str(code))]
        yield shape, [b"x"], [("status", str(code)), ("initial", "i"), ("trailing", "t")]
    yield "pushed", [b"x"], [("count", "0"), ("status", "5")]  # trailers only
    yield "pushed", [b"x"], [("count", "500")]
    yield "both", [b"%d" % n for n in range(500)], [("x-sent-bin", bytes(range(256)))]


class Exchanges:
    def __init__(self):
        self.service = Service()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), [self.service])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.problems = []
        self.count = 0
        self.direct = self.run(("127.0.0.1", self.port), "direct")

    def compare(self, way, address):
        for call, want, got in zip(calls(), self.direct, self.run(address, way), strict=True):
            if want != got:
                self.problems.append(f"{way}: gRPC {call[0]} {call[2]}: {str(want)[:300]} became {str(got)[:300]}")

    def run(self, address, way):
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"{address[0]}:{address[1]}", options) as channel:
            found = [self.call(channel, *each) for each in calls()]
            self.deadlines(channel, way)
        self.count = len(found) + 4
        return found

    @staticmethod
    def invoke(channel, shape, messages, metadata, timeout):
        make = {"unary": channel.unary_unary, "pushed": channel.unary_stream, "gathered": channel.stream_unary,
                "both": channel.stream_stream}[shape]
        method = make(f"/test.Shapes/{shape}", identity, identity)
        sent = messages[0] if shape in ("unary", "pushed") else iter(messages)
        start = method.future if shape in ("unary", "gathered") else method
        return start(sent, timeout=timeout, metadata=metadata)

    def call(self, channel, shape, messages, metadata):
        running = self.invoke(channel, shape, messages, metadata, LONG)
        try:
            received = [running.result()] if shape in ("unary", "gathered") else list(running)
        except grpc.RpcError:
            received = None
        own = [each for each in running.initial_metadata() or () if not each[0].startswith("l5d-")]
        return running.code(), running.details(), received, own, list(running.trailing_metadata() or ())

    def deadlines(self, channel, way):
        """The server hears at once of a client that gave up, and the client when it should."""
        for shape, cancels in itertools.product(("unary", "both"), (False, True)):
            key = f"{way} {shape} {cancels}"
            ended = self.service.ended.setdefault(key, threading.Event())
            running = self.invoke(channel, shape, [b"x"], [("hang", key)], LONG if cancels else 0.3)
            if cancels:
                running.cancel()
            wanted = grpc.StatusCode.CANCELLED if cancels else grpc.StatusCode.DEADLINE_EXCEEDED
            if running.code() != wanted:
                self.problems.append(f"{key}: {running.code()}")
            if not cancels and not ended.wait(20):
                self.problems.append(f"{key}: the server was not told")

    def refused(self, address, code):
        """A call that a proxy refuses in its own name."""
        want = next(each for each in grpc.StatusCode if each.value[0] == code)
        with grpc.insecure_channel(f"{address[0]}:{address[1]}", [("grpc.enable_http_proxy", 0)]) as channel:
            got = self.call(channel, "unary", [b"x"], [])
        if got[0] != want or "l5d-proxy-error" not in dict(got[4]):
            self.problems.append(f"refused with {got} instead of {want}")

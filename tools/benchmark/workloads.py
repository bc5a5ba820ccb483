# SPDX-License-Identifier: Apache-2.0
"""The workloads: what runs in a client's pod, and what it says of itself."""
import json
import os
import re

# wrk says as JSON what it found; its own calculation is done when this runs.
WRK_SCRIPT = """
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('\\n{"requests":%d,"seconds":%.6f,"errors":%d,"p50_us":%.1f,"p99_us":%.1f,"p999_us":%.1f}\\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""
GRPC_MESSAGE = b"\0\0\0\0\x5f" + b"g" * 95


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


class Wrk:
    program = "wrk"

    def __init__(self, connections):
        self.connections = connections

    def command(self, target, seconds, tools):
        return ["wrk", "-t1", f"-c{self.connections}", f"-d{max(1, round(seconds))}s", "-s", tools.file("wrk.lua", WRK_SCRIPT),
                f"http://{target}/"]

    def result(self, output, tools):
        return last_json(output)


class H2load:
    """h2load, which stops in the middle of requests; those that were complete count."""

    program = "h2load"

    def __init__(self, connections, streams, grpc=False):
        self.connections = connections
        self.streams = streams
        self.grpc = grpc

    def command(self, target, seconds, tools):
        command = ["h2load", f"-c{self.connections}", f"-m{self.streams}", "-t1", "-D", f"{round(seconds * 1000)}ms",
                   f"--log-file={tools.path('h2load.log')}", "-w20", "-W24"]
        if self.grpc:
            command += ["-d", tools.file("grpc.bin", GRPC_MESSAGE), "-H", "content-type: application/grpc", "-H",
                        "te: trailers"]
        return command + [f"http://{target}/h2/bench"]

    def result(self, output, tools):
        counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
        statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
        if not counts or not statuses:
            raise ValueError(f"h2load said: {output[-400:]}")
        seconds = re.search(r"finished in ([\d.]+)(us|ms|s)", output)
        scale = {"us": 1e-6, "ms": 1e-3, "s": 1}[seconds[2]]
        with open(tools.path("h2load.log")) as f:
            took = sorted(int(line.rsplit("\t", 1)[1]) for line in f)
        os.unlink(tools.path("h2load.log"))
        at = lambda part: took[min(len(took) - 1, int(part * len(took)))] if took else 0
        errors = sum(int(statuses[i]) for i in (2, 3, 4)) + int(counts[3]) + int(counts[4])
        return {"requests": int(statuses[1]), "seconds": float(seconds[1]) * scale, "errors": errors, "p50_us": at(.5),
                "p99_us": at(.99), "p999_us": at(.999)}


class Traffic:
    """Our own load program."""

    program = None  # is built with this benchmark

    def __init__(self, what, *arguments):
        self.what = what
        self.arguments = arguments

    def command(self, target, seconds, tools):
        more = [f"--bytes={int(seconds * tools.bulk_bytes_per_second)}"] if self.what == "bulk" else \
            [f"--seconds={seconds:g}"]
        return [tools.traffic, self.what, target, *self.arguments, *more]

    def result(self, output, tools):
        return last_json(output)


class Workload:
    """`protocol` is what the client speaks; `unit` is what CPU is counted for. A `flood` is a load that another pod makes
    meanwhile, as fast as it can: then latency is what counts, and CPU is nobody's."""

    def __init__(self, name, title, protocol, load, unit="request", flood=None):
        self.name = name
        self.title = title
        self.protocol = protocol
        self.load = load
        self.unit = unit
        self.flood = flood

    def units(self, found):
        """How many of the unit passed the proxies, a warm-up's included."""
        if self.unit == "GiB":
            return found["bytes"] / 2 ** 30
        return found.get("all_requests", found["requests"])


CALM = "h1_rate"  # what a flood's latency is compared to
WORKLOADS = {each.name: each for each in (
    Workload("h1_c1", "HTTP/1.1, 1 connection", "h1", Wrk(1)),
    Workload("h1_c16", "HTTP/1.1, 16 connections", "h1", Wrk(16)),
    Workload("h1_c128", "HTTP/1.1, 128 connections", "h1", Wrk(128)),
    Workload("h1_rate", "HTTP/1.1, 2,000/s over 16 connections", "h1",
             Traffic("http1", "--connections=16", "--rate=2000")),
    Workload("h2_1x100", "HTTP/2, 1 connection, 100 streams", "h2", H2load(1, 100)),
    Workload("h2_16x10", "HTTP/2, 16 connections, 10 streams", "h2", H2load(16, 10)),
    Workload("grpc_16x10", "gRPC, 16 connections, 10 streams", "h2", H2load(16, 10, grpc=True)),
    Workload("conn_h1", "HTTP/1.1, a connection each, 16 at a time", "h1",
             Traffic("http1-connections", "--connections=16"), "connection"),
    Workload("conn_tcp", "opaque TCP, a connection each, 16 at a time", "tcp",
             Traffic("connections", "--connections=16"), "connection"),
    Workload("tcp_ping", "opaque ping-pong, 1 connection", "tcp", Traffic("ping", "--connections=1")),
    Workload("tcp_ping64", "opaque ping-pong, 64 connections", "tcp", Traffic("ping", "--connections=64")),
    Workload("bulk_tcp1", "opaque bulk, one stream", "tcp", Traffic("bulk"), "GiB"),
    Workload("flood_requests", "h1_rate beside a pod that floods with requests over 128 connections", "h1",
             Traffic("http1", "--connections=16", "--rate=2000"), flood=Traffic("http1", "--connections=128")),
    Workload("flood_connections", "h1_rate beside a pod that floods with new connections, 128 at a time", "h1",
             Traffic("http1", "--connections=16", "--rate=2000"),
             flood=Traffic("http1-connections", "--connections=128")),
)}

# By protocol: once through each pair before anything counts, for discovery, pools and caches.
WARM_UPS = {"h1": Workload("warm-up", "", "h1", Traffic("http1", "--connections=64")),
            "h2": Workload("warm-up", "", "h2", H2load(16, 10)),
            "tcp": Workload("warm-up", "", "tcp", Traffic("ping", "--connections=64"))}

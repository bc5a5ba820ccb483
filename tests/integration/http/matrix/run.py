# SPDX-License-Identifier: Apache-2.0
"""Compares HTTP exchanges through heddle with the same ones without it.

Says "NAME VERSION PORT" for each server that it started and "ready"; reads "WAY NAME PORT" for each way through heddle
that leads there, ended by "go IDENTITY"; then prints what differed, and exits with 0 if nothing did."""

import concurrent.futures
import pathlib
import sys
import time

import differences
import grpc_exchanges
import h1_exchanges
import h2_exchanges
import tool_exchanges
import tool_servers

DOCUMENT = pathlib.Path(__file__).resolve().parents[4] / "docs" / "http.md"


def compare_with_document(shown):
    documented = differences.documented(DOCUMENT.read_text(encoding="utf-8"))
    missing = [f"not in {DOCUMENT}: difference '{name}'" for name in shown - documented]
    return missing + [f"{DOCUMENT} tells of '{name}', which no exchange shows" for name in documented - shown]


def read_ways():
    """The ways to the servers that were told, and the client's identity."""
    print("ready", flush=True)
    ways = {}
    for line in sys.stdin:
        way, name, *port = line.split()
        if way == "go":
            return ways, name.encode()
        ways[way, name] = ("127.0.0.1", int(port[0]))
    sys.exit("the conversation ended")


def ways_to(name, ways):
    return {way: address for (way, server), address in ways.items() if server == name}


def main():
    mixtures = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    h1 = h1_exchanges.Exchanges(mixtures)
    print(f"raw1 http1 {h1.server.address[1]}")
    h2 = h2_exchanges.Exchanges()
    print(f"raw2 http2 {h2.server.address[1]}")
    grpc = grpc_exchanges.Exchanges()
    print(f"grpc http2 {grpc.port}")
    tools = [tool_exchanges.Exchanges(server) for server in tool_servers.start_all()]
    for each in tools:
        print(f"{each.name} http{each.version} {each.port}")
    ways, identity = read_ways()
    began = time.monotonic()
    h1.run_direct()
    print(f"{len(h1.cases)} HTTP/1 exchanges directly {time.monotonic() - began:.1f} s")
    h2.run_direct()
    print(f"{len(h2.cases)} HTTP/2 exchanges directly {time.monotonic() - began:.1f} s")
    if h1.problems or h2.problems:
        ways = {}
    for (way, name), address in ways.items():
        if name == "raw1":
            h1.compare(way, address, identity, way == "far")
            piped = h1.pipelines(way, address)
            print(f"{way} {name} and {piped} pipelined {time.monotonic() - began:.1f} s")
        if name == "raw2":
            h2.compare(way, address, identity)
            print(f"{way} {name} {time.monotonic() - began:.1f} s")
        if way.isdigit():
            grpc.refused(address, int(way))
        elif name == "grpc":
            grpc.compare(way, address)
            print(f"{way} {grpc.count} calls by {name} {time.monotonic() - began:.1f} s")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for each, count in zip(tools, pool.map(lambda each: each.compare(ways_to(each.name, ways)), tools)):
            print(f"{count} by other programs of {each.name} {time.monotonic() - began:.1f} s")
    problems = h1.problems + h1.server.trouble + h2.problems + h2.server.trouble + grpc.problems
    for each in tools:
        problems += each.problems
    problems += compare_with_document(h1.shown)
    for each in problems[:200]:
        print(each)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

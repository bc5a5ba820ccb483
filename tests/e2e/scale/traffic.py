#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Both ends of the scale test's connections. A connection carries, both ways, a length, bytes made from a seed, and
their checksum; how it ends and how fast it is read is chosen by its number. The server knows what it must receive
from the first line alone, so corruption is seen at either end. Clients print one JSON document."""
import asyncio
import json
import os
import random
import resource
import socket
import sys
import time
import zlib

BLOCK = random.Random(7).randbytes(1 << 20)


def content(seed, size):
    at = seed * 7919 % (len(BLOCK) - size)
    return BLOCK[at:at + size]


KINDS = ("plain", "client ends first", "server ends first", "client resets", "server resets", "slow client", "slow server",
         "both at once")


def plan(number):
    """(kind, bytes up, bytes down): the same at both ends."""
    chosen = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    most = 200_000 if "slow" in kind else 20_000
    return kind, chosen.randrange(1, most), chosen.randrange(1, most)


async def read_all(reader, size, slow):
    """Exactly `size` bytes, or fewer at the end of the stream."""
    got = bytearray()
    while len(got) < size:
        chunk = await reader.read(2048 if slow and len(got) < 60_000 else 65536)
        if not chunk:
            break
        got += chunk
        if slow and len(got) < 60_000:
            await asyncio.sleep(0.002)
    return bytes(got)


def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()


async def serve_one(reader, writer):
    bad, kind = "", "reset before the first line"
    try:
        line = await reader.readline()
        if not line:
            return writer.close()
        number = int(line.split()[1])
        kind, up, down = plan(number)
        if kind == "server ends first":
            writer.write(content(number + 1, down))
            writer.write_eof()
            got = await read_all(reader, up + 1, False)
        elif kind == "server resets":
            got = await read_all(reader, up // 2, False)
            if got != content(number, up)[:len(got)]:
                raise ValueError("corrupt before the reset")
            reset(writer)
            return
        elif kind == "both at once":
            writer.write(content(number + 1, down))
            got = await read_all(reader, up + 1, False)
            writer.write_eof()
        else:
            got = await read_all(reader, up + (kind == "client ends first"), kind == "slow server")
            if kind == "client resets":
                if got != content(number, up)[:len(got)]:
                    raise ValueError("corrupt before the reset")
                writer.close()
                return
            writer.write(content(number + 1, down))
            await writer.drain()
        if got != content(number, up):
            bad = f"{number} {kind}: {len(got)} of {up} bytes, {zlib.crc32(got):08x}"
    except (OSError, ValueError, IndexError, asyncio.IncompleteReadError) as error:
        if "reset" not in kind or isinstance(error, ValueError):
            bad = f"{kind}: {type(error).__name__} {error}"
    if bad:
        print("BAD " + bad, flush=True)
    try:
        writer.close()
        await writer.wait_closed()
    except OSError:
        pass


async def serve(port):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    listeners = [socket.create_server(("::", each), family=socket.AF_INET6, dualstack_ipv6=True)
                 for each in (port, port + 1)]
    server = await asyncio.start_server(serve_one, sock=listeners[0], limit=1 << 18, backlog=4096)
    idle = await asyncio.start_server(idle_one, sock=listeners[1], limit=4096, backlog=4096)
    async with server, idle:
        await server.serve_forever()


async def idle_one(reader, writer):
    """Answers one line or one HTTP request, then keeps the connection as long as the client does."""
    try:
        while line := await reader.readline():
            if line.startswith(b"GET "):
                while (await reader.readline()).strip():
                    pass
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")
            else:
                writer.write(b"ok " + line)
    except (OSError, ValueError):
        pass
    writer.close()


async def connect_one(host, port, number):
    kind, up, down = plan(number)
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 18)
    try:
        writer.write(b"begin %d\n" % number)
        data = content(number, up)
        if kind == "client resets":
            writer.write(data[:up // 2])
            await writer.drain()
            reset(writer)
            return ""
        if kind == "server resets":
            try:
                writer.write(data)
                await writer.drain()
                while await reader.read(65536):
                    pass
                return f"{kind} became an orderly end"
            except OSError:
                return ""
        writer.write(data)
        if kind == "client ends first":
            writer.write_eof()
        await writer.drain()
        got = await read_all(reader, down + (kind in ("client ends first", "server ends first", "slow client")) ,
                             kind == "slow client")
        if kind in ("server ends first", "both at once"):
            writer.write_eof()
        if got != content(number + 1, down):
            return f"{kind}: {len(got)} of {down} bytes, {zlib.crc32(got):08x}"
        rest = b"" if kind in ("plain", "slow server") else await reader.read(1)
        return f"{kind}: more than was sent" if rest else ""
    finally:
        writer.close()


async def load(host, port, first, count, parallel):
    errors, done = {}, 0
    numbers = iter(range(first, first + count))

    async def work():
        nonlocal done
        for number in numbers:
            try:
                bad = await asyncio.wait_for(connect_one(host, port, number), 60)
            except (OSError, asyncio.TimeoutError) as error:
                bad = f"{plan(number)[0]}: {type(error).__name__} {error}"
            done += not bad
            if bad:
                errors.setdefault(bad[:60], []).append(number)

    begin = time.monotonic()
    await asyncio.gather(*(work() for _ in range(parallel)))
    print(json.dumps({"ok": done, "errors": {text: (len(which), which[:5]) for text, which in errors.items()},
                      "seconds": round(time.monotonic() - begin, 2)}), flush=True)


def idle(host, port, count, kind, ready, stop):
    """Connections that each do one exchange and then rest."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    question = b"GET / HTTP/1.1\r\nhost: idle\r\n\r\n" if kind == "http" else b"rest\n"
    kept, failed = [], {}
    for begin in range(0, count, 50):
        fresh = []
        for _ in range(min(50, count - begin)):
            try:
                connection = socket.create_connection((host, port), timeout=20)
                connection.sendall(question)
                fresh.append(connection)
            except OSError as error:
                failed[str(error)] = failed.get(str(error), 0) + 1
        for connection in fresh:
            try:
                answer = connection.recv(1000)
                if b"ok" not in answer:
                    raise OSError(repr(answer))
                kept.append(connection)
            except OSError as error:
                failed[str(error)] = failed.get(str(error), 0) + 1
    with open(ready + ".new", "w", encoding="ascii") as file:
        json.dump({"kept": len(kept), "failed": failed}, file)
    os.rename(ready + ".new", ready)
    while not os.path.exists(stop):
        time.sleep(0.05)
    alive = 0
    for connection in kept:
        try:
            connection.sendall(question)
            alive += b"ok" in connection.recv(1000)
        except OSError:
            pass
    print(json.dumps({"alive": alive}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
    elif sys.argv[1] == "load":
        asyncio.run(load(sys.argv[2], *(int(word) for word in sys.argv[3:7])))
    else:
        idle(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:8])

# SPDX-License-Identifier: Apache-2.0
"""python3 -m api_server --folder F: serves https://127.0.0.1:PORT until it is ended, or its standard input is; prints
"ready PORT" when it does.

F has tls.crt and tls.key, and ca.crt which client certificates must come from. F/admin.sock takes orders (admin.py).
"""
import argparse
import asyncio
import os
import signal
import socket
import ssl
import sys

from .admin import Admin
from .connection import Connection
from .kinds import RELEASES
from .server import Server


class Program:
    def __init__(self, given):
        self.given = given
        self.connections = set()
        self.listener = None
        # Bound and never listening: the port stays ours while connections are refused.
        self.holder = self._bound(given.port)
        self.port = self.holder.getsockname()[1]
        with open(given.folder + "/ca.crt", encoding="ascii") as file:
            self.server = Server(given.release, f"127.0.0.1:{self.port}", file.read())
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=given.folder + "/ca.crt")
        self.tls.load_cert_chain(given.folder + "/tls.crt", given.folder + "/tls.key")
        self.tls.verify_mode = ssl.CERT_OPTIONAL
        self.tls.set_alpn_protocols(["http/1.1"] if given.http1 else ["h2", "http/1.1"])

    @staticmethod
    def _bound(port):
        out = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        out.bind(("127.0.0.1", port))
        return out

    async def listen(self, accept):
        if not accept and self.listener:
            self.listener.close()
            self.listener = None
        elif accept and not self.listener:
            self.listener = await asyncio.get_running_loop().create_server(
                lambda: Connection(self.server, self.connections), sock=self._bound(self.port), ssl=self.tls, backlog=512)

    async def run(self):
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        loop.add_reader(sys.stdin, lambda: sys.stdin.buffer.read1(4096) or ended.set())
        admin = Admin(self.server, self)
        await loop.create_unix_server(lambda: Connection(admin, set()), self.given.folder + "/admin.sock")
        await self.listen(True)
        print("ready", self.port, flush=True)
        await ended.wait()
        # At once: asyncio would wait for its tasks, and one that was woken as it was cancelled goes on (Python before 3.12).
        os._exit(0)


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--release", choices=sorted(RELEASES), default="1.33", help="what is served at first")
    parser.add_argument("--http1", action="store_true", help="offer no HTTP/2")
    await Program(parser.parse_args()).run()


if __name__ == "__main__":
    asyncio.run(main())

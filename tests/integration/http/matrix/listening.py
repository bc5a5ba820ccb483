# SPDX-License-Identifier: Apache-2.0
"""What the matrix's own servers have in common: a port of loopback, and a thread for each connection."""

import socket
import threading


class Listening:
    """Calls what derives from it, serve(socket), for each connection on a thread of its own: from its constructor on."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = self.socket.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            sock, _ = self.socket.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

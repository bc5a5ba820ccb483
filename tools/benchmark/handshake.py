# SPDX-License-Identifier: Apache-2.0
"""Proof that a peer's pair does the work that it is compared for: mutual TLS 1.3 with the agreed cipher."""
import ctypes
import os
import socket
import ssl
import threading

CLONE_NEWNET = 0x40000000
REQUEST = b"GET / HTTP/1.1\r\nhost: server.bench\r\nconnection: close\r\n\r\n"


def within(netns, call):
    """What `call` returns in another network namespace, which only the thread that runs it enters."""
    found = []

    def run():
        with open(netns) as f:
            if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), netns)
        found.append(call())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not found:
        raise OSError(f"nothing could be tried in {netns}")
    return found[0]


def exchange(address, name, folder, certificate):
    """The answer's first bytes and the cipher; no bytes when the other side refuses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(f"{folder}/ca.pem")
    if certificate:
        context.load_cert_chain(f"{folder}/client.pem", f"{folder}/client.key")
    host, port = address.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=5) as plain, \
                context.wrap_socket(plain, server_hostname=name) as secured:
            secured.sendall(REQUEST)
            return secured.recv(64), secured.cipher()[0]
    except (ssl.SSLError, ConnectionError):
        return b"", ""


def fault(netns, address, name, folder, cipher):
    """What is wrong with the server's side of a pair; none: an empty text. HTTP answers 200, bytes come back."""
    served = lambda answer: answer.startswith(b"HTTP/1.1 200") or answer.startswith(b"GET / ")
    answer, used = within(netns, lambda: exchange(address, name, folder, True))
    if not served(answer):
        return f"a client with a certificate got {answer!r}"
    if used != cipher:
        return f"it speaks {used}, not {cipher}"
    answer, _ = within(netns, lambda: exchange(address, name, folder, False))
    return f"a client without a certificate got {answer!r}" if served(answer) else ""

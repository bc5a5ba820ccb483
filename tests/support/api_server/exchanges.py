# SPDX-License-Identifier: Apache-2.0
"""Replays written exchanges against an API server, and says where its answers are others. Exit status: 0 none are, 1 some.

A file of exchanges is a list of {"name", "request": "METHOD PATH", "answer"} with, where needed, "headers", "body" (a document,
or text as it is), "type" of the body, "as" (a kept bearer token instead of the administrator's certificate) and "keep"
{name: [path into the answer]}, which later requests have as <name>. {"order": WORD} asks whoever runs this, on standard
output, to do something to the server ("compact"; "restart", with a compacted history; "settle": until RBAC is in force), and
goes on after a line on standard input. "skip": what is answered does not matter.

An answer has what differs from run to run replaced by names (UIDs, revisions, times, tokens). --record writes what the server
answers into the files: tests/cluster/exchanges_test.py does that with a real one.
"""
import argparse
import http.client
import json
import re
import ssl
import sys

HEADERS = ("content-type", "retry-after")
PLACED = {"uid": "<uid>", "resourceVersion": "<revision>", "creationTimestamp": "<time>", "deletionTimestamp": "<time>",
          "time": "<time>", "expirationTimestamp": "<time>", "token": "<token>", "continue": "<continue>", "clusterIP": "<ip>",
          "serverAddress": "<address>", "storageVersionHash": "<hash>"}
TEXTS = ((re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<uid>"),
         (re.compile(r"resource version: \d+ \(\d+\)"), "resource version: <revision> (<revision>)"),
         (re.compile(r"current: \d+"), "current: <revision>"), (re.compile(r"^\d+s$"), "<age>"),
         (re.compile(r"^10\.96\.\d+\.\d+$"), "<ip>"))


def plain(value, key=""):
    """Without what differs from run to run, and without documentation."""
    if isinstance(value, dict):
        out = {name: plain(part, name) for name, part in value.items() if name != "description"}
        if value.get("generateName") and value.get("name"):
            out["name"] = value["generateName"] + "<suffix>"
        return out
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, str):
        if key in PLACED and value and value != "None":
            # One that the test chose is as it is.
            return value if value.startswith("00000000-") else PLACED[key]
        for pattern, name in TEXTS:
            value = pattern.sub(name, value)
    return value


def readable(status, headers, body, watch):
    """An answer as files have it."""
    out = {"status": status} | {name: headers[name] for name in HEADERS if name in headers}
    text = body.decode(errors="replace")
    if watch and status == 200:
        # What a watch begins with comes in any order.
        events = [plain(json.loads(line)) for line in text.splitlines()]
        return out | {"events": events}
    try:
        return out | {"body": plain(json.loads(text))}
    except ValueError:
        return out | {"text": text}


class Replay:
    def __init__(self, given):
        self.given = given
        host, _, port = given.server.rpartition(":")
        self.address = (host, int(port))
        self.kept = {}
        self.tls = {}
        for name in ("certificate", "token"):
            self.tls[name] = ssl.create_default_context(cafile=given.ca)
        self.tls["certificate"].load_cert_chain(given.certificate, given.key)

    def fill(self, text):
        return re.sub(r"<(\w+)>", lambda found: str(self.kept.get(found[1], found[0])), text)

    def ask(self, exchange):
        method, _, path = exchange["request"].partition(" ")
        body = exchange.get("body")
        if body is not None:
            body = self.fill(body if isinstance(body, str) else json.dumps(body))
        headers = {"User-Agent": "exchange/1", "Accept": "application/json"} | exchange.get("headers", {})
        if body is not None:
            headers["Content-Type"] = exchange.get("type", "application/json")
        if "as" in exchange:
            headers |= {"Authorization": "Bearer " + self.fill(exchange["as"])} if exchange["as"] else {}
        tls = self.tls["token" if "as" in exchange else "certificate"]
        connection = http.client.HTTPSConnection(*self.address, context=tls, timeout=30)
        try:
            connection.request(method, self.fill(path), body, headers)
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        for name, where in exchange.get("keep", {}).items():
            self.kept[name] = self.find(raw, where)
        return readable(answer.status, {name.lower(): text for name, text in answer.getheaders()}, raw, "watch=1" in path)

    @staticmethod
    def find(raw, where):
        value = json.loads(raw)
        for step in where:
            value = value[step]
        return value

    def run(self, path):
        """How many answers are others than the file says."""
        with open(path, encoding="utf-8") as file:
            exchanges = json.load(file)
        different = 0
        for exchange in exchanges:
            if "order" in exchange:
                print("order " + exchange["order"], flush=True)
                sys.stdin.readline()
                continue
            answer = self.ask(exchange)
            if exchange.get("skip"):
                continue
            if self.given.record:
                exchange["answer"] = answer
            elif found := list(differences(ordered(exchange, exchange["answer"]), ordered(exchange, answer))):
                different += 1
                print(f"{path}: {exchange['name']}: {exchange['request']}", *found, sep="\n   ", flush=True)
        if self.given.record:
            with open(path, "w", encoding="utf-8") as file:
                file.write(written(exchanges))
        print(f"{path}: {len(exchanges)} exchanges, {different} different", flush=True)
        return different


def ordered(exchange, answer):
    """What has no order in one order: managers of fields, and what comes out of the server's cache."""
    answer = _ordered(answer)
    cached = "resourceVersion=0" in exchange["request"]
    if "events" in answer and all(event["type"] == "ADDED" for event in answer["events"]):
        answer["events"].sort(key=json.dumps)
    elif cached and "items" in answer.get("body", {}):
        answer["body"]["items"].sort(key=json.dumps)
    return answer


def _ordered(value):
    if isinstance(value, dict):
        out = {key: _ordered(value[key]) for key in sorted(value)}
        if isinstance(out.get("managedFields"), list):
            out["managedFields"].sort(key=json.dumps)
        return out
    return [_ordered(part) for part in value] if isinstance(value, list) else value


def differences(wanted, got, where=""):
    """Lines that say where a document is another."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        for key in sorted(wanted.keys() | got.keys()):
            yield from differences(wanted.get(key), got.get(key), f"{where}.{key}")
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for at, pair in enumerate(zip(wanted, got)):
            yield from differences(*pair, f"{where}[{at}]")
    elif wanted != got:
        yield f"{where}: wanted {json.dumps(wanted)}, got {json.dumps(got)}"


def written(exchanges):
    """One exchange after the other, a line for each of its parts."""
    def one(exchange):
        return "{" + ",\n  ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in exchange.items()) + "}"
    return "[" + ",\n ".join(one(exchange) for exchange in exchanges) + "]\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="HOST:PORT")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--certificate", required=True, help="of an administrator")
    parser.add_argument("--key", required=True)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("files", nargs="+")
    given = parser.parse_args()
    replay = Replay(given)
    return 1 if sum(replay.run(path) for path in given.files) else 0


if __name__ == "__main__":
    sys.exit(main())

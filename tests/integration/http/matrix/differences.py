# SPDX-License-Identifier: Apache-2.0
"""What a request and its answer look like after heddle, made from what they are without it.

Every difference has a name, which is the first column of a table in docs/http.md: a difference that is not documented
fails the test, and so does a documented one that no exchange shows."""

import h1_wire as wire

HOP_BY_HOP = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"te", b"upgrade", b"http2-settings")
KEPT = (b"host", b"content-length", b"close", b"keep-alive", b"upgrade")


def documented(text):
    """The names in the table of docs/http.md."""
    table = text.partition("## What looks different")[2].partition("\n## ")[0]
    return {line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")} - {"difference"}


class Expected:
    """Messages as they should be after heddle; `shown` gathers the differences that were needed."""

    def __init__(self, identity, crosses_nodes):
        self.identity = identity
        self.far = crosses_nodes
        self.shown = set()

    def show(self, name, changed=True):
        if changed:
            self.shown.add(name)

    def request(self, case, direct):
        fields = self.common_fields(direct.fields)
        cookies = [value for name, value in fields if name == b"cookie"]
        if self.far and len(cookies) > 1:
            self.show("cookies")
            fields = [each for each in fields if each[0] != b"cookie"] + [(b"cookie", b"; ".join(cookies))]
        host = self.host(case, direct)
        fields = [(b"host", host)] + [each for each in fields if each[0] != b"host"]
        self.show("client id")
        fields.append((b"l5d-client-id", self.identity))
        return [self.request_line(direct), fields, direct.body, lower(direct.trailers), direct.framing]

    def request_line(self, direct):
        """An absolute target is put together again behind an HTTP/2 hop."""
        method, target, version = direct.line.split(b" ")
        scheme, colon, rest = target.partition(b"://")
        if not colon or target.startswith(b"/") or not self.far:
            return direct.line
        again = scheme.lower() + colon + rest.replace(b"?", b"/?", 1 if b"/" not in rest else 0)
        if b"/" not in rest and b"?" not in rest and method != b"OPTIONS":
            again += b"/"
        self.show("absolute form", again != target)
        return b" ".join((method, again, version))

    def host(self, case, direct):
        target = direct.line.split(b" ")[1]
        if b"://" in target[:8]:
            named = target.split(b"/")[2].partition(b"?")[0]
            self.show("absolute form", named != case.host.encode())
            return named
        if not case.host:
            self.show("no host")
            return b"ADDRESS"
        return case.host.encode()

    def common_fields(self, given):
        fields = lower(given)
        self.show("names", self.far and fields != given)
        named = [option.strip().lower() for value in wire.values(fields, b"connection") for option in value.split(b",")]
        gone = set(HOP_BY_HOP) | {name for name in named if name and name not in KEPT}
        kept = [each for each in fields if each[0] not in gone]
        self.show("hop by hop", kept != fields)
        clean = [each for each in kept if not each[0].startswith((b"l5d-", b"heddle-"))]
        self.show("mesh fields", clean != kept)
        return clean + [(b"te", b"trailers")] * trailers_welcome(fields)

    def response(self, case, direct):
        version, status, *reason = direct.line.split(b" ", 2)
        speaks = case.version.encode()
        self.show("version", version != speaks)
        fields = self.common_fields(direct.fields)
        if status == b"204":
            kept = [each for each in fields if each[0] != b"content-length"]
            self.show("length of nothing", kept != fields)
            fields = kept
        if self.far or reason == [b""]:
            self.show("reason", reason not in ([b"Fine"], [b"OK"]))
            reason = None
        framing = direct.framing
        if framing == "until close" and case.version == "HTTP/1.1":
            self.show("until close")
            framing = "chunked"
        interim = [(each, self.common_fields(more)) for each, more in direct.interim]
        return [speaks, status, reason, fields, direct.body, lower(direct.trailers), framing, interim, direct.continued]

    def received_request(self, via):
        fields = [each for each in lower(via.fields) if each[0] not in (b"connection", b"transfer-encoding")]
        self.show("connection", bool(wire.values(via.fields, b"connection")))
        host = [(b"host", value) for value in wire.values(fields, b"host")]
        own = [each for each in fields if each[0] == b"l5d-client-id"]
        rest = te_last([each for each in fields if each not in host and each not in own])
        return [via.line, host + rest + own, via.body, lower(via.trailers), via.framing]

    def received_response(self, via, reason_is_kept):
        version, status, *reason = via.line.split(b" ", 2)
        fields = te_last([each for each in lower(via.fields) if each[0] not in (b"connection", b"transfer-encoding")])
        interim = [(each, lower(more)) for each, more in via.interim]
        return [version, status, reason if reason_is_kept else None, fields, via.body, lower(via.trailers), via.framing, interim,
                via.continued]


def trailers_welcome(fields):
    return any(b"trailers" == member.strip().lower() for value in wire.values(fields, b"te") for member in value.split(b","))


def te_last(fields):
    """Where it stands among the others depends on the hop that wrote it anew."""
    return [each for each in fields if each[0] != b"te"] + [each for each in fields if each[0] == b"te"]


def lower(fields):
    return [(name.lower(), value) for name, value in fields]


PARTS_OF_REQUEST = ("line", "fields", "body", "trailers", "framing")
PARTS_OF_RESPONSE = ("version", "status", "reason", "fields", "body", "trailers", "framing", "interim", "continued")


def describe(what, parts, expected, got):
    """The parts that differ, short enough to read."""
    found = []
    for name, want, have in zip(parts, expected, got):
        if want == have:
            continue
        if name in ("fields", "trailers"):
            missing = [each for each in want if each not in have]
            added = [each for each in have if each not in want]
            found.append(f"{what} {name}: missing {str(missing)[:300]} added {str(added)[:300]}" if missing or added
                         else f"{what} {name}: another order {str(want)[:300]} {str(have)[:300]}")
        else:
            found.append(f"{what} {name}: expected {str(want)[:200]} got {str(have)[:200]}")
    return found

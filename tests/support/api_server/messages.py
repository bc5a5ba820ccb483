# SPDX-License-Identifier: Apache-2.0
"""A request, and the two kinds of answers to it, whichever version of HTTP carries them."""
import json
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from .users import ANONYMOUS


def truth(text):
    """As the real server reads it; clients write all of them."""
    return text in ("1", "t", "T", "true", "TRUE", "True")


@dataclass
class Request:
    method: str
    target: str
    headers: dict  # lower-case names
    body: bytes = b""
    certificate: object = None  # of the client, as ssl.getpeercert() has it
    protocol: str = "HTTP/1.1"
    user: object = ANONYMOUS
    path: str = ""
    query: dict = field(default_factory=dict)

    def __post_init__(self):
        path, _, query = self.target.partition("?")
        self.path = unquote(path)
        self.query = dict(reversed(parse_qsl(query, keep_blank_values=True)))  # the first of several counts

    def header(self, name):
        return self.headers.get(name, "")

    def flag(self, name):
        return truth(self.query.get(name, ""))


@dataclass
class Answer:
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict = field(default_factory=dict)
    farewell: bool = False  # with HTTP/2 the client is told to go elsewhere


@dataclass
class Stream:
    """Bytes as they come; each is sent at once."""
    parts: object  # asynchronous iterator
    status: int = 200
    content_type: str = "application/json"
    headers: dict = field(default_factory=dict)
    farewell: bool = False


class Drop(Exception):
    """The connection is to be ended as if the network had."""


class Reset(Drop):
    """With HTTP/2 only the stream is to be ended; else the connection."""


def encoded(value):
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def json_answer(value, status=200, **headers):
    return Answer(status, encoded(value), headers={name.replace("_", "-"): text for name, text in headers.items()})


def text_answer(status, text):
    return Answer(status, text.encode(), "text/plain; charset=utf-8", {"X-Content-Type-Options": "nosniff"})

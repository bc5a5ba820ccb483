# SPDX-License-Identifier: Apache-2.0
"""Faults: rules that say which requests go wrong, and how.

A rule is a document: {"verb", "resource", "path" (a regular expression)} choose requests (all are optional), "times" is how
often it applies (else: always), "chance" with which probability. "do" is one of
  answer     with "code", and "retryAfter" (seconds), in place of what was asked
  drop       ends the connection without an answer
  reset      (HTTP/2) ends the stream without an answer; with HTTP/1.1 as drop
  goaway     (HTTP/2) answers, and tells the client to ask nothing more on this connection, as the real server does now and then
  stall      answers nothing until the rule is taken away, then ends the connection
  delay      answers after "milliseconds"
  cut        ends the connection after "bytes" of the body
  trickle    sends "bytes" of the body every "milliseconds"
  end        (watches) ends after "milliseconds", a number or [from, to] to choose from at random
  silence    (watches) begins, and never says anything, also when the rule is taken away
  gone       (watches) an ERROR event: what the client begins from is too old
"""
import asyncio
import random
import re

from . import statuses
from .messages import Answer, Drop, Reset, Stream, encoded, json_answer, text_answer

BEFORE = ("answer", "drop", "reset", "stall", "delay")
AFTER = ("goaway", "cut", "trickle", "end", "silence", "gone")
REASONS = {500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout", 403: "Forbidden", 401: "Unauthorized"}


class Rule:
    def __init__(self, given):
        self.given = given
        self.verb, self.resource = given.get("verb", ""), given.get("resource", "")
        self.path = re.compile(given.get("path", ""))
        self.left = given.get("times", float("inf"))
        self.chance = given.get("chance", 1.0)
        self.what = given["do"]
        if self.what not in BEFORE + AFTER:
            raise ValueError(f"no fault '{self.what}'")
        self.applied = 0
        self.lifted = asyncio.Event()

    def applies(self, note):
        if self.left <= 0 or not (self.verb in ("", note["verb"]) and self.resource in ("", note["resource"])):
            return False
        if not self.path.search(note["target"]) or random.random() >= self.chance:
            return False
        self.left -= 1
        self.applied += 1
        return True

    def milliseconds(self):
        given = self.given.get("milliseconds", 0)
        return random.uniform(*given) if isinstance(given, list) else given


class Faults:
    def __init__(self):
        self.rules = []

    def replace(self, rules):
        for rule in self.rules:
            rule.lifted.set()
        self.rules = [Rule(given) for given in rules]

    def state(self):
        return [rule.given | {"applied": rule.applied} for rule in self.rules]

    async def before(self, note):
        """An answer in place of the right one, or None."""
        for rule in self.rules:
            if rule.what not in BEFORE or not rule.applies(note):
                continue
            if rule.what == "delay":
                await asyncio.sleep(rule.milliseconds() / 1000)
                continue
            if rule.what == "stall":
                await rule.lifted.wait()
            if rule.what in ("drop", "stall"):
                raise Drop
            if rule.what == "reset":
                raise Reset
            return _refusal(rule.given)
        return None

    async def after(self, note, out):
        """What becomes of the right answer."""
        for rule in self.rules:
            if rule.what not in AFTER:
                continue
            watch = out.parts if isinstance(out, Stream) and hasattr(out.parts, "lines") else None
            if (rule.what in ("end", "silence", "gone") and watch is None) or not rule.applies(note):
                continue
            if rule.what == "goaway":
                out.farewell = True
            elif rule.what == "end":
                watch.deadline = min(watch.deadline, watch.loop.time() + rule.milliseconds() / 1000)
            elif rule.what == "silence":
                watch.silent = True
            elif rule.what == "gone":
                watch.close()
                error = statuses.expired("too old resource version: 1 (2)")
                out = Stream(_once(encoded({"type": "ERROR", "object": error.document()})))
            else:
                out = Stream(_disturbed(rule, out), out.status, out.content_type, out.headers, out.farewell)
        return out


def _refusal(given):
    code = given["code"]
    if code == 429:
        # Priority and fairness refuses in plain text.
        out = text_answer(429, "Too many requests, please try again later.\n")
    else:
        error = statuses.ApiError(code, REASONS.get(code, ""), "a fault of the test")
        out = json_answer(error.document(), code)
    if "retryAfter" in given:
        out.headers["Retry-After"] = str(given["retryAfter"])
    return out


async def _once(data):
    yield data


async def _disturbed(rule, out):
    size = max(1, rule.given.get("bytes", 1))
    seen = 0
    async for part in _parts(out):
        if rule.what == "cut" and seen + len(part) > size and not rule.lifted.is_set():
            yield part[:size - seen]
            raise Drop
        seen += len(part)
        if rule.what == "cut" or rule.lifted.is_set():
            yield part
            continue
        for at in range(0, len(part), size):
            yield part[at:at + size]
            await asyncio.sleep(rule.milliseconds() / 1000)


async def _parts(out):
    if isinstance(out, Answer):
        yield out.body
        return
    async for part in lines_of(out):
        yield part


def lines_of(stream):
    """The parts of a stream, whether it is a watch or already an iterator."""
    return stream.parts.lines() if hasattr(stream.parts, "lines") else stream.parts

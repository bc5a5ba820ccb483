# SPDX-License-Identifier: Apache-2.0
"""Watches: what is, what changes, bookmarks, and how they end."""
import asyncio
import random

from . import statuses, tables
from .conversion import from_kept
from .messages import encoded, truth
from .reading import number
from .selectors import selection

INITIAL_END = {"k8s.io/initial-events-end": "true"}
BOOKMARK_BEFORE_END = 2.0


def check(server, query):
    """Refuses what cannot be a watch. True: it begins with all objects and a bookmark that ends them."""
    asked = "sendInitialEvents" in query and "watchList" in server.served.features
    match, revision = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    causes = []
    if asked and match != "NotOlderThan":
        causes.append("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan" if match else
                      "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    if match and not asked:
        causes.append("resourceVersionMatch is forbidden for watch")
        if not revision:
            causes.append("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if causes:
        raise statuses.invalid("ListOptions", "meta.k8s.io", "", [
            ("FieldValueForbidden", "resourceVersionMatch", "Forbidden: " + cause) for cause in causes],
            "ListOptions.meta.k8s.io")
    return asked and truth(query["sendInitialEvents"])


class Watch:
    """One watch. It ends when its time is over, or when end() is called."""

    def __init__(self, server, target, query, form, initial):
        self.server = server
        self.store = server.store
        self.target = target
        self.form = form
        self.initial = initial
        self.selected = selection(target.kind, query)
        self.bookmarks = truth(query.get("allowWatchBookmarks", ""))
        self.from_revision = query.get("resourceVersion", "")
        if self.from_revision:
            number(self.from_revision, "resourceVersion")
        self.loop = asyncio.get_running_loop()
        seconds = number(query.get("timeoutSeconds") or "0", "timeoutSeconds") or random.randint(1800, 3600)
        self.deadline = self.loop.time() + seconds
        self.event = self.store.watcher()
        self.defined = False  # the columns of the table were sent
        self.silent = False  # says nothing more, by a fault
        self.told = 0  # the revision that the client can go on from, with what was sent

    def end(self):
        self.deadline = 0
        self.event.set()

    def close(self):
        self.store.watchers.discard(self.event)
        self.server.watches.discard(self)

    async def lines(self):
        """The events, each a line."""
        try:
            position = self.store.revision
            if self.initial or self.from_revision in ("", "0"):
                for value in self.store.all(self.target.kind, self.target.namespace):
                    if not self.selected or self.selected(value):
                        yield self._line("ADDED", value)
                if self.initial and self.bookmarks:
                    yield self._bookmark(position, INITIAL_END)
            else:
                position = int(self.from_revision)
                if position < self.store.compacted:
                    yield self._gone(position)
                    return
            async for line in self._changes(position):
                yield line
        finally:
            self.close()

    async def _changes(self, position):
        bookmark_at = self._next_bookmark()
        while self.loop.time() < self.deadline:
            self.event.clear()
            if position < self.store.dropped:
                yield self._gone(position)
                return
            changes = [] if self.silent else self.store.since(self.target.kind, position)
            position = max(position, self.store.revision)
            for change in changes:
                if line := self._change(change):
                    yield line
            if self.loop.time() >= bookmark_at:
                bookmark_at = self._next_bookmark()
                if not self.silent:
                    yield self._bookmark(position)
            await self._wait(min(bookmark_at, self.deadline))

    def _next_bookmark(self):
        """Regularly, and shortly before the end: so that the next watch can begin where this one ended."""
        if not self.bookmarks:
            return float("inf")
        regular = self.loop.time() + self.server.bookmark_seconds
        last = self.deadline - BOOKMARK_BEFORE_END
        return last if self.loop.time() < last < regular else regular

    async def _wait(self, until):
        """Until something changed or that time. Not asyncio.wait_for: it may lose a cancellation (Python before 3.12)."""
        timer = self.loop.call_at(until, self.event.set)
        try:
            await self.event.wait()
        finally:
            timer.cancel()

    def _change(self, change):
        """What a change of an object is to a watch that selects: one that is no longer selected is gone for it."""
        if self.target.namespace not in ("", change.key[0]):
            return None
        before = change.old is not None and (not self.selected or self.selected(change.old))
        after = change.new is not None and (not self.selected or self.selected(change.new))
        if after:
            return self._line("MODIFIED" if before else "ADDED", change.new)
        if not before:
            return None
        last = change.last if change.new is None else change.old | {"metadata": change.old["metadata"] | {
            "resourceVersion": str(change.revision)}}
        return self._line("DELETED", last)

    def _line(self, kind, value):
        self.told = max(self.told, int(value["metadata"]["resourceVersion"]))
        value = from_kept(self.target.kind, value, self.target.version)
        shape, version = self.form
        if shape == "Table":
            value = tables.table(self.target.kind, [value], {"resourceVersion": value["metadata"]["resourceVersion"]}, version,
                                 not self.defined)
            self.defined = True
        elif shape:
            value = tables.metadata_only(value, version)
        return encoded({"type": kind, "object": value})

    def _bookmark(self, revision, annotations=None):
        kind = self.target.kind
        metadata = {"resourceVersion": str(revision), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        value = {"kind": kind.name, "apiVersion": kind.api_version(self.target.version), "metadata": metadata}
        self.told = revision
        if self.form[0] == "Table":
            value = tables.table(kind, [], metadata, self.form[1], not self.defined)
        return encoded({"type": "BOOKMARK", "object": value})

    def _gone(self, position):
        error = statuses.expired(f"too old resource version: {position} ({self.store.compacted})")
        return encoded({"type": "ERROR", "object": error.document()})

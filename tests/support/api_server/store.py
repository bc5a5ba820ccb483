# SPDX-License-Identifier: Apache-2.0
"""Objects, one counter of changes for all of them, and a bounded history of those changes.

Objects are never changed once they are kept: a change is another object.
"""
import asyncio
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    revision: int
    kind: object
    key: tuple  # (namespace, name)
    old: object  # None: it was created
    new: object  # None: it was deleted
    last: object  # what a watcher of a deletion is shown: the last state, with the revision of the deletion


class Store:
    def __init__(self, history=10000):
        self.revision = 100
        self.compacted = 100  # nobody may begin before it
        self.dropped = 100  # the history has all changes after it
        self.objects = {}  # kind -> {(namespace, name): object}
        self.history = deque()
        self.limit = history
        self.watchers = set()  # asyncio.Event

    def get(self, kind, namespace, name):
        return self.objects.get(kind, {}).get((namespace, name))

    def all(self, kind, namespace=""):
        """In the order of keys, as the real store lists."""
        kept = self.objects.get(kind, {})
        return [kept[key] for key in sorted(kept) if namespace in ("", key[0])]

    def put(self, kind, value):
        """Keeps a new state of an object under the next revision, which is written into it."""
        key = (value["metadata"].get("namespace", ""), value["metadata"]["name"])
        self.revision += 1
        value = value | {"metadata": value["metadata"] | {"resourceVersion": str(self.revision)}}
        old = self.objects.setdefault(kind, {}).get(key)
        self.objects[kind][key] = value
        self._note(Change(self.revision, kind, key, old, value, value))
        return value

    def remove(self, kind, namespace, name, last=None):
        old = self.objects[kind].pop((namespace, name))
        self.revision += 1
        last = last or old
        last = last | {"metadata": last["metadata"] | {"resourceVersion": str(self.revision)}}
        self._note(Change(self.revision, kind, (namespace, name), old, None, last))
        return last

    def at(self, kind, revision):
        """All objects of a kind as they were at a revision, by their keys."""
        out = dict(self.objects.get(kind, {}))
        for change in reversed(self.history):
            if change.revision <= revision:
                break
            if change.kind is not kind:
                continue
            if change.old is None:
                out.pop(change.key, None)
            else:
                out[change.key] = change.old
        return out

    def since(self, kind, revision):
        """The changes of a kind after a revision, oldest first."""
        out = []
        for change in reversed(self.history):
            if change.revision <= revision:
                break
            if change.kind is kind:
                out.append(change)
        out.reverse()
        return out

    def compact(self):
        """Nobody may ask how it came to be as it is. Watches that run are not behind and go on."""
        self.compacted = self.revision

    def _note(self, change):
        self.history.append(change)
        while len(self.history) > self.limit:
            self.dropped = self.history.popleft().revision
            self.compacted = max(self.compacted, self.dropped)
        self.wake()

    def wake(self):
        for event in self.watchers:
            event.set()

    def watcher(self):
        event = asyncio.Event()
        self.watchers.add(event)
        return event

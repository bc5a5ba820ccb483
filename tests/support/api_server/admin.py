# SPDX-License-Identifier: Apache-2.0
"""What a test tells the server, over a Unix socket: POST /OPERATION with a document, answered with a document."""
import json
import uuid

from .conversion import to_kept
from .messages import json_answer, text_answer
from .kinds import by_plural
from .users import User
from .writing import now


class Admin:
    """program: what listens, see __main__.py."""

    def __init__(self, server, program):
        self.server = server
        self.program = program
        self.operations = {
            "state": self.state, "requests": self.requests, "faults": self.faults, "compact": self.compact,
            "end-watches": self.end_watches, "drop-connections": self.drop_connections, "listen": self.listen,
            "serve": self.serve, "features": self.features, "user": self.user, "revoke": self.revoke,
            "token": self.token, "get": self.get, "put": self.put, "remove": self.remove, "bookmarks": self.bookmarks}

    async def answer(self, request):
        operation = self.operations.get(request.path.strip("/"))
        if operation is None:
            return text_answer(404, f"no operation {request.path}, only: {' '.join(self.operations)}\n")
        try:
            return json_answer(await operation(json.loads(request.body or b"{}")))
        except (KeyError, ValueError, TypeError) as error:
            return text_answer(400, f"{type(error).__name__}: {error}\n")

    async def state(self, _given):
        store = self.server.store
        return {"revision": store.revision, "compacted": store.compacted, "connections": len(self.program.connections),
                "watches": [{"resource": watch.target.kind.plural, "version": watch.target.version, "told": watch.told}
                            for watch in self.server.watches],
                "faults": self.server.faults.state()}

    async def requests(self, given):
        """All that were made; "forget": from now on only those after."""
        out = list(self.server.requests)
        if given.get("forget"):
            self.server.requests.clear()
        return out

    async def faults(self, given):
        """"rules" take the place of those before; see faults.py."""
        self.server.faults.replace(given["rules"])
        return {}

    async def compact(self, _given):
        self.server.store.compact()
        return {"compacted": self.server.store.compacted}

    async def end_watches(self, given):
        """As the server does when their time is over: "resource": only those of one."""
        ended = [watch for watch in self.server.watches if given.get("resource", "") in ("", watch.target.kind.plural)]
        for watch in ended:
            watch.end()
        return {"ended": len(ended)}

    async def drop_connections(self, _given):
        ended = list(self.program.connections)
        for connection in ended:
            connection.transport.abort()
        return {"dropped": len(ended)}

    async def listen(self, given):
        """"accept": false: connections are refused, and those that are there end."""
        await self.program.listen(given["accept"])
        if not given["accept"]:
            await self.drop_connections({})
        return {}

    async def serve(self, given):
        """"what": a group and version, or with /RESOURCE; "served": whether it is."""
        unserved = self.server.served.unserved
        (unserved.discard if given["served"] else unserved.add)(given["what"])
        return {"unserved": sorted(unserved)}

    async def features(self, given):
        """"watchList", "aggregatedDiscovery": true or false."""
        for name, on in given.items():
            (self.server.served.features.add if on else self.server.served.features.discard)(name)
        return sorted(self.server.served.features)

    async def user(self, given):
        """"token" is from now on of "name" with "groups"."""
        groups = (*given.get("groups", ()), "system:authenticated")
        self.server.users.known[given["token"]] = User(given["name"], groups)
        return {}

    async def revoke(self, given):
        self.server.users.revoked.add(given["token"])
        return {}

    async def token(self, given):
        """A token of a ServiceAccount, as a pod has it mounted: "namespace", "name", "seconds"."""
        account = self.server.store.get(by_plural("serviceaccounts"), given["namespace"], given["name"])
        if account is None:
            raise KeyError(f"no ServiceAccount {given['namespace']}/{given['name']}")
        return {"token": self.server.users.token(account, seconds=given.get("seconds", 3600))}

    async def get(self, given):
        """An object of "resource" as it is kept; null if there is none."""
        return self.server.store.get(by_plural(given["resource"]), given.get("namespace", ""), given["name"])

    async def put(self, given):
        """Keeps "objects" of "resource" as they are, status and all, in the best version: made or replaced."""
        kind = by_plural(given["resource"])
        for value in given["objects"]:
            metadata = {"uid": str(uuid.uuid4()), "creationTimestamp": now()} | value["metadata"]
            old = self.server.store.get(kind, metadata.get("namespace", ""), metadata["name"])
            if old:
                metadata["uid"] = old["metadata"]["uid"]
            self.server.store.put(kind, to_kept(kind, value | {"metadata": metadata}, kind.versions[0]))
            if kind.plural == "namespaces":
                self.server.on_namespace(metadata["name"])
        return {"revision": self.server.store.revision}

    async def remove(self, given):
        self.server.store.remove(by_plural(given["resource"]), given.get("namespace", ""), given["name"])
        return {"revision": self.server.store.revision}

    async def bookmarks(self, given):
        self.server.bookmark_seconds = given["seconds"]
        return {}

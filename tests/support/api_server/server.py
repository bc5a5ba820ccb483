# SPDX-License-Identifier: Apache-2.0
"""From requests to answers."""
import asyncio
import gzip
import time
import uuid
from collections import deque
from dataclasses import dataclass, replace

from . import deleting, discovery, openapi, reading, reviews, statuses, tables, watching, writing
from .access import Access
from .faults import Faults
from .messages import Answer, Stream, encoded, json_answer, text_answer
from .kinds import Kind, Served, by_plural
from .statuses import ApiError
from .store import Store
from .users import Users

GZIP_FROM = 128 << 10  # smaller bodies are not worth it
REQUESTS_KEPT = 20000
NAMESPACE_ENDS_AFTER = 1.5  # seconds
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True)
class Target:
    """What a path names."""
    kind: Kind
    version: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def named(self, name, namespace):
        return replace(self, name=name, namespace=namespace)


def verb_of(request, name):
    if request.method == "GET":
        if name:
            return "get"
        return "watch" if request.flag("watch") else "list"
    if request.method == "DELETE":
        return "delete" if name else "deletecollection"
    return VERBS.get(request.method, request.method.lower())


class Server:
    def __init__(self, release, address, authority):
        """address: as clients reach it; authority: of its certificate, in PEM."""
        self.store = Store()
        self.served = Served(release)
        self.users = Users(self.store)
        self.access = Access(self.store)
        self.faults = Faults()
        self.address = address
        self.authority = authority
        self.watches = set()
        self.bookmark_seconds = 60.0
        self.requests = deque(maxlen=REQUESTS_KEPT)
        self.cluster_ips = 10
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self._make("namespaces", {"metadata": {"name": name}, "status": {"phase": "Active"}})

    def _make(self, plural, value):
        value["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": writing.now()}
        made = self.store.put(by_plural(plural), value)
        if plural == "namespaces":
            self.on_namespace(made["metadata"]["name"])

    def on_namespace(self, name):
        """What a controller does for every namespace of a real cluster."""
        if self.store.get(by_plural("serviceaccounts"), name, "default") is None:
            self._make("serviceaccounts", {"metadata": {"name": "default", "namespace": name}})
            self._make("configmaps", {"metadata": {"name": "kube-root-ca.crt", "namespace": name},
                                      "data": {"ca.crt": self.authority}})

    def end_namespace(self, name):
        """Shortly after it was marked."""
        asyncio.get_running_loop().call_later(NAMESPACE_ENDS_AFTER, deleting.finish_namespace, self, name)

    def next_cluster_ip(self):
        self.cluster_ips += 1
        return f"10.96.{self.cluster_ips >> 8}.{self.cluster_ips & 255}"

    # ---- requests

    async def answer(self, request):
        """Answer or Stream; raises Drop when the connection is to break."""
        note = {"method": request.method, "target": request.target, "path": request.path, "protocol": request.protocol,
                "agent": request.header("user-agent"), "at": time.monotonic(), "verb": "", "resource": "", "user": "", "code": 0}
        self.requests.append(note)
        try:
            out = await self._answer(request, note)
        except ApiError as error:
            out = json_answer(error.document(), error.code)
            if error.retry_after:
                out.headers["Retry-After"] = str(error.retry_after)
        note["code"] = out.status
        out.headers |= {"Audit-Id": str(uuid.uuid4()), "Cache-Control": "no-cache, private"}
        if isinstance(out, Answer) and len(out.body) > GZIP_FROM and "gzip" in request.header("accept-encoding"):
            out.headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
            out.body = gzip.compress(out.body, 1)
        return out

    async def _answer(self, request, note):
        parts = [part for part in request.path.split("/") if part]
        found = self._resource(parts)
        if found is None:
            note["verb"], note["resource"] = request.method.lower(), request.path
        else:
            note["verb"], note["resource"] = verb_of(request, found.name), found.kind.plural
        faulty = await self.faults.before(note)
        if faulty is not None:
            return faulty
        request.user = self.users.of_request(request)
        note["user"] = request.user.name
        if found is None:
            self.access.check_path(request.user, request.method.lower(), request.path)
            return self._fixed(request, parts)
        out = await self._of_resource(request, found, note)
        return await self.faults.after(note, out)

    def _resource(self, parts):
        """The target below /api/VERSION or /apis/GROUP/VERSION; of a kind without verbs where none is served."""
        if parts[:1] == ["api"]:
            group, rest = "", parts[1:]
        elif parts[:1] == ["apis"] and len(parts) > 1:
            group, rest = parts[1], parts[2:]
        else:
            return None
        if len(rest) < 2:
            return None
        version, rest = rest[0], rest[1:]
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        kind = self.served.find(group, version, rest[0])
        name, subresource = (rest + ["", ""])[1:3]
        if kind is None:
            kind = Kind(rest[0], "", group, (version,), verbs=())
        elif subresource and subresource not in kind.subresources:
            kind = Kind(rest[0], "", group, (version,), verbs=())
        return Target(kind, version, namespace, name, subresource)

    def _fixed(self, request, parts):
        """Paths that are not of resources."""
        served, accept = self.served, request.header("accept")
        form = discovery.aggregated_version(served, accept)
        aggregated_type = f"application/json;g=apidiscovery.k8s.io;v={form};as=APIGroupDiscoveryList"
        if parts == ["version"]:
            return json_answer(discovery.version(served))
        if parts and parts[0] in ("healthz", "livez", "readyz"):
            return text_answer(200, "ok")
        if parts in (["api"], ["apis"]):
            if form:
                return Answer(200, encoded(discovery.aggregated(served, form, parts == ["api"])), aggregated_type)
            return json_answer(discovery.api_versions(self.address) if parts == ["api"] else discovery.group_list(served))
        if parts == ["openapi", "v2"]:
            if "protobuf" in accept:
                return Answer(200, openapi.protobuf(served), "application/octet-stream")
            return json_answer(openapi.document(served))
        found = None
        if parts[:1] == ["api"] and len(parts) == 2:
            found = discovery.resource_list(served, "", parts[1])
        elif parts[:1] == ["apis"] and len(parts) == 2:
            found = discovery.one_group(served, parts[1])
        elif parts[:1] == ["apis"] and len(parts) == 3:
            found = discovery.resource_list(served, parts[1], parts[2])
        if found is None and len(parts) == 3 and parts[1] in served.groups():
            raise statuses.no_such_resource()
        return json_answer(found) if found else text_answer(404, "404 page not found\n")

    async def _of_resource(self, request, target, note):
        kind, verb = target.kind, note["verb"]
        form = tables.wanted(request.header("accept"))
        name = target.name
        if verb in ("list", "watch") and request.query.get("fieldSelector", "").startswith("metadata.name="):
            name = request.query["fieldSelector"].partition("=")[2]
        self.access.check(request.user, verb, kind, target.namespace, name, target.subresource)
        if not kind.verbs:
            if kind.group and kind.group not in self.served.groups():
                return text_answer(404, "404 page not found\n")
            raise statuses.no_such_resource()
        allowed = discovery.verbs_of(target.subresource) if target.subresource else kind.verbs
        misplaced = not name if verb in ("update", "patch") else verb == "create" and name and not target.subresource
        if verb not in allowed or misplaced:
            raise statuses.method_not_allowed()
        if form is None:
            raise ApiError(406, "NotAcceptable", "406: Not Acceptable", {})
        return await self._do(request, target, verb, form)

    async def _do(self, request, target, verb, form):
        if target.subresource == "token":
            asked = writing.parsed(request, "TokenRequest")
            return json_answer(self.users.request(target.namespace, target.name, asked, writing.manager_of(request),
                                                  writing.now()), 201)
        if "list" not in target.kind.verbs:
            asked = writing.parsed(request, target.kind.name)
            answer = reviews.answer(self, target.kind, asked, request.user, writing.manager_of(request), writing.now())
            return json_answer(answer, 201)
        if verb == "get":
            return json_answer(reading.get(self, target, form))
        if verb == "list":
            return Answer(200, await reading.listed(self, target, request.query, form))
        if verb == "watch":
            initial = watching.check(self, request.query)
            watch = watching.Watch(self, target, request.query, form, initial)
            self.watches.add(watch)
            return Stream(watch)
        if verb == "create":
            return json_answer(reading.as_asked(self, target, writing.create(self, target, request), form), 201)
        if verb == "update":
            return json_answer(reading.as_asked(self, target, writing.update(self, target, request), form))
        if verb == "patch":
            value, created = writing.patch(self, target, request)
            return json_answer(reading.as_asked(self, target, value, form), 201 if created else 200)
        if verb == "delete":
            return json_answer(deleting.delete(self, target, request))
        return Answer(200, await deleting.delete_all(self, target, request))

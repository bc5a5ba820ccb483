# SPDX-License-Identifier: Apache-2.0
"""Delete: at once, or when finalizers are gone, or (pods) when the node says so."""
from . import statuses
from .conversion import from_kept
from .kinds import KINDS, by_plural
from .reading import listed
from .selectors import selection
from .writing import RETURNED_WHEN_DELETED, now, parsed


def _options(request):
    return parsed(request, "DeleteOptions") if request.body else {}


def delete(server, target, request):
    """What the client is answered."""
    kind = target.kind
    value = server.store.get(kind, target.namespace, target.name)
    if value is None:
        raise statuses.not_found(kind, target.name)
    options = _options(request)
    wanted = options.get("preconditions") or {}
    uid, revision = value["metadata"]["uid"], value["metadata"]["resourceVersion"]
    if wanted.get("uid") not in (None, uid):
        raise statuses.uid_conflict(kind.name, target.name, "precondition", wanted["uid"], uid)
    if wanted.get("resourceVersion") not in (None, revision):
        raise statuses.conflict(kind, target.name, "the ResourceVersion in the precondition "
                                f"({wanted['resourceVersion']}) does not match the ResourceVersion in record ({revision}). "
                                "The object might have been modified")
    if request.query.get("dryRun"):
        return _gone(target, value)
    return _delete(server, target, value, _grace(request, options, value))


def _grace(request, options, value):
    asked = request.query.get("gracePeriodSeconds", options.get("gracePeriodSeconds"))
    return int(asked) if asked is not None else value.get("spec", {}).get("terminationGracePeriodSeconds", 30)


def _delete(server, target, value, grace):
    kind, metadata = target.kind, value["metadata"]
    if kind.plural == "namespaces":
        server.end_namespace(target.name)
        marked = {"deletionTimestamp": metadata.get("deletionTimestamp") or now()}
        value = server.store.put(kind, value | {"metadata": metadata | marked, "status": {"phase": "Terminating"}})
        return from_kept(kind, value, target.version)
    waits = kind.plural == "pods" and grace > 0 and value.get("spec", {}).get("nodeName")
    if not waits and not metadata.get("finalizers"):
        return _gone(target, server.store.remove(kind, target.namespace, target.name))
    marked = {"deletionTimestamp": metadata.get("deletionTimestamp") or now(),
              "deletionGracePeriodSeconds": grace if waits else 0}
    if kind.generation:
        marked["generation"] = metadata.get("generation", 0) + 1
    if any(metadata.get(key) != item for key, item in marked.items()):
        value = server.store.put(kind, value | {"metadata": metadata | marked})
    return from_kept(kind, value, target.version)


def _gone(target, value):
    kind = target.kind
    if kind.plural in RETURNED_WHEN_DELETED:
        return from_kept(kind, value, target.version)
    details = statuses.details_of(kind, value["metadata"]["name"]) | {"uid": value["metadata"]["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def finish_namespace(server, namespace):
    """Removes a namespace and what is in it, as the controller of a real cluster does."""
    for kind in KINDS:
        for value in server.store.all(kind, namespace) if kind.namespaced else ():
            server.store.remove(kind, namespace, value["metadata"]["name"])
    namespaces = by_plural("namespaces")
    if server.store.get(namespaces, "", namespace):
        server.store.remove(namespaces, "", namespace)


async def delete_all(server, target, request):
    """Deletes what is selected; the body lists it as it was."""
    body = await listed(server, target, request.query, ("", "v1"))
    selected = selection(target.kind, request.query)
    options = _options(request)
    for value in server.store.all(target.kind, target.namespace):
        if not selected or selected(value):
            one = target.named(value["metadata"]["name"], value["metadata"].get("namespace", ""))
            _delete(server, one, value, _grace(request, options, value))
    return body

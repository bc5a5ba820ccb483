# SPDX-License-Identifier: Apache-2.0
"""Create, update, patch, delete."""
import copy
import json
import random
import re
import time
import uuid

import yaml

from . import apply, defaults, managed, patches, statuses
from .conversion import from_kept, to_kept
from .kinds import by_plural
from .statuses import ApiError

NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
BAD_NAME = ("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
            "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')")
SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
# Names that are paths of other things, as the real server has it for RBAC.
FREE_NAMES = {"roles", "rolebindings", "clusterroles", "clusterrolebindings"}
RETURNED_WHEN_DELETED = {"pods", "serviceaccounts"}
PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
           "application/apply-patch+yaml")
CUSTOM_PATCHES = PATCHES[:2] + PATCHES[3:]


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def manager_of(request):
    return request.query.get("fieldManager") or request.header("user-agent").partition("/")[0][:128] or "unknown"


def parsed(request, kind_name):
    """The document in a request's body."""
    content_type = request.header("content-type").partition(";")[0].strip() or "application/json"
    if content_type == "application/vnd.kubernetes.protobuf":
        raise ApiError(415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types "
                       "include: application/json, application/yaml")
    try:
        value = json.loads(request.body) if content_type.endswith("json") else yaml.safe_load(request.body)
    except (ValueError, yaml.YAMLError) as error:
        said = "unexpected end of JSON input" if str(error).startswith("Expecting value") else str(error)
        raise statuses.bad_request(f"the object provided is unrecognized (must be of type {kind_name}): couldn't get version/kind; "
                                   f"json parse error: {said} ({request.body.decode(errors='replace').strip()})") from error
    return value


def _object_of(request, target):
    """The object in a request's body, as it is kept."""
    kind = target.kind
    value = parsed(request, kind.name)
    if not isinstance(value, dict) or (value.get("kind") or kind.name) != kind.name:
        found = value.get("kind") if isinstance(value, dict) else "List"
        raise statuses.bad_request(f'{found} in version "{target.version}" cannot be handled as a {kind.name}: converting '
                                   f"({target.version}.{found}) to ({kind.group or 'core'}.{kind.name}): unknown conversion")
    api_version = value.get("apiVersion") or kind.api_version(target.version)
    if api_version != kind.api_version(target.version):
        raise statuses.bad_request(f'{kind.name} in version "{api_version}" cannot be handled as a {kind.name}: no kind '
                                   f'"{kind.name}" is registered for version "{api_version}" in scheme '
                                   '"pkg/api/legacyscheme/scheme.go:30"')
    return _checked_metadata(to_kept(kind, value, target.version), target)


def _checked_metadata(value, target):
    metadata = {key: item for key, item in (value.get("metadata") or {}).items() if item not in (None, "", {}, [])}
    if target.kind.namespaced:
        if metadata.setdefault("namespace", target.namespace) != target.namespace:
            raise statuses.bad_request("the namespace of the provided object does not match the namespace sent on the request")
    else:
        metadata.pop("namespace", None)
    if target.name and metadata.setdefault("name", target.name) != target.name:
        raise statuses.bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL "
                                   f"({target.name})")
    return {"metadata": metadata} | {key: part for key, part in value.items() if key != "metadata"}


def create(server, target, request):
    value = _object_of(request, target)
    metadata = value["metadata"]
    if "resourceVersion" in metadata:
        raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
    if "name" not in metadata and "generateName" in metadata:
        metadata["name"] = metadata["generateName"] + "".join(random.choices(SUFFIX, k=5))
    value["metadata"] = {key: item for key, item in metadata.items() if key != "managedFields"}
    value = _new(server, target, value)
    value = _noted(target, None, value, manager_of(request))
    defaults.prepare(server, target.kind, value)
    if server.store.get(target.kind, target.namespace, value["metadata"]["name"]) is not None:
        raise statuses.already_exists(target.kind, value["metadata"]["name"])
    return _keep(server, target, value, request)


def _new(server, target, value):
    """Checks a new object and gives it what only the server gives."""
    kind, metadata = target.kind, value["metadata"]
    name = metadata.get("name", "")
    if not name:
        raise statuses.invalid(kind.name, kind.group, "", [("FieldValueRequired", "metadata.name",
                                                            "Required value: name or generateName is required")])
    if kind.plural not in FREE_NAMES and not NAME.match(name):
        raise statuses.invalid(kind.name, kind.group, name, [("FieldValueInvalid", "metadata.name",
                                                              f'Invalid value: "{name}": {BAD_NAME}')])
    if kind.namespaced:
        namespace = server.store.get(by_plural("namespaces"), "", target.namespace)
        if namespace is None:
            raise statuses.not_found(by_plural("namespaces"), target.namespace)
        if "deletionTimestamp" in namespace["metadata"]:
            raise statuses.forbidden(kind, name, f"unable to create new content in namespace {target.namespace} because it is "
                                     "being terminated")
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
    if kind.generation:
        metadata["generation"] = 1
    if "status" in kind.subresources and kind.plural != "nodes":
        value.pop("status", None)
    defaults.apply_defaults(kind, value)
    return value


def _noted(target, old, value, manager):
    """With managedFields, which speak of the object in the version of the request."""
    kind = target.kind
    spoken = from_kept(kind, value, target.version)
    before = from_kept(kind, old, target.version) if old else None
    spoken = managed.note_update(before, spoken, manager, spoken["apiVersion"], now(), kind.custom)
    return to_kept(kind, spoken, target.version)


def _keep(server, target, value, request):
    if request.query.get("dryRun"):
        return value
    value = server.store.put(target.kind, value)
    if target.kind.plural == "namespaces":
        server.on_namespace(value["metadata"]["name"])
    return value


def update(server, target, request):
    old = server.store.get(target.kind, target.namespace, target.name)
    value = _object_of(request, target)
    if old is None:
        raise statuses.not_found(target.kind, target.name)
    uid = value["metadata"].get("uid")
    if uid and uid != old["metadata"]["uid"]:
        where = "/".join(part for part in ("/registry", target.kind.plural, target.namespace, target.name) if part)
        raise statuses.conflict(target.kind, target.name, f"StorageError: invalid object, Code: 4, Key: {where}, ResourceVersion: "
                                f"0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: "
                                + old["metadata"]["uid"])
    return _replace(server, target, old, value, request)


def _replace(server, target, old, value, request):
    """Keeps the next state of an object, if it is another one."""
    metadata = value["metadata"]
    asked = metadata.get("resourceVersion")
    if asked and asked != old["metadata"]["resourceVersion"]:
        raise statuses.modified(target.kind, target.name)
    value = _in_place(target, old, copy.deepcopy(value))
    defaults.apply_defaults(target.kind, value)
    if request.header("content-type") != PATCHES[3]:
        value = _noted(target, old, value, manager_of(request))
    if _same(value, old):
        return old
    if target.kind.generation and _spec(value) != _spec(old):
        value["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    if request.query.get("dryRun"):
        return value
    if value["metadata"].get("deletionTimestamp") and not value["metadata"].get("finalizers"):
        if target.kind.plural != "pods" or value["metadata"].get("deletionGracePeriodSeconds") == 0:
            server.store.remove(target.kind, target.namespace, target.name, value)
            return value
    return server.store.put(target.kind, value)


def _in_place(target, old, value):
    """The new state with what an update cannot change; of a subresource only its own part is new."""
    if target.subresource == "status":
        value = old | {"status": value.get("status", {})} | {"metadata": old["metadata"] | {
            "managedFields": value["metadata"].get("managedFields", [])}}
    elif "status" in target.kind.subresources:
        value = {key: part for key, part in value.items() if key != "status"}
        if "status" in old:
            value["status"] = old["status"]
    fixed = {key: old["metadata"][key] for key in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "namespace",
                                                   "deletionGracePeriodSeconds", "resourceVersion") if key in old["metadata"]}
    metadata = {key: item for key, item in value["metadata"].items() if item not in (None, "", {}, []) and key not in (
        "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")}
    return value | {"metadata": metadata | fixed}


def _spec(value):
    return {key: part for key, part in value.items() if key not in ("metadata", "status")}


def _same(value, old):
    def without(item):
        return item | {"metadata": {key: part for key, part in item["metadata"].items() if key != "managedFields"}}
    fields = [[(entry["manager"], entry["operation"], entry["fieldsV1"]) for entry in item["metadata"].get("managedFields", [])]
              for item in (value, old)]
    return without(value) == without(old) and fields[0] == fields[1]


def patch(server, target, request):
    """(the object, whether it was made by this)"""
    kind, content_type = target.kind, request.header("content-type").partition(";")[0].strip()
    accepted = CUSTOM_PATCHES if kind.custom else PATCHES
    if content_type not in accepted:
        if kind.custom and content_type in PATCHES:
            raise ApiError(415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types "
                           "include: " + ", ".join(accepted))
        raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    old = server.store.get(kind, target.namespace, target.name)
    if content_type == PATCHES[3]:
        return _apply(server, target, request, old)
    if old is None:
        raise statuses.not_found(kind, target.name)
    before = from_kept(kind, old, target.version)
    document = parsed(request, kind.name)
    if content_type == PATCHES[0]:
        after = patches.json_patch(before, document)
    elif content_type == PATCHES[1]:
        after = patches.merge(before, document)
    else:
        after = patches.strategic(before, document)
    value = _checked_metadata(to_kept(kind, after, target.version), target)
    uid = value["metadata"].get("uid")
    if uid != old["metadata"]["uid"]:
        raise statuses.invalid(kind.name, kind.group, target.name, [
            ("FieldValueInvalid", "metadata.uid", f'Invalid value: "{uid}": field is immutable')])
    return _replace(server, target, old, value, request), False


def _apply(server, target, request, old):
    manager = request.query.get("fieldManager")
    if not manager:
        raise statuses.invalid("PatchOptions", "meta.k8s.io", "", [
            ("FieldValueRequired", "fieldManager", "Required value: is required for apply patch")], "PatchOptions.meta.k8s.io")
    config = parsed(request, target.kind.name)
    if (config.get("metadata") or {}).get("managedFields"):
        raise statuses.bad_request("metadata.managedFields must be nil")
    given = (config.get("metadata") or {}).get("name", target.name)
    if given != target.name:
        raise statuses.bad_request(f"the name of the object ({given}) does not match the name on the URL ({target.name})")
    value = _checked_metadata(to_kept(target.kind, config, target.version), target)
    spoken = from_kept(target.kind, value, target.version)
    live = from_kept(target.kind, old, target.version) if old else None
    asked = value["metadata"].get("resourceVersion")
    result = apply.apply(live, spoken, manager, request.flag("force"), spoken["apiVersion"], now())
    result = to_kept(target.kind, result, target.version)
    if old is None:
        if asked or target.subresource:
            raise statuses.not_found(target.kind, target.name)
        result = _new(server, target, result)
        defaults.prepare(server, target.kind, result)
        return _keep(server, target, result, request), True
    if asked:
        result["metadata"]["resourceVersion"] = asked
    return _replace(server, target, old, result, request), False

# SPDX-License-Identifier: Apache-2.0
"""metadata.managedFields: who set which field. A set of fields is a set of paths, tuples of the API's path elements."""
import json

from .lists import SET_LISTS, apply_keys, key_of

UNMANAGED = {"apiVersion", "kind"}
UNMANAGED_METADATA = {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields",
                      "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"}
# These are always there in the real server's memory, so setting something in them does not set them.
ALWAYS_THERE = {"metadata", "status", "template", "involvedObject", "source", "strategy", "updateStrategy", "roleRef", "resources",
                "securityContext", "boundObjectRef"}
ATOMIC_MAPS = {"nodeSelectorTerms", "targetRef"}


def _compact(value):
    return json.dumps(value, separators=(",", ":"))


def parts_of(name, value):
    """The parts of a value, {path element: (name, part)}; None if it is one value."""
    if isinstance(value, dict):
        if name in ATOMIC_MAPS or (name == "selector" and {"matchLabels", "matchExpressions"} & value.keys()):
            return None
        return {"f:" + key: (key, part) for key, part in value.items()}
    if isinstance(value, list):
        if name in SET_LISTS:
            return {"v:" + _compact(item): ("", item) for item in value}
        if keys := apply_keys(name, value):
            return {"k:" + _compact(key_of(item, keys)): ("", item) for item in value}
    return None


def _managed(element, path):
    if not path:
        return element[2:] not in UNMANAGED
    return path != ("f:metadata",) or element[2:] not in UNMANAGED_METADATA


def paths(value, applied, custom=False, name="", path=()):
    """All fields of a value. Those that are applied have no member for a map or a list, only for items."""
    out = set()
    parts = parts_of(name, value)
    empty = not parts
    itself = path and (empty or path[-1][0] == "k" or (not applied and _counts(path, custom)))
    if itself:
        out.add(path)
    for element, (key, part) in (parts or {}).items():
        if _managed(element, path):
            out |= paths(part, applied, custom, key, path + (element,))
    return out


def _counts(path, custom):
    """Whether a map or list is a member by itself when somebody makes it."""
    name = path[-1][2:]
    if name == "metadata" or (name == "spec" and not custom) or (name == "status" and not custom):
        return False
    return name not in ALWAYS_THERE


def changed(old, new, custom=False, name="", path=()):
    """(fields set or changed, fields removed)"""
    before, after = parts_of(name, old), parts_of(name, new)
    if before is None or after is None:
        return (set() if old == new else {path}), set()
    put, gone = set(), set()
    for element in before.keys() | after.keys():
        if not _managed(element, path):
            continue
        there = path + (element,)
        if element not in before:
            put |= paths(after[element][1], False, custom, after[element][0], there)
        elif element not in after:
            gone |= paths(before[element][1], False, custom, before[element][0], there) | {there}
        else:
            more, less = changed(before[element][1], after[element][1], custom, after[element][0], there)
            put, gone = put | more, gone | less
    return put, gone


def encode(fields):
    """A set as fieldsV1."""
    tree = {}
    for path in sorted(fields):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}

    def finish(node):
        children = {key: finish(child) for key, child in node.items() if key != "."}
        return ({".": {}} | children) if "." in node and children else children
    return finish(tree)


def decode(fields, path=()):
    """fieldsV1 as a set."""
    out = set()
    for element, children in fields.items():
        if element == ".":
            out.add(path)
        elif not children:
            out.add(path + (element,))
        else:
            out |= decode(children, path + (element,))
    return out


def child(value, element, name):
    if element[0] == "f":
        return value.get(element[2:]) if isinstance(value, dict) else None
    if not isinstance(value, list):
        return None
    if element[0] == "v":
        return next((item for item in value if element == "v:" + _compact(item)), None)
    keys = apply_keys(name, value)
    return next((item for item in value if keys and "k:" + _compact(key_of(item, keys)) == element), None)


def value_at(value, path):
    """What is at a path; an item of a list is only whether it is there."""
    name = ""
    for element in path:
        value = child(value, element, name)
        name = element[2:]
    return value is not None if path[-1][0] == "k" else value


def fields_of(entry, value):
    """What an entry says of a value. A map of which only itself is left is read as all that is in it, as the real server does."""
    fields = decode(entry["fieldsV1"])
    inner = {path[:length] for path in fields for length in range(1, len(path))}
    for path in fields - inner:
        found = value_at(value, path)
        if path[-1][0] == "f" and isinstance(found, dict) and found:
            fields |= paths(found, False, False, path[-1][2:], path)
    return fields


def note_update(old, new, manager, api_version, now, custom=False):
    """`new` with managedFields of who had changed what before, and of this update."""
    put, gone = changed({} if old is None else old, new, custom)
    before = new if old is None else old
    entries = [entry | {"fields": fields_of(entry, before)} for entry in before["metadata"].get("managedFields", [])]
    mine = None
    for entry in entries:
        if (entry["manager"], entry["operation"], entry["apiVersion"]) == (manager, "Update", api_version):
            mine = entry
        else:
            entry["fields"] -= put
        entry["fields"] -= gone
    if mine is None:
        mine = {"manager": manager, "operation": "Update", "apiVersion": api_version, "fields": set()}
        entries.append(mine)
    if put:
        mine["time"] = now
    mine["fields"] |= put
    return _with(new, entries)


def _with(value, entries):
    kept = [{"manager": entry["manager"], "operation": entry["operation"], "apiVersion": entry["apiVersion"],
             "time": entry.get("time"), "fieldsType": "FieldsV1", "fieldsV1": encode(entry["fields"])}
            for entry in entries if entry["fields"]]
    metadata = {key: item for key, item in value["metadata"].items() if key != "managedFields"}
    if kept:
        metadata["managedFields"] = kept
    return value | {"metadata": metadata}


def with_applied(value, others, manager, api_version, fields, now):
    """`value` with what others manage, [(entry, fields)], and what this manager has applied."""
    entries = [entry | {"fields": theirs} for entry, theirs in others]
    mine = {"manager": manager, "operation": "Apply", "apiVersion": api_version, "time": now, "fields": fields}
    return _with(value, [mine] + entries if _was_first(value, manager) else entries + [mine])


def _was_first(value, manager):
    entries = value["metadata"].get("managedFields", [])
    return bool(entries) and entries[0]["manager"] == manager

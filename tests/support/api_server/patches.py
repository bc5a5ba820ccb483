# SPDX-License-Identifier: Apache-2.0
"""JSON merge patch, JSON patch and strategic merge patch."""
import copy

from .lists import SET_LISTS, merge_key
from .statuses import ApiError, bad_request


def merge(target, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge(out.get(key), value)
    return out


def strategic(target, patch):
    """Like merge(), but items of lists are found by their keys. Directives: $patch, $deleteFromPrimitiveList/NAME,
    $setElementOrder/NAME (the order is what it says; what it does not name comes last), $retainKeys."""
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive == "delete":
        return None
    if directive == "replace" or not isinstance(target, dict):
        target = {}
    out = dict(target)
    if "$retainKeys" in patch:
        out = {key: value for key, value in out.items() if key in patch["$retainKeys"]}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            out[name] = [item for item in out.get(name, []) if item not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            out.pop(key, None)
        elif isinstance(value, list):
            out[key] = _strategic_list(key, out.get(key) or [], value)
        else:
            merged = strategic(out.get(key), value)
            if merged is None:
                out.pop(key, None)
            else:
                out[key] = merged
    for key, order in patch.items():
        if key.startswith("$setElementOrder/"):
            name = key.partition("/")[2]
            if name in out:
                out[name] = _ordered(name, out[name], order)
    return out


def _strategic_list(name, target, patch):
    if name in SET_LISTS:
        return target + [item for item in patch if item not in target]
    key = merge_key(name, target + patch)
    items = [item for item in patch if not (isinstance(item, dict) and item.get("$patch") == "replace")]
    if key is None or len(items) < len(patch):
        return items
    out, new = list(target), []
    for item in items:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        at = next((i for i, old in enumerate(out) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            out = [old for old in out if old.get(key) != item[key]]
        elif at is None:
            new.append(strategic({}, item))
        else:
            out[at] = strategic(out[at], item)
    return new + out


def _ordered(name, items, order):
    key = merge_key(name, items)
    wanted = [item.get(key) if isinstance(item, dict) else item for item in order]

    def place(item):
        value = item.get(key) if isinstance(item, dict) else item
        return wanted.index(value) if value in wanted else len(wanted)
    return sorted(items, key=place)


def _step(node, part):
    if isinstance(node, list):
        if part == "-":
            return len(node)
        if not part.isdigit() or int(part) > len(node):
            raise KeyError(part)
        return int(part)
    if not isinstance(node, dict):
        raise KeyError(part)
    return part


def _find(document, pointer):
    """(the parent, the key in it) of a JSON pointer."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for part in parts[:-1]:
        document = document[_step(document, part)]
    return document, _step(document, parts[-1])


def json_patch(target, operations):
    """RFC 6902."""
    document = {"root": copy.deepcopy(target)}
    try:
        for operation in operations:
            _operate(document, operation)
    except (KeyError, IndexError, TypeError) as error:
        raise ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {}) from error
    return document["root"]


def _operate(document, operation):
    kind, pointer = operation["op"], "/root" + operation["path"]
    parent, key = _find(document, pointer)
    if kind == "test":
        if parent[key] != operation.get("value"):
            raise KeyError(pointer)
    elif kind == "remove":
        del parent[key]
    elif kind == "replace":
        parent[key]  # it must be there
        parent[key] = operation["value"]
    else:
        value = operation.get("value")
        if kind in ("move", "copy"):
            source, source_key = _find(document, "/root" + operation["from"])
            value = copy.deepcopy(source[source_key])
            if kind == "move":
                del source[source_key]
        elif kind != "add":
            raise KeyError(kind)
        if isinstance(parent, list):
            parent.insert(key, value)
        else:
            parent[key] = value

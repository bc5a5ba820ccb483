# SPDX-License-Identifier: Apache-2.0
"""Server-side apply: what a manager applies is its own; what it applied before and leaves out now goes, if nobody else has it."""
from . import managed
from .lists import SET_LISTS, apply_keys, key_of
from .statuses import ApiError


def apply(live, config, manager, force, api_version, now):
    """The object after `config` was applied to `live` (None: there is none)."""
    metadata = {key: value for key, value in config["metadata"].items()
                if key not in managed.UNMANAGED_METADATA or key in ("name", "namespace")}
    config = config | {"metadata": metadata}
    mine_new = managed.paths(config, applied=True)
    if live is None:
        return managed.with_applied(config, [], manager, api_version, mine_new, now)
    others, mine_old = [], set()
    for entry in live["metadata"].get("managedFields", []):
        fields = managed.fields_of(entry, live)
        if entry["manager"] == manager and entry["operation"] == "Apply":
            mine_old = fields
        else:
            others.append((entry, fields))
    differing = {path for path in mine_new if managed.value_at(live, path) != managed.value_at(config, path)}
    conflicts = [(entry, path) for entry, fields in others for path in sorted(fields & differing)]
    if conflicts and not force:
        raise _conflict_error(conflicts)
    others = [(entry, fields - differing) for entry, fields in others]
    owned = set().union(*(fields for _, fields in others)) if others else set()
    out = _merged(live, config)
    for path in sorted(mine_old - mine_new, key=len):  # an item before its fields: without them it is not found
        if not any(other[:len(path)] == path for other in owned | mine_new):
            out = _without(out, path)
    if out == live and mine_new == mine_old:
        return live
    return managed.with_applied(out, others, manager, api_version, mine_new, now)


def _conflict_error(conflicts):
    causes = []
    for entry, path in conflicts:
        who = f'conflict with "{entry["manager"]}"'
        if entry["operation"] == "Update":
            who += f' using {entry["apiVersion"]}'
        causes.append({"reason": "FieldManagerConflict", "message": who, "field": _text(path)})
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    if len(causes) == 1:
        listed = f"{causes[0]['message']}: {causes[0]['field']}"
    else:
        whose = {}
        for cause in causes:
            whose.setdefault(cause["message"].replace("conflict", "conflicts", 1), []).append("\n- " + cause["field"])
        listed = "\n".join(f"{who}:{''.join(fields)}" for who, fields in whose.items())
    return ApiError(409, "Conflict", f"Apply failed with {count}: {listed}", {"causes": causes})


def _text(path):
    out = ""
    for element in path:
        if element[0] == "f":
            out += "." + element[2:]
        else:
            inner = element[2:].strip("{}") if element[0] == "k" else element[2:]
            out += "[" + inner.replace('":', "=").replace(',"', ",").lstrip('"') + "]"
    return out


def _merged(live, config, name=""):
    if isinstance(config, dict) and isinstance(live, dict):
        if managed.parts_of(name, config) is None:
            return config
        out = dict(live)
        for key, value in config.items():
            out[key] = _merged(live.get(key), value, key)
        return out
    if isinstance(config, list) and isinstance(live, list):
        if name in SET_LISTS:
            return live + [item for item in config if item not in live]
        keys = apply_keys(name, live + config)
        if keys:
            out = list(live)
            for item in config:
                at = next((i for i, old in enumerate(out) if key_of(old, keys) == key_of(item, keys)), None)
                if at is None:
                    out.append(item)
                else:
                    out[at] = _merged(out[at], item)
            return out
    return config


def _without(value, path, name=""):
    """The value without what is at a path."""
    element = path[0]
    child = managed.child(value, element, name)
    if child is None:
        return value
    rest = None if len(path) == 1 else _without(child, path[1:], element[2:])
    if element[0] == "f":
        return {key: (rest if key == element[2:] else item) for key, item in value.items()
                if key != element[2:] or rest is not None}
    return [(rest if item is child else item) for item in value if item is not child or rest is not None]

# SPDX-License-Identifier: Apache-2.0
"""How lists inside objects are merged: by which keys their items are the same, by the name of the list.

The real server has this from the schemas; the names are enough for what is kept here.
"""

SET_LISTS = {"finalizers"}
# For server-side apply and the ownership of fields. What is not named is replaced as a whole.
APPLY_KEYS = {
    "containers": ("name",), "initContainers": ("name",), "ephemeralContainers": ("name",), "volumes": ("name",),
    "env": ("name",), "volumeMounts": ("mountPath",), "conditions": ("type",), "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",), "webhooks": ("name",), "hostAliases": ("ip",), "podIPs": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"), "secrets": ("name",),
}
# For strategic merge patches, where it is another or only one.
MERGE_KEYS = {"taints": "key", "addresses": "type", "topologySpreadConstraints": "topologyKey"}


def apply_keys(name, items):
    """The keys of a list, or None if it is one value."""
    if name == "ports" and items and all(isinstance(item, dict) for item in items):
        if all("containerPort" in item for item in items):
            return ("containerPort", "protocol")
        if all("port" in item and "targetPort" in item for item in items):
            return ("port", "protocol")
        return None
    keys = APPLY_KEYS.get(name)
    return keys if items and all(isinstance(item, dict) for item in items) else None


def merge_key(name, items):
    if name == "ports":
        return "containerPort" if any("containerPort" in item for item in items if isinstance(item, dict)) else "port"
    if name in MERGE_KEYS:
        return MERGE_KEYS[name]
    return APPLY_KEYS[name][0] if name in APPLY_KEYS else None


def key_of(item, keys):
    """An item's key as the API writes it, with the default that the schema has."""
    return {key: item.get(key, "TCP" if key == "protocol" else None) for key in sorted(keys)}

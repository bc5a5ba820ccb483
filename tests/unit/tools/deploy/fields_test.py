#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every field of heddle's objects exists in Kubernetes and has the right type: compared with the typed models of
python3-kubernetes (Kubernetes 1.22), which know no field by accident.

Usage: fields_test.py HEDDLE
"""
import re
import sys

try:
    from kubernetes.client import models
    from rendered import FORMS, objects, text_of, title
except ImportError:
    print("SKIP: needs python3-kubernetes and python3-yaml")
    sys.exit(77)

# Fields younger than the models: path without indexes -> version of Kubernetes that they came with. An entry that no
# object uses is a failure.
YOUNGER = {}
PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "datetime": str}


def model_of(item):
    group, _, version = item["apiVersion"].rpartition("/")
    prefix = version[0].upper() + version[1:]
    name = prefix + item["kind"]
    assert hasattr(models, name), f"{title(item)}: no model of {item['apiVersion']} ({group or 'core'})"
    return name


def wrong(value, kind, path):
    """Sentences about what is not as `kind` says."""
    if kind == "object":  # int or string, or anything
        return []
    if kind in PLAIN:
        right = isinstance(value, PLAIN[kind]) and not (isinstance(value, bool) and kind != "bool")
        return [] if right else [f"{path}: {value!r} is no {kind}"]
    if found := re.fullmatch(r"list\[(.*)\]", kind):
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        return [word for one in value for word in wrong(one, found[1], path)]
    if found := re.fullmatch(r"dict\(str, (.*)\)", kind):
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is no map"]
        return [word for key, one in value.items() for word in wrong(one, found[1], f"{path}[{key}]")]
    model = getattr(models, kind)
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no {kind}"]
    kinds = {model.attribute_map[name]: of for name, of in model.openapi_types.items()}
    out = []
    for key, one in value.items():
        inner = f"{path}.{key}"
        if key in kinds:
            out += wrong(one, kinds[key], inner)
        elif inner in YOUNGER:
            USED.add(inner)
        else:
            out.append(f"{inner}: {kind} of Kubernetes 1.22 has no such field")
    return out


USED = set()


def main(heddle):
    failures, count = [], 0
    for form in FORMS:
        for item in objects(text_of(heddle, "install", *form)):
            count += 1
            failures += [f"{title(item)}, {form or 'defaults'}: {word}" for word in wrong(item, model_of(item), item["kind"])]
    failures += [f"YOUNGER[{path!r}] is used by no object" for path in YOUNGER if path not in USED]
    # That this test can fail.
    for broken in ({"spec": {"replica": 1}}, {"spec": {"replicas": "1"}}, {"metadata": {"annotations": {"a": True}}},
                   {"spec": {"template": {"spec": {"containers": [{"nmae": "x"}]}}}}, {"spec": []}):
        if len(wrong(broken, "V1Deployment", "Deployment")) != 1:
            failures.append(f"a wrong object passed: {broken}")
    print("\n".join(failures) or f"{count} objects have only fields that Kubernetes knows")
    return 1 if failures or count < 15 * len(FORMS) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`kubectl kustomize deploy/kustomize` yields the objects of `heddle render`.

Usage: kustomize_test.py KUBECTL HEDDLE FOLDER
"""
import json
import subprocess
import sys

try:
    import yaml
except ImportError:
    sys.exit(77)


def objects(text):
    return sorted(json.dumps(o, sort_keys=True) for o in yaml.safe_load_all(text) if o)


def main(kubectl, heddle, folder):
    rendered = objects(subprocess.run([heddle, "render"], check=True, capture_output=True, text=True).stdout)
    built = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)
    if built.returncode:
        print(built.stderr)
        return 1
    other = objects(built.stdout)
    for only, side in ((set(rendered) - set(other), "heddle render"), (set(other) - set(rendered), "kubectl kustomize")):
        for text in only:
            print(f"only in {side}: {text[:300]}")
    print(f"{len(rendered)} objects")
    return 0 if rendered and rendered == other else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`-o jsonpath=..` prints what kubectl prints, and refuses what kubectl refuses: both are given the same object.

Usage: jsonpath_test.py KUBECTL EVALUATE
"""
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

OBJECT = {
    "apiVersion": "v1", "kind": "Pod",
    "metadata": {"name": "p", "namespace": "shop", "annotations": {"zz": "1"},
                 "labels": {"app": "web", "app.kubernetes.io/name": "x", "odd": "a<b>&c \"d\" \u00fc"}},
    "spec": {"containers": [{"name": "a", "image": "i1", "ports": [{"containerPort": 80}, {"containerPort": 81}]},
                            {"name": "b", "image": "i2", "ports": [{"containerPort": 90}]},
                            {"name": "c", "image": "i3", "tty": True}],
             "terminationGracePeriodSeconds": 30, "hostNetwork": False}}
TEMPLATES = r"""
{.metadata.name}
.metadata.name
a {.kind} b {.metadata.name}.
{}
{.metadata}
{.metadata.labels}
{.metadata.labels.app\.kubernetes\.io/name}
{.metadata.labels['app']}
{.metadata.labels['app\.kubernetes\.io/name']}
{.metadata.labels.odd}
{['metadata.name', 'kind']}
{.spec.hostNetwork} {.spec.terminationGracePeriodSeconds}
{.spec.containers[*].name}
{.spec.containers[0]}
{.spec.containers[-1].name}
{.spec.containers[0:2].name}
{.spec.containers[1:].name}
{.spec.containers[:-1].name}
{.spec.containers[-2:].name}
{.spec.containers[::2].name}
{.spec.containers[0:3:2].name}
{.spec.containers[1:1].name}
{.spec.containers[9].name}
{.spec.containers[-9].name}
{.spec.containers[0:9].name}
{.spec.containers[2:1].name}
{.spec.containers[*].ports[*].containerPort}
{.spec.containers[*].ports[0].containerPort}
{.spec.containers[?(@.name=="b")].image}
{.spec.containers[?(@.name=='b')].image}
{.spec.containers[?(@.name!="b")].name}
{.spec.containers[?(@.name>"a")].name}
{.spec.containers[?(@.tty)].name}
{.spec.containers[?(@.tty==true)].name}
{.spec.containers[?(@.ports[0].containerPort>80)].name}
{.spec.containers[?(@.ports[0].containerPort>=80)].name}
{.spec.containers[?(@.ports[0].containerPort<90)].name}
{.spec.containers[?(@.nothing=="b")].name}
{..containerPort}
{..name}
{.spec..image}
{.spec.nothing}
{.kind.name}
{.spec.containers.name}
{$.kind}{" and "}{@.kind}
{"quoted\ttext\n"}|{'single'}
{range .spec.containers[*]}{.name}{"\t"}{.image}{"\n"}{end}
{range .spec.containers[*]}[{.name}:{range .ports[*]} {.containerPort}{end}]{end}
{range .spec.containers[*]}{.name}{$.kind}{end}
{range .spec.nothing[*]}x{end}after
{ .kind }
{end}
{.kind
{.spec.containers[}
{.spec.containers[0}
{.spec.containers[?(@.name=="b"}
{"text}
""".strip("\n").split("\n")


def of_kubectl(kubectl, template, file):
    done = subprocess.run([kubectl, "annotate", "--local", "-f", file, "zz=1", "-o", "jsonpath=" + template], capture_output=True,
                          text=True, timeout=60)
    return done.stdout if done.returncode == 0 else None


def of_ours(evaluate, template, file):
    with open(file, encoding="utf-8") as text:
        done = subprocess.run([evaluate, template], stdin=text, capture_output=True, text=True, timeout=60)
    return done.stdout if done.returncode == 0 else None


def same(template, a, b):
    if ".." in template and a and b:  # kubectl goes down into maps in an order that is another each time
        return sorted(a.split()) == sorted(b.split())
    return a == b


def main(kubectl, evaluate):
    with tempfile.TemporaryDirectory(prefix="heddle-jsonpath-") as folder:
        file = os.path.join(folder, "pod.json")
        with open(file, "w", encoding="utf-8") as out:
            json.dump(OBJECT, out)
        if of_kubectl(kubectl, "{.kind}", file) != "Pod":
            print("SKIP: this kubectl cannot evaluate a local file")
            return 77
        with ThreadPoolExecutor(2) as pool:
            theirs = list(pool.map(lambda one: of_kubectl(kubectl, one, file), TEMPLATES))
        ours = [of_ours(evaluate, one, file) for one in TEMPLATES]
    different = [(one, a, b) for one, a, b in zip(TEMPLATES, theirs, ours) if not same(one, a, b)]
    for one, a, b in different:
        print(f"{one}\n  kubectl: {a!r}\n  heddle:  {b!r}")
    print(f"{len(TEMPLATES)} templates, {len(different)} differ, {theirs.count(None)} are refused")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heddle as people install it: the image on every node, `heddle install | kubectl apply -f -`, an annotation on a
namespace with running pods, and nothing left of it after `heddle uninstall`.

Exit status: 0 passed, 1 failed.
"""
import difflib
import itertools
import json
import os
import re
import sys
import tarfile

from fixture import SECONDS, arguments, cluster_up
from installation import OLD, Installation
from testbed import TestbedError

from e2e_lab import eventually, run_cases  # isort: skip

IDENTITY = "default.shop.serviceaccount.identity.heddle.cluster.local"
PODS = 20
KINDS = "namespaces,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations"
NAMESPACED = "deployments,daemonsets,services,configmaps,secrets,roles,rolebindings,serviceaccounts"
APPLICATION = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: shop, annotations: {{vault.test/token: SEEDED-annotation}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: keys, namespace: shop}}
stringData: {{key: SEEDED-secret}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  replicas: {PODS}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: DoNotSchedule
        labelSelector: {{matchLabels: {{app: web}}}}
      containers:
      - name: main
        image: heddle.test/busybox:1
        command: [sh, -c, "echo woven > /tmp/cloth && exec httpd -f -p 8080 -h /tmp"]
---
apiVersion: v1
kind: Pod
metadata: {{name: client, namespace: shop}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: "heddle.test/tools:1"
    command: [sh, -c, sleep infinity, "--password", SEEDED-argument]
    env: [{{name: DB_PASSWORD, value: SEEDED-environment}}]
    readinessProbe: {{exec: {{command: [echo, SEEDED-probe]}}}}
    lifecycle: {{preStop: {{exec: {{command: [echo, SEEDED-hook]}}}}}}
"""
GIVEN = arguments(__doc__, rounds=(1, "how often it is installed and removed again"))
CLUSTER = cluster_up(2)
HEDDLE = Installation(CLUSTER, GIVEN.bin_dir)
ROUNDS = itertools.count()


def names_of_objects():
    """What is in the cluster, without what belongs to pods and tokens that come and go by themselves."""
    wide = CLUSTER.kubectl("get", KINDS, "-o", "name").split()
    within = CLUSTER.kubectl("get", NAMESPACED, "-A", "--no-headers", "-o",
                             "custom-columns=K:.kind,S:.metadata.namespace,N:.metadata.name").splitlines()
    return sorted(wide) + sorted(" ".join(line.split()) for line in within)


# Everything by which heddle could show on a node: files and pins, what runs, cgroups and hooks, mounts, rules.
STATE_OF_NODE = r"""
find /etc/cni/net.d /opt/cni/bin /sys/fs/bpf /run/heddle -not -type d -printf '%p %s\n' 2>/dev/null | sort
cat /etc/cni/net.d/*
ps -eo comm | grep heddle
find /sys/fs/cgroup -iname '*heddle*'
bpftool cgroup tree /sys/fs/cgroup/unified 2>/dev/null || bpftool cgroup tree /sys/fs/cgroup
cut -d' ' -f2 /proc/self/mounts | grep -v ^/tmp/ | sort | grep -i heddle
iptables-save | grep -i heddle
ip rule; ip route show table all type local | grep -w default
ls -d /run/netns/*heddle* 2>/dev/null
true
"""
# And in a pod: who listens, what is redirected, where it goes.
STATE_OF_PODS = r"""
for pod in /run/netns/*; do
  in_it() { nsenter --net=$pod "$@" 2>/dev/null; }
  echo "$(in_it ip -4 -o address show eth0 | tr -s ' ' | cut -d' ' -f4): $(in_it ss -Hltn | tr -s ' ' | cut -d' ' -f4 | sort |
    tr '\n' ' ')" $(in_it ip rule) $(in_it ip route show table all) $(in_it nft list ruleset)
done | sort
"""


def state_of(node):
    return (node.run("sh", "-c", STATE_OF_NODE) + node.run("sh", "-c", STATE_OF_PODS)).splitlines()


def pods():
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in CLUSTER.get("-n", "shop", "pods")["items"]
            if pod["status"]["phase"] == "Running"}


def objects_of_people():
    """What was there without heddle, as it is: nodes, namespaces, and pods with how often their containers were started."""
    found = [(kind["metadata"]["name"], kind["metadata"].get("labels"), kind["metadata"].get("annotations"), kind["spec"])
             for kind in CLUSTER.get("nodes")["items"] + CLUSTER.get("namespaces")["items"]]
    found += [(pod["metadata"]["uid"], pod["metadata"].get("annotations"), pod["spec"],
               [one["restartCount"] for one in pod["status"]["containerStatuses"]])
              for pod in CLUSTER.get("-n", "shop", "pods")["items"]]
    return [json.dumps(one, sort_keys=True) for one in found]


def fetch():
    return CLUSTER.kubectl("-n", "shop", "exec", "client", "--", "curl", "-s", "-m", "20",
                           f"http://{HEDDLE.address_of('web', 'shop')}/cloth", check=False)


def the_cluster_is_fit_for_it():
    found = json.loads(HEDDLE.asked("check", "--pre", "-o", "json"))
    assert found["ok"], found


def everything_comes_up_from_one_pipe():
    HEDDLE.install()
    found = json.loads(HEDDLE.asked("check", "-o", "json"))
    assert not [one for one in found["checks"] if one["code"] == "HC205" and one["result"] != "ok"], found


def the_api_server_takes_every_object_as_it_is_written():
    def dry(text):
        return CLUSTER.kubectl("apply", "--dry-run=server", "--validate=true", "-f", "-", text=text)

    switches = ("--platform", "openshift", "--ipv6", "--control-host", "10.96.0.9", "--set", "agent.podTokens=true",
                "--set", "control.tolerations=[{operator: Exists}]", "--set", "imagePullSecrets=[{name: x}]")
    for flags in ((), switches):
        text = HEDDLE.heddle("install", *OLD, *flags)
        assert dry(text).count("(server dry run)") == text.count("\nkind:"), dry(text)
    try:
        dry(HEDDLE.heddle("install", *OLD).replace("  replicas:", "  replicsa:"))
    except TestbedError as error:
        assert 'unknown field "replicsa"' in str(error), error
    else:
        raise AssertionError("a field that does not exist was taken")


def control_is_told_when_an_object_that_it_keeps_changes():
    """Its Role names the objects; were watching them refused, a look would come 30 s later."""
    def bundle():
        return CLUSTER.get("mutatingwebhookconfiguration", "heddle-injector")["webhooks"][0]["clientConfig"].get("caBundle")
    eventually("API servers know what to verify the injector with", bundle, 40)
    before = bundle()
    for _ in range(3):
        CLUSTER.kubectl("patch", "mutatingwebhookconfiguration", "heddle-injector", "--type=json", "-p",
                        '[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]')
        eventually("it is put right", lambda: bundle() == before, 10, 0.1)
    said = CLUSTER.kubectl("-n", "heddle", "logs", "-l", "app.kubernetes.io/component=control", "--tail=-1")
    assert "found late" not in said, said


def running_pods_are_meshed_where_they_run():
    before = pods()
    assert len(before) == PODS + 1, before
    CLUSTER.kubectl("annotate", "namespace", "shop", "linkerd.io/inject=enabled")
    eventually(lambda: f"{len(HEDDLE.meshed('shop'))} of {PODS + 1} are meshed",
               lambda: len(HEDDLE.meshed("shop")) == PODS + 1, 60, 0.5)
    assert pods() == before, "pods were replaced"
    eventually(lambda: "an answer, not " + repr(fetch()), lambda: fetch() == "woven\n", 30, 0.2)
    for _ in range(PODS):
        assert fetch() == "woven\n"
    edges = json.loads(HEDDLE.asked("edges", "-o", "json"))["edges"]
    ways = {edge["tls"] for edge in edges if edge["src"] == "shop/client"}
    assert ways == {"true", "local"}, edges  # over the wire to the other node, joined on its own
    identities = json.loads(HEDDLE.asked("identity", "-o", "json"))["identities"]
    assert {one["identity"] for one in identities} == {IDENTITY}, identities
    assert sum(one["pods"] for one in json.loads(HEDDLE.asked("identity", "-n", "shop", "-l", "app=web", "-o", "json"))["identities"]) == PODS
    assert not json.loads(HEDDLE.asked("identity", "-n", "default", "-o", "json"))["identities"]
    known = json.loads(HEDDLE.asked("endpoints", "-n", "shop", "-l", "app=web", "-o", "json"))["services"]
    assert {end["labels"]["pod"] for one in known for end in one["endpoints"]} == {name for name in before if name != "client"}, known
    assert not json.loads(HEDDLE.asked("endpoints", "-l", "app=nobody", "-o", "json"))["services"]
    found = json.loads(HEDDLE.asked("check", "-o", "json", check=False))
    assert found["ok"], json.dumps(found, indent=1)
    untried = [one for one in found["checks"] if one["code"] == "HC304" and "could not be tried" in one["detail"]]
    assert not untried, untried  # also of pods that were enrolled while they ran


def bundle_in(archive, *flags):
    """The texts of a new bundle, by path."""
    said = HEDDLE.asked("diagnostics", "bundle", "-o", archive, *flags)
    assert said == archive + "\n", said
    with tarfile.open(archive) as bundle:
        return {name.partition("/")[2]: bundle.extractfile(name).read().decode() for name in bundle.getnames()}


def all_that_a_report_needs_is_collected_without_secrets():
    CLUSTER.kubectl("-n", "shop", "exec", "client", "--", "curl", "-s", "-m", "5",
                    f"http://{HEDDLE.address_of('web', 'shop')}/cloth?session=SEEDED-query", check=False)
    archive = CLUSTER.folder + "/bundle.tar.gz"
    found = bundle_in(archive)
    manifest = json.loads(found["manifest.json"])
    assert manifest["complete"], manifest["missing"]
    pods_of_heddle = [pod["metadata"]["name"] for pod in CLUSTER.get("-n", "heddle", "pods")["items"]]
    expected = ["check.json", "status.json", "edges.json", "cluster/nodes.json", "heddle/objects.json", "heddle/events.json",
                "namespaces/shop/pods.json", "namespaces/shop/services.json", "namespaces/shop/endpoints.json",
                "namespaces/shop/events.json"]
    for node in CLUSTER.nodes:
        expected += [f"nodes/{node}/{name}" for name in ("agent-state.json", "agent-verify.json", "agent-metrics.txt", "cni.json",
                                                         "proxy-state.json", "proxy-metrics.txt", "machine.json")]
    for pod in pods_of_heddle:
        kind = pod.split("-")[1]
        expected += [f"heddle/logs/{pod}/{kind}.log"] + [f"heddle/control/{pod}-metrics.txt"] * (kind == "control")
    assert not [name for name in expected if not found.get(name)], (sorted(found), expected)
    seen = {pod["metadata"]["name"] for pod in json.loads(found["namespaces/shop/pods.json"])["items"]}
    assert seen >= set(pods()), seen
    assert "heddle-cni" in found["nodes/node1/cni.json"], found["nodes/node1/cni.json"]
    assert json.loads(found["nodes/node1/machine.json"])["cgroup"]["pods"] == ["kubepods"], found["nodes/node1/machine.json"]
    tokens = [line for text in found.values() for line in text.splitlines() if "SEEDED" in line or "PRIVATE KEY" in line or
              "eyJhbGci" in line]
    assert not tokens, tokens
    renamed = bundle_in(archive, "--redact-names")
    assert len(renamed) == len(found), sorted(renamed)
    mine = "|".join(["shop", "web", "client", *CLUSTER.nodes, *pods()])
    told = [(path, line[:200]) for path, text in renamed.items() for line in [path, *text.splitlines()]
            if re.search(rf'(?<![\w-])({mine})(?![\w-])(?!":)', line)]
    assert not told, told[:20]


def a_new_pod_is_marked_by_the_injector_and_meshed_from_its_start():
    CLUSTER.kubectl("-n", "shop", "run", "late", "--image=heddle.test/tools:1", "--restart=Never", "--", "sleep", "infinity")
    eventually("it runs", lambda: CLUSTER.get("-n", "shop", "pod", "late")["status"]["phase"] == "Running", 60)
    pod = CLUSTER.get("-n", "shop", "pod", "late")
    assert pod["metadata"]["annotations"].get("heddle.io/mode") == "node", pod["metadata"]
    assert "late" in HEDDLE.meshed("shop")
    CLUSTER.kubectl("-n", "shop", "delete", "pod", "late", "--grace-period=1")


def pods_are_released_when_the_annotation_goes():
    before = pods()
    CLUSTER.kubectl("annotate", "namespace", "shop", "linkerd.io/inject-")
    eventually(lambda: f"none is meshed, last {HEDDLE.meshed('shop')}", lambda: not HEDDLE.meshed("shop"), 60, 0.5)
    assert pods() == before, "pods were replaced"
    assert fetch() == "woven\n"


def nothing_is_left_after_the_uninstallation():
    """By one command, by ours alone, and in two steps, in turn."""
    way = next(ROUNDS) % 3
    if way == 1:
        HEDDLE.asked("uninstall", "--apply", timeout=200)
    else:
        if way == 2:
            delete("--cascade=foreground", text=HEDDLE.heddle("uninstall", "--nodes", *OLD))
        delete(f"--ignore-not-found={str(way == 2).lower()}", text=HEDDLE.heddle("uninstall", *OLD))
    nothing_is_left()


def delete(flag, text):
    CLUSTER.kubectl("delete", flag, "--timeout=90s", "-f", "-", timeout=100, text=text)


def nothing_is_left():
    def differences():
        now = snapshot()
        return [line for part, was in BEFORE.items() for line in difflib.unified_diff(was, now[part], "before", part, n=0)]
    eventually(lambda: "everything is as before:\n" + "\n".join(differences()), lambda: not differences(), 60, 0.5)
    assert fetch() == "woven\n"


def snapshot():
    return {"objects": names_of_objects(), "people's": objects_of_people(),
            **{node.name: state_of(node) for node in CLUSTER.nodes.values()}}


def prepare():
    """The image on every node, and an application that knows nothing of a mesh."""
    HEDDLE.load_image()
    CLUSTER.apply(APPLICATION)
    HEDDLE.wait_running("shop", PODS + 1)
    eventually("the application answers", lambda: fetch() == "woven\n", 30, 0.2)


if __name__ == "__main__":
    prepare()
    BEFORE = snapshot()
    run_cases([the_cluster_is_fit_for_it, everything_comes_up_from_one_pipe,
               the_api_server_takes_every_object_as_it_is_written, control_is_told_when_an_object_that_it_keeps_changes,
               running_pods_are_meshed_where_they_run, all_that_a_report_needs_is_collected_without_secrets,
               a_new_pod_is_marked_by_the_injector_and_meshed_from_its_start, pods_are_released_when_the_annotation_goes,
               nothing_is_left_after_the_uninstallation] * GIVEN.rounds, GIVEN, CLUSTER, SECONDS * GIVEN.rounds)
    sys.exit(1)

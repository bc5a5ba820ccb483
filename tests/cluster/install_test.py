#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heddle as people install it: the image on every node, `heddle install | kubectl apply -f -`, an annotation on a
namespace with running pods, and nothing left of it after `heddle uninstall`.

Exit status: 0 passed, 1 failed.
"""
import json
import os
import sys

from fixture import SECONDS, arguments, cluster_up

from e2e_lab import eventually, run_cases  # isort: skip

IMAGE = "localhost/heddle:cluster-test"
IDENTITY = "default.shop.serviceaccount.identity.heddle.cluster.local"
OLD = ("--kubernetes-version", "1.20")
PODS = 20
KINDS = "namespaces,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations"
NAMESPACED = "deployments,daemonsets,services,configmaps,secrets,roles,rolebindings,serviceaccounts"
APPLICATION = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: shop}}
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
  containers: [{{name: main, image: "heddle.test/tools:1", command: [sleep, infinity]}}]
"""
GIVEN = arguments(__doc__)
CLUSTER = cluster_up(2)


def heddle(*words, check=True, timeout=120):
    """The command as a person runs it beside kubectl."""
    return CLUSTER.run(GIVEN.bin_dir + "/heddle", *words, check=check, timeout=timeout)


def asked(*words, **more):
    return heddle(*words, "--kubeconfig", CLUSTER.kubeconfig(), **more)


def install(*flags):
    CLUSTER.apply(heddle("install", *OLD, "--image", IMAGE, "--image-pull-policy", "Never", *flags))


def address_of(service, namespace):
    return CLUSTER.get("-n", namespace, "service", service)["spec"]["clusterIP"]


def names_of_objects():
    """What is in the cluster, without what belongs to pods and tokens that come and go by themselves."""
    wide = CLUSTER.kubectl("get", KINDS, "-o", "name").split()
    within = CLUSTER.kubectl("get", NAMESPACED, "-A", "--no-headers", "-o",
                             "custom-columns=K:.kind,S:.metadata.namespace,N:.metadata.name").splitlines()
    return sorted(wide), sorted(" ".join(line.split()) for line in within)


def state_of(node):
    """Files and programs by which heddle would show on a node."""
    found = "find /etc/cni/net.d /opt/cni/bin /sys/fs/bpf -not -type d -printf '%p %s\\n' | sort; cat /etc/cni/net.d/*"
    return node.run("sh", "-c", found)


def pods():
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in CLUSTER.get("-n", "shop", "pods")["items"]
            if pod["status"]["phase"] == "Running"}


def fetch():
    return CLUSTER.kubectl("-n", "shop", "exec", "client", "--", "curl", "-s", "-m", "20",
                           f"http://{address_of('web', 'shop')}/cloth", check=False)


def meshed():
    """Pods of the namespace that are redirected and served, over both nodes."""
    nodes = json.loads(asked("status", "-o", "json", check=False))["nodes"]
    return [pod["name"] for node in nodes for pod in node.get("agent", {}).get("pods", [])
            if pod["namespace"] == "shop" and pod.get("redirected") and pod.get("proxy") == "acknowledged"]


def the_cluster_is_fit_for_it():
    found = json.loads(asked("check", "--pre", "-o", "json"))
    assert found["ok"], found


def everything_comes_up_from_one_pipe():
    install()
    # There is no DNS in this cluster: nodes reach heddle-control by its address.
    install("--control-host", address_of("heddle-control", "heddle"))
    found = json.loads(asked("check", "--wait", "90", "-o", "json", check=False))
    assert found["ok"], json.dumps(found, indent=1)
    assert not [one for one in found["checks"] if one["code"] == "HC205" and one["result"] != "ok"], found


def running_pods_are_meshed_where_they_run():
    before = pods()
    assert len(before) == PODS + 1, before
    CLUSTER.kubectl("annotate", "namespace", "shop", "linkerd.io/inject=enabled")
    eventually(lambda: f"{len(meshed())} of {PODS + 1} are meshed", lambda: len(meshed()) == PODS + 1, 60, 0.5)
    assert pods() == before, "pods were replaced"
    eventually(lambda: "an answer, not " + repr(fetch()), lambda: fetch() == "woven\n", 30, 0.2)
    for _ in range(PODS):
        assert fetch() == "woven\n"
    edges = json.loads(asked("edges", "-o", "json"))["edges"]
    ways = {edge["tls"] for edge in edges if edge["src"] == "shop/client"}
    assert ways == {"true", "local"}, edges  # over the wire to the other node, joined on its own
    identities = json.loads(asked("identity", "-o", "json"))["identities"]
    assert {one["identity"] for one in identities} == {IDENTITY}, identities
    found = json.loads(asked("check", "-o", "json", check=False))
    assert found["ok"], json.dumps(found, indent=1)


def a_new_pod_is_marked_by_the_injector_and_meshed_from_its_start():
    CLUSTER.kubectl("-n", "shop", "run", "late", "--image=heddle.test/tools:1", "--restart=Never", "--", "sleep", "infinity")
    eventually("it runs", lambda: CLUSTER.get("-n", "shop", "pod", "late")["status"]["phase"] == "Running", 60)
    pod = CLUSTER.get("-n", "shop", "pod", "late")
    assert pod["metadata"]["annotations"].get("heddle.io/mode") == "node", pod["metadata"]
    assert "late" in meshed()
    CLUSTER.kubectl("-n", "shop", "delete", "pod", "late", "--grace-period=1")


def pods_are_released_when_the_annotation_goes():
    before = pods()
    CLUSTER.kubectl("annotate", "namespace", "shop", "linkerd.io/inject-")
    eventually(lambda: f"none is meshed, last {meshed()}", lambda: not meshed(), 60, 0.5)
    assert pods() == before, "pods were replaced"
    assert fetch() == "woven\n"


def nothing_is_left_after_the_uninstallation():
    CLUSTER.kubectl("delete", "--cascade=foreground", "--timeout=90s", "-f", "-", timeout=100,
                    text=heddle("uninstall", "--nodes", *OLD))
    eventually(lambda: "the nodes are as before: " + "\n".join(state_of(node) for node in CLUSTER.nodes.values()),
               lambda: [state_of(node) for node in CLUSTER.nodes.values()] == NODES_BEFORE, 60, 0.5)
    CLUSTER.kubectl("delete", "--ignore-not-found", "--timeout=90s", "-f", "-", timeout=100, text=heddle("uninstall", *OLD))
    eventually(lambda: f"its objects are gone: {names_of_objects()}\nbefore: {OBJECTS_BEFORE}",
               lambda: names_of_objects() == OBJECTS_BEFORE, 60, 0.5)
    assert fetch() == "woven\n"


def prepare():
    """The image on every node, and an application that knows nothing of a mesh."""
    archive = CLUSTER.folder + "/heddle.tar"
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    CLUSTER.run("/usr/bin/python3", os.path.join(root, "tools/image"), "--build-dir", os.path.dirname(GIVEN.bin_dir),
                "--out", archive, "--name", IMAGE, timeout=120)
    for node in CLUSTER.nodes.values():
        node.load_image(archive)
    CLUSTER.apply(APPLICATION)
    eventually(lambda: f"{len(pods())} of {PODS + 1} pods run", lambda: len(pods()) == PODS + 1, 120, 0.5)
    eventually("the application answers", lambda: fetch() == "woven\n", 30, 0.2)


if __name__ == "__main__":
    prepare()
    NODES_BEFORE = [state_of(node) for node in CLUSTER.nodes.values()]
    OBJECTS_BEFORE = names_of_objects()
    run_cases([the_cluster_is_fit_for_it, everything_comes_up_from_one_pipe, running_pods_are_meshed_where_they_run,
               a_new_pod_is_marked_by_the_injector_and_meshed_from_its_start, pods_are_released_when_the_annotation_goes,
               nothing_is_left_after_the_uninstallation], GIVEN, CLUSTER, SECONDS)
    sys.exit(1)

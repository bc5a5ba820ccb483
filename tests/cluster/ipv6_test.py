#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A cluster without any IPv4: heddle is installed, running pods are meshed, the injector is asked, the kubelet probes, and
whoever is not in the mesh is served, all over IPv6. With --dual 1 beside IPv4: then services and pods have both.

Exit status: 0 passed, 1 failed.
"""
import json
import sys

from addresses import in_url
from fixture import SECONDS, arguments, cluster_up
from installation import Installation

from e2e_lab import eventually, run_cases  # isort: skip

IDENTITY = "default.shop.serviceaccount.identity.heddle.cluster.local"
PROBES = """
    startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 30}
    readinessProbe: {httpGet: {path: /cloth, port: 8080}, periodSeconds: 1}
    livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 5}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: heddle.test/{image}:1
    command: {command}
"""
OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: street}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ipFamilyPolicy: POLICY, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: late, namespace: shop}
spec: {ipFamilyPolicy: POLICY, selector: {app: late}, ports: [{port: 80, targetPort: 8080}]}
"""
GIVEN = arguments(__doc__, dual=(0, "1: a cluster of both families"))
POLICY = "RequireDualStack" if GIVEN.dual else "SingleStack"
CLUSTER = cluster_up(2, family="dual" if GIVEN.dual else "ipv6")
HEDDLE = Installation(CLUSTER, GIVEN.bin_dir)


def client(name, namespace, node):
    return POD.format(name=name, namespace=namespace, node=node, image="tools", command="[sleep, infinity]")


def server(name, namespace, node, answer):
    command = f'[sh, -c, "echo {answer} > /tmp/cloth && exec httpd -f -p 8080 -h /tmp"]'
    return POD.format(name=name, namespace=namespace, node=node, image="busybox", command=command) + PROBES


def addresses(service):
    """As URLs have them."""
    spec = CLUSTER.get("-n", "shop", "service", service)["spec"]
    found = spec.get("clusterIPs") or [spec["clusterIP"]]
    assert len(found) == len(CLUSTER.families), spec
    return [in_url(address) for address in found]


def fetch(pod, namespace, address):
    return CLUSTER.kubectl("-n", namespace, "exec", pod, "--", "curl", "-s", "-m", "20", f"http://{address}/cloth", check=False)


def served(pod, namespace="shop", service="web"):
    """At every address of the service."""
    for address in addresses(service):
        eventually(lambda address=address: f"{pod} has an answer, not {fetch(pod, namespace, address)!r}",
                   lambda address=address: fetch(pod, namespace, address) == "woven\n", 30, 0.2)


def start(*texts):
    """Returns when all pods of both namespaces are ready."""
    CLUSTER.apply("---".join(texts))
    for namespace in ("shop", "street"):
        CLUSTER.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s", timeout=70)


def edges_of(pod):
    edges = json.loads(HEDDLE.asked("edges", "-o", "json"))["edges"]
    return {edge["dst"]: edge["tls"] for edge in edges if edge["src"] == pod}


def heddle_is_installed_over_ipv6():
    found = json.loads(HEDDLE.asked("check", "--pre", "-o", "json"))
    assert found["ok"], found
    HEDDLE.install("--ipv6")
    service = CLUSTER.get("-n", "heddle", "service", "heddle-control")["spec"]["clusterIP"]
    assert GIVEN.dual or ":" in service, service


def running_pods_are_meshed_where_they_run():
    CLUSTER.kubectl("annotate", "namespace", "shop", "linkerd.io/inject=enabled")
    eventually(lambda: f"all are meshed, not {HEDDLE.meshed('shop')}", lambda: len(HEDDLE.meshed("shop")) == 3, 60, 0.5)
    for pod in ("near", "far"):
        served(pod)
    identities = json.loads(HEDDLE.asked("identity", "-o", "json"))["identities"]
    assert {one["identity"] for one in identities} == {IDENTITY}, identities
    ways = {pod: set(edges_of("shop/" + pod).values()) for pod in ("near", "far")}
    assert ways == {"near": {"local"}, "far": {"true"}}, ways


def a_client_outside_of_the_mesh_is_served_and_one_inside_leaves_it():
    served("stranger", namespace="street")
    stand = CLUSTER.get("-n", "street", "pod", "stand")["status"]["podIPs"]
    assert len(stand) == (2 if GIVEN.dual else 1), stand
    for one in stand:
        answer = fetch("far", "shop", in_url(one["ip"]) + ":8080")
        assert answer == "cheap\n", answer
    assert edges_of("shop/far")["street/stand"] == "no_identity", edges_of("shop/far")


def a_new_pod_is_marked_by_the_injector_and_becomes_ready_behind_its_proxy():
    start(server("late", "shop", "node2", "woven"))
    pod = CLUSTER.get("-n", "shop", "pod", "late")
    assert pod["metadata"]["annotations"].get("heddle.io/mode") == "node", pod["metadata"]
    assert "late" in HEDDLE.meshed("shop")
    served("near", service="late")
    served("far", service="late")


def the_kubelets_probes_pass_all_the_while():
    for pod in CLUSTER.get("-n", "shop", "pods")["items"]:
        conditions = {one["type"]: one["status"] for one in pod["status"]["conditions"]}
        restarts = [one["restartCount"] for one in pod["status"]["containerStatuses"]]
        assert conditions["Ready"] == "True" and not any(restarts), pod["status"]
    found = json.loads(HEDDLE.asked("check", "-o", "json", check=False))
    assert found["ok"], json.dumps(found, indent=1)


if __name__ == "__main__":
    HEDDLE.load_image()
    CLUSTER.apply(OBJECTS.replace("POLICY", POLICY))
    start(server("web", "shop", "node2", "woven"), client("near", "shop", "node2"), client("far", "shop", "node1"),
          client("stranger", "street", "node1"), server("stand", "street", "node2", "cheap"))
    served("near")
    run_cases([heddle_is_installed_over_ipv6, running_pods_are_meshed_where_they_run,
               a_client_outside_of_the_mesh_is_served_and_one_inside_leaves_it,
               a_new_pod_is_marked_by_the_injector_and_becomes_ready_behind_its_proxy,
               the_kubelets_probes_pass_all_the_while], GIVEN, CLUSTER, SECONDS)
    sys.exit(1)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pods of two real nodes talk through heddle: kubelets start them, the API server is the source of endpoints, and the
identities that the proxies present are those of the pods' ServiceAccounts.

Exit status: 0 passed, 1 failed.
"""
import os
import re
import sys

from fixture import SECONDS, arguments, cluster_up
from heddle_programs import ADDRESS, Control, NodePrograms

from e2e_lab import eventually, run_cases  # isort: skip

ANCHORS = "/run/trust-anchors.pem"
OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: buyer}
---
apiVersion: v1
kind: Namespace
metadata: {name: seller}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: seller}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}, annotations: {{linkerd.io/inject: {inject}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers: [{{name: main, image: "heddle.test/{image}:1", command: {command}}}]
"""
SLEEP = '[sleep, infinity]'
# httpd answers with the files of its folder.
SERVE = '[sh, -c, "echo woven > /tmp/cloth && exec httpd -f -p 8080 -h /tmp"]'
BUYER = "default.buyer.serviceaccount.identity.heddle.cluster.local"
GIVEN = arguments(__doc__)
CLUSTER = cluster_up(2)


def start_pods(*pods):
    """(name, namespace, node, image, command, inject) each."""
    for name, namespace, node, image, command, inject in pods:
        # The API server refuses pods before the namespace's ServiceAccount has a token.
        eventually(f"{namespace} has a token", lambda namespace=namespace: '"secrets"' in CLUSTER.kubectl(
            "-n", namespace, "get", "sa", "default", "--ignore-not-found", "-o", "json"))
        CLUSTER.apply(POD.format(name=name, namespace=namespace, node=node, image=image, command=command, inject=inject))
    for name, namespace, *_ in pods:
        where = ("-n", namespace)
        eventually(lambda name=name, where=where: f"{name} runs; {CLUSTER.kubectl(*where, 'describe', 'pod', name)[-1500:]}",
                   lambda name=name, where=where: CLUSTER.get(*where, "pod", name)["status"]["phase"] == "Running", 90)


def start_heddle():
    """control, and an agent with a proxy on each node; returns the programs of each."""
    tokens = CLUSTER.folder + "/tokens"
    os.mkdir(tokens, 0o700)
    for name in CLUSTER.nodes:
        for file_name, text in ((name + ".token", "secret-of-" + name), (name + ".proof", f"{name}:secret-of-{name}")):
            with open(f"{tokens}/{file_name}", "w", encoding="ascii") as file:
                file.write(text)
    control = Control(CLUSTER, GIVEN.bin_dir, "--node-tokens", tokens)
    started = {}
    for name, node in CLUSTER.nodes.items():
        node.run("install", "-m", "644", control.state + "/trust-anchors.pem", ANCHORS)
        started[name] = heddle = NodePrograms(node, GIVEN.bin_dir)
        heddle.plugin("install")
        heddle.start_agent("--identity-address", ADDRESS + ":8080", "--trust-anchors", ANCHORS, "--token-file",
                           f"{tokens}/{name}.proof")
        heddle.start_proxy("--destination-address", ADDRESS + ":8086", "--trust-anchors", ANCHORS)
    return started


CLUSTER.apply(OBJECTS)
# As on every node where heddle runs in pods there is one already, and with it the cgroup of all pods.
start_pods(*((f"earlier-{node}", "buyer", node, "busybox", SLEEP, "disabled") for node in CLUSTER.nodes))
HEDDLE = start_heddle()


def fetch(pod):
    address = CLUSTER.get("-n", "seller", "service", "web")["spec"]["clusterIP"]
    return CLUSTER.kubectl("-n", "buyer", "exec", pod, "--", "curl", "-s", "-m", "20", f"http://{address}/cloth")


def requests_from(identity):
    """How many requests web's proxy took over mutual TLS from a client of this identity."""
    counts = [float(line.rpartition(" ")[2]) for line in HEDDLE["node2"].proxy_metrics().splitlines()
              if line.startswith("request_total{") and 'direction="inbound"' in line and 'tls="true"' in line and
              re.search(r'client_id="' + re.escape(identity) + '"', line)]
    return sum(counts)


def a_request_to_a_service_crosses_the_nodes_with_the_identity_of_its_service_account():
    start_pods(("web", "seller", "node2", "busybox", SERVE, "enabled"),
               ("client", "buyer", "node1", "tools", SLEEP, "enabled"))
    eventually(lambda: "the service answers through kube-proxy's address, last " + repr(fetch("client")),
               lambda: fetch("client") == "woven\n", 30, 0.2)
    before = eventually("its proxy has seen the client's identity", lambda: requests_from(BUYER))
    for _ in range(5):
        assert fetch("client") == "woven\n"
    eventually(lambda: f"five more requests, {before} before, {requests_from(BUYER)} now",
               lambda: requests_from(BUYER) == before + 5)


def a_pod_outside_of_the_mesh_is_served_and_counts_as_unauthenticated():
    before = requests_from(BUYER)
    start_pods(("outsider", "buyer", "node1", "tools", SLEEP, "disabled"))
    assert fetch("outsider") == "woven\n"
    assert requests_from(BUYER) == before
    plain = [line for line in HEDDLE["node2"].proxy_metrics().splitlines()
             if line.startswith("request_total{") and 'direction="inbound"' in line and 'tls="no_identity"' in line]
    assert plain, HEDDLE["node2"].proxy_metrics()[:4000]


if __name__ == "__main__":
    run_cases([a_request_to_a_service_crosses_the_nodes_with_the_identity_of_its_service_account,
               a_pod_outside_of_the_mesh_is_served_and_counts_as_unauthenticated], GIVEN, CLUSTER, SECONDS)
    sys.exit(1)

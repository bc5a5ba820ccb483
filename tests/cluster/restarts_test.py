#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No pod of a meshed namespace ever starts around the mesh: not while the agent is killed and replaced again and again, and
not after a node's power was cut.

Every pod's first act is a connect, and it says itself where that went. The network's own program writes its configuration
anew meanwhile, which takes heddle out of it.

Exit status: 0 passed, 1 failed.
"""
import json
import sys
import time

from fixture import SECONDS, arguments, cluster_up
from installation import IMAGE, Installation

from testbed import run

from e2e_lab import eventually, run_cases  # isort: skip

OUTBOUND = f"{4140:04X}"  # the port, as /proc/net/tcp has it
IDENTITY = "default.shop.serviceaccount.identity.heddle.cluster.local"
CONFLIST = "/etc/cni/net.d/10-testnet.conflist"
EVERY = 5.0  # seconds
AT_ONCE = 6  # pods under way
# A walker connects to somebody outside of the cluster, who is always there, and asks the kernel where the connection leads:
# to the mesh's listener in the pod, or straight to that somebody. Then it asks for its own name.
WALK = r"""
  exec 3<>/dev/tcp/10.77.0.1/7070
  first=around
  while read -r _ _ remote _; do
    [ "${remote#*:}" != OUTBOUND ] || first=meshed
  done </proc/net/tcp
  echo "first: $first"
  until answer=$(curl -sf -m 5 http://WEB/cgi-bin/who); do sleep 0.2; done
  echo "name: $answer"
  exec sleep infinity
"""
# Answers with the identity of who asks.
SERVER = r"""
  mkdir -p /tmp/cgi-bin
  cat >/tmp/cgi-bin/who <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n%s\n' "${HTTP_L5D_CLIENT_ID:-nobody}"
END
  chmod +x /tmp/cgi-bin/who
  exec httpd -f -p 8080 -h /tmp
"""


def deployment(namespace, name, replicas, image, script):
    container = {"name": "main", "image": f"heddle.test/{image}:1", "command": ["bash" if image == "tools" else "sh", "-c", script]}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                     "template": {"metadata": {"labels": {"app": name}},
                                  "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}}}


def namespace_named(name, inject):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": {"linkerd.io/inject": inject}}}


GIVEN = arguments(__doc__, restarts=(4, "how often the agent is killed or replaced, every 5 seconds"),
                  pods=(12, "how many start meanwhile, and again after the power cut"))
CLUSTER = cluster_up()
NODE = CLUSTER.nodes["node1"]
HEDDLE = Installation(CLUSTER, GIVEN.bin_dir)
NETWORK = NODE.read(CONFLIST)  # as the network's own program writes it


def prepare():
    HEDDLE.load_image()
    HEDDLE.install("--control-replicas", "1")
    CLUSTER.start("somebody", "socat", "TCP-LISTEN:7070,fork,reuseaddr", "PIPE")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
               "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}
    apply(namespace_named("shop", "enabled"), namespace_named("street", "disabled"), service,
          deployment("shop", "web", 1, "busybox", SERVER))
    walk = WALK.replace("OUTBOUND", OUTBOUND).replace("WEB", HEDDLE.address_of("web", "shop"))
    apply(deployment("shop", "walker", 0, "tools", walk), deployment("street", "walker", 0, "tools", walk))
    HEDDLE.wait_running("shop", 1)


def apply(*objects):
    CLUSTER.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def scale(namespace, replicas):
    CLUSTER.kubectl("-n", namespace, "scale", "deployment", "walker", f"--replicas={replicas}")


def walkers(namespace):
    """{name: pod} of those that run."""
    return {pod["metadata"]["name"]: pod for pod in CLUSTER.get("-n", namespace, "pods", "-l", "app=walker")["items"]
            if pod["status"]["phase"] == "Running" and pod["status"]["containerStatuses"][0]["ready"]}


def said(namespace, names):
    """What the walkers' present containers said, as {name: {"first": "meshed" or "around", "name": identity}}."""
    told = {}
    for name in names:
        lines = CLUSTER.kubectl("-n", namespace, "logs", name, check=False).splitlines()
        told[name] = dict(line.split(": ", 1) for line in lines if ": " in line)
    return told


def wait_said(namespace, names):
    """Once each of them has told both."""
    eventually(lambda: f"every walker gets an answer: {said(namespace, names)}",
               lambda: all(len(one) == 2 for one in said(namespace, names).values()), 60, 0.5)
    return said(namespace, names)


def none_was_bypassed(told):
    astray = {name: one for name, one in told.items() if one != {"first": "meshed", "name": IDENTITY}}
    assert not astray, f"{len(astray)} of {len(told)} started around the mesh: {astray}"


def additions():
    """How often the runtime called the chain to add each walker."""
    counts = {}
    for line in NODE.read("/opt/cni/calls").splitlines():
        call = json.loads(line)
        name = call["arguments"].get("K8S_POD_NAME", "")
        if call["command"] == "ADD" and name.startswith("walker-"):
            counts[name] = counts.get(name, 0) + 1
    return counts


def write_network():
    """As the network's program does, next to what it replaces."""
    run(NODE.command("sh", "-c", f"cat >{CONFLIST}.new && mv {CONFLIST}.new {CONFLIST}"), text=NETWORK)


def a_walker_outside_of_the_mesh_says_that_it_went_around_it():
    scale("street", 1)
    eventually("it runs", lambda: walkers("street"), 60, 0.2)
    (told,) = wait_said("street", walkers("street")).values()
    assert told == {"first": "around", "name": "nobody"}, told
    scale("street", 0)


def pods_that_start_while_the_agent_is_killed_and_replaced_start_meshed_or_wait():
    NODE.run("rm", "-f", "/opt/cni/calls")
    restarts, wanted, due = 0, 0, time.monotonic()
    while restarts < GIVEN.restarts:
        if time.monotonic() >= due:
            restart_agent(deleted=restarts % 2 == 1)
            restarts, due = restarts + 1, due + EVERY
        if wanted < GIVEN.pods and wanted - len(walkers("shop")) < AT_ONCE:
            wanted += 2
            scale("shop", wanted)
    eventually(lambda: f"{wanted} walkers run, not {len(walkers('shop'))}", lambda: len(walkers("shop")) == wanted, 90, 0.3)
    told = wait_said("shop", walkers("shop"))
    none_was_bypassed(told)
    counts = additions()
    print(f"   {GIVEN.restarts} restarts, {wanted} pods: {sum(count > 1 for count in counts.values())} of them were told to wait, "
          f"{max(counts.values())} attempts at most", flush=True)


def restart_agent(deleted):
    write_network()
    if deleted:
        CLUSTER.kubectl("-n", "heddle", "delete", "pod", "-l", "app.kubernetes.io/component=agent", "--wait=false")
    else:
        NODE.run("sh", "-c", "kill -9 $(pidof heddle-agent)", check=False)


def after_a_power_cut_no_pod_starts_before_the_agent_whatever_the_network_writes():
    before = walkers("shop")
    assert before
    hide_image()
    NODE.run("rm", "-f", "/opt/cni/calls")
    NODE.reboot("anew")
    # heddle's programs cannot start yet, and the runtime's configuration does not have it: everybody else comes first.
    eventually(lambda: f"the runtime tries to start every pod: {additions()}", lambda: set(additions()) == set(before), 90, 0.3)
    first_attempts = additions()
    assert not NODE.run("pidof", "heddle-agent", "heddle-proxy", check=False), "heddle was not the last to start"
    show_image()
    eventually(lambda: f"they run again: {restarted(before)}", lambda: restarted(before) == set(before), 120, 0.5)
    none_was_bypassed(wait_said("shop", before))
    print(f"   {len(before)} pods, {sum(first_attempts.values())} attempts before heddle could start, "
          f"{sum(additions().values())} in all", flush=True)


def restarted(before):
    return {name for name, pod in walkers("shop").items()
            if pod["status"]["containerStatuses"][0]["containerID"] != before[name]["status"]["containerStatuses"][0]["containerID"]}


def hide_image():
    NODE.run("ctr", "-n", "k8s.io", "images", "tag", "--force", IMAGE, "localhost/hidden:1")
    NODE.run("ctr", "-n", "k8s.io", "images", "rm", IMAGE)


def show_image():
    NODE.run("ctr", "-n", "k8s.io", "images", "tag", "localhost/hidden:1", IMAGE)


if __name__ == "__main__":
    prepare()
    run_cases([a_walker_outside_of_the_mesh_says_that_it_went_around_it,
               pods_that_start_while_the_agent_is_killed_and_replaced_start_meshed_or_wait,
               after_a_power_cut_no_pod_starts_before_the_agent_whatever_the_network_writes], GIVEN, CLUSTER,
              SECONDS + 10 * GIVEN.restarts + 5 * GIVEN.pods)
    sys.exit(1)

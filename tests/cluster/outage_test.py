#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The API server is gone for a while and comes back without a history, with other endpoints than before: nobody in the mesh
notices the first, and everybody knows the second two seconds later.

What changes meanwhile is written through a second API server over the same etcd, which nobody else knows of.

Exit status: 0 passed, 1 failed.
"""
import json
import sys
import time

from fixture import SECONDS, arguments, cluster_up
from installation import Installation

from e2e_lab import eventually, run_cases  # isort: skip

HIDDEN = 6444
LAG = 2.0  # seconds that endpoints may be wrong after the API server is back
SLOW = 3.0  # seconds; what a request may take on a machine that starts an API server meanwhile
# Answers with its own name and the identity of who asks.
SERVER = r"""
  mkdir -p /tmp/cgi-bin
  cat >/tmp/cgi-bin/who <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n%s %s\n' "$(hostname)" "${HTTP_L5D_CLIENT_ID:-nobody}"
END
  chmod +x /tmp/cgi-bin/who
  exec httpd -f -p 8080 -h /tmp
"""
# One new connection after another to each of two services, and one connection that stays.
CLIENT = r"""
  ask() {
    while :; do
      if answer=$(curl -sf -m 10 -w '%{time_total}' "http://$2/cgi-bin/who"); then
        echo "$1 $EPOCHREALTIME ok" $answer
      else
        echo "$1 $EPOCHREALTIME failed $?"
      fi
      sleep 0.1
    done
  }
  stay() {
    exec 3<>"/dev/tcp/$1/9000"
    while echo tick >&3 && read -r -t 10 -u 3 answer; do
      echo "stay $EPOCHREALTIME ok"
      sleep 0.5
    done
    echo "stay $EPOCHREALTIME failed"
  }
  ask steady STEADY & ask moved MOVED & stay STEADY & wait
"""
# Asks once, in its first moment.
LATE = 'until curl -sSf -m 10 http://STEADY/cgi-bin/who; do sleep 0.2; done; exec sleep infinity'
IDENTITY = "{}.shop.serviceaccount.identity.heddle.cluster.local"

GIVEN = arguments(__doc__, outage=(30, "seconds that the API server is gone"))
CLUSTER = cluster_up(2)
FIRST = CLUSTER.nodes["node1"]
HEDDLE = Installation(CLUSTER, GIVEN.bin_dir)


def apply(*objects, server=()):
    CLUSTER.kubectl(*server, "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def pod(name, node, account, **containers):
    """containers: name = (image, script)."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"nodeName": node, "serviceAccountName": account, "terminationGracePeriodSeconds": 1, "containers": [
                {"name": own, "image": f"heddle.test/{image}:1", "command": ["bash" if image == "tools" else "sh", "-c", script]}
                for own, (image, script) in containers.items()]}}


def service(name):
    """Without a selector: its endpoints are ours to write."""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "echo", "port": 9000}]}}


def endpoints(of, pods):
    """pods: {name: address}"""
    return {"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": of, "namespace": "shop", "labels": {"kubernetes.io/service-name": of}},
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}, "nodeName": "node2",
                           "targetRef": {"kind": "Pod", "namespace": "shop", "name": name}} for name, address in pods.items()],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "echo", "port": 9000, "protocol": "TCP"}]}


def prepare():
    HEDDLE.load_image()
    HEDDLE.install("--control-replicas", "1")
    apply({"apiVersion": "v1", "kind": "Namespace",
           "metadata": {"name": "shop", "annotations": {"linkerd.io/inject": "enabled"}}})
    accounts = ("server", "client", "late")
    apply(*({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "shop"}}
            for name in accounts), service("steady"), service("moved"))
    for name in accounts:
        eventually(f"{name} has a token", lambda name=name: "secrets" in CLUSTER.get("-n", "shop", "sa", name))
    apply(*(pod(name, "node2", "server", http=("busybox", SERVER), echo=("tools", "exec socat TCP-LISTEN:9000,fork PIPE"))
            for name in ("before", "after")))
    HEDDLE.wait_running("shop", 2)
    apply(endpoints("steady", addresses("before", "after")), endpoints("moved", addresses("before")))
    where = {name.upper(): HEDDLE.address_of(name, "shop") for name in ("steady", "moved")}
    client, late = CLIENT, LATE
    for name, address in where.items():
        client, late = client.replace(name, address), late.replace(name, address)
    apply(pod("client", "node1", "client", main=("tools", client)), pod("late", "node1", "late", main=("tools", late)))
    HEDDLE.wait_running("shop", 4)


def addresses(*names):
    return {name: CLUSTER.get("-n", "shop", "pod", name)["status"]["podIP"] for name in names}


def logs(name):
    """What a pod of the first node's containers said, the last start's last; kubelet needs no API server to write it."""
    text = FIRST.run("sh", "-c", f"cat $(ls -v /var/log/pods/shop_{name}_*/main/*.log)", check=False)
    return [line.split(" ", 3)[3] for line in text.splitlines() if " stdout F " in line]


def said(kind, since=0.0):
    """[(time, words)] of the client."""
    lines = [line.split() for line in logs("client")]
    return [(float(words[1]), words[2:]) for words in lines if words[0] == kind and float(words[1]) >= since]


def who_answers(kind):
    return [words[1] for _, words in said(kind)[-1:] if words[0] == "ok"]


def sandbox_of(name):
    state = json.loads(FIRST.run("curl", "-s", "-m", "5", "--unix-socket", "/run/heddle/agent/admin.sock", "http://agent/state"))
    return [one["container_id"] for one in state["pods"] if one["name"] == name and one["redirected"]]


def words_about(name):
    """Of the first node's kubelet and of heddle's programs there."""
    with open(CLUSTER.folder + "/logs/node1-kubelet.log", encoding="utf-8", errors="replace") as file:
        kubelet = [line for line in file if name in line and "status" not in line]
    return "".join(kubelet[-20:]) + FIRST.run(
        "sh", "-c", f"tail -n 20 /var/log/pods/heddle_*/*/*.log /var/log/pods/shop_{name}_*/*/*.log", check=False)


def traffic_flows_before():
    eventually(lambda: f"the client is served: {logs('client')[-5:]}",
               lambda: who_answers("moved") == ["before"] and said("steady") and said("stay"), 30, 0.2)
    eventually(lambda: f"so is the one with an identity of its own: {logs('late')}", lambda: logs("late"), 30, 0.2)


def a_sandbox_made_anew_and_new_endpoints_while_the_api_server_is_gone():
    began = time.time()
    CLUSTER.stop("kube-apiserver")
    sandbox, answers = sandbox_of("late"), len(logs("late"))
    after = addresses_known["after"]
    CLUSTER.start_api_server("hidden", HIDDEN)
    apply(endpoints("moved", {"after": after}), server=("--server", f"https://10.77.0.1:{HIDDEN}"))
    CLUSTER.compact_history()
    CLUSTER.stop("hidden")
    eventually("two thirds of the outage pass", lambda: time.time() - began > GIVEN.outage * 2 / 3, GIVEN.outage, 0.2)
    FIRST.run("ctr", "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", *sandbox)
    eventually(lambda: f"kubelet makes another sandbox: {sandbox_of('late')}",
               lambda: sandbox_of("late") not in ([], sandbox), 60, 0.2)
    eventually(lambda: f"it is served as who it is: {logs('late')}\n{words_about('late')}", lambda: len(logs("late")) > answers, 30, 0.1)
    assert logs("late")[-1].split()[1] == IDENTITY.format("late"), logs("late")
    eventually("the outage lasts", lambda: time.time() - began > GIVEN.outage, GIVEN.outage, 0.2)
    assert who_answers("moved") == ["before"], "nobody can know yet"
    unaffected("the outage", began)


def unaffected(what, since):
    """Every request was answered, and the connection that stays did."""
    times = []
    for kind in ("steady", "moved"):
        seen = said(kind, since)
        failed = [words for _, words in seen if words[0] != "ok" or words[2] != IDENTITY.format("client")]
        assert seen and not failed, f"{len(failed)} of {len(seen)} failed: {failed[:10]}"
        times += [float(words[3]) for _, words in seen]
    assert max(times) < SLOW, f"the slowest took {max(times)} s"
    stay = said("stay", since)
    assert stay and all(words == ["ok"] for _, words in stay), stay[-5:]
    print(f"   {what} of {time.time() - since:.0f} s: {len(times)} requests over new connections and {len(stay)} over an old "
          f"one, 0 failed, slowest {max(times) * 1000:.0f} ms, median {sorted(times)[len(times) // 2] * 1000:.1f} ms", flush=True)


def endpoints_are_right_two_seconds_after_its_return():
    began = time.time()
    CLUSTER.start_api_server()
    back = time.time()
    eventually("the new endpoint is asked", lambda: who_answers("moved") == ["after"], 30, 0.1)
    moved = said("moved", began)
    first = next(at for at, words in moved if words[1] == "after")
    print(f"   {(first - back) * 1000:.0f} ms after the API server was ready", flush=True)
    assert first - back < LAG, f"it took {first - back:.1f} s"
    assert all(words[1] == "after" for at, words in moved if at >= first), moved
    unaffected("the return", began)


def pods_start_and_certificates_come_afterwards():
    apply(pod("new", "node1", "server", main=("tools", LATE.replace("STEADY", HEDDLE.address_of("steady", "shop")))))
    eventually(lambda: f"a new pod is served as who it is: {logs('new')}", lambda: logs("new"), 60, 0.2)
    assert logs("new")[-1].split()[1] == IDENTITY.format("server"), logs("new")
    found = json.loads(HEDDLE.asked("check", "--wait", "60", "-o", "json", check=False))
    assert found["ok"], json.dumps(found, indent=1)


if __name__ == "__main__":
    prepare()
    addresses_known = addresses("after")
    run_cases([traffic_flows_before, a_sandbox_made_anew_and_new_endpoints_while_the_api_server_is_gone,
               endpoints_are_right_two_seconds_after_its_return, pods_start_and_certificates_come_afterwards],
              GIVEN, CLUSTER, SECONDS + GIVEN.outage)
    sys.exit(1)

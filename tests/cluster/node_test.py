#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heddle in the CNI chain of a real node: kubelet and containerd make the calls.

Exit status: 0 passed, 1 failed.
"""
import json
import sys

from fixture import SECONDS, arguments, cluster_up
from heddle_programs import PLUGIN_LOG, NodePrograms

from e2e_lab import eventually, run_cases  # isort: skip

CONFLIST = "/etc/cni/net.d/10-testnet.conflist"
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, annotations: {{linkerd.io/inject: {inject}}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: main, image: "heddle.test/busybox:1", command: [sleep, infinity]}}]
"""


GIVEN = arguments(__doc__)
CLUSTER = cluster_up()
NODE = CLUSTER.nodes["node1"]
HEDDLE = NodePrograms(NODE, GIVEN.bin_dir)


def calls(pod, command=None):
    """What containerd passed to the chain for a pod, in order."""
    seen = [json.loads(line) for line in NODE.read("/opt/cni/calls").splitlines()]
    return [call for call in seen if call["arguments"].get("K8S_POD_NAME") == pod and command in (None, call["command"])]


def plugin_log(pod):
    return [line for line in NODE.read(PLUGIN_LOG).splitlines() if f"pod=default/{pod} " in line]


def running(name):
    return CLUSTER.get("pod", name)["status"]["phase"] == "Running"


def wait_running(name):
    eventually(lambda: f"{name} runs; {CLUSTER.kubectl('describe', 'pod', name)[-1500:]}", lambda: running(name), 90)


def delete(name):
    CLUSTER.kubectl("delete", "pod", name, "--wait=false")
    eventually(lambda: f"{name} is gone; {plugin_log(name)}",
               lambda: not CLUSTER.kubectl("get", "pod", name, "--ignore-not-found"), 60)


def the_installer_joins_the_chain_that_the_runtime_uses():
    # As on every node where heddle runs in pods there is one already, and with it the cgroup of all pods.
    CLUSTER.apply(POD.format(name="earlier", inject="disabled"))
    wait_running("earlier")
    before = NODE.read(CONFLIST)
    HEDDLE.plugin("install")
    plugins = json.loads(NODE.read(CONFLIST))["plugins"]
    assert [entry["type"] for entry in plugins][-1] == "heddle-cni", plugins
    assert json.loads(before)["plugins"] == plugins[:-1], "the other plugins were changed"
    assert NODE.read(CONFLIST + ".heddle-backup") == before
    assert "heddle" in NODE.run("/opt/cni/bin/heddle-cni", "--version")


def a_pod_that_kubelet_makes_is_redirected_when_its_container_starts():
    HEDDLE.start_agent()
    CLUSTER.apply(POD.format(name="first", inject="enabled"))
    wait_running("first")
    known, pod = HEDDLE.pod("first"), CLUSTER.get("pod", "first")
    assert known["meshed"] and known["redirected"], known
    assert known["uid"] == pod["metadata"]["uid"] and known["ips"] == [pod["status"]["podIP"]], known
    add, = calls("first", "ADD")
    assert add["previous"] and add["container"] == known["container_id"], add
    assert [line.split()[3:5] for line in plugin_log("first")] == [["ADD", "done"]], plugin_log("first")


def deleting_it_calls_the_chain_again_and_again_and_every_call_succeeds():
    delete("first")
    deletions = calls("first", "DEL")
    assert len(deletions) >= 2 and deletions[0]["netns"], deletions
    assert any(not call["netns"] and not call["previous"] for call in deletions[1:]), deletions
    lines = plugin_log("first")
    assert len(lines) == 1 + len(deletions) and not any("failed" in line for line in lines), lines
    assert HEDDLE.pod("first") is None


def while_the_agent_is_away_kubelet_retries_until_it_is_back():
    HEDDLE.stop_agent()
    CLUSTER.apply(POD.format(name="second", inject="enabled"))

    def refused():
        return [line for line in plugin_log("second") if "ADD failed" in line and " code=11 " in line]
    eventually(lambda: f"an ADD is answered 11: {plugin_log('second')}", refused, 60)
    # containerd undoes a failed ADD with DEL on the whole chain.
    eventually(lambda: f"DEL after the failed ADD: {calls('second')}", lambda: calls("second", "DEL"))
    eventually("kubelet says so in an Event", lambda: "heddle-cni" in CLUSTER.kubectl(
        "get", "events", "--field-selector", "involvedObject.name=second,reason=FailedCreatePodSandBox", "-o",
        "jsonpath={.items[*].message}"))
    assert not running("second")
    HEDDLE.start_agent()
    wait_running("second")
    known = HEDDLE.pod("second")
    assert known["meshed"] and known["redirected"], known
    tried = [call["container"] for call in calls("second", "ADD")]
    assert len(set(tried)) >= 2 and tried[-1] == known["container_id"], tried


def an_agent_that_is_back_knows_the_pods_that_run():
    HEDDLE.stop_agent()
    HEDDLE.start_agent()
    known = eventually("second is known", lambda: HEDDLE.pod("second"))
    assert known["meshed"] and known["redirected"], known
    delete("second")


def taken_out_of_the_chain_nothing_of_it_is_left():
    HEDDLE.plugin("uninstall")
    plugins = [entry["type"] for entry in json.loads(NODE.read(CONFLIST))["plugins"]]
    assert plugins == ["bridge", "portmap", "cni_recorder.py"], plugins
    names = NODE.run("ls", "-A", "/etc/cni/net.d", "/opt/cni/bin")
    assert "heddle" not in names, names
    HEDDLE.stop_agent()
    NODE.run(GIVEN.bin_dir + "/heddle-agent", "--uninstall", "--node-name", NODE.name, "--run-dir", "/run/heddle")
    left = NODE.run("find", "/sys/fs/bpf", "/run/heddle", "-path", "/sys/fs/bpf/*heddle*", "-o", "-name", "pods.json*")
    assert not left, left
    CLUSTER.apply(POD.format(name="third", inject="enabled"))
    wait_running("third")
    assert not plugin_log("third")


if __name__ == "__main__":
    run_cases([the_installer_joins_the_chain_that_the_runtime_uses,
               a_pod_that_kubelet_makes_is_redirected_when_its_container_starts,
               deleting_it_calls_the_chain_again_and_again_and_every_call_succeeds,
               while_the_agent_is_away_kubelet_retries_until_it_is_back, an_agent_that_is_back_knows_the_pods_that_run,
               taken_out_of_the_chain_nothing_of_it_is_left], GIVEN, CLUSTER, SECONDS)
    sys.exit(1)

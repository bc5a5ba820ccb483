# SPDX-License-Identifier: Apache-2.0
"""heddle's programs in a test cluster, run from where they were built."""
import json
import os

from fixture import Lines

from testbed import end

from e2e_lab import eventually  # isort: skip

ADDRESS = "10.77.0.2"
PLUGIN_LOG = "/var/log/heddle-cni.log"
HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"  # Debian's, which python3-grpcio is for


class Control:
    """heddle-control in a network namespace beside the API server's."""

    def __init__(self, cluster, bin_dir, *flags):
        self.cluster = cluster
        self.state = cluster.folder + "/control"
        cluster.run("sh", "-ec", f"""
            ip netns add control
            ip link add vcontrol type veth peer name eth0 netns control
            ip link set vcontrol master bridge0 up
            ip -n control link set lo up
            ip -n control address add {ADDRESS}/24 dev eth0
            ip -n control link set eth0 up""")
        cluster.start("heddle-control", "nsenter", "--net=/run/netns/control", bin_dir + "/heddle-control", "--source",
                      "kubernetes", "--kubeconfig", cluster.kubeconfig(), "--state-dir", self.state, *flags)
        eventually("control is ready", self.ready)

    def ready(self):
        return self.page("/ready", "-f") != ""

    def page(self, path, *flags):
        return self.cluster.run("curl", "-s", "-m", "5", *flags, f"http://{ADDRESS}:9990{path}", check=False)

    def metric(self, name):
        values = [line.rpartition(" ")[2] for line in self.page("/metrics").splitlines() if line.startswith(name)]
        return float(values[0]) if values else None

    def connections(self):
        """To the API server, as they are established now."""
        return self.cluster.run("nsenter", "--net=/run/netns/control", "ss", "-Htn", "state", "established", "dport", "=",
                                ":6443").splitlines()

    def cut_off(self):
        """For control the API server is not there: its connections are reset, new ones refused."""
        self.cluster.run("iptables", "-I", "INPUT", "-s", ADDRESS, "-p", "tcp", "--dport", "6443", "-j", "REJECT",
                         "--reject-with", "tcp-reset")

    def reconnect(self):
        self.cluster.run("iptables", "-F", "INPUT")

    def follow(self, service):
        """What a proxy is told of NAME.NAMESPACE.svc.DOMAIN:PORT, a line for each state."""
        return Lines(self.cluster.command(PYTHON, HERE + "/watch_endpoints.py", ADDRESS + ":8086",
                                          self.state + "/trust-anchors.pem", service))


class NodePrograms:
    """heddle's programs on a node, run from where they were built, as services of the node."""

    def __init__(self, node, bin_dir):
        self.node = node
        self.bin_dir = bin_dir
        self.agent = None

    def plugin(self, *words):
        return self.node.run(self.bin_dir + "/heddle-cni", *words, "--conf-dir", "/etc/cni/net.d", "--bin-dir", "/opt/cni/bin",
                             "--run-dir", "/run/heddle", "--log-file", PLUGIN_LOG)

    def start_agent(self, *flags):
        self.agent = self.node.start("heddle-agent", self.bin_dir + "/heddle-agent", "--node-name", self.node.name,
                                     "--run-dir", "/run/heddle", "--http-address", "", *flags)
        eventually("the agent answers", self.state)

    def stop_agent(self):
        status = end(self.agent)
        assert status == 0, f"the agent ended with {status}"

    def state(self):
        text = self.node.run("curl", "-s", "-m", "5", "--unix-socket", "/run/heddle/agent/admin.sock", "http://agent/state",
                             check=False)
        return json.loads(text) if text else None

    def pod(self, name):
        """What the agent knows of a pod; None if nothing."""
        found = [pod for pod in self.state()["pods"] if pod["name"] == name]
        return found[0] if found else None

    def start_proxy(self, *flags):
        self.node.start("heddle-proxy", self.bin_dir + "/heddle-proxy", "--node-name", self.node.name, "--run-dir",
                        "/run/heddle", *flags)
        eventually("the proxy serves", lambda: any(proxy["state"] == "active" for proxy in self.state()["proxies"]))

    def proxy_metrics(self):
        return self.node.run("curl", "-s", "-m", "5", "--unix-socket", "/run/heddle/proxy/admin.sock", "http://proxy/metrics")

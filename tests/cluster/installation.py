# SPDX-License-Identifier: Apache-2.0
"""heddle installed in a test cluster as people install it: the image on every node and `heddle install | kubectl apply`."""
import json
import os

from testbed import eventually

IMAGE = "localhost/heddle:cluster-test"
OLD = ("--kubernetes-version", "1.20")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
# heddle-control's Service, made before the rest to know its address; the rest completes it.
SERVICE = """
apiVersion: v1
kind: Namespace
metadata: {name: heddle}
---
apiVersion: v1
kind: Service
metadata: {name: heddle-control, namespace: heddle}
spec: {ports: [{name: identity, port: 8080}]}
"""


class Installation:
    def __init__(self, cluster, bin_dir):
        self.cluster = cluster
        self.bin_dir = bin_dir

    def heddle(self, *words, check=True, timeout=120):
        """The command as a person runs it beside kubectl."""
        return self.cluster.run(self.bin_dir + "/heddle", *words, check=check, timeout=timeout)

    def asked(self, *words, **more):
        return self.heddle(*words, "--kubeconfig", self.cluster.kubeconfig(), **more)

    def load_image(self):
        """On every node."""
        archive = self.cluster.folder + "/heddle.tar"
        self.cluster.run("/usr/bin/python3", os.path.join(ROOT, "tools/image"), "--build-dir", os.path.dirname(self.bin_dir),
                         "--out", archive, "--name", IMAGE, timeout=120)
        for node in self.cluster.nodes.values():
            node.load_image(archive)

    def apply(self, *flags):
        self.cluster.apply(self.heddle("install", *OLD, "--image", IMAGE, "--image-pull-policy", "Never", *flags))

    def address_of(self, service, namespace):
        return self.cluster.get("-n", namespace, "service", service)["spec"]["clusterIP"]

    def install(self, *flags):
        """Returns when `heddle check` is content. There is no DNS in such a cluster: nodes reach heddle-control by its
        address, for which its Service is made first."""
        self.cluster.apply(SERVICE)
        self.apply("--control-host", self.address_of("heddle-control", "heddle"), *flags)
        found = json.loads(self.asked("check", "--wait", "90", "-o", "json", check=False))
        if not found["ok"]:
            raise AssertionError(json.dumps(found, indent=1))

    def nodes(self):
        return json.loads(self.asked("status", "-o", "json", check=False))["nodes"]

    def meshed(self, namespace):
        """Names of its pods that are redirected and served, over all nodes."""
        return [pod["name"] for node in self.nodes() for pod in node.get("agent", {}).get("pods", [])
                if pod["namespace"] == namespace and pod.get("redirected") and pod.get("proxy") == "acknowledged"]

    def wait_running(self, namespace, count, seconds=120):
        """Until so many of its pods run; returns {name: uid}."""
        def running():
            return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self.cluster.get("-n", namespace, "pods")["items"]
                    if pod["status"]["phase"] == "Running"}
        eventually(lambda: f"{count} pods of {namespace} run, not {len(running())}",
                   lambda: len(running()) == count, seconds, 0.3)
        return running()

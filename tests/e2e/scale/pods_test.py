#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A thousand pods on one node, as bare network namespaces with a veth each, enrolled by heddle-cni itself.

Exit status: 0 passed, 1 failed, 77 cannot run here.
"""
import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from e2e_lab import Lab, arguments, eventually, fd_count, rss_kib, run_cases  # noqa: E402

COUNT = 1000
PARALLEL = 4  # as a kubelet that starts several pods at a time
OBJECTS = """apiVersion: v1
kind: Node
metadata: {name: n1}
"""


def batch(lines):
    """Many ip(8) commands in one process."""
    with tempfile.NamedTemporaryFile("w", suffix=".ip") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        done = subprocess.run(["ip", "-force", "-batch", file.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
    return done.stdout


class Pods:
    def __init__(self, given):
        self.lab = Lab(given, OBJECTS, "pods", ("--default-inject", "enabled", "--program-log-level", "warning"))
        self.prefix = f"hp{os.getpid()}-"
        self.pids = {name: eventually(name, lambda name=name: self.lab.pid(name, "n1")) for name in ("agent", "proxy")}
        self.serial = 0
        atexit.register(self.remove)
        self.describe()
        self.make()

    def remove(self):
        batch([f"netns del {self.prefix}{number}" for number in range(COUNT) if os.path.exists(f"/run/netns/{self.prefix}{number}")])

    def describe(self):
        """The pods as the source knows them: an unknown one is waited for, and gets no certificate."""
        items = [{"apiVersion": "v1", "kind": "Pod",
                  "metadata": {"name": f"pod-{number}", "namespace": "default", "uid": self.prefix + str(number),
                               "annotations": {"linkerd.io/inject": "enabled"}},
                  "spec": {"nodeName": "n1", "serviceAccountName": "default"},
                  "status": {"podIP": self.ip(number), "podIPs": [{"ip": self.ip(number)}]}} for number in range(COUNT)]
        path = self.lab.root + "/objects/Pods.json"
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump({"apiVersion": "v1", "kind": "List", "items": items}, file)
        os.rename(path + ".new", path)

    def make(self):
        """Namespaces with eth0 and an address; the other end of each veth in the node, without a bridge."""
        begin = time.monotonic()
        node = self.lab.node_netns("n1")
        batch([f"netns add {self.prefix}{number}" for number in range(COUNT)])
        lines = []
        for number in range(COUNT):
            lines += [f"link add vp{number} type veth peer name eth0 netns {self.prefix}{number}"]
        with tempfile.NamedTemporaryFile("w", suffix=".ip") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            subprocess.run(["nsenter", "--net=" + node, "ip", "-force", "-batch", file.name], check=True)
        for number in range(COUNT):
            self.configure(number)
        print(f"  {COUNT} namespaces with veths made in {time.monotonic() - begin:.1f} s")

    def configure(self, number):
        # One process per namespace: ip -batch does not cross them.
        subprocess.run(["ip", "-n", self.prefix + str(number), "-batch", "-"], check=True, text=True,
                       input=f"link set lo up\naddr add {self.ip(number)}/32 dev eth0\nlink set eth0 up\n")

    @staticmethod
    def ip(number):
        return f"10.244.{100 + number // 250}.{number % 250 + 1}"

    def cni(self, command, number):
        netns = f"/run/netns/{self.prefix}{number}"
        config = {"cniVersion": "1.1.0", "name": "lab", "type": "heddle-cni", "runDir": self.lab.run_dir("n1"),
                  "prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": netns}],
                                 "ips": [{"address": self.ip(number) + "/32", "interface": 0}]}}
        environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": self.prefix + str(number), "CNI_NETNS": netns,
                       "CNI_IFNAME": "eth0", "CNI_PATH": self.lab.bin_dir,
                       "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-{number};"
                       f"K8S_POD_UID={self.prefix}{number}"}
        begin = time.monotonic()
        done = subprocess.run([self.lab.bin_dir + "/heddle-cni"], env=environment, input=json.dumps(config).encode(),
                              stdout=subprocess.PIPE, check=False)
        took = time.monotonic() - begin
        if done.returncode != 0:
            raise AssertionError(f"{command} of pod {number}: {done.stdout.decode()}")
        return took * 1000

    def for_all(self, command, parallel=PARALLEL):
        """(seconds in all, sorted milliseconds of each)."""
        numbers, took, failed = iter(range(COUNT)), [], []
        lock = threading.Lock()

        def work():
            while not failed:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                try:
                    took.append(self.cni(command, number))
                except Exception as error:  # pylint: disable=broad-except
                    failed.append(error)

        begin = time.monotonic()
        threads = [threading.Thread(target=work) for _ in range(parallel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        return time.monotonic() - begin, sorted(took)

    def measure(self):
        return {name: (rss_kib(pid), fd_count(pid)) for name, pid in self.pids.items()}

    def a_thousand_pods_are_enrolled_in_time_cost_little_and_leave_nothing(self):
        for attempt in range(10):  # what only the first pods cost
            self.cni("ADD", attempt)
        for attempt in range(10):
            self.cni("DEL", attempt)
        before = self.measure()
        took, each = self.for_all("ADD")
        print(f"  ADD: {COUNT} pods in {took:.1f} s, {PARALLEL} at a time; p50 {each[COUNT // 2]:.1f} ms, "
              f"p99 {each[COUNT * 99 // 100]:.1f} ms, most {each[-1]:.1f} ms (the plugin's process and its start included)")
        eventually(lambda: f"all served: {self.lab.agent_state('n1')['proxies']}",
                   lambda: self.lab.serving("n1", COUNT), 20, 0.5)
        during = self.measure()
        for name in self.pids:
            print(f"  {name}: {(during[name][0] - before[name][0]) / COUNT:.1f} KiB and "
                  f"{(during[name][1] - before[name][1]) / COUNT:.1f} descriptors per pod "
                  f"(RSS {before[name][0]} to {during[name][0]} KiB)")
        if took >= 30:
            raise AssertionError(f"{took:.1f} s for {COUNT} pods")
        if (during["proxy"][0] - before["proxy"][0]) / COUNT >= 40:
            raise AssertionError("memory of the proxy per pod")
        self.an_agent_takes_a_thousand_over()
        took, each = self.for_all("DEL")
        print(f"  DEL: {took:.1f} s; p50 {each[COUNT // 2]:.1f} ms, p99 {each[COUNT * 99 // 100]:.1f} ms")
        eventually(lambda: f"no pod is left: {len(self.lab.agent_state('n1')['pods'])}",
                   lambda: not self.lab.agent_state("n1")["pods"], 20, 0.2)
        eventually(lambda: f"no pod is left in the proxy: {len(self.lab.proxy_state('n1')['pods'])}",
                   lambda: not self.lab.proxy_state("n1")["pods"], 20, 0.2)
        self.pids["agent"] = self.lab.pid("agent", "n1")
        eventually(lambda: f"descriptors come back: {self.measure()}, were {before}",
                   lambda: all(fd_count(pid) <= before[name][1] + 40 for name, pid in self.pids.items()), 20, 0.2)
        print(f"  afterwards: {self.measure()}, before: {before} (RSS in KiB, descriptors)")

    def an_agent_takes_a_thousand_over(self):
        begin = time.monotonic()
        self.lab.kill("agent", "n1")
        eventually("a new agent serves them all", lambda: self.lab.serving("n1", COUNT), 30, 0.2)
        print(f"  a killed agent's successor serves all again after {time.monotonic() - begin:.1f} s")


def main():
    given = arguments(__doc__)
    pods = Pods(given)
    run_cases([pods.a_thousand_pods_are_enrolled_in_time_cost_little_and_leave_nothing], given, pods.lab)


if __name__ == "__main__":
    main()

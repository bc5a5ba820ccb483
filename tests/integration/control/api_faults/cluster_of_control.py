# SPDX-License-Identifier: Apache-2.0
"""heddle-control beside an API server for tests, and what a proxy is told by it."""
import argparse
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path[:0] = [TESTS + "/support", TESTS + "/e2e", TESTS + "/cluster"]
from e2e_lab import eventually, run_cases, skip  # noqa: E402  pylint: disable=unused-import
from api_server.running import ApiServer  # noqa: E402

try:
    import grpc
    import watch_endpoints
except ImportError:
    skip("needs python3-grpcio and python3-protobuf")

LASTING = "10.1.0.100"
SERVICE = "web.shop.svc.cluster.local:80"
MESSAGES = watch_endpoints.messages()


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bin-dir", required=True, help="of heddle's programs")
    parser.add_argument("--seconds", type=float, default=3, help="of faults at random")
    parser.add_argument("tests", nargs="*", help="names of cases (default: all)")
    return parser.parse_args()


def free_ports(count):
    """Free now; the kernel hands ephemeral ports out at random, so that nobody else gets them soon."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def slice_of(*addresses, name="web-1", service="web"):
    return {"metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]}


def endpoints_of(*addresses):
    return {"metadata": {"name": "web", "namespace": "shop"},
            "subsets": [{"addresses": [{"ip": address} for address in addresses], "ports": [{"name": "http", "port": 8080}]}]}


class Shop(ApiServer):
    """An API server with one service, whose endpoints tests move about."""

    def __init__(self, release="1.33"):
        super().__init__(release)
        self.put("namespaces", {"metadata": {"name": "shop", "annotations": {"linkerd.io/inject": "enabled"}}})
        self.put("services", {"metadata": {"name": "web", "namespace": "shop"}, "spec": {
            "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "type": "ClusterIP",
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]}})
        # Endpoints of the service that never change.
        self.put("endpointslices", slice_of(LASTING, name="web-0"))
        self.move("10.1.0.1")
        # Others, so that it shows which of them was read.
        self.put("endpoints", endpoints_of(LASTING, "10.9.9.9"))

    def move(self, *addresses):
        return self.put("endpointslices", slice_of(*addresses))

    def asked(self, **wanted):
        """The requests so far with these properties."""
        return [request for request in self.order("requests") if all(request[key] == value for key, value in wanted.items())]

    def watched(self):
        """The resources that are watched now, in order."""
        return sorted(watch["resource"] for watch in self.order("state")["watches"])


class Control:
    def __init__(self, bin_dir, server, kubeconfig, name="control", flags=()):
        self.folder = server.file(name)
        os.makedirs(self.folder)
        identity, self.destination, self.admin, webhook = free_ports(4)
        self.log = open(self.folder + "/log", "w", encoding="utf-8")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            [bin_dir + "/heddle-control", "--source", "kubernetes", "--kubeconfig", kubeconfig, "--state-dir",
             self.folder + "/state", f"--identity-address=127.0.0.1:{identity}",
             f"--destination-address=127.0.0.1:{self.destination}", f"--admin-address=127.0.0.1:{self.admin}",
             *([f"--webhook-address=127.0.0.1:{webhook}"] if flags else []), *flags],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def page(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def metric(self, name):
        values = [line.rpartition(" ")[2] for line in self.page("/metrics").splitlines() if line.startswith(name + " ")]
        return float(values[0]) if values else None

    def wait_ready(self):
        eventually(lambda: "control is ready; it said:\n" + self.said(), lambda: self.page("/ready"), 30)

    def said(self):
        with open(self.folder + "/log", encoding="utf-8") as file:
            return file.read()[-3000:]

    def end(self):
        self.process.terminate()
        status = self.process.wait()
        self.log.close()
        assert status == 0, f"control ended with {status}: {self.said()}"


class Proxy:
    """Follows a service as a proxy does. states: every set of addresses that it was told, in order."""

    def __init__(self, control, service=SERVICE):
        self.states = []
        with open(control.folder + "/state/trust-anchors.pem", "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        self.channel = grpc.secure_channel(f"127.0.0.1:{control.destination}", credentials,
                                           [("grpc.ssl_target_name_override", watch_endpoints.SERVER)])
        get = self.channel.unary_stream("/io.linkerd.proxy.destination.Destination/Get",
                                        MESSAGES.GetDestination.SerializeToString, MESSAGES.Update.FromString)
        self.call = get(MESSAGES.GetDestination(scheme="k8s", path=service), wait_for_ready=True)
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self):
        known = set()
        try:
            for update in self.call:
                kind = update.WhichOneof("update")
                if kind == "add":
                    known |= {watch_endpoints.text_of(entry.addr).rpartition(":")[0] for entry in update.add.addrs}
                elif kind == "remove":
                    known -= {watch_endpoints.text_of(address).rpartition(":")[0] for address in update.remove.addrs}
                else:
                    known.clear()
                self.states.append(frozenset(known))
        except grpc.RpcError:
            pass  # end() cancels it

    def told(self, *addresses, seconds=20.0):
        """Waits until this, and what lasts, is what it was told last; returns how long that took."""
        begin = time.monotonic()
        wanted = frozenset(addresses) | {LASTING}
        eventually(lambda: f"a proxy is told {set(wanted)}, last {[set(state) for state in self.states[-3:]]}",
                   lambda: self.states and self.states[-1] == wanted, seconds, 0.005)
        return time.monotonic() - begin

    def never_lost(self):
        """It was never told that what lasts is gone."""
        lost = [set(state) for state in self.states if LASTING not in state]
        assert not lost, f"{LASTING} was gone in {lost}"

    def end(self):
        self.call.cancel()
        self.thread.join()
        self.channel.close()

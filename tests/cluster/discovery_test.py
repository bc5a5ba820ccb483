#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heddle-control serves a real cluster's endpoints, through changes and through an outage of the API server.

Both what the API server publishes and what a proxy is told are followed all the time; what is judged is how much later
the second is. heddle-control has a network namespace of its own, so that the API server can be gone for it alone.

Exit status: 0 passed, 1 failed.
"""
import sys
import time

from fixture import SECONDS, Lines, arguments, cluster_up
from heddle_programs import Control

from e2e_lab import eventually, run_cases  # isort: skip

SERVICE = "web.shop.svc.cluster.local:80"
LAG = 2.0  # seconds that a proxy may know a change later than the API server

OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: "heddle.test/busybox:1", command: [sleep, infinity]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
READY = '{{range .endpoints}}{{if .conditions.ready}}{{index .addresses 0}}:8080 {{end}}{{end}}{{"\\n"}}'


GIVEN = arguments(__doc__)
CLUSTER = cluster_up()
CLUSTER.apply(OBJECTS)
CONTROL = Control(CLUSTER, GIVEN.bin_dir)


def published():
    return Lines(CLUSTER.command(CLUSTER.build + "/bin/kubectl", "--kubeconfig", CLUSTER.kubeconfig(), "-n", "shop", "get",
                                 "endpointslices", "-l", "kubernetes.io/service-name=web", "--watch", "-o",
                                 "go-template=" + READY))


def endpoints(line):
    return set(line.split())


def scale(replicas):
    CLUSTER.kubectl("-n", "shop", "scale", "deployment", "web", f"--replicas={replicas}")


def wait_published(slices, count):
    eventually(lambda: f"{count} endpoints are published, last {slices.seen[-3:]}",
               lambda: len(endpoints(slices.last())) == count and slices.seen, 60)
    return endpoints(slices.last())


def judge(what, since, proxy, wanted):
    """The proxy was told `wanted` at most LAG seconds after `since`."""
    def told():
        return proxy.first_after(0, lambda line: endpoints(line) == wanted)
    eventually(lambda: f"a proxy is told {wanted or 'that there are none'}, last {proxy.seen[-3:]}", told, 60, 0.02)
    late = told() - since
    print(f"   {what}: {max(late, 0) * 1000:.0f} ms after the API server", flush=True)
    if late > LAG:
        raise AssertionError(f"{what} reached the proxy after {late:.1f} s, allowed are {LAG} s")


def a_deployment_scaled_up_and_down_reaches_proxies_as_the_api_server_publishes_it():
    slices, proxy = published(), CONTROL.follow(SERVICE)
    for replicas in (1, 3, 0, 2):
        scale(replicas)
        wanted = wait_published(slices, replicas)
        since = slices.first_after(0, lambda line, wanted=wanted: endpoints(line) == wanted)
        judge(f"{replicas} replicas", since, proxy, wanted)
    assert not proxy.last().startswith("!"), proxy.last()
    slices.end()
    proxy.end()


def everything_is_listed_and_watched_over_one_connection():
    assert CONTROL.metric("heddle_control_source_connected") == 1
    assert len(CONTROL.connections()) == 1, CONTROL.connections()


def the_api_server_killed_and_back_with_compacted_history_loses_nothing():
    proxy = CONTROL.follow(SERVICE)
    scale(2)
    eventually("two endpoints", lambda: len(endpoints(proxy.last())) == 2, 60)
    before = endpoints(proxy.last())
    CONTROL.cut_off()
    CLUSTER.stop("kube-apiserver")
    eventually("control notices", lambda: CONTROL.metric("heddle_control_source_connected") == 0)
    CLUSTER.start_api_server()
    slices = published()
    scale(3)
    after = wait_published(slices, 3)
    CLUSTER.compact_history()
    newcomer = CONTROL.follow(SERVICE)
    eventually("a proxy that asks meanwhile is told what is known", lambda: endpoints(newcomer.last()) == before)
    assert endpoints(proxy.last()) == before, f"{proxy.last()} is not {before}"
    since = time.monotonic()
    CONTROL.reconnect()
    judge("three replicas after the outage", since, proxy, after)
    judge("three replicas, to the newcomer", since, newcomer, after)
    eventually("control says that it is connected", lambda: CONTROL.metric("heddle_control_source_connected") == 1)
    eventually(lambda: f"one connection is enough again, not {CONTROL.connections()}",
               lambda: len(CONTROL.connections()) == 1)
    for lines in (slices, proxy, newcomer):
        lines.end()


if __name__ == "__main__":
    run_cases([a_deployment_scaled_up_and_down_reaches_proxies_as_the_api_server_publishes_it,
               everything_is_listed_and_watched_over_one_connection,
               the_api_server_killed_and_back_with_compacted_history_loses_nothing], GIVEN, CLUSTER, SECONDS)
    sys.exit(1)

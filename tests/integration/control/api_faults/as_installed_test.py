#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heddle-control as its manifests have it: with their flags, as their ServiceAccount, and with no right but their roles'.

Exit status: 0 passed, 1 failed, 77 cannot run here.
"""
import base64
import contextlib
import json

import yaml
from cluster_of_control import TESTS, Control, Proxy, Shop, arguments, eventually, run_cases

from api_server.kinds import KINDS  # isort: skip

GIVEN = arguments(__doc__)
MANIFESTS = TESTS + "/../deploy/kustomize/heddle.yaml"
OF_THE_PLACE = ("--source", "--state-dir", "--identity-address", "--destination-address", "--admin-address", "--webhook-address")


def install(server):
    """Keeps all objects of the manifests; returns the flags that control has there."""
    with open(MANIFESTS, encoding="utf-8") as file:
        objects = list(yaml.safe_load_all(file))
    resources = {kind.name: kind.plural for kind in KINDS}
    for value in objects:
        server.put(resources[value["kind"]], value)
    deployment = next(value for value in objects if value["kind"] == "Deployment")
    words = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    return [word for word in words if word.partition("=")[0] not in OF_THE_PLACE]


@contextlib.contextmanager
def installed(replicas):
    """(the API server, that many controls)"""
    server = Shop()
    controls = []
    try:
        flags = install(server)
        with open(server.file("token"), "w", encoding="ascii") as file:
            file.write(server.order("token", namespace="heddle", name="heddle-control")["token"])
        kubeconfig = server.kubeconfig(server.file("token"))
        server.start = lambda name: controls.append(Control(GIVEN.bin_dir, server, kubeconfig, name, flags)) or controls[-1]
        for number in range(replicas):
            server.start(f"replica{number}")
        yield server, controls
        for control in controls:
            control.end()
    finally:
        for control in controls:
            if control.process.poll() is None:
                print(control.said())
                control.process.kill()
                control.process.wait()
        server.end()


def anchors(control):
    with open(control.folder + "/state/trust-anchors.pem", encoding="ascii") as file:
        return file.read()


def kept(server, resource, name):
    return server.order("get", resource=resource, namespace="heddle", name=name)


def webhooks_trust(server):
    found = server.order("get", resource="mutatingwebhookconfigurations", name="heddle-injector")
    return [hook["clientConfig"].get("caBundle", "") for hook in found["webhooks"]]


def replicas_that_begin_together_agree_on_one_authority_and_are_refused_nothing():
    with installed(replicas=3) as (server, controls):
        for control in controls:
            control.wait_ready()
        assert len({anchors(control) for control in controls}) == 1, "they have different roots"
        assert kept(server, "secrets", "heddle-identity-issuer")["data"], "there is no issuer"
        assert "ca-bundle.crt" in kept(server, "configmaps", "heddle-trust-anchors")["data"]
        eventually("the API server is told whom to trust for the webhook", lambda: all(
            base64.b64decode(bundle).startswith(b"-----BEGIN CERTIFICATE-----") for bundle in webhooks_trust(server)))
        proxies = [Proxy(control) for control in controls]
        for proxy in proxies:
            proxy.told("10.1.0.1")
            proxy.end()
        # Of two that change the same webhook at once, one is told by 422 that its patch is for what was before.
        refused = [request for request in server.order("requests") if request["code"] in (401, 403, 405, 415)
                   or (request["code"] == 422 and request["verb"] != "patch")]
        assert not refused, json.dumps(refused[:3])


def a_replica_that_comes_later_has_the_same_authority_though_the_server_is_busy():
    with installed(replicas=1) as (server, controls):
        controls[0].wait_ready()
        server.faults({"resource": "secrets", "chance": 0.4, "do": "answer", "code": 503},
                      {"resource": "configmaps", "chance": 0.4, "do": "answer", "code": 429, "retryAfter": 0},
                      {"resource": "secrets", "chance": 0.2, "do": "drop"})
        late = server.start("late")
        late.wait_ready()
        assert anchors(late) == anchors(controls[0])


if __name__ == "__main__":
    run_cases([replicas_that_begin_together_agree_on_one_authority_and_are_refused_nothing,
               a_replica_that_comes_later_has_the_same_authority_though_the_server_is_busy], GIVEN, seconds=150)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kubectl works with the API server for tests as with a real one. Exit status: 0 passed, 1 failed, 77 cannot run here."""
import json
import os
import shutil
import subprocess

from fixture import eventually, run, skip
from api_server.running import ApiServer  # isort: skip

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
MANIFESTS = ROOT + "/deploy/kustomize/heddle.yaml"
OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: one, ports: [{containerPort: 8080}], env: [{name: A, value: a}, {name: B, value: b}]}]}
"""
KUBECTL = os.environ.get("KUBECTL") or shutil.which("kubectl") or skip("needs kubectl (package kubernetes-client)")
SERVER = ApiServer()
ENVIRONMENT = os.environ | {"KUBECONFIG": SERVER.kubeconfig(), "HOME": SERVER.folder}


def kubectl(*words, text=None, status=0):
    done = subprocess.run([KUBECTL, *words], env=ENVIRONMENT, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60, check=False)
    assert done.returncode == status, f"kubectl {' '.join(words)} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def apply(text, *flags):
    return kubectl("apply", "-f", "-", *flags, text=text).splitlines()


def namespace(name):
    apply("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + name)
    return "--namespace=" + name


def get(*words):
    return json.loads(kubectl("get", "-o", "json", *words))


def container(within):
    return get("deployment", "web", within)["spec"]["template"]["spec"]["containers"][0]


def what_was_applied_is_there_and_applied_again_unchanged():
    within = namespace("applied")
    assert apply(OBJECTS, within) == ["service/web created", "deployment.apps/web created"]
    assert apply(OBJECTS, within) == ["service/web unchanged", "deployment.apps/web unchanged"]
    assert apply(OBJECTS.replace("image: one", "image: two").replace(", {name: B, value: b}", ""), within) == [
        "service/web unchanged", "deployment.apps/web configured"]
    assert container(within)["image"] == "two"
    assert container(within)["env"] == [{"name": "A", "value": "a"}]
    shown = [line.split() for line in kubectl("get", "services", within).splitlines()]
    assert shown[0][:2] == ["NAME", "TYPE"] and shown[1][:2] == ["web", "ClusterIP"], shown


def managers_of_server_side_apply_conflict_over_fields_they_own():
    within = namespace("managers")
    apply(OBJECTS, "--server-side", "--field-manager=one", within)
    other = OBJECTS.replace("image: one", "image: two")
    said = kubectl("apply", "--server-side", "--field-manager=two", "-f", "-", within, text=other, status=1)
    assert 'conflict with "one"' in said and "image" in said, said
    assert container(within)["image"] == "one"
    apply(other, "--server-side", "--field-manager=two", "--force-conflicts", within)
    assert container(within)["image"] == "two"
    # What its only owner leaves out goes.
    apply(OBJECTS.replace("image: one", "image: two").replace(", {name: B, value: b}", ""), "--server-side", "--field-manager=one",
          within)
    assert [entry["name"] for entry in container(within)["env"]] == ["A", "B"], "the other manager applied both"
    apply(OBJECTS.replace("image: one", "image: two").replace(", {name: B, value: b}", ""), "--server-side", "--field-manager=two",
          within)
    assert [entry["name"] for entry in container(within)["env"]] == ["A"]


def a_dry_run_and_a_diff_change_nothing():
    within = namespace("dry")
    apply(OBJECTS, within)
    before = get("deployment", "web", within)
    other = OBJECTS.replace("image: one", "image: two")
    assert apply(other, "--dry-run=server", within)[1] == "deployment.apps/web configured (server dry run)"
    shown = kubectl("diff", "-f", "-", within, text=other, status=1)
    assert "image: one" in shown and "image: two" in shown, shown
    assert get("deployment", "web", within) == before


def labels_annotations_and_patches_arrive():
    within = namespace("patched")
    apply(OBJECTS, within)
    kubectl("label", "service", "web", "tier=front", within)
    kubectl("annotate", "service", "web", "config.linkerd.io/opaque-ports=80", within)
    kubectl("patch", "deployment", "web", within, "-p",
            '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"s"}]}}}}')
    kubectl("patch", "service", "web", "--type=json", "-p", '[{"op":"replace","path":"/spec/ports/0/port","value":81}]', within)
    service = get("service", "-l", "tier=front", within)["items"][0]
    assert service["metadata"]["annotations"]["config.linkerd.io/opaque-ports"] == "80"
    assert service["spec"]["ports"][0]["port"] == 81
    containers = get("deployment", "web", within)["spec"]["template"]["spec"]["containers"]
    assert {one["name"] for one in containers} == {"web", "side"}


def a_watch_shows_what_changes():
    within = namespace("watched")
    with subprocess.Popen([KUBECTL, "get", "configmaps", "--watch", "-o", "name", within], env=ENVIRONMENT, stdout=subprocess.PIPE,
                          text=True) as watch:
        assert watch.stdout.readline() == "configmap/kube-root-ca.crt\n"
        apply("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: late", within)
        assert watch.stdout.readline() == "configmap/late\n"
        watch.kill()


def what_is_deleted_is_gone_and_a_namespace_takes_its_objects_along():
    within = namespace("deleted")
    apply(OBJECTS, within)
    kubectl("delete", "service", "web", within)
    assert "NotFound" in kubectl("get", "service", "web", within, status=1)
    kubectl("delete", "namespace", "deleted")
    assert kubectl("get", "deployments", within).strip() == "No resources found in deleted namespace."


def heddles_own_manifests_are_accepted_and_their_roles_are_in_force():
    kubectl("apply", "-f", MANIFESTS)
    asked = [("control", {"verb": "list", "resource": "pods"}, True),
             ("control", {"verb": "get", "resource": "secrets", "namespace": "default"}, False),
             ("control", {"verb": "get", "resource": "secrets", "namespace": "heddle", "name": "heddle-identity-issuer"}, True),
             ("agent", {"verb": "list", "resource": "secrets"}, False)]
    for account, question, granted in asked:
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                  "spec": {"resourceAttributes": question}}
        said = json.loads(kubectl("create", "--validate=false", "-f", "-", "-o", "json",
                                  "--as=system:serviceaccount:heddle:heddle-" + account, text=json.dumps(review)))
        assert said["status"]["allowed"] == granted, f"{account}: {said}"
    kubectl("delete", "namespace", "heddle")


def what_is_served_is_listed_and_what_is_no_longer_served_is_not():
    assert "endpointslices" in kubectl("api-resources", "-o", "name")
    SERVER.order("serve", what="discovery.k8s.io/v1", served=False)
    shutil.rmtree(SERVER.folder + "/.kube", ignore_errors=True)
    eventually("it is unknown", lambda: "endpointslices" not in kubectl("api-resources", "-o", "name"))
    SERVER.order("serve", what="discovery.k8s.io/v1", served=True)


def it_goes_on_when_the_server_says_farewell_or_resets_what_was_asked():
    within = namespace("farewell")
    apply(OBJECTS, within)
    SERVER.faults({"do": "goaway"}, {"resource": "services", "verb": "list", "do": "reset", "times": 1})
    said = kubectl("get", "services", within, status=1)
    assert "stream error" in said and "INTERNAL_ERROR" in said, said
    assert [item["metadata"]["name"] for item in get("services", within)["items"]] == ["web"]
    with subprocess.Popen([KUBECTL, "get", "configmaps", "--watch", "-o", "name", within], env=ENVIRONMENT, stdout=subprocess.PIPE,
                          text=True) as watch:
        assert watch.stdout.readline() == "configmap/kube-root-ca.crt\n"
        apply("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: late", within)
        assert watch.stdout.readline() == "configmap/late\n", "a watch that began before the farewell goes on"
        watch.kill()
    goaway, reset = SERVER.order("state")["faults"]
    assert goaway["applied"] >= 5 and reset["applied"] == 1, (goaway, reset)
    SERVER.faults()


def all_of_that_was_over_http_2():
    asked = SERVER.order("requests")
    assert {request["protocol"] for request in asked} == {"HTTP/2"}, "kubectl speaks HTTP/2"


if __name__ == "__main__":
    try:
        run(__doc__, [what_was_applied_is_there_and_applied_again_unchanged,
                      managers_of_server_side_apply_conflict_over_fields_they_own,
                      a_dry_run_and_a_diff_change_nothing, labels_annotations_and_patches_arrive, a_watch_shows_what_changes,
                      what_is_deleted_is_gone_and_a_namespace_takes_its_objects_along,
                      heddles_own_manifests_are_accepted_and_their_roles_are_in_force,
                      what_is_served_is_listed_and_what_is_no_longer_served_is_not,
                      it_goes_on_when_the_server_says_farewell_or_resets_what_was_asked,
                      all_of_that_was_over_http_2])
    finally:
        SERVER.end()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's python3-kubernetes works with the API server for tests, also through faults, and so do answers that only newer
servers give: initial events of a watch, aggregated discovery.

Exit status: 0 passed, 1 failed, 77 cannot run here.
"""
import http.client
import json
import ssl
import threading
import time

from fixture import eventually, run, skip
from api_server.running import ApiServer  # isort: skip

try:
    import urllib3
    from kubernetes import client, config, watch
    from kubernetes.client.rest import ApiException
except ImportError:
    skip("needs python3-kubernetes")

SERVER = ApiServer()
config.load_kube_config(SERVER.kubeconfig())
CORE = client.CoreV1Api()
SLICES = SERVER.url + "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def configmap(name, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"of": "test"}), data=data)


def refused(status, call, *words, **named):
    try:
        call(*words, **named)
    except ApiException as error:
        assert error.status == status, error
        return json.loads(error.body) if error.body.startswith("{") else error.body
    raise AssertionError("it was not refused")


def https(path, *, token="", headers=None, method="GET", body=None):
    """(status, headers, body) without any client library."""
    tls = ssl.create_default_context(cafile=SERVER.file("ca.crt"))
    if not token:
        tls.load_cert_chain(SERVER.file("admin.crt"), SERVER.file("admin.key"))
    connection = http.client.HTTPSConnection("127.0.0.1", SERVER.port, context=tls, timeout=30)
    try:
        connection.request(method, path, body, ({"Authorization": "Bearer " + token} if token else {}) | (headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def events(path):
    return [json.loads(line) for line in https(path)[2].splitlines()]


def objects_are_made_read_changed_and_deleted():
    made = CORE.create_namespaced_config_map("default", configmap("one", a="1"))
    assert made.metadata.uid and made.metadata.resource_version
    assert refused(409, CORE.create_namespaced_config_map, "default", configmap("one"))["reason"] == "AlreadyExists"
    made.data["a"] = "2"
    changed = CORE.replace_namespaced_config_map("one", "default", made)
    assert changed.data == {"a": "2"} and changed.metadata.uid == made.metadata.uid
    assert refused(409, CORE.replace_namespaced_config_map, "one", "default", made)["reason"] == "Conflict"
    assert CORE.patch_namespaced_config_map("one", "default", {"data": {"b": "3"}}).data == {"a": "2", "b": "3"}
    CORE.delete_namespaced_config_map("one", "default")
    refused(404, CORE.read_namespaced_config_map, "one", "default")


def a_list_in_pages_is_one_moment_whatever_happens_meanwhile():
    for number in range(7):
        CORE.create_namespaced_config_map("default", configmap(f"page{number}"))
    first = CORE.list_namespaced_config_map("default", label_selector="of=test", limit=3)
    CORE.delete_namespaced_config_map("page5", "default")
    CORE.create_namespaced_config_map("default", configmap("page9"))
    names, revisions, following = [], {first.metadata.resource_version}, first
    while True:
        names += [item.metadata.name for item in following.items]
        revisions.add(following.metadata.resource_version)
        if not following.metadata._continue:  # pylint: disable=protected-access
            break
        following = CORE.list_namespaced_config_map("default", label_selector="of=test", limit=3,
                                                    _continue=following.metadata._continue)
    assert names == [f"page{number}" for number in range(7)], names
    assert len(revisions) == 1, revisions


def a_watch_has_every_change_once_and_tells_who_comes_too_late():
    begin = CORE.list_namespaced_config_map("default").metadata.resource_version
    seen = []

    def follow():
        for event in watch.Watch().stream(CORE.list_namespaced_config_map, "default", resource_version=begin, timeout_seconds=20):
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                return
    follower = threading.Thread(target=follow)
    follower.start()
    CORE.create_namespaced_config_map("default", configmap("seen"))
    CORE.patch_namespaced_config_map("seen", "default", {"data": {"x": "y"}})
    CORE.delete_namespaced_config_map("seen", "default")
    follower.join()
    assert seen == [("ADDED", "seen"), ("MODIFIED", "seen"), ("DELETED", "seen")], seen
    SERVER.order("compact")
    try:
        list(watch.Watch().stream(CORE.list_namespaced_config_map, "default", resource_version=begin, timeout_seconds=5))
        raise AssertionError("a watch from what was forgotten went on")
    except ApiException as error:
        assert error.status == 410, error


def a_watch_that_asks_for_initial_events_is_told_when_they_end():
    SERVER.put("endpointslices", {"metadata": {"name": "web-1", "namespace": "default"}, "addressType": "IPv4", "endpoints": []})
    begun = events("/apis/discovery.k8s.io/v1/endpointslices?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
                   "&allowWatchBookmarks=true&timeoutSeconds=1")
    assert [event["type"] for event in begun] == ["ADDED", "BOOKMARK"], begun
    assert begun[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(begun[1]["object"]["metadata"]["resourceVersion"]) >= int(begun[0]["object"]["metadata"]["resourceVersion"])
    status, _, body = https("/api/v1/pods?watch=1&sendInitialEvents=true&timeoutSeconds=1")
    assert status == 422 and b"sendInitialEvents requires setting resourceVersionMatch" in body or b"forbidden" in body, body


def bookmarks_come_as_often_as_told_and_move_on_with_other_kinds():
    SERVER.order("bookmarks", seconds=0.2)
    SERVER.put("nodes", {"metadata": {"name": "n"}})
    revision = SERVER.put("nodes", {"metadata": {"name": "n"}, "spec": {"unschedulable": True}})
    begin = SERVER.order("state")["compacted"]
    said = events(f"/api/v1/services?watch=1&allowWatchBookmarks=true&resourceVersion={begin}&timeoutSeconds=1")
    assert len(said) >= 2 and {event["type"] for event in said} == {"BOOKMARK"}, said
    assert said[-1]["object"]["metadata"]["resourceVersion"] == str(revision), said
    SERVER.order("bookmarks", seconds=60)


def everything_is_discovered_in_two_answers_if_asked_for():
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}
    status, headers, body = https("/apis", headers=accept)
    assert status == 200 and headers["content-type"].endswith(";as=APIGroupDiscoveryList"), headers
    found = {item["metadata"]["name"]: item for item in json.loads(body)["items"]}
    assert [one["resource"] for one in found["discovery.k8s.io"]["versions"][0]["resources"]] == ["endpointslices"]
    SERVER.order("features", aggregatedDiscovery=False)
    assert json.loads(https("/apis", headers=accept)[2])["kind"] == "APIGroupList"
    SERVER.order("features", aggregatedDiscovery=True)


def a_large_list_is_compressed_for_who_can_read_that():
    SERVER.put("pods", *({"metadata": {"name": f"p{number}", "namespace": "default", "annotations": {"a": "x" * 1000}}}
                         for number in range(300)))
    status, headers, body = https("/api/v1/pods", headers={"Accept-Encoding": "gzip"})
    assert status == 200 and headers["content-encoding"] == "gzip" and len(body) < 100000, headers
    assert len(CORE.list_pod_for_all_namespaces().items) == 300
    status, headers, body = https("/api/v1/pods")
    assert "content-encoding" not in headers and len(json.loads(body)["items"]) == 300
    assert len(CORE.list_pod_for_all_namespaces(field_selector="spec.nodeName=n").items) == 0


def slices_are_the_same_in_either_version():
    SERVER.order("serve", what="discovery.k8s.io/v1beta1", served=True)
    SERVER.put("endpointslices", {"metadata": {"name": "both", "namespace": "default"}, "addressType": "IPv4", "endpoints": [
        {"addresses": ["10.1.0.1"], "nodeName": "n1", "zone": "z"}]})
    newer = json.loads(https("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/both")[2])
    older = json.loads(https("/apis/discovery.k8s.io/v1beta1/namespaces/default/endpointslices/both")[2])
    assert newer["endpoints"][0]["nodeName"] == "n1"
    assert older["endpoints"][0]["topology"] == {"kubernetes.io/hostname": "n1", "topology.kubernetes.io/zone": "z"}
    SERVER.order("serve", what="discovery.k8s.io/v1beta1", served=False)
    assert https("/apis/discovery.k8s.io/v1beta1/namespaces/default/endpointslices/both")[0] == 404


def a_pod_on_a_node_goes_when_its_node_says_so():
    pod = client.V1Pod(metadata=client.V1ObjectMeta(name="running"), spec=client.V1PodSpec(
        node_name="n1", containers=[client.V1Container(name="c", image="i")]))
    CORE.create_namespaced_pod("default", pod)
    CORE.patch_namespaced_pod_status("running", "default", {"status": {"phase": "Running", "podIP": "10.1.0.1"}})
    assert CORE.list_pod_for_all_namespaces(field_selector="spec.nodeName=n1").items[0].status.pod_ip == "10.1.0.1"
    CORE.delete_namespaced_pod("running", "default")
    assert CORE.read_namespaced_pod("running", "default").metadata.deletion_timestamp
    CORE.delete_namespaced_pod("running", "default", grace_period_seconds=0)
    refused(404, CORE.read_namespaced_pod, "running", "default")


def a_token_is_good_until_it_is_revoked_and_only_for_what_is_granted():
    SERVER.order("user", token="t", name="jane")
    assert https("/api/v1/pods", token="t")[0] == 403
    assert https("/version", token="t")[0] == 200
    SERVER.order("revoke", token="t")
    assert https("/api/v1/pods", token="t")[0] == 401


def faults_come_as_ordered_and_go():
    SERVER.faults({"verb": "list", "resource": "pods", "do": "answer", "code": 429, "retryAfter": 1, "times": 1},
                  {"verb": "list", "resource": "services", "do": "answer", "code": 503},
                  {"path": "/version", "do": "drop"},
                  {"verb": "list", "resource": "configmaps", "do": "cut", "bytes": 100},
                  {"verb": "watch", "resource": "nodes", "do": "end", "milliseconds": [50, 100]},
                  {"verb": "watch", "resource": "secrets", "do": "gone"})
    status, headers, body = https("/api/v1/pods")
    assert (status, headers["retry-after"]) == (429, "1") and body.startswith(b"Too many requests"), (status, body)
    assert https("/api/v1/pods")[0] == 200
    assert refused(503, CORE.list_service_for_all_namespaces)["reason"] == "ServiceUnavailable"
    for path, error in (("/version", (ConnectionError, http.client.HTTPException)),
                        ("/api/v1/configmaps", http.client.IncompleteRead)):
        try:
            https(path)
            raise AssertionError(path + " was answered")
        except error:
            pass
    begin = time.monotonic()
    assert not [event for event in events("/api/v1/nodes?watch=1") if event["type"] != "ADDED"]
    assert time.monotonic() - begin < 15, "the watch went on"
    assert events("/api/v1/secrets?watch=1")[0]["object"]["code"] == 410
    assert {fault["do"]: fault["applied"] for fault in SERVER.order("state")["faults"]} == {
        "answer": 1, "drop": 1, "cut": 1, "end": 1, "gone": 1}
    SERVER.faults()
    assert https("/version")[0] == 200


def a_server_that_refuses_connections_has_the_same_port_afterwards():
    SERVER.order("listen", accept=False)
    try:
        https("/version")
        raise AssertionError("it was answered")
    except ConnectionRefusedError:
        pass
    SERVER.order("listen", accept=True)
    assert https("/version")[0] == 200


def a_stalled_request_hangs_until_the_fault_is_lifted():
    SERVER.faults({"path": "/version", "do": "stall"})
    ended = []

    def ask():
        try:
            ended.append(https("/version")[0])
        except (ConnectionError, http.client.HTTPException) as error:
            ended.append(type(error).__name__)
    asking = threading.Thread(target=ask)
    asking.start()
    eventually("the fault is in force", lambda: SERVER.order("state")["faults"][0]["applied"] == 1)
    assert not ended
    SERVER.faults()
    asking.join()
    assert ended and ended[0] != 200, ended


if __name__ == "__main__":
    urllib3.disable_warnings()
    try:
        run(__doc__, [objects_are_made_read_changed_and_deleted, a_list_in_pages_is_one_moment_whatever_happens_meanwhile,
                      a_watch_has_every_change_once_and_tells_who_comes_too_late,
                      a_watch_that_asks_for_initial_events_is_told_when_they_end,
                      bookmarks_come_as_often_as_told_and_move_on_with_other_kinds,
                      everything_is_discovered_in_two_answers_if_asked_for, a_large_list_is_compressed_for_who_can_read_that,
                      slices_are_the_same_in_either_version, a_pod_on_a_node_goes_when_its_node_says_so,
                      a_token_is_good_until_it_is_revoked_and_only_for_what_is_granted, faults_come_as_ordered_and_go,
                      a_server_that_refuses_connections_has_the_same_port_afterwards,
                      a_stalled_request_hangs_until_the_fault_is_lifted])
    finally:
        SERVER.end()

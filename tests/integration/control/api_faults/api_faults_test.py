#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heddle-control tells proxies what the API server has in the end, whatever goes wrong with the API server on the way, and
never anything that was not so.

Exit status: 0 passed, 1 failed, 77 cannot run here.
"""
import contextlib
import time

from cluster_of_control import LASTING, Control, Proxy, Shop, arguments, endpoints_of, eventually, run_cases, slice_of

GIVEN = arguments(__doc__)
SYNCED = ["endpointslices", "namespaces", "nodes", "pods", "services"]


@contextlib.contextmanager
def control_of(server, kubeconfig=""):
    """Ends both, and shows what control said if something went wrong."""
    control = None
    try:
        control = Control(GIVEN.bin_dir, server, kubeconfig or server.kubeconfig())
        yield control
        control.end()
    finally:
        if control and control.process.poll() is None:
            print(control.said())
            control.process.kill()
            control.process.wait()
        server.end()


@contextlib.contextmanager
def shop(release="1.33", kubeconfig=None):
    """(the API server, control, a proxy that follows the service)"""
    server = Shop(release)
    with control_of(server, kubeconfig(server) if kubeconfig else "") as control:
        control.wait_ready()
        proxy = Proxy(control)
        yield server, control, proxy
        proxy.end()


def endpoints_are_read_from_where_the_server_says_they_are_not_where_its_version_would_have_them():
    both = ("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1")
    for release, served, version in (("1.20", both[:1], "v1"), ("1.33", both[1:], "v1beta1"), ("1.33", both, "v1"),
                                     ("1.20", (), "")):
        server = Shop(release)
        for what in both:
            server.order("serve", what=what, served=what in served)
        with control_of(server) as control:
            control.wait_ready()
            proxy = Proxy(control)
            proxy.told("10.1.0.1" if served else "10.9.9.9")
            eventually("all are watched", lambda server=server: len(server.watched()) == 5)
            state = server.order("state")["watches"]
            found = [(watch["resource"], watch["version"]) for watch in state if watch["resource"].startswith("endpoint")]
            assert found == [("endpointslices", version) if served else ("endpoints", "v1")], f"{release} {served}: {found}"
            proxy.end()


def endpoints_that_move_to_another_version_or_kind_are_followed():
    with shop("1.33") as (server, _, proxy):
        proxy.told("10.1.0.1")
        for gone, come in (("v1", "v1beta1"), ("v1beta1", "v1")):
            server.order("serve", what="discovery.k8s.io/" + come, served=True)
            server.order("serve", what="discovery.k8s.io/" + gone, served=False)
            server.order("end-watches", resource="endpointslices")
            address = "10.1.1.1" if come == "v1" else "10.1.1.2"
            server.move(address)
            proxy.told(address)
        proxy.never_lost()
        server.order("serve", what="discovery.k8s.io/v1", served=False)
        server.order("end-watches", resource="endpointslices")
        server.put("endpoints", endpoints_of(LASTING, "10.9.9.8"))
        proxy.told("10.9.9.8")


def a_list_in_pages_whose_history_is_lost_between_two_of_them_is_begun_anew():
    server = Shop()
    server.put("pods", *({"metadata": {"name": f"p{number}", "namespace": "shop"}, "spec": {"nodeName": "n"},
                          "status": {"podIP": f"10.2.{number >> 8}.{number & 255}"}} for number in range(2600)))
    server.faults({"verb": "list", "resource": "pods", "path": "continue=", "do": "stall"})
    with control_of(server) as control:
        eventually("the second page is asked for", lambda: server.order("state")["faults"][0]["applied"])
        server.put("nodes", {"metadata": {"name": "n"}})
        server.order("compact")
        server.faults()
        control.wait_ready()
        assert server.asked(verb="list", resource="pods", code=410), "no page was too old"
        pages = [request for request in server.asked(verb="list", resource="pods", code=200) if "continue=" in request["target"]]
        assert len(pages) >= 5, pages
        assert control.metric("heddle_control_source_objects") >= 2600
        proxy = Proxy(control)
        proxy.told("10.1.0.1")
        proxy.end()


def watches_that_end_at_random_lose_no_change_and_are_resumed_where_they_ended():
    with shop() as (server, control, proxy):
        proxy.told("10.1.0.1")
        eventually("all are watched", lambda: server.watched() == SYNCED)
        server.faults({"verb": "watch", "do": "end", "milliseconds": [1, 200]})
        server.order("end-watches")
        server.order("requests", forget=True)
        address, deadline = "", time.monotonic() + GIVEN.seconds
        number = 0
        while time.monotonic() < deadline:
            number += 1
            address = f"10.3.{number >> 8}.{number & 255}"
            server.move(address)
            if number % 7 == 0:
                proxy.told(address)
        proxy.told(address)
        proxy.never_lost()
        lists, watches = server.asked(verb="list"), server.asked(verb="watch", code=200)
        assert not lists, f"{len(lists)} lists, {len(watches)} watches"
        assert len(watches) > 20, watches
        server.faults()
        eventually("control is at rest again", lambda: control.metric("heddle_control_source_connected") == 1)


def bookmarks_spare_what_does_not_change_from_being_listed_anew():
    server = Shop()
    server.order("bookmarks", seconds=0.2)
    with control_of(server) as control:
        control.wait_ready()
        eventually("all are watched", lambda: server.watched() == SYNCED)
        moved = server.move("10.1.0.2")
        eventually("all were told how far the server is", lambda: all(
            watch["told"] >= moved for watch in server.order("state")["watches"]))
        server.order("compact")
        server.order("requests", forget=True)
        server.order("end-watches")
        eventually("all are watched again", lambda: server.watched() == SYNCED and len(server.asked(verb="watch")) == 5)
        moved = server.move("10.1.0.3")
        eventually("they go on", lambda: all(watch["told"] >= moved for watch in server.order("state")["watches"]))
        proxy = Proxy(control)
        proxy.told("10.1.0.3")
        proxy.end()
        assert not server.asked(verb="list"), "what was told by a bookmark was listed"


def what_is_too_old_is_listed_anew_and_what_went_meanwhile_is_gone():
    with shop() as (server, control, proxy):
        server.put("endpointslices", slice_of("10.1.0.7", name="web-2"))
        proxy.told("10.1.0.1", "10.1.0.7")
        server.order("listen", accept=False)
        eventually("control notices", lambda: control.metric("heddle_control_source_connected") == 0)
        server.order("remove", resource="endpointslices", namespace="shop", name="web-2")
        server.move("10.1.0.2")
        server.order("compact")
        server.order("requests", forget=True)
        newcomer = Proxy(control)
        newcomer.told("10.1.0.1", "10.1.0.7")
        server.order("listen", accept=True)
        took = max(proxy.told("10.1.0.2"), newcomer.told("10.1.0.2"))
        assert took < 2, f"it took {took:.1f} s after the API server was back"
        proxy.never_lost()
        newcomer.end()
        # An ERROR event in the middle of nowhere does the same.
        server.faults({"verb": "watch", "resource": "endpointslices", "do": "gone", "times": 2})
        server.order("end-watches", resource="endpointslices")
        eventually("it was told", lambda: server.order("state")["faults"][0]["applied"] == 2)
        server.move("10.1.0.3")
        proxy.told("10.1.0.3")
        proxy.never_lost()


def a_server_that_is_too_busy_is_left_alone_for_as_long_as_it_asks():
    with shop() as (server, control, proxy):
        proxy.told("10.1.0.1")
        server.faults({"verb": "watch", "resource": "endpointslices", "do": "answer", "code": 429, "retryAfter": 2, "times": 1})
        server.order("requests", forget=True)
        server.order("end-watches", resource="endpointslices")
        eventually("it was refused", lambda: server.asked(resource="endpointslices", code=429))
        server.move("10.1.0.4")
        proxy.told("10.1.0.4")
        refused, then = server.asked(resource="endpointslices")[:2]
        assert refused["code"] == 429 and then["verb"] == "watch", (refused, then)
        assert 2.0 <= then["at"] - refused["at"] < 10, f"asked again after {then['at'] - refused['at']:.1f} s"
        proxy.never_lost()
        assert control.metric("heddle_control_source_errors_total") >= 1
        eventually("all is well", lambda: control.metric("heddle_control_source_connected") == 1)


def a_stalled_list_does_not_make_control_ready_and_a_dropped_one_is_asked_again():
    server = Shop()
    server.faults({"verb": "list", "resource": "pods", "do": "stall"},
                  {"verb": "list", "resource": "services", "do": "cut", "bytes": 50, "times": 2},
                  {"path": "^/apis$", "do": "drop", "times": 2})
    with control_of(server) as control:
        others = [name for name in SYNCED if name != "pods"]
        eventually(lambda: f"the rest is watched: {server.watched()}", lambda: server.watched() == others)
        assert not control.page("/ready"), "it is ready without having read pods"
        server.faults()
        control.wait_ready()
        proxy = Proxy(control)
        proxy.told("10.1.0.1")
        proxy.end()


def of_token(server):
    """A kubeconfig with a token of its ServiceAccount in a file, as a pod finds it."""
    allowed = [{"apiGroups": ["", "discovery.k8s.io"], "resources": SYNCED + ["endpoints"], "verbs": ["list", "watch"]}]
    server.put("namespaces", {"metadata": {"name": "heddle"}})
    server.put("serviceaccounts", {"metadata": {"name": "heddle-control", "namespace": "heddle"}})
    server.put("clusterroles", {"metadata": {"name": "heddle-control"}, "rules": allowed})
    server.put("clusterrolebindings", {"metadata": {"name": "heddle-control"},
                                       "roleRef": {"kind": "ClusterRole", "name": "heddle-control"},
                                       "subjects": [{"kind": "ServiceAccount", "name": "heddle-control", "namespace": "heddle"}]})
    server.tokens = [new_token(server)]
    return server.kubeconfig(server.file("token"))


def new_token(server):
    token = server.order("token", namespace="heddle", name="heddle-control")["token"]
    with open(server.file("token"), "w", encoding="ascii") as file:
        file.write(token)
    return token


def a_token_that_is_replaced_in_time_is_not_noticed_and_one_that_is_not_is_survived():
    with shop(kubeconfig=of_token) as (server, control, proxy):
        proxy.told("10.1.0.1")
        eventually("all are watched", lambda: server.watched() == SYNCED)
        errors = control.metric("heddle_control_source_errors_total")
        old, server.tokens = server.tokens[0], [new_token(server)]
        server.order("revoke", token=old)
        server.order("end-watches")
        server.move("10.1.0.5")
        proxy.told("10.1.0.5")
        eventually("all are watched again", lambda: server.watched() == SYNCED)
        assert control.metric("heddle_control_source_errors_total") == errors, control.said()
        server.order("revoke", token=server.tokens[0])
        server.order("end-watches")
        eventually("it is refused", lambda: server.asked(code=401))
        server.move("10.1.0.6")
        eventually("control says so", lambda: control.metric("heddle_control_source_connected") == 0)
        proxy.never_lost()
        new_token(server)
        proxy.told("10.1.0.6")
        assert not server.asked(code=403), server.asked(code=403)


def everything_goes_wrong_at_random_and_in_the_end_all_is_right():
    chaos = [{"chance": 0.15, "do": "answer", "code": 503}, {"chance": 0.15, "do": "answer", "code": 429, "retryAfter": 0},
             {"chance": 0.1, "do": "drop"}, {"chance": 0.1, "do": "answer", "code": 500}, {"chance": 0.1, "do": "reset"},
             {"chance": 0.2, "do": "goaway"},
             {"verb": "list", "chance": 0.2, "do": "cut", "bytes": 200},
             {"verb": "watch", "chance": 0.2, "do": "cut", "bytes": 300},
             {"verb": "watch", "chance": 0.5, "do": "end", "milliseconds": [1, 300]},
             {"verb": "watch", "chance": 0.2, "do": "gone"},
             {"verb": "watch", "chance": 0.2, "do": "trickle", "bytes": 100, "milliseconds": 5}]
    with shop() as (server, _, proxy):
        proxy.told("10.1.0.1")
        server.faults(*chaos)
        server.order("drop-connections")
        number, deadline = 0, time.monotonic() + GIVEN.seconds
        while time.monotonic() < deadline:
            number += 1
            server.move(f"10.4.{number >> 8}.{number & 255}")
            if number % 20 == 0:
                server.order("compact")
            time.sleep(0.01)  # as long as changes take; nothing is waited for
        server.faults()
        server.move("10.1.0.8", "10.1.0.9")
        took = proxy.told("10.1.0.8", "10.1.0.9", seconds=40)
        proxy.never_lost()
        print(f"   {number} changes, told of {len(proxy.states)}, right {took:.1f} s after the last fault")


if __name__ == "__main__":
    run_cases([endpoints_are_read_from_where_the_server_says_they_are_not_where_its_version_would_have_them,
               endpoints_that_move_to_another_version_or_kind_are_followed,
               a_list_in_pages_whose_history_is_lost_between_two_of_them_is_begun_anew,
               watches_that_end_at_random_lose_no_change_and_are_resumed_where_they_ended,
               bookmarks_spare_what_does_not_change_from_being_listed_anew,
               what_is_too_old_is_listed_anew_and_what_went_meanwhile_is_gone,
               a_server_that_is_too_busy_is_left_alone_for_as_long_as_it_asks,
               a_stalled_list_does_not_make_control_ready_and_a_dropped_one_is_asked_again,
               a_token_that_is_replaced_in_time_is_not_noticed_and_one_that_is_not_is_survived,
               everything_goes_wrong_at_random_and_in_the_end_all_is_right], GIVEN, seconds=int(160 + 2 * GIVEN.seconds))

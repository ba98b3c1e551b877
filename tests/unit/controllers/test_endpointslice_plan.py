from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.controllers import endpoints_plan, service_pods
from pilothouse.controllers import endpointslice_mirroring as mirroring
from pilothouse.controllers import endpointslice_plan as slices

from .builders import node, pod

NODES = {"n1": node("n1", labels={slices.ZONE: "east"}), "n2": node("n2")}


def service(**spec):
    meta = {"name": "s", "namespace": "ns", "uid": "uid-s", "labels": {"tier": "x"}, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {
        "metadata": meta,
        "spec": {"selector": {"app": "a"}, "clusterIP": "10.96.0.9", "ports": [{"port": 80, "targetPort": 8080}], **spec},
    }


def serving(name, ip, **more):
    return pod(name, ready=more.pop("ready", 5), status={"podIP": ip, "podIPs": [{"ip": ip}]}, **more)


def plan(svc, pods, existing=(), trigger=None):
    return slices.plan(svc, pods, NODES.get, list(existing), trigger)


def named(objs):
    return [
        {**o, "metadata": {**o["metadata"], "name": o["metadata"].get("name") or f"s-{i}", "uid": f"slice-{i}"}}
        for i, o in enumerate(objs)
    ]


def test_a_ready_pod_is_an_endpoint():
    (made,) = plan(service(), [serving("p", "10.0.0.1")], trigger="2026-01-01T00:00:00Z").create
    assert made["addressType"] == "IPv4"
    assert made["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert made["metadata"]["labels"] == {"tier": "x", slices.SERVICE_NAME: "s", slices.MANAGED_BY: slices.MANAGER}
    assert made["metadata"]["annotations"] == {service_pods.TRIGGER_TIME: "2026-01-01T00:00:00Z"}
    assert made["endpoints"] == [
        {
            "addresses": ["10.0.0.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "ns", "name": "p", "uid": "uid-p"},
            "nodeName": "n1",
            "zone": "east",
        }
    ]


def test_a_terminating_pod_serves_but_is_not_ready():
    (made,) = plan(service(), [serving("p", "10.0.0.1", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})]).create
    assert made["endpoints"][0]["conditions"] == {"ready": False, "serving": True, "terminating": True}


def test_an_unready_pod_is_ready_where_the_service_says_so():
    (made,) = plan(service(publishNotReadyAddresses=True), [serving("p", "10.0.0.1", ready=None)]).create
    assert made["endpoints"][0]["conditions"] == {"ready": True, "serving": False, "terminating": False}


def test_finished_and_addressless_pods_are_left_out_and_an_empty_slice_stays():
    (made,) = plan(service(), [serving("p", "10.0.0.1", phase="Failed"), pod("q", ready=1)]).create
    assert (made["endpoints"], made["ports"]) == ([], [])


def test_named_ports_split_pods_by_what_they_mean_there():
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    one = serving("a", "10.0.0.1", spec={"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]})
    two = serving("b", "10.0.0.2", spec={"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8181}]}]})
    made = plan(service(ports=ports), [one, two]).create
    assert sorted(s["ports"][0]["port"] for s in made) == [8080, 8181]


def test_each_family_has_its_own_slices():
    both = pod("p", ready=1, status={"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]})
    made = plan(service(ipFamilies=["IPv6", "IPv4"]), [both]).create
    assert {(s["addressType"], s["endpoints"][0]["addresses"][0]) for s in made} == {("IPv4", "10.0.0.1"), ("IPv6", "fd00::1")}
    existing = named(made)
    assert plan(service(ipFamilies=["IPv4"]), [both], existing).delete == [s for s in existing if s["addressType"] == "IPv6"]


def test_near_traffic_is_hinted():
    (made,) = plan(service(trafficDistribution="PreferSameNode"), [serving("p", "10.0.0.1")]).create
    assert made["endpoints"][0]["hints"] == {"forZones": [{"name": "east"}], "forNodes": [{"name": "n1"}]}


def test_a_pod_of_an_unknown_node_is_waited_for():
    result = plan(service(), [serving("p", "10.0.0.1", node="n9")])
    assert result.create[0]["endpoints"] == []
    assert "n9" in result.missing_nodes[0]


def test_headless_services_are_labelled_and_give_pods_their_names():
    p = serving("p", "10.0.0.1", spec={"hostname": "h", "subdomain": "s"})
    (made,) = plan(service(clusterIP="None", ipFamilies=["IPv4"]), [p]).create
    assert made["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert made["endpoints"][0]["hostname"] == "h"


def apply(result, existing):
    gone = {s["metadata"]["uid"] for s in result.delete}
    kept = {s["metadata"]["uid"]: s for s in existing if s["metadata"]["uid"] not in gone}
    kept |= {s["metadata"]["uid"]: s for s in result.update}
    start = max((int(u.split("-")[1]) for u in kept), default=0) + 1
    for i, body in enumerate(result.create):
        new = f"slice-{start + i}"
        kept[new] = {**body, "metadata": {**body["metadata"], "name": new, "uid": new}}
    return list(kept.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 350), max_size=351), min_size=1, max_size=4))
def test_slices_follow_their_pods_with_few_writes(rounds):
    existing: list = []
    for members in rounds:
        pods = [serving(f"p{i}", f"10.0.{i // 250}.{i % 250}") for i in members]
        existing = apply(plan(service(), pods, existing), existing)
        addresses = [e["addresses"][0] for s in existing for e in s["endpoints"]]
        assert sorted(addresses) == sorted(p["status"]["podIP"] for p in pods)
        assert all(len(s["endpoints"]) <= slices.FULL for s in existing)
        assert len(existing) >= 1
        again = plan(service(), pods, existing)
        assert not (again.create or again.update or again.delete)


def test_one_new_pod_costs_one_write():
    pods = [serving(f"p{i}", f"10.0.{i // 250}.{i % 250}") for i in range(250)]
    existing = apply(plan(service(), pods), [])
    result = plan(service(), [*pods, serving("new", "10.1.0.1")], existing)
    assert len(result.create) + len(result.update) + len(result.delete) == 1


def test_legacy_endpoints_group_addresses_by_the_ports_they_serve():
    ports = [
        {"name": "http", "port": 80, "targetPort": "web"},
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353},
    ]
    one = serving("a", "10.0.0.1", spec={"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]})
    two = serving("b", "10.0.0.2", ready=None)
    wanted = endpoints_plan.plan(service(ports=ports), [one, two], None, None)
    assert wanted["metadata"]["labels"] == {"tier": "x", "endpoints.kubernetes.io/managed-by": "endpoint-controller"}
    found = {
        s["ports"][0]["name"]: ([a["ip"] for a in s["addresses"]], [a["ip"] for a in s.get("notReadyAddresses", ())])
        for s in wanted["subsets"]
    }
    assert found == {"http": (["10.0.0.1"], []), "dns": (["10.0.0.1"], ["10.0.0.2"])}
    assert endpoints_plan.plan(service(ports=ports), [one, two], wanted, None) is None


def test_legacy_endpoints_stop_at_a_thousand_and_say_so():
    pods = [serving(f"p{i}", f"10.0.{i // 250}.{i % 250}", ready=None if i < 100 else 5) for i in range(1100)]
    wanted = endpoints_plan.plan(service(), pods, None, None)
    assert len(wanted["subsets"][0]["addresses"]) == 1000
    assert wanted["metadata"]["annotations"] == {"endpoints.kubernetes.io/over-capacity": "truncated"}


def test_trigger_times_are_told_once():
    times = service_pods.TriggerTimes()
    svc, p = service(), serving("p", "10.0.0.1", ready=-60)
    assert times.of(svc, []) == "2026-01-01T00:00:00Z"
    assert times.of(svc, [p]) == "2026-01-01T00:01:00Z"
    assert times.of(svc, [p]) is None


def test_hand_made_endpoints_are_mirrored_by_family_and_slices_used_again():
    subset = {
        "addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
        "notReadyAddresses": [{"ip": "192.0.2.3"}],
        "ports": [{"port": 1}],
    }
    endpoints = {"metadata": {"name": "s", "namespace": "ns", "uid": "e", "labels": {"own": "x"}}, "subsets": [subset]}
    made = mirroring.plan(endpoints, []).create
    assert {s["addressType"]: [(e["addresses"], e["conditions"]["ready"]) for e in s["endpoints"]] for s in made} == {
        "IPv4": [(["192.0.2.1"], True), (["192.0.2.3"], False)],
        "IPv6": [(["2001:db8::1"], True)],
    }
    existing = named(made)
    again = mirroring.plan(endpoints, existing)
    assert not (again.create or again.update or again.delete)
    moved = {**endpoints, "subsets": [{"addresses": [{"ip": "192.0.2.9"}], "ports": [{"port": 2}]}]}
    result = mirroring.plan(moved, existing)
    assert [s["addressType"] for s in result.update] == ["IPv4"]
    assert [s["addressType"] for s in result.delete] == ["IPv6"]

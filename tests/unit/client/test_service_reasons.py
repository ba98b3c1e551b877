"""Why a Service answers, or does not: what is found out from its objects and from trying."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pilothouse.client import loopback
from pilothouse.client.service_reasons import Found, connect, findings, places

Obj = dict[str, Any]
SIMULATED = {"sim": {"metadata": {"labels": {"pilothouse.dev/simulated": "true"}}}}


@pytest.fixture(autouse=True)
def privileged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "first_port", lambda: 1)


def service(**spec: Any) -> Obj:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports, **spec}}


def balanced(address: str = "127.50.0.1", **status: Any) -> Obj:
    ingress = [{"ip": address}] if address else []
    return {**service(type="LoadBalancer"), "status": {"loadBalancer": {"ingress": ingress}, **status}}


def pod(name: str, ready: bool = True, port: str = "http", **status: Any) -> Obj:
    conditions = [{"type": "Ready", "status": str(ready), "message": "" if ready else "containers with unready status: [web]"}]
    ports = [{"name": port, "containerPort": 8080}]
    return {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "web", "ports": ports}]},
        "status": {"conditions": conditions, **status},
    }


def a_slice(*ready: bool, port: str = "http") -> Obj:
    endpoints = [
        {
            "addresses": [f"10.64.0.{n}"],
            "nodeName": "sim",
            "conditions": {"ready": well},
            "targetRef": {"kind": "Pod", "name": f"web-{n}"},
        }
        for n, well in enumerate(ready, 1)
    ]
    return {"metadata": {}, "addressType": "IPv4", "ports": [{"name": port, "port": 8080}], "endpoints": endpoints}


def told(found: Found, **tried: str) -> list[str]:
    """Findings as lines; problems begin with an exclamation mark. Places are told by their host."""
    known = {place: tried[place[0]] for place in places(found) if place[0] in tried}
    return [("" if f.well else "! ") + f.text for f in findings(found, known)]


def test_a_service_that_is_well_has_no_problem() -> None:
    found = Found(balanced(), [a_slice(True, True)], [pod("web-1"), pod("web-2")], SIMULATED)
    assert told(found, **{"127.50.0.1": ""}) == [
        "2 pods have the labels app=web, 2 ready",
        "port 80/TCP goes to 10.64.0.1:8080 (web-1), 10.64.0.2:8080 (web-2)",
        "its load balancer is 127.50.0.1",
        "127.50.0.1:80 accepts connections",
    ]


def test_places_are_what_can_be_tried_from_here() -> None:
    found = Found(balanced(), [a_slice(True)], (), SIMULATED)
    assert places(found) == [("127.64.0.1", 8080), ("127.50.0.1", 80)]
    assert places(Found(balanced(), [a_slice(True)])) == [("127.50.0.1", 80)]


def test_a_selector_that_matches_nothing_is_a_problem() -> None:
    assert told(Found(service())) == [
        "! no pod has the labels app=web",
        "! port 80/TCP has no endpoint that takes traffic: there are none",
    ]


def test_a_service_without_selector_is_somebody_elses_business() -> None:
    assert told(Found(service(selector={}), [a_slice(True)]))[0] == "it has no selector: somebody else makes its endpoints"


def test_pods_that_are_not_ready_are_named_with_what_they_wait_for() -> None:
    waiting = pod("web-2", ready=False, containerStatuses=[{"name": "web", "state": {"waiting": {"reason": "ImagePullBackOff"}}}])
    lines = told(Found(service(), [a_slice(False, False)], [pod("web-1", ready=False), waiting], SIMULATED))
    assert lines == [
        "! 2 pods have the labels app=web, 0 ready",
        "! pod web-1 is not ready: containers with unready status: [web]",
        "! pod web-2 is not ready: container web waits: ImagePullBackOff",
        "! port 80/TCP has no endpoint that takes traffic: none of its 2 endpoints is ready",
    ]


def test_a_target_port_of_a_name_that_no_pod_has_is_told() -> None:
    lines = told(Found(service(), [a_slice(port="other")], [pod("web-1", port="web")]))
    assert lines[-1] == "! port 80/TCP has no endpoint that takes traffic: no pod has a port of the name http"


def test_an_endpoint_at_which_nobody_listens_is_told() -> None:
    found = Found(service(), [a_slice(True)], [pod("web-1")], SIMULATED)
    lines = told(found, **{"127.64.0.1": "refuses connections"})
    assert lines[-1] == "! 127.64.0.1:8080, where web-1 is found, refuses connections"


def test_a_load_balancer_that_could_not_be_made_tells_why() -> None:
    event = {
        "type": "Warning",
        "message": "Error syncing load balancer: no address is left",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    assert told(Found(balanced(""), events=[event]))[-1] == (
        "! it has no address: Error syncing load balancer: no address is left"
    )
    assert told(Found(balanced("")))[-1] == "! it has no address: no cloud-controller-manager has made one"


def test_a_change_of_a_load_balancer_that_failed_is_told_as_long_as_it_is_the_last_word() -> None:
    failed = {"type": "Warning", "reason": "SyncLoadBalancerFailed", "message": "no", "lastTimestamp": "2026-01-01T00:00:02Z"}
    before = {"type": "Normal", "reason": "EnsuredLoadBalancer", "message": "", "lastTimestamp": "2026-01-01T00:00:01Z"}
    after = {**before, "lastTimestamp": "2026-01-01T00:00:03Z"}
    assert "! its last change failed: no" in told(Found(balanced(), events=[failed, before]))
    assert "! its last change failed: no" not in told(Found(balanced(), events=[failed, before, after]))


def test_a_port_that_was_moved_is_tried_where_it_is() -> None:
    sentence = "Port 80/TCP is at 127.50.0.1:40080: this process may not listen on ports below 1024"
    moved = balanced(conditions=[{"type": "LoadBalancerPortsError", "status": "True", "message": sentence}])
    moved["metadata"]["annotations"] = {"pilothouse.dev/load-balancer-ports": "80/TCP=40080"}
    lines = told(Found(moved), **{"127.50.0.1": ""})
    assert lines[-3:] == ["its load balancer is 127.50.0.1", f"! {sentence}", "127.50.0.1:40080 accepts connections"]


def test_source_ranges_are_told() -> None:
    limited = balanced()
    limited["spec"]["loadBalancerSourceRanges"] = ["10.0.0.0/8"]
    assert "only clients of 10.0.0.0/8 may use it" in told(Found(limited))


def test_an_external_name_forwards_nothing() -> None:
    lines = told(Found(service(type="ExternalName", externalName="example.com")))
    assert lines == ["it is only another name for example.com: nothing is forwarded"]


async def test_trying_tells_listeners_from_refusals() -> None:
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert await connect([("127.0.0.1", port)]) == {("127.0.0.1", port): ""}
    assert await connect([("127.0.0.1", port)]) == {("127.0.0.1", port): "refuses connections"}

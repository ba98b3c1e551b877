"""Conditions that the API server keeps itself: flow schemas that lead nowhere, API services that others answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pilothouse.clock import VirtualClock

from .cluster_kit import cluster
from .kit import Caller

FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


async def condition(call: Caller, path: str, type: str, reason: str) -> dict[str, Any]:
    """An object's condition, as soon as it has that reason."""
    async with asyncio.timeout(5):
        while True:
            found = (await call("GET", path)).body.get("status", {}).get("conditions", ())
            for one in found:
                if (one["type"], one["reason"]) == (type, reason):
                    return dict(one)
            await asyncio.sleep(0)


async def test_a_flow_schema_dangles_until_its_priority_level_exists() -> None:
    async with cluster() as call:
        await call(
            "POST", f"{FLOW}/flowschemas", {"metadata": {"name": "f"}, "spec": {"priorityLevelConfiguration": {"name": "l"}}}
        )
        found = await condition(call, f"{FLOW}/flowschemas/f", "Dangling", "NotFound")
        assert found["status"] == "True"
        assert (
            found["message"]
            == 'This FlowSchema references the PriorityLevelConfiguration object named "l" but there is no such object'
        )
        level = {"metadata": {"name": "l"}, "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}}
        assert (await call("POST", f"{FLOW}/prioritylevelconfigurations", level)).code == 201
        assert (await condition(call, f"{FLOW}/flowschemas/f", "Dangling", "Found"))["status"] == "False"
        await call("DELETE", f"{FLOW}/prioritylevelconfigurations/l")
        await condition(call, f"{FLOW}/flowschemas/f", "Dangling", "NotFound")


async def test_flow_schemas_stand_in_tables_in_the_order_in_which_they_are_tried() -> None:
    async with cluster() as call:
        table = await call("GET", f"{FLOW}/flowschemas", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert [row["cells"][0] for row in table.body["rows"]][:3] == ["exempt", "probes", "system-leader-election"]


def remote(**spec: Any) -> dict[str, Any]:
    wanted = {"group": "example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10, **spec}
    return {"metadata": {"name": "v1.example.com"}, "spec": wanted}


def behind(port: int) -> dict[str, Any]:
    return {"service": {"namespace": "default", "name": "s", "port": port}, "insecureSkipTLSVerify": True}


def endpoints(ready: bool) -> dict[str, Any]:
    metadata = {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}}
    endpoint = {"addresses": ["10.1.2.3"], "conditions": {"ready": ready}}
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": [endpoint], "ports": [{"name": "", "port": 443}]}


async def test_an_api_service_is_as_available_as_the_service_behind_it() -> None:
    async with cluster() as call:
        await call("POST", SERVICES, remote(**behind(443)))
        path = f"{SERVICES}/v1.example.com"
        found = await condition(call, path, "Available", "ServiceNotFound")
        assert (found["status"], found["message"]) == ("False", 'service/s in "default" is not present')
        service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
        await call("POST", "/api/v1/namespaces/default/services", service)
        await condition(call, path, "Available", "ServicePortError")
        media = "application/merge-patch+json"
        await call("PATCH", "/api/v1/namespaces/default/services/s", {"spec": {"ports": [{"port": 443}]}}, media=media)
        await condition(call, path, "Available", "EndpointsNotFound")
        slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        await call("POST", slices, endpoints(ready=False))
        await condition(call, path, "Available", "MissingEndpoints")
        await call("PUT", f"{slices}/s-1", endpoints(ready=True))
        await condition(call, path, "Available", "FailedDiscoveryCheck")


@pytest.mark.parametrize(
    "path", ["/apis/example.com/v1", "/apis/example.com/v1/things", "/apis/example.com/v1/namespaces/a/things/b"]
)
async def test_the_group_of_another_server_is_not_available(path: str) -> None:
    async with cluster() as call:
        await call("POST", SERVICES, remote(**behind(443)))
        got = await call("GET", path)
        assert (got.code, got.body) == (503, "service unavailable\n")
        await call("DELETE", f"{SERVICES}/v1.example.com")
        assert (await call("GET", path)).code == 404


async def test_an_api_service_that_becomes_local_is_available() -> None:
    async with cluster() as call:
        await call("POST", SERVICES, remote(**behind(443)))
        path = f"{SERVICES}/v1.example.com"
        await condition(call, path, "Available", "ServiceNotFound")
        change = {"spec": {"service": None, "insecureSkipTLSVerify": None}}
        await call("PATCH", path, change, media="application/merge-patch+json")
        assert (await condition(call, path, "Available", "Local"))["status"] == "True"


# --- what comes back ----------------------------------------------------------------------------------------------------------------

MERGE = "application/merge-patch+json"


async def test_a_quiet_cluster_is_left_alone() -> None:
    clock = VirtualClock()
    async with cluster(clock=clock) as call:
        lists = [f"{FLOW}/flowschemas", f"{FLOW}/prioritylevelconfigurations", SERVICES, "/api/v1/services"]
        before = [(await call("GET", path)).body["items"] for path in lists]
        await clock.advance(200)
        assert [(await call("GET", path)).body["items"] for path in lists] == before


async def test_flow_control_and_the_servers_service_come_back() -> None:
    clock = VirtualClock()
    async with cluster(clock=clock) as call:
        await call("DELETE", f"{FLOW}/flowschemas/probes")
        await call("DELETE", "/api/v1/namespaces/default/services/kubernetes")
        await call("PATCH", f"{FLOW}/flowschemas/service-accounts", {"spec": {"matchingPrecedence": 1234}}, media=MERGE)
        mine = {"spec": {"matchingPrecedence": 77}, "metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}}
        await call("PATCH", f"{FLOW}/flowschemas/global-default", mine, media=MERGE)
        await clock.advance(61)
        await clock.settle()
        assert (await call("GET", f"{FLOW}/flowschemas/probes")).code == 200
        assert (await call("GET", "/api/v1/namespaces/default/services/kubernetes")).body["spec"]["clusterIP"] == "10.96.0.1"
        precedence = [
            (await call("GET", f"{FLOW}/flowschemas/{name}")).body["spec"]["matchingPrecedence"]
            for name in ("service-accounts", "global-default")
        ]
        assert precedence == [9000, 77]


def crd(*versions: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object"}}
    made = [{"name": v, "served": True, "storage": v == versions[0], "schema": schema} for v in versions]
    spec = {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": made}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": spec,
    }
    return body


async def answer(call: Caller, method: str, path: str, code: int) -> Any:
    """What the server says, as soon as it answers with that code."""
    async with asyncio.timeout(5):
        while True:
            got = await call(method, path)
            if got.code == code:
                return got.body
            await asyncio.sleep(0)


async def test_each_version_of_custom_resources_is_registered_while_it_is_served() -> None:
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    async with cluster() as call:
        await call("POST", crds, crd("v1", "v2"))
        found = await answer(call, "GET", f"{SERVICES}/v2.example.com", 200)
        assert found["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
        assert found["spec"] == {"group": "example.com", "version": "v2", "groupPriorityMinimum": 1000, "versionPriority": 100}
        await call("DELETE", f"{SERVICES}/v2.example.com")
        await answer(call, "GET", f"{SERVICES}/v2.example.com", 200)
        await call("PATCH", f"{crds}/things.example.com", {"spec": {"versions": crd("v1")["spec"]["versions"]}}, media=MERGE)
        await answer(call, "GET", f"{SERVICES}/v2.example.com", 404)
        await call("DELETE", f"{crds}/things.example.com")
        await answer(call, "GET", f"{SERVICES}/v1.example.com", 404)

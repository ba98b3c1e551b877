"""The Gateway controllers against the real hub: what they tell, what they ask of the cloud, and that they then rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pilothouse.client.reconcile.kinds import CONFIG_MAPS, NAMESPACES, SECRETS, SERVICES
from pilothouse.cloud.gateway.definitions import CRDS, definitions
from pilothouse.cloud.gateway.gateway import FINALIZER
from pilothouse.cloud.gateway.gateway_class import IN_USE
from pilothouse.cloud.gateway.kinds import (
    BACKEND_TLS_POLICIES,
    CONTROLLER,
    GATEWAY_CLASSES,
    GATEWAYS,
    GROUP,
    HTTP_ROUTES,
    LISTENER_SETS,
    REFERENCE_GRANTS,
)
from pilothouse.cloud.gateway.outcome import Outcome, outcome
from pilothouse.cloud.provider import AddressNotUsable, CloudError, RetryAfter

from .stage import Obj, Stage, a_stage, told

HTTP = {"name": "http", "port": 80, "protocol": "HTTP"}
PORTS = {"ports": [{"name": "http", "port": 80}]}


def gateway(*listeners: Obj, **more: Any) -> Obj:
    return {"gatewayClassName": "pilothouse", "listeners": list(listeners) or [HTTP], **more}


def route(*refs: Obj, to: str = "web", **more: Any) -> Obj:
    return {"parentRefs": list(refs) or [{"name": "gw"}], "rules": [{"backendRefs": [{"name": to, "port": 80, **more}]}]}


async def entries(stage: Stage, name: str = "r", namespace: str = "default") -> list[Obj]:
    found = await stage.get(HTTP_ROUTES, name, namespace)
    return (found.get("status") or {}).get("parents") or []


async def first(stage: Stage, name: str = "r", namespace: str = "default") -> dict[str, tuple[str, str]]:
    found = await entries(stage, name, namespace)
    return told(found[0]["conditions"]) if found else {}


async def revision(stage: Stage) -> str:
    return (await stage.admin.request("GET", "/api/v1/namespaces/default/configmaps")).body["metadata"]["resourceVersion"]


async def test_the_api_is_installed_and_a_class_offered(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.settle()
        found = await stage.get(GATEWAY_CLASSES, "pilothouse", "")
        assert found["spec"]["controllerName"] == CONTROLLER
        assert told(found["status"]["conditions"]) == {
            "Accepted": ("True", "Accepted"),
            "SupportedVersion": ("True", "SupportedVersion"),
        }
        features = [f["name"] for f in found["status"]["supportedFeatures"]]
        assert features == sorted(features) and "HTTPRouteCORS" in features
        other = {"controllerName": CONTROLLER, "parametersRef": {"group": "a.b", "kind": "C", "name": "d"}}
        await stage.create(GATEWAY_CLASSES, "mine", other, "")
        await stage.create(GATEWAY_CLASSES, "theirs", {"controllerName": "example.com/x"}, "")
        await stage.settle()
        assert told((await stage.get(GATEWAY_CLASSES, "mine", ""))["status"]["conditions"])["Accepted"] == (
            "False",
            "InvalidParameters",
        )
        assert told((await stage.get(GATEWAY_CLASSES, "theirs", ""))["status"]["conditions"]) == {
            "Accepted": ("Unknown", "Pending")
        }


async def test_the_api_is_left_to_others_where_that_is_wanted(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates, start=False) as stage:
        await stage.begin(install_gateway_api=False)
        await stage.settle(60)
        assert (await stage.admin.request("GET", GATEWAYS.path())).status == 404


async def test_kinds_that_come_later_join_in(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates, start=False) as stage:
        made = {d["spec"]["names"]["kind"]: d for d in definitions()}
        for kind in ("GatewayClass", "Gateway", "HTTPRoute", "ReferenceGrant"):
            assert (await stage.admin.request("POST", CRDS.path(), body=made.pop(kind))).status == 201
        await stage.begin(install_gateway_api=False)
        await stage.settle()
        await stage.create(GATEWAY_CLASSES, "pilothouse", {"controllerName": CONTROLLER}, "")
        await stage.create(GATEWAYS, "gw", gateway(allowedListeners={"namespaces": {"from": "All"}}))
        await stage.settle()
        (listener,) = (await stage.get(GATEWAYS, "gw"))["status"]["listeners"]
        assert [k["kind"] for k in listener["supportedKinds"]] == ["HTTPRoute"]
        for definition in made.values():
            assert (await stage.admin.request("POST", CRDS.path(), body=definition)).status == 201
        await stage.settle()
        (listener,) = (await stage.get(GATEWAYS, "gw"))["status"]["listeners"]
        assert [k["kind"] for k in listener["supportedKinds"]] == ["HTTPRoute", "GRPCRoute"]
        await stage.create(
            LISTENER_SETS, "more", {"parentRef": {"name": "gw"}, "listeners": [{**HTTP, "name": "more", "port": 81}]}
        )
        await stage.settle()
        assert told((await stage.get(LISTENER_SETS, "more"))["status"]["conditions"])["Accepted"] == ("True", "Accepted")


async def test_a_gateway_and_its_route_are_programmed_and_then_there_is_rest(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(SERVICES, "web", PORTS)
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.create(HTTP_ROUTES, "r", route())
        await stage.settle()
        found = await stage.get(GATEWAYS, "gw")
        assert found["status"]["addresses"] == [{"type": "IPAddress", "value": "127.9.0.1"}]
        assert told(found["status"]["conditions"]) == {"Accepted": ("True", "Accepted"), "Programmed": ("True", "Programmed")}
        (listener,) = found["status"]["listeners"]
        assert (listener["name"], listener["attachedRoutes"]) == ("http", 1)
        assert listener["supportedKinds"] == [{"group": GROUP, "kind": k} for k in ("HTTPRoute", "GRPCRoute")]
        assert told(listener["conditions"]) == {
            "Accepted": ("True", "Accepted"),
            "Conflicted": ("False", "NoConflicts"),
            "ResolvedRefs": ("True", "ResolvedRefs"),
            "Programmed": ("True", "Programmed"),
        }
        (entry,) = await entries(stage)
        assert entry["controllerName"] == CONTROLLER
        assert entry["parentRef"] == {"group": GROUP, "kind": "Gateway", "name": "gw"}
        assert told(entry["conditions"]) == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
        assert all(c["observedGeneration"] == 1 for c in entry["conditions"])
        (edge,) = stage.cloud.plans["Gateway/default/gw"].edges
        assert [h.rules[0].shares[0].pool for h in edge.sites[0].hosts] == ["default/web:80"]
        assert ("Normal", "Programmed") in await stage.events("gw")
        before, calls = await revision(stage), stage.cloud.calls
        await stage.settle(300)
        assert (await revision(stage), stage.cloud.calls) == (before, calls)


async def test_statuses_follow_the_generation_and_keep_their_times(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(SERVICES, "web", PORTS)
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.create(HTTP_ROUTES, "r", route())
        await stage.settle(60)
        (before,) = await entries(stage)
        await stage.change(HTTP_ROUTES, "r", {"spec": {"hostnames": ["a.example.com"]}})
        await stage.change(GATEWAYS, "gw", {"spec": {"listeners": [HTTP, {**HTTP, "name": "b", "port": 81}]}})
        await stage.settle()
        (after,) = await entries(stage)
        assert {c["observedGeneration"] for c in after["conditions"]} == {2}
        assert [c["lastTransitionTime"] for c in after["conditions"]] == [c["lastTransitionTime"] for c in before["conditions"]]
        found = (await stage.get(GATEWAYS, "gw"))["status"]
        assert {c["observedGeneration"] for c in found["conditions"]} == {2}
        assert [x["name"] for x in found["listeners"]] == ["http", "b"]


async def test_a_service_that_comes_and_goes_is_told(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.create(HTTP_ROUTES, "r", route())
        await stage.settle()
        assert (await first(stage))["ResolvedRefs"] == ("False", "BackendNotFound")
        assert ("Warning", "BackendNotFound") in await stage.events("r")
        await stage.create(SERVICES, "web", PORTS)
        await stage.settle()
        assert (await first(stage))["ResolvedRefs"] == ("True", "ResolvedRefs")
        await stage.remove(SERVICES, "web")
        await stage.settle()
        assert (await first(stage))["ResolvedRefs"] == ("False", "BackendNotFound")


async def test_entries_of_other_controllers_are_left_alone(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(SERVICES, "web", PORTS)
        await stage.create(GATEWAY_CLASSES, "theirs", {"controllerName": "example.com/x"}, "")
        await stage.create(GATEWAYS, "other", {**gateway(), "gatewayClassName": "theirs"})
        made = await stage.create(HTTP_ROUTES, "r", route({"name": "other"}, {"name": "gw"}))
        condition = {
            "type": "Accepted",
            "status": "True",
            "reason": "Accepted",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        theirs = {"parentRef": made["spec"]["parentRefs"][0], "controllerName": "example.com/x", "conditions": [condition]}
        await stage.change(HTTP_ROUTES, "r", {"status": {"parents": [theirs]}}, sub="status")
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.settle()
        found = await entries(stage)
        assert found[0] == theirs and found[1]["controllerName"] == CONTROLLER
        await stage.change(HTTP_ROUTES, "r", {"spec": {"parentRefs": [{"name": "other"}]}})
        await stage.settle()
        assert await entries(stage) == [theirs]
        assert told((await stage.get(GATEWAYS, "other"))["status"]["conditions"])["Accepted"] == ("Unknown", "Pending")


async def test_a_route_with_two_gateways_is_told_of_both(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(SERVICES, "web", PORTS)
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.create(GATEWAYS, "second", gateway({**HTTP, "hostname": "x.com"}))
        await stage.create(HTTP_ROUTES, "r", {**route({"name": "second"}, {"name": "gw"}), "hostnames": ["y.com"]})
        await stage.settle()
        found = {e["parentRef"]["name"]: told(e["conditions"])["Accepted"] for e in await entries(stage)}
        assert found == {"second": ("False", "NoMatchingListenerHostname"), "gw": ("True", "Accepted")}
        await stage.remove(GATEWAYS, "second")
        await stage.settle()
        assert [e["parentRef"]["name"] for e in await entries(stage)] == ["gw"]


async def test_a_grant_that_comes_and_goes_opens_and_closes(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(NAMESPACES, "far", namespace="")
        await stage.create(SERVICES, "web", PORTS, "far")
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.create(HTTP_ROUTES, "r", route(namespace="far"))
        await stage.settle()
        assert (await first(stage))["ResolvedRefs"] == ("False", "RefNotPermitted")
        spec = {"from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": "default"}], "to": [{"group": "", "kind": "Service"}]}
        await stage.create(REFERENCE_GRANTS, "open", spec, "far")
        await stage.settle()
        assert (await first(stage))["ResolvedRefs"] == ("True", "ResolvedRefs")
        await stage.remove(REFERENCE_GRANTS, "open", "far")
        await stage.settle()
        assert (await first(stage))["ResolvedRefs"] == ("False", "RefNotPermitted")


async def test_namespaces_are_let_in_by_their_labels_as_these_change(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(NAMESPACES, "far", namespace="")
        await stage.create(SERVICES, "web", PORTS, "far")
        allowed = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"open": "yes"}}}}
        await stage.create(GATEWAYS, "gw", gateway({**HTTP, "allowedRoutes": allowed}))
        await stage.create(HTTP_ROUTES, "r", route({"name": "gw", "namespace": "default"}), "far")
        await stage.settle()
        assert (await first(stage, namespace="far"))["Accepted"] == ("False", "NotAllowedByListeners")
        await stage.change(NAMESPACES, "far", {"metadata": {"labels": {"open": "yes"}}}, "")
        await stage.settle()
        assert (await first(stage, namespace="far"))["Accepted"] == ("True", "Accepted")


async def test_a_secret_that_comes_late_makes_a_listener_whole(pilothouse_certificates: Path, tls_secret: Obj) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        https = {"name": "https", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "cert"}]}}
        await stage.create(GATEWAYS, "gw", gateway(HTTP, https))
        await stage.settle()
        found = (await stage.get(GATEWAYS, "gw"))["status"]
        assert told(found["conditions"])["Accepted"] == ("True", "ListenersNotValid")
        conditions = told(found["listeners"][1]["conditions"])
        assert conditions["ResolvedRefs"] == ("False", "InvalidCertificateRef")
        assert conditions["Programmed"] == ("False", "Invalid")
        assert ("Warning", "ListenersNotValid") in await stage.events("gw")
        await stage.create(SECRETS, "cert", **tls_secret)
        await stage.settle()
        found = (await stage.get(GATEWAYS, "gw"))["status"]
        assert told(found["conditions"])["Accepted"] == ("True", "Accepted")
        assert told(found["listeners"][1]["conditions"])["Programmed"] == ("True", "Programmed")
        assert [e.port for e in stage.cloud.plans["Gateway/default/gw"].edges] == [80, 443]


async def test_what_the_cloud_cannot_do_is_told(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        for error, reason in (
            (AddressNotUsable("it is taken"), "AddressNotUsable"),
            (CloudError("quota"), "Pending"),
            (RetryAfter("it is being made", 5.0), "Pending"),
        ):
            stage.cloud.failure = error
            await stage.create(GATEWAYS, "gw", gateway())
            await stage.settle()
            conditions = (await stage.get(GATEWAYS, "gw"))["status"]["conditions"]
            assert told(conditions) == {"Accepted": ("True", "Accepted"), "Programmed": ("False", reason)}
            stage.cloud.failure = None
            await stage.settle(60)
            assert told((await stage.get(GATEWAYS, "gw"))["status"]["conditions"])["Programmed"] == ("True", "Programmed")
            await stage.remove(GATEWAYS, "gw")
            await stage.settle()
        assert ("Warning", "AddressNotUsable") in await stage.events("gw")
        assert ("Warning", "ProgrammingFailed") in await stage.events("gw")


async def test_ports_that_are_taken_or_moved_are_told(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        stage.cloud.problems, stage.cloud.moved = {"port-80": "Address already in use"}, {"port-81": 40081}
        await stage.create(GATEWAYS, "gw", gateway(HTTP, {**HTTP, "name": "b", "port": 81}))
        await stage.settle()
        found = (await stage.get(GATEWAYS, "gw"))["status"]
        assert told(found["conditions"]) == {"Accepted": ("True", "ListenersNotValid"), "Programmed": ("True", "Programmed")}
        assert told(found["listeners"][0]["conditions"])["Accepted"] == ("False", "PortUnavailable")
        programmed = next(c for c in found["listeners"][1]["conditions"] if c["type"] == "Programmed")
        assert programmed["status"] == "True" and "40081" in programmed["message"]
        stage.cloud.problems = {}
        await stage.settle(60)
        found = (await stage.get(GATEWAYS, "gw"))["status"]
        assert told(found["listeners"][0]["conditions"])["Accepted"] == ("True", "Accepted"), "it was tried again"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"addresses": [{"type": "example.com/Named", "value": "x"}]}, "UnsupportedAddress"),
        ({"infrastructure": {"parametersRef": {"group": "a.b", "kind": "C", "name": "d"}}}, "InvalidParameters"),
        ({"listeners": [{"name": "t", "port": 80, "protocol": "TCP"}]}, "ListenersNotValid"),
    ],
)
async def test_a_gateway_that_cannot_be_carried_out_is_not_accepted(
    pilothouse_certificates: Path, spec: Obj, reason: str
) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(GATEWAYS, "gw", {**gateway(), **spec})
        await stage.settle()
        assert told((await stage.get(GATEWAYS, "gw"))["status"]["conditions"]) == {
            "Accepted": ("False", reason),
            "Programmed": ("False", "Invalid"),
        }
        assert not stage.cloud.plans


async def test_a_gateway_leaves_nothing_behind(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.settle()
        assert FINALIZER in (await stage.get(GATEWAYS, "gw"))["metadata"]["finalizers"]
        assert IN_USE in (await stage.get(GATEWAY_CLASSES, "pilothouse", ""))["metadata"]["finalizers"]
        await stage.end()
        await stage.remove(GATEWAYS, "gw")
        assert stage.cloud.plans, "while nobody is there to see to it, it stays"
        await stage.begin()
        await stage.settle(30)
        assert (await stage.admin.request("GET", GATEWAYS.path("default", "gw"))).status == 404
        assert not stage.cloud.plans
        assert not (await stage.get(GATEWAY_CLASSES, "pilothouse", ""))["metadata"].get("finalizers")


async def test_a_gateway_that_became_invalid_while_nobody_was_there_is_taken_down(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.settle()
        await stage.end()
        await stage.change(GATEWAYS, "gw", {"spec": {"listeners": [{"name": "t", "port": 80, "protocol": "TCP"}]}})
        assert stage.cloud.plans
        await stage.begin()
        await stage.settle()
        assert not stage.cloud.plans


async def test_a_gateway_waits_for_its_class_and_a_class_for_its_gateways(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(GATEWAYS, "gw", {**gateway(), "gatewayClassName": "late"})
        await stage.settle()
        assert told((await stage.get(GATEWAYS, "gw"))["status"]["conditions"])["Accepted"] == ("Unknown", "Pending")
        await stage.create(GATEWAY_CLASSES, "late", {"controllerName": CONTROLLER}, "")
        await stage.settle()
        assert told((await stage.get(GATEWAYS, "gw"))["status"]["conditions"])["Programmed"] == ("True", "Programmed")
        await stage.remove(GATEWAY_CLASSES, "late", "")
        await stage.settle()
        assert (await stage.get(GATEWAY_CLASSES, "late", ""))["metadata"]["deletionTimestamp"]
        await stage.remove(GATEWAYS, "gw")
        await stage.settle()
        assert (await stage.admin.request("GET", GATEWAY_CLASSES.path("", "late"))).status == 404 and not stage.cloud.plans


async def test_a_gateway_that_goes_to_another_class_is_let_go(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(SERVICES, "web", PORTS)
        await stage.create(GATEWAY_CLASSES, "theirs", {"controllerName": "example.com/x"}, "")
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.create(HTTP_ROUTES, "r", route())
        await stage.settle()
        await stage.change(GATEWAYS, "gw", {"spec": {"gatewayClassName": "theirs"}})
        await stage.settle()
        assert not stage.cloud.plans and await entries(stage) == []
        assert not (await stage.get(GATEWAYS, "gw"))["metadata"].get("finalizers")


async def test_listener_sets_are_told_what_became_of_them(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(SERVICES, "web", PORTS)
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.create(
            LISTENER_SETS, "more", {"parentRef": {"name": "gw"}, "listeners": [{**HTTP, "name": "more", "port": 81}]}
        )
        await stage.create(HTTP_ROUTES, "r", route({"kind": "ListenerSet", "name": "more"}))
        await stage.settle()
        found = (await stage.get(LISTENER_SETS, "more"))["status"]
        assert told(found["conditions"]) == {"Accepted": ("False", "NotAllowed"), "Programmed": ("False", "NotAllowed")}
        assert (await first(stage))["Accepted"] == ("False", "NoMatchingParent")
        await stage.change(GATEWAYS, "gw", {"spec": {"allowedListeners": {"namespaces": {"from": "Same"}}}})
        await stage.settle()
        found = (await stage.get(LISTENER_SETS, "more"))["status"]
        assert told(found["conditions"]) == {"Accepted": ("True", "Accepted"), "Programmed": ("True", "Programmed")}
        assert [(x["name"], x["attachedRoutes"]) for x in found["listeners"]] == [("more", 1)]
        assert (await stage.get(GATEWAYS, "gw"))["status"]["attachedListenerSets"] == 1
        assert (await first(stage))["Accepted"] == ("True", "Accepted")
        assert [e.port for e in stage.cloud.plans["Gateway/default/gw"].edges] == [80, 81]


async def test_policies_are_told_for_each_gateway_that_reaches_their_service(
    pilothouse_certificates: Path, tls_secret: Obj
) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(SERVICES, "web", PORTS)
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.create(HTTP_ROUTES, "r", route())
        validation = {"hostname": "web.example.com", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}
        spec = {"targetRefs": [{"group": "", "kind": "Service", "name": "web"}], "validation": validation}
        await stage.create(BACKEND_TLS_POLICIES, "p", spec)
        await stage.settle()
        (entry,) = (await stage.get(BACKEND_TLS_POLICIES, "p"))["status"]["ancestors"]
        assert entry["ancestorRef"] == {"group": GROUP, "kind": "Gateway", "namespace": "default", "name": "gw"}
        assert told(entry["conditions"]) == {
            "Accepted": ("False", "NoValidCACertificate"),
            "ResolvedRefs": ("False", "InvalidCACertificateRef"),
        }
        await stage.create(CONFIG_MAPS, "ca", data={"ca.crt": tls_secret["stringData"]["tls.crt"]})
        await stage.settle()
        (entry,) = (await stage.get(BACKEND_TLS_POLICIES, "p"))["status"]["ancestors"]
        assert told(entry["conditions"]) == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
        assert stage.cloud.plans["Gateway/default/gw"].backends[0].tls is not None
        await stage.remove(HTTP_ROUTES, "r")
        await stage.settle()
        assert not (await stage.get(BACKEND_TLS_POLICIES, "p"))["status"]["ancestors"]


async def test_a_restart_changes_nothing(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(SERVICES, "web", PORTS)
        for name in ("gw", "second"):
            await stage.create(GATEWAYS, name, gateway())
        await stage.create(HTTP_ROUTES, "r", route({"name": "gw"}, {"name": "second"}))
        await stage.settle()
        await stage.end()
        before = await revision(stage)
        await stage.begin()
        await stage.settle(30)
        assert await revision(stage) == before


async def test_what_concerns_no_gateway_costs_nothing(pilothouse_certificates: Path, tls_secret: Obj) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        for name in ("web", "other"):
            await stage.create(SERVICES, name, PORTS)
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.create(HTTP_ROUTES, "r", route())
        await stage.settle()
        before = stage.syncs()
        await stage.create(NAMESPACES, "far", namespace="")
        await stage.create(SECRETS, "cert", **tls_secret)
        await stage.create(CONFIG_MAPS, "ca", data={"ca.crt": ""})
        await stage.change(SERVICES, "other", {"spec": {"ports": [{"name": "http", "port": 81}]}})
        await stage.change(SERVICES, "web", {"metadata": {"labels": {"a": "b"}}})
        await stage.change(NAMESPACES, "far", {"metadata": {"labels": {"a": "b"}}}, "")
        grant = {
            "from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": "default"}],
            "to": [{"group": "", "kind": "Service"}],
        }
        await stage.create(REFERENCE_GRANTS, "open", grant, "far")
        await stage.create(HTTP_ROUTES, "elsewhere", route({"group": "", "kind": "Service", "name": "web"}))
        await stage.settle()
        assert stage.syncs() == before
        await stage.change(SERVICES, "web", {"spec": {"ports": [{"name": "http", "port": 81}]}})
        await stage.settle()
        assert stage.syncs() > before


async def test_a_gateway_that_takes_long_to_decide_on_is_looked_at_less_often(
    pilothouse_certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent, decisions = [0.0], [0]

    def slow(*arguments: Any) -> Outcome:
        decisions[0] += 1
        spent[0] += 1.0
        return outcome(*arguments)

    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(SERVICES, "web", PORTS)
        await stage.create(GATEWAYS, "gw", gateway())
        await stage.settle()
        monkeypatch.setattr("pilothouse.cloud.gateway.gateway.outcome", slow)
        monkeypatch.setattr(stage.clock, "monotonic", lambda now=stage.clock.monotonic: now() + spent[0])
        for number in range(20):
            await stage.create(HTTP_ROUTES, f"r{number}", route())
            await stage.settle(0.5)
        assert decisions[0] <= 4, "each took a second, so there are four between them"
        await stage.settle(10)
        assert (await first(stage, "r19"))["Accepted"] == ("True", "Accepted"), "and none is forgotten"

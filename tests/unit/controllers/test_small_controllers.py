"""Service ranges that come and go, old tokens that retire, tainted devices that chase pods away."""

from __future__ import annotations

import datetime as dt

import pytest

from pilothouse.client.reconcile.kinds import (
    CONFIG_MAPS,
    IP_ADDRESSES,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICE_CIDRS,
)
from pilothouse.clock import rfc3339
from pilothouse.controllers import legacy_token_cleaner as legacy
from pilothouse.controllers.device_taint_eviction import DeviceTaintEvictionController
from pilothouse.controllers.service_cidr import FINALIZER, ServiceCIDRController

from .builders import pod
from .cluster import Cluster, Obj

# --- service ranges ---------------------------------------------------------------------------------------------------------------


def cidr(name: str, *ranges: str) -> Obj:
    return {"metadata": {"name": name}, "spec": {"cidrs": list(ranges)}}


async def test_a_service_range_is_ready_and_goes_after_its_last_address() -> None:
    async with Cluster() as cluster:
        cluster.start(ServiceCIDRController)
        await cluster.create(SERVICE_CIDRS, cidr("more", "10.2.0.0/24"))
        await cluster.create(IP_ADDRESSES, {"metadata": {"name": "10.2.0.5"}})
        await cluster.settle()
        there = cluster.find(SERVICE_CIDRS, "more")
        assert there["metadata"]["finalizers"] == [FINALIZER]
        assert [(c["type"], c["status"]) for c in there["status"]["conditions"]] == [("Ready", "True")]
        await cluster.delete(SERVICE_CIDRS, "", "more")
        await cluster.settle(60)
        (told,) = cluster.find(SERVICE_CIDRS, "more")["status"]["conditions"]
        assert (told["status"], told["reason"]) == ("False", "Terminating")
        writes = len(cluster.writes)
        await cluster.settle(600)
        assert len(cluster.writes) == writes
        await cluster.delete(IP_ADDRESSES, "", "10.2.0.5")
        await cluster.settle()
        assert cluster.find(SERVICE_CIDRS, "more") is None


async def test_addresses_within_another_range_do_not_hold_one() -> None:
    async with Cluster() as cluster:
        cluster.start(ServiceCIDRController)
        await cluster.create(SERVICE_CIDRS, cidr("narrow", "10.2.0.0/24"))
        await cluster.create(SERVICE_CIDRS, cidr("wide", "10.2.0.0/16", "fd00::/112"))
        await cluster.create(IP_ADDRESSES, {"metadata": {"name": "10.2.0.5"}})
        await cluster.settle()
        await cluster.delete(SERVICE_CIDRS, "", "narrow")
        await cluster.settle(5)
        assert cluster.find(SERVICE_CIDRS, "narrow") is not None, "ten seconds of grace"
        await cluster.settle(10)
        assert cluster.find(SERVICE_CIDRS, "narrow") is None


# --- old tokens -------------------------------------------------------------------------------------------------------------------

TODAY = dt.date(2026, 1, 1)
YEARS_AGO = rfc3339(dt.datetime(2020, 1, 1, tzinfo=dt.UTC).timestamp())


def secret(**labels: str) -> Obj:
    return {"metadata": {"name": "s", "creationTimestamp": YEARS_AGO, "labels": labels}}


@pytest.mark.parametrize(
    ("labels", "since", "what"),
    [
        ({}, "2020-01-01", "mark"),
        ({}, "2025-06-01", ""),
        ({legacy.LAST_USED: "2025-12-30"}, "2020-01-01", ""),
        ({legacy.LAST_USED: "2024-01-01"}, "2020-01-01", "mark"),
        ({legacy.INVALID_SINCE: "2025-06-01"}, "2020-01-01", ""),
        ({legacy.INVALID_SINCE: "2024-06-01"}, "2020-01-01", "delete"),
        ({legacy.INVALID_SINCE: "2024-06-01", legacy.LAST_USED: "2025-12-01"}, "2020-01-01", ""),
    ],
)
def test_what_becomes_of_an_old_token(labels: dict[str, str], since: str, what: str) -> None:
    assert legacy.verdict(secret(**labels), dt.date.fromisoformat(since), TODAY) == what


@pytest.mark.parametrize(("listed", "mounted", "marked"), [(True, False, True), (False, False, False), (True, True, False)])
async def test_only_automatic_tokens_that_no_pod_mounts_are_marked(listed: bool, mounted: bool, marked: bool) -> None:
    async with Cluster() as cluster:
        account = await cluster.create(
            SERVICE_ACCOUNTS, {"metadata": {"name": "a"}, **({"secrets": [{"name": "s"}]} if listed else {})}
        )
        notes = {legacy.ACCOUNT: "a", legacy.ACCOUNT_UID: account["metadata"]["uid"]}
        made = {"type": "kubernetes.io/service-account-token", "metadata": {"name": "s", "annotations": notes}}
        await cluster.create(SECRETS, made)
        if mounted:
            await cluster.create(PODS, pod("p", spec={"volumes": [{"name": "t", "secret": {"secretName": "s"}}]}))
        namespace, name = legacy.TRACKING
        await cluster.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": namespace}, "data": {"since": "2020-01-01"}})
        cluster.start(legacy.LegacyTokenCleaner)
        await cluster.settle(370 * 86400)
        assert (legacy.INVALID_SINCE in (cluster.find(SECRETS, "s")["metadata"].get("labels") or {})) == marked
        await cluster.settle(370 * 86400)
        assert (cluster.find(SECRETS, "s") is None) == marked


# --- tainted devices --------------------------------------------------------------------------------------------------------------


def slice(*taints: Obj) -> Obj:
    spec = {"driver": "d", "pool": {"name": "p"}, "devices": [{"name": "gpu0", "taints": list(taints)}]}
    return {"metadata": {"name": "slice"}, "spec": spec}


async def users(cluster: Cluster, **result: object) -> None:
    """A pod that uses a device by its claim."""
    made = await cluster.create(PODS, pod("p"))
    given = {"driver": "d", "pool": "p", "device": "gpu0", "request": "r", **result}
    status = {
        "allocation": {"devices": {"results": [given]}},
        "reservedFor": [{"resource": "pods", "name": "p", "uid": made["metadata"]["uid"]}],
    }
    await cluster.create(RESOURCE_CLAIMS, {"metadata": {"name": "c", "namespace": "ns"}, "spec": {}, "status": status})


NO_EXECUTE = {"key": "broken", "value": "yes", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("taint", "tolerations", "evicted"),
    [
        (NO_EXECUTE, [], True),
        ({**NO_EXECUTE, "effect": "NoSchedule"}, [], False),
        (NO_EXECUTE, [{"key": "broken", "operator": "Exists"}], False),
        (NO_EXECUTE, [{"operator": "Exists", "tolerationSeconds": 100}], False),
    ],
)
async def test_pods_leave_tainted_devices(taint: Obj, tolerations: list[Obj], evicted: bool) -> None:
    async with Cluster() as cluster:
        cluster.start(DeviceTaintEvictionController)
        await users(cluster, tolerations=tolerations)
        await cluster.create(RESOURCE_SLICES, slice({**taint, "timeAdded": rfc3339(cluster.clock.now())}))
        await cluster.settle()
        left = cluster.find(PODS, "p")
        assert bool(left["metadata"].get("deletionTimestamp")) == evicted
        assert [c["reason"] for c in left["status"]["conditions"] if c["type"] == "DisruptionTarget"] == (
            ["DeletionByDeviceTaintManager"] if evicted else []
        )
        await cluster.settle(120)
        limited = any("tolerationSeconds" in t for t in tolerations)
        assert bool(cluster.find(PODS, "p")["metadata"].get("deletionTimestamp")) == (evicted or limited)

"""ResourceQuotas: what is counted, and when it is counted again."""

from __future__ import annotations

import random

import pytest

from pilothouse.api import errors
from pilothouse.client.reconcile.kinds import CONFIG_MAPS, DEPLOYMENTS, PODS, RESOURCE_QUOTAS, SERVICES
from pilothouse.clock import rfc3339
from pilothouse.controllers import resourcequota_plan as plans
from pilothouse.controllers.resourcequota import ResourceQuotaController

from .builders import NOW, pod
from .cluster import Cluster


def quota(hard, **spec):
    return {"metadata": {"name": "q", "namespace": "ns"}, "spec": {"hard": hard, **spec}}


def using(name: str, **requests):
    body = pod(name, node="")
    body["spec"]["containers"][0]["resources"] = {"requests": requests}
    return body


def test_pods_that_have_ended_or_should_have_use_nothing():
    ended = pod("b", phase="Succeeded")
    overdue = pod("c", metadata={"deletionTimestamp": rfc3339(NOW - 1)})
    leaving = pod("d", metadata={"deletionTimestamp": rfc3339(NOW + 20)})
    assert plans.used(quota({"pods": "9"}), {PODS: [pod("a"), ended, overdue, leaving]}, NOW) == {"pods": "2"}


def test_amounts_are_summed_and_what_nobody_counts_is_left_as_it_was():
    q = quota({"requests.cpu": "4", "count/deployments.apps": "2", "count/x.example.com": "5"})
    used = plans.used(q, {PODS: [using("a", cpu="1500m"), using("b", cpu="500m")], DEPLOYMENTS: []}, NOW)
    assert used == {"requests.cpu": "2", "count/deployments.apps": "0"}
    q["status"] = {"hard": q["spec"]["hard"], "used": {"count/x.example.com": "3", "gone": "1"}}
    assert plans.status(q, used)["used"] == {"requests.cpu": "2", "count/deployments.apps": "0", "count/x.example.com": "3"}


def test_scopes_restrict_what_is_counted():
    q = quota({"pods": "9"}, scopes=["BestEffort"])
    assert plans.used(q, {PODS: [pod("a"), using("b", cpu="1")]}, NOW) == {"pods": "1"}


def test_the_same_amounts_in_other_words_are_no_change():
    q = quota({"requests.cpu": "1000m"})
    q["status"] = {"hard": {"requests.cpu": "1"}, "used": {"requests.cpu": "500m"}}
    assert plans.status(q, {"requests.cpu": "0.5"}) is None


def used(cluster: Cluster):
    return cluster.find(RESOURCE_QUOTAS, "q")["status"].get("used")


async def test_a_quota_counts_what_is_there_and_gives_back_what_goes_and_rests():
    async with Cluster() as cluster:
        cluster.start(ResourceQuotaController)
        for n in range(3):
            await cluster.create(CONFIG_MAPS, {"metadata": {"name": f"c{n}"}})
        await cluster.create(PODS, using("p", cpu="2"))
        await cluster.create(RESOURCE_QUOTAS, quota({"configmaps": "9", "pods": "5", "requests.cpu": "4", "services": "1"}))
        await cluster.settle()
        assert used(cluster) == {"configmaps": "3", "pods": "1", "requests.cpu": "2", "services": "0"}
        await cluster.delete(CONFIG_MAPS, "ns", "c0")
        await cluster.patch(PODS, "ns", "p", {"status": {"phase": "Succeeded"}}, "merge", "status")
        await cluster.settle()
        assert used(cluster) == {"configmaps": "2", "pods": "0", "requests.cpu": "0", "services": "0"}
        before = len(cluster.writes)
        await cluster.settle(1000)
        assert len(cluster.writes) == before


async def test_a_service_that_changes_its_type_uses_other_things():
    async with Cluster() as cluster:
        cluster.start(ResourceQuotaController)
        body = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}}
        await cluster.create(SERVICES, body)
        await cluster.create(RESOURCE_QUOTAS, quota({"services.nodeports": "5"}))
        await cluster.settle()
        assert used(cluster) == {"services.nodeports": "2"}
        await cluster.patch(SERVICES, "ns", "s", {"spec": {"type": "ClusterIP"}}, "merge")
        await cluster.settle()
        assert used(cluster) == {"services.nodeports": "0"}


@pytest.mark.parametrize("seed", range(4))
async def test_sums_are_right_in_the_end_whatever_fails(seed):
    dice = random.Random(seed)
    async with Cluster(seed) as cluster:
        cluster.start(ResourceQuotaController)
        await cluster.create(RESOURCE_QUOTAS, quota({"configmaps": "99", "count/pods": "99"}))
        for n in range(60):
            cluster.refuse = lambda verb, kind, obj: None
            if dice.random() < 0.6:
                await cluster.create(dice.choice((CONFIG_MAPS, PODS)), {"metadata": {"name": f"o{n}"}})
            else:
                kind = dice.choice((CONFIG_MAPS, PODS))
                for ns, name in list(cluster.stored[kind])[:1]:
                    await cluster.delete(kind, ns, name, {"gracePeriodSeconds": 0})
            cluster.refuse = lambda verb, kind, obj: errors.internal("no") if dice.random() < 0.5 else None
            await cluster.settle(dice.choice([0, 0.1, 3]))
        cluster.refuse = lambda verb, kind, obj: None
        await cluster.settle(600)
        assert used(cluster) == {"configmaps": str(len(cluster.all(CONFIG_MAPS))), "count/pods": str(len(cluster.all(PODS)))}

"""What each of an autoscaler's metrics asks for, with what its status then tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pilothouse.api import quantity
from pilothouse.client.reconcile.objects import Obj
from pilothouse.controllers import hpa_replicas as replicas
from pilothouse.controllers.hpa_metrics import MetricsClient, told
from pilothouse.controllers.hpa_replicas import NoCount, Tolerance


@dataclass(frozen=True, slots=True)
class Target:
    """What is scaled: its namespace, the size asked for and the size it has, its pods and the selector that finds them."""

    namespace: str
    wanted: int
    present: int
    pods: Sequence[Obj]
    selector: str
    tolerance: Tolerance
    now: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """How many replicas a metric asks for, what it is called in messages, and its part of the status."""

    replicas: int
    name: str
    status: Obj


@dataclass(frozen=True, slots=True)
class Failed(Exception):
    """A metric that says nothing: reason and message of its Event, and the message of the whole."""

    reason: str
    message: str
    summary: str


def _text(milli: int) -> str:
    return quantity.canonical(f"{milli}m")


async def propose(client: MetricsClient, metric: Obj, target: Target) -> Proposal:
    """Ask one metric. Failed if it cannot be had."""
    kind = metric["type"]
    asking = {
        "Resource": (_resource, "FailedGetResourceMetric"),
        "ContainerResource": (_container, "FailedGetContainerResourceMetric"),
        "Pods": (_pods, "FailedGetPodsMetric"),
        "Object": (_object, "FailedGetObjectMetric"),
        "External": (_external, "FailedGetExternalMetric"),
    }.get(kind)
    if asking is None:
        message = f'unknown metric source type "{kind}"'
        raise Failed("InvalidMetricSourceType", message, message)
    ask, reason = asking
    try:
        return await ask(client, metric, target)
    except NoCount as error:
        raise Failed(reason, str(error), f"failed to get {_summary(metric)}: {error}") from None


def _summary(metric: Obj) -> str:
    kind = metric["type"]
    if kind == "Resource":
        return f"{metric['resource']['name']} resource metric value"
    if kind == "ContainerResource":
        return f"{metric['containerResource']['name']} container metric value"
    if kind == "External":
        return f"{metric['external']['metric']['name']} external metric value"
    return f"{kind.lower()} metric value"


async def _resource(client: MetricsClient, metric: Obj, target: Target) -> Proposal:
    source = metric["resource"]
    count, name = await _of_resource(client, source, target, "")
    return Proposal(count.replicas, name, {"type": "Resource", "resource": {"name": source["name"], "current": _current(count)}})


async def _container(client: MetricsClient, metric: Obj, target: Target) -> Proposal:
    source = metric["containerResource"]
    count, name = await _of_resource(client, source, target, source["container"])
    told = {"name": source["name"], "container": source["container"], "current": _current(count)}
    return Proposal(count.replicas, name, {"type": "ContainerResource", "containerResource": told})


def _current(count: replicas.Count) -> Obj:
    out: Obj = {"averageValue": _text(count.average)}
    return out if count.utilization is None else {"averageUtilization": count.utilization, **out}


async def _of_resource(client: MetricsClient, source: Obj, target: Target, container: str) -> tuple[replicas.Count, str]:
    resource, wanted = source["name"], source["target"]
    by_value = wanted.get("averageValue") is not None
    try:
        try:
            samples = await client.resource(resource, target.namespace, target.selector, container)
        except NoCount as error:
            raise NoCount(f"unable to get metrics for resource {resource}: {error}") from None
        if not target.pods:
            raise NoCount("no pods returned by selector while calculating replica count")
        groups = replicas.group(target.pods, samples, resource, target.now)
        if by_value:
            average = quantity.milli_value(wanted["averageValue"])
            return replicas.by_average(target.present, average, samples, groups, target.tolerance), f"{resource} resource"
        requests = replicas.requests_of(target.pods, resource, container)
        count = replicas.by_utilization(
            target.wanted, wanted["averageUtilization"], samples, target.pods, requests, groups, target.tolerance
        )
        return count, f"{resource} resource utilization (percentage of request)"
    except NoCount as error:
        what = "usage" if by_value else "utilization"
        raise NoCount(f"failed to get {resource} {what}: {error}") from None


async def _pods(client: MetricsClient, metric: Obj, target: Target) -> Proposal:
    source = metric["pods"]
    name = source["metric"]["name"]
    try:
        samples = await client.of_pods(source["metric"], target.namespace, target.selector)
    except NoCount as error:
        raise NoCount(f"unable to get metric {name}: {error}") from None
    groups = replicas.group(target.pods, samples, "", target.now)
    wanted = quantity.milli_value(source["target"]["averageValue"])
    count = replicas.by_average(target.wanted, wanted, samples, groups, target.tolerance)
    told = {"metric": source["metric"], "current": {"averageValue": _text(count.average)}}
    return Proposal(count.replicas, f"pods metric {name}", {"type": "Pods", "pods": told})


async def _object(client: MetricsClient, metric: Obj, target: Target) -> Proposal:
    source = metric["object"]
    described, name = source["describedObject"], source["metric"]["name"]
    try:
        usage = await client.of_object(source["metric"], target.namespace, described)
    except NoCount as error:
        where = f"{target.namespace}/{described['name']}"
        raise NoCount(f"unable to get metric {name}: {described['kind']} on {where}: {error}") from None
    count, current = _of_value(source["target"], usage, target)
    status = {"describedObject": described, "metric": source["metric"], "current": current}
    return Proposal(count, f"{described['kind']} metric {name}", {"type": "Object", "object": status})


async def _external(client: MetricsClient, metric: Obj, target: Target) -> Proposal:
    source = metric["external"]
    name, selector = source["metric"]["name"], source["metric"].get("selector")
    try:
        usage = await client.external(source["metric"], target.namespace)
    except NoCount as error:
        raise NoCount(f"unable to get external metric {target.namespace}/{name}/{told(selector)}: {error}") from None
    count, current = _of_value(source["target"], usage, target)
    status = {"metric": source["metric"], "current": current}
    return Proposal(count, f"external metric {name}({told(selector)})", {"type": "External", "external": status})


def _of_value(wanted: Obj, usage: int, target: Target) -> tuple[int, Obj]:
    """Against a value for all pods, or for each."""
    if wanted.get("averageValue") is not None:
        count = replicas.by_share(target.present, usage, quantity.milli_value(wanted["averageValue"]), target.tolerance)
        return count.replicas, {"averageValue": _text(count.average)}
    ready = replicas.ready_pods(target.pods)
    limit = quantity.milli_value(wanted["value"])
    return replicas.by_value(target.wanted, usage, limit, ready, target.tolerance), {"value": _text(usage)}

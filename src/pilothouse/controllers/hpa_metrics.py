"""Where an autoscaler's metrics come from: metrics.k8s.io, custom.metrics.k8s.io and external.metrics.k8s.io."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pilothouse.api import quantity, selectors
from pilothouse.api.errors import StatusError
from pilothouse.api.selectors import selector_text
from pilothouse.client.reconcile.kit import Api
from pilothouse.client.reconcile.objects import Obj
from pilothouse.clock import parse_rfc3339
from pilothouse.controllers.discovery import resource_of
from pilothouse.controllers.hpa_replicas import NoCount, Sample

_RESOURCE, _EXTERNAL = "/apis/metrics.k8s.io/v1beta1", "/apis/external.metrics.k8s.io/v1beta1"
_CUSTOM = "custom.metrics.k8s.io"
_SECONDS = re.compile(r"([0-9.]+)(h|ms|m|s)")
_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
#: Messages of answers that do not say what was asked for; clients add it.
_GENERIC = ("the server could not find the requested resource", "the server is currently unable to handle the request")


class MetricsClient:
    def __init__(self, api: Api) -> None:
        self._api = api

    async def resource(self, name: str, namespace: str, selector: str, container: str = "") -> dict[str, Sample]:
        """By pod: what its containers (or the one of that name) use of a resource. NoCount if nobody can tell."""
        path = f"{_RESOURCE}/namespaces/{namespace}/pods"
        answer = await self._read("resource metrics API", path, {"labelSelector": selector}, "get pods.metrics.k8s.io")
        items = answer.get("items") or []
        if not items:
            raise NoCount("no metrics returned from resource metrics API")
        out: dict[str, Sample] = {}
        for item in items:
            used = [c["usage"].get(name) for c in item.get("containers") or () if container in ("", c["name"])]
            if used and all(u is not None for u in used):
                total = sum(quantity.milli_value(u) for u in used)
                out[item["metadata"]["name"]] = Sample(total, _moment(item), _seconds(item.get("window") or "60s"))
        return out

    async def of_pods(self, metric: Obj, namespace: str, selector: str) -> dict[str, Sample]:
        """By pod: a custom metric."""
        path = f"{await self._custom()}/namespaces/{namespace}/pods/*/{metric['name']}"
        query = {"labelSelector": selector, **_metric_query(metric)}
        answer = await self._read("custom metrics API", path, query)
        items = answer.get("items") or []
        if not items:
            raise NoCount("no metrics returned from custom metrics API")
        return {i["describedObject"]["name"]: Sample(quantity.milli_value(i["value"]), _moment(i)) for i in items}

    async def of_object(self, metric: Obj, namespace: str, described: Obj) -> int:
        """A custom metric of one object, in thousandths."""
        base = await self._custom()
        if described["kind"] == "Namespace" and not described.get("apiVersion", "v1").rpartition("/")[0]:
            path = f"{base}/namespaces/{described['name']}/metrics/{metric['name']}"
        else:
            group = described.get("apiVersion", "v1").rpartition("/")[0]
            served = await resource_of(self._api, group, described["kind"])
            if served is None:
                raise NoCount(f'no matches for kind "{described["kind"]}" in group "{group}"')
            resource = f"{served.kind.plural}.{group}" if group else served.kind.plural
            where = f"/namespaces/{namespace}" if served.kind.namespaced else ""
            path = f"{base}{where}/{resource}/{described['name']}/{metric['name']}"
        answer = await self._read("custom metrics API", path, _metric_query(metric))
        items = answer.get("items") or []
        if not items:
            raise NoCount("unable to fetch metrics from custom metrics API: the API server returned no value")
        return quantity.milli_value(items[0]["value"])

    async def external(self, metric: Obj, namespace: str) -> int:
        """The sum of an external metric's values, in thousandths."""
        name, selector = metric["name"], metric.get("selector")
        query = {"labelSelector": selector_text(selector)} if selector else {}
        asked = f"get {name}.external.metrics.k8s.io"
        answer = await self._read("external metrics API", f"{_EXTERNAL}/namespaces/{namespace}/{name}", query, asked)
        items = answer.get("items") or []
        if not items:
            raise NoCount("no metrics returned from external metrics API")
        return sum(quantity.milli_value(i["value"]) for i in items)

    async def _custom(self) -> str:
        """The API in its preferred version."""
        groups = (await self._api.read("/apis")).get("groups") or ()
        found: dict[str, Any] | None = next((g for g in groups if g.get("name") == _CUSTOM), None)
        if found is None:
            raise NoCount(f"unable to fetch metrics from custom metrics API: no custom metrics API ({_CUSTOM}) registered")
        return f"/apis/{found['preferredVersion']['groupVersion']}"

    async def _read(self, source: str, path: str, query: Mapping[str, str], asked: str = "") -> Obj:
        try:
            answer: Obj = await self._api.read(path, query=query)
        except StatusError as error:
            message = str(error)
            if asked and message in _GENERIC:
                message = f"{message} ({asked})"
            raise NoCount(f"unable to fetch metrics from {source}: {message}") from None
        return answer


def _metric_query(metric: Obj) -> dict[str, str]:
    return {"metricLabelSelector": selector_text(metric["selector"])} if metric.get("selector") else {}


def _moment(item: Obj) -> float:
    return parse_rfc3339(item["timestamp"]) if item.get("timestamp") else 0.0


def _seconds(text: str) -> float:
    return sum(float(amount) * _UNIT[unit] for amount, unit in _SECONDS.findall(text))


def told(selector: Obj | None) -> str:
    """A selector as the reference prints it."""
    return selectors.go_text(selector) if selector is not None else "nil"

"""Kinds that are served in two versions: autoscalers and events. What is stored is one object."""

from __future__ import annotations

from typing import Any

from .cluster_kit import cluster

HPAS = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
MERGE = "application/merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def metric(kind: str, **target: Any) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": kind, "target": target}}


CPU, MEMORY = (
    metric("cpu", type="Utilization", averageUtilization=70),
    metric("memory", type="AverageValue", averageValue="100Mi"),
)
AUTOSCALER = {
    "metadata": {"name": "a"},
    "spec": {
        "maxReplicas": 9,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
        "metrics": [CPU, MEMORY],
    },
}


async def test_a_status_of_the_older_version_leaves_the_metrics_as_they_were() -> None:
    async with cluster() as call:
        await call("POST", HPAS.format("v2"), AUTOSCALER)
        status = {"status": {"currentReplicas": 5}}
        written = await call("PATCH", HPAS.format("v1") + "/a/status", status, media=MERGE)
        assert written.body["status"]["currentReplicas"] == 5
        assert written.body["spec"]["targetCPUUtilizationPercentage"] == 70
        assert (await call("GET", HPAS.format("v2") + "/a")).body["spec"]["metrics"] == [CPU, MEMORY]


async def test_both_versions_have_the_same_rows() -> None:
    async with cluster() as call:
        await call("POST", HPAS.format("v2"), AUTOSCALER)
        for path in ("", "/a"):
            rows = [(await call("GET", HPAS.format(v) + path, accept=TABLE)).body["rows"] for v in ("v1", "v2")]
            assert rows[0] == rows[1]
            assert rows[0][0]["cells"][2] == "cpu: <unknown>/70%, memory: <unknown>/100Mi"
            assert "annotations" not in rows[0][0]["object"]["metadata"]


async def test_an_update_of_an_event_forgets_who_owns_fields_of_the_other_group() -> None:
    async with cluster() as call:
        event = {
            "metadata": {"name": "e"}, "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "c.io/x",
            "reportingInstance": "i", "action": "a", "reason": "r", "type": "Normal", "regarding": {"kind": "Pod", "namespace": "default"},
        }  # fmt: skip
        assert (await call("POST", "/apis/events.k8s.io/v1/namespaces/default/events", event)).code == 201
        written = await call("PATCH", "/api/v1/namespaces/default/events/e", {"message": "m"}, media=MERGE)
        owners = [(m["apiVersion"], m["fieldsV1"]) for m in written.body["metadata"]["managedFields"]]
        assert owners == [("v1", {"f:message": {}})]

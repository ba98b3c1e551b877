"""RBAC's default roles and bindings, from the generated table."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import orjson

from pilothouse.api.errors import Obj

GROUP = "rbac.authorization.k8s.io"
LABEL = ("kubernetes.io/bootstrapping", "rbac-defaults")
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"

PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}


def _table() -> list[Obj]:
    """The rows, the caller's own."""
    table: list[Obj] = orjson.loads(files(__package__).joinpath("_generated_rbac.json").read_bytes())
    return table


def objects() -> list[Obj]:
    """All of them, as new objects without kind and apiVersion defaults missing; roles before bindings."""
    made = [_object(row) for row in _table()]
    return sorted(made, key=lambda o: o["kind"].endswith("Binding"))


@cache
def rules_of(cluster_role: str) -> list[Obj]:
    """The rules that a default ClusterRole has."""
    return next(row["rules"] for row in _table() if row["kind"] == "ClusterRole" and row["name"] == cluster_role)


def _object(row: Obj) -> Obj:
    metadata: Obj = {"name": row["name"]}
    if "namespace" in row:
        metadata["namespace"] = row["namespace"]
    metadata["labels"] = dict([LABEL, *row.get("labels", {}).items()])
    metadata["annotations"] = {AUTOUPDATE: "true"}
    out: Obj = {"kind": row["kind"], "apiVersion": f"{GROUP}/v1", "metadata": metadata}
    if "role" in row:
        if row["subjects"]:
            out["subjects"] = [_subject(kind, name) for kind, name in row["subjects"]]
        kind, name = row["role"]
        out["roleRef"] = {"apiGroup": GROUP, "kind": kind, "name": name}
        return out
    out["rules"] = row["rules"] or None
    if "aggregate" in row:
        out["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": labels} for labels in row["aggregate"]]}
    return out


def _subject(kind: str, name: str) -> dict[str, Any]:
    if kind == "ServiceAccount":
        namespace, _, account = name.partition("/")
        return {"kind": kind, "name": account, "namespace": namespace}
    return {"kind": kind, "apiGroup": GROUP, "name": name}

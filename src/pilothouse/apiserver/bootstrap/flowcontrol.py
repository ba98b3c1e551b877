"""Priority levels and flow schemas of a new cluster (API Priority and Fairness reference, "Default configuration objects")."""

from __future__ import annotations

from pilothouse.api.errors import Obj
from pilothouse.api.kinds.flowschema import FIXED

GROUP = "flowcontrol.apiserver.k8s.io"
PRODUCER = "api-priority-and-fairness-config-producer-v1"
CONSUMER = "api-priority-and-fairness-config-consumer-v1"
_ANNOTATIONS = {"apf.kubernetes.io/autoupdate-spec": "true"}

#: name -> shares, lendable percent, (queues, hand size, queue length); None: reject when full.
_LIMITED: dict[str, tuple[int, int, tuple[int, int, int] | None]] = {
    "catch-all": (5, 0, None),
    "system": (30, 33, (64, 6, 50)),
    "node-high": (40, 25, (64, 6, 50)),
    "leader-election": (10, 0, (16, 4, 50)),
    "workload-high": (40, 50, (128, 6, 50)),
    "workload-low": (100, 90, (128, 6, 50)),
    "global-default": (20, 50, (128, 6, 50)),
}


def priority_levels() -> list[Obj]:
    exempt: Obj = {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}
    return [_named("PriorityLevelConfiguration", "exempt", exempt), *(_limited(name) for name in _LIMITED)]


def _limited(name: str) -> Obj:
    shares, lendable, queuing = _LIMITED[name]
    response: Obj = {"type": "Reject"}
    if queuing is not None:
        queues, hand, length = queuing
        response = {"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}}
    limited = {"nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable}
    return _named("PriorityLevelConfiguration", name, {"type": "Limited", "limited": limited})


def _named(kind: str, name: str, spec: Obj) -> Obj:
    metadata = {"name": name, "annotations": dict(_ANNOTATIONS)}
    return {"kind": kind, "apiVersion": f"{GROUP}/v1", "metadata": metadata, "spec": spec}


# --- flow schemas ---------------------------------------------------------------------------------------------------------------------


def _group(name: str) -> Obj:
    return {"kind": "Group", "group": {"name": name}}


def _user(name: str) -> Obj:
    return {"kind": "User", "user": {"name": name}}


def _accounts(namespace: str) -> Obj:
    return {"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": "*"}}


_EVERYONE = [_group("system:unauthenticated"), _group("system:authenticated")]
_ANY_RESOURCE: Obj = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
_ANY_PATH: Obj = {"verbs": ["*"], "nonResourceURLs": ["*"]}


def _all(*subjects: Obj) -> Obj:
    return {"subjects": list(subjects), "resourceRules": [_ANY_RESOURCE], "nonResourceRules": [_ANY_PATH]}


def _leases(verbs: list[str]) -> Obj:
    return {"verbs": verbs, "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"]}


_PROBES: Obj = {
    "subjects": _EVERYONE,
    "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
}
_ELECTION: Obj = {
    "subjects": [_user("system:kube-controller-manager"), _user("system:kube-scheduler"), _accounts("kube-system")],
    "resourceRules": [_leases(["get", "create", "update"])],
}
_NODE_OBJECTS: Obj = {
    "verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": True, "namespaces": ["*"],
}  # fmt: skip
_NODES_HIGH: Obj = {"subjects": [_group("system:nodes")], "resourceRules": [_NODE_OBJECTS, _leases(["*"])]}

#: name, precedence, level, what requests are told apart by, rule.
_SCHEMAS: tuple[tuple[str, int, str, str, Obj], ...] = (
    ("probes", 2, "exempt", "", _PROBES),
    ("system-leader-election", 100, "leader-election", "ByUser", _ELECTION),
    ("system-node-high", 400, "node-high", "ByUser", _NODES_HIGH),
    ("system-nodes", 500, "system", "ByUser", _all(_group("system:nodes"))),
    ("kube-controller-manager", 800, "workload-high", "ByNamespace", _all(_user("system:kube-controller-manager"))),
    ("kube-scheduler", 800, "workload-high", "ByNamespace", _all(_user("system:kube-scheduler"))),
    ("kube-system-service-accounts", 900, "workload-high", "ByNamespace", _all(_accounts("kube-system"))),
    ("service-accounts", 9000, "workload-low", "ByUser", _all(_group("system:serviceaccounts"))),
    ("global-default", 9900, "global-default", "ByUser", _all(*_EVERYONE)),
)


def flow_schemas() -> list[Obj]:
    """The two that must be there, and the others."""
    return [*(_named("FlowSchema", name, spec) for name, spec in FIXED.items()), *(_schema(*row) for row in _SCHEMAS)]


def _schema(name: str, precedence: int, level: str, distinguisher: str, rule: Obj) -> Obj:
    spec: Obj = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if distinguisher:
        spec["distinguisherMethod"] = {"type": distinguisher}
    spec["rules"] = [rule]
    return _named("FlowSchema", name, spec)


def level_of(schema: Obj) -> str:
    """The priority level that a flow schema leads to."""
    name: str = ((schema.get("spec") or {}).get("priorityLevelConfiguration") or {}).get("name", "")
    return name


def dangling(schema: Obj, exists: bool, at: str) -> Obj:
    """The status of a flow schema whose priority level exists, or not, as an apply configuration. `at` is an RFC 3339 time."""
    level = level_of(schema)
    condition = {
        "type": "Dangling",
        "status": "False" if exists else "True",
        "lastTransitionTime": at,
        "reason": "Found" if exists else "NotFound",
        "message": f'This FlowSchema references the PriorityLevelConfiguration object named "{level}" '
        + ("and it exists" if exists else "but there is no such object"),
    }
    metadata = {"name": schema["metadata"]["name"]}
    return {"kind": "FlowSchema", "apiVersion": f"{GROUP}/v1", "metadata": metadata, "status": {"conditions": [condition]}}

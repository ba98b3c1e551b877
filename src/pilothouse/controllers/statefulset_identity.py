"""Who a StatefulSet's pod is: its name, ordinal, labels and claims, and whether a pod has them right.

Reference: StatefulSet (apps/v1), "Pod identity"; KEP-3335 (start ordinal), KEP-1847 (retention of claims).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pilothouse.client.reconcile.kinds import STATEFUL_SETS
from pilothouse.client.reconcile.objects import Obj, controller_reference, is_deleting, labels_of, uid
from pilothouse.controllers.pod_control import pod_of

NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
REVISION_LABEL = "controller-revision-hash"
_NAME = re.compile(r"(.*)-([0-9]+)")


def ordinal(pod: Obj, stateful_set: Obj) -> int | None:
    """The number in the pod's name; None if it is not named after the set."""
    found = _NAME.fullmatch(pod["metadata"]["name"])
    if found is None or found[1] != stateful_set["metadata"]["name"]:
        return None
    return int(found[2])


def start(stateful_set: Obj) -> int:
    return (stateful_set["spec"].get("ordinals") or {}).get("start") or 0


def replicas(stateful_set: Obj) -> int:
    wanted = stateful_set["spec"].get("replicas")
    return 1 if wanted is None else wanted


def pod_name(stateful_set: Obj, number: int) -> str:
    return f"{stateful_set['metadata']['name']}-{number}"


def claim_templates(stateful_set: Obj) -> list[Obj]:
    return stateful_set["spec"].get("volumeClaimTemplates") or []


def claim_name(stateful_set: Obj, template: Obj, number: int) -> str:
    return f"{template['metadata']['name']}-{pod_name(stateful_set, number)}"


def claims(stateful_set: Obj, number: int) -> list[Obj]:
    """The claims that the pod of this number needs, as they would be created."""
    out = []
    for template in claim_templates(stateful_set):
        meta = {k: v for k, v in template["metadata"].items() if k in ("labels", "annotations", "finalizers") and v}
        selected = (stateful_set["spec"].get("selector") or {}).get("matchLabels") or {}
        meta["labels"] = {**(meta.get("labels") or {}), **selected}
        meta |= {"name": claim_name(stateful_set, template, number), "namespace": stateful_set["metadata"]["namespace"]}
        out.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": template["spec"]})
    return out


def volumes(stateful_set: Obj, own: Iterable[Obj], number: int) -> list[Obj]:
    """A pod's volumes: those of claims, which take the place of others of the same name."""
    of_claims = [
        {"name": t["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim_name(stateful_set, t, number)}}
        for t in claim_templates(stateful_set)
    ]
    names = {v["name"] for v in of_claims}
    return of_claims + [v for v in own if v["name"] not in names]


def new_pod(stateful_set: Obj, template: Obj, revision: str, number: int) -> Obj:
    """The pod to create under this number."""
    pod = pod_of(stateful_set, STATEFUL_SETS, template)
    name = pod_name(stateful_set, number)
    pod["metadata"]["name"] = name
    pod["metadata"]["labels"] = {**labels_of(pod), **_identity(name, number), REVISION_LABEL: revision}
    spec = {**pod["spec"], "hostname": name}
    if service := stateful_set["spec"].get("serviceName"):
        spec["subdomain"] = service
    if of_all := volumes(stateful_set, spec.get("volumes") or (), number):
        spec["volumes"] = of_all
    pod["spec"] = spec
    return pod


def _identity(name: str, number: int) -> dict[str, str]:
    return {NAME_LABEL: name, INDEX_LABEL: str(number)}


def missing_labels(pod: Obj, number: int) -> dict[str, str]:
    """The labels of identity that a pod has lost or, being adopted, never had."""
    wanted = _identity(pod["metadata"]["name"], number)
    return {} if wanted.items() <= labels_of(pod).items() else wanted


def revision_of(pod: Obj) -> str:
    return labels_of(pod).get(REVISION_LABEL) or ""


# Retention of claims ------------------------------------------------------------------------------------------------------------


def owners_of_claim(stateful_set: Obj, pod: Obj | None, condemned: bool, current: list[Obj]) -> list[Obj] | None:
    """The owners that a claim should have so that it goes with its set or its pod, or stays; None if it has them.

    `condemned`: the pod is beyond the set's size. A claim that something else controls is left alone.
    """
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    with_pod = policy.get("whenScaled") == "Delete" and condemned
    with_set = policy.get("whenDeleted") == "Delete" and not with_pod
    mine = {uid(stateful_set)} | ({uid(pod)} if pod is not None else set())
    if any(ref.get("controller") and ref["uid"] not in mine and not _is_ours(ref, stateful_set) for ref in current):
        return None
    kept = [ref for ref in current if ref["uid"] not in mine and not _is_ours(ref, stateful_set)]
    wanted: list[Obj] = []
    if with_pod and pod is not None:
        wanted = [controller_reference(pod, "v1", "Pod")]
    elif with_set:
        wanted = [controller_reference(stateful_set, STATEFUL_SETS.api_version, STATEFUL_SETS.kind)]
    return None if kept + wanted == current else kept + wanted


def _is_ours(ref: Obj, stateful_set: Obj) -> bool:
    """A reference to the set, or to a pod of its names, of this or an earlier life."""
    name = stateful_set["metadata"]["name"]
    if ref["kind"] == STATEFUL_SETS.kind:
        return bool(ref["name"] == name)
    found = _NAME.fullmatch(ref["name"])
    return ref["kind"] == "Pod" and found is not None and found[1] == name


def is_stale(claim: Obj, pod: Obj) -> bool:
    """Whether a claim still belongs to a former pod of that name and will go with it."""
    meta = claim["metadata"]
    refs = meta.get("ownerReferences") or ()
    former = any(
        r["kind"] == "Pod" and r["name"] == pod["metadata"]["name"] and r["uid"] != pod["metadata"].get("uid") for r in refs
    )
    return former or is_deleting(claim)

"""A Deployment's ReplicaSets as revisions: which one is the newest, what a new one looks like, which old ones to forget.

Revisions live in annotations `deployment.kubernetes.io/...` of the sets; `kubectl rollout history` and `undo` read them. A
rollback is a change of the template by the client, and finds the old set again here, because its template is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import orjson

from pilothouse.client.reconcile.objects import (
    Obj,
    annotations_of,
    changed,
    controller_reference,
    created_at,
    is_deleting,
    labels_of,
)
from pilothouse.clock import NAME_ALPHABET

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
#: The Deployment's own annotations that its sets do not inherit.
_PRIVATE = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        HISTORY,
        DESIRED,
        MAXIMUM,
        "deprecated.deployment.rollback.to",
    )
)
#: Bytes that the history of revisions of one set may take.
_HISTORY_LIMIT = 2000


def template_hash(template: Obj, collisions: int) -> str:
    """Ten letters that tell templates apart. Only Deployments made by this controller depend on the function chosen."""
    data = orjson.dumps([template, collisions], option=orjson.OPT_SORT_KEYS)
    number = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
    return "".join(NAME_ALPHABET[number // len(NAME_ALPHABET) ** i % len(NAME_ALPHABET)] for i in range(10))


def same_template(one: Obj, other: Obj) -> bool:
    """Whether two templates are equal, but for the hash label."""
    return _without_hash(one) == _without_hash(other)


def _without_hash(template: Obj) -> Obj:
    meta = template.get("metadata") or {}
    kept = {k: v for k, v in (meta.get("labels") or {}).items() if k != HASH_LABEL}
    bare = {k: v for k, v in meta.items() if k not in ("labels", "creationTimestamp") and v}
    return {**template, "metadata": {**bare, "labels": kept}}


def newest(deployment: Obj, sets: Iterable[Obj]) -> Obj | None:
    """The set that has the Deployment's template now; of several the oldest, so that every look finds the same one."""
    template = deployment["spec"]["template"]
    for each in by_age(sets):
        if same_template(each["spec"]["template"], template):
            return each
    return None


def by_age(sets: Iterable[Obj]) -> list[Obj]:
    """Oldest first; of one moment by name."""
    return sorted(sets, key=lambda s: (created_at(s), s["metadata"]["name"]))


def revision(obj: Obj) -> int:
    """The revision in an annotation, 0 if there is none."""
    return _number(annotations_of(obj).get(REVISION), 0)


def next_revision(old_sets: Iterable[Obj]) -> int:
    return max((revision(s) for s in old_sets), default=0) + 1


def desired(replica_set: Obj) -> int | None:
    """The Deployment's replicas when this set was last scaled."""
    text = annotations_of(replica_set).get(DESIRED)
    return _number(text, 0) if text is not None else None


def maximum(replica_set: Obj) -> int | None:
    """The most pods that the Deployment allowed when this set was last scaled."""
    text = annotations_of(replica_set).get(MAXIMUM)
    return _number(text, 0) if text is not None else None


def _number(text: str | None, default: int) -> int:
    try:
        return int(text) if text else default
    except ValueError:
        return default


def revised_annotations(deployment: Obj, current: dict[str, str], number: int, exists: bool) -> dict[str, str]:
    """The new set's annotations: the Deployment's own, and the revision, whose former values an existing set remembers."""
    out = dict(current)
    out.update({k: v for k, v in annotations_of(deployment).items() if k not in _PRIVATE})
    before = out.get(REVISION)
    if _number(before, 0) >= number:
        return out
    out[REVISION] = str(number)
    if exists and before:
        history = [r for r in out.get(HISTORY, "").split(",") if r]
        history.append(before)
        while history and len(",".join(history)) > _HISTORY_LIMIT:
            history.pop(0)
        out[HISTORY] = ",".join(history)
    return out


def scale_annotations(replicas: int, surge: int) -> dict[str, str]:
    return {DESIRED: str(replicas), MAXIMUM: str(replicas + surge)}


def new_set(deployment: Obj, old_sets: Sequence[Obj], replicas: int, surge: int) -> Obj:
    """The ReplicaSet to create for the Deployment's present template."""
    spec, meta = deployment["spec"], deployment["metadata"]
    digest = template_hash(spec["template"], (deployment.get("status") or {}).get("collisionCount") or 0)
    template = spec["template"]
    marked = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: digest}
    notes = revised_annotations(deployment, {}, next_revision(old_sets), exists=False)
    notes.update(scale_annotations(spec["replicas"], surge))
    body: Obj = {
        "replicas": replicas,
        "selector": _with_hash(spec["selector"], digest),
        "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": marked}},
    }
    if spec.get("minReadySeconds"):
        body["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta['name']}-{digest}",
            "namespace": meta["namespace"],
            "labels": marked,
            "annotations": notes,
            "ownerReferences": [controller_reference(deployment, "apps/v1", "Deployment")],
        },
        "spec": body,
    }


def _with_hash(selector: Obj, digest: str) -> Obj:
    return changed(selector, matchLabels={**(selector.get("matchLabels") or {}), HASH_LABEL: digest})


def forgettable(deployment: Obj, old_sets: Iterable[Obj]) -> list[Obj]:
    """Old sets beyond `revisionHistoryLimit` that have neither pods nor work before them, lowest revision first."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    if limit is None or limit >= 2**31 - 1:
        return []
    alive = sorted((s for s in old_sets if not is_deleting(s)), key=lambda s: (revision(s), created_at(s)))
    return [s for s in alive[: max(0, len(alive) - limit)] if _is_idle(s)]


def _is_idle(replica_set: Obj) -> bool:
    status = replica_set.get("status") or {}
    settled = replica_set["metadata"].get("generation", 0) <= status.get("observedGeneration", 0)
    return settled and not status.get("replicas") and not replica_set["spec"].get("replicas")


def hash_of(replica_set: Obj) -> str:
    return labels_of(replica_set).get(HASH_LABEL, "")

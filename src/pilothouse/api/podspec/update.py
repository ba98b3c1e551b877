"""What may change in a pod that exists (API reference: "Pod update and replacement").

Images, the active deadline (downwards), more tolerations, a grace period that was negative; and, while scheduling gates hold the pod
back, fewer gates and a narrower choice of nodes.
"""

from __future__ import annotations

from pilothouse.api.errors import Obj, forbidden, invalid, required
from pilothouse.api.podspec import internal
from pilothouse.api.podspec.affinity import REQUIRED
from pilothouse.api.podspec.checks import INT32_MAX, Errors, within
from pilothouse.api.podspec.tolerations import check_only_added

MIRROR = "kubernetes.io/config.mirror"
_NOTHING_ELSE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)
_ADD_OR_REMOVE = "pod updates may not add or remove containers"
_ONLY_ADDITIONS = "only additions are allowed (no mutations or deletions)"


def check_pod_update(new: Obj, old: Obj, out: Errors) -> None:
    """Add what an update of `old` changes that it must not."""
    _check_mirror(new, old, out)
    spec, had = new["spec"], old["spec"]
    for field in ("containers", "initContainers"):
        if not _check_images(spec.get(field) or [], had.get(field) or [], f"spec.{field}", out):
            return
    if not _check_deadline(spec.get("activeDeadlineSeconds"), had.get("activeDeadlineSeconds"), out):
        return
    if spec.get("tolerations") != had.get("tolerations"):
        check_only_added(spec.get("tolerations") or [], had.get("tolerations") or [], "spec.tolerations", out)
    _check_gates(spec, had, out)
    _check_frozen(spec, had, out)


def _check_mirror(new: Obj, old: Obj, out: Errors) -> None:
    """Pods that mirror a node's static pods stay what they are."""
    annotations, had = new["metadata"].get("annotations") or {}, old["metadata"].get("annotations") or {}
    if annotations.get(MIRROR) != had.get(MIRROR):
        verb = "remove or update" if MIRROR in had else "add"
        out.append(forbidden(f"metadata.annotations[{MIRROR}]", f"may not {verb} mirror pod annotation"))


def _check_images(new: list[Obj], old: list[Obj], path: str, out: Errors) -> bool:
    """Whether the containers are still the same number."""
    if len(new) != len(old):
        out.append(forbidden(path, _ADD_OR_REMOVE))
        return False
    for n, container in enumerate(new):
        image = container.get("image") or ""
        if not image:
            out.append(required(f"{path}[{n}].image"))
        elif image != image.strip():
            out.append(invalid(f"{path}[{n}].image", image, "must not have leading or trailing whitespace"))
    return True


def _check_deadline(new: int | None, old: int | None, out: Errors) -> bool:
    path = "spec.activeDeadlineSeconds"
    if new is None:
        if old is not None:
            out.append(invalid(path, None, "must not update from a positive integer to nil value"))
        return True
    before = len(out)
    within(new, 0, INT32_MAX, path, out)
    if len(out) == before and old is not None and old < new:
        out.append(invalid(path, new, "must be less than or equal to previous value"))
    return len(out) == before


def _check_gates(spec: Obj, had: Obj, out: Errors) -> None:
    old = {g.get("name") for g in had.get("schedulingGates") or ()}
    for n, gate in enumerate(spec.get("schedulingGates") or ()):
        if gate.get("name") not in old:
            told = f"only deletion is allowed, but found new scheduling gate '{gate.get('name') or ''}'"
            out.append(forbidden(f"spec.schedulingGates[{n}].name", told))


def _check_frozen(spec: Obj, had: Obj, out: Errors) -> None:
    """Everything else is as it was."""
    now = dict(spec)
    for field in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        _restore(now, had, field)
    for field in ("containers", "initContainers"):
        if spec.get(field) != had.get(field):
            now[field] = [{**c, "image": o.get("image")} for c, o in zip(spec[field], had[field], strict=True)]
    if (had.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        now["terminationGracePeriodSeconds"] = had["terminationGracePeriodSeconds"]
    if had.get("schedulingGates"):
        _check_gated(now, had, out)
    if now != had:
        shown, before = internal.pod_spec(now), internal.pod_spec(had)
        if shown != before:
            out.append(forbidden("spec", f"{_NOTHING_ELSE}\n{internal.difference(before, shown)}"))


# --- while gates hold the pod back --------------------------------------------------------------------------------------------------


def _check_gated(now: Obj, had: Obj, out: Errors) -> None:
    new, old = now.get("nodeSelector") or {}, had.get("nodeSelector") or {}
    if new != old:
        if any(new.get(k) != v for k, v in old.items()):
            told = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
            out.append(invalid("spec.nodeSelector", dict(sorted(new.items())), told))
        _restore(now, had, "nodeSelector")
    affinity, old_affinity = now.get("affinity"), had.get("affinity")
    nodes, old_nodes = (affinity or {}).get("nodeAffinity"), (old_affinity or {}).get("nodeAffinity")
    if nodes == old_nodes:
        return
    _check_node_terms(nodes, old_nodes, out)
    others = {k: v for k, v in (affinity or {}).items() if k != "nodeAffinity"}
    if old_nodes is not None:
        now["affinity"] = {**others, "nodeAffinity": old_nodes}
    elif old_affinity is None and not others:
        now.pop("affinity", None)
    else:
        now["affinity"] = others


def _restore(now: Obj, had: Obj, field: str) -> None:
    if field in had:
        now[field] = had[field]
    else:
        now.pop(field, None)


def _check_node_terms(new: Obj | None, old: Obj | None, out: Errors) -> None:
    """What was required stays required: each term may only get more requirements."""
    path = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
    had = ((old or {}).get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    terms = ((new or {}).get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    if not had:
        return
    if len(terms) != len(had):
        shown = [internal.shape("NodeSelectorTerm", t) for t in terms] or None
        out.append(invalid(path, shown, "no additions/deletions to non-empty NodeSelectorTerms list are allowed"))
        return
    for n, (term, before) in enumerate(zip(terms, had, strict=True)):
        if not _narrower(term, before):
            out.append(invalid(f"{path}[{n}]", internal.shape("NodeSelectorTerm", term), _ONLY_ADDITIONS))


def _narrower(term: Obj, before: Obj) -> bool:
    for field in ("matchExpressions", "matchFields"):
        old, new = before.get(field) or [], term.get(field) or []
        if new[: len(old)] != old:
            return False
    return bool(before.get("matchExpressions") or before.get("matchFields")) or term == before

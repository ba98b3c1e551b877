"""Pod templates: what Deployments, Jobs and other owners say about the pods that they make (API reference: PodTemplateSpec)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import selectors
from pilothouse.api.errors import Obj, forbidden, invalid, not_supported, required
from pilothouse.api.meta import validate_annotations, validate_labels
from pilothouse.api.podspec import internal
from pilothouse.api.podspec.annotations import check_pod_annotations
from pilothouse.api.podspec.checks import Errors
from pilothouse.api.podspec.defaults import default_pod_spec
from pilothouse.api.podspec.validation import check_pod_spec

MISMATCH = "`selector` does not match template `labels`"


def default_template(holder: Obj, field: str = "template") -> None:
    """Fill in the template that is in a field of `holder`, in place."""
    template = holder.get(field)
    if template is None:
        template = holder[field] = {}
    if template.get("metadata") is None:
        template["metadata"] = {}
    spec = template.get("spec")
    if spec is None:
        spec = template["spec"] = {}
    default_pod_spec(spec)


def check_template(template: Obj, path: str, out: Errors) -> None:
    """A template for any owner."""
    meta: Obj = template.get("metadata") or {}
    spec: Obj = template.get("spec") or {}
    if meta.get("labels"):
        out += validate_labels(meta["labels"], f"{path}.labels")
    if meta.get("annotations"):
        out += validate_annotations(meta["annotations"], f"{path}.annotations")
        check_pod_annotations(meta["annotations"], spec, f"{path}.annotations", out)
    check_pod_spec(spec, f"{path}.spec", out)
    if spec.get("ephemeralContainers"):
        out.append(forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))


def check_forever(template: Obj, kind: str, path: str, out: Errors) -> None:
    """The pods of this owner run until they are deleted: no other restart policy, no deadline."""
    spec: Obj = template.get("spec") or {}
    if spec.get("restartPolicy") != "Always":
        out.append(not_supported(f"{path}.spec.restartPolicy", spec.get("restartPolicy") or "", ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        told = f"activeDeadlineSeconds in {kind} is not Supported"
        out.append(forbidden(f"{path}.spec.activeDeadlineSeconds", told))


def check_selector(spec: Obj, kind: str, bad: str, out: Errors) -> bool:
    """spec.selector: there, not empty, and good; whether the template can be held against it. `bad`: the last word on a bad one."""
    selector = spec.get("selector")
    if selector is None:
        out.append(required("spec.selector"))
        return True
    problems = selectors.validate_label_selector(selector, "spec.selector")
    out += problems
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        out.append(invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))
    if problems:
        out.append(invalid("spec.selector", shown_selector(selector), bad))
    return not problems


def check_matches(spec: Obj, path: str, out: Errors) -> None:
    """The template's labels are among those that the selector wants; an empty selector wants all, none at all wants none."""
    selector = spec.get("selector")
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return
    labels: Any = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if selectors.understood(selector) and not selectors.label_predicate(selector)(labels or {}):
        out.append(invalid(f"{path}.metadata.labels", shown_labels(labels), MISMATCH))


def shown_labels(labels: dict[str, str] | None) -> Any:
    """Labels as messages repeat them: in order of their keys."""
    return None if labels is None else dict(sorted(labels.items()))


def shown_selector(selector: Obj | None) -> Obj | None:
    """A LabelSelector as messages repeat it."""
    return None if selector is None else internal.shape("LabelSelector", selector)

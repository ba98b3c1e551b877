"""Rules of a Job's specification, which CronJobs carry as a template (API reference: JobSpec)."""

from __future__ import annotations

import re
from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import Obj, invalid, not_supported, required, too_long
from pilothouse.api.kinds.job_policies import (
    check_failure_policy,
    check_success_policy,
    shown_failure_policy,
    shown_success_policy,
)
from pilothouse.api.kinds.workload import IMMUTABLE, check_non_negative
from pilothouse.api.podspec import internal
from pilothouse.api.podspec.checks import Errors, label_selector, name_errors
from pilothouse.api.podspec.template import check_matches, check_template, shown_labels, shown_selector
from pilothouse.api.selectors import label_predicate, understood

UID_LABEL = "batch.kubernetes.io/controller-uid"
NAME_LABEL = "batch.kubernetes.io/job-name"
OLD_UID_LABEL = "controller-uid"
OLD_NAME_LABEL = "job-name"

_MODES = ("NonIndexed", "Indexed")
_REPLACEMENT = ("Failed", "TerminatingOrFailed")
_MOST_INDEXES = 100_000
_MOST_TRACKED = 10_000
_is_path = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+").fullmatch


def check_job_body(spec: Obj, path: str, out: Errors) -> None:
    """Everything but the selector."""
    check_non_negative(spec, path, out, "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
                       "backoffLimitPerIndex", "maxFailedIndexes")  # fmt: skip
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        out.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("managedBy") is not None:
        _check_managed_by(spec["managedBy"], f"{path}.managedBy", out)
    _check_mode(spec, path, out)
    if spec.get("podFailurePolicy") is not None:
        check_failure_policy(spec, f"{path}.podFailurePolicy", out)
    if spec.get("successPolicy") is not None:
        if spec.get("completionMode") == "Indexed":
            check_success_policy(spec, f"{path}.successPolicy", out)
        else:
            shown = shown_success_policy(spec["successPolicy"])
            out.append(invalid(f"{path}.successPolicy", shown, "requires indexed completion mode"))
    _check_replacement(spec, f"{path}.podReplacementPolicy", out)
    template = spec.get("template") or {}
    check_template(template, f"{path}.template", out)
    _check_restart(template.get("spec") or {}, spec.get("podFailurePolicy"), f"{path}.template.spec.restartPolicy", out)


def _check_managed_by(value: str, path: str, out: Errors) -> None:
    host, slash, rest = value.partition("/")
    if not value:
        out.append(required(path))
    elif not slash or not host or not rest:
        out.append(invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    else:
        name_errors(host, names.dns1123_subdomain, path, out)
        if not _is_path(rest):
            out.append(invalid(path, rest, "invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')"))
    if names.size(value) > 63:
        out.append(too_long(path, 63))


def _check_mode(spec: Obj, path: str, out: Errors) -> None:
    mode = spec.get("completionMode")
    if mode is not None and mode not in _MODES:
        out.append(not_supported(f"{path}.completionMode", mode, _MODES))
    if mode == "Indexed":
        _check_indexed(spec, path, out)
    elif mode is None or mode == "NonIndexed":
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(field) is not None:
                out.append(invalid(f"{path}.{field}", spec[field], "requires indexed completion mode"))


def _check_indexed(spec: Obj, path: str, out: Errors) -> None:
    completions, parallelism, failed = spec.get("completions"), spec.get("parallelism"), spec.get("maxFailedIndexes")
    if completions is None:
        out.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism is not None and parallelism > _MOST_INDEXES:
        told = f"must be less than or equal to {_MOST_INDEXES} when completion mode is Indexed"
        out.append(invalid(f"{path}.parallelism", parallelism, told))
    if failed is not None and completions is not None and failed > completions:
        out.append(invalid(f"{path}.maxFailedIndexes", failed, "must be less than or equal to completions"))
    if failed is not None and failed > _MOST_INDEXES:
        out.append(invalid(f"{path}.maxFailedIndexes", failed, f"must be less than or equal to {_MOST_INDEXES}"))
    if completions is None or completions <= _MOST_INDEXES or spec.get("backoffLimitPerIndex") is None:
        return
    if failed is None:
        out.append(required(f"{path}.maxFailedIndexes", f"must be specified when completions is above {_MOST_INDEXES}"))
    told = f"must be less than or equal to {_MOST_TRACKED} when completions are above {_MOST_INDEXES} and used with backoff limit per index"
    for field, value in (("parallelism", parallelism), ("maxFailedIndexes", failed)):
        if value is not None and value > _MOST_TRACKED:
            out.append(invalid(f"{path}.{field}", value, told))


def _check_replacement(spec: Obj, path: str, out: Errors) -> None:
    policy = spec.get("podReplacementPolicy")
    supported = _REPLACEMENT[:1] if spec.get("podFailurePolicy") is not None else _REPLACEMENT
    if policy is not None and policy not in supported:
        out.append(not_supported(path, policy, supported))


def _check_restart(pod: Obj, failure_policy: Obj | None, path: str, out: Errors) -> None:
    """A Job's pods come to an end, so that they are not restarted for ever."""
    policy = pod.get("restartPolicy") or ""
    if policy in ("", "Always"):
        out.append(required(path, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        out.append(not_supported(path, policy, ("OnFailure", "Never")))
    elif failure_policy is not None and policy != "Never":
        out.append(invalid(path, policy, 'only "Never" is supported when podFailurePolicy is specified'))


def check_job_spec(spec: Obj, path: str, out: Errors) -> None:
    """The body, and a selector that the template's labels match."""
    check_job_body(spec, path, out)
    if spec.get("selector") is None:
        out.append(required(f"{path}.selector"))
    else:
        label_selector(spec["selector"], f"{path}.selector", out)
    check_matches(spec, f"{path}.template", out)


def check_job(obj: Obj, out: Errors, prefixed: bool = True) -> None:
    """A whole Job. `prefixed`: a generated selector goes by the labels with a prefix, as it does since 1.27."""
    spec = obj["spec"]
    if not spec.get("manualSelector") and spec.get("selector") is not None:
        _check_generated(obj, prefixed, out)
    check_job_spec(spec, "spec", out)
    completions = spec.get("completions")
    if spec.get("completionMode") == "Indexed" and completions:
        name = obj["metadata"].get("name") or ""
        host = f"{name}-{completions - 1}"
        if names.dns1123_label(host):
            out.append(invalid("metadata.name", name, f"will not able to create pod with invalid DNS label: {host}"))


def _check_generated(obj: Obj, prefixed: bool, out: Errors) -> None:
    metadata, spec = obj["metadata"], obj["spec"]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    uid, name = metadata.get("uid") or "", metadata.get("name") or ""
    expected = {OLD_UID_LABEL: uid, OLD_NAME_LABEL: name}
    if prefixed:
        expected |= {UID_LABEL: uid, NAME_LABEL: name}
    for key, value in expected.items():
        where = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            out.append(required(where, f"must be '{value}'"))
        elif labels[key] != value:
            out.append(invalid(where, shown_labels(labels), f"must be '{value}'"))
    wanted = {k: v for k, v in expected.items() if (k in (UID_LABEL, NAME_LABEL)) is prefixed}
    if understood(spec["selector"]) and not label_predicate(spec["selector"])(wanted):
        out.append(invalid("spec.selector", shown_selector(spec["selector"]), "`selector` not auto-generated"))


# --- updates ----------------------------------------------------------------------------------------------------------------------


def check_job_update(obj: Obj, old: Obj, out: Errors) -> None:
    """What an update of a Job must leave as it is: nearly everything, unless the Job is suspended and has not begun."""
    spec, had = obj["spec"], old["spec"]
    check_job_spec(spec, "spec", out)
    _check_completions(spec, had, out)
    _check_same(spec.get("selector"), had.get("selector"), "spec.selector", out, shown_selector)
    _check_template_update(obj, old, out)
    _check_same(spec.get("completionMode"), had.get("completionMode"), "spec.completionMode", out)
    _check_same(spec.get("podFailurePolicy"), had.get("podFailurePolicy"), "spec.podFailurePolicy", out, shown_failure_policy)
    _check_same(spec.get("backoffLimitPerIndex"), had.get("backoffLimitPerIndex"), "spec.backoffLimitPerIndex", out)
    _check_same(spec.get("managedBy"), had.get("managedBy"), "spec.managedBy", out)
    _check_same(spec.get("successPolicy"), had.get("successPolicy"), "spec.successPolicy", out, shown_success_policy)


def _check_same(new: Any, old: Any, path: str, out: Errors, show: Any = None) -> None:
    if new != old:
        out.append(invalid(path, show(new) if show else new, IMMUTABLE))


def _check_completions(spec: Obj, had: Obj, out: Errors) -> None:
    new, old = spec.get("completions"), had.get("completions")
    if new == old:
        return
    if spec.get("completionMode") != "Indexed":
        out.append(invalid("spec.completions", new, IMMUTABLE))
    elif new != spec.get("parallelism"):
        out.append(invalid("spec.completions", new, "can only be modified in tandem with spec.parallelism"))


def _check_template_update(obj: Obj, old: Obj, out: Errors) -> None:
    template, had = obj["spec"].get("template") or {}, old["spec"].get("template") or {}
    if not _waits(old):
        if template != had:
            out.append(invalid("spec.template", _shown_template(template), IMMUTABLE))
        return
    pod, before = template.get("spec") or {}, had.get("spec") or {}
    if _settled(pod) != _settled(before):
        out.append(invalid("spec.template.spec", internal.pod_spec(pod), IMMUTABLE))


def _waits(old: Obj) -> bool:
    """Suspended, with no pods: where they may run and what they may use can still change (KEP-2926)."""
    status = old.get("status") or {}
    stopped = any(c.get("type") == "Suspended" and c.get("status") == "True" for c in status.get("conditions") or ())
    return bool(old["spec"].get("suspend")) and (status.get("startTime") is None or stopped)


def _settled(pod: Obj) -> Obj:
    """The pod without what may still change."""
    out = {k: v for k, v in pod.items() if k not in ("nodeSelector", "tolerations", "schedulingGates", "affinity")}
    affinity = {k: v for k, v in (pod.get("affinity") or {}).items() if k != "nodeAffinity"}
    if affinity:
        out["affinity"] = affinity
    for field in ("containers", "initContainers"):
        if out.get(field):
            out[field] = [{k: v for k, v in c.items() if k != "resources"} for c in out[field]]
    return out


def _shown_template(template: Obj) -> Obj:
    """A template as messages repeat it: its metadata is not a structure of its own."""
    meta = template.get("metadata") or {}
    out = {k: meta[k] for k in ("name", "generateName", "namespace") if meta.get(k)}
    for field in ("labels", "annotations"):
        if meta.get(field):
            out[field] = dict(sorted(meta[field].items()))
    return {**out, "Spec": internal.pod_spec(template.get("spec") or {})}

"""Requests, limits and claims of containers and pods (API reference: ResourceRequirements)."""

from __future__ import annotations

import functools

from pilothouse.api import names, quantity
from pilothouse.api.errors import FieldError, Obj, duplicate, forbidden, invalid, required
from pilothouse.api.podspec.checks import NON_NEGATIVE, Errors, name_errors

COMPUTE = ("cpu", "memory")
_CONTAINER = frozenset((*COMPUTE, "ephemeral-storage"))
_COUNTED = frozenset(("pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
                      "services.nodeports", "services.loadbalancers"))  # fmt: skip
_STANDARD = _CONTAINER | _COUNTED | {
    "storage", "requests.storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu", "limits.memory",
    "limits.ephemeral-storage",
}  # fmt: skip
_POD_LEVEL = frozenset(COMPUTE)


def is_huge_page(name: str) -> bool:
    return name.startswith("hugepages-")


def is_native(name: str) -> bool:
    """Kubernetes' own resources; all others are extended."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    return not is_native(name) and not name.startswith("requests.") and not names.qualified_name(f"requests.{name}")


def overcommittable(name: str) -> bool:
    """Whether more may be promised than there is: not so with huge pages and extended resources."""
    return is_native(name) and not is_huge_page(name)


def check_requirements(resources: Obj, path: str, claims: list[str] | None, out: Errors) -> None:
    """A container's resources. `claims`: the names in the pod's resourceClaims; None where they cannot be used."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    if limits or requests:
        _check_lists(limits, requests, path, out, pod_level=False)
        if not (limits.keys() | requests.keys()) <= _CONTAINER:
            every = (*limits, *requests)
            if any(is_huge_page(name) for name in every) and not any(name in COMPUTE for name in every):
                out.append(forbidden(path, "HugePages require cpu or memory"))
    if resources.get("claims"):
        _check_claims(resources["claims"], claims or [], f"{path}.claims", out)


def _check_lists(limits: Obj, requests: Obj, path: str, out: Errors, *, pod_level: bool) -> None:
    plain = _POD_LEVEL if pod_level else _CONTAINER
    for name in sorted(limits):
        if name not in plain or limits[name][:1] == "-":
            _check_amount(name, limits[name], f"{path}.limits[{name}]", out, pod_level=pod_level)
    for name in sorted(requests):
        amount, limit = requests[name], limits.get(name)
        if name not in plain or amount[:1] == "-":
            _check_amount(name, amount, f"{path}.requests[{name}]", out, pod_level=pod_level)
        if limit is None:
            if not overcommittable(name):
                out.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        elif amount != limit:
            _check_order(name, amount, limit, path, out)


def _check_order(name: str, amount: str, limit: str, path: str, out: Errors) -> None:
    order = quantity.compare(amount, limit)
    if order != 0 and not overcommittable(name):
        out.append(invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limit}"))
    elif order > 0:
        out.append(invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {limit}"))


def _check_amount(name: str, amount: str, path: str, out: Errors, *, pod_level: bool) -> None:
    if not pod_level:
        out.extend(invalid(path, name, message) for message in _name_problems(name))
    elif name not in _POD_LEVEL and not is_huge_page(name):
        out.append(FieldError("FieldValueNotSupported", path, name, supported=("cpu", "hugepages-", "memory")))
    if amount[:1] == "-" and quantity.sign(amount) < 0:
        out.append(invalid(path, amount, NON_NEGATIVE))
    if name in _CONTAINER:
        return
    if (name in _COUNTED or is_extended(name)) and quantity.parse(amount).nano % quantity.NANO:
        out.append(invalid(path, amount, "must be an integer"))
    if is_huge_page(name) and not _whole_pages(name, amount):
        out.append(invalid(path, amount, f"{amount} is not positive integer multiple of {name}"))


def _whole_pages(name: str, amount: str) -> bool:
    try:
        size = quantity.parse(name[len("hugepages-") :]).nano
    except ValueError:
        return True
    return size > 0 and quantity.parse(amount).nano % size == 0


@functools.lru_cache(maxsize=1024)
def _name_problems(name: str) -> tuple[str, ...]:
    """What is wrong with a resource's name in a container."""
    if name in _CONTAINER:
        return ()
    out = list(names.qualified_name(name))
    if not out and "/" not in name and name not in _STANDARD and not name.startswith(("hugepages-", "requests.hugepages-")):
        out.append("must be a standard resource type or fully qualified")
    if "/" not in name:
        if not is_huge_page(name):
            out.append("must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        out.append("doesn't follow extended resource name standard")
    return tuple(out)


def check_pod_requirements(spec: Obj, path: str, out: Errors) -> None:
    """Resources of the pod as a whole: cover what the containers ask for (KEP-2837)."""
    resources: Obj = spec["resources"]
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    where = f"{path}.resources"
    if resources.get("claims"):
        out.append(forbidden(f"{where}.claims", "claims may not be set for Resources at pod-level"))
    _check_lists(limits, requests, where, out, pod_level=True)
    _check_sums(spec, requests, f"{where}.requests", out)
    _check_container_limits(spec, limits, path, out)


def aggregate(spec: Obj, kind: str) -> dict[str, str]:
    """What a pod's containers need together: all that run side by side, or the greediest moment of initialization."""
    total: dict[str, str] = {}
    for c in spec.get("containers") or ():
        _add(total, (c.get("resources") or {}).get(kind))
    sidecars: dict[str, str] = {}
    peak: dict[str, str] = {}
    for c in spec.get("initContainers") or ():
        own = dict((c.get("resources") or {}).get(kind) or {})
        if c.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        for name, amount in own.items():
            if name not in peak or quantity.compare(amount, peak[name]) > 0:
                peak[name] = amount
    for name, amount in peak.items():
        if name not in total or quantity.compare(amount, total[name]) > 0:
            total[name] = amount
    return total


def _add(total: dict[str, str], more: Obj | None) -> None:
    for name, amount in (more or {}).items():
        total[name] = quantity.add(total[name], amount) if name in total else amount


def _check_sums(spec: Obj, requests: Obj, path: str, out: Errors) -> None:
    total = aggregate(spec, "requests")
    for name in sorted(total):
        asked = requests.get(name)
        if asked is not None and quantity.compare(total[name], asked) > 0:
            out.append(invalid(path, asked, f"must be greater than or equal to aggregate container requests of {total[name]}"))


def _check_container_limits(spec: Obj, limits: Obj, path: str, out: Errors) -> None:
    for group in ("containers", "initContainers"):
        for n, c in enumerate(spec.get(group) or ()):
            own = (c.get("resources") or {}).get("limits") or {}
            for name in sorted(own):
                most = limits.get(name)
                if most is not None and quantity.compare(own[name], most) > 0:
                    told = f"must be less than or equal to pod limits of {most}"
                    out.append(invalid(f"{path}.{group}[{n}].resources.limits", own[name], told))


def _check_claims(claims: list[Obj], known: list[str], path: str, out: Errors) -> None:
    whole: set[str] = set()
    parts: set[tuple[str, str]] = set()
    for n, claim in enumerate(claims):
        name, request, where = claim.get("name") or "", claim.get("request") or "", f"{path}[{n}]"
        if not name:
            out.append(required(where))
            continue
        if name in whole or (not request and any(name == taken for taken, _ in parts)):
            out.append(duplicate(where, name))
        elif request and (name, request) in parts:
            out.append(duplicate(where, f"{name}/{request}"))
        if request:
            parts.add((name, request))
        else:
            whole.add(name)
        if name not in known:
            which = f": {', '.join(known)}" if known else " which is empty"
            told = f"must be one of the names in pod.spec.resourceClaims{which}"
            out.append(FieldError("FieldValueNotFound", where, name, told))


def check_pod_claims(claims: list[Obj], path: str, out: Errors) -> list[str]:
    """The pod's own list of claims; gives the names that containers may use."""
    found: list[str] = []
    for n, claim in enumerate(claims):
        where, name = f"{path}[{n}]", claim.get("name") or ""
        if not name:
            out.append(required(f"{where}.name"))
        elif name in found:
            out.append(duplicate(f"{where}.name", name))
        else:
            name_errors(name, names.dns1123_label, f"{where}.name", out)
            found.append(name)
        _check_claim_source(claim, where, out)
    return sorted(found)


def _check_claim_source(claim: Obj, path: str, out: Errors) -> None:
    given = [f for f in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(f) is not None]
    if len(given) != 1:
        shown = {"Name": claim.get("name") or "", "ResourceClaimName": claim.get("resourceClaimName"),
                 "ResourceClaimTemplateName": claim.get("resourceClaimTemplateName")}  # fmt: skip
        told = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
        out.append(
            invalid(path, shown, told if given else "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
        )
    for field in given:
        name_errors(claim[field], names.dns1123_subdomain, f"{path}.{field}", out)

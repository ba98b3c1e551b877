"""A service's IP families: what the user may say about clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy, and the defaults.

Reference: "IPv4/IPv6 dual-stack" in the Kubernetes documentation. A headless service without selector may claim families that the
cluster does not have, since its endpoints are the user's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api.checks import check_ip
from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, not_supported
from pilothouse.apiserver.allocators.addresses import family_of

SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
_FAMILIES = ("IPv4", "IPv6")
_POLICIES = (PREFER, REQUIRE, SINGLE)
_NO_DUAL = "this cluster is not configured for dual-stack services"


def normalize(new: Obj, old: Obj | None) -> None:
    """Keep clusterIP and clusterIPs in step where the user touched only one of them."""
    ip, ips = new.get("clusterIP", ""), new.get("clusterIPs") or []
    if ip and not ips:
        new["clusterIPs"] = [ip]
    elif old is not None:
        _follow(new, old, ip, ips)


def _follow(new: Obj, old: Obj, ip: str, ips: list[str]) -> None:
    if old.get("clusterIP", "") == ip or (old.get("clusterIPs") or []) != ips:
        return
    if ip:
        new["clusterIPs"] = [ip]
    else:
        new.pop("clusterIPs", None)


def check(spec: Obj) -> list[FieldError]:
    """What is wrong with these fields on their own."""
    errors = [*_check_sync(spec), *_check_families(spec)]
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _POLICIES:
        errors.append(not_supported("spec.ipFamilyPolicy", policy, _POLICIES))
    ips = spec.get("clusterIPs") or []
    bad = _check_addresses(ips)
    errors += bad
    if len(ips) > 2:
        errors.append(invalid("spec.clusterIPs", ips, "may only hold up to 2 values"))
    if bad:
        return errors
    if len(ips) > 1 and len({family_of(ip) for ip in ips}) != len(ips):
        errors.append(invalid("spec.clusterIPs", ips, "may specify no more than one IP for each IP family"))
    if not errors and ips[:1] != ["None"]:
        errors += _check_matching(ips, spec.get("ipFamilies") or [])
    return errors


def _check_sync(spec: Obj) -> list[FieldError]:
    ip, ips = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if ip and ips and ips[0] != ip:
        return [invalid("spec.clusterIPs", ips, "first value must match `clusterIP`")]
    if ips and not ip:
        return [invalid("spec.clusterIPs", ips, "must be empty when `clusterIP` is not specified")]
    return []


def _check_families(spec: Obj) -> list[FieldError]:
    errors: list[FieldError] = []
    families = spec.get("ipFamilies") or []
    for index, family in enumerate(families):
        path = f"spec.ipFamilies[{index}]"
        if family not in _FAMILIES:
            errors.append(not_supported(path, family, _FAMILIES))
        if family in families[:index]:
            errors.append(duplicate(path, family))
    return errors


def _check_addresses(ips: Sequence[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, ip in enumerate(ips):
        if index == 0 and ip == "None":
            if len(ips) > 1:
                errors.append(invalid("spec.clusterIPs", list(ips), "'None' must be the first and only value"))
        else:
            errors += check_ip(f"spec.clusterIPs[{index}]", ip)
    return errors


def _check_matching(ips: Sequence[str], families: Sequence[str]) -> list[FieldError]:
    errors = []
    for index, (ip, family) in enumerate(zip(ips, families, strict=False)):
        if family_of(ip) != family:
            article = "an IPv4" if family == "IPv4" else "an IPv6"
            why = f"expected {article} value as indicated by `ipFamilies[{index}]`"
            errors.append(invalid(f"spec.clusterIPs[{index}]", ip, why))
    return errors


# --- defaults ---------------------------------------------------------------------------------------------------------------------------


def complete(spec: Obj, old: Obj | None, configured: Sequence[str]) -> list[FieldError]:
    """Fill in ipFamilies and ipFamilyPolicy. `configured` are the cluster's families, the default one first."""
    if old is not None and _unchanged_preference(spec, old):
        return []
    if old is not None:
        if errors := _reduced(spec, old):
            return errors
        for key in ("ipFamilyPolicy", "ipFamilies"):
            if not spec.get(key) and old.get(key):
                spec[key] = old[key]
    if errors := check(spec):
        return errors
    if spec.get("clusterIP") == "None" and not spec.get("selector"):
        _complete_free(spec, configured)
        return []
    errors = _infer(spec, configured)
    errors += _check_policy(spec, configured)
    if not errors:
        _append_families(spec, configured)
    return errors


def _unchanged_preference(spec: Obj, old: Obj) -> bool:
    """A service that prefers dual-stack neither gains nor loses a family because the cluster did."""
    keys = ("ipFamilyPolicy", "ipFamilies", "clusterIPs")
    same = all(spec.get(k) == old.get(k) for k in keys) and spec.get("type") == old.get("type")
    return same and spec.get("ipFamilyPolicy") == PREFER


def _reduced(spec: Obj, old: Obj) -> list[FieldError]:
    if spec.get("ipFamilyPolicy") == SINGLE:
        return []
    errors = []
    policy = spec.get("ipFamilyPolicy")
    for key, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        if len(old.get(key) or ()) == 2 and len(spec.get(key) or ()) == 1 and spec[key][0] == old[key][0]:
            errors.append(invalid("spec.ipFamilyPolicy", policy, f"must be 'SingleStack' to release the secondary {what}"))
    return errors


def _complete_free(spec: Obj, configured: Sequence[str]) -> None:
    """Headless and without selector: two families, unless the user wants one."""
    families = spec.get("ipFamilies") or [configured[0]]
    if spec.get("ipFamilyPolicy") is None:
        spec["ipFamilyPolicy"] = REQUIRE
    if spec["ipFamilyPolicy"] != SINGLE and len(families) == 1:
        families = [families[0], _other(families[0])]
    spec["ipFamilies"] = families


def _other(family: str) -> str:
    return "IPv4" if family == "IPv6" else "IPv6"


def _infer(spec: Obj, configured: Sequence[str]) -> list[FieldError]:
    """Families from addresses; the policy where the user says none."""
    errors: list[FieldError] = []
    families = list(spec.get("ipFamilies") or ())
    ips = spec.get("clusterIPs") or []
    for index, ip in enumerate(ips):
        if index < len(families) or ip == "None":
            continue
        family = family_of(ip)
        if family not in configured:
            errors.append(invalid(f"spec.clusterIPs[{index}]", list(ips), f"{family} is not configured on this cluster"))
        else:
            families.append(family)
    if families:
        spec["ipFamilies"] = families
    if spec.get("ipFamilyPolicy") is None:
        spec["ipFamilyPolicy"] = SINGLE
    return errors


def _check_policy(spec: Obj, configured: Sequence[str]) -> list[FieldError]:
    families, policy = spec.get("ipFamilies") or [], spec["ipFamilyPolicy"]
    if policy == SINGLE:
        why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
        if len(spec.get("clusterIPs") or ()) > 1:
            return [invalid("spec.ipFamilyPolicy", policy, why.format("cluster IPs"))]
        if len(families) > 1:
            return [invalid("spec.ipFamilyPolicy", policy, why.format("IP families"))]
    lacking = [invalid("spec.ipFamilyPolicy", policy, _NO_DUAL)] if policy == REQUIRE and len(configured) < 2 else []
    return lacking + [
        invalid(f"spec.ipFamilies[{i}]", family, "not configured on this cluster")
        for i, family in enumerate(families)
        if family not in configured
    ]


def _append_families(spec: Obj, configured: Sequence[str]) -> None:
    families = list(spec.get("ipFamilies") or [configured[0]])
    if spec["ipFamilyPolicy"] != SINGLE and len(families) == 1 and len(configured) == 2:
        families.append(_other(families[0]))
    spec["ipFamilies"] = families

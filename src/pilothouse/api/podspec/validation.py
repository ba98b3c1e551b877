"""The whole of a PodSpec, part after part, in the order in which a Kubernetes API server reports what is wrong."""

from __future__ import annotations

from pilothouse.api import names
from pilothouse.api.errors import Obj, invalid, not_supported, required
from pilothouse.api.podspec.affinity import check_affinity, check_spreading
from pilothouse.api.podspec.checks import INT32_MAX, Errors, duplicates, labels, name_errors, one_of, within
from pilothouse.api.podspec.containers import (
    Scope,
    check_containers,
    check_ephemeral_containers,
    check_host_network_ports,
    check_init_containers,
)
from pilothouse.api.podspec.network import check_dns, check_host_aliases, check_hostname_override
from pilothouse.api.podspec.resources import check_pod_claims, check_pod_requirements
from pilothouse.api.podspec.security import check_host_process, check_host_users, check_os, check_pod_security
from pilothouse.api.podspec.tolerations import check_tolerations
from pilothouse.api.podspec.volumes import check_volumes

RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")


def check_pod_spec(spec: Obj, path: str, out: Errors, pod_meta: Obj | None = None) -> None:
    """Add the errors of the PodSpec at `path`. `pod_meta`: the metadata of the pod itself; None for templates."""
    volumes = (
        check_volumes(spec["volumes"], (pod_meta or {}).get("name") or "", f"{path}.volumes", out) if spec.get("volumes") else {}
    )
    claims = check_pod_claims(spec["resourceClaims"], f"{path}.resourceClaims", out) if spec.get("resourceClaims") else []
    restart = spec.get("restartPolicy") or ""
    os = (spec.get("os") or {}).get("name") or ""
    scope = Scope(volumes, claims, restart, spec.get("terminationGracePeriodSeconds"), spec.get("hostUsers") is not False, os)
    check_containers(spec.get("containers") or [], scope, f"{path}.containers", out)
    if spec.get("initContainers"):
        check_init_containers(spec["initContainers"], scope, f"{path}.initContainers", out)
    if spec.get("ephemeralContainers"):
        check_ephemeral_containers(spec["ephemeralContainers"], scope, f"{path}.ephemeralContainers", out)
    if spec.get("resources"):
        check_pod_requirements(spec, path, out)
    if spec.get("hostNetwork"):
        check_host_network_ports(spec, path, out)
    one_of(restart, RESTART_POLICIES, f"{path}.restartPolicy", out)
    one_of(spec.get("dnsPolicy"), _DNS_POLICIES, f"{path}.dnsPolicy", out)
    if spec.get("nodeSelector"):
        labels(spec["nodeSelector"], f"{path}.nodeSelector", out)
    if spec.get("securityContext") or spec.get("shareProcessNamespace"):
        check_pod_security(spec, path, out)
    _check_scheduling(spec, None if pod_meta is None else pod_meta.get("labels") or {}, path, out)
    check_host_process(spec, path, out)
    check_host_users(spec, path, out)
    _check_names(spec, path, out)
    _check_rest(spec, path, out)


def _check_scheduling(spec: Obj, pod_labels: dict[str, str] | None, path: str, out: Errors) -> None:
    if spec.get("affinity"):
        check_affinity(spec["affinity"], pod_labels, f"{path}.affinity", out)
    if spec.get("dnsConfig") or spec.get("dnsPolicy") == "None":
        check_dns(spec, path, out)
    for n, gate in enumerate(spec.get("readinessGates") or ()):
        name_errors(gate.get("conditionType") or "", names.qualified_name, f"{path}.readinessGates[{n}].conditionType", out)
    gates = spec.get("schedulingGates")
    if gates:
        for n, gate in enumerate(gates):
            name_errors(gate.get("name") or "", names.qualified_name, f"{path}.schedulingGates[{n}]", out)
        for n, name in duplicates(g.get("name") or "" for g in gates):
            out.append(invalid(f"{path}.schedulingGates[{n}]", name, "must be unique"))
    if spec.get("topologySpreadConstraints"):
        check_spreading(spec["topologySpreadConstraints"], pod_labels, f"{path}.topologySpreadConstraints", out)


def _check_names(spec: Obj, path: str, out: Errors) -> None:
    for field in ("serviceAccountName", "nodeName"):
        if spec.get(field):
            name_errors(spec[field], names.dns1123_subdomain, f"{path}.{field}", out)
    if spec.get("activeDeadlineSeconds") is not None:
        within(spec["activeDeadlineSeconds"], 1, INT32_MAX, f"{path}.activeDeadlineSeconds", out)
    for field in ("hostname", "subdomain"):
        if spec.get(field):
            name_errors(spec[field], names.dns1123_label, f"{path}.{field}", out)


def _check_rest(spec: Obj, path: str, out: Errors) -> None:
    if spec.get("tolerations"):
        check_tolerations(spec["tolerations"], f"{path}.tolerations", out)
    if spec.get("hostAliases"):
        check_host_aliases(spec["hostAliases"], f"{path}.hostAliases", out)
    if spec.get("priorityClassName"):
        name_errors(spec["priorityClassName"], names.dns1123_subdomain, f"{path}.priorityClassName", out)
    if spec.get("runtimeClassName") is not None:
        name_errors(spec["runtimeClassName"], names.dns1123_subdomain, f"{path}.runtimeClassName", out)
    policy = spec.get("preemptionPolicy")
    if policy is not None and policy not in _PREEMPTION_POLICIES:
        out.append(
            not_supported(f"{path}.preemptionPolicy", policy, _PREEMPTION_POLICIES)
            if policy
            else required(f"{path}.preemptionPolicy")
        )
    if spec.get("overhead"):
        _check_overhead(spec["overhead"], f"{path}.overhead", out)
    if spec.get("hostnameOverride") is not None:
        check_hostname_override(spec, path, out)
    if spec.get("os") is not None:
        check_os(spec, path, out)


def _check_overhead(overhead: Obj, path: str, out: Errors) -> None:
    from pilothouse.api.podspec.resources import check_requirements

    found: Errors = []
    check_requirements({"limits": overhead}, path, None, found)
    out.extend(type(e)(e.type, e.field.replace(f"{path}.limits", path), e.value, e.detail, e.supported) for e in found)

"""Containers: what all have in common, and what sets main, init and ephemeral ones apart (API reference: Container, EphemeralContainer)."""

from __future__ import annotations

from dataclasses import dataclass, field

from pilothouse.api.errors import FieldError, Obj, duplicate, forbidden, invalid, not_found, not_supported, required, too_many
from pilothouse.api.podspec.checks import Errors, label_problems, name_errors, one_of, port_name_problems, supported, within
from pilothouse.api.podspec.env import check_env, check_env_from
from pilothouse.api.podspec.probes import PROBES, check_lifecycle, check_probes
from pilothouse.api.podspec.resources import check_requirements
from pilothouse.api.podspec.security import check_container_security
from pilothouse.api.podspec.volumes import PULL_POLICIES, Volumes, check_devices, check_mounts

_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_RESIZE_POLICIES = ("NotRequired", "RestartContainer")
_ACTIONS = ("Restart", "RestartAllContainers")
_ONLY_SIDECARS = "may not be set for init containers without restartPolicy=Always"
_NOT_EPHEMERAL = "cannot be set for an Ephemeral Container"
_EPHEMERAL_LACKS = ("ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "livenessProbe", "readinessProbe",
                    "startupProbe", "lifecycle")  # fmt: skip


@dataclass(slots=True)
class Scope:
    """What the rest of the pod says that a container's rules depend on."""

    volumes: Volumes
    claims: list[str]
    restart_policy: str
    grace: int | None
    host_users: bool
    os: str
    names: set[str] = field(default_factory=set)


def check_containers(containers: list[Obj], scope: Scope, path: str, out: Errors) -> None:
    """spec.containers: at least one, and no port of the node taken twice."""
    if not containers:
        out.append(required(path))
        return
    for n, container in enumerate(containers):
        where = f"{path}[{n}]"
        _check_lasting(container, scope, where, out)
        if container.get("lifecycle") is not None:
            check_lifecycle(container["lifecycle"], scope.grace, scope.os, f"{where}.lifecycle", out)
        check_probes(container, scope.grace, where, out)
    _check_host_ports(containers, path, out)


def check_init_containers(containers: list[Obj], scope: Scope, path: str, out: Errors) -> None:
    """spec.initContainers: only those that keep running (sidecars) can be probed."""
    for n, container in enumerate(containers):
        where = f"{path}[{n}]"
        _check_lasting(container, scope, where, out)
        _check_host_ports([container], path, out)
        if container.get("restartPolicy") == "Always":
            if container.get("lifecycle") is not None:
                check_lifecycle(container["lifecycle"], scope.grace, scope.os, f"{where}.lifecycle", out)
            check_probes(container, scope.grace, where, out)
        else:
            out.extend(forbidden(f"{where}.{f}", _ONLY_SIDECARS) for f in ("lifecycle", *PROBES) if container.get(f) is not None)


def check_ephemeral_containers(containers: list[Obj], scope: Scope, path: str, out: Errors) -> None:
    """spec.ephemeralContainers: guests for debugging, without guarantees."""
    others = set(scope.names)
    for n, container in enumerate(containers):
        where = f"{path}[{n}]"
        _check_common(container, scope, where, out)
        check_image_padding(container, where, out)
        _check_unique(container, scope, where, out)
        target = container.get("targetContainerName")
        if target and target not in others:
            out.append(not_found(f"{where}.targetContainerName", target))
        out.extend(forbidden(f"{where}.{f}", _NOT_EPHEMERAL) for f in _EPHEMERAL_LACKS if container.get(f))
        for m, mount in enumerate(container.get("volumeMounts") or ()):
            out.extend(
                forbidden(f"{where}.volumeMounts[{m}].{f}", _NOT_EPHEMERAL) for f in ("subPath", "subPathExpr") if mount.get(f)
            )


def check_image_padding(container: Obj, path: str, out: Errors) -> None:
    """Images of pods (not of templates) have no blanks around them."""
    image = container.get("image") or ""
    if image != image.strip():
        out.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))


def _check_lasting(container: Obj, scope: Scope, path: str, out: Errors) -> None:
    """What holds for every container that is there from the start."""
    _check_common(container, scope, path, out)
    if container.get("restartPolicy") is not None or container.get("restartPolicyRules"):
        _check_restart(container, path, out)
    _check_unique(container, scope, path, out)


def _check_unique(container: Obj, scope: Scope, path: str, out: Errors) -> None:
    name = container.get("name") or ""
    if name in scope.names:
        out.append(duplicate(f"{path}.name", name))
    elif name:
        scope.names.add(name)


def _check_common(container: Obj, scope: Scope, path: str, out: Errors) -> None:
    name = container.get("name")
    if not name:
        out.append(required(f"{path}.name"))
    else:
        name_errors(name, label_problems, f"{path}.name", out)
    if not container.get("image"):
        out.append(required(f"{path}.image"))
    one_of(container.get("terminationMessagePolicy"), _MESSAGE_POLICIES, f"{path}.terminationMessagePolicy", out)
    if container.get("ports"):
        _check_ports(container["ports"], f"{path}.ports", out)
    if container.get("env"):
        check_env(container["env"], scope.volumes, f"{path}.env", out)
    if container.get("envFrom"):
        check_env_from(container["envFrom"], f"{path}.envFrom", out)
    if container.get("volumeMounts"):
        check_mounts(container, scope.volumes, f"{path}.volumeMounts", out)
    if container.get("volumeDevices"):
        check_devices(container, scope.volumes, f"{path}.volumeDevices", out)
    one_of(container.get("imagePullPolicy"), PULL_POLICIES, f"{path}.imagePullPolicy", out)
    if container.get("resources"):
        check_requirements(container["resources"], f"{path}.resources", scope.claims, out)
    if container.get("resizePolicy"):
        _check_resize_policy(container["resizePolicy"], scope.restart_policy, f"{path}.resizePolicy", out)
    if container.get("securityContext"):
        check_container_security(container["securityContext"], scope.host_users, f"{path}.securityContext", out)


def _check_ports(ports: list[Obj], path: str, out: Errors) -> None:
    seen: set[str] = set()
    for n, port in enumerate(ports):
        where, name = f"{path}[{n}]", port.get("name")
        if name:
            problems = port_name_problems(name)
            if problems:
                out.extend(invalid(f"{where}.name", name, message) for message in problems)
            elif name in seen:
                out.append(duplicate(f"{where}.name", name))
            seen.add(name)
        number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
        if not number:
            out.append(required(f"{where}.containerPort"))
        else:
            within(number, 1, 65535, f"{where}.containerPort", out)
        if host:
            within(host, 1, 65535, f"{where}.hostPort", out)
        one_of(port.get("protocol"), _PROTOCOLS, f"{where}.protocol", out)


def _check_host_ports(containers: list[Obj], path: str, out: Errors) -> None:
    taken: set[str] = set()
    for c, container in enumerate(containers):
        for n, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            shown = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if shown in taken:
                out.append(duplicate(f"{path}[{c}].ports[{n}].hostPort", shown))
            taken.add(shown)


def check_host_network_ports(spec: Obj, path: str, out: Errors) -> None:
    """On the node's network, a container's port is the node's. A template need not say so."""
    for group in ("containers", "initContainers"):
        for c, container in enumerate(spec.get(group) or ()):
            for n, port in enumerate(container.get("ports") or ()):
                host = port.get("hostPort") or 0
                if host and host != (port.get("containerPort") or 0):
                    where = f"{path}.{group}[{c}].ports[{n}].hostPort"
                    out.append(invalid(where, host, "must match `containerPort` when `hostNetwork` is true"))


def _check_resize_policy(policies: list[Obj], restart_policy: str, path: str, out: Errors) -> None:
    seen: set[str] = set()
    for n, policy in enumerate(policies):
        resource, restart = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if not resource:
            out.append(required(path))
        elif resource not in ("cpu", "memory"):
            out.append(not_supported(path, resource, ("cpu", "memory")))
        if resource in seen:
            out.append(duplicate(f"{path}[{n}]", resource))
        seen.add(resource)
        if not restart:
            out.append(required(path))
        elif restart not in _RESIZE_POLICIES:
            out.append(not_supported(path, restart, _RESIZE_POLICIES))
        if restart_policy == "Never" and restart != "NotRequired":
            out.append(invalid(path, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))


def _check_restart(container: Obj, path: str, out: Errors) -> None:
    """A container's own restart policy, and the exit codes for which it is another (KEP-5307)."""
    rules = container.get("restartPolicyRules") or []
    if container.get("restartPolicy") is None:
        out.append(required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used"))
    else:
        supported(container["restartPolicy"], _RESTART_POLICIES, f"{path}.restartPolicy", out)
    if len(rules) > 20:
        out.append(too_many(f"{path}.restartPolicyRules", len(rules), 20))
    for n, rule in enumerate(rules):
        where = f"{path}.restartPolicyRules[{n}]"
        supported(rule.get("action"), _ACTIONS, f"{where}.action", out)
        codes = rule.get("exitCodes")
        if codes is None:
            out.append(required(f"{where}.exitCodes", "must be specified"))
            continue
        supported(codes.get("operator"), ("In", "NotIn"), f"{where}.exitCodes.operator", out)
        if len(codes.get("values") or ()) > 255:
            out.append(
                FieldError(
                    "FieldValueTooMany",
                    f"{where}.exitCodes.values",
                    detail=f"{len(codes['values'])}: must have at most 255 items",
                )
            )

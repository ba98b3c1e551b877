"""The Pod Security Standards as checks of a pod: what each level forbids, since which version, and in which words.

See "Pod Security Standards" in the Kubernetes documentation. A level is privileged (nothing is forbidden), baseline or restricted; a
version is a minor of Kubernetes, so that a namespace can stay with the rules that it was tested with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pilothouse.api.errors import Obj

#: The newest version whose rules are known: what "latest" means.
LATEST = 36


@dataclass(frozen=True, slots=True)
class Violation:
    """What is forbidden, and who does it: shown as `reason (detail)`."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


def evaluate(level: str, version: int, metadata: Obj, spec: Obj) -> list[Violation]:
    """What a pod does that its level forbids, in the order in which Kubernetes tells it."""
    if level == "privileged":
        return []
    checks = list(_baseline(version))
    if level == "restricted":
        checks = [c for c in checks if c not in _OVERRIDDEN] + list(_restricted(version))
    found = (check(metadata, spec) for check in checks)
    return [v for v in found if v is not None]


# --- words ------------------------------------------------------------------------------------------------------------------------------


def _quoted(values: Iterable[str]) -> str:
    return ", ".join(f'"{v}"' for v in values)


def _named(what: str, names: Sequence[str]) -> str:
    """`container "a"` or `containers "a", "b"`."""
    return f"{what if len(names) == 1 else what + 's'} {_quoted(names)}"


def _containers(spec: Obj) -> Iterator[Obj]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or ()


def _context(obj: Obj) -> Obj:
    found: Obj = obj.get("securityContext") or {}
    return found


def _setters(pod: bool, containers: Sequence[str]) -> str:
    """Who sets something bad: `pod and container "c"`."""
    parts = ["pod"] if pod else []
    if containers:
        parts.append(_named("container", containers))
    return " and ".join(parts)


# --- baseline -----------------------------------------------------------------------------------------------------------------------------

_APPARMOR_PREFIX = "container.apparmor.security.beta.kubernetes.io/"


def _app_armor(metadata: Obj, spec: Obj) -> Violation | None:
    values: set[str] = set()
    pod = _bad_profile(_context(spec), "appArmorProfile", values)
    containers = [c["name"] for c in _containers(spec) if _bad_profile(_context(c), "appArmorProfile", values)]
    annotations = [
        f'{key}="{value}"'
        for key, value in sorted((metadata.get("annotations") or {}).items())
        if key.startswith(_APPARMOR_PREFIX) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    ]
    setters = [s for s in (_setters(pod, containers),) if s]
    if annotations:
        setters.append("annotation" if len(annotations) == 1 else "annotations")
    values.update(annotations)
    if not setters:
        return None
    reason = "forbidden AppArmor profile" + ("s" if len(values) > 1 else "")
    return Violation(reason, f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(sorted(values))}")


def _bad_profile(context: Obj, key: str, values: set[str]) -> bool:
    """Whether a profile's type is one of the forbidden ones; it is noted in `values`."""
    profile = context.get(key)
    if profile is None or profile.get("type") in ("RuntimeDefault", "Localhost"):
        return False
    values.add(profile.get("type", ""))
    return True


_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP",
        "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip


def _added(container: Obj, allowed: frozenset[str]) -> list[str]:
    added = (_context(container).get("capabilities") or {}).get("add") or ()
    return [c for c in added if c not in allowed]


def _capabilities_baseline(metadata: Obj, spec: Obj) -> Violation | None:
    bad = {c["name"]: more for c in _containers(spec) if (more := _added(c, _CAPABILITIES))}
    if not bad:
        return None
    capabilities = sorted({c for more in bad.values() for c in more})
    detail = f"{_named('container', list(bad))} must not include {_quoted(capabilities)} in securityContext.capabilities.add"
    return Violation("non-default capabilities", detail)


def _host_namespaces(metadata: Obj, spec: Obj) -> Violation | None:
    used = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    return Violation("host namespaces", ", ".join(used)) if used else None


def _host_path(metadata: Obj, spec: Obj) -> Violation | None:
    names = [v["name"] for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    return Violation("hostPath volumes", _named("volume", names)) if names else None


def _host_ports(metadata: Obj, spec: Obj) -> Violation | None:
    bad = {
        c["name"]: ports
        for c in _containers(spec)
        if (ports := [p["hostPort"] for p in c.get("ports") or () if p.get("hostPort")])
    }
    if not bad:
        return None
    ports = sorted({str(p) for used in bad.values() for p in used})
    uses, what = ("uses" if len(bad) == 1 else "use"), ("hostPort" if len(ports) == 1 else "hostPorts")
    return Violation("hostPort", f"{_named('container', list(bad))} {uses} {what} {', '.join(ports)}")


def _probe_hosts(metadata: Obj, spec: Obj) -> Violation | None:
    bad = {c["name"]: hosts for c in _containers(spec) if (hosts := list(_hosts_of(c)))}
    if not bad:
        return None
    hosts = sorted({h for used in bad.values() for h in used})
    uses, what = ("uses" if len(bad) == 1 else "use"), ("host" if len(hosts) == 1 else "hosts")
    return Violation(
        "probe or lifecycle host", f"{_named('container', list(bad))} {uses} probe or lifecycle {what} {_quoted(hosts)}"
    )


def _hosts_of(container: Obj) -> Iterator[str]:
    lifecycle = container.get("lifecycle") or {}
    handlers = [container.get(k) for k in ("livenessProbe", "readinessProbe", "startupProbe")]
    handlers += [lifecycle.get("postStart"), lifecycle.get("preStop")]
    for handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            host = ((handler or {}).get(action) or {}).get("host")
            if host:
                yield host


def _privileged(metadata: Obj, spec: Obj) -> Violation | None:
    names = [c["name"] for c in _containers(spec) if _context(c).get("privileged")]
    return (
        Violation("privileged", f"{_named('container', names)} must not set securityContext.privileged=true") if names else None
    )


def _proc_mount(metadata: Obj, spec: Obj) -> Violation | None:
    bad = {
        c["name"]: _context(c)["procMount"]
        for c in _containers(spec)
        if _context(c).get("procMount") not in (None, "", "Default")
    }
    if not bad:
        return None
    detail = f"{_named('container', list(bad))} must not set securityContext.procMount to {_quoted(sorted(set(bad.values())))}"
    return Violation("procMount", detail)


def _proc_mount_user_namespaces(metadata: Obj, spec: Obj) -> Violation | None:
    """In a user namespace of its own a pod harms nobody with it."""
    return None if spec.get("hostUsers") is False else _proc_mount(metadata, spec)


def _selinux(types: frozenset[str]) -> Callable[[Obj, Obj], Violation | None]:
    def check(metadata: Obj, spec: Obj) -> Violation | None:
        bad_types: set[str] = set()
        flags: set[str] = set()
        pod = _bad_selinux(_context(spec), types, bad_types, flags)
        containers = [c["name"] for c in _containers(spec) if _bad_selinux(_context(c), types, bad_types, flags)]
        if not pod and not containers:
            return None
        data = [_named("type", sorted(bad_types))] if bad_types else []
        data += [f"{key} may not be set" for key in ("user", "role") if key in flags]
        setters = _setters(pod, containers)
        return Violation("seLinuxOptions", f"{setters} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}")

    return check


def _bad_selinux(context: Obj, types: frozenset[str], bad_types: set[str], flags: set[str]) -> bool:
    options = context.get("seLinuxOptions")
    if options is None:
        return False
    set_flags = {key for key in ("user", "role") if options.get(key)}
    flags |= set_flags
    if options.get("type", "") not in types:
        bad_types.add(options["type"])
        return True
    return bool(set_flags)


def _seccomp_baseline(metadata: Obj, spec: Obj) -> Violation | None:
    values: set[str] = set()
    pod = _bad_profile(_context(spec), "seccompProfile", values)
    containers = [c["name"] for c in _containers(spec) if _bad_profile(_context(c), "seccompProfile", values)]
    if not pod and not containers:
        return None
    setters = _setters(pod, containers)
    return Violation("seccompProfile", f"{setters} must not set securityContext.seccompProfile.type to {_quoted(sorted(values))}")


def _sysctls(allowed: frozenset[str]) -> Callable[[Obj, Obj], Violation | None]:
    def check(metadata: Obj, spec: Obj) -> Violation | None:
        names = [s["name"] for s in _context(spec).get("sysctls") or () if s["name"] not in allowed]
        return Violation("forbidden sysctls", ", ".join(names)) if names else None

    return check


def _windows_host_process(metadata: Obj, spec: Obj) -> Violation | None:
    pod = bool((_context(spec).get("windowsOptions") or {}).get("hostProcess"))
    containers = [c["name"] for c in _containers(spec) if (_context(c).get("windowsOptions") or {}).get("hostProcess")]
    if not pod and not containers:
        return None
    detail = f"{_setters(pod, containers)} must not set securityContext.windowsOptions.hostProcess=true"
    return Violation("hostProcess", detail)


_SELINUX = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))
_selinux_old = _selinux(_SELINUX)
_selinux_31 = _selinux(_SELINUX | {"container_engine_t"})

_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    )
)  # fmt: skip
_SYSCTLS_27 = _SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = _SYSCTLS_27 | {
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip
_SYSCTLS_32 = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
_SYSCTL_CHECKS = [(32, _sysctls(_SYSCTLS_32)), (29, _sysctls(_SYSCTLS_29)), (27, _sysctls(_SYSCTLS_27)), (0, _sysctls(_SYSCTLS))]

_Rule = Callable[[Obj, Obj], "Violation | None"]


def _baseline(version: int) -> Iterator[_Rule]:
    yield _app_armor
    yield _capabilities_baseline
    yield _host_namespaces
    yield _host_path
    yield _host_ports
    if version >= 34:
        yield _probe_hosts
    yield _privileged
    yield _proc_mount_user_namespaces if version >= 35 else _proc_mount
    yield _selinux_31 if version >= 31 else _selinux_old
    if version >= 19:
        yield _seccomp_baseline
    yield next(check for since, check in _SYSCTL_CHECKS if version >= since)
    yield _windows_host_process


# --- restricted ---------------------------------------------------------------------------------------------------------------------------


def _is_windows(spec: Obj) -> bool:
    return bool((spec.get("os") or {}).get("name") == "windows")


def _not_on_windows(check: _Rule) -> _Rule:
    return lambda metadata, spec: None if _is_windows(spec) else check(metadata, spec)


def _unless_user_namespaces(check: _Rule) -> _Rule:
    """Root inside a user namespace is nobody outside."""
    return lambda metadata, spec: None if spec.get("hostUsers") is False else check(metadata, spec)


def _privilege_escalation(metadata: Obj, spec: Obj) -> Violation | None:
    names = [c["name"] for c in _containers(spec) if _context(c).get("allowPrivilegeEscalation") is not False]
    if not names:
        return None
    detail = f"{_named('container', names)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", detail)


def _capabilities_restricted(metadata: Obj, spec: Obj) -> Violation | None:
    keeping = [c["name"] for c in _containers(spec) if "ALL" not in ((_context(c).get("capabilities") or {}).get("drop") or ())]
    bad = {c["name"]: more for c in _containers(spec) if (more := _added(c, frozenset(("NET_BIND_SERVICE",))))}
    details = []
    if keeping:
        details.append(f'{_named("container", keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if bad:
        capabilities = sorted({c for more in bad.values() for c in more})
        details.append(
            f"{_named('container', list(bad))} must not include {_quoted(capabilities)} in securityContext.capabilities.add"
        )
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


_VOLUMES = frozenset(
    ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret", "image")
)  # fmt: skip


def _volume_types(metadata: Obj, spec: Obj) -> Violation | None:
    bad: dict[str, str] = {}
    for volume in spec.get("volumes") or ():
        kind = next((k for k, v in volume.items() if k != "name" and v is not None), "")
        if kind and kind not in _VOLUMES:
            bad[volume["name"]] = kind
    if not bad:
        return None
    uses = "uses" if len(bad) == 1 else "use"
    detail = f"{_named('volume', list(bad))} {uses} {_named('restricted volume type', sorted(set(bad.values())))}"
    return Violation("restricted volume types", detail)


def _run_as_non_root(metadata: Obj, spec: Obj) -> Violation | None:
    wish = _context(spec).get("runAsNonRoot")
    false = [c["name"] for c in _containers(spec) if _context(c).get("runAsNonRoot") is False]
    if wish is False or false:
        detail = f"{_setters(wish is False, false)} must not set securityContext.runAsNonRoot=false"
        return Violation("runAsNonRoot != true", detail)
    silent = [c["name"] for c in _containers(spec) if _context(c).get("runAsNonRoot") is None] if wish is None else []
    if not silent:
        return None
    return Violation("runAsNonRoot != true", f"pod or {_named('container', silent)} must set securityContext.runAsNonRoot=true")


def _run_as_user(metadata: Obj, spec: Obj) -> Violation | None:
    pod = _context(spec).get("runAsUser") == 0
    containers = [c["name"] for c in _containers(spec) if _context(c).get("runAsUser") == 0]
    if not pod and not containers:
        return None
    return Violation("runAsUser=0", f"{_setters(pod, containers)} must not set runAsUser=0")


def _seccomp_restricted(metadata: Obj, spec: Obj) -> Violation | None:
    explicit = _seccomp_baseline(metadata, spec)
    if explicit is not None:
        return explicit
    if _context(spec).get("seccompProfile") is not None:
        return None
    silent = [c["name"] for c in _containers(spec) if _context(c).get("seccompProfile") is None]
    if not silent:
        return None
    detail = (
        f'pod or {_named("container", silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    )
    return Violation("seccompProfile", detail)


#: Baseline checks that a stricter one takes the place of.
_OVERRIDDEN: frozenset[_Rule] = frozenset(
    (_capabilities_baseline, _host_path, _seccomp_baseline, _proc_mount, _proc_mount_user_namespaces)
)  # fmt: skip

_privilege_escalation_25 = _not_on_windows(_privilege_escalation)
_capabilities_restricted_25 = _not_on_windows(_capabilities_restricted)
_seccomp_restricted_25 = _not_on_windows(_seccomp_restricted)
_run_as_non_root_35 = _unless_user_namespaces(_run_as_non_root)
_run_as_user_35 = _unless_user_namespaces(_run_as_user)


def _restricted(version: int) -> Iterator[_Rule]:
    if version >= 8:
        yield _privilege_escalation_25 if version >= 25 else _privilege_escalation
    if version >= 22:
        yield _capabilities_restricted_25 if version >= 25 else _capabilities_restricted
    yield _proc_mount
    yield _volume_types
    yield _run_as_non_root_35 if version >= 35 else _run_as_non_root
    if version >= 23:
        yield _run_as_user_35 if version >= 35 else _run_as_user
    if version >= 19:
        yield _seccomp_restricted_25 if version >= 25 else _seccomp_restricted

"""Security contexts of pods and containers, and what each operating system rules out (API reference: PodSecurityContext, SecurityContext)."""

from __future__ import annotations

import re
from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import Obj, duplicate, forbidden, invalid, not_supported, required, too_long
from pilothouse.api.podspec.checks import INT32_MAX, Errors, descending, name_errors, supported, within
from pilothouse.api.podspec.internal import shape

_SYSCTL = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_is_sysctl = re.compile(_SYSCTL).match
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
_PROC_MOUNTS = ("Default", "Unmasked")
_SECCOMP = ("Localhost", "RuntimeDefault", "Unconfined")
_APPARMOR_LIMIT = 4095
_GMSA_LIMIT = 64 * 1024
_GROUPS = ("containers", "initContainers", "ephemeralContainers")


def check_pod_security(spec: Obj, path: str, out: Errors) -> None:
    """spec.securityContext, and the namespaces that pods share with their node or among their containers."""
    context = spec.get("securityContext") or {}
    where = f"{path}.securityContext"
    for field in ("fsGroup", "runAsUser", "runAsGroup"):
        if context.get(field) is not None:
            within(context[field], 0, INT32_MAX, f"{where}.{field}", out)
    for n, group in enumerate(context.get("supplementalGroups") or ()):
        within(group, 0, INT32_MAX, f"{where}.supplementalGroups[{n}]", out)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        told = "ShareProcessNamespace and HostPID cannot both be enabled"
        out.append(invalid(f"{where}.shareProcessNamespace", True, told))
    if not context:
        return
    if context.get("sysctls"):
        _check_sysctls(context["sysctls"], spec, f"{where}.sysctls", out)
    if context.get("fsGroupChangePolicy") is not None:
        supported(context["fsGroupChangePolicy"], ("Always", "OnRootMismatch"), f"{where}.fsGroupChangePolicy", out)
    _check_profiles(context, where, out)
    if context.get("supplementalGroupsPolicy") is not None:
        supported(context["supplementalGroupsPolicy"], ("Merge", "Strict"), f"{where}.supplementalGroupsPolicy", out)
    if context.get("seLinuxChangePolicy") is not None:
        supported(context["seLinuxChangePolicy"], ("Recursive",), f"{where}.seLinuxChangePolicy", out)


def _check_profiles(context: Obj, path: str, out: Errors) -> None:
    if context.get("seccompProfile") is not None:
        check_seccomp(context["seccompProfile"], f"{path}.seccompProfile", out)
    if context.get("windowsOptions") is not None:
        _check_windows_options(context["windowsOptions"], f"{path}.windowsOptions", out)
    if context.get("appArmorProfile") is not None:
        _check_apparmor(context["appArmorProfile"], f"{path}.appArmorProfile", out)


def _check_sysctls(sysctls: list[Obj], spec: Obj, path: str, out: Errors) -> None:
    seen: set[str] = set()
    for n, sysctl in enumerate(sysctls):
        where, name = f"{path}[{n}].name", sysctl.get("name") or ""
        if not name:
            out.append(required(where))
        elif len(name) > 253 or not _is_sysctl(name):
            out.append(invalid(where, name, f"must have at most 253 characters and match regex {_SYSCTL}"))
        elif name in seen:
            out.append(duplicate(where, name))
        host = _host_namespace(name, spec)
        if host:
            out.append(invalid(where, name, f"may not be specified when '{host}' is true"))
        seen.add(name)


def _host_namespace(sysctl: str, spec: Obj) -> str:
    """The node's namespace in which this sysctl would act."""
    dotted = sysctl.replace("/", ".") if "/" in sysctl else sysctl
    if spec.get("hostNetwork") and dotted.startswith("net."):
        return "hostNetwork"
    return "hostIPC" if spec.get("hostIPC") and dotted.startswith(_IPC_SYSCTLS) else ""


def check_container_security(context: Obj, host_users: bool, path: str, out: Errors) -> None:
    """A container's securityContext. Privileged containers are not allowed, as is the reference server's default."""
    if context.get("privileged"):
        out.append(forbidden(f"{path}.privileged", "disallowed by cluster policy"))
    for field in ("runAsUser", "runAsGroup"):
        if context.get(field) is not None:
            within(context[field], 0, INT32_MAX, f"{path}.{field}", out)
    mount = context.get("procMount")
    if mount is not None:
        supported(mount, _PROC_MOUNTS, f"{path}.procMount", out)
        if mount == "Unmasked" and host_users:
            out.append(invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    if context.get("seccompProfile") is not None:
        check_seccomp(context["seccompProfile"], f"{path}.seccompProfile", out)
    if context.get("allowPrivilegeEscalation") is False:
        _check_escalation(context, path, out)
    if context.get("windowsOptions") is not None:
        _check_windows_options(context["windowsOptions"], f"{path}.windowsOptions", out)
    if context.get("appArmorProfile") is not None:
        _check_apparmor(context["appArmorProfile"], f"{path}.appArmorProfile", out)


def _check_escalation(context: Obj, path: str, out: Errors) -> None:
    clash = []
    if context.get("privileged"):
        clash.append("`privileged` to true")
    if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
        clash.append("`capabilities.Add` CAP_SYS_ADMIN")
    for what in clash:
        out.append(invalid(path, shape("SecurityContext", context), f"cannot set `allowPrivilegeEscalation` to false and {what}"))


def check_seccomp(profile: Obj, path: str, out: Errors) -> None:
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    if not kind:
        out.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    else:
        supported(kind, _SECCOMP, f"{path}.type", out)
    where = f"{path}.localhostProfile"
    if kind == "Localhost":
        if local is None:
            out.append(required(where, "must be set when seccomp type is Localhost"))
        else:
            descending(local, where, out)
    elif local is not None:
        out.append(invalid(where, {"Type": kind, "LocalhostProfile": local}, "can only be set when seccomp type is Localhost"))


def _check_apparmor(profile: Obj, path: str, out: Errors) -> None:
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    where = f"{path}.localhostProfile"
    if kind == "Localhost":
        if not (local or "").strip():
            out.append(required(where, "must be set when AppArmor type is Localhost"))
        elif local is not None and local != local.strip():
            out.append(invalid(where, local, "must not be padded with whitespace"))
        elif names.size(local or "") > _APPARMOR_LIMIT:
            out.append(too_long(where, _APPARMOR_LIMIT))
    elif kind in _SECCOMP:
        if local is not None:
            out.append(invalid(where, local, "can only be set when AppArmor type is Localhost"))
    elif not kind:
        out.append(required(f"{path}.type", "type is required when appArmorProfile is set"))
    else:
        out.append(not_supported(f"{path}.type", kind, _SECCOMP))


# --- Windows ---------------------------------------------------------------------------------------------------------------------


def _check_windows_options(options: Obj, path: str, out: Errors) -> None:
    if options.get("gmsaCredentialSpecName") is not None:
        name_errors(options["gmsaCredentialSpecName"], names.dns1123_subdomain, f"{path}.gmsaCredentialSpecName", out)
    gmsa = options.get("gmsaCredentialSpec")
    if gmsa == "":
        out.append(invalid(f"{path}.gmsaCredentialSpec", gmsa, "gmsaCredentialSpec cannot be an empty string"))
    elif gmsa and names.size(gmsa) > _GMSA_LIMIT:
        told = f"gmsaCredentialSpec size must be under {_GMSA_LIMIT // 1024} KiB"
        out.append(invalid(f"{path}.gmsaCredentialSpec", gmsa, told))
    user = options.get("runAsUserName")
    if user is not None:
        problem = _user_problem(user)
        if problem:
            out.append(invalid(f"{path}.runAsUserName", user, f"runAsUserName{problem}"))


_BAD_USER = re.compile(r'["/\\:;|=,+*?<>@\[\]]')
_NETBIOS = re.compile(r'[^\\/:\*\?"<>|.][^\\/:\*\?"<>|]{0,14}')
_DOMAIN = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*")


def _user_problem(name: str) -> str:
    """What is wrong with a Windows account's name: [domain\\]user."""
    if not name:
        return " cannot be an empty string"
    if any(ord(c) < 32 or ord(c) == 127 for c in name):
        return " cannot contain control characters"
    parts = name.split("\\")
    if len(parts) > 2:
        return " cannot contain more than one backslash"
    user = parts[-1]
    if len(parts) == 2:
        domain = parts[0]
        if len(domain) > 256:
            return "'s Domain length must be under 256 characters"
        if not (_NETBIOS.fullmatch(domain) or _DOMAIN.fullmatch(domain)):
            return "'s Domain doesn't match the NetBios nor the DNS format"
    if not user:
        return "'s User cannot be empty"
    if len(user) > 104:
        return "'s User length must not be longer than 104 characters"
    if not user.strip(". "):
        return "'s User cannot contain only periods or spaces"
    return "'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]" if _BAD_USER.search(user) else ""


def check_host_process(spec: Obj, path: str, out: Errors) -> None:
    """Windows HostProcess containers: all or none, on the node's network, and only where privileged ones are allowed."""
    whole = _host_process(spec)
    if whole is None and not any(c.get("securityContext") for f in _GROUPS for c in spec.get(f) or ()):
        return
    flags = [(f"{path}.{field}[{n}]", _host_process(c))
             for field in _GROUPS for n, c in enumerate(spec.get(field) or ())]  # fmt: skip
    effective = [whole if own is None else own for _, own in flags]
    if not any(effective):
        return
    if whole is not None and any(own is not None and own != whole for _, own in flags):
        for where, own in flags:
            if own is not None and own != whole:
                told = f"pod hostProcess value must be identical if both are specified, was {str(whole).lower()}"
                out.append(invalid(f"{where}.securityContext.windowsOptions.hostProcess", own, told))
    if not all(effective):
        told = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        out.append(invalid(path, "", told))
    if not spec.get("hostNetwork"):
        told = "hostNetwork must be true if pod contains any hostProcess containers"
        out.append(invalid(f"{path}.hostNetwork", False, told))
    out.append(forbidden(path, "hostProcess containers are disallowed by cluster policy"))


def _host_process(holder: Obj) -> bool | None:
    value = ((holder.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    return None if value is None else bool(value)


# --- operating systems -----------------------------------------------------------------------------------------------------------

_OS_NAMES = ("linux", "windows")
_NOT_WINDOWS = "cannot be set for a windows pod"
_NOT_LINUX = "windows options cannot be set for a linux pod"
_POD_ON_WINDOWS = (
    ("securityContext", "appArmorProfile"), ("securityContext", "seLinuxOptions"), ("hostUsers",), ("hostPID",), ("hostIPC",),
    ("securityContext", "seccompProfile"), ("securityContext", "fsGroup"), ("securityContext", "fsGroupChangePolicy"),
    ("securityContext", "sysctls"), ("shareProcessNamespace",), ("securityContext", "runAsUser"), ("securityContext", "runAsGroup"),
    ("securityContext", "supplementalGroups"), ("securityContext", "supplementalGroupsPolicy"), ("securityContext", "seLinuxChangePolicy"),
)  # fmt: skip
_CONTAINER_ON_WINDOWS = ("appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
                         "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup")  # fmt: skip


def check_os(spec: Obj, path: str, out: Errors) -> None:
    """spec.os, and no field of the other operating system."""
    name = spec["os"].get("name") or ""
    if not name:
        out.append(required(f"{path}.os.name"))
    elif name == "linux":
        _check_linux(spec, path, out)
    elif name == "windows":
        _check_windows(spec, path, out)
    else:
        supported(name, _OS_NAMES, f"{path}.os", out)


def _contexts(spec: Obj, path: str) -> list[tuple[Obj, str]]:
    return [(c.get("securityContext") or {}, f"{path}.{field}[{n}].securityContext")
            for field in ("containers", "initContainers", "ephemeralContainers") for n, c in enumerate(spec.get(field) or ())]  # fmt: skip


def _check_linux(spec: Obj, path: str, out: Errors) -> None:
    for context, where in ((spec.get("securityContext") or {}, f"{path}.securityContext"), *_contexts(spec, path)):
        if context.get("windowsOptions") is not None:
            out.append(forbidden(f"{where}.windowsOptions", _NOT_LINUX))


def _check_windows(spec: Obj, path: str, out: Errors) -> None:
    for fields in _POD_ON_WINDOWS:
        value: Any = spec
        for field in fields:
            value = (value or {}).get(field)
        if value is not None and not (fields[0] in ("hostPID", "hostIPC") and not value):
            out.append(forbidden(".".join((path, *fields)), _NOT_WINDOWS))
    for context, where in _contexts(spec, path):
        for field in _CONTAINER_ON_WINDOWS:
            if context.get(field) is not None:
                out.append(forbidden(f"{where}.{field}", _NOT_WINDOWS))


def check_host_users(spec: Obj, path: str, out: Errors) -> None:
    """A pod with users of its own cannot use the node's namespaces."""
    if spec.get("hostUsers") is not False:
        return
    for field, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(field):
            out.append(forbidden(f"{path}.{shown}", "when `hostUsers` is false"))

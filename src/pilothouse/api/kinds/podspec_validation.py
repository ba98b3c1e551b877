"""Validation of a pod's spec: the rules that keep a pod runnable, in the order in which the API reference's server reports them."""

from __future__ import annotations

from typing import Any

from pilothouse.api import names, quantity
from pilothouse.api.errors import FieldError, duplicate, forbidden, invalid, not_found, not_supported, required

Obj = dict[str, Any]

_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_PULL = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def validate_pod_spec(spec: Obj, path: str) -> list[FieldError]:
    """Errors of a PodSpec at `path`."""
    out: list[FieldError] = []
    volumes, more = _validate_volumes(spec.get("volumes") or [], f"{path}.volumes")
    out += more
    seen: set[str] = set()
    containers = spec.get("containers") or []
    if not containers:
        out.append(required(f"{path}.containers"))
    for n, c in enumerate(containers):
        out += _validate_container(c, f"{path}.containers[{n}]", volumes, seen)
    for n, c in enumerate(spec.get("initContainers") or ()):
        out += _validate_container(c, f"{path}.initContainers[{n}]", volumes, seen)
    if spec.get("restartPolicy") not in _RESTART:
        out.append(_choice(f"{path}.restartPolicy", spec.get("restartPolicy"), _RESTART))
    if spec.get("dnsPolicy") not in _DNS:
        out.append(_choice(f"{path}.dnsPolicy", spec.get("dnsPolicy"), _DNS))
    out += _validate_names(spec, path)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        out.append(
            invalid(
                f"{path}.terminationGracePeriodSeconds",
                spec["terminationGracePeriodSeconds"],
                "must be greater than or equal to 0",
            )
        )
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        out.append(invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"))
    out += _validate_tolerations(spec.get("tolerations") or [], f"{path}.tolerations")
    return out


def _choice(path: str, value: Any, supported: tuple[str, ...]) -> FieldError:
    return required(path) if not value else not_supported(path, value, sorted(supported))


def _validate_names(spec: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for key, check in (("nodeName", names.dns1123_subdomain), ("serviceAccountName", names.dns1123_subdomain),
                       ("hostname", names.dns1123_label), ("subdomain", names.dns1123_label), ("priorityClassName", names.dns1123_subdomain)):  # fmt: skip
        if spec.get(key):
            out += [invalid(f"{path}.{key}", spec[key], m) for m in check(spec[key])]
    for key, value in sorted((spec.get("nodeSelector") or {}).items()):
        out += [invalid(f"{path}.nodeSelector", key, m) for m in names.qualified_name(key)]
        out += [invalid(f"{path}.nodeSelector", value, m) for m in names.label_value(value)]
    return out


def _validate_volumes(volumes: list[Obj], path: str) -> tuple[set[str], list[FieldError]]:
    out: list[FieldError] = []
    found: set[str] = set()
    for n, v in enumerate(volumes):
        where, name = f"{path}[{n}]", v.get("name") or ""
        if not name:
            out.append(required(f"{where}.name"))
        else:
            out += [invalid(f"{where}.name", name, m) for m in names.dns1123_label(name)]
        if name in found:
            out.append(duplicate(f"{where}.name", name))
        found.add(name)
        sources = [k for k in v if k != "name"]
        out += [forbidden(f"{where}.{extra}", "may not specify more than 1 volume type") for extra in sources[1:]]
    return found, out


def _validate_container(c: Obj, path: str, volumes: set[str], seen: set[str]) -> list[FieldError]:
    out: list[FieldError] = []
    name = c.get("name") or ""
    if not name:
        out.append(required(f"{path}.name"))
    else:
        out += [invalid(f"{path}.name", name, m) for m in names.dns1123_label(name)]
        if name in seen:
            out.append(duplicate(f"{path}.name", name))
        seen.add(name)
    image = c.get("image") or ""
    if not image:
        out.append(required(f"{path}.image"))
    elif image != image.strip():
        out.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    if c.get("imagePullPolicy") not in _PULL:
        out.append(_choice(f"{path}.imagePullPolicy", c.get("imagePullPolicy"), _PULL))
    out += _validate_ports(c.get("ports") or [], f"{path}.ports")
    for n, env in enumerate(c.get("env") or ()):
        if not env.get("name"):
            out.append(required(f"{path}.env[{n}].name"))
    for n, mount in enumerate(c.get("volumeMounts") or ()):
        out += _validate_mount(mount, f"{path}.volumeMounts[{n}]", volumes)
    return out + validate_resources(c.get("resources") or {}, f"{path}.resources")


def _validate_mount(mount: Obj, path: str, volumes: set[str]) -> list[FieldError]:
    out: list[FieldError] = []
    if not mount.get("name"):
        out.append(required(f"{path}.name"))
    elif mount["name"] not in volumes:
        out.append(not_found(f"{path}.name", mount["name"]))
    if not mount.get("mountPath"):
        out.append(required(f"{path}.mountPath"))
    return out


def _validate_ports(ports: list[Obj], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    seen: set[str] = set()
    for n, p in enumerate(ports):
        where = f"{path}[{n}]"
        if p.get("name"):
            out += [invalid(f"{where}.name", p["name"], m) for m in names.port_name(p["name"])]
            if p["name"] in seen:
                out.append(duplicate(f"{where}.name", p["name"]))
            seen.add(p["name"])
        if not p.get("containerPort"):
            out.append(required(f"{where}.containerPort"))
        else:
            out += [invalid(f"{where}.containerPort", p["containerPort"], m) for m in names.port_number(p["containerPort"])]
        if p.get("hostPort"):
            out += [invalid(f"{where}.hostPort", p["hostPort"], m) for m in names.port_number(p["hostPort"])]
        if p.get("protocol") not in _PROTOCOLS:
            out.append(_choice(f"{where}.protocol", p.get("protocol"), _PROTOCOLS))
    return out


def validate_resources(resources: Obj, path: str) -> list[FieldError]:
    """Requests are not negative and at most the limits; what cannot be overcommitted has equal ones, in whole numbers."""
    out: list[FieldError] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, amount in limits.items():
        out += _validate_amount(name, amount, f"{path}.limits")
    for name, amount in requests.items():
        out += _validate_amount(name, amount, f"{path}.requests")
        if name not in limits:
            if not _overcommitted(name):
                out.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        elif not _overcommitted(name) and quantity.compare(amount, limits[name]) != 0:
            out.append(invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limits[name]}"))
        elif quantity.compare(amount, limits[name]) > 0:
            out.append(invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {limits[name]}"))
    return out


_STANDARD = ("cpu", "memory", "ephemeral-storage")


def _overcommitted(name: str) -> bool:
    """Resources of Kubernetes itself may be promised more often than they are there; hugepages and extended ones may not."""
    return name in _STANDARD or ("/" not in name and not name.startswith("hugepages-"))


def _validate_amount(name: str, amount: str, path: str) -> list[FieldError]:
    where = f"{path}[{name}]"
    out = [invalid(path, name, m) for m in names.qualified_name(name)]
    if not out and "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
        out += [invalid(path, name, "must be a standard resource type or fully qualified"),
                invalid(path, name, "must be a standard resource for containers")]  # fmt: skip
    if quantity.sign(amount) < 0:
        out.append(invalid(where, amount, "must be greater than or equal to 0"))
    if not _overcommitted(name) and quantity.parse(amount).nano % quantity.NANO:
        out.append(invalid(where, amount, "must be an integer"))
    return out


def _validate_tolerations(tolerations: list[Obj], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for n, t in enumerate(tolerations):
        where = f"{path}[{n}]"
        if t.get("key"):
            out += [invalid(f"{where}.key", t["key"], m) for m in names.qualified_name(t["key"])]
        elif t.get("operator") != "Exists":
            out.append(
                invalid(
                    f"{where}.operator",
                    t.get("operator") or "",
                    'operator must be Exists when `key` is empty, which means "match all values and all keys"',
                )
            )
        if t.get("tolerationSeconds") is not None and t.get("effect") != "NoExecute":
            out.append(
                invalid(f"{where}.effect", t.get("effect") or "", "effect must be 'NoExecute' when `tolerationSeconds` is set")
            )
        if t.get("operator") not in (None, "", "Equal", "Exists"):
            out.append(not_supported(f"{where}.operator", t["operator"], ("Equal", "Exists")))
        elif t.get("operator") == "Exists" and t.get("value"):
            out.append(invalid(f"{where}.operator", t["value"], "value must be empty when `operator` is 'Exists'"))
        if t.get("effect") and t["effect"] not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
            out.append(not_supported(f"{where}.effect", t["effect"], ("NoExecute", "NoSchedule", "PreferNoSchedule")))
    return out

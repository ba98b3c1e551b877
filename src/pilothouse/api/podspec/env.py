"""Environment variables, and the references into a pod that they share with volumes of the downward API (API reference: EnvVar)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pilothouse.api import names, quantity
from pilothouse.api.errors import Obj, invalid, not_found, not_supported, required
from pilothouse.api.podspec.checks import Errors, config_key_problems, env_name_problems, local_name, name_errors

ENV_FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
              "status.hostIPs", "status.podIP", "status.podIPs")  # fmt: skip
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_POD_FIELDS = frozenset((*ENV_FIELDS, *VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase"))
_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_DIVISORS = {
    "cpu": ("1m", "1"),
    "memory": ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"),
}
_SUBSCRIPT = re.compile(r"([^\[\]]+)\['([^\[\]]*)'\]")
_SOURCES = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"


def check_env(variables: list[Obj], volumes: Mapping[str, Obj], path: str, out: Errors) -> None:
    """Names, and at most one place where the value comes from. `volumes`: the pod's good ones by name."""
    for n, variable in enumerate(variables):
        name = variable.get("name")
        if not name:
            out.append(required(f"{path}[{n}].name"))
        else:
            name_errors(name, env_name_problems, f"{path}[{n}].name", out)
        if variable.get("valueFrom") is not None:
            _check_value_from(variable, f"{path}[{n}].valueFrom", out)
            if variable["valueFrom"].get("fileKeyRef") is not None:
                _check_file_volume(variable["valueFrom"]["fileKeyRef"], volumes, f"{path}[{n}].valueFrom.fileKeyRef", out)


def _check_value_from(variable: Obj, path: str, out: Errors) -> None:
    source: Obj = variable["valueFrom"]
    found = 0
    if source.get("fieldRef") is not None:
        found += 1
        check_field_ref(source["fieldRef"], ENV_FIELDS, f"{path}.fieldRef", out)
    if source.get("resourceFieldRef") is not None:
        found += 1
        check_resource_ref(source["resourceFieldRef"], f"{path}.resourceFieldRef", out, volume=False)
    for field in ("configMapKeyRef", "secretKeyRef"):
        if source.get(field) is not None:
            found += 1
            _check_key_ref(source[field], f"{path}.{field}", out)
    if source.get("fileKeyRef") is not None:
        found += 1
        _check_file_ref(source["fileKeyRef"], f"{path}.fileKeyRef", out)
    if found == 0:
        out.append(invalid(path, "", _SOURCES))
    elif variable.get("value"):
        out.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif found > 1:
        out.append(invalid(path, "", "may not have more than one field specified at a time"))


def _check_key_ref(ref: Obj, path: str, out: Errors) -> None:
    if not ref.get("name"):
        out.append(required(f"{path}.name"))
    if not ref.get("key"):
        out.append(required(f"{path}.key"))
    else:
        name_errors(ref["key"], config_key_problems, f"{path}.key", out)


def _check_file_ref(ref: Obj, path: str, out: Errors) -> None:
    if not ref.get("volumeName"):
        out.append(required(f"{path}.volumeName"))
    else:
        name_errors(ref["volumeName"], names.dns1123_label, f"{path}.volumeName", out)
    if not ref.get("path"):
        out.append(required(f"{path}.path"))
    else:
        local_name(ref["path"], f"{path}.path", out)
    if not ref.get("key"):
        out.append(required(f"{path}.key"))
    else:
        name_errors(ref["key"], env_name_problems, f"{path}.key", out)


def _check_file_volume(ref: Obj, volumes: Mapping[str, Obj], path: str, out: Errors) -> None:
    """Files of variables are in volumes that live as long as the pod."""
    name = ref.get("volumeName")
    if not name:
        return
    if name not in volumes:
        out.append(not_found(f"{path}.volumeName", name))
    elif volumes[name].get("emptyDir") is None:
        out.append(invalid(f"{path}.volumeName", name, "referenced volume must be of type emptyDir"))


def check_env_from(sources: list[Obj], path: str, out: Errors) -> None:
    """Whole ConfigMaps and Secrets as variables."""
    for n, source in enumerate(sources):
        where = f"{path}[{n}]"
        if source.get("prefix"):
            name_errors(source["prefix"], env_name_problems, f"{where}.prefix", out)
        found = [field for field in ("configMapRef", "secretRef") if source.get(field) is not None]
        out.extend(required(f"{where}.{field}.name") for field in found if not source[field].get("name"))
        if not found:
            out.append(invalid(where, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(found) > 1:
            out.append(invalid(where, "", "may not have more than one field specified at a time"))


def check_field_ref(ref: Obj, fields: tuple[str, ...], path: str, out: Errors) -> None:
    """A field of the pod itself: a path that is known at all, and one of `fields` or a single label or annotation."""
    version, field = ref.get("apiVersion"), ref.get("fieldPath")
    if not version:
        out.append(required(f"{path}.apiVersion"))
        return
    if not field:
        out.append(required(f"{path}.fieldPath"))
        return
    match = _SUBSCRIPT.fullmatch(field)
    base = match[1] if match else field
    problem = _unknown_path(version, field, base, match is not None)
    if problem:
        out.append(invalid(f"{path}.fieldPath", field, f"error converting fieldPath: {problem}"))
    elif match:
        key = match[2].lower() if base == "metadata.annotations" else match[2]
        out.extend(invalid(path, key, message) for message in names.qualified_name(key))
    else:
        field = "spec.nodeName" if field == "spec.host" else field
        if field not in fields:
            out.append(not_supported(f"{path}.fieldPath", field, sorted(fields)))


def _unknown_path(version: str, field: str, base: str, subscripted: bool) -> str:
    if version != "v1":
        return f"unsupported pod version: {version}"
    if subscripted:
        return "" if base in ("metadata.annotations", "metadata.labels") else f"field label does not support subscript: {field}"
    return "" if field in _POD_FIELDS or field == "spec.host" else f"field label not supported: {field}"


def check_resource_ref(ref: Obj, path: str, out: Errors, *, volume: bool) -> None:
    """A container's requests or limits, divided by something that suits them."""
    resource = ref.get("resource") or ""
    if volume and not ref.get("containerName"):
        out.append(required(f"{path}.containerName"))
    elif not resource:
        out.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        out.append(not_supported(f"{path}.resource", resource, _RESOURCES))
    _check_divisor(resource.partition(".")[2], ref.get("divisor"), path, out)


def _check_divisor(resource: str, divisor: str | None, path: str, out: Errors) -> None:
    if divisor is None or quantity.sign(divisor) == 0:
        return
    kind = "cpu" if resource == "cpu" else "memory"
    if resource not in ("cpu", "memory", "ephemeral-storage") and not resource.startswith("hugepages-"):
        return
    if divisor not in _DIVISORS[kind]:
        listed = "1m and 1" if kind == "cpu" else ", ".join(_DIVISORS[kind])
        what = "local ephemeral storage" if resource == "ephemeral-storage" else resource.partition("-")[0]
        out.append(invalid(f"{path}.divisor", resource, f"only divisor's values {listed} are supported with the {what} resource"))

"""What is wrong with a KubeSchedulerConfiguration, field by field, as kube-scheduler says it when it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, required
from pilothouse.scheduler.config_args import argument_errors

_EXTENDER = {
    "urlPrefix", "filterVerb", "preemptVerb", "prioritizeVerb", "weight", "bindVerb", "enableHTTPS", "tlsConfig", "httpTimeout",
    "nodeCacheCapable", "managedResources", "ignorable",
}  # fmt: skip
_PROFILE = {"schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"}
#: Plugins of older versions that NodeVolumeLimits has taken the place of.
_GONE = ("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits")


def document_errors(document: Obj) -> list[FieldError]:
    """All errors of a document whose version and kind are right."""
    parallelism = document.get("parallelism", 16)
    out: list[FieldError] = []
    if not _whole(parallelism) or parallelism <= 0:
        out.append(invalid("parallelism", parallelism, "should be an integer value greater than zero"))
    lease = (document.get("leaderElection") or {}).get("resourceLock")
    if lease not in (None, "", "leases"):
        out.append(invalid("leaderElection.resourceLock", lease, 'resourceLock value must be "leases"'))
    out += _profiles(document.get("profiles") or ())
    out += _percentage(document, "percentageOfNodesToScore")
    initial, most = document.get("podInitialBackoffSeconds", 1), document.get("podMaxBackoffSeconds", 10)
    if not _whole(initial) or initial <= 0:
        out.append(invalid("podInitialBackoffSeconds", initial, "must be greater than 0"))
    elif not _whole(most) or most < initial:
        out.append(invalid("podMaxBackoffSeconds", most, "must be greater than or equal to PodInitialBackoffSeconds"))
    return out + _extenders(document.get("extenders") or ())


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _unknown(obj: Obj, known: set[str], path: str) -> list[FieldError]:
    return [invalid(f"{path}.{key}", obj[key], "unknown field") for key in sorted(obj.keys() - known)]


def _percentage(obj: Obj, path: str) -> list[FieldError]:
    value = obj.get("percentageOfNodesToScore")
    if value is None or (_whole(value) and 0 <= value <= 100):
        return []
    return [invalid(path, value, "not in valid range [0-100]")]


# --- profiles -----------------------------------------------------------------------------------------------------------------------------


def _profiles(profiles: Sequence[Obj]) -> list[FieldError]:
    out: list[FieldError] = []
    seen: dict[str, int] = {}
    for n, profile in enumerate(profiles):
        path = f"profiles[{n}]"
        name = profile.get("schedulerName") or ("" if len(profiles) > 1 else "default-scheduler")
        out += _unknown(profile, _PROFILE, path)
        if not name:
            out.append(required(f"{path}.schedulerName"))
        elif name in seen:
            out.append(duplicate(f"{path}.schedulerName", f"profiles[{seen[name]}].schedulerName"))
        seen[name] = n
        out += _percentage(profile, f"{path}.percentageOfNodesToScore") + _plugins(profile, path)
        if _queue_sort(profile) != _queue_sort(profiles[0]):
            out.append(invalid(f"{path}.plugins.queueSort", _queue_sort(profile), "must be the same for all profiles"))
    return out


def _queue_sort(profile: Obj) -> Obj:
    return (profile.get("plugins") or {}).get("queueSort") or {}


def _plugins(profile: Obj, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for point, change in (profile.get("plugins") or {}).items():
        for n, entry in enumerate((change or {}).get("enabled") or ()):
            if entry.get("name") in _GONE:
                out.append(invalid(f"{path}.plugins.{point}.enabled[{n}]", entry["name"], _told_gone()))
    seen: set[str] = set()
    for n, entry in enumerate(profile.get("pluginConfig") or ()):
        where, name = f"{path}.pluginConfig[{n}]", entry.get("name") or ""
        if name in seen:
            out.append(duplicate(where, name))
        seen.add(name)
        if name in _GONE:
            out.append(invalid(where, name, _told_gone()))
        out += argument_errors(name, entry.get("args") or {}, f"{where}.args")
    return out


def _told_gone() -> str:
    version = "kubescheduler.config.k8s.io/v1"
    return f'was invalid in version "{version}" (KubeSchedulerConfiguration is version "{version}")'


# --- extenders ------------------------------------------------------------------------------------------------------------------------------


def _extenders(extenders: Sequence[Obj]) -> list[FieldError]:
    out: list[FieldError] = []
    managed: set[str] = set()
    for n, extender in enumerate(extenders):
        path = f"extenders[{n}]"
        out += _unknown(extender, _EXTENDER, path)
        weight = extender.get("weight", 0)
        if extender.get("prioritizeVerb") and (not _whole(weight) or weight <= 0):
            out.append(invalid(f"{path}.weight", weight, "must have a positive weight applied to it"))
        for m, resource in enumerate(extender.get("managedResources") or ()):
            where, name = f"{path}.managedResources[{m}].name", resource.get("name") or ""
            out += _extended_resource(name, where)
            if name in managed:
                out.append(invalid(where, name, "duplicate extender managed resource name"))
            managed.add(name)
    binders = sum(1 for extender in extenders if extender.get("bindVerb"))
    if binders > 1:
        out.append(invalid("extenders", f"found {binders} extenders implementing bind", "only one extender can implement bind"))
    return out


def _extended_resource(name: str, path: str) -> list[FieldError]:
    wrong = [invalid(path, name, why) for why in names.qualified_name(name)]
    if wrong or ("/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")):
        return wrong
    return [invalid(path, name, "is an invalid extended resource name")]

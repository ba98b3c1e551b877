"""KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1), read unchanged, as profiles of plugins.

Profiles with their plugins at each extension point and through multiPoint, score weights, pluginConfig arguments, extenders,
percentageOfNodesToScore, back-off, leaderElection and clientConnection.kubeconfig. `parallelism` and the rates of clientConnection have no
effect: one event loop decides about all nodes at once. A field that Kubernetes does not have is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilothouse.scheduler.framework import Plugin, implements
from pilothouse.scheduler.plugins import BY_NAME, DEFAULT_PLUGINS
from pilothouse.scheduler.profile import Profile

Obj = dict[str, Any]

API_VERSION = "kubescheduler.config.k8s.io/v1"
DEFAULT_NAME = "default-scheduler"

#: The configuration's extension points, and the methods that stand for them.
POINTS: dict[str, tuple[str, ...]] = {
    "preEnqueue": ("pre_enqueue",),
    "queueSort": ("sort_key",),
    "preFilter": ("pre_filter",),
    "filter": ("filter", "filter_all"),
    "postFilter": ("post_filter",),
    "preScore": ("pre_score",),
    "score": ("score", "score_all"),
    "reserve": ("reserve", "unreserve"),
    "permit": ("permit",),
    "preBind": ("pre_bind",),
    "bind": ("bind",),
    "postBind": ("post_bind",),
}
_TOP = {
    "apiVersion",
    "kind",
    "profiles",
    "parallelism",
    "leaderElection",
    "clientConnection",
    "podInitialBackoffSeconds",
    "podMaxBackoffSeconds",
    "percentageOfNodesToScore",
    "enableProfiling",
    "enableContentionProfiling",
    "delayCacheUntilActive",
    "extenders",
}


class ConfigError(ValueError):
    """The configuration cannot be used; the text says which part."""


@dataclass(frozen=True, slots=True)
class Lease:
    """`leaderElection`: whether to work only while holding a Lease, and which. Its durations are Kubernetes' defaults."""

    elect: bool = True
    namespace: str = "kube-system"
    name: str = "kube-scheduler"


@dataclass(slots=True)
class SchedulerConfig:
    """What the scheduler runs with. Seconds for the back-offs."""

    profiles: dict[str, Profile] = field(default_factory=dict)
    initial_backoff: float = 1.0
    max_backoff: float = 10.0
    lease: Lease = field(default_factory=lambda: Lease())
    #: `clientConnection.kubeconfig`, for those who have not said otherwise.
    kubeconfig: Path | None = None
    #: Extenders as the file has them.
    extenders: list[Obj] = field(default_factory=list)


def default_config(registry: Mapping[str, type[Plugin]] = BY_NAME) -> SchedulerConfig:
    """One profile, `default-scheduler`, with the default plugins."""
    return SchedulerConfig({DEFAULT_NAME: make_profile({}, registry)})


def parse_config(document: Obj, registry: Mapping[str, type[Plugin]] = BY_NAME) -> SchedulerConfig:
    """A configuration document as profiles. ConfigError says what is wrong with it."""
    if document.get("apiVersion") != API_VERSION or document.get("kind") != "KubeSchedulerConfiguration":
        raise ConfigError(f"expected a KubeSchedulerConfiguration of {API_VERSION}")
    unknown = sorted(document.keys() - _TOP)
    if unknown:
        raise ConfigError(f"not supported: {', '.join(unknown)}")
    from pilothouse.scheduler.config_checks import document_errors  # rarely needed

    wrong = document_errors(document)
    if wrong:
        raise ConfigError("; ".join(str(error) for error in wrong))
    extenders = document.get("extenders") or []
    managed = [r for extender in extenders for r in extender.get("managedResources") or ()]
    ignored = [r["name"] for r in managed if r.get("ignoredByScheduler")]
    profiles: dict[str, Profile] = {}
    for raw in document.get("profiles") or [{}]:
        profile = make_profile(_ignoring(raw, ignored) if ignored else raw, registry)
        percentage = raw.get("percentageOfNodesToScore")
        profile.percentage = int((document.get("percentageOfNodesToScore") if percentage is None else percentage) or 0)
        profiles[profile.name] = profile
    initial, maximum = float(document.get("podInitialBackoffSeconds", 1)), float(document.get("podMaxBackoffSeconds", 10))
    return SchedulerConfig(
        profiles, initial, maximum, _lease(document.get("leaderElection") or {}), _kubeconfig(document), extenders
    )


def _kubeconfig(document: Obj) -> Path | None:
    path = (document.get("clientConnection") or {}).get("kubeconfig")
    return Path(path) if path else None


def _lease(raw: Obj) -> Lease:
    name, namespace = raw.get("resourceName") or "kube-scheduler", raw.get("resourceNamespace") or "kube-system"
    return Lease(raw.get("leaderElect", True) is not False, namespace, name)


def _ignoring(profile: Obj, resources: list[str]) -> Obj:
    """The profile with resources that NodeResourcesFit leaves to extenders."""
    entries = list(profile.get("pluginConfig") or ())
    place = next((n for n, e in enumerate(entries) if e["name"] == "NodeResourcesFit"), None)
    args = {} if place is None else entries[place].get("args") or {}
    entry = {
        "name": "NodeResourcesFit",
        "args": {**args, "ignoredResources": [*(args.get("ignoredResources") or ()), *resources]},
    }
    if place is None:
        return {**profile, "pluginConfig": [*entries, entry]}
    return {**profile, "pluginConfig": [*entries[:place], entry, *entries[place + 1 :]]}


def make_profile(raw: Obj, registry: Mapping[str, type[Plugin]] = BY_NAME) -> Profile:
    """One entry of `profiles`: the defaults, less what is disabled, and what is enabled besides."""
    chosen = raw.get("plugins") or {}
    unknown = sorted(chosen.keys() - POINTS.keys() - {"multiPoint"})
    if unknown:
        raise ConfigError(f"unknown extension point: {', '.join(unknown)}")
    args = {entry["name"]: _arguments(entry) for entry in raw.get("pluginConfig") or ()}
    weights = {plugin.name: weight for plugin, weight in DEFAULT_PLUGINS if weight}
    names = _select([plugin.name for plugin, _ in DEFAULT_PLUGINS], chosen.get("multiPoint") or {}, weights)
    for point in POINTS:
        names = _extend(names, chosen.get(point) or {}, weights)
    missing = [n for n in (*names, *args) if n not in registry]
    if missing:
        raise ConfigError(f"unknown plugin: {missing[0]}")
    plugins = [_instance(registry[n], args.get(n)) for n in names]
    profile = Profile(raw.get("schedulerName") or DEFAULT_NAME, plugins, weights)
    _switch_off(profile, chosen)
    return profile


def _instance(plugin: type[Plugin], args: Obj | None) -> Plugin:
    try:
        return plugin(args)
    except Exception as error:
        raise ConfigError(f"plugin {plugin.name}: {type(error).__name__}: {' '.join(str(error).split())}") from None


def _arguments(entry: Obj) -> Obj:
    return {k: v for k, v in (entry.get("args") or {}).items() if k not in ("apiVersion", "kind")}


def _select(names: list[str], change: Obj, weights: dict[str, int]) -> list[str]:
    disabled = {e["name"] for e in change.get("disabled") or ()}
    kept = [] if "*" in disabled else [n for n in names if n not in disabled]
    return _extend(kept, change, weights)


def _extend(names: list[str], change: Obj, weights: dict[str, int]) -> list[str]:
    for entry in change.get("enabled") or ():
        if entry.get("weight"):
            weights[entry["name"]] = int(entry["weight"])
        if entry["name"] not in names:
            names = [*names, entry["name"]]
    return names


_LISTS = {
    "preEnqueue": "pre_enqueues",
    "preFilter": "pre_filters",
    "filter": "filters",
    "postFilter": "post_filters",
    "score": "scores",
    "reserve": "reserves",
    "permit": "permits",
    "preBind": "pre_binds",
    "bind": "binds",
    "postBind": "post_binds",
}


def _switch_off(profile: Profile, chosen: Obj) -> None:
    """What is enabled or disabled at one extension point only, and the order of what is enabled there."""
    everywhere = {e["name"] for e in (chosen.get("multiPoint") or {}).get("enabled") or ()}
    everywhere |= {plugin.name for plugin, _ in DEFAULT_PLUGINS}
    for point, attribute in _LISTS.items():
        change = chosen.get(point) or {}
        disabled = {e["name"] for e in change.get("disabled") or ()}
        enabled = [e["name"] for e in change.get("enabled") or ()]
        current: list[Plugin] = getattr(profile, attribute)
        kept = [
            p
            for p in current
            if p.name in everywhere and p.name not in enabled and "*" not in disabled and p.name not in disabled
        ]
        named = [p for n in enabled for p in profile.plugins if p.name == n and any(implements(p, m) for m in POINTS[point])]
        setattr(profile, attribute, [*kept, *named])

"""PodSecurity: namespaces say by labels which Pod Security Standard their pods must meet (KEP-2579).

`enforce` refuses pods; `warn` warns about pods and about templates that would make such pods; `audit` would go to the audit log, which
this server does not have. When a namespace's enforce level becomes stricter, its user is told which pods would not be let in now.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pilothouse.api.errors import FieldError, Obj, invalid, invalid_object
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.pod_security_checks import LATEST, Violation, evaluate
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest, Hub

_PREFIX = "pod-security.kubernetes.io/"
_MODES = ("enforce", "audit", "warn")
_LEVELS = ("privileged", "baseline", "restricted")
_VERSION = re.compile(r"v1\.([0-9]|[1-9][0-9]*)")

#: (group, plural) -> where the pod template is.
_TEMPLATES = {
    ("", "replicationcontrollers"): ("spec", "template"),
    ("", "podtemplates"): ("template",),
    ("apps", "replicasets"): ("spec", "template"),
    ("apps", "deployments"): ("spec", "template"),
    ("apps", "statefulsets"): ("spec", "template"),
    ("apps", "daemonsets"): ("spec", "template"),
    ("batch", "jobs"): ("spec", "template"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}
#: Pods of a namespace that are looked at when its level changes.
_MOST_PODS = 3000


@dataclass(frozen=True, slots=True)
class Exemptions:
    """Who is not asked: users, namespaces, and pods of some runtime classes."""

    users: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()

    def covers(self, request: AdmissionRequest) -> bool:
        return request.user.name in self.users or request.namespace in self.namespaces


@dataclass(frozen=True, slots=True)
class Policy:
    """A level at a version."""

    level: str = "privileged"
    version: str = "latest"

    @property
    def minor(self) -> int:
        found = _VERSION.fullmatch(self.version)
        return min(int(found[1]), LATEST) if found else LATEST

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"

    def violations(self, metadata: Obj, spec: Obj) -> list[Violation]:
        return evaluate(self.level, self.minor, metadata, spec)


def policy_of(labels: dict[str, str], mode: str) -> Policy:
    """What a namespace's labels say for a mode: of what they enforce they also warn. A level that is none counts as the strictest."""
    if mode != "enforce" and _PREFIX + mode not in labels:
        mode = "enforce"
    level = labels.get(_PREFIX + mode, "privileged")
    version = labels.get(f"{_PREFIX}{mode}-version", "latest")
    return Policy(level if level in _LEVELS else "restricted", version if _is_version(version) else "latest")


def _is_version(text: str) -> bool:
    return text == "latest" or _VERSION.fullmatch(text) is not None


def check_labels(labels: dict[str, str]) -> list[FieldError]:
    errors = []
    for mode in _MODES:
        for key in (_PREFIX + mode, f"{_PREFIX}{mode}-version"):
            value = labels.get(key)
            if value is None:
                continue
            if key.endswith("-version"):
                if not _is_version(value):
                    errors.append(invalid(f"metadata.labels[{key}]", value, 'must be "latest" or "v1.x"'))
            elif value not in _LEVELS:
                errors.append(invalid(f"metadata.labels[{key}]", value, "must be one of privileged, baseline, restricted"))
    return errors


class PodSecurity(AdmissionPlugin):
    name = "PodSecurity"

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        #: What counts for namespaces whose labels do not say, as labels.
        self._defaults: dict[str, str] = {}
        self._exempt = Exemptions()

    def configure(self, config: Obj) -> None:
        """PodSecurityConfiguration (pod-security.admission.config.k8s.io/v1): `defaults` and `exemptions`."""
        defaults = {_PREFIX + key: str(value) for key, value in (config.get("defaults") or {}).items()}
        wrong = check_labels(defaults) or [
            key for key in defaults if key.removeprefix(_PREFIX).removesuffix("-version") not in _MODES
        ]
        if config.get("kind") != "PodSecurityConfiguration" or wrong:
            raise ValueError(f"PodSecurity: want a PodSecurityConfiguration{': ' + str(wrong[0]) if wrong else ''}")
        exemptions = config.get("exemptions") or {}
        self._exempt = Exemptions(
            *(frozenset(exemptions.get(key) or ()) for key in ("usernames", "namespaces", "runtimeClasses"))
        )
        self._defaults = defaults

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if operation not in ("CREATE", "UPDATE"):
            return False
        if resource.group_resource == ("", "pods"):
            return subresource in ("", "ephemeralcontainers")
        return not subresource and (resource.group_resource == ("", "namespaces") or resource.group_resource in _TEMPLATES)

    async def validate(self, request: AdmissionRequest) -> None:
        if request.resource.plural == "namespaces":
            self._check_namespace(request)
            return
        labels = self._labels(request.namespace)
        if not any(key.startswith(_PREFIX) for key in labels) or self._exempt.covers(request):
            return
        if request.resource.plural == "pods":
            self._check_pod(request, labels)
        else:
            self._check_template(request, labels)

    def _labels(self, namespace: str) -> dict[str, str]:
        entry = self.hub.cache("", "namespaces").get("", namespace)
        labels = (entry.obj["metadata"].get("labels") or {}) if entry is not None else {}
        return {**self._defaults, **labels} if self._defaults else labels

    # --- pods and templates ---------------------------------------------------------------------------------------------------

    def _check_pod(self, request: AdmissionRequest, labels: dict[str, str]) -> None:
        pod = request.obj or {}
        if pod["spec"].get("runtimeClassName") in self._exempt.runtime_classes:
            return
        if request.old is not None and not significant(pod, request.old):
            return
        enforce = policy_of(labels, "enforce")
        found = enforce.violations(pod["metadata"], pod["spec"])
        if found:
            raise refuse(request, f'violates PodSecurity "{enforce}": {_text(found)}')
        _warn(request, policy_of(labels, "warn"), pod)

    def _check_template(self, request: AdmissionRequest, labels: dict[str, str]) -> None:
        template: Obj = request.obj or {}
        for key in _TEMPLATES[request.resource.group_resource]:
            template = template.get(key) or {}
        if template.get("spec") and template["spec"].get("runtimeClassName") not in self._exempt.runtime_classes:
            _warn(request, policy_of(labels, "warn"), template)

    # --- namespaces -----------------------------------------------------------------------------------------------------------

    def _check_namespace(self, request: AdmissionRequest) -> None:
        metadata = (request.obj or {})["metadata"]
        labels = metadata.get("labels") or {}
        old_labels = ((request.old or {}).get("metadata") or {}).get("labels") or {}
        errors = check_labels(labels)
        if errors and (request.old is None or not check_labels(old_labels)):
            raise invalid_object("", "Namespace", metadata.get("name", ""), errors)
        if request.old is not None and request.name not in self._exempt.namespaces:
            new, old = ({**self._defaults, **found} for found in (labels, old_labels))
            self._check_existing(request, policy_of(new, "enforce"), policy_of(old, "enforce"))

    def _check_existing(self, request: AdmissionRequest, new: Policy, old: Policy) -> None:
        relaxed = new.version == old.version and _LEVELS.index(new.level) <= _LEVELS.index(old.level)
        if new.level == "privileged" or relaxed:
            return
        pods: dict[str, list[str]] = {}
        for entry in list(self.hub.cache("", "pods").list(request.name))[:_MOST_PODS]:
            pod = entry.obj
            found = new.violations(pod["metadata"], pod["spec"])
            if found:
                pods.setdefault(", ".join(v.reason for v in found), []).append(pod["metadata"]["name"])
        if not pods:
            return
        request.warnings.append(f'existing pods in namespace "{request.name}" violate the new PodSecurity enforce level "{new}"')
        lines = [f"{_and_others(sorted(names))}: {reasons}" for reasons, names in pods.items()]
        request.warnings.extend(sorted(lines))


def _and_others(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    others = len(names) - 1
    return f"{names[0]} (and {others} other pod{'s' if others > 1 else ''})"


def _text(found: list[Violation]) -> str:
    return ", ".join(str(v) for v in found)


def _warn(request: AdmissionRequest, policy: Policy, pod: Obj) -> None:
    found = policy.violations(pod.get("metadata") or {}, pod["spec"])
    if found:
        request.warnings.append(f'would violate PodSecurity "{policy}": {_text(found)}')


def significant(pod: Obj, old: Obj) -> bool:
    """Whether an update could have made a pod less secure: images, security contexts, and annotations that stand for them."""
    return _matters(pod) != _matters(old)


def _matters(pod: Obj) -> Obj:
    spec = pod["spec"]
    containers = [
        [(c.get("name"), c.get("image"), c.get("securityContext")) for c in spec.get(kind) or ()]
        for kind in ("initContainers", "containers", "ephemeralContainers")
    ]
    annotations = {k: v for k, v in (pod["metadata"].get("annotations") or {}).items() if "apparmor" in k or "seccomp" in k}
    return {"containers": containers, "annotations": annotations, "context": spec.get("securityContext")}

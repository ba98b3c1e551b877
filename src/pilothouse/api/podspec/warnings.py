"""What is allowed in a pod but doubtful or deprecated: texts for Warning headers."""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.api import quantity
from pilothouse.api.errors import Obj
from pilothouse.api.podspec.affinity import PREFERRED, RENAMED_LABELS, REQUIRED
from pilothouse.api.podspec.annotations import APPARMOR, SECCOMP_CONTAINER, SECCOMP_POD

#: What is to be said of labels of nodes that have newer names.
NODE_LABELS = {old: f'deprecated since {since}; use "{newer}" instead' for old, (since, newer) in RENAMED_LABELS.items()}
_SCHEDULING = "scheduler.alpha.kubernetes.io/"
_ANNOTATIONS = {
    SECCOMP_POD: 'non-functional in v1.27+; use the "seccompProfile" field instead',
    f"{_SCHEDULING}critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
#: Kinds of volumes that nobody should use any more.
DEPRECATED_VOLUMES = {
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
}
_WHOLE_BYTES = ("memory", "ephemeral-storage")


def pod_warnings(meta: Obj, spec: Obj, path: str, meta_path: str) -> list[str]:
    """Texts about a new or changed PodSpec at `path` and its metadata at `meta_path`."""
    out: list[str] = []
    if spec.get("nodeSelector"):
        out += [f"{path}.nodeSelector[{k}]: {NODE_LABELS[k]}" for k in sorted(spec["nodeSelector"]) if k in NODE_LABELS]
    if spec.get("affinity"):
        out += _affinity(spec["affinity"], f"{path}.affinity")
    for n, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        where = f"{path}.topologySpreadConstraints[{n}]"
        if constraint.get("topologyKey") in NODE_LABELS:
            key = constraint["topologyKey"]
            out.append(f"{where}.topologyKey: {key} is {NODE_LABELS[key]}")
        if constraint.get("labelSelector") is None:
            out.append(f"{where}.labelSelector: a null labelSelector results in matching no pod")
    if meta.get("annotations"):
        out += [f"{meta_path}.annotations[{k}]: {_ANNOTATIONS[k]}" for k in _ANNOTATIONS if k in meta["annotations"]]
    if spec.get("hostAliases"):
        out += _host_aliases(spec["hostAliases"], f"{path}.hostAliases")
    if spec.get("imagePullSecrets"):
        out += _pull_secrets(spec["imagePullSecrets"], f"{path}.imagePullSecrets")
    if spec.get("volumes"):
        out += _volumes(spec["volumes"], f"{path}.volumes")
    for where, container in _containers(spec, path):
        out += _container(container, where, meta, meta_path)
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        out.append(f"{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1")
    return out


def _containers(spec: Obj, path: str) -> Iterator[tuple[str, Obj]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for n, container in enumerate(spec.get(field) or ()):
            yield f"{path}.{field}[{n}]", container


def _container(container: Obj, path: str, meta: Obj, meta_path: str) -> Iterator[str]:
    if container.get("env"):
        seen: dict[str, bool] = {}
        for n, env in enumerate(container["env"]):
            name = env.get("name") or ""
            if name in seen and "$(" not in (env.get("value") or ""):
                yield f'{path}.env[{n}]: hides previous definition of "{name}", which may be dropped when using apply'
            seen[name] = True
    if container.get("ports"):
        yield from _ports(container["ports"], path)
    if meta.get("annotations"):
        key = APPARMOR + container.get("name", "")
        if key in meta["annotations"] and not (container.get("securityContext") or {}).get("appArmorProfile"):
            yield f'{meta_path}.annotations[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead'
        key = SECCOMP_CONTAINER + container.get("name", "")
        if key in meta["annotations"]:
            yield f'{meta_path}.annotations[{key}]: non-functional in v1.27+; use the "seccompProfile" field instead'
    if container.get("resources"):
        yield from _fractions(container["resources"], f"{path}.resources")


def _ports(ports: list[Obj], path: str) -> Iterator[str]:
    for n, port in enumerate(ports):
        same = [m for m in range(n) if _endpoint(ports[m]) == _endpoint(port)]
        if same:
            yield f"{path}.ports[{n}]: duplicate port definition with {path}.ports[{same[-1]}]"


def _endpoint(port: Obj) -> tuple[object, ...]:
    return port.get("containerPort"), port.get("protocol"), port.get("hostPort") or 0, port.get("hostIP") or ""


def _fractions(resources: Obj, path: str) -> Iterator[str]:
    for field in ("limits", "requests"):
        for name in _WHOLE_BYTES:
            amount = (resources.get(field) or {}).get(name)
            if amount and amount[-1] in "mnu" and quantity.milli_value(amount) % 1000:
                yield f'{path}.{field}[{name}]: fractional byte value "{amount}" is invalid, must be an integer'


def _host_aliases(aliases: list[Obj], path: str) -> Iterator[str]:
    seen: set[str] = set()
    for n, alias in enumerate(aliases):
        ip = alias.get("ip") or ""
        if ip in seen:
            yield f'{path}[{n}].ip: duplicate ip "{ip}"'
        seen.add(ip)


def _pull_secrets(secrets: list[Obj], path: str) -> Iterator[str]:
    seen: set[str] = set()
    for n, secret in enumerate(secrets):
        name = secret.get("name") or ""
        if name and name in seen:
            yield f'{path}[{n}].name: duplicate name "{name}"'
        seen.add(name)
    for n, secret in enumerate(secrets):
        if not secret.get("name"):
            yield f'{path}[{n}].name: invalid empty name ""'


def _affinity(affinity: Obj, path: str) -> Iterator[str]:
    nodes = affinity.get("nodeAffinity") or {}
    terms = [(f"{path}.nodeAffinity.{REQUIRED}.nodeSelectorTerms[{n}]", t)
             for n, t in enumerate((nodes.get(REQUIRED) or {}).get("nodeSelectorTerms") or ())]  # fmt: skip
    terms += [
        (f"{path}.nodeAffinity.{PREFERRED}[{n}].preference", t.get("preference") or {})
        for n, t in enumerate(nodes.get(PREFERRED) or ())
    ]
    for where, term in terms:
        for n, expression in enumerate(term.get("matchExpressions") or ()):
            key = expression.get("key")
            if key in NODE_LABELS:
                yield f"{where}.matchExpressions[{n}].key: {key} is {NODE_LABELS[key]}"
    for field in ("podAffinity", "podAntiAffinity"):
        group = affinity.get(field) or {}
        for n, term in enumerate(group.get(REQUIRED) or ()):
            yield from _selector(term, f"{path}.{field}.{REQUIRED}[{n}]")
        for n, term in enumerate(group.get(PREFERRED) or ()):
            yield from _selector(term.get("podAffinityTerm") or {}, f"{path}.{field}.{PREFERRED}[{n}].podAffinityTerm")


def _selector(term: Obj, path: str) -> Iterator[str]:
    if term.get("labelSelector") is None:
        yield f"{path}.labelSelector: a null labelSelector results in matching no pod"


def _volumes(volumes: list[Obj], path: str) -> Iterator[str]:
    for n, volume in enumerate(volumes):
        for field, told in DEPRECATED_VOLUMES.items():
            if volume.get(field) is not None:
                yield f"{path}[{n}].{field}: {told}"
        if (volume.get("hostPath") or {}).get("type") == "bad":
            continue
        yield from _overlaps(volume)


def _overlaps(volume: Obj) -> Iterator[str]:
    """Files of one volume in each other's place."""
    name = volume.get("name", "")
    for field, title, key in (("secret", "Secret", "secretName"), ("configMap", "ConfigMap", "name")):
        source = volume.get(field)
        if source and source.get("items"):
            yield from _clashes(
                [i.get("path") or "" for i in source["items"]], f'volume "{name}" ({title} "{source.get(key) or ""}")'
            )
    if (volume.get("downwardAPI") or {}).get("items"):
        yield from _clashes([i.get("path") or "" for i in volume["downwardAPI"]["items"]], f'volume "{name}" (DownwardAPI)')


def _clashes(paths: list[str], what: str) -> Iterator[str]:
    for n, path in enumerate(paths):
        for other in paths[:n]:
            if path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/"):
                yield f'{what}: overlapping paths: "{path}" with "{other}"'
                break

"""ServiceAccount: every pod runs as a service account that exists, and gets its token unless it does not want it.

The token is a projected volume (token, the cluster's CA, the namespace) mounted where client libraries look for it. Mirror pods,
which report what a kubelet runs by itself, may not refer to service accounts at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.authz.node import secret_names
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest
from pilothouse.clock import random_suffix

_PREFIX = "kube-api-access-"
_MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_MIRROR = "kubernetes.io/config.mirror"
_ENFORCE = "kubernetes.io/enforce-mountable-secrets"
#: An hour and a bit: the odd seconds tell tokens of such volumes from those that were asked for.
_TOKEN_SECONDS = 3607


class ServiceAccount(AdmissionPlugin):
    name = "ServiceAccount"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == "CREATE" and resource.group_resource == ("", "pods") and not subresource

    async def admit(self, request: AdmissionRequest) -> None:
        pod = request.obj
        assert pod is not None
        if _is_mirror(pod):
            return
        spec = pod["spec"]
        if not spec.get("serviceAccountName"):
            spec["serviceAccountName"] = "default"
            spec["serviceAccount"] = "default"
        account = self._account(request, spec["serviceAccountName"])
        if _wants_token(spec, account):
            self._mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(s) for s in account["imagePullSecrets"]]

    async def validate(self, request: AdmissionRequest) -> None:
        pod = request.obj
        assert pod is not None
        if _is_mirror(pod):
            _check_mirror(request, pod["spec"])
            return
        account = self._account(request, pod["spec"].get("serviceAccountName", ""))
        if ((account["metadata"].get("annotations") or {}).get(_ENFORCE) or "").lower() == "true":
            _check_secrets(request, pod, account)

    def _account(self, request: AdmissionRequest, name: str) -> Obj:
        entry = self.hub.cache("", "serviceaccounts").get(request.namespace, name)
        if entry is None:
            where = f"{request.namespace}/{name}"
            raise refuse(request, f'error looking up service account {where}: serviceaccount "{name}" not found')
        return entry.obj

    def _mount_token(self, spec: Obj) -> None:
        volumes = spec.get("volumes") or []
        existing = next((v["name"] for v in volumes if v.get("name", "").startswith(_PREFIX) and "projected" in v), "")
        name = existing or _PREFIX + random_suffix(self.hub.clock)
        mounted = False
        for container in _containers(spec):
            mounts = container.get("volumeMounts") or []
            if any(m.get("mountPath") == _MOUNT_PATH for m in mounts):
                continue
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": _MOUNT_PATH}]
            mounted = True
        if mounted and not existing:
            spec["volumes"] = [*volumes, _token_volume(name)]


def _containers(spec: Obj) -> Iterator[Obj]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def _wants_token(spec: Obj, account: Obj) -> bool:
    for wish in (spec.get("automountServiceAccountToken"), account.get("automountServiceAccountToken")):
        if wish is not None:
            return bool(wish)
    return True


def _token_volume(name: str) -> Obj:
    sources = [
        {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 0o644}}


def _is_mirror(pod: Obj) -> bool:
    return _MIRROR in (pod["metadata"].get("annotations") or {})


def _check_mirror(request: AdmissionRequest, spec: Obj) -> None:
    if spec.get("serviceAccountName"):
        raise refuse(request, "a mirror pod may not reference service accounts")
    if any(secret_names({"spec": spec})):
        raise refuse(request, "a mirror pod may not reference secrets")
    for volume in spec.get("volumes") or ():
        sources = (volume.get("projected") or {}).get("sources") or ()
        if any("serviceAccountToken" in s for s in sources):
            raise refuse(request, "a mirror pod may not use ServiceAccountToken volume projections")


def _check_secrets(request: AdmissionRequest, pod: Obj, account: Obj) -> None:
    """Only the secrets that the account lists, where it says so by annotation."""
    allowed = {s.get("name") for s in account.get("secrets") or ()}
    pull = {s.get("name") for s in account.get("imagePullSecrets") or ()}
    name, spec = account["metadata"]["name"], pod["spec"]
    for volume in spec.get("volumes") or ():
        secret = (volume.get("secret") or {}).get("secretName")
        if secret and secret not in allowed:
            why = f'volume with secret.secretName="{secret}" is not allowed because service account {name} does not reference that secret'
            raise refuse(request, why)
    for kind in ("initContainers", "containers"):
        _check_environment(
            request, spec.get(kind) or (), "init container" if kind == "initContainers" else "container", name, allowed
        )
    for index, reference in enumerate(spec.get("imagePullSecrets") or ()):
        if reference.get("name") not in pull:
            why = (
                f'imagePullSecrets[{index}].name="{reference.get("name")}" is not allowed because service account {name} '
                "does not reference that imagePullSecret"
            )
            raise refuse(request, why)


def _check_environment(request: AdmissionRequest, containers: Iterable[Obj], what: str, account: str, allowed: set) -> None:
    for container in containers:
        for variable in container.get("env") or ():
            secret = ((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name")
            if secret and secret not in allowed:
                why = (
                    f'{what} {container["name"]} with envVar {variable["name"]} referencing secret.secretName="{secret}" '
                    f"is not allowed because service account {account} does not reference that secret"
                )
                raise refuse(request, why)

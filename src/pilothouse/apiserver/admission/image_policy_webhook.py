"""ImagePolicyWebhook: another server says of each pod whether its images may run (ImageReview of imagepolicy.k8s.io/v1alpha1).

Configuration: `imagePolicy` with `kubeConfigFile` (whom to ask, and as whom), `allowTTL` and `denyTTL` (seconds for which answers are
remembered; -1: not at all), `retryBackoff` (milliseconds before the first of four more tries) and `defaultAllow` (what a server that gives
no answer means).
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.refuse import refuse
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer
    from pilothouse.apiserver.webhooks.identities import Identities

_VERSION, _KIND = "imagepolicy.k8s.io/v1alpha1", "ImageReview"
_MARK, _AUDIT = ".image-policy.k8s.io/", "imagepolicywebhook.image-policy.k8s.io/"
_TRIES, _FACTOR, _SECONDS, _REMEMBERED = 5, 1.5, 30, 1024
#: The least and the most of what can be configured: seconds, and milliseconds.
_TTL, _BACKOFF = (1, 1800), (1, 300_000)


class ImagePolicyWebhook(AdmissionPlugin):
    name = "ImagePolicyWebhook"
    needs_configuration = True
    hub: ApiServer

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        self._client: Obj = {}
        self._identities: Identities | None = None
        self._ttl = {True: 0, False: 0}
        self._backoff = 0.0
        self._default_allow = False
        #: What was said of a specification, and until when that counts.
        self._answers: OrderedDict[bytes, tuple[float, Obj]] = OrderedDict()

    def configure(self, config: Obj) -> None:
        """ValueError for a configuration that makes no sense; OSError for files that cannot be read."""
        from pilothouse.apiserver.webhooks.identities import Identities

        policy: Obj = config.get("imagePolicy") or {}
        if not isinstance(policy.get("kubeConfigFile"), str):
            raise ValueError("ImagePolicyWebhook: imagePolicy.kubeConfigFile: want the name of a file")
        self._ttl = {True: _bounded(policy, "allowTTL", 300, _TTL), False: _bounded(policy, "denyTTL", 30, _TTL)}
        self._backoff = _bounded(policy, "retryBackoff", 500, _BACKOFF) / 1000
        self._default_allow = bool(policy.get("defaultAllow"))
        path = Path(policy["kubeConfigFile"])
        self._identities, self._client = Identities.load(path), _server(path)

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return (
            operation in ("CREATE", "UPDATE")
            and resource.group_resource == ("", "pods")
            and subresource in ("", "ephemeralcontainers")
        )

    async def validate(self, request: AdmissionRequest) -> None:
        spec = _asked(request)
        if not spec["containers"]:
            return
        try:
            status = await self._ask(spec)
        except _NoAnswer as error:
            if self._default_allow:
                request.annotations[_AUDIT + "failed-open"] = "true"
                return
            raise refuse(request, str(error)) from None
        request.annotations.update({_AUDIT + key: str(value) for key, value in (status.get("auditAnnotations") or {}).items()})
        if not status.get("allowed"):
            why = status.get("reason") or ""
            said = f"image policy webhook backend denied one or more images: {why}"
            raise refuse(request, said if why else "one or more images rejected by webhook backend")

    async def _ask(self, spec: Obj) -> Obj:
        key = orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)
        until, known = self._answers.get(key, (0.0, {}))
        if until > self.hub.clock.now():
            return known
        body = orjson.dumps({"kind": _KIND, "apiVersion": _VERSION, "metadata": {}, "spec": spec, "status": {"allowed": False}})
        review = await self._call(body)
        status = review.get("status") if isinstance(review, dict) else None
        if not isinstance(status, dict):
            raise _NoAnswer("image policy webhook backend gave no ImageReview")
        self._answers[key] = (self.hub.clock.now() + self._ttl[bool(status.get("allowed"))], status)
        if len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)
        return status

    async def _call(self, body: bytes) -> Any:
        from pilothouse.apiserver.webhooks.caller import BadClient, CallFailed

        pause = self._backoff
        for left in range(_TRIES - 1, -1, -1):
            try:
                return await self.hub.webhooks.post(self._client, body, _SECONDS, self._identities)
            except BadClient as error:
                raise _NoAnswer(str(error)) from None
            except CallFailed as error:
                if not left:
                    raise _NoAnswer(str(error)) from None
            await self.hub.clock.sleep(pause)
            pause *= _FACTOR
        raise AssertionError  # the last try returned or raised


class _NoAnswer(Exception):
    """Nobody said anything about the images."""


def _asked(request: AdmissionRequest) -> Obj:
    """What the other server is told of a pod: its images, its namespace, and annotations that are meant for it."""
    obj = request.obj or {}
    keys = ("ephemeralContainers",) if request.subresource else ("containers", "initContainers")
    containers = [{"image": c.get("image") or ""} for key in keys for c in obj.get("spec", {}).get(key) or ()]
    spec: Obj = {"containers": containers, "namespace": request.namespace}
    annotations = {k: v for k, v in (obj.get("metadata", {}).get("annotations") or {}).items() if _MARK in k}
    return {**spec, "annotations": annotations} if annotations else spec


def _bounded(policy: Obj, key: str, usual: int, bounds: tuple[int, int]) -> int:
    value = policy.get(key) or usual
    if value == -1:
        return 0
    if not isinstance(value, int) or not bounds[0] <= value <= bounds[1]:
        raise ValueError(f"ImagePolicyWebhook: imagePolicy.{key}: want a number from {bounds[0]} to {bounds[1]}, or -1")
    return value


def _server(path: Path) -> Obj:
    """The cluster of a kubeconfig's current context, as a client config. The file is known to be a kubeconfig."""
    import yaml

    document: Obj = yaml.safe_load(path.read_text())
    contexts = {c.get("name"): c.get("context") or {} for c in document.get("contexts") or ()}
    clusters = {c.get("name"): c.get("cluster") or {} for c in document.get("clusters") or ()}
    cluster = clusters.get(contexts.get(document.get("current-context"), {}).get("cluster"), {})
    if not isinstance(cluster.get("server"), str):
        raise ValueError(f"{path}: the current context has no cluster with a server")
    bundle = cluster.get("certificate-authority-data") or ""
    if not bundle and cluster.get("certificate-authority"):
        bundle = base64.b64encode((path.parent / cluster["certificate-authority"]).read_bytes()).decode()
    return {"url": cluster["server"], "caBundle": bundle}

"""Who asks for a certificate is written down by the hub, never by who asks. Cannot be switched off: signers rely on it."""

from __future__ import annotations

from pilothouse.api.resource import Resource
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest

_FIELDS = ("username", "uid", "groups", "extra")


class Requester(AdmissionPlugin):
    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        requests = ("certificates.k8s.io", "certificatesigningrequests")
        return operation == "CREATE" and resource.group_resource == requests and not subresource

    async def admit(self, request: AdmissionRequest) -> None:
        spec = (request.obj or {}).setdefault("spec", {})
        user = request.user
        extra = {k: list(v) for k, v in user.extra.items()}
        found = {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}
        for key in _FIELDS:
            if found[key]:
                spec[key] = found[key]
            else:
                spec.pop(key, None)

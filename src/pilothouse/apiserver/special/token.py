"""serviceaccounts/token: a signed token for a service account, bound to a pod, a secret or a node if wanted (KEP-1205)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import FieldError, Obj, bad_request, conflict, invalid, invalid_object, not_found_error
from pilothouse.apiserver.interface import Hub, SpecialRequest, SpecialResult
from pilothouse.apiserver.special.body import body_of
from pilothouse.apiserver.special.parts import Parts
from pilothouse.clock import new_uid, rfc3339

_GROUP, _KIND = "authentication.k8s.io", "TokenRequest"
_DEFAULT_SECONDS, _LEAST_SECONDS, _MOST_SECONDS = 3600, 600, 1 << 32
#: What projected volumes ask for, and what is then given (with a note of when to warn).
_POD_SECONDS, _EXTENDED_SECONDS = 3607, 365 * 24 * 3600


class IssueToken:
    def __init__(self, hub: Hub, parts: Parts) -> None:
        self._hub = hub
        self._parts = parts

    def default(self, body: Obj) -> None:
        spec = body.setdefault("spec", {})
        if not spec.get("expirationSeconds"):
            spec["expirationSeconds"] = _DEFAULT_SECONDS
        if not spec.get("boundObjectRef"):
            spec.pop("boundObjectRef", None)

    async def __call__(self, request: SpecialRequest) -> SpecialResult:
        body = body_of(request)
        metadata = _check_metadata(request, body)
        account = self._find("serviceaccounts", request.namespace, request.name)
        spec = body["spec"]
        if not spec.get("audiences"):
            spec["audiences"] = list(self._parts.audiences)
        _check_seconds(spec["expirationSeconds"])
        bound = self._bound(request, spec.get("boundObjectRef"))
        now = self._hub.clock.now()
        metadata |= {"name": request.name, "namespace": request.namespace, "creationTimestamp": rfc3339(now)}
        metadata["uid"] = account["metadata"]["uid"]
        status = self._status(account, spec, bound, now)
        out_spec = {
            "audiences": spec["audiences"],
            "expirationSeconds": spec["expirationSeconds"],
            "boundObjectRef": spec.get("boundObjectRef") or None,
        }
        head = {k: body[k] for k in ("kind", "apiVersion")}
        return SpecialResult(201, {**head, "metadata": metadata, "spec": out_spec, "status": status})

    # --- what it is bound to -------------------------------------------------------------------------------------------------

    def _find(self, plural: str, namespace: str, name: str) -> Obj:
        entry = self._hub.cache("", plural).get(namespace, name)
        if entry is None:
            raise not_found_error("", plural, name)
        return entry.obj

    def _bound(self, request: SpecialRequest, ref: Obj | None) -> dict[str, Any]:
        """Private claims about the bound objects."""
        if not ref:
            return {}
        kind, version, name = ref.get("kind", ""), ref.get("apiVersion", ""), ref.get("name", "")
        if version != "v1" or kind not in ("Pod", "Secret", "Node"):
            group, _, short = version.rpartition("/")
            raise bad_request(f"cannot bind token to object of type {group}/{short}, Kind={kind}")
        found = self._find(kind.lower() + "s", "" if kind == "Node" else request.namespace, name)
        if kind == "Pod" and found["spec"].get("serviceAccountName", "") != request.name:
            why = f'cannot bind token for serviceaccount "{request.name}" to pod running with different serviceaccount name.'
            raise bad_request(why)
        uid = found["metadata"]["uid"]
        if ref.get("uid") and ref["uid"] != uid:
            why = (
                f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise conflict("", kind, name, why)
        claims = {kind.lower(): {"name": name, "uid": uid}}
        if kind == "Pod" and found["spec"].get("nodeName"):
            claims["node"] = self._node(found["spec"]["nodeName"])
        return claims

    def _node(self, name: str) -> dict[str, str]:
        entry = self._hub.cache("", "nodes").get("", name)
        return {"name": name, **({"uid": entry.obj["metadata"]["uid"]} if entry is not None else {})}

    # --- the token --------------------------------------------------------------------------------------------------------------

    def _status(self, account: Obj, spec: Obj, bound: dict[str, Any], now: float) -> Obj:
        from pilothouse.apiserver.authn.keys import sign

        seconds, issued = spec["expirationSeconds"], int(now)
        metadata = account["metadata"]
        private: dict[str, Any] = {"namespace": metadata["namespace"], **bound}
        private["serviceaccount"] = {"name": metadata["name"], "uid": metadata["uid"]}
        lifetime = seconds
        if self._parts.extend_expiration and seconds == _POD_SECONDS and "pod" in bound and self._for_here(spec["audiences"]):
            lifetime = _EXTENDED_SECONDS
            private["warnafter"] = issued + seconds
        claims = {
            "aud": spec["audiences"],
            "exp": issued + lifetime,
            "iat": issued,
            "iss": self._parts.issuer,
            "jti": new_uid(self._hub.clock),
            "kubernetes.io": private,
            "nbf": issued,
            "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
        }
        return {"token": sign(claims, self._parts.signing_key()), "expirationTimestamp": rfc3339(issued + seconds)}

    def _for_here(self, audiences: list[str]) -> bool:
        return set(audiences) <= set(self._parts.audiences)


def _check_metadata(request: SpecialRequest, body: Obj) -> Obj:
    metadata: Obj = body.setdefault("metadata", {})
    for key, wanted in (("name", request.name), ("namespace", request.namespace)):
        found = metadata.get(key)
        if found and found != wanted:
            error = invalid(f"metadata.{key}", found, f"must match the service account {key} if specified")
            raise invalid_object(_GROUP, _KIND, request.name, [error])
    return metadata


def _check_seconds(seconds: int) -> None:
    path = "spec.expirationSeconds"
    errors: list[FieldError] = []
    if seconds < _LEAST_SECONDS:
        errors.append(invalid(path, seconds, "may not specify a duration less than 10 minutes"))
    if seconds > _MOST_SECONDS:
        errors.append(invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
    if errors:
        raise invalid_object(_GROUP, _KIND, "", errors)

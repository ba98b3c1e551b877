"""Connections to what runs in pods: logs, exec, attach, port forwarding, proxies.

What they lead to is a kubelet's work. Here is what can be said without one: which container, whether the pod has a host, and that
the node that it is on does not take connections. Nodes that do are found through `hub.cache`; simulated ones do not.
"""

from __future__ import annotations

from pilothouse.api import times
from pilothouse.api.errors import FieldError, Obj, StatusError, bad_request, invalid, invalid_object, not_found_error
from pilothouse.apiserver.interface import Hub, SpecialRequest, SpecialResult

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


def _pod(hub: Hub, request: SpecialRequest, name: str) -> Obj:
    entry = hub.cache("", "pods").get(request.namespace, name)
    if entry is None:
        raise not_found_error("", "pods", name)
    return entry.obj


def _container(pod: Obj, wanted: str) -> str:
    """The container meant by a request: 400 for one that is not there, or if it is not clear which."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    every = [c["name"] for kind in _CONTAINERS for c in spec.get(kind) or ()]
    if wanted:
        if wanted not in every:
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(spec["containers"]) == 1:
        return str(spec["containers"][0]["name"])
    regular = " ".join(c["name"] for c in spec["containers"])
    text = f"a container name must be specified for pod {name}, choose one of: [{regular}]"
    init = " ".join(c["name"] for c in spec.get("initContainers") or ())
    raise bad_request(f"{text} or one of the init containers: [{init}]" if init else text)


def _unreachable(node: str) -> StatusError:
    """There is a node, but nobody who could be asked."""
    return StatusError(503, "ServiceUnavailable", f'node "{node}" is not a kubelet that can be connected to')


class PodLog:
    """pods/log."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, request: SpecialRequest) -> SpecialResult:
        errors = _check_log_options(request)
        if errors:
            raise invalid_object("", "PodLogOptions", request.name, errors)
        pod = _pod(self._hub, request, request.name)
        _container(pod, request.query.get("container", ""))
        node = pod["spec"].get("nodeName", "")
        if node:
            raise _unreachable(node)
        return SpecialResult(204, b"")


def _check_log_options(request: SpecialRequest) -> list[FieldError]:
    query = request.query
    errors: list[FieldError] = []
    tail, since, limit = (_number(query, key) for key in ("tailLines", "sinceSeconds", "limitBytes"))
    if tail is not None and tail < 0:
        errors.append(invalid("tailLines", tail, "must be greater than or equal to 0"))
    if limit is not None and limit < 1:
        errors.append(invalid("limitBytes", limit, "must be greater than 0"))
    if since is not None and "sinceTime" in query:
        why = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        errors.append(FieldError("FieldValueForbidden", "[]", detail=why))
    elif since is not None and since < 1:
        errors.append(invalid("sinceSeconds", since, "must be greater than 0"))
    if "stream" in query:
        errors.append(FieldError("FieldValueForbidden", "stream", detail="may not be specified"))
    if "sinceTime" in query:
        _check_time(query["sinceTime"])
    return errors


def _number(query: object, key: str) -> int | None:
    text = query.get(key) if hasattr(query, "get") else None
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _check_time(text: str) -> None:
    try:
        times.seconds(text)
    except ValueError:
        raise bad_request(f'parsing time "{text}" failed') from None


class PodConnect:
    """pods/exec, attach, portforward and proxy."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, request: SpecialRequest) -> SpecialResult:
        name = _proxied_name(request.name) if request.subresource == "proxy" else request.name
        pod = _pod(self._hub, request, name)
        node = pod["spec"].get("nodeName", "")
        if request.subresource == "proxy":
            if not (pod.get("status") or {}).get("podIP"):
                raise bad_request("address not allowed")
            raise _unreachable(node)
        if request.subresource != "portforward":
            _container(pod, request.query.get("container", ""))
        if not node:
            raise bad_request(f"pod {name} does not have a host assigned")
        raise _unreachable(node)


def _proxied_name(text: str) -> str:
    """The name in [https:]name[:port]."""
    parts = text.split(":")
    return parts[1] if len(parts) == 3 else parts[0]


class ServiceProxy:
    """services/proxy: where a service leads is known only where its network is."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, request: SpecialRequest) -> SpecialResult:
        name = _proxied_name(request.name)
        entry = self._hub.cache("", "endpoints").get(request.namespace, name)
        if self._hub.cache("", "services").get(request.namespace, name) is None or entry is None:
            raise not_found_error("", "services", name)
        if not any(s.get("addresses") for s in entry.obj.get("subsets") or ()):
            raise StatusError(503, "ServiceUnavailable", f'no endpoints available for service "{request.name}"')
        raise StatusError(503, "ServiceUnavailable", f'the endpoints of service "{name}" cannot be reached from the API server')


class NodeProxy:
    """nodes/proxy."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, request: SpecialRequest) -> SpecialResult:
        name = _proxied_name(request.name)
        if self._hub.cache("", "nodes").get("", name) is None:
            raise not_found_error("", "nodes", name)
        raise _unreachable(name)

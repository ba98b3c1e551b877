"""Where a webhook is reached: what its client config means on the network. API reference: WebhookClientConfig.

A URL is used as it is. A service is reached at one of its ready endpoints, because nobody here may be routing its cluster IP (as with
`--enable-aggregator-routing`); a service without a selector and endpoints at its cluster IP; an ExternalName at that name. Certificates
are checked against `<name>.<namespace>.svc` all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from pilothouse.api.errors import Obj
from pilothouse.apiserver.interface import Hub

if TYPE_CHECKING:
    from random import Random

_SERVICE_LABEL = "kubernetes.io/service-name"


class Unreachable(Exception):
    """There is no address."""


@dataclass(frozen=True, slots=True)
class Place:
    """`shown` is the URL in messages; `url` the one to connect to, where the certificate is for `name` ("" for the URL's own host)."""

    shown: str
    url: str
    name: str = ""
    host: str = ""


def shown(client: Obj, seconds: int) -> str:
    """The URL of a call as messages show it."""
    if client.get("url") is not None:
        parts = urlsplit(client["url"])
        return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", f"timeout={seconds}s", ""))
    service = client["service"]
    path = service.get("path") or "/"
    return f"https://{_name(service)}:{service.get('port', 443)}{path if path[0] == '/' else '/' + path}?timeout={seconds}s"


def place(hub: Hub, client: Obj, seconds: int, random: Random) -> Place:
    """Where to connect. Unreachable says why there is no such place."""
    text = shown(client, seconds)
    if client.get("url") is not None:
        return Place(text, text)
    service, port = client["service"], client["service"].get("port", 443)
    address = _address(hub, service, port, random)
    parts = urlsplit(text)
    return Place(text, urlunsplit((parts.scheme, address, parts.path, parts.query, "")), _name(service), parts.netloc)


def _name(service: Obj) -> str:
    return f"{service['name']}.{service['namespace']}.svc"


def _address(hub: Hub, ref: Obj, port: int, random: Random) -> str:
    entry = hub.cache("", "services").get(ref["namespace"], ref["name"])
    if entry is None:
        raise Unreachable(f'service "{ref["name"]}" not found')
    spec = entry.obj["spec"]
    if spec.get("type") == "ExternalName":
        return _joined(spec["externalName"], port)
    found = next((p for p in spec.get("ports") or () if p["port"] == port), None)
    if found is None:
        raise Unreachable(f'no service port {port} found for service "{ref["name"]}"')
    ready = list(_endpoints(hub, ref, found.get("name", "")))
    if ready:
        return random.choice(ready)
    if spec.get("selector") or spec.get("clusterIP") in (None, "", "None"):
        raise Unreachable(f'no endpoints available for service "{ref["name"]}"')
    return _joined(spec["clusterIP"], port)


def _endpoints(hub: Hub, ref: Obj, port: str) -> Iterator[str]:
    """Ready endpoints of a service's port: from its slices, or (where nobody mirrors them) from its Endpoints."""
    sliced = False
    for entry in hub.cache("discovery.k8s.io", "endpointslices").list(ref["namespace"]):
        if entry.labels.get(_SERVICE_LABEL) != ref["name"]:
            continue
        sliced = True
        number = _port(entry.obj, port)
        for endpoint in entry.obj.get("endpoints") or ():
            if number and (endpoint.get("conditions") or {}).get("ready") is not False:
                yield from (_joined(a, number) for a in endpoint.get("addresses") or ())
    endpoints = hub.cache("", "endpoints").get(ref["namespace"], ref["name"])
    for subset in (endpoints.obj.get("subsets") or ()) if endpoints is not None and not sliced else ():
        number = _port(subset, port)
        yield from (_joined(a["ip"], number) for a in subset.get("addresses") or () if number)


def _port(holder: Obj, name: str) -> int:
    return next((p.get("port") or 0 for p in holder.get("ports") or () if (p.get("name") or "") == name), 0)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

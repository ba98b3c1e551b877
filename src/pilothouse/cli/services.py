"""What `pilothouse explain service/NAME` reads of a cluster, and prints."""

from __future__ import annotations

import asyncio
from typing import Any

from pilothouse.client.client import error_of, page_of
from pilothouse.client.interface import Transport
from pilothouse.client.service_endpoints import SERVICE_NAME
from pilothouse.client.service_reasons import Found

Obj = dict[str, Any]

#: Nodes that are read, to know which endpoints can be tried from here.
MOST_NODES = 50


async def read_service(transport: Transport, namespace: str, name: str) -> Found:
    """A Service and what belongs to it. ValueError with the server's words where that cannot be read."""
    root = f"/api/v1/namespaces/{namespace}"
    answer = await transport.request("GET", f"{root}/services/{name}")
    if answer.status != 200:
        raise ValueError(error_of(answer.body, answer.status).message)
    service: Obj = answer.body
    selector = ",".join(f"{k}={v}" for k, v in (service["spec"].get("selector") or {}).items())

    async def some(path: str, **query: str) -> list[Obj]:
        found = await transport.request("GET", path, query)
        if found.status != 200:
            raise ValueError(error_of(found.body, found.status).message)
        return page_of(found.body).items

    async def nothing() -> list[Obj]:
        return []

    about = f"involvedObject.kind=Service,involvedObject.name={name}"
    slices, pods, events = await asyncio.gather(
        some(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices", labelSelector=f"{SERVICE_NAME}={name}"),
        some(f"{root}/pods", labelSelector=selector) if selector else nothing(),
        some(f"{root}/events", fieldSelector=about),
    )
    names = sorted({e["nodeName"] for s in slices for e in s.get("endpoints") or () if e.get("nodeName")})[:MOST_NODES]
    answers = await asyncio.gather(*(transport.request("GET", f"/api/v1/nodes/{n}") for n in names))
    nodes = {n: a.body for n, a in zip(names, answers, strict=True) if a.status == 200}
    return Found(service, slices, pods, nodes, events)


def service_text(obj: Obj) -> str:
    """One line a step; what is wrong has an exclamation mark."""
    lines = [f"Service {obj['namespace']}/{obj['name']} ({obj['type']})"]
    lines += [f"  {' ' if step['well'] else '!'} {step['text']}" for step in obj["findings"]]
    problems = sum(not step["well"] for step in obj["findings"])
    verdict = "Nothing is wrong with it." if not problems else f"{problems} thing{'s are' if problems > 1 else ' is'} wrong."
    return "\n".join([*lines, "", verdict]) + "\n"

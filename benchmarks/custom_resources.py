"""What custom resources cost beside built-in kinds: memory, start, creation, and what other requests notice of them.

python benchmarks/custom_resources.py [--definitions N] [--objects N]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp
from _kit import api_server, caller, heading, measure, resident

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MAPS = "/api/v1/namespaces/default/configmaps"
CONDITION = {
    "type": "object",
    "required": ["type", "status"],
    "properties": {
        "type": {"type": "string", "maxLength": 316},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": {"type": "string"},
        "message": {"type": "string", "maxLength": 32768},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
    },
}


def definition(number: int) -> object:
    """A kind of some thirty fields, with defaults, a rule, columns and a status, each in a group of ten."""
    fields = {
        f"field{n}": {
            "type": "string",
            "maxLength": 64,
            "pattern": "^[a-z0-9-]*$",
            "description": f"What {n} is for, in a sentence.",
        }
        for n in range(20)
    }
    spec = {
        "type": "object",
        "required": ["replicas"],
        "properties": {
            **fields,
            "replicas": {"type": "integer", "minimum": 0, "default": 1},
            "mode": {"type": "string", "enum": ["Fast", "Safe"], "default": "Safe"},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 32, "x-kubernetes-list-type": "set"},
            "parts": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "x-kubernetes-validations": [{"rule": "self.mode == 'Safe' || self.replicas > 0", "message": "nothing is not fast"}],
    }
    conditions = {"type": "array", "items": CONDITION, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    status = {"type": "object", "properties": {"conditions": conditions, "ready": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    columns = [{"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}]
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
    }
    group = f"g{number // 10}.example.com"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things{number}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": f"things{number}", "kind": f"Thing{number}"},
            "versions": [version],
        },
    }


def things(number: int) -> str:
    return f"/apis/g{number // 10}.example.com/v1/namespaces/default/things{number}"


def thing(number: int, kinds: int) -> object:
    kind = number % kinds
    spec = {"replicas": 2, "field0": "a", "field1": "b", "tags": ["x", "y"], "parts": {"a": "b"}}
    return {
        "apiVersion": f"g{kind // 10}.example.com/v1",
        "kind": f"Thing{kind}",
        "metadata": {"name": f"t-{number}", "labels": {"app": f"a-{number % 100}"}},
        "spec": spec,
    }


async def define(http: aiohttp.ClientSession, pid: int, count: int) -> None:
    """Create definitions, and wait for each until its objects can be listed."""
    usable: list[float] = []
    create = caller(http)("POST", lambda n: CRDS, definition)

    async def one(number: int) -> None:
        await create(number)
        begun = time.perf_counter()
        while True:
            async with http.get(things(number)) as answer:
                if answer.status == 200:
                    usable.append(time.perf_counter() - begun)
                    return

    await measure("create a definition, until it is usable", pid, count, 4, one)
    print(f"usable after its creation: median {statistics.median(usable) * 1e3:.1f} ms, slowest {max(usable) * 1e3:.1f} ms")


async def run(folder: Path, kinds: int, objects: int) -> None:
    heading()
    async with api_server(folder) as (http, pid, ready):
        call = caller(http)
        await measure("create a config map", pid, objects, 32, call("POST", lambda n: MAPS, lambda n: {
            "metadata": {"name": f"m-{n}", "labels": {"app": f"a-{n % 100}"}}, "data": {f"field{k}": "value" for k in range(8)}}))  # fmt: skip
        await measure("get a config map", pid, 5000, 32, call("GET", lambda n: f"{MAPS}/m-{n % objects}"))
        before = resident(pid)
        await define(http, pid, kinds)
        print(f"memory: {before:.1f} MiB before, {resident(pid):.1f} MiB with {kinds} definitions (started in {ready:.2f} s)")
        await measure("get a config map, with definitions", pid, 5000, 32, call("GET", lambda n: f"{MAPS}/m-{n % objects}"))
        create = call("POST", lambda n: things(n % kinds), lambda n: thing(n, kinds))
        await measure("create a custom resource, first of its kind", pid, kinds, 32, create)
        await measure("create a custom resource", pid, objects - kinds, 32, lambda n: create(n + kinds))
        await measure("get a custom resource", pid, 5000, 32, call("GET", lambda n: f"{things(n % kinds)}/t-{n % objects}"))
        for path in ("/apis", "/openapi/v2", "/openapi/v3"):
            await measure(f"{path}, once", pid, 1, 1, call("GET", lambda n, path=path: path))
        print(f"memory with {objects} custom resources and as many config maps: {resident(pid):.1f} MiB")
    async with api_server(folder) as (http, pid, ready):
        print(f"started again in {ready:.2f} s, memory {resident(pid):.1f} MiB")
        await measure(
            "get a custom resource, first of its kind", pid, kinds, 32, caller(http)("GET", lambda n: f"{things(n)}/t-{n}")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--definitions", type=int, default=500)
    parser.add_argument("--objects", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), given.definitions, given.objects))


if __name__ == "__main__":
    main()

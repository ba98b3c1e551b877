"""A controller written with kr8s: watches Databases, adopts a child for each, writes status when the child is ready.

python kr8s_database.py NAMESPACE
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import kr8s
from kr8s.asyncio.objects import ConfigMap, Deployment, new_class

Database = new_class(kind="Database", version="data.example.com/v1", namespaced=True, scalable=True)


def child(database: Any) -> dict[str, Any]:
    labels = {"database": database.name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "db", "image": f"{database.spec.engine}:16"}]},
    }
    return {
        "metadata": {"name": database.name, "namespace": database.namespace, "labels": labels},
        "spec": {"replicas": database.spec.replicas, "selector": {"matchLabels": labels}, "template": template},
    }


async def reconcile(database: Any, api: Any) -> None:
    await database.refresh()
    if "deletionTimestamp" in database.metadata:
        await finish(database, api)
        return
    if "data.example.com/kr8s" not in database.metadata.get("finalizers", []):
        await database.patch({"metadata": {"finalizers": ["data.example.com/kr8s"]}})
    deployment = await Deployment(child(database), api=api)
    if not await deployment.exists():
        await deployment.create()
        await database.adopt(deployment)
    else:
        await deployment.refresh()
        if deployment.replicas != database.replicas:
            await deployment.scale(database.replicas)
    while not await deployment.ready():
        await asyncio.sleep(0.05)
    status = {"phase": "Ready", "ready": database.replicas, "replicas": database.replicas}
    await database.patch({"status": status}, subresource="status")


async def finish(database: Any, api: Any) -> None:
    """What is done before a database goes."""
    if not database.metadata.get("finalizers"):
        return
    backup = await ConfigMap(
        {"metadata": {"name": f"{database.name}-backup", "namespace": database.namespace}, "data": {"by": "kr8s"}}, api=api
    )
    if not await backup.exists():
        await backup.create()
    await database.patch([{"op": "remove", "path": "/metadata/finalizers"}], type="json")


async def main(namespace: str) -> None:
    api = await kr8s.asyncio.api(namespace=namespace)
    while True:
        async for event, database in api.watch("databases.data.example.com", namespace=namespace):
            print(event, database.name, flush=True)
            if event != "DELETED":
                try:
                    await reconcile(database, api)
                except kr8s.NotFoundError:
                    print("gone", database.name, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

"""A controller written with lightkube, level-triggered: lists, watches from there, applies a child for each Database, writes status.

python lightkube_database.py NAMESPACE
"""

from __future__ import annotations

import asyncio
import sys

from lightkube import ApiError, AsyncClient
from lightkube.core.resource import NamespacedResource
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta, OwnerReference
from lightkube.resources.apps_v1 import Deployment
from lightkube.types import PatchType, on_error_retry

Database = create_namespaced_resource("data.example.com", "v1", "Database", "databases")


def child(database: NamespacedResource) -> Deployment:
    meta, spec = database.metadata, database["spec"]
    labels = {"database": meta.name}
    owner = OwnerReference(
        apiVersion="data.example.com/v1", kind="Database", name=meta.name, uid=meta.uid, controller=True, blockOwnerDeletion=True
    )
    pods = PodTemplateSpec(
        metadata=ObjectMeta(labels=labels), spec=PodSpec(containers=[Container(name="db", image=f"{spec['engine']}:16")])
    )
    return Deployment(
        metadata=ObjectMeta(name=meta.name, namespace=meta.namespace, labels=labels, ownerReferences=[owner]),
        spec=DeploymentSpec(replicas=spec["replicas"], selector=LabelSelector(matchLabels=labels), template=pods),
    )


async def reconcile(client: AsyncClient, name: str) -> None:
    """Make the child what the database asks for, and tell how far it is."""
    database = await client.get(Database, name)
    if database.metadata.deletionTimestamp:
        return
    deployment = await client.apply(child(database), force=True)
    ready = (deployment.status and deployment.status.readyReplicas) or 0
    wanted = deployment.spec.replicas
    status = {"phase": "Ready" if ready == wanted else "Waiting", "ready": ready, "replicas": wanted}
    if (database.status or {}) != status:
        await client.patch(Database.Status, name, {"status": status}, patch_type=PatchType.MERGE)


async def follow(client: AsyncClient, kind: type, queue: asyncio.Queue[str]) -> None:
    """The names of all objects of the kind, then of each that changes: list, and watch from there."""
    listed = client.list(kind, chunk_size=2)
    async for item in listed:
        queue.put_nowait(item.metadata.name)
    version = listed.resourceVersion
    async for event, item in client.watch(kind, resource_version=version, server_timeout=2, on_error=on_error_retry):
        print(event, kind.__name__, item.metadata.name, flush=True)
        queue.put_nowait(item.metadata.name)


async def work(client: AsyncClient, queue: asyncio.Queue[str]) -> None:
    while True:
        name = await queue.get()
        try:
            await reconcile(client, name)
        except ApiError as error:
            if error.status.code == 409:
                queue.put_nowait(name)
            elif error.status.code != 404:
                raise


async def main(namespace: str) -> None:
    client = AsyncClient(namespace=namespace, field_manager="lightkube-database")
    queue: asyncio.Queue[str] = asyncio.Queue()
    await asyncio.gather(follow(client, Database, queue), follow(client, Deployment, queue), work(client, queue))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

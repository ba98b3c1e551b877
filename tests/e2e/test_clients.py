"""Client libraries that others wrote: each creates, lists in pages, watches and deletes; on each storage engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from live_cluster import Kubectl

#: The libraries leave sockets to the garbage collector, and kr8s warns of servers newer than itself.
pytestmark = [
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Kubernetes version:UserWarning"),
]

NAMES = [f"cm-{n}" for n in range(5)]


async def test_the_official_client(kubectl: Kubectl) -> None:
    def work() -> tuple[list[str], list[str]]:
        from kubernetes import client, config, watch

        api = client.CoreV1Api(config.new_client_from_config(str(kubectl.kubeconfig)))
        for name in NAMES:
            api.create_namespaced_config_map(
                kubectl.namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"e2e": "1"}))
            )
        found, token = [], None
        while True:
            page = api.list_namespaced_config_map(kubectl.namespace, label_selector="e2e=1", limit=2, _continue=token)
            found += [o.metadata.name for o in page.items]
            token = page.metadata._continue
            if not token:
                break
        revision = page.metadata.resource_version
        api.delete_namespaced_config_map(NAMES[0], kubectl.namespace)
        stream = watch.Watch().stream(
            api.list_namespaced_config_map,
            kubectl.namespace,
            label_selector="e2e=1",
            resource_version=revision,
            timeout_seconds=1,
        )
        events = [f"{e['type']} {e['object'].metadata.name}" for e in stream]
        api.api_client.rest_client.pool_manager.clear()
        return found, events

    found, events = await asyncio.to_thread(work)
    assert found == NAMES and events == [f"DELETED {NAMES[0]}"]


async def test_lightkube(kubectl: Kubectl) -> None:
    def work() -> tuple[list[Any], int]:
        from lightkube import Client, KubeConfig
        from lightkube.models.meta_v1 import ObjectMeta
        from lightkube.resources.core_v1 import ConfigMap

        client = Client(config=KubeConfig.from_file(str(kubectl.kubeconfig)))
        for name in NAMES:
            client.create(
                ConfigMap(metadata=ObjectMeta(name=name, namespace=kubectl.namespace, labels={"e2e": "2"}), data={"a": "b"})
            )
        found = [
            o.metadata.name
            for o in client.list(ConfigMap, namespace=kubectl.namespace, labels={"e2e": "2"}, chunk_size=2)
            if o.metadata
        ]
        for name in NAMES:
            client.delete(ConfigMap, name, namespace=kubectl.namespace)
        return found, len(list(client.list(ConfigMap, namespace=kubectl.namespace, labels={"e2e": "2"})))

    assert await asyncio.to_thread(work) == (NAMES, 0)


async def test_kr8s(kubectl: Kubectl) -> None:
    import kr8s.asyncio
    from kr8s.asyncio.objects import Pod

    api = await kr8s.asyncio.api(kubeconfig=str(kubectl.kubeconfig))
    pod = await Pod(
        {"metadata": {"name": "p", "namespace": kubectl.namespace}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
        api=api,
    )
    await pod.create()
    await pod.wait("condition=Ready", timeout=20)
    assert [p.name async for p in api.get("pods", namespace=kubectl.namespace)] == ["p"]
    await pod.delete()
    if api._session is not None:  # the library leaves its connections to the garbage collector, which would warn
        await api._session.aclose()
        await asyncio.sleep(0)

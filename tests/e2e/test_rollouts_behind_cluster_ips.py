"""The same as in `test_rollouts_under_traffic.py`, by a Service's cluster IP: not one of 500 requests a second fails, with either backend."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_cluster import Kubectl, own_cluster, wait_for
from private_network import private_network, problem
from test_rollouts_under_traffic import CLUSTER_SERVICE, DEPLOYMENT, change_everything, traffic

pytestmark = pytest.mark.xdist_group("traffic")


@pytest.fixture(params=["userspace", "nftables"])
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """In a network of its own where that can be had; nftables are changed nowhere else."""
    why = problem("ip", "nft")
    if why and request.param == "nftables":
        pytest.skip(why)
    with contextlib.nullcontext() if why else private_network():
        yield request.param


@pytest.fixture
def kubectl(mode: str, tmp_path: Path) -> Iterator[Kubectl]:
    flags = ("--nodes", "3", "--dns-port", "0", "--cloud-provider", "none", "--proxy-mode", mode)
    with own_cluster(tmp_path, *flags) as kubectl:
        yield kubectl


def test_no_request_fails_while_everything_changes(mode: str, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT + CLUSTER_SERVICE)
    kubectl.rolled_out("deployment/web")
    address = kubectl.path("service/web", ".spec.clusterIP")
    if mode == "userspace":
        address = f"127{address[2:]}"
    wait_for(lambda: reached(address), "a way")
    with traffic(f"http://{address}:8080/") as account:
        change_everything(kubectl)
        told = account()
    assert told["failures"] == {}, told
    assert told["answered"] == told["sent"] > 0, told
    assert len(told["pods"]) >= 11, told


def reached(address: str) -> bool:
    try:
        socket.create_connection((address, 8080), timeout=1).close()
    except OSError:
        return False
    return True

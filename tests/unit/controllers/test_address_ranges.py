"""Ranges of pod addresses: which node has which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.client.reconcile.kinds import NODES
from pilothouse.client.reconcile.objects import pod_ranges
from pilothouse.controllers.node_ipam import NodeIPAMController, pools

from .builders import node
from .cluster import Cluster


@given(st.lists(st.integers(0, 15), max_size=40))
def test_no_range_is_given_twice_and_none_is_lost(returns):
    (pool,) = pools("10.0.0.0/20", {4: 24})
    held: list[str] = []
    for back in returns:
        taken = pool.take()
        assert (taken is None) == (len(held) == 16)
        if taken is not None:
            assert taken not in held
            held.append(taken)
        if back < len(held):
            pool.release([held.pop(back)])


def test_ranges_of_other_sizes_are_gone_around():
    (pool,) = pools("10.0.0.0/22", {4: 24})
    pool.occupy(["10.0.0.0/23", "fd00::/64"])
    assert [pool.take(), pool.take(), pool.take()] == ["10.0.2.0/24", "10.0.3.0/24", None]


def test_a_range_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="does not fit"):
        pools("10.0.0.0/25", {})


async def test_nodes_get_a_range_of_each_family_and_wait_where_there_is_none():
    async with Cluster() as cluster:
        cluster.start(NodeIPAMController, cluster_cidr="10.0.0.0/23,fd00::/48")
        for n in range(3):
            await cluster.create(NODES, node(f"n{n}"))
        await cluster.settle()
        given = [pod_ranges(n) for n in cluster.all(NODES)]
        assert given == [["10.0.0.0/24", "fd00::/64"], ["10.0.1.0/24", "fd00:0:0:1::/64"], []]
        assert cluster.events == [("Node/n2", "CIDRNotAvailable", "Node n2 status is now: CIDRNotAvailable")]
        await cluster.delete(NODES, "", "n0", {"gracePeriodSeconds": 0})
        await cluster.settle()
        assert pod_ranges(cluster.find(NODES, "n2"))[0] == "10.0.0.0/24"

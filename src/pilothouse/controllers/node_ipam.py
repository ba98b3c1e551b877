"""node-ipam-controller: gives each node ranges of pod addresses, out of the cluster's (`--allocate-node-cidrs`, `--cluster-cidr`).

The range allocator only; those of cloud providers belong to these. Reference: `spec.podCIDRs` of Node.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from pilothouse.client.reconcile.kinds import NODES
from pilothouse.client.reconcile.kit import Context, Controller
from pilothouse.client.reconcile.objects import Obj, is_deleting, pod_ranges, uid

#: Bits of a node's range, by IP version.
MASKS = {4: 24, 6: 64}
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Pool:
    """The ranges of one cluster network that nodes can have; each is given to one node at a time."""

    def __init__(self, network: Network, mask: int) -> None:
        if mask < network.prefixlen:
            raise ValueError(f"a node's range (/{mask}) does not fit into {network}")
        self.network, self.mask = network, mask
        self._taken: set[Network] = set()
        self._cursor: Iterator[Network] = iter(())

    def occupy(self, ranges: Iterable[str]) -> None:
        """These ranges are a node's already."""
        self._taken.update(r for text in ranges if (r := ipaddress.ip_network(text)).version == self.network.version)

    def release(self, ranges: Iterable[str]) -> None:
        self._taken.difference_update(ipaddress.ip_network(text) for text in ranges)

    def take(self) -> str | None:
        """A range that nobody has, the next one after that given last; None if there is none."""
        for again in (False, True):
            if again:
                self._cursor = self.network.subnets(new_prefix=self.mask)
            for candidate in self._cursor:
                if not any(candidate.overlaps(t) for t in self._near(candidate)):
                    self._taken.add(candidate)
                    return str(candidate)
        return None

    def _near(self, candidate: Network) -> Iterable[Network]:
        """What is taken is nearly always of the same size; others are looked at one by one."""
        if candidate in self._taken:
            return (candidate,)
        return [t for t in self._taken if t.prefixlen != self.mask]


def pools(networks: str, masks: dict[int, int]) -> list[Pool]:
    """The pools of a `--cluster-cidr`. ValueError if they cannot be."""
    parsed = [ipaddress.ip_network(text.strip()) for text in networks.split(",")]
    return [Pool(n, masks.get(n.version, MASKS[n.version])) for n in parsed]


class NodeIPAMController(Controller):
    name = "node-ipam-controller"
    workers = 1  # one at a time: no range is given twice

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.pools: Sequence[Pool] = pools(context.options["cluster_cidr"], context.options.get("node_cidr_mask_sizes") or {})
        self.nodes = self.cache(NODES)
        self.nodes.add_handler(self._changed)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None:
            for pool in self.pools:
                pool.occupy(pod_ranges(new))
            if not pod_ranges(new):
                self.enqueue(new)
        elif old is not None:
            for pool in self.pools:
                pool.release(pod_ranges(old))
            for node in self.nodes.list():
                if not pod_ranges(node):
                    self.enqueue(node)

    async def sync(self, key: str) -> None:
        node = self.nodes.get("", key)
        if node is None or pod_ranges(node) or is_deleting(node):
            return
        taken = [pool.take() for pool in self.pools]
        given = [t for t in taken if t is not None]
        if len(given) < len(taken):
            self._give_back(given)
            self.context.event(node, NODES, "Normal", "CIDRNotAvailable", f"Node {key} status is now: CIDRNotAvailable")
            return
        patch = {"metadata": {"uid": uid(node)}, "spec": {"podCIDR": given[0], "podCIDRs": given}}
        try:
            await self.api.patch(NODES, "", key, patch, "strategic")
        except BaseException:
            self._give_back(given)
            raise

    def _give_back(self, ranges: Iterable[str]) -> None:
        for pool in self.pools:
            pool.release(ranges)

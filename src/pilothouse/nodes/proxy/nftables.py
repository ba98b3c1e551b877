"""Ways by nftables: what this machine sends to a cluster IP or a node port is sent on to an endpoint by the kernel. Needs the right to change them.

Reference: KEP-3866. One table, `pilothouse`, that is made at the start and deleted at the end. Maps lead from address, protocol and port to the chain of
a way; a change of a Service changes its own elements and chains, all in one transaction. What is sent to the Services' range and no way takes is
refused. Simulated pods and nodes are found at their own addresses too, by one rule that puts the twin in each one's place. The twins of cluster IPs are
left to sockets: another cluster, which has no right to change nftables, may listen there. An address of the cluster needs a route before a packet comes here, so the ranges are made this machine's own (`system.py`).

Only packets that this machine sends are looked at: nothing is open to the network. Left out: IPv6, loadBalancerSourceRanges, --nodeport-addresses.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping

from pilothouse.client import loopback
from pilothouse.nodes.proxy import conntrack
from pilothouse.nodes.proxy.backend import Changes
from pilothouse.nodes.proxy.system import LocalRoutes, run
from pilothouse.nodes.proxy.ways import Reached, Way

log = logging.getLogger("pilothouse.nodes")

TABLE = "ip pilothouse"
#: Simulated addresses and their twins. Less than the address plan allows: a machine's real networks may be in the rest.
PODS, NODES = ("10.64.0.0/12", "127.64.0.0/12"), ("10.192.0.0/16", "127.192.0.0/16")

_LAYOUT = """\
add table {table}
delete table {table}
table {table} {{
  map services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map nodeports {{ type inet_proto . inet_service : verdict; }}
  set refused {{ type ipv4_addr . inet_proto . inet_service; }}
  set nodes {{ type ipv4_addr; flags interval; elements = {{ 127.0.0.1, {nodes} }} }}
  chain dispatch {{
    ip daddr . meta l4proto . th dport vmap @services
    ip daddr @nodes meta l4proto . th dport vmap @nodeports
{twins}  }}
  chain output {{ type nat hook output priority -100; policy accept; goto dispatch; }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain leftover {{
    type filter hook output priority 0; policy accept;
    ct state new ct direction original ip daddr {services} goto refuse
    ct state new ct direction original ip daddr . meta l4proto . th dport @refused goto refuse
  }}
  chain source {{
    type nat hook postrouting priority 100; policy accept;
    oifname != "lo" ip saddr {services} masquerade
  }}
}}
"""


class Nftables:
    """`service_range` is that of cluster IPs."""

    name = "nftables"

    def __init__(self, service_range: str) -> None:
        self._range = service_range
        self._routes = LocalRoutes()
        self._layout = ""
        self._known: dict[str, Rules] = {}
        self._external: dict[str, set[str]] = {}
        self.reaches_services = self.reaches_pods = False

    async def start(self) -> None:
        """OSError where nftables cannot be changed, or the Services' range is somebody else's."""
        try:
            await self._routes.add(self._range)
            self.reaches_services = True
            twins = ""
            for own, twin in (PODS, NODES):
                try:
                    await self._routes.add(own)
                except OSError as error:
                    log.info("simulated addresses are found at their twins only: %s", error)
                    continue
                twins += f"    dnat ip prefix to ip daddr map {{ {own} : {twin} }}\n"
                self.reaches_pods |= own == PODS[0]
            self._layout = _LAYOUT.format(table=TABLE, services=self._range, nodes=", ".join(NODES), twins=twins)
            await run("nft", "-f", "-", text=self._layout)
        except BaseException:  # also where the start is given up
            await self._routes.close()
            raise

    async def stop(self) -> None:
        try:
            await run("nft", "delete", "table", *TABLE.split())
        except OSError as error:
            log.warning("the nftables are left behind: %s", error)
        await self._routes.close()

    async def check(self) -> None:
        """Who loads a firewall anew flushes all tables, ours too."""
        if TABLE in await run("nft", "list", "tables"):
            return
        log.warning("somebody has deleted the nftables of Services: they are made again")
        lines = [line for rules in self._known.values() for line in changes_of(EMPTY, rules)]
        await run("nft", "-f", "-", text=self._layout + "".join(f"{line}\n" for line in lines))

    async def apply(self, changes: Changes) -> Mapping[str, str]:
        wanted = {service: rules_of(service, ways) for service, ways in changes.items()}
        problems = {service: told for service, rules in wanted.items() if (told := await self._route(service, rules))}
        return problems | await self._transact_each(wanted)

    async def _transact_each(self, wanted: dict[str, Rules]) -> dict[str, str]:
        """All in one; if one cannot be, it must not keep the others from what they want: it is found by halves."""
        try:
            await self._transact(wanted)
            return {}
        except OSError as error:
            if len(wanted) == 1:
                return dict.fromkeys(wanted, str(error.strerror))
        services = list(wanted)
        halves = (services[: len(services) // 2], services[len(services) // 2 :])
        return {k: v for half in halves for k, v in (await self._transact_each({s: wanted[s] for s in half})).items()}

    async def _transact(self, wanted: Mapping[str, Rules]) -> None:
        before = {service: self._known.get(service, EMPTY) for service in wanted}
        text = "".join(line + "\n" for service, rules in wanted.items() for line in changes_of(before[service], rules))
        if text:
            try:
                await run("nft", "-f", "-", text=text)
            except OSError:
                await self.check()
                await run("nft", "-f", "-", text=text)
        left = {e for service, rules in wanted.items() for e in before[service].datagrams - rules.datagrams}
        for service, rules in wanted.items():
            self._known[service] = rules
            if rules == EMPTY:
                del self._known[service]
        if left:
            conntrack.cut(left)

    async def _route(self, service: str, rules: Rules) -> str:
        """External addresses need a route, too. What is wrong with one."""
        before = self._external.pop(service, set())
        if not (before or rules.external):
            return ""
        there, failed = await self._routes.retell(before, rules.external)
        if there:
            self._external[service] = there
        return "; ".join(str(e.strerror) for e in failed)


class Rules:
    """What a Service has in the table: elements and chains by name, sets of clients, and the UDP endpoints that are to be cut when they leave."""

    def __init__(self) -> None:
        #: `map key`: the chain that it leads to, or "" for an element of a set.
        self.elements: dict[tuple[str, str], str] = {}
        self.chains: dict[str, tuple[str, ...]] = {}
        self.sets: dict[str, int] = {}
        self.datagrams: set[Reached] = set()
        self.external: set[str] = set()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rules) and vars(self) == vars(other)


EMPTY = Rules()


def rules_of(service: str, ways: Iterable[Way]) -> Rules:
    """The table's part that carries a Service's ways out."""
    out = Rules()
    for way in ways:
        if way.kind == "external":
            out.external.add(f"{way.address}/32")
        key = f"{way.transport.lower()} . {way.port}"
        if not way.endpoints:
            if way.address:
                out.elements["refused", f"{way.address} . {key}"] = ""
            continue
        chain = _name("way", service, way.name)
        address = way.address or ("127.0.0.1" if way.local else "")
        place = ("services", f"{address} . {key}") if address else ("nodeports", key)
        out.elements[place] = chain
        if way.kind == "node" and way.address:
            out.elements["services", f"{loopback.twin(way.address)} . {key}"] = chain
        if way.transport == "UDP":
            out.datagrams.update(way.endpoints)
        if way.affinity:
            _sticky(out, service, way, chain)
        else:
            choices = ", ".join(f"{n} : {host} . {port}" for n, (host, port) in enumerate(way.endpoints))
            to = f"dnat ip to numgen random mod {len(way.endpoints)} map {{ {choices} }}"
            out.chains[chain] = (f"meta l4proto {way.transport.lower()} {to}",)
    return out


def _sticky(out: Rules, service: str, way: Way, chain: str) -> None:
    """Each endpoint has a set of the clients that are with it, who leave after a while; all ways of a port share it."""
    protocol = way.transport.lower()
    known, choices = [], []
    for number, (host, port) in enumerate(way.endpoints):
        name = _name("to", service, protocol, f"{host}:{port}")
        clients = name.replace("to-", "clients-")
        out.sets[clients] = way.affinity
        out.chains[name] = (f"update @{clients} {{ ip saddr }}", f"meta l4proto {protocol} dnat ip to {host}:{port}")
        known.append(f"ip saddr @{clients} goto {name}")
        choices.append(f"{number} : goto {name}")
    out.chains[chain] = (*known, f"numgen random mod {len(choices)} vmap {{ {', '.join(choices)} }}")


def changes_of(before: Rules, after: Rules) -> Iterator[str]:
    """The commands that make the one of the other, in an order in which nothing that is led to is missing."""
    for (place, key), chain in before.elements.items():
        if after.elements.get((place, key)) != chain:
            yield f"delete element {TABLE} {place} {{ {key}{_to(chain)} }}"
    for name, seconds in after.sets.items():
        if before.sets.get(name, seconds) != seconds:  # its time cannot be changed: it is made anew, when nothing names it
            yield from (f"flush chain {TABLE} {chain}" for chain in before.chains if chain in after.chains)
            yield f"delete set {TABLE} {name}"
    for name, seconds in after.sets.items():
        if before.sets.get(name) != seconds:
            yield f"add set {TABLE} {name} {{ type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; size 65535; }}"
    retold = {name for name, rules in after.chains.items() if before.chains.get(name) != rules or _set_changed(before, after)}
    for name in after.chains:
        if name not in before.chains:
            yield f"add chain {TABLE} {name}"
    for name in (*(n for n in before.chains if n not in after.chains), *(n for n in retold if n in before.chains)):
        yield f"flush chain {TABLE} {name}"
    for name in after.chains:
        if name in retold:
            yield from (f"add rule {TABLE} {name} {rule}" for rule in after.chains[name])
    for name in before.chains:
        if name not in after.chains:
            yield f"delete chain {TABLE} {name}"
    for name in before.sets:
        if name not in after.sets:
            yield f"delete set {TABLE} {name}"
    for (place, key), chain in after.elements.items():
        if before.elements.get((place, key)) != chain:
            yield f"add element {TABLE} {place} {{ {key}{_to(chain)} }}"


def _set_changed(before: Rules, after: Rules) -> bool:
    return any(before.sets.get(name, seconds) != seconds for name, seconds in after.sets.items())


def _to(chain: str) -> str:
    return f" : goto {chain}" if chain else ""


def _name(kind: str, *parts: str) -> str:
    """Names in nftables are short, and Services' are not."""
    return f"{kind}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"

"""What a configuration is made of while it is made: sections by name, files beside it, and which backends hold which pool's servers."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd

from pilothouse.dataplane.haproxy import servers
from pilothouse.dataplane.haproxy.text import identifier
from pilothouse.dataplane.model import Pool

#: For requests that nothing can serve, and the same for streams.
BAD, NOT_FOUND, MISDIRECTED, REFUSING = "e_400", "e_404", "e_421", "e_tcp"
#: Counts what was divided between pools.
TURNS = "e_turns"


@dataclass(frozen=True, slots=True)
class Listener:
    """The sockets of a front, as this process holds them: its own, and for an Edge the one by which an older HAProxy hands on what comes
    on connections that it still has."""

    descriptor: int
    hop_descriptor: int = -1
    hop_path: str = ""


@dataclass(slots=True)
class Sections:
    """`folder` is where the files will be."""

    folder: str
    pools: Mapping[str, Pool]
    frontends: dict[str, list[str]] = field(default_factory=dict)
    backends: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    #: By pool the backends with its servers, and each one's parameters for servers.
    uses: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    #: By table of clients the pool.
    memories: dict[str, str] = field(default_factory=dict)
    mirrors: bool = False

    def pool(self, name: str) -> Pool:
        return self.pools.get(name) or Pool(name)

    def file(self, kind: str, content: str) -> str:
        """A file's path; the same content is one file."""
        name = identifier(f"{kind}_", content)
        self.files[name] = content
        return f"{self.folder}/{name}"

    def to_pool(self, prefix: str, lines: Sequence[str], pool: str) -> str:
        """A backend of these lines that speaks HTTP to a pool."""
        name = servers.relay_name(pool) if servers.relayed(self.pool(pool)) else pool
        return self.backend(prefix, lines, name, servers.parameters(self.pool(name), self.folder))

    def backend(self, prefix: str, lines: Sequence[str], pool: str = "", parameters: str = "") -> str:
        """A backend of these lines, with a pool's servers if one is named; equal ones are one."""
        name = identifier(prefix, pool, lines)
        if name not in self.backends:
            self.backends[name] = [*lines, *(self._servers(name, self.pool(pool), parameters) if pool else [])]
        return name

    def _servers(self, backend: str, pool: Pool, parameters: str) -> list[str]:
        self.uses[pool.name][backend] = parameters
        made = ["balance roundrobin", "option redispatch 1"]
        if pool.affinity_seconds:
            made.append(f"stick on src table {self._memory(pool)}")
        return made + servers.lines(servers.Servers(servers.addresses(pool), parameters))

    def _memory(self, pool: Pool) -> str:
        """Which client went where, shared by all backends of the pool (their servers have the same numbers) and told to the next HAProxy."""
        name = identifier("m_", pool.name)
        self.backends[name] = [f"stick-table type ipv6 size 100k expire {pool.affinity_seconds}s"]
        self.memories[name] = pool.name
        return name

    def stream(self, pool: str) -> str:
        """The backend that passes bytes to a pool."""
        return self.backend("t_", ["mode tcp", "retries 3"], pool) if pool else REFUSING

    def lookup(self, verb: str, name: str, into: str, entries: Mapping[str, str], condition: str = "") -> list[str]:
        """Lines that set a variable to the value of the most specific hostname that covers another variable's."""
        exact = {host: value for host, value in entries.items() if host and host[0] != "*"}
        suffixes = {host[1:]: entries[host] for host in sorted(entries, key=len, reverse=True) if host.startswith("*")}
        open_ = f"!{{ var({into}) -m found }} {condition}".rstrip()
        made = []
        for table, converter in ((exact, "map_str"), (suffixes, "map_end")):
            if table:
                path = self.file("map", "".join(f"{host} {value}\n" for host, value in table.items()))
                made.append(f"{verb} set-var({into}) var({name}),{converter}({path}) if {open_}")
        if "" in entries:
            made.append(f"{verb} set-var({into}) str({entries['']}) if {open_}")
        return made

    def split(self, shares: Sequence[tuple[str, int]], verb: str) -> tuple[str, list[str]]:
        """Backends by weight: what to set `txn.to` to, and the lines that put the chosen one in its place, for after all decisions.

        Of each run of requests every backend has its exact part. The steps through the total are of its golden section, so
        that a backend's turns are spread over the run.
        """
        divisor = gcd(*(weight for _, weight in shares))
        parts = [(backend, weight // divisor) for backend, weight in shares]
        if len(parts) == 1:
            return parts[0][0], []
        name = identifier("w_", parts)
        asked = f"{{ var(txn.to) -m str {name} }}"
        count = sum(weight for _, weight in parts)
        self.backends[TURNS] = ["stick-table type string size 10k store gpc0"]
        made = [
            f"{verb} track-sc0 str({name}) table {TURNS} if {asked}",
            f"{verb} set-var(txn.turn) sc0_inc_gpc0,mul({_step(count)}),mod({count}) if {asked}",
        ]
        end = 0
        for backend, weight in parts:
            end += weight
            made.append(f"{verb} set-var(txn.to) str({backend}) if {asked} {{ var(txn.turn) -m int lt {end} }}")
        return name, made


def _step(total: int) -> int:
    """Near the golden section of a total, and without a divisor in common, so that steps of it visit everything once."""
    return next(step for step in itertools.count(max(1, round(total * 0.618))) if gcd(step, total) == 1)

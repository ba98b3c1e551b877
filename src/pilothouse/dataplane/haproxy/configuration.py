"""The whole configuration, from all fronts and pools: a pure function from the model to text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pilothouse.dataplane.haproxy import edges, forwards, script, servers
from pilothouse.dataplane.haproxy.sections import BAD, MISDIRECTED, NOT_FOUND, REFUSING, Listener, Sections
from pilothouse.dataplane.model import Forward, Front, Pool

#: Sockets in the folder: the runtime API's, and one for a connection that has HAProxy stay.
CONTROL, STAY = "control", "stay"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Files by name, the configuration itself among them, for a folder that was told; and what can be changed without another."""

    files: Mapping[str, str]
    #: By pool the backends with its servers, and the parameters of servers there.
    uses: Mapping[str, Mapping[str, str]]
    #: Tables of which client went where, and their servers in the order of their numbers.
    memories: Mapping[str, Sequence[str]]


NAME = "haproxy.cfg"

_DEFAULTS = """
defaults
  mode http
  maxconn {connections}
  timeout connect 5s
  timeout client 24d
  timeout server 24d
  timeout tunnel 24d
  timeout http-request 60s
  timeout http-keep-alive 75s
  option clitcpka
  option srvtcpka
  option dontlognull
  option abortonclose
"""


def render(
    fronts: Iterable[Front],
    pools: Mapping[str, Pool],
    listeners: Mapping[str, Listener],
    folder: str,
    control: int,
    connections: int = 10_000,
) -> Configuration:
    """ValueError for what HAProxy cannot do. `control` is the descriptor of the runtime API's socket."""
    sections = Sections(folder, pools)
    for front in fronts:
        add(front, listeners[front.name], sections)
    for name in sections.uses:
        tls = sections.pool(name).tls
        if tls and tls.ca:
            sections.files[servers.authority_file(sections.pool(name))] = tls.ca
    files = {**sections.files, NAME: _text(sections, control, connections), script.FILE: script.SCRIPT}
    memories = {table: list(servers.addresses(sections.pool(pool))) for table, pool in sections.memories.items()}
    return Configuration(files, {name: dict(backends) for name, backends in sections.uses.items()}, memories)


def add(front: Front, listener: Listener, sections: Sections) -> None:
    if isinstance(front, Forward):
        forwards.add(front, listener, sections)
    else:
        edges.add(front, listener, sections)


def _text(sections: Sections, control: int, connections: int) -> str:
    made = [
        "global",
        f"  stats socket fd@{control} level admin",
        "  stats timeout 24d",
        f"  maxconn {connections}",
        f"  nbthread {max(1, min(4, os.cpu_count() or 1))}",
        "  ssl-default-bind-options ssl-min-ver TLSv1.2",
        "  ssl-server-verify required",
        "  close-spread-time 10m",
        # each thread takes its own, one by one: what one has accepted for another can be lost when HAProxy stops
        "  tune.listener.multi-queue off",
        "  tune.maxaccept 1",
        f"  lua-load {sections.folder}/{script.FILE}",
    ]
    if sections.mirrors:
        made.append(f"  tune.bufsize {script.BUFFER}")
    made.append(_DEFAULTS.format(connections=connections))
    answers = {
        BAD: ["http-request return status 400", "http-after-response set-header Connection close"],
        NOT_FOUND: ["http-request return status 404"],
        MISDIRECTED: ["http-request return status 421"],
        REFUSING: ["mode tcp"],
    }
    stay = [
        "mode tcp",
        f"bind unix@{sections.folder}/{STAY} mode 600",
        "tcp-request inspect-delay 24d",
        "tcp-request content reject if { req.len gt 0 }",
        f"default_backend {REFUSING}",
    ]
    for kind, found in (("frontend", {"e_stay": stay, **sections.frontends}), ("backend", {**answers, **sections.backends})):
        for name, lines in found.items():
            made += [
                "",
                f"{kind} {name}",
                *(f"  {line}" for line in sorted(lines, key=lambda line: line.startswith("use_backend"))),
            ]
    return "\n".join(made) + "\n"

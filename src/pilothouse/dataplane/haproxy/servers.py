"""A pool's endpoints as servers of HAProxy's, in a file's lines and in commands of the runtime API.

A server is named after its address, so that adding one twice is not possible and the memory of affinity outlives reloads. An endpoint
alone in its pool is there twice: HAProxy waits a second before it tries the same server again, and none before it tries another. The second is
seldom taken otherwise.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pilothouse.dataplane.haproxy.text import hostname, identifier, word
from pilothouse.dataplane.model import Pool

SYSTEM_AUTHORITIES = "@system-ca"


@dataclass(frozen=True, slots=True)
class Servers:
    """By name the address of each, and how they are spoken to: a string of HAProxy's parameters."""

    addresses: Mapping[str, str]
    parameters: str = ""


@functools.lru_cache(maxsize=8192)
def addresses(pool: Pool) -> Mapping[str, str]:
    """By server name, address and weight. The same mapping for the same pool: it is only read."""
    made = {}
    for endpoint in pool.endpoints:
        if endpoint.host.startswith("/"):  # a socket of ours
            made[endpoint.host.rpartition("/")[2]] = f"unix@{endpoint.host}"
            continue
        host = ipaddress.ip_address(endpoint.host)
        made[f"{host}:{endpoint.port}"] = f"[{host}]:{endpoint.port}" if host.version == 6 else f"{host}:{endpoint.port}"
    weighed = {name: f"{address} weight 256" for name, address in made.items()}
    if len(made) == 1:
        weighed |= {f"{name}:again": f"{address} weight 1" for name, address in made.items()}
    return weighed


def parameters(pool: Pool, folder: str) -> str:
    """How an HTTP front speaks to the pool's endpoints."""
    if pool.tls is None:
        return "proto h2" if pool.protocol == "http2" else ""
    if pool.tls.ca:
        check_authorities(pool.tls.ca)
    protocol = "alpn h2" if pool.protocol == "http2" else "alpn http/1.1"
    authority = f"{folder}/{authority_file(pool)}" if pool.tls.ca else SYSTEM_AUTHORITIES
    name = hostname(pool.tls.hostname)
    return f"ssl verify required ca-file {authority} {protocol} sni str({name}) verifyhost {name}"


@functools.lru_cache(maxsize=256)
def check_authorities(pem: str) -> None:
    """ValueError if these are no certificates: HAProxy would not start with them."""
    from cryptography import x509

    x509.load_pem_x509_certificates(pem.encode())


def relayed(pool: Pool) -> bool:
    """Whether HAProxy cannot itself see to it that the pool's endpoints are who they should be, or does not show them who comes.

    What is to be shown would have to be in its files before it starts.
    """
    return pool.tls is not None and (pool.tls.names not in ((), (pool.tls.hostname,)) or pool.tls.certificate is not None)


def relay_name(pool: str) -> str:
    """The pool of the sockets for a pool."""
    return f"relayed\0{pool}"


def authority_file(pool: Pool) -> str:
    return identifier("ca_", pool.tls and pool.tls.ca) + ".pem"


def lines(servers: Servers) -> list[str]:
    """For a section. The last is never used: it has the authorities' file read, which servers that come later need."""
    made = [f"server {word(name)} {address} {servers.parameters}" for name, address in servers.addresses.items()]
    if "ssl" in servers.parameters:
        made.append(f"server template 127.0.0.1:1 weight 1 {servers.parameters} disabled")
    return [line.rstrip() for line in made]


def changes(
    backend: str, parameters: str, now: Mapping[str, str], wanted: Mapping[str, str], retired: Collection[str] = ()
) -> list[str]:
    """Commands that bring a backend's servers from one set to the other: new ones first, so that there is always one.

    `retired` are `backend/server` that are there and take no traffic.
    """
    made = []
    for name in wanted.keys() - now.keys():
        if f"{backend}/{name}" not in retired:
            made.append(f"add server {backend}/{name} {wanted[name]} {parameters}".rstrip())
        made.append(f"enable server {backend}/{name}")
    return made + [f"disable server {backend}/{name}" for name in now.keys() - wanted.keys()]

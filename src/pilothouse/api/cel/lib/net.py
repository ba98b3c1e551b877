"""The Kubernetes IP and CIDR libraries."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from pilothouse.api.cel.errors import CelError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Ip:
    """An address."""

    __slots__ = ("address",)
    cel_type = "net.IP"

    def __init__(self, address: Address) -> None:
        self.address = address

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ip) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __str__(self) -> str:
        return str(self.address)


class Cidr:
    """A network, with the address it was written with."""

    __slots__ = ("address", "length")
    cel_type = "net.CIDR"

    def __init__(self, address: Address, length: int) -> None:
        self.address = address
        self.length = length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cidr) and (self.address, self.length) == (other.address, other.length)

    def __hash__(self) -> int:
        return hash((self.address, self.length))

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"

    def masked(self) -> Cidr:
        host = self.address.max_prefixlen - self.length
        return Cidr(type(self.address)(int(self.address) >> host << host), self.length)

    def holds(self, address: Address) -> bool:
        host = address.max_prefixlen - self.length
        return address.version == self.address.version and int(address) >> host == int(self.address) >> host


def ip(text: str) -> Ip:
    """CelError for what is no address, or one with a zone or of IPv4 in IPv6."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise CelError(
            f'IP Address "{text}" parse error during conversion from string: ParseAddr("{text}"): unable to parse IP'
        ) from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise CelError(f'IP address "{text}" with zone value is not allowed')
        if address.ipv4_mapped is not None:
            raise CelError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return Ip(address)


def cidr(text: str) -> Cidr:
    address, slash, length = text.rpartition("/")
    if not slash:
        raise _no_network(text, "no '/'")
    try:
        parsed = ip(address).address
    except CelError:
        raise _no_network(text, f'ParseAddr("{address}"): unable to parse IP') from None
    if not re.fullmatch("0|[1-9][0-9]*", length, re.ASCII):
        raise _no_network(text, f'bad bits after slash: "{length}"')
    if int(length) > parsed.max_prefixlen:
        raise _no_network(text, "prefix length out of range")
    return Cidr(parsed, int(length))


def _no_network(text: str, why: str) -> CelError:
    prefix = "network address parse error during conversion from string: "
    return CelError(f'{prefix}{prefix}netip.ParsePrefix("{text}"): {why}')


def _is(parse: Any) -> Any:
    def run(text: str) -> bool:
        try:
            parse(text)
        except CelError:
            return False
        return True

    return run


def contains_network(outer: Cidr, inner: Cidr) -> bool:
    return inner.length >= outer.length and outer.holds(inner.masked().address)


_IP, _CIDR = "(net.IP)", "(net.CIDR)"

FUNCTIONS: list[tuple[str, Any]] = [
    ("ip(string) -> net.IP", ip),
    ("isIP(string) -> bool", _is(ip)),
    ("ip::isCanonical(string) -> bool", lambda text: str(ip(text)) == text),
    (f"{_IP}.family() -> int", lambda a: a.address.version),
    (f"{_IP}.isUnspecified() -> bool", lambda a: a.address.is_unspecified),
    (f"{_IP}.isLoopback() -> bool", lambda a: a.address.is_loopback),
    (f"{_IP}.isLinkLocalMulticast() -> bool", lambda a: a.address in ipaddress.ip_network(("224.0.0.0/24", "ff02::/16")[a.address.version == 6])),
    (f"{_IP}.isLinkLocalUnicast() -> bool", lambda a: a.address.is_link_local),
    (f"{_IP}.isGlobalUnicast() -> bool", lambda a: not (a.address.is_multicast or a.address.is_unspecified or a.address.is_loopback
                                                       or a.address.is_link_local or str(a.address) == "255.255.255.255")),
    ("string(net.IP) -> string", str),
    ("cidr(string) -> net.CIDR", cidr),
    ("isCIDR(string) -> bool", _is(cidr)),
    (f"{_CIDR}.containsIP(net.IP) -> bool", lambda c, a: c.holds(a.address)),
    (f"{_CIDR}.containsIP(string) -> bool", lambda c, a: c.holds(ip(a).address)),
    (f"{_CIDR}.containsCIDR(net.CIDR) -> bool", contains_network),
    (f"{_CIDR}.containsCIDR(string) -> bool", lambda c, other: contains_network(c, cidr(other))),
    (f"{_CIDR}.ip() -> net.IP", lambda c: Ip(c.address)),
    (f"{_CIDR}.masked() -> net.CIDR", Cidr.masked),
    (f"{_CIDR}.prefixLength() -> int", lambda c: c.length),
    ("string(net.CIDR) -> string", str),
]  # fmt: skip

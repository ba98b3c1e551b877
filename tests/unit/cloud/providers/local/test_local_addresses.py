"""Which addresses load balancers and gateways get, and what a configuration may say of that."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from pilothouse.client import loopback
from pilothouse.cloud.providers.local.addresses import Addresses, NotGiven
from pilothouse.cloud.providers.local.config import Config, parse
from pilothouse.dataplane.haproxy import binary


def never(address: str) -> bool:
    return False


def few() -> Addresses:
    """Three addresses for Services, and two for Gateways."""
    return Addresses(Config(IPv4Network("127.9.0.0/29")))


def test_services_begin_at_the_first_address_and_gateways_in_the_middle() -> None:
    addresses = Addresses(Config())
    assert addresses.for_service("a", never) == "127.50.0.1"
    assert addresses.for_service("b", never) == "127.50.0.2"
    assert addresses.for_gateway("g", never) == "127.50.128.1"


def test_the_smallest_range_has_an_address_for_either() -> None:
    addresses = Addresses(Config(IPv4Network("127.9.0.0/30")))
    assert (addresses.for_service("a", never), addresses.for_gateway("g", never)) == ("127.9.0.1", "127.9.0.2")


def test_no_address_is_given_twice_and_what_is_given_back_is_given_again_last() -> None:
    addresses = few()
    first = [addresses.for_service(name, never) for name in "abcxy"]  # the last two out of the other half
    assert len(set(first)) == 5
    with pytest.raises(NotGiven, match="no address is left"):
        addresses.for_service("d", never)
    addresses.release(first[1], "b")
    assert addresses.for_service("d", never) == first[1]


def test_an_address_that_somebody_had_before_is_passed_over() -> None:
    assert few().for_service("a", lambda address: address == "127.9.0.1") == "127.9.0.2"


def test_an_address_that_is_asked_for_is_given_once() -> None:
    addresses = few()
    addresses.claim("127.9.0.5", "a")
    addresses.claim("127.9.0.5", "a")
    with pytest.raises(NotGiven, match="belongs to a"):
        addresses.claim("127.9.0.5", "b")
    addresses.release("127.9.0.5", "b")
    assert addresses.holder("127.9.0.5") == "a"


@pytest.mark.parametrize("address", ["10.0.0.1", "127.9.1.0", "fd00::1", "word"])
def test_an_address_outside_of_the_range_is_refused(address: str) -> None:
    with pytest.raises(NotGiven, match=r"is not in 127\.9\.0\.0/29"):
        few().claim(address, "a")


def test_the_machines_own_loopback_address_may_be_had_by_several() -> None:
    addresses = few()
    addresses.claim("127.0.0.1", "a")
    addresses.claim("127.0.0.1", "b")


def test_where_there_is_no_range_all_are_on_one_address() -> None:
    addresses = Addresses(Config(elsewhere=True))
    assert (
        addresses.for_service("a", never) == addresses.for_service("b", never) == addresses.for_gateway("g", never) == "127.0.0.1"
    )
    with pytest.raises(NotGiven, match=r"all load balancers are on 127\.0\.0\.1"):
        addresses.claim("127.50.0.1", "a")


def test_a_quiet_address_is_preferred_but_not_for_ever() -> None:
    addresses = few()
    assert addresses.quiet("a", lambda: addresses.for_service("a", never), lambda x: x == "127.9.0.2") == "127.9.0.2"
    assert addresses.quiet("b", lambda: addresses.for_service("b", never), lambda x: False) == "127.9.0.3"
    assert addresses.for_service("c", never) == "127.9.0.1"


def test_an_empty_configuration_has_everything_by_default() -> None:
    assert parse("") == Config(IPv4Network("127.50.0.0/16"), "auto", elsewhere=not loopback.has_range())


def test_a_configuration_says_which_addresses_engine_and_ports() -> None:
    assert parse("addresses: 127.60.0.0/24\nengine: embedded\nports: elsewhere\n") == Config(
        IPv4Network("127.60.0.0/24"), "embedded", elsewhere=True
    )


def test_without_a_loopback_range_ports_are_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "has_range", lambda: False)
    assert parse("").elsewhere


def test_an_engine_that_is_named_and_not_here_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise OSError("haproxy is not installed")

    monkeypatch.setattr(binary, "check", missing)
    with pytest.raises(ValueError, match=r"^--cloud-config: engine haproxy: haproxy is not installed$"):
        parse("engine: haproxy")
    assert parse("engine: auto").engine == "auto"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("addresses: [", "--cloud-config: while parsing"),
        ("- a", "--cloud-config: keys and values are expected, not list"),
        ("engin: auto", "--cloud-config: 'engin' is not one of addresses, engine, ports"),
        ("engine: nginx", "--cloud-config: engine is 'nginx', not one of auto, embedded, haproxy"),
        ("addresses: 127.50.0.1/16", "--cloud-config: addresses: 127.50.0.1/16 has host bits set"),
        ("addresses: 127.50.0.0/31", "--cloud-config: addresses: 127.50.0.0/31 has too few addresses"),
        ("addresses: 127.64.0.0/16", "--cloud-config: addresses: 127.64.0.0/16 overlaps 127.64.0.0/10"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("[", r"\[")) as refused:
        parse(text)
    assert "\n" not in str(refused.value)

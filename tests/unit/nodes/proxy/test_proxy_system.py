"""What of this machine's network is somebody else's."""

from __future__ import annotations

import ipaddress

import pytest

from pilothouse.nodes.proxy.choose import check
from pilothouse.nodes.proxy.system import overlapping

RANGE = ipaddress.IPv4Network("10.96.0.0/16")


@pytest.mark.parametrize(
    ("route", "counts"),
    [
        ({"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"}, False),
        ({"dst": "10.0.0.0/8", "dev": "vpn"}, True),
        ({"dst": "10.96.3.0/24", "dev": "docker0"}, True),
        ({"dst": "10.96.3.4", "dev": "eth0", "type": "local"}, True),
        ({"dst": "10.97.0.0/16", "dev": "vpn"}, False),
        ({"dst": "10.96.0.0/16", "dev": "lo", "type": "local", "protocol": "77"}, False),
        ({"dst": "10.96.0.0/16", "dev": "lo", "type": "local", "protocol": "boot"}, True),
        ({"dst": "fd00::/8", "dev": "vpn"}, False),
    ],
)
def test_a_range_is_in_use_where_another_route_leads_to_it(route: dict[str, str], counts: bool) -> None:
    assert bool(overlapping(RANGE, [route])) is counts


def test_networks_of_node_ports_are_checked() -> None:
    assert check("auto", ["192.0.2.0/24", "0.0.0.0/0"]) == ("192.0.2.0/24", "0.0.0.0/0")
    with pytest.raises(ValueError, match="--nodeport-addresses"):
        check("userspace", ["192.0.2.1/24"])
    with pytest.raises(ValueError, match="--proxy-mode userspace"):
        check("nftables", ["192.0.2.0/24"])

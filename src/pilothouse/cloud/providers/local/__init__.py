"""This machine as a cloud: load balancers and gateways on loopback addresses, carried by the data plane of this process.

A Service of type LoadBalancer and a Gateway have an address each, out of a range of 127.0.0.0/8, and listen there on the ports that they ask
for; what comes goes straight to the pods. References: "Service: type LoadBalancer", KEP-1860 (ipMode), KEP-1435 (mixed protocols).
"""

from __future__ import annotations

from pilothouse.clock import Clock
from pilothouse.cloud.provider import Provider


def make(config: str, clock: Clock) -> Provider:
    """The provider, of the text of `--cloud-config` (`config.py`)."""
    from pilothouse.cloud.providers.local.config import parse
    from pilothouse.cloud.providers.local.provider import LocalProvider

    return LocalProvider(parse(config), clock)

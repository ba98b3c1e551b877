"""The provider `aws`: instances, load balancers of Services, Gateways and routes of Amazon Web Services, through boto3.

References: the documentation of the AWS cloud provider and of the AWS Load Balancer Controller; the API references of EC2, Elastic Load
Balancing (v2) and ACM. `docs/aws.md` tells what is done and what is not. boto3 comes with `pilothouse[aws]` and is imported when a provider starts.
"""

from __future__ import annotations

import importlib.util

from pilothouse.clock import Clock
from pilothouse.cloud.provider import Provider

__all__ = ["make"]


def make(config: str, clock: Clock) -> Provider:
    """The provider of this configuration. ValueError, in one line, where that cannot be."""
    from pilothouse.cloud.providers.aws.config import parse
    from pilothouse.cloud.providers.aws.provider import Aws

    settings = parse(config)
    if importlib.util.find_spec("boto3") is None:
        raise ValueError("--cloud-provider=aws needs boto3: pip install 'pilothouse[aws]'")
    return Aws(settings, clock)

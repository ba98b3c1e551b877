"""What a Service's annotations may say. Nothing is called."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.cloud.provider import CloudError
from pilothouse.cloud.providers.aws.nlb import Wish, read

PREFIX = "service.beta.kubernetes.io/aws-load-balancer-"


def wish(ports: list[dict] | None = None, annotations: dict[str, str] | None = None, **spec: Any) -> Wish:
    metadata = {"name": "web", "namespace": "default", "uid": "0-1", "annotations": {}}
    metadata["annotations"] = {f"{PREFIX}{k}": v for k, v in (annotations or {}).items()}
    ports = [{"port": 80, "nodePort": 30080, "protocol": "TCP"}] if ports is None else ports
    return read({"metadata": metadata, "spec": {"ports": ports, **spec}}, [], {}, lambda port: ())


@pytest.mark.parametrize(
    ("annotations", "complaint"),
    [
        ({"type": "clb"}, "aws-load-balancer-type: 'clb' is none of"),
        ({"scheme": "outside"}, "aws-load-balancer-scheme"),
        ({"healthcheck-interval": "1"}, "between 5 and 300"),
        ({"healthcheck-timeout": "20"}, "more than the interval"),
        ({"healthcheck-port": "http"}, "neither a number nor traffic-port"),
        ({"proxy-protocol": "yes"}, "aws-load-balancer-proxy-protocol"),
        ({"attributes": "deletion"}, "key=value"),
        ({"cross-zone-load-balancing-enabled": "maybe"}, "neither true nor false"),
        ({"access-log-enabled": "true"}, "needs the name of a bucket"),
        ({"name": "x" * 33}, "cannot be a load balancer's name"),
        ({"name": "internal-x"}, "cannot be a load balancer's name"),
    ],
)
def test_annotations_that_cannot_be_are_told_in_one_line(annotations: dict[str, str], complaint: str) -> None:
    with pytest.raises(CloudError, match=complaint) as caught:
        wish(annotations=annotations)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ports", "complaint"),
    [
        ([{"port": 53, "nodePort": 30053}, {"port": 53, "nodePort": 30054, "protocol": "UDP"}], "node ports differ"),
        ([{"port": 80, "nodePort": 30080, "protocol": "SCTP"}], "TCP and UDP only"),
        ([{"port": 80}], "no node port"),
    ],
)
def test_ports_that_cannot_be_are_told(ports: list[dict], complaint: str) -> None:
    with pytest.raises(CloudError, match=complaint):
        wish(ports)


@pytest.mark.parametrize(
    ("annotations", "internal", "as_controller"),
    [
        ({}, None, False),
        ({"type": "nlb"}, None, False),
        ({"type": "external"}, None, True),
        ({"type": "nlb-ip"}, None, True),
        ({"internal": "true"}, True, False),
        ({"internal": "0.0.0.0/0"}, True, False),
        ({"internal": "false"}, False, False),
        ({"type": "external", "scheme": "internet-facing", "internal": "true"}, False, True),
    ],
)
def test_schemes(annotations: dict[str, str], internal: bool | None, as_controller: bool) -> None:
    found = wish(annotations=annotations)
    assert (found.internal, found.as_controller) == (internal, as_controller)


@pytest.mark.parametrize(
    ("annotations", "opens"),
    [
        ({}, True),
        ({"security-groups": "sg-1"}, False),
        ({"security-groups": "sg-1", "manage-backend-security-group-rules": "true"}, True),
        ({"manage-backend-security-group-rules": "false"}, False),
    ],
)
def test_whether_nodes_are_opened(annotations: dict[str, str], opens: bool) -> None:
    assert wish(annotations=annotations).opens_nodes is opens


def test_a_short_interval_shortens_the_time_for_an_answer() -> None:
    (group,) = wish(annotations={"healthcheck-interval": "5"}).target_groups
    assert group.health["HealthCheckTimeoutSeconds"] == 5

"""What `--cloud-config` may say."""

from __future__ import annotations

import pytest

from pilothouse.clock import SystemClock
from pilothouse.cloud.provider import load
from pilothouse.cloud.providers.aws.config import Settings, parse, region_of

INI = """
; as for the AWS cloud provider
[Global]
Zone = eu-west-1a
VPC = vpc-1
SubnetID = subnet-1
KubernetesClusterID = prod   ; its name
RoleARN = "arn:aws:iam::1:role/ccm"
NodeIPFamilies = ipv6
NodeIPFamilies = ipv4
DisableSecurityGroupIngress = true

[ServiceOverride "1"]
Service = ec2
Region = eu-west-1
URL = https://ec2.example
SigningRegion = eu-west-1
"""
YAML = """
Global:
  zone: eu-west-1a
  VPC: vpc-1
  SubnetID: subnet-1
  KubernetesClusterID: prod
  RoleARN: arn:aws:iam::1:role/ccm
  NodeIPFamilies: [ipv6, ipv4]
  DisableSecurityGroupIngress: true
ServiceOverride:
  "1": {Service: ec2, URL: https://ec2.example}
"""


@pytest.mark.parametrize("text", [INI, YAML])
def test_ini_and_yaml_say_the_same(text: str) -> None:
    assert parse(text) == Settings(
        zone="eu-west-1a",
        region="eu-west-1",
        vpc="vpc-1",
        subnet="subnet-1",
        cluster="prod",
        role="arn:aws:iam::1:role/ccm",
        leave_node_groups=True,
        families=("ipv6", "ipv4"),
        endpoints={"ec2": "https://ec2.example"},
    )


def test_nothing_leaves_every_choice_to_the_account() -> None:
    assert parse("") == parse("# nothing\n") == Settings()


@pytest.mark.parametrize(
    ("zone", "region"), [("us-east-1a", "us-east-1"), ("us-gov-west-1b", "us-gov-west-1"), ("us-west-2-lax-1a", "us-west-2")]
)
def test_the_region_is_that_of_the_zone(zone: str, region: str) -> None:
    assert region_of(zone) == region


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[Global]\nZoned = a", "no setting 'Zoned'"),
        ("[Local]\nZone = a", "no section 'local'"),
        ("[Global]\nnonsense", "line 2"),
        ("Global: [1]", "Global has to be a mapping"),
        ("Global: {", "--cloud-config: "),
        ("[Global]\nNodeIPFamilies = ipv5", "NodeIPFamilies: "),
        ("[Global]\nDisableSecurityGroupIngress = maybe", "neither true nor false"),
        ('[ServiceOverride "1"]\nService = s3\nURL = http://x', "a ServiceOverride needs"),
    ],
)
def test_a_wrong_configuration_is_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        load("aws", text, SystemClock())
    assert "\n" not in str(caught.value)

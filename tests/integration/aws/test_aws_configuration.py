"""What `--cloud-config` may say."""

from __future__ import annotations

import subprocess
import sys

import pytest
from aws_world import REGION, World

from pilothouse.clock import SystemClock
from pilothouse.cloud.provider import CloudError, load
from pilothouse.cloud.providers.aws import make
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
  "1": {Service: ec2, URL: https://ec2.example, Region: eu-west-1, SigningMethod: v4}
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
        endpoints={"ec2/eu-west-1": "https://ec2.example"},
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
        ('[ServiceOverride "1"]\nService = ec2\nURL = http://x\nSigningRegion = us-east-1', "signingregion"),
    ],
)
def test_a_wrong_configuration_is_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        load("aws", text, SystemClock())
    assert "\n" not in str(caught.value)


async def test_an_address_of_one_region_is_asked_only_there(world: World) -> None:
    node = world.add_node()
    world.faults.clear()
    for region, calls in (("eu-west-1", 0), (REGION, 1)):
        text = f"[Global]\nRegion = {REGION}\nEndpointURL = http://127.0.0.1:1\n"
        text += f'[ServiceOverride "1"]\nService = ec2\nRegion = {region}\nURL = {world.server.url}\n'
        aws = make(text, SystemClock())
        await aws.start(world.surroundings())
        try:
            assert await aws.instances().exists(node)
        except CloudError:
            assert calls == 0
        await aws.close()
        assert world.faults.count == calls


def test_boto3_is_not_imported_before_a_provider_starts() -> None:
    code = "import sys; from pilothouse.clock import SystemClock; from pilothouse.cloud.provider import load; load('aws', '', SystemClock())"
    code += "; assert not {'boto3', 'botocore'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

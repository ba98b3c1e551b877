"""What answers of AWS mean. Nothing is called."""

from __future__ import annotations

import pytest

from pilothouse.cloud.provider import CloudError, InstanceNotFound, RetryAfter, Throttled
from pilothouse.cloud.providers.aws.calls import AwsError, meaning
from pilothouse.cloud.providers.aws.instances import addresses, instance_id
from pilothouse.cloud.providers.aws.network import faces_the_internet, one_per_zone


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("Throttling", Throttled),
        ("RequestLimitExceeded", Throttled),
        ("TooManyRequestsException", Throttled),
        ("InvalidInstanceID.NotFound", InstanceNotFound),
        ("DependencyViolation", RetryAfter),
        ("ResourceInUse", RetryAfter),
        ("UnauthorizedOperation", AwsError),
    ],
)
def test_errors_by_their_code(code: str, kind: type[CloudError]) -> None:
    error = meaning("DoIt", {"Error": {"Code": code, "Message": "because"}})
    assert type(error) is kind
    assert str(error) == f"DoIt: {code}: because"


def test_a_cloud_that_says_how_long_to_wait_is_heeded() -> None:
    metadata = {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "7"}}
    error = meaning("DoIt", {"Error": {"Code": "Other", "Message": ""}, "ResponseMetadata": metadata})
    assert isinstance(error, Throttled) and error.seconds == 7.0


@pytest.mark.parametrize(
    ("provider_id", "found"),
    [("aws:///eu-west-1a/i-0123456789abcdef0", "i-0123456789abcdef0"), ("i-0123456789abcdef0", "i-0123456789abcdef0"), ("", "")],
)
def test_provider_ids(provider_id: str, found: str) -> None:
    assert instance_id({"spec": {"providerID": provider_id}}) == found


@pytest.mark.parametrize("provider_id", ["gce://i-0123456789abcdef0", "aws:///eu-west-1a/fargate-1", "aws://"])
def test_provider_ids_of_no_instance(provider_id: str) -> None:
    with pytest.raises(CloudError) as caught:
        instance_id({"spec": {"providerID": provider_id}})
    assert not isinstance(caught.value, InstanceNotFound)  # such a node is not gone


def test_addresses_are_those_of_the_first_interface_and_the_first_family_first() -> None:
    interfaces = [
        {"Attachment": {"DeviceIndex": 1}, "Ipv6Addresses": [{"Ipv6Address": "2001:db8::9"}]},
        {"Attachment": {"DeviceIndex": 0}, "Ipv6Addresses": [{"Ipv6Address": "2001:db8::1"}]},
    ]
    instance = {
        "PrivateIpAddress": "10.0.0.1",
        "PublicIpAddress": "192.0.2.1",
        "PrivateDnsName": "ip-10-0-0-1.ec2.internal",
        "NetworkInterfaces": interfaces,
    }
    assert [(a["type"], a["address"]) for a in addresses(instance, ("ipv6", "ipv4"))] == [
        ("InternalIP", "2001:db8::1"),
        ("InternalIP", "10.0.0.1"),
        ("ExternalIP", "192.0.2.1"),
        ("InternalDNS", "ip-10-0-0-1.ec2.internal"),
        ("Hostname", "ip-10-0-0-1.ec2.internal"),
    ]


def test_a_subnet_without_a_table_of_its_own_has_the_main_one() -> None:
    out = {"Routes": [{"GatewayId": "igw-1"}], "Associations": [{"Main": True}]}
    inside = {"Routes": [{"GatewayId": "local"}], "Associations": [{"SubnetId": "subnet-1"}]}
    assert faces_the_internet("subnet-2", [inside, out])
    assert not faces_the_internet("subnet-1", [out, inside])


def test_a_zone_has_one_subnet_and_keeps_it() -> None:
    subnets = [{"SubnetId": f"subnet-{n}", "AvailabilityZone": "a" if n < 3 else "b"} for n in range(4)]
    assert [s["SubnetId"] for s in one_per_zone(subnets, "tag", set())] == ["subnet-0", "subnet-3"]
    assert [s["SubnetId"] for s in one_per_zone(subnets, "tag", {"subnet-2"})] == ["subnet-2", "subnet-3"]
    subnets[1]["Tags"] = [{"Key": "tag", "Value": "owned"}]
    assert [s["SubnetId"] for s in one_per_zone(subnets, "tag", {"subnet-2"})] == ["subnet-1", "subnet-3"]

import pytest

from pilothouse.api.errors import StatusError
from pilothouse.apiserver import negotiate
from pilothouse.apiserver.negotiate import Format, choose

TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


@pytest.mark.parametrize(
    ("accept", "want"),
    [
        ("", Format()),
        ("*/*", Format()),
        ("application/yaml", Format("application/yaml")),
        ("application/vnd.kubernetes.protobuf, application/json", Format("application/vnd.kubernetes.protobuf")),
        ("application/vnd.kubernetes.protobuf;q=0.5, application/json", Format()),
        (f"{TABLE},application/json", Format(transform="Table")),
        (f"application/json;q=0.1,{TABLE}", Format(transform="Table")),
        ("application/json;as=Other;v=v1;g=meta.k8s.io,application/json", Format()),
        (
            "application/json;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io",
            Format(transform="PartialObjectMetadata", version="v1beta1"),
        ),
    ],
)
def test_the_best_clause_that_can_be_served_wins(accept: str, want: Format) -> None:
    assert choose(accept) == want


@pytest.mark.parametrize("accept", ["application/json;as=Table", "application/json;as=Table;g=apps;v=v1", "application/cbor"])
def test_what_cannot_be_served_is_not_acceptable(accept: str) -> None:
    with pytest.raises(StatusError) as caught:
        choose(accept)
    assert caught.value.code == 406


def test_the_container_takes_only_media_types_that_it_produces_literally() -> None:
    negotiate.check_produced("text/html, application/json", negotiate.OBJECT_TYPES)
    with pytest.raises(StatusError, match="Available representations"):
        negotiate.check_produced("application/*", negotiate.OBJECT_TYPES)


def test_bodies_are_json_or_yaml() -> None:
    assert negotiate.body_media("") == "json"
    assert negotiate.body_media("Application/JSON; charset=utf-8") == "json"
    assert negotiate.body_media("application/yaml") == "yaml"
    with pytest.raises(StatusError) as caught:
        negotiate.body_media("text/json")
    assert caught.value.code == 415

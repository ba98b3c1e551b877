"""The API server's flags that choose what is served."""

import pytest

from pilothouse.api import tables
from pilothouse.apiserver import feature_gates, runtime_config


def names(*config: str) -> set[str]:
    return {f"{r.api_version}/{r.plural}" for r in runtime_config.served(tables.RESOURCES, config)}


def test_everything_is_served_by_default() -> None:
    assert len(names()) == len(tables.RESOURCES)


def test_a_group_version_can_be_switched_off() -> None:
    left = names("batch/v1=false")
    assert "batch/v1/jobs" not in left and "apps/v1/deployments" in left


def test_a_resource_stands_before_its_group_version_and_that_before_all() -> None:
    left = names("api/all=false", "batch/v1", "batch/v1/cronjobs=false")
    assert "batch/v1/jobs" in left and "batch/v1/cronjobs" not in left and "apps/v1/deployments" not in left
    assert "v1/pods" in left, "the server itself needs the core group"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("nonsense/v1=true", "unknown API group version"),
        ("batch/v1=maybe", "must be true or false"),
        ("api/v1=false", "needs it"),
    ],
)
def test_what_cannot_be_is_told(config: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        names(config)


def test_gates_may_be_given_their_own_value() -> None:
    feature_gates.check(("JobManagedBy=true", "GangScheduling=false", "AllAlpha=false"))


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ("JobManagedBy=false", "always true here"),
        ("GangScheduling=true", "always false here"),
        ("NoSuchGate=true", "unrecognized feature gate: NoSuchGate"),
        ("JobManagedBy", "not of the form"),
    ],
)
def test_other_gates_are_refused(gate: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        feature_gates.check((gate,))

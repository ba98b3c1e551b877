"""KubeControllerManagerConfiguration files."""

import pytest

from pilothouse.controllers.config import API_VERSION, KIND, parse_config


def test_a_file_sets_what_flags_set() -> None:
    document = {
        "apiVersion": API_VERSION, "kind": KIND,
        "generic": {"controllers": ["*", "-namespace-controller"], "leaderElection": {"leaderElect": False}},
        "kubeCloudShared": {"useServiceAccountCredentials": True},
        "deploymentController": {"concurrentDeploymentSyncs": 20},
    }  # fmt: skip
    found = parse_config(document)
    assert found.controllers == ("*", "-namespace-controller")
    assert found.leader_elect is False and found.use_service_account_credentials is True
    assert found.concurrency == {"deployment-controller": 20}


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"hpaController": {"horizontalPodAutoscalerTolerance": 1}}, "hpaController.* is not supported"),
        ({"deploymentController": {"concurrentDeploymentSyncs": 0}}, "at least 1"),
        ({"generic": {"controllers": "all"}}, "wrong type"),
        ({"kind": "Pod"}, "expected a KubeControllerManagerConfiguration"),
    ],
)
def test_what_is_not_supported_is_told(extra: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_config({"apiVersion": API_VERSION, "kind": KIND, **extra})

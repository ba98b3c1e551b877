"""What a pod gets that its author did not write."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pods_and_owners import PODS, Obj, container, created, errors, pod, strategy

from pilothouse.api.podspec.defaults import pull_policy


def test_a_container_and_an_image_are_enough_for_a_pod() -> None:
    made = created(PODS, pod())
    assert made["spec"] == {
        "containers": [
            {
                "name": "c",
                "image": "nginx:1",
                "imagePullPolicy": "IfNotPresent",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "enableServiceLinks": True,
    }
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("registry.example.com:5000/team/app", "Always"),
        ("registry.example.com:5000/team/app:2", "IfNotPresent"),
        ("nginx@sha256:" + "0" * 64, "IfNotPresent"),
        ("", "IfNotPresent"),
        ("Not Valid!", "IfNotPresent"),
        ("Upper/Case", "IfNotPresent"),
    ],
)
def test_images_that_may_change_are_always_pulled(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


def test_limits_stand_for_requests_in_pods_but_not_in_templates() -> None:
    limited = container(resources={"limits": {"cpu": "1"}})
    assert created(PODS, pod(limited))["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1"}
    templates = strategy("", "podtemplates")
    made = created(templates, {"metadata": {"name": "t"}, "template": {"spec": {"containers": [copy.deepcopy(limited)]}}})
    assert "requests" not in made["template"]["spec"]["containers"][0]["resources"]


def test_on_the_nodes_network_ports_are_the_nodes() -> None:
    made = created(PODS, pod(container(ports=[{"containerPort": 80}]), hostNetwork=True))
    assert made["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]


def test_pod_level_requests_are_what_the_containers_ask_for() -> None:
    asked = container(resources={"requests": {"cpu": "100m"}})
    made = created(PODS, pod(asked, resources={"limits": {"cpu": "2", "memory": "1Gi"}}))
    assert made["spec"]["resources"]["requests"] == {"cpu": "100m", "memory": "1Gi"}


def test_both_names_of_the_service_account_are_kept_alike() -> None:
    assert created(PODS, pod(serviceAccount="x"))["spec"]["serviceAccountName"] == "x"
    assert created(PODS, pod(serviceAccountName="y"))["spec"]["serviceAccount"] == "y"


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"limits": {"example.com/gpu": "1"}}, "BestEffort"),
    ],
)
def test_quality_of_service_follows_from_cpu_and_memory(resources: Obj, quality: str) -> None:
    assert created(PODS, pod(container(resources=resources)))["status"]["qosClass"] == quality


def test_gated_pods_say_so_in_their_status() -> None:
    (condition,) = created(PODS, pod(schedulingGates=[{"name": "example.com/g"}]))["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "SchedulingGated")
    assert condition["lastTransitionTime"] == "2023-11-14T22:13:20Z"


def test_label_keys_become_part_of_the_selector() -> None:
    spread = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {},
        "matchLabelKeys": ["v"],
    }
    made = created(PODS, pod(metadata={"labels": {"v": "1"}}, topologySpreadConstraints=[spread]))
    wanted = [{"key": "v", "operator": "In", "values": ["1"]}]
    assert made["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"] == wanted
    assert PODS.validate(made) == []


def test_what_is_off_by_default_is_dropped() -> None:
    projected = {"projected": {"sources": [{"clusterTrustBundle": {"name": "b", "path": "x"}}]}}
    made = created(PODS, pod(container(lifecycle={"stopSignal": "SIGTERM"}), volumes=[{"name": "v", **projected}]))
    assert made["spec"]["volumes"][0]["projected"]["sources"] == [{}]
    assert made["spec"]["containers"][0]["lifecycle"] == {}


_probe = st.fixed_dictionaries({"tcpSocket": st.just({"port": 80})}, optional={"periodSeconds": st.integers(0, 9)})
_container = st.fixed_dictionaries(
    {"name": st.just("c"), "image": st.sampled_from(["nginx", "nginx:1", "a/b@sha256:" + "0" * 64])},
    optional={
        "livenessProbe": _probe,
        "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(1, 65535)}), max_size=1),
        "resources": st.fixed_dictionaries(
            {}, optional={"limits": st.dictionaries(st.sampled_from(["cpu", "memory"]), st.just("1"))}
        ),
    },
)


@given(_container, st.booleans())
def test_defaults_do_not_change_what_they_filled_in_and_are_valid(made: Obj, host: bool) -> None:
    once: Any = created(PODS, pod(made, hostNetwork=host))
    again = copy.deepcopy(once)
    PODS.default(again)
    assert again == once
    assert errors(PODS, pod(made, hostNetwork=host)) == []

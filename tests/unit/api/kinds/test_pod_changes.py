"""What may change in a pod that exists, through its own door and through the others."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pods_and_owners import CONTEXT, PODS, Obj, container, created, pod, told, update_errors

SELECTOR = {
    "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Exists"}]}]
    }
}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pod(), pod(container(image="nginx:2"))),
        (pod(), pod(activeDeadlineSeconds=5)),
        (pod(activeDeadlineSeconds=5), pod(activeDeadlineSeconds=4)),
        (pod(), pod(tolerations=[{"key": "x", "operator": "Exists"}])),
        (pod(terminationGracePeriodSeconds=-1), pod(terminationGracePeriodSeconds=1)),
        (pod(schedulingGates=[{"name": "a"}, {"name": "b"}]), pod(schedulingGates=[{"name": "b"}])),
        (pod(schedulingGates=[{"name": "a"}]), pod(schedulingGates=[{"name": "a"}], nodeSelector={"x": "y"})),
        (pod(schedulingGates=[{"name": "a"}]), pod(schedulingGates=[{"name": "a"}], affinity={"nodeAffinity": SELECTOR})),
    ],
)
def test_allowed_changes(old: Obj, new: Obj) -> None:
    assert update_errors(PODS, old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (pod(), pod(container(), container(name="d")), "spec.containers: Forbidden: pod updates may not add or remove containers"),
        (pod(activeDeadlineSeconds=5), pod(activeDeadlineSeconds=6),
         "spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"),
        (pod(tolerations=[{"key": "x", "operator": "Exists"}]), pod(),
         "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"),
        (pod(schedulingGates=[{"name": "a"}]), pod(schedulingGates=[{"name": "a"}, {"name": "z"}]),
         "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'z'"),
        (pod(schedulingGates=[{"name": "a"}], nodeSelector={"x": "y"}), pod(schedulingGates=[{"name": "a"}], nodeSelector={"x": "z"}),
         'spec.nodeSelector: Invalid value: {"x":"z"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)'),
        (pod(metadata={"annotations": {"kubernetes.io/config.mirror": "x"}}, nodeName="n"), pod(nodeName="n"),
         "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not remove or update mirror pod annotation"),
    ],
)  # fmt: skip
def test_forbidden_changes(old: Obj, new: Obj, wanted: str) -> None:
    assert update_errors(PODS, old, new) == [wanted]


def test_any_other_change_is_shown_as_a_difference() -> None:
    (message,) = update_errors(PODS, pod(), pod(hostname="h", nodeName="n"))
    assert message.startswith("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,")
    assert '\n- "NodeName": "",\n+ "NodeName": "n",\n' in message
    assert '\n- "Hostname": "",\n+ "Hostname": "h",\n' in message


def test_the_generation_counts_changes_of_the_spec_only() -> None:
    old = created(PODS, pod())
    for change, generation in (({"metadata": {"labels": {"a": "b"}}}, 1), ({"image": "nginx:2"}, 2)):
        new = pod(container(image=change.get("image", "nginx:1")), metadata=change.get("metadata"))
        PODS.default(new)
        PODS.prepare_update(new, old, CONTEXT)
        assert new["metadata"]["generation"] == generation


def _through(sub: str, old: Obj, **spec: Any) -> tuple[Obj, list[str]]:
    """The pod after a write of these fields through a subresource, and what was wrong with it."""
    new = copy.deepcopy(old)
    new["spec"] |= spec
    PODS.default(new)
    PODS.prepare_subresource(sub, new, old, CONTEXT)
    return new, told(PODS.validate_subresource(sub, new, old))


def test_ephemeral_containers_only_come() -> None:
    guest = {"name": "e", "image": "busybox", "targetContainerName": "c"}
    made, wrong = _through("ephemeralcontainers", created(PODS, pod()), ephemeralContainers=[dict(guest)], hostname="h")
    assert wrong == []
    assert "hostname" not in made["spec"]
    assert made["metadata"]["generation"] == 2
    _, wrong = _through("ephemeralcontainers", made, ephemeralContainers=[])
    assert wrong == ['spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be removed\n']
    _, wrong = _through("ephemeralcontainers", made, ephemeralContainers=[{**guest, "image": "other"}])
    assert wrong[0].startswith('spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be changed\n')


def test_a_resize_changes_cpu_and_memory_and_nothing_else() -> None:
    old = created(PODS, pod(container(resources={"requests": {"cpu": "1"}, "limits": {"cpu": "2"}})))
    bigger = container(image="other", resources={"requests": {"cpu": "1500m"}, "limits": {"cpu": "2"}})
    made, wrong = _through("resize", old, containers=[bigger])
    assert wrong == []
    assert made["spec"]["containers"][0]["image"] == "nginx:1"
    assert made["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1500m"}
    _, wrong = _through("resize", old, containers=[container(resources={"requests": {"cpu": "1"}})])
    assert wrong == ["spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"]
    more = {"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}, "limits": {"cpu": "2"}}
    assert _through("resize", old, containers=[container(resources=more)])[1] == [
        "spec: Forbidden: only cpu and memory resources are mutable"
    ]


def test_a_resize_keeps_the_quality_of_service() -> None:
    _, wrong = _through("resize", created(PODS, pod()), containers=[container(resources={"requests": {"cpu": "1"}})])
    assert wrong == ['spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing']


def test_a_status_write_keeps_owners_and_quality_of_service() -> None:
    old = created(PODS, pod(metadata={"ownerReferences": [{"uid": "o"}]}))
    new = {**pod(), "status": {"phase": "Running"}}
    PODS.prepare_subresource("status", new, old, CONTEXT)
    assert new["status"] == {"phase": "Running", "qosClass": "BestEffort"}
    assert new["metadata"]["ownerReferences"] == [{"uid": "o"}]
    assert new["spec"] == old["spec"]


def test_containers_that_ended_for_good_do_not_run_again() -> None:
    old = created(PODS, pod(restartPolicy="Never"))
    old["status"]["containerStatuses"] = [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]
    new = copy.deepcopy(old)
    new["status"]["containerStatuses"] = [{"name": "c", "state": {"running": {}}}]
    wanted = "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    assert told(PODS.validate_subresource("status", new, old)) == [wanted]


@pytest.mark.parametrize(
    ("made", "wish", "seconds"),
    [
        (pod(), None, 0),
        (pod(nodeName="n"), None, 30),
        (pod(nodeName="n"), 5, 5),
        (pod(nodeName="n", terminationGracePeriodSeconds=-3), None, 1),
    ],
)
def test_grace_is_for_pods_that_run(made: Obj, wish: int | None, seconds: int) -> None:
    assert PODS.grace_period(created(PODS, made), wish) == seconds


def _cells(status: Obj, made: Obj | None = None, now: float = 0.0) -> list[Any]:
    obj = created(PODS, made or pod())
    obj["status"] = status
    return PODS.cells(obj, now)[:4]


def test_cells_say_how_a_pod_is_doing() -> None:
    running = {"name": "c", "ready": True, "restartCount": 0, "state": {"running": {}}}
    assert _cells({"phase": "Running", "containerStatuses": [running]}) == ["p", "1/1", "Running", "0"]
    crashed = {"name": "c", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
               "lastState": {"terminated": {"finishedAt": "1970-01-01T00:00:00Z"}}}  # fmt: skip
    assert _cells({"phase": "Running", "containerStatuses": [crashed]}) == ["p", "0/1", "CrashLoopBackOff", "3"]
    crashed["lastState"] = {"terminated": {"finishedAt": "1970-01-01T00:01:00Z"}}
    assert _cells({"phase": "Running", "containerStatuses": [crashed]}, now=120.0)[3] == "3 (60s ago)"
    initializing = pod(initContainers=[{"name": "i", "image": "x"}])
    assert (
        _cells({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}, initializing)[2]
        == "Init:0/1"
    )
    assert _cells({"phase": "Failed", "reason": "Evicted"})[2] == "Evicted"


_FAMILIES = "may specify no more than one IP for each IP family"


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}, []),
        ({"hostIPs": [{"ip": "10.0.0.1"}]}, ['status.hostIPs[0].ip: Invalid value: "10.0.0.1": must be equal to `hostIP`']),
        (
            {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]},
            [f'status.podIPs: Invalid value: [{{"ip":"10.0.0.1"}},{{"ip":"10.0.0.2"}}]: {_FAMILIES}'],
        ),
        (
            {"containerStatuses": [{"name": "c", "allocatedResourcesStatus": [{"name": "example.com/x"}]}]},
            [
                'status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: "example.com/x": must match one of the '
                "container's resource requests"
            ],
        ),
        (
            {"ephemeralContainerStatuses": [{"name": "d", "state": {"running": {}}}]},
            ["status.ephemeralContainerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"],
        ),
    ],
)
def test_a_status_makes_sense(status: Obj, wanted: list[str]) -> None:
    old = created(PODS, pod())
    old["status"]["ephemeralContainerStatuses"] = [{"name": "d", "state": {"terminated": {"exitCode": 0}}}]
    new = {**pod(), "status": status}
    PODS.prepare_subresource("status", new, old, CONTEXT)
    assert told(PODS.validate_subresource("status", new, old)) == wanted

"""What a simulated kubelet makes of a pod whose probes can fail, and how long it takes to stop."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pilothouse.nodes.behaviour import PLAIN, behaviour
from pilothouse.nodes.lifecycle import PodRun, Step, advance

Obj = dict[str, Any]
BEGIN = 1_767_225_600.0


def get(path: str = "/", **more: Any) -> Obj:
    return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": 10, "failureThreshold": 3, "successThreshold": 1, **more}


class Life:
    """A pod of one container, step by step."""

    def __init__(self, policy: str = "Always", startup_delay: float = 0.0, stop_delay: float = 0.0, **container: Any) -> None:
        main = {"name": "main", "ports": [{"name": "http", "containerPort": 80}], **container}
        self.pod: Obj = {"metadata": {"name": "web", "uid": "u"}, "spec": {"restartPolicy": policy, "containers": [main]}}
        self.run = PodRun(BEGIN, "10.64.0.2")
        self._delays = startup_delay, stop_delay
        self.at = 0.0
        self.wakes: list[float] = []
        self.events: list[tuple[str, str, str]] = []

    def note(self, **annotations: str) -> None:
        self.pod["metadata"]["annotations"] = {f"pilothouse.dev/{k.replace('_', '-')}": v for k, v in annotations.items()}

    def step(self) -> Step:
        startup, stop = self._delays
        step = advance(self.pod, self.run, BEGIN + self.at, startup, "10.192.0.0", stop)
        self.events += [(e.type, e.reason, e.message) for e in step.events]
        self.pod["status"] = step.status
        return step

    def until(self, at: float) -> Obj:
        """Live on until then, looking whenever something is said to happen; the container's status."""
        step = self.step()
        while step.next_at - BEGIN <= at:
            self.at = step.next_at - BEGIN
            self.wakes.append(self.at)
            step = self.step()
        self.at = at
        return dict(self.step().status["containerStatuses"][0])


def test_a_pod_whose_probes_cannot_fail_is_ready_after_their_delays_and_looked_at_no_more():
    life = Life(
        startupProbe=get(initialDelaySeconds=3),
        readinessProbe=get(initialDelaySeconds=5, successThreshold=2),
        livenessProbe=get(),
    )
    assert (life.until(2)["started"], life.until(4)["started"], life.until(14)["ready"], life.until(15)["ready"]) == (
        False,
        True,
        False,
        True,
    )
    assert life.step().next_at == math.inf and not life.events


def test_readiness_is_lost_after_the_threshold_and_comes_back():
    life = Life(readinessProbe=get("/healthz"))
    assert life.until(3)["ready"]
    life.note(http_status="/healthz=503")
    assert life.until(29)["ready"] and not life.until(30)["ready"]
    assert life.events == [("Warning", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")] * 3
    life.note()
    assert not life.until(39)["ready"] and life.until(40)["ready"]
    assert life.until(1000)["restartCount"] == 0 and life.step().next_at == math.inf


def test_a_liveness_failure_restarts_the_container_with_kubernetes_events():
    life = Life(livenessProbe=get("/live", initialDelaySeconds=5), readinessProbe=get("/ready"))
    life.note(http_status="200,/live=500")
    status = life.until(26)
    assert status["restartCount"] == 1 and status["lastState"]["terminated"]["finishedAt"] == "2026-01-01T00:00:25Z"
    failed = ("Warning", "Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500")
    killed = ("Normal", "Killing", "Container main failed liveness probe, will be restarted")
    assert life.events == [failed, failed, failed, killed]
    status = life.until(51)
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff" and life.until(61)["restartCount"] == 2


def test_a_container_that_is_not_to_be_restarted_has_failed():
    life = Life("Never", livenessProbe=get())
    life.note(http_status="500")
    life.until(40)
    assert life.step().status["phase"] == "Failed"
    assert life.events[-1] == ("Normal", "Killing", "Container main failed liveness probe")


def test_a_startup_probe_holds_the_others_back_and_kills_in_the_end():
    life = Life(startupProbe=get("/up", periodSeconds=5), livenessProbe=get("/live"), readinessProbe=get("/ready"))
    life.note(http_status="/up=503,/live=500")
    assert not life.until(4)["started"]
    assert life.until(10)["restartCount"] == 1
    assert {e[2] for e in life.events} == {
        "Startup probe failed: HTTP probe failed with statuscode: 503",
        "Container main failed startup probe, will be restarted",
    }


def test_latency_above_the_timeout_fails_and_a_range_is_drawn_each_time():
    slow = Life(readinessProbe=get("/x", timeoutSeconds=2))
    slow.note(latency="2500ms")
    assert not slow.until(30)["ready"]
    told = 'Readiness probe failed: Get "http://10.64.0.2:80/x": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    assert set(slow.events) == {("Warning", "Unhealthy", told)}
    mixed = Life(readinessProbe=get(periodSeconds=1))
    mixed.note(latency="0ms-2s")
    mixed.until(200)
    assert 60 < len(mixed.events) < 140


def test_fail_readiness_fails_readiness_probes_of_all_kinds_and_no_others():
    for probe in (get("/x"), {"tcpSocket": {"port": 80}}, {"grpc": {"port": 80}}, {"exec": {"command": ["true"]}}):
        life = Life(
            readinessProbe={**get(), **probe} if "httpGet" in probe else {"periodSeconds": 10, **probe},
            livenessProbe=get("/healthz"),
        )
        life.note(fail_readiness="true")
        status = life.until(50)
        assert not status["ready"] and status["restartCount"] == 0
        assert {e[1] for e in life.events} == {"Unhealthy"}
        life.note()
        assert life.until(61)["ready"]


def test_exec_and_tcp_probes_succeed_whatever_is_answered():
    life = Life(readinessProbe={"tcpSocket": {"port": 80}}, livenessProbe={"exec": {"command": ["x"]}})
    life.note(http_status="500", latency="10s")
    assert life.until(100)["ready"] and life.step().next_at == math.inf


def test_a_pod_is_probed_no_more_when_nothing_can_fail():
    life = Life(readinessProbe=get())
    life.note(latency="10ms", http_status="/other=500")
    assert life.until(5)["ready"]
    assert life.step().next_at == math.inf


def test_the_first_restart_is_at_once_and_later_ones_back_off():
    life = Life()
    life.note(run_for="1", exit_code="1")
    assert [life.until(t)["restartCount"] for t in (0.5, 1.5, 11, 12.5, 32, 33.5)] == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("asked", "takes"),
    [({}, 1.0), ({"stop_delay": "4"}, 4.0), ({"sleep": 5}, 6.0), ({"sleep": 25, "stop_delay": "10"}, 30.0)],
)
def test_a_pod_takes_its_sleep_and_its_delay_to_stop_within_its_grace_period(asked: Obj, takes: float):
    hook = {"lifecycle": {"preStop": {"sleep": {"seconds": asked["sleep"]}}}} if "sleep" in asked else {}
    life = Life(stop_delay=1.0, **hook)
    if "stop_delay" in asked:
        life.note(stop_delay=asked["stop_delay"])
    life.until(10)
    life.pod["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:40Z", "deletionGracePeriodSeconds": 30}
    step = life.step()
    assert not step.gone and step.next_at == BEGIN + 10 + takes
    life.at = 10 + takes
    assert life.step().gone


def test_a_pod_that_does_not_run_yet_stops_at_once():
    life = Life(startup_delay=60.0, stop_delay=1.0)
    life.until(10)
    life.pod["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:40Z", "deletionGracePeriodSeconds": 30}
    assert life.step().gone


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency": "soon"}, {"latency": "1ms-x"}, {"http-status": "99,/a,b=3,/c=x"}, {"cpu-per-request": "-"}, {"body-size": "1Gi"},
        {"fail-readiness": "yes"},
    ],
)  # fmt: skip
def test_what_means_nothing_is_ignored(wrong: Obj):
    assert behaviour({"metadata": {"annotations": {f"pilothouse.dev/{k}": v for k, v in wrong.items()}}}) == PLAIN


def test_the_longest_prefix_of_whole_elements_says_the_status():
    how = behaviour({"metadata": {"annotations": {"pilothouse.dev/http-status": "/a=404,/a/b=503,201,/c/=202"}}})
    assert [how.status_of(p) for p in ("/", "/a", "/a/b/c", "/ab", "/c", "/c/d")] == [201, 404, 503, 201, 201, 202]

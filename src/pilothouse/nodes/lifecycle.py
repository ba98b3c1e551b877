"""What a node would do with a pod, as a pure function of the pod and the time: the next status and when to look again.

A simulated kubelet. Init containers run one after another, sidecars start on their way, containers start after `startup-delay`,
become ready by their probes (`probes.py`), and run until a probe, their fate (an annotation) or the pod's deadline ends them. The first restart
is at once, later ones back off.

Annotations (all optional): `pilothouse.dev/startup-delay` (seconds, default the node's), `pilothouse.dev/run-for` (seconds after which
the containers end; without it they run for ever, init containers one startup delay), `pilothouse.dev/exit-code` (default 0),
`pilothouse.dev/stop-delay` (seconds that containers take to stop, after their `preStop` sleep, KEP-3960; at most the grace period for both), and
those by which answers and probes go (`behaviour.py`).

A container that is asked to stop does so: a server (restart policy Always) with exit code 0, work that is cut short by the signal, with 143.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from pilothouse.clock import parse_rfc3339, rfc3339
from pilothouse.nodes import probes
from pilothouse.nodes.behaviour import Behaviour, behaviour
from pilothouse.nodes.probes import Probing

Obj = dict[str, Any]

STARTUP_DELAY = "pilothouse.dev/startup-delay"
RUN_FOR = "pilothouse.dev/run-for"
EXIT_CODE = "pilothouse.dev/exit-code"
STOP_DELAY = "pilothouse.dev/stop-delay"

#: Restarts after the first back off: 10 s doubled each time, at most five minutes.
BACKOFF, MAX_BACKOFF = 10.0, 300.0
#: The exit code of a process that SIGTERM ended (128 and the signal's number).
TERMINATED = 143


@dataclass(slots=True)
class ContainerRun:
    """One container's life so far. Times are seconds since the epoch; None where that has not happened."""

    started: float | None = None
    finished: float | None = None
    exit_code: int = 0
    restarts: int = 0
    restart_at: float | None = None
    last: Obj | None = None
    #: Its probes, where they can fail, and whether nobody has looked at them since its start.
    probing: Probing | None = None
    fresh: bool = True

    @property
    def running(self) -> bool:
        return self.started is not None and self.finished is None


@dataclass(slots=True)
class PodRun:
    """What the node remembers of a pod."""

    accepted: float
    ip: str
    init: dict[str, ContainerRun] = field(default_factory=dict)
    main: dict[str, ContainerRun] = field(default_factory=dict)
    killed_at: float | None = None
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Happening:
    """An event about a container."""

    container: str
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Step:
    """The status to report now, and the moment at which something will change by itself (infinity: never)."""

    status: Obj
    next_at: float
    gone: bool = False
    events: tuple[Happening, ...] = ()


def number(pod: Obj, annotation: str, default: float) -> float:
    """A number in an annotation; the default where it is missing or no number."""
    try:
        return float((pod["metadata"].get("annotations") or {}).get(annotation, default))
    except ValueError:
        return default


def is_sidecar(container: Obj) -> bool:
    return container.get("restartPolicy") == "Always"


def advance(pod: Obj, run: PodRun, now: float, startup_delay: float, host_ip: str, stop_delay: float = 0.0) -> Step:
    """Move a pod's containers to where they are at `now`. Changes `run`, reads everything else."""
    if run.killed_at is not None or pod["metadata"].get("deletionTimestamp"):
        return _stopping(pod, run, now, host_ip, stop_delay)
    delay = number(pod, STARTUP_DELAY, startup_delay)
    wake = [_deadline(pod, run)]
    if now >= wake[0]:
        run.reason, run.message = "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
        _end_all(run, now, 137)
        return Step(_status(pod, run, now, host_ip, "Failed"), math.inf)
    ready, failed = _advance_init(pod, run, now, delay, wake)
    if failed:
        return Step(_status(pod, run, now, host_ip, "Failed"), math.inf)
    events: list[Happening] = []
    if ready:
        _advance_main(pod, run, now, delay, wake, events)
    phase = _phase(pod, run)
    if phase in ("Succeeded", "Failed"):
        for c in run.init.values():
            if c.running:
                c.finished, c.exit_code = now, 0
        return Step(_status(pod, run, now, host_ip, phase), math.inf, events=tuple(events))
    wake += _readiness_moments(pod, run)
    next_at = min((w for w in wake if w > now), default=math.inf)
    return Step(_status(pod, run, now, host_ip, phase), next_at, events=tuple(events))


def _deadline(pod: Obj, run: PodRun) -> float:
    seconds = pod["spec"].get("activeDeadlineSeconds")
    return run.accepted + seconds if seconds is not None else math.inf


def _advance_init(pod: Obj, run: PodRun, now: float, delay: float, wake: list[float]) -> tuple[bool, bool]:
    """(all done, failed for good)."""
    begin = run.accepted
    for c in pod["spec"].get("initContainers") or ():
        state = run.init.setdefault(c["name"], ContainerRun())
        if is_sidecar(c):
            _run_for_ever(state, begin + delay, now, wake)
            if state.started is None:
                return False, False
            begin = state.started
            continue
        if state.finished is None:
            if state.started is None:
                state.started = begin
            if now < state.started + delay:
                wake.append(state.started + delay)
                return False, False
            state.finished = state.started + delay
        begin = state.finished
    return True, False


def _run_for_ever(state: ContainerRun, start: float, now: float, wake: list[float]) -> None:
    if state.started is None:
        if now >= start:
            state.started = start
        else:
            wake.append(start)


def _advance_main(pod: Obj, run: PodRun, now: float, delay: float, wake: list[float], events: list[Happening]) -> None:
    begin = max([run.accepted, *(c.finished or c.started or 0.0 for c in run.init.values())])
    run_for = number(pod, RUN_FOR, math.inf)
    exit_code = int(number(pod, EXIT_CODE, 0))
    how = behaviour(pod)
    for c in pod["spec"].get("containers", ()):
        state = run.main.setdefault(c["name"], ContainerRun())
        if state.started is None:
            start = state.restart_at if state.restart_at is not None else begin + delay
            if now < start:
                wake.append(start)
                continue
            state.started, state.finished, state.restart_at, state.fresh = start, None, None, True
        if state.finished is None:
            if now < state.started + run_for:
                wake.append(state.started + run_for)
                if not _is_killed(pod, run.ip, c, how, state, now, wake, events):
                    continue
                state.finished, state.exit_code = now, _stopped(pod)
            else:
                state.finished, state.exit_code = state.started + run_for, exit_code
        _maybe_restart(pod, state, now, wake)


def _is_killed(pod: Obj, ip: str, container: Obj, how: Behaviour, state: ContainerRun, now: float, wake: list[float], events: list[Happening]) -> bool:  # fmt: skip
    """Follow the probes of a running container. True if one of them has it killed."""
    assert state.started is not None
    fresh, state.fresh = state.fresh, False
    if fresh:
        state.probing = None
    if not probes.can_fail(container, how) and (state.probing is None or state.probing.is_well):
        state.probing = None  # nothing fails (any more)
        return False
    if state.probing is None:
        state.probing = Probing(state.started) if fresh else probes.after_success(container, state.started, now)
    probing = state.probing
    kind = probes.follow(pod, ip, container, how, probing, now, wake)
    name = container["name"]
    events += (Happening(name, "Warning", "Unhealthy", text) for text in probing.failures)
    probing.failures.clear()
    if not kind:
        return False
    more = "" if (pod["spec"].get("restartPolicy") or "Always") == "Never" else ", will be restarted"
    events.append(Happening(name, "Normal", "Killing", f"Container {name} failed {kind} probe{more}"))
    return True


def _maybe_restart(pod: Obj, state: ContainerRun, now: float, wake: list[float]) -> None:
    policy = pod["spec"].get("restartPolicy") or "Always"
    if policy == "Never" or (policy == "OnFailure" and state.exit_code == 0):
        return
    assert state.finished is not None
    if state.restart_at is None:
        state.last = _terminated(state)
        state.restart_at = state.finished + (min(BACKOFF * 2.0 ** (state.restarts - 1), MAX_BACKOFF) if state.restarts else 0.0)
    if now < state.restart_at:
        wake.append(state.restart_at)
        return
    state.started, state.finished, state.restart_at, state.fresh = state.restart_at, None, None, True
    state.restarts += 1


def _end_all(run: PodRun, now: float, exit_code: int) -> None:
    for c in (*run.init.values(), *run.main.values()):
        if c.running:
            c.finished, c.exit_code = now, exit_code


def _phase(pod: Obj, run: PodRun) -> str:
    states = [run.main.get(c["name"]) for c in pod["spec"].get("containers", ())]
    if any(s is None or (s.started is None and s.restart_at is None) for s in states):
        return "Pending"
    done = [s for s in states if s is not None and s.finished is not None and s.restart_at is None]
    if len(done) < len(states):
        return "Running"
    return "Failed" if any(s.exit_code for s in done) else "Succeeded"


def _ready_at(pod: Obj, container: Obj, state: ContainerRun) -> float:
    """When a running container whose probes cannot fail becomes ready."""
    assert state.started is not None
    return math.inf if behaviour(pod).fail_readiness else probes.ready_at(container, state.started)


def _readiness_moments(pod: Obj, run: PodRun) -> list[float]:
    out: list[float] = []
    for c in pod["spec"].get("containers", ()):
        state = run.main.get(c["name"])
        if state is not None and state.running and state.probing is None:
            assert state.started is not None
            out += (_ready_at(pod, c, state), probes.started_at(c, state.started))
    return out


# --- stopping ----------------------------------------------------------------------------------------------------------------------


def pre_stop(pod: Obj) -> float:
    """Seconds for which containers sleep before they are asked to stop; they do so side by side."""
    hooks = ((c.get("lifecycle") or {}).get("preStop") or {} for c in pod["spec"].get("containers", ()))
    return max((float((hook.get("sleep") or {}).get("seconds") or 0) for hook in hooks), default=0.0)


def _stopped(pod: Obj) -> int:
    """With which code a container ends that is asked to."""
    return 0 if (pod["spec"].get("restartPolicy") or "Always") == "Always" else TERMINATED


def _stopping(pod: Obj, run: PodRun, now: float, host_ip: str, stop_delay: float) -> Step:
    meta = pod["metadata"]
    if run.killed_at is None:
        run.killed_at = now
    grace = float(meta.get("deletionGracePeriodSeconds") or 0)
    limit = parse_rfc3339(meta["deletionTimestamp"]) + 1 if meta.get("deletionTimestamp") else now  # it has lost its fraction
    taken = (pre_stop(pod) + number(pod, STOP_DELAY, stop_delay)) if any(c.running for c in run.main.values()) else 0.0
    end = min(run.killed_at + min(taken, grace), max(limit, run.killed_at))
    if now < end:
        return Step(_status(pod, run, now, host_ip, _phase(pod, run)), end)
    _end_all(run, now, _stopped(pod))
    phase = "Succeeded" if all(s.exit_code == 0 for s in run.main.values()) else "Failed"
    return Step(_status(pod, run, now, host_ip, phase), math.inf, gone=True)


# --- status ------------------------------------------------------------------------------------------------------------------------


def _terminated(state: ContainerRun) -> Obj:
    assert state.started is not None and state.finished is not None
    reason = "Completed" if state.exit_code == 0 else "Error"
    return {
        "exitCode": state.exit_code,
        "reason": reason,
        "startedAt": rfc3339(state.started),
        "finishedAt": rfc3339(state.finished),
    }


def _container_status(pod: Obj, container: Obj, state: ContainerRun | None, now: float, waiting: str, init: bool = False) -> Obj:
    image = container.get("image", "")
    out: Obj = {"name": container["name"], "image": image, "imageID": f"simulated://{image}", "lastState": {}, "ready": False,
                "restartCount": 0, "started": False}  # fmt: skip
    if state is None or (state.started is None and state.restart_at is None):
        return {**out, "state": {"waiting": {"reason": waiting}}}
    out["restartCount"] = state.restarts
    if state.last is not None:
        out["lastState"] = {"terminated": state.last}
    out["containerID"] = f"simulated://{pod['metadata'].get('uid', '')}/{container['name']}/{state.restarts}"
    if state.restart_at is not None:
        told = "back-off restarting failed container"
        return {**out, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": told}}}
    if state.finished is not None:
        return {
            **out,
            "state": {"terminated": {**_terminated(state), "containerID": out["containerID"]}},
            "ready": init and state.exit_code == 0,
        }
    assert state.started is not None
    started, ready = True, True
    if not init:
        started = now >= probes.started_at(container, state.started)
        ready = now >= _ready_at(pod, container, state)
        if state.probing is not None:
            started, ready = state.probing.started is not None, state.probing.ready
    return {**out, "state": {"running": {"startedAt": rfc3339(state.started)}}, "started": started, "ready": ready}


def _status(pod: Obj, run: PodRun, now: float, host_ip: str, phase: str) -> Obj:
    spec = pod["spec"]
    waiting = "PodInitializing" if spec.get("initContainers") else "ContainerCreating"
    main = [_container_status(pod, c, run.main.get(c["name"]), now, waiting) for c in spec.get("containers", ())]
    init = [
        _container_status(pod, c, run.init.get(c["name"]), now, "PodInitializing", init=True)
        for c in spec.get("initContainers") or ()
    ]
    ended = phase in ("Succeeded", "Failed")
    initialized = bool(run.main) or not init
    containers_ready = not ended and bool(main) and all(c["ready"] for c in main)
    out: Obj = {
        "phase": phase,
        "conditions": _conditions(pod, now, initialized, containers_ready, phase),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": run.ip,
        "podIPs": [{"ip": run.ip}],
        "startTime": rfc3339(run.accepted),
        "containerStatuses": main,
        "qosClass": (pod.get("status") or {}).get("qosClass", "BestEffort"),
    }
    if init:
        out["initContainerStatuses"] = init
    if run.reason:
        out |= {"reason": run.reason, "message": run.message}
    return out


def _conditions(pod: Obj, now: float, initialized: bool, containers_ready: bool, phase: str) -> list[Obj]:
    have = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    gates = [g["conditionType"] for g in pod["spec"].get("readinessGates") or ()]
    gates_met = all((have.get(g) or {}).get("status") == "True" for g in gates)
    reason = "PodCompleted" if phase == "Succeeded" else "ContainersNotReady"
    not_ready = {} if containers_ready else {"reason": reason}
    ready_why = not_ready if not containers_ready or gates_met else {"reason": "ReadinessGatesNotReady"}
    wanted = [("PodReadyToStartContainers", True, {}), ("Initialized", initialized, {}), ("Ready", containers_ready and gates_met, ready_why),
              ("ContainersReady", containers_ready, not_ready), ("PodScheduled", True, {})]  # fmt: skip
    out = []
    for kind, holds, why in wanted:
        status = "True" if holds else "False"
        old = have.pop(kind, None)
        since = (
            old["lastTransitionTime"] if old and old.get("status") == status and old.get("lastTransitionTime") else rfc3339(now)
        )
        out.append({"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": since, **why})
    return [*out, *have.values()]

"""horizontal-pod-autoscaler-controller: sets the size of workloads by their metrics.

What each metric asks for is in `hpa_compute` and `hpa_replicas`, how fast that is followed in `hpa_behavior`. Reference:
HorizontalPodAutoscaler (autoscaling/v2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pilothouse.api import quantity, selectors
from pilothouse.api.errors import StatusError
from pilothouse.client.metrics import Counter, Gauge
from pilothouse.client.reconcile.kinds import (
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Kind,
)
from pilothouse.client.reconcile.kit import Context, Controller
from pilothouse.client.reconcile.objects import Obj, find_condition, key, labels_of, split_key, uid, without_condition
from pilothouse.clock import rfc3339
from pilothouse.controllers import hpa_behavior as behaviors
from pilothouse.controllers.discovery import resource_of
from pilothouse.controllers.hpa_compute import Failed, Proposal, Target, propose
from pilothouse.controllers.hpa_metrics import MetricsClient
from pilothouse.controllers.hpa_replicas import Tolerance

#: Seconds between two looks at an autoscaler.
PERIOD = 15.0
_KNOWN = (DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS)
#: How far from the target nothing is done, where neither flag nor autoscaler says.
TOLERANCE = 0.1


class NoTarget(Exception):
    """What is to be scaled is not to be had."""


@dataclass(frozen=True, slots=True)
class NoPods(Exception):
    """Nobody can say which pods are meant: reason and message of the Event, and of the condition."""

    event: str
    message: str
    reason: str
    told: str


@dataclass(slots=True)
class Look:
    """One look at an autoscaler: the conditions so far, and what is to be told."""

    hpa: Obj
    conditions: list[Obj]
    now: float
    metrics: list[Obj] | None = None
    messages: list[tuple[str, str, str]] = field(default_factory=list)

    def set(self, kind: str, value: bool, reason: str, message: str) -> None:
        known, status = find_condition(self.conditions, kind), "True" if value else "False"
        since = known["lastTransitionTime"] if known is not None and known["status"] == status else rfc3339(self.now)
        told = {"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
        # A condition keeps its place.
        if known is not None:
            self.conditions = [told if c is known else c for c in self.conditions]
        else:
            self.conditions = [*without_condition(self.conditions, kind), told]


class HorizontalPodAutoscalerController(Controller):
    name = "horizontal-pod-autoscaler-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.autoscalers, self.pods = self.cache(HORIZONTAL_POD_AUTOSCALERS), self.cache(PODS)
        self.client = MetricsClient(self.api)
        self.period = float(context.options.get("hpa_sync_period", PERIOD))
        self.window = float(context.options.get("hpa_downscale_stabilization", behaviors.DOWN_WINDOW))
        self.tolerance = float(context.options.get("hpa_tolerance", TOLERANCE))
        self.memories: dict[str, behaviors.Memory] = {}
        #: By autoscaler, the selector of its pods as of the last look.
        self.selectors: dict[str, selectors.Predicate] = {}
        self.looks = Counter(
            "horizontal_pod_autoscaler_controller_reconciliations_total",
            "Looks at autoscalers, by what was done and by whose fault nothing was.",
            ("action", "error"),
        )
        self.computed = Counter(
            "horizontal_pod_autoscaler_controller_metric_computation_total",
            "Metrics that were computed, by what they asked for.",
            ("action", "error", "metric_type"),
        )
        count = Gauge(
            "horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers",
            "Autoscalers that are looked at.",
            (),
            lambda: [((), float(len(list(self.autoscalers.list()))))],
        )
        self.metrics = (self.looks, self.computed, count)
        self.autoscalers.add_handler(self._changed)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            self.memories.pop(uid(old), None)
            self.selectors.pop(key(old), None)
        elif new is not None and (old is None or old["spec"] != new["spec"]):
            self.enqueue(new)

    async def sync(self, key: str) -> None:
        hpa = self.autoscalers.get(*split_key(key))
        if hpa is None:
            return
        self.queue.add_after(key, self.period)
        look = Look(hpa, list((hpa.get("status") or {}).get("conditions") or ()), self.clock.now())
        try:
            kind, scale = await self._scale_of(hpa)
        except NoTarget as error:
            self._tell(hpa, "Warning", "FailedGetScale", str(error))
            message = f"the HPA controller was unable to get the target's current scale: {error}"
            look.set("AbleToScale", False, "FailedGetScale", message)
            await self._write(look, dict(hpa.get("status") or {}))
            self.looks.add("none", "internal")
            return
        look.set("AbleToScale", True, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
        await self._rescale(look, kind, scale)

    async def _scale_of(self, hpa: Obj) -> tuple[Kind, Obj]:
        ref, namespace = hpa["spec"]["scaleTargetRef"], hpa["metadata"]["namespace"]
        group = ref.get("apiVersion", "v1").rpartition("/")[0]
        kind = next((k for k in _KNOWN if k.kind == ref["kind"] and k.group == group), None)
        try:
            if kind is None:
                served = await resource_of(self.api, group, ref["kind"])
                if served is None:
                    raise NoTarget(f'no matches for kind "{ref["kind"]}" in group "{group}"')
                kind = served.kind
            scale: Obj = await self.api.read(kind.path(namespace, ref["name"], "scale"))
        except StatusError as error:
            raise NoTarget(str(error)) from None
        return kind, scale

    async def _rescale(self, look: Look, kind: Kind, scale: Obj) -> None:
        hpa, spec = look.hpa, look.hpa["spec"]
        current = (scale.get("spec") or {}).get("replicas", 0)
        least, most = spec.get("minReplicas", 1), spec["maxReplicas"]
        memory = self.memories.setdefault(uid(hpa), behaviors.Memory([(look.now, current)]))
        memory.forget(look.now - behaviors.longest_memory(spec, self.window))
        desired, reason = current, ""
        if current == 0 and least != 0:
            message = "scaling is disabled since the replica count of the target is zero"
            look.set("ScalingActive", False, "ScalingDisabled", message)
            await self._write(look, _status(look, current, 0))
            return
        if current > most:
            desired, reason = most, "Current number of replicas above Spec.MaxReplicas"
        elif current < least:
            desired, reason = least, "Current number of replicas below Spec.MinReplicas"
        else:
            found = await self._ask_metrics(look, scale)
            if found is None:
                self.looks.add("none", "internal")
                await self._write(look, _status(look, current, (hpa.get("status") or {}).get("desiredReplicas", 0)))
                return
            wanted = found.replicas
            reason = f"{found.name} above target" if wanted > current else "All metrics below target"
            size = behaviors.size(spec, current, wanted, memory, look.now, self.window)
            look.set("AbleToScale", True, *size.able)
            look.set("ScalingLimited", size.is_limited, *size.limited)
            desired = size.replicas
        self.looks.add(_action(current, desired), "none")
        if desired == current:
            await self._write(look, _status(look, current, desired))
            return
        if await self._set_scale(look, kind, scale, current, desired, reason):
            if spec.get("behavior") is not None:
                (memory.ups if desired > current else memory.downs).append((look.now, abs(desired - current)))
            await self._write(look, {**_status(look, current, desired), "lastScaleTime": rfc3339(look.now)})

    async def _set_scale(self, look: Look, kind: Kind, scale: Obj, current: int, desired: int, reason: str) -> bool:
        hpa = look.hpa
        body = {**scale, "spec": {**(scale.get("spec") or {}), "replicas": desired}}
        try:
            await self.api.update(kind, body, "scale")
        except StatusError as error:
            told = f"New size: {desired}; reason: {reason}; error: {error}"
            self._tell(hpa, "Warning", "FailedRescale", told)
            message = f"the HPA controller was unable to update the target scale: {error}"
            look.set("AbleToScale", False, "FailedUpdateScale", message)
            await self._write(look, _status(look, current, (hpa.get("status") or {}).get("desiredReplicas", 0)))
            return False
        message = f"the HPA controller was able to update the target scale to {desired}"
        look.set("AbleToScale", True, "SucceededRescale", message)
        self._tell(hpa, "Normal", "SuccessfulRescale", f"New size: {desired}; reason: {reason}")
        return True

    # Metrics ----------------------------------------------------------------------------------------------------------

    async def _ask_metrics(self, look: Look, scale: Obj) -> Proposal | None:
        """The proposal that asks for the most; None if there is none that may be followed."""
        try:
            target = self._target(look, scale)
        except NoPods as error:
            self._tell(look.hpa, "Warning", error.event, error.message)
            look.set("ScalingActive", False, error.reason, error.told)
            self._tell(look.hpa, "Warning", "FailedComputeMetricsReplicas", error.message)
            return None
        best: Proposal | None = None
        failures: list[Failed] = []
        specs = look.hpa["spec"].get("metrics") or []
        statuses: list[Obj] = []
        for metric in specs:
            try:
                found = await propose(self.client, metric, target)
            except Failed as failed:
                self._tell(look.hpa, "Warning", failed.reason, failed.message)
                failures.append(failed)
                statuses.append({"type": ""})
                self.computed.add("none", "internal", metric["type"])
                continue
            statuses.append(found.status)
            self.computed.add(_action(target.wanted, found.replicas), "none", metric["type"])
            if best is None or found.replicas > best.replicas:
                best = found
        look.metrics = statuses
        if failures and (best is None or best.replicas < target.wanted):
            message = f"the HPA was unable to compute the replica count: {failures[0].message}"
            look.set("ScalingActive", False, failures[0].reason, message)
            told = f"invalid metrics ({len(failures)} invalid out of {len(specs)}), first error is: {failures[0].summary}"
            self._tell(look.hpa, "Warning", "FailedComputeMetricsReplicas", told)
            return None
        if best is not None:
            message = f"the HPA was able to successfully calculate a replica count from {best.name}"
            look.set("ScalingActive", True, "ValidMetricFound", message)
        return best

    def _target(self, look: Look, scale: Obj) -> Target:
        """What is to be measured."""
        namespace, status = look.hpa["metadata"]["namespace"], scale.get("status") or {}
        text = status.get("selector") or ""
        if not text:
            told = "the HPA target's scale is missing a selector"
            raise NoPods("SelectorRequired", "selector is required", "InvalidSelector", told)
        try:
            matches = selectors.text_predicate(text)
        except selectors.SelectorError as error:
            message = f"couldn't convert selector into a corresponding internal selector object: {error}"
            raise NoPods("InvalidSelector", message, "InvalidSelector", message) from None
        pods = [p for p in self.pods.list(namespace) if matches(labels_of(p))]
        self.selectors[key(look.hpa)] = matches
        rivals = self._rivals(look.hpa, pods)
        if len(rivals) > 1:
            names = " ".join(f"{{{name} {namespace}}}" for name in rivals)
            message = f"pods by selector {text} are controlled by multiple HPAs: [{names}]"
            raise NoPods("AmbiguousSelector", message, "AmbiguousSelector", message)
        wanted, present = (scale.get("spec") or {}).get("replicas", 0), status.get("replicas", 0)
        return Target(namespace, wanted, present, pods, text, _tolerance(look.hpa, self.tolerance), look.now)

    def _rivals(self, hpa: Obj, pods: Sequence[Obj]) -> list[str]:
        """The autoscalers of the namespace (this one too) whose selectors find any of these pods."""
        labels = [labels_of(p) for p in pods]
        out = []
        for each in self.autoscalers.list(hpa["metadata"]["namespace"]):
            matches = self.selectors.get(key(each))
            if matches is not None and any(map(matches, labels)):
                out.append(each["metadata"]["name"])
        return sorted(out)

    # Telling ----------------------------------------------------------------------------------------------------------

    def _tell(self, hpa: Obj, type: str, reason: str, message: str) -> None:
        self.context.event(hpa, HORIZONTAL_POD_AUTOSCALERS, type, reason, message)

    async def _write(self, look: Look, status: Obj) -> None:
        status = {**status, "conditions": look.conditions}
        if status != (look.hpa.get("status") or {}):
            await self.api.update(HORIZONTAL_POD_AUTOSCALERS, {**look.hpa, "status": status}, "status")


def _action(current: int, wanted: int) -> str:
    return "scale_up" if wanted > current else "scale_down" if wanted < current else "none"


def _status(look: Look, current: int, desired: int) -> Obj:
    before = look.hpa.get("status") or {}
    kept = {k: before[k] for k in ("observedGeneration", "lastScaleTime") if k in before}
    return {**kept, "currentReplicas": current, "desiredReplicas": desired, "currentMetrics": look.metrics}


def _tolerance(hpa: Obj, usual: float) -> Tolerance:
    behavior = hpa["spec"].get("behavior") or {}

    def of(way: str) -> float:
        text = (behavior.get(way) or {}).get("tolerance")
        return quantity.milli_value(text) / 1000 if text is not None else usual

    return Tolerance(of("scaleDown"), of("scaleUp"))

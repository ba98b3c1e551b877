"""Listeners of a load balancer, their certificates and their rules.

Reference: Elastic Load Balancing's API, version 2015-12-01. A listener is known by its port. Another protocol means another listener in its
place; everything else is changed as it runs. Rules are known by what they say; only the order of their priorities counts, so those that
stay in order keep theirs, and the others move in one request, to places that are free.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.cloud.providers.aws.calls import AwsError, Calls, tag_list
from pilothouse.cloud.providers.aws.model import (
    Condition,
    Listener,
    Rule,
    action_of_api,
    action_to_api,
    condition_of_api,
    condition_to_api,
    in_order,
    with_arns,
)

Obj = dict[str, Any]

#: Priorities lie so far apart at first, and are not greater than that.
STEP, LAST = 100, 50_000


class Listeners:
    """Of any load balancer."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def ensure(self, balancer: str, wanted: Sequence[Listener], arns: Mapping[str, str], tags: Mapping[str, str]) -> None:
        told = await self._calls.pages("elbv2", "describe_listeners", "Listeners", LoadBalancerArn=balancer)
        there = {int(t["Port"]): t for t in told}
        by_port = {w.port: w for w in wanted}
        for port, listener in list(there.items()):
            if port not in by_port or by_port[port].protocol != listener["Protocol"]:
                await self._delete(listener["ListenerArn"])
                del there[port]
        for listener_wanted in wanted:
            known = there.get(listener_wanted.port)
            if known is None:
                known = await self._create(balancer, listener_wanted, arns, tags)
            else:
                await self._mend(listener_wanted, known, arns)
            if listener_wanted.certificates:
                await self._certificates(listener_wanted, known["ListenerArn"])
            if listener_wanted.protocol in ("HTTP", "HTTPS"):
                await self._rules(listener_wanted.rules, known["ListenerArn"], arns, tags)

    async def _delete(self, arn: str) -> None:
        try:
            await self._calls.call("elbv2", "delete_listener", ListenerArn=arn)
        except AwsError as error:
            if error.code != "ListenerNotFound":
                raise

    async def _create(self, balancer: str, wanted: Listener, arns: Mapping[str, str], tags: Mapping[str, str]) -> Obj:
        answer = await self._calls.call(
            "elbv2",
            "create_listener",
            LoadBalancerArn=balancer,
            Protocol=wanted.protocol,
            Port=wanted.port,
            Tags=tag_list(tags),
            **_settings(wanted, arns),
        )
        return answer["Listeners"][0]

    async def _mend(self, wanted: Listener, there: Obj, arns: Mapping[str, str]) -> None:
        default = (there.get("Certificates") or [{}])[0].get("CertificateArn", "")
        same = (
            action_of_api(there.get("DefaultActions") or []) == with_arns(wanted.action, arns)
            and (not wanted.policy or there.get("SslPolicy") == wanted.policy)
            and (not wanted.certificates or default == wanted.certificates[0])
            and (not wanted.alpn or (there.get("AlpnPolicy") or ["None"]) == [wanted.alpn])
        )
        if not same:
            await self._calls.call("elbv2", "modify_listener", ListenerArn=there["ListenerArn"], **_settings(wanted, arns))

    async def _certificates(self, wanted: Listener, arn: str) -> None:
        """Those beside the default one."""
        told = await self._calls.pages("elbv2", "describe_listener_certificates", "Certificates", ListenerArn=arn)
        there = {c["CertificateArn"] for c in told if not c.get("IsDefault")} - {wanted.certificates[0]}
        more = set(wanted.certificates[1:])
        for operation, certificates in (("add", more - there), ("remove", there - more)):
            if certificates:
                named = [{"CertificateArn": c} for c in sorted(certificates)]
                await self._calls.call("elbv2", f"{operation}_listener_certificates", ListenerArn=arn, Certificates=named)

    async def _rules(self, wanted: Sequence[Rule], listener: str, arns: Mapping[str, str], tags: Mapping[str, str]) -> None:
        told = await self._calls.pages("elbv2", "describe_rules", "Rules", ListenerArn=listener)
        there = [t for t in told if not t.get("IsDefault") and t["Priority"] != "default"]
        resolved = [Rule(in_order(r.conditions), with_arns(r.action, arns)) for r in wanted]
        matched, extra = match(resolved, there)
        taken = {int(t["Priority"]) for t in there}
        places = priorities([int(t["Priority"]) if t else None for t in matched], taken)
        moves = []
        for rule, shown, known, place in zip(wanted, resolved, matched, places, strict=True):
            if known is None:
                await self._calls.call(
                    "elbv2",
                    "create_rule",
                    ListenerArn=listener,
                    Priority=place,
                    Conditions=[condition_to_api(c) for c in rule.conditions],
                    Actions=action_to_api(rule.action, arns),
                    Tags=tag_list(tags),
                )
                continue
            if rule_of_api(known) != shown:
                await self._calls.call("elbv2", "modify_rule", RuleArn=known["RuleArn"], Actions=action_to_api(rule.action, arns))
            if int(known["Priority"]) != place:
                moves.append({"RuleArn": known["RuleArn"], "Priority": place})
        if moves:
            await self._calls.call("elbv2", "set_rule_priorities", RulePriorities=moves)
        for known in extra:
            await self._calls.call("elbv2", "delete_rule", RuleArn=known["RuleArn"])


def _settings(wanted: Listener, arns: Mapping[str, str]) -> Obj:
    return {
        "DefaultActions": action_to_api(wanted.action, arns),
        "SslPolicy": wanted.policy or None,
        "Certificates": [{"CertificateArn": wanted.certificates[0]}] if wanted.certificates else None,
        "AlpnPolicy": [wanted.alpn] if wanted.alpn else None,
    }


def rule_of_api(told: Obj) -> Rule | None:
    """None for a rule that does what is never done here."""
    action = action_of_api(told["Actions"])
    return None if action is None else Rule(_conditions(told), action)


def _conditions(told: Obj) -> tuple[Condition, ...]:
    return in_order(condition_of_api(c) for c in told.get("Conditions") or ())


def match(wanted: Sequence[Rule], there: Sequence[Obj]) -> tuple[list[Obj | None], list[Obj]]:
    """For each wanted rule the one that is there and says the same, or at least has the same conditions; and those that nobody wants."""
    left = sorted(there, key=lambda t: int(t["Priority"]))
    found: list[Obj | None] = [None] * len(wanted)
    for alike in (lambda rule, told: rule_of_api(told) == rule, _same_conditions):
        for index, rule in enumerate(wanted):
            if found[index] is None:
                known = next((t for t in left if alike(rule, t)), None)
                if known is not None:
                    found[index] = known
                    left.remove(known)
    return found, left


def _same_conditions(rule: Rule, told: Obj) -> bool:
    return _conditions(told) == rule.conditions


def priorities(there: Sequence[int | None], taken: set[int]) -> list[int]:
    """Ascending priorities for rules in this order, given those that they have (None: not there yet). Only free ones are given out.

    As many as can keep theirs do. Where there is no room between two that stay, all get new ones behind the last.
    """
    kept = _longest_ascending(there)
    found: list[int] = []
    index = 0
    while index < len(there):
        if index in kept:
            found.append(there[index] or 0)
            index += 1
            continue
        run = index
        while run < len(there) and run not in kept:
            run += 1
        low = found[-1] if found else 0
        high = (there[run] or 0) if run < len(there) else min(LAST + 1, low + STEP * (run - index + 1))
        free = [p for p in range(low + 1, high) if p not in taken]
        count = run - index
        if len(free) < count:
            return _anew(len(there), taken)
        found += [free[len(free) * (n + 1) // (count + 1)] for n in range(count)]
        index = run
    return found


def _anew(count: int, taken: set[int]) -> list[int]:
    begin = max(taken, default=0)
    if begin + count > LAST:
        begin = 0
    free = [p for p in range(begin + 1, LAST + 1) if p not in taken]
    step = max(1, min(STEP, len(free) // count))
    return [free[step * (n + 1) - 1] for n in range(count)]


def _longest_ascending(values: Sequence[int | None]) -> set[int]:
    """The places of the longest ascending subsequence of what is not None."""
    tails: list[int] = []
    places: list[int] = []
    before: dict[int, int | None] = {}
    for place, value in enumerate(values):
        if value is None:
            continue
        at = bisect.bisect_left(tails, value)
        before[place] = places[at - 1] if at else None
        tails[at : at + 1] = [value]
        places[at : at + 1] = [place]
    found: set[int] = set()
    step: int | None = places[-1] if places else None
    while step is not None:
        found.add(step)
        step = before[step]
    return found

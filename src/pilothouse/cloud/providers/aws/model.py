"""What is to be at AWS, as plain values: whose it is, load balancers with listeners and rules, target groups, rules of security groups.

Listeners name target groups by keys of ours; what they are called at AWS follows from their owner and from what cannot be changed about
them, so that a changed one is made anew beside the old one, traffic moves over, and what was made before a crash is found again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Obj = dict[str, Any]

OWNER_TAG = "pilothouse.dev/owner"


def digest(*parts: object, length: int = 10) -> str:
    return hashlib.sha256("\x1f".join(str(p) for p in parts).encode()).hexdigest()[:length]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom something was made for. `key` is `Service/<uid>` or the key of a GatewayPlan; `about` are further tags that people know."""

    cluster: str
    key: str
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def tags(self) -> dict[str, str]:
        return {**self.about, f"kubernetes.io/cluster/{self.cluster}": "owned", OWNER_TAG: self.key}

    @property
    def prefix(self) -> str:
        """How the names of target groups begin."""
        return f"k8s-{digest(self.cluster, self.key)}-"

    def owns(self, tags: Mapping[str, str]) -> bool:
        return tags.get(OWNER_TAG) == self.key and f"kubernetes.io/cluster/{self.cluster}" in tags


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Where traffic goes, and how AWS finds out whether it can. `health` are parameters of the API; targets are (id or address, port).

    Those of `kept` may stay where they are registered already, and are not registered anew: instances that do not run.
    """

    key: str
    protocol: str
    port: int
    target_type: str
    health: Mapping[str, Any]
    attributes: Mapping[str, str] = field(default_factory=dict)
    targets: frozenset[tuple[str, int]] = frozenset()
    kept: frozenset[tuple[str, int]] = frozenset()
    version: str = ""
    family: str = "ipv4"

    def name(self, owner: Owner, vpc: str) -> str:
        fixed = (self.key, self.protocol, self.port, self.target_type, self.version, self.family, vpc)
        return owner.prefix + digest(*fixed)


@dataclass(frozen=True, slots=True)
class Forward:
    """To target groups (by key, or by ARN where AWS tells) by weight."""

    groups: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Redirect:
    status: int = 302
    protocol: str = "#{protocol}"
    host: str = "#{host}"
    port: str = "#{port}"
    path: str = "/#{path}"
    query: str = "#{query}"


@dataclass(frozen=True, slots=True)
class Fixed:
    """An answer of the load balancer's own."""

    status: int
    body: str = ""


Action = Forward | Redirect | Fixed


@dataclass(frozen=True, slots=True)
class Condition:
    """`field` as the API has it (host-header, path-pattern, ...); `name` is a header's. Query parameters are `key=value`."""

    field: str
    values: tuple[str, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    conditions: tuple[Condition, ...]
    action: Action


@dataclass(frozen=True, slots=True)
class Listener:
    """Certificates are ARNs, the first one is the default."""

    port: int
    protocol: str
    action: Action
    certificates: tuple[str, ...] = ()
    policy: str = ""
    alpn: str = ""
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet with the address that the load balancer is to have there, if it is to have a certain one."""

    id: str
    allocation: str = ""
    private_ipv4: str = ""
    ipv6: str = ""

    @property
    def mapping(self) -> Obj:
        found = {"SubnetId": self.id, "AllocationId": self.allocation, "PrivateIPv4Address": self.private_ipv4}
        return {k: v for k, v in (found | {"IPv6Address": self.ipv6}).items() if v}


@dataclass(frozen=True, slots=True)
class Balancer:
    """A load balancer. `kind` is network or application, `family` ipv4 or dualstack."""

    name: str
    kind: str
    internal: bool
    subnets: tuple[Subnet, ...]
    groups: tuple[str, ...]
    listeners: tuple[Listener, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    family: str = "ipv4"


@dataclass(frozen=True, slots=True)
class Permission:
    """A rule that lets traffic in. `source` is a CIDR, a prefix list (pl-...) or a security group (sg-...)."""

    protocol: str
    first: int
    last: int
    source: str


def action_to_api(action: Action, arns: Mapping[str, str]) -> list[Obj]:
    """An action's list, as the API takes it. `arns` are those of target groups by key."""
    match action:
        case Forward(groups) if len(groups) == 1:
            return [{"Type": "forward", "TargetGroupArn": arns[groups[0][0]]}]
        case Forward(groups):
            told = [{"TargetGroupArn": arns[key], "Weight": weight} for key, weight in groups]
            return [{"Type": "forward", "ForwardConfig": {"TargetGroups": told}}]
        case Redirect():
            config = {
                "Protocol": action.protocol,
                "Host": action.host,
                "Port": action.port,
                "Path": action.path,
                "Query": action.query,
                "StatusCode": f"HTTP_{action.status}",
            }
            return [{"Type": "redirect", "RedirectConfig": config}]
        case Fixed():
            answer = {"StatusCode": str(action.status), "ContentType": "text/plain", "MessageBody": action.body}
            return [{"Type": "fixed-response", "FixedResponseConfig": answer}]


def action_of_api(actions: list[Obj]) -> Action | None:
    """What a listener or a rule does; None for what is never made here."""
    if len(actions) != 1:
        return None
    told = actions[0]
    match told["Type"]:
        case "forward":
            groups = (told.get("ForwardConfig") or {}).get("TargetGroups") or [{"TargetGroupArn": told.get("TargetGroupArn", "")}]
            if len(groups) == 1:
                return Forward(((groups[0]["TargetGroupArn"], 1),))
            return Forward(tuple(sorted((g["TargetGroupArn"], int(g.get("Weight", 1))) for g in groups)))
        case "redirect":
            config = told["RedirectConfig"]
            return Redirect(
                int(config["StatusCode"].removeprefix("HTTP_")),
                config.get("Protocol", "#{protocol}"),
                config.get("Host", "#{host}"),
                config.get("Port", "#{port}"),
                config.get("Path", "/#{path}"),
                config.get("Query", "#{query}"),
            )
        case "fixed-response":
            answer = told["FixedResponseConfig"]
            return Fixed(int(answer["StatusCode"]), answer.get("MessageBody") or "")
    return None


def with_arns(action: Action, arns: Mapping[str, str]) -> Action:
    """The action as AWS would tell it."""
    if not isinstance(action, Forward):
        return action
    if len(action.groups) == 1:
        return Forward(((arns[action.groups[0][0]], 1),))
    return Forward(tuple(sorted((arns[key], weight) for key, weight in action.groups)))


#: Field: the member of a condition that holds its values.
_CONDITIONS = {
    "host-header": "HostHeaderConfig",
    "path-pattern": "PathPatternConfig",
    "http-request-method": "HttpRequestMethodConfig",
    "http-header": "HttpHeaderConfig",
    "query-string": "QueryStringConfig",
    "source-ip": "SourceIpConfig",
}


def condition_to_api(condition: Condition) -> Obj:
    values: list[Any] = list(condition.values)
    if condition.field == "query-string":
        values = [{"Key": k, "Value": v} for k, _, v in (value.partition("=") for value in values)]
    config: Obj = {"Values": values}
    if condition.name:
        config["HttpHeaderName"] = condition.name
    return {"Field": condition.field, _CONDITIONS[condition.field]: config}


def condition_of_api(told: Obj) -> Condition:
    config = told.get(_CONDITIONS.get(told["Field"], "")) or {}
    values = config.get("Values") or told.get("Values") or []
    if told["Field"] == "query-string":
        values = [f"{v.get('Key', '')}={v.get('Value', '')}" for v in values]
    return Condition(told["Field"], tuple(values), config.get("HttpHeaderName", ""))


def in_order(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """For comparison: the order in which AWS tells them says nothing."""
    return tuple(sorted((Condition(c.field, tuple(sorted(c.values)), c.name) for c in conditions), key=repr))

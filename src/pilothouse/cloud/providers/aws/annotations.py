"""What annotations ask of a load balancer. References: those of the AWS cloud provider and of the AWS Load Balancer Controller.

A value that cannot be is an error of one line that names the annotation; docs/aws.md has the table.
"""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.cloud.provider import CloudError

PREFIX = "service.beta.kubernetes.io/aws-load-balancer-"
#: Those of Ingresses, and here of Gateways and IngressClasses.
GATEWAY_PREFIX = "alb.ingress.kubernetes.io/"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"


class Annotations:
    """The annotations of one object by the part of their name that differs: `scheme`, `healthcheck-path`, ..."""

    def __init__(self, annotations: Mapping[str, str], prefix: str = PREFIX) -> None:
        self._all = annotations
        self._prefix = prefix
        self._told = {k.removeprefix(prefix): v.strip() for k, v in annotations.items() if k.startswith(prefix)}

    def __contains__(self, name: str) -> bool:
        return bool(self._told.get(name))

    def text(self, name: str, default: str = "") -> str:
        return self._told.get(name) or default

    def words(self, name: str) -> tuple[str, ...]:
        return words(self._told.get(name, ""))

    def choice(self, name: str, *choices: str) -> str:
        """One of these words, or "" where nothing is said."""
        value = self._told.get(name, "").lower()
        if value and value not in choices:
            raise self.wrong(name, f"is none of {', '.join(choices)}")
        return value

    def flag(self, name: str) -> bool | None:
        value = self._told.get(name, "")
        if not value:
            return None
        if value.lower() not in ("true", "false"):
            raise self.wrong(name, "is neither true nor false")
        return value.lower() == "true"

    def number(self, name: str, default: int, least: int, most: int) -> int:
        value = self._told.get(name, "")
        if not value:
            return default
        if not value.isdigit() or not least <= int(value) <= most:
            raise self.wrong(name, f"is not a number between {least} and {most}")
        return int(value)

    def pairs(self, name: str) -> dict[str, str]:
        """`key=value,key=value`."""
        found: dict[str, str] = {}
        for word in self.words(name):
            key, equals, value = word.partition("=")
            if not key.strip() or (not equals and name not in ("additional-resource-tags", "tags")):
                raise self.wrong(name, "is not of the form key=value,key=value")
            found[key.strip()] = value.strip()
        return found

    @property
    def source_ranges(self) -> tuple[str, ...]:
        return words(self._all.get(SOURCE_RANGES, ""))

    def wrong(self, name: str, why: str) -> CloudError:
        return CloudError(f"annotation {self._prefix}{name}: {self._told.get(name, '')!r} {why}")


def words(text: str) -> tuple[str, ...]:
    return tuple(w.strip() for w in text.split(",") if w.strip())

"""The two authorizers that do not look: AlwaysAllow and AlwaysDeny."""

from __future__ import annotations

from pilothouse.apiserver.interface import Attributes, Verdict


class AlwaysAllow:
    def authorize(self, attributes: Attributes) -> tuple[Verdict, str]:
        return Verdict.ALLOW, ""


class AlwaysDeny:
    def authorize(self, attributes: Attributes) -> tuple[Verdict, str]:
        return Verdict.NO_OPINION, "Everything is forbidden."

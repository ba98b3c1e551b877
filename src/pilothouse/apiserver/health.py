"""/livez, /readyz, /healthz and their checks, named as those of the reference server (facts 4.6 and 5.7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pilothouse.apiserver.messages import Response
from pilothouse.apiserver.routes import Route

POST_START_HOOKS = (
    "start-apiserver-admission-initializer", "generic-apiserver-start-informers", "priority-and-fairness-config-consumer",
    "priority-and-fairness-filter", "storage-object-count-tracker-hook", "start-apiextensions-informers",
    "start-apiextensions-controllers", "crd-informer-synced", "start-system-namespaces-controller",
    "start-cluster-authentication-info-controller", "start-kube-apiserver-identity-lease-controller",
    "start-kube-apiserver-identity-lease-garbage-collector", "start-legacy-token-tracking-controller",
    "start-kubernetes-service-cidr-controller", "storage-readiness", "bootstrap-controller", "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes", "priority-and-fairness-config-producer", "start-kube-aggregator-informers",
    "apiservice-registration-controller", "apiservice-status-local-available-controller",
    "apiservice-status-remote-available-controller", "apiservice-discovery-controller", "kube-apiserver-autoregistration",
    "apiservice-openapi-controller", "apiservice-openapiv3-controller", "apiservice-wait-for-first-sync",
)  # fmt: skip
#: Hooks that are done once the bootstrap objects exist.
_BOOTSTRAP = frozenset(("bootstrap-controller", "rbac/bootstrap-roles", "scheduling/bootstrap-system-priority-classes"))


class State(Protocol):
    """What the checks look at."""

    started: bool
    stopping: bool
    bootstrapped: bool

    def store_problem(self) -> str: ...


Check = tuple[str, Callable[[], str]]


class Health:
    """The three endpoints. A check gives "" or says what is wrong."""

    def __init__(self, state: State) -> None:
        self._state = state
        hooks: list[Check] = [(f"poststarthook/{name}", self._hook(name)) for name in POST_START_HOOKS]
        basic: list[Check] = [("ping", lambda: ""), ("log", lambda: ""), ("etcd", state.store_problem)]
        last: list[Check] = [("autoregister-completion", lambda: "" if state.started else "missing APIService")]
        ready: list[Check] = [
            *basic[:2], ("etcd-readiness", state.store_problem), ("informer-sync", lambda: "" if state.started else "not synced"),
            *hooks, *last, ("shutdown", lambda: "process is shutting down" if state.stopping else ""),
        ]  # fmt: skip
        self._checks = {"healthz": [*basic, *hooks, *last], "livez": [*basic, *hooks, *last], "readyz": ready}

    def _hook(self, name: str) -> Callable[[], str]:
        state = self._state
        if name in _BOOTSTRAP:
            return lambda: "" if state.bootstrapped else "not finished"
        return lambda: "" if state.started else "not finished"

    def answer(self, route: Route) -> Response | None:
        """The answer of one of the endpoints or of one of its checks; None if there is no such check."""
        endpoint, _, name = route.path[1:].partition("/")
        checks = self._checks[endpoint]
        if name:
            checks = [c for c in checks if c[0] == name]
            if not checks:
                return None
        elif route.path.endswith("/"):
            return None
        excluded = set(route.query.get("exclude", ()))
        unknown = excluded - {c[0] for c in checks}
        results = [(c, "excluded" if c in excluded else run()) for c, run in checks]
        failed = [c for c, problem in results if problem not in ("", "excluded")]
        if name:
            return _text(500, f"internal server error: {results[0][1]}\n") if failed else _text(200, "ok")
        if not failed and "verbose" not in route.query:
            return _text(200, "ok")
        return self._report(endpoint, results, failed, unknown)

    def _report(self, endpoint: str, results: list[tuple[str, str]], failed: list[str], unknown: set[str]) -> Response:
        lines = []
        for name, problem in results:
            if problem == "excluded":
                lines.append(f"[+]{name} excluded: ok")
            else:
                lines.append(f"[-]{name} failed: reason withheld" if problem else f"[+]{name} ok")
        if unknown:
            names = ", ".join(f'"{n}"' for n in sorted(unknown))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {names}")
        lines.append(f"{endpoint} check {'failed' if failed else 'passed'}")
        return _text(500 if failed else 200, "\n".join(lines) + "\n")

    def paths(self) -> list[str]:
        """All paths of the endpoints and their checks."""
        return [p for e, checks in self._checks.items() for p in (f"/{e}", *(f"/{e}/{name}" for name, _ in checks))]

    def failing(self) -> list[str]:
        """The readiness checks that fail now."""
        return [name for name, run in self._checks["readyz"] if run()]


def _text(status: int, text: str) -> Response:
    return Response(status, text.encode(), "text/plain; charset=utf-8", (("X-Content-Type-Options", "nosniff"),))

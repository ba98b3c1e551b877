"""The configured webhooks that a request is for, and calling one of them: what mutating and validating webhooks have in common.

KEP-492 and the reference page "Dynamic Admission Control". Webhooks are never called for configurations of webhooks and policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse.api.errors import Obj, StatusError, bad_request, forbidden_error, internal, quote
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission import reviews
from pilothouse.apiserver.admission.expressions import CONDITIONS_BUDGET, Expressions, Failed, scope_of
from pilothouse.apiserver.admission.followed import Followed
from pilothouse.apiserver.admission.matching import GROUP, ruled, selected
from pilothouse.apiserver.admission.reviews import Answer
from pilothouse.apiserver.admission.versions import View, view
from pilothouse.apiserver.admission.webhook_metrics import WebhookMetrics
from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest
from pilothouse.clock import new_uid

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer
    from pilothouse.apiserver.webhooks.identities import Identities

_QUIET = ("None", "NoneOnDryRun")


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook of a configuration."""

    key: str
    webhook: Obj

    @property
    def name(self) -> str:
        name: str = self.webhook["name"]
        return name


class CallingFailed(Exception):
    """A webhook that gave no answer. What that means is said by its failure policy."""


class WebhookPlugin(AdmissionPlugin):
    """Knows the configurations of one kind."""

    hub: ApiServer
    configurations: str = ""
    mutating = False

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        self._followed = Followed(hub, (self.configurations,), _hooks)
        self._expressions = Expressions()
        self._identities: Identities | None = None
        self._metrics = WebhookMetrics("admit" if self.mutating else "validating")
        self.hub.metrics.add_histogram(self._metrics.durations)
        self.hub.metrics.add_gauges(self._metrics.samples)

    def configure(self, config: Obj) -> None:
        """A WebhookAdmissionConfiguration: as whom webhooks are called."""
        from pilothouse.apiserver.webhooks.identities import Identities

        if config.get("kind") != "WebhookAdmissionConfiguration" or not isinstance(config.get("kubeConfigFile"), str):
            raise ValueError(f"admission plugin {self.name}: want a WebhookAdmissionConfiguration with a kubeConfigFile")
        self._identities = Identities.load(Path(config["kubeConfigFile"]))

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return resource.group != GROUP

    def hooks(self) -> list[Hook]:
        """All webhooks: configurations by name, in each as it has them."""
        return self._followed.get()

    async def view(self, hook: Hook, request: AdmissionRequest) -> View | None:
        """The request as the webhook is to see it; None if it is not for the webhook."""
        webhook = hook.webhook
        if not selected(self.hub, webhook, request):
            return None
        resource = ruled(self.hub, webhook.get("rules") or (), webhook.get("matchPolicy"), request)
        if resource is None:
            return None
        seen = await view(self.hub.registry, request, resource)
        conditions = webhook.get("matchConditions")
        if not conditions:
            return seen
        try:
            wanted = self._expressions.conditions(conditions, scope_of(self.hub, request, seen, CONDITIONS_BUDGET))
        except Failed as failed:
            if webhook.get("failurePolicy") == "Ignore":
                return None
            own = request.resource
            raise forbidden_error(own.group, own.plural, request.name, str(failed)) from None
        return seen if wanted else None

    async def ask(self, hook: Hook, request: AdmissionRequest, seen: View) -> Answer | None:
        """The webhook's answer, with its warnings passed on. None if there is none and that does not matter. StatusError if it does."""
        webhook = hook.webhook
        if request.dry_run and webhook.get("sideEffects") not in _QUIET:
            raise bad_request(f"admission webhook {quote(hook.name)} does not support dry run")
        begun, ignored = self.hub.clock.monotonic(), webhook.get("failurePolicy") == "Ignore"
        try:
            answer = await self._call(webhook, request, seen)
        except CallingFailed as failed:
            self._metrics.failed(hook.name, request.operation, self.hub.clock.monotonic() - begun, ignored)
            if ignored:
                return None
            raise calling_failed(hook, str(failed)) from None
        code = 200 if answer.allowed else reviews.denial(hook.name, answer.status).code
        self._metrics.answered(hook.name, request.operation, self.hub.clock.monotonic() - begun, not answer.allowed, code)
        request.warnings += [w for w in answer.warnings if w not in request.warnings]
        request.annotations |= {f"{hook.name}/{k}": v for k, v in answer.annotations.items()}
        return answer

    async def _call(self, webhook: Obj, request: AdmissionRequest, seen: View) -> Answer:
        from pilothouse.apiserver.webhooks import BadClient, CallFailed

        uid, version = new_uid(self.hub.clock), reviews.version_for(webhook)
        body = reviews.review(request, seen, version, uid)
        try:
            said = await self.hub.webhooks.post(
                webhook["clientConfig"], body, webhook.get("timeoutSeconds") or 10, self._identities
            )
            return reviews.answer(said, version, uid, self.mutating)
        except BadClient as error:
            raise CallingFailed(f"could not get REST client: {error}") from None
        except CallFailed as error:
            raise CallingFailed(f"failed to call webhook: {error}") from None
        except reviews.BadAnswer as error:
            raise CallingFailed(f"received invalid webhook response: {error}") from None


def _hooks(configurations: list[Obj]) -> list[Hook]:
    return [
        Hook(f"{config['metadata']['name']}/{webhook['name']}/{n}", webhook)
        for config in configurations
        for n, webhook in enumerate(config.get("webhooks") or ())
    ]


def calling_failed(hook: Hook, why: str) -> StatusError:
    """500: the webhook that has to be asked cannot be."""
    return internal(f"failed calling webhook {quote(hook.name)}: {why}")

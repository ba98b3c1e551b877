"""ValidatingAdmissionWebhook: all webhooks that a request is for are asked at once, and each can refuse it."""

from __future__ import annotations

import asyncio

from pilothouse.apiserver.admission import reviews
from pilothouse.apiserver.admission.followed import too_early
from pilothouse.apiserver.admission.hooks import Hook, WebhookPlugin
from pilothouse.apiserver.admission.versions import View
from pilothouse.apiserver.interface import AdmissionRequest


class ValidatingAdmissionWebhook(WebhookPlugin):
    name = "ValidatingAdmissionWebhook"
    configurations = "validatingwebhookconfigurations"

    async def validate(self, request: AdmissionRequest) -> None:
        if too_early(self.hub, request):
            return
        wanted = [(hook, await self.view(hook, request)) for hook in self.hooks()]
        asked = [(hook, seen) for hook, seen in wanted if seen is not None]
        if not asked:
            return
        outcomes = await asyncio.gather(*(self._ask(hook, request, seen) for hook, seen in asked), return_exceptions=True)
        for outcome in outcomes:  # of several refusals, the first is told
            if outcome is not None:
                raise outcome

    async def _ask(self, hook: Hook, request: AdmissionRequest, seen: View) -> None:
        answer = await self.ask(hook, request, seen)
        if answer is not None and not answer.allowed:
            raise reviews.denial(hook.name, answer.status)

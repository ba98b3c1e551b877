"""MutatingAdmissionWebhook: webhooks change a request's object one after the other, in the order of their configurations' names."""

from __future__ import annotations

import orjson

from pilothouse.api.errors import StatusError, internal, quote
from pilothouse.api.patch.jsonpatch import decode_json_patch
from pilothouse.apiserver.admission import mutation, reviews
from pilothouse.apiserver.admission.followed import too_early
from pilothouse.apiserver.admission.hooks import Hook, WebhookPlugin, calling_failed
from pilothouse.apiserver.admission.reinvocation import Reinvocation
from pilothouse.apiserver.admission.reviews import Answer
from pilothouse.apiserver.admission.versions import View
from pilothouse.apiserver.interface import AdmissionRequest

_ANNOTATION = "mutation.webhook.admission.k8s.io/round_{}_index_{}"


class MutatingAdmissionWebhook(WebhookPlugin):
    name = "MutatingAdmissionWebhook"
    configurations = "mutatingwebhookconfigurations"
    mutating = True

    async def admit(self, request: AdmissionRequest) -> None:
        hooks = self.hooks()
        if not hooks or too_early(self.hub, request):
            return
        again = Reinvocation.of(request, self.name)
        again.begin(request)
        for n, hook in enumerate(hooks):
            if not again.wants(request, hook.key):
                continue
            seen = await self.view(hook, request)
            if seen is None:
                continue
            changed = await self._mutate(hook, request, seen)
            note = {"configuration": hook.key.partition("/")[0], "webhook": hook.name, "mutated": changed}
            request.annotations[_ANNOTATION.format(request.round, n)] = orjson.dumps(note).decode()
            again.ran(request, hook.key, changed, hook.webhook.get("reinvocationPolicy") == "IfNeeded")
        again.end(request)

    async def _mutate(self, hook: Hook, request: AdmissionRequest, seen: View) -> bool:
        """Whether the webhook changed the object. StatusError if it refuses, or answers with a patch that is none."""
        answer = await self.ask(hook, request, seen)
        if answer is None:
            return False
        if not answer.allowed:
            raise reviews.denial(hook.name, answer.status)
        if not answer.patch:
            return False
        return await self._patch(hook, request, seen, answer)

    async def _patch(self, hook: Hook, request: AdmissionRequest, seen: View, answer: Answer) -> bool:
        try:
            operations = decode_json_patch(answer.patch)
        except StatusError as error:
            return self._unusable(hook, f"received undecodable patch in webhook response: {error.message}")
        if not operations:
            return False
        if seen.obj is None:
            what = "attempted to modify the object, which is not supported for this operation"
            raise internal(f"admission webhook {quote(hook.name)} {what}")
        if answer.patch_type != "JSONPatch":
            return self._unusable(hook, f"unsupported patch type {quote(answer.patch_type)}")
        try:
            document = mutation.patched(orjson.loads(orjson.dumps(seen.obj)), operations)
        except ValueError as error:
            raise internal(str(error)) from None
        return await mutation.replace(self.hub, request, seen, document)

    def _unusable(self, hook: Hook, why: str) -> bool:
        """An answer without a patch that can be read is as good as none."""
        if hook.webhook.get("failurePolicy") == "Ignore":
            return False
        raise calling_failed(hook, why)

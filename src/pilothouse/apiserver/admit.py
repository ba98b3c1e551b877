"""The admission chain: which plugins a kind of write passes, decided once; all mutate first, then all validate."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.apiserver.interface import AdmissionPlugin, AdmissionRequest


class Chain:
    """The enabled plugins, in Kubernetes' order."""

    def __init__(self, plugins: Sequence[AdmissionPlugin]) -> None:
        self._plugins = tuple(plugins)
        self._for: dict[tuple[str, str, str, str], tuple[tuple[AdmissionPlugin, ...], tuple[AdmissionPlugin, ...]]] = {}

    def _of(self, request: AdmissionRequest) -> tuple[tuple[AdmissionPlugin, ...], tuple[AdmissionPlugin, ...]]:
        resource = request.resource
        key = (request.operation, resource.group, resource.plural, request.subresource)
        found = self._for.get(key)
        if found is None:
            wanted = [p for p in self._plugins if p.handles(request.operation, resource, request.subresource)]
            mutating = tuple(p for p in wanted if type(p).admit is not AdmissionPlugin.admit)
            validating = tuple(p for p in wanted if type(p).validate is not AdmissionPlugin.validate)
            found = self._for[key] = (mutating, validating)
        return found

    def reset(self) -> None:
        """Ask the plugins again what they handle (resources have come or gone)."""
        self._for.clear()

    async def admit(self, request: AdmissionRequest) -> None:
        """Mutate; once more, all of it, where a plugin that others configure (a webhook, a policy) has changed the object."""
        plugins = self._of(request)[0]
        for plugin in plugins:
            await plugin.admit(request)
        if request.again:
            request.round = 1
            for plugin in plugins:
                await plugin.admit(request)

    async def validate(self, request: AdmissionRequest) -> None:
        for plugin in self._of(request)[1]:
            await plugin.validate(request)

"""What happens to an object on its way in, without a server: decoded, given its defaults, prepared, checked."""

from __future__ import annotations

import json
from typing import Any

from pilothouse.api import decode, empties, meta, tables
from pilothouse.api.errors import FieldError
from pilothouse.api.kinds import strategy_for
from pilothouse.api.resource import Resource
from pilothouse.api.strategy import Context, Strategy

Obj = dict[str, Any]
NOW = 1_700_000_000.0


class Kind:
    """One kind's rules, as a client meets them."""

    def __init__(self, group: str, version: str, plural: str) -> None:
        found = tables.resource_for(group, version, plural)
        assert found is not None
        self.resource: Resource = found
        self.strategy: Strategy = strategy_for(found)
        self.schema = tables.schema_for(group, version, found.kind)

    def decoded(self, obj: Obj) -> Obj:
        resource = self.resource
        gvk = (resource.group, resource.version, resource.kind)
        return decode.decode(json.dumps(obj).encode(), "json", self.schema, gvk, "Strict")[0]

    def create(self, obj: Obj, name: str = "a") -> tuple[Obj, list[str]]:
        """The object as it would be stored, and what is wrong with it."""
        made = self.decoded({"metadata": {"name": name}, **obj})
        if self.resource.namespaced:
            made["metadata"].setdefault("namespace", "ns")
        self.strategy.default(made)
        empties.to_null(made, self.schema)
        self.strategy.prepare_create(made, self._context())
        self.strategy.default(made)
        errors = meta.validate_object_meta(made["metadata"], self.resource.namespaced, self.strategy.name_rule(made))
        errors += self.strategy.validate(made)
        if self.strategy.defaulted_when_read:
            self.strategy.default(made)
        return made, texts(errors)

    def stored(self, obj: Obj, name: str = "a") -> Obj:
        """The object as it would be stored, without kind, apiVersion and metadata; it must be right."""
        made, wrong = self.create(obj, name)
        assert wrong == []
        return {k: v for k, v in made.items() if k not in ("kind", "apiVersion", "metadata")}

    def wrong(self, obj: Obj, name: str = "a") -> list[str]:
        """What is wrong with a new object."""
        return self.create(obj, name)[1]

    def update(self, old: Obj, changes: Obj) -> tuple[Obj, list[str]]:
        """An object with some of its fields replaced."""
        before, wrong = self.create(old)
        assert wrong == []
        new = self.decoded({**json.loads(json.dumps(before)), **changes})
        new["metadata"] = {**json.loads(json.dumps(before["metadata"])), **changes.get("metadata", {})}
        self.strategy.default(new)
        empties.to_null(new, self.schema)
        self.strategy.prepare_update(new, before, self._context())
        return new, texts(self.strategy.validate_update(new, before))

    def write_status(self, old: Obj, status: Obj) -> tuple[Obj, list[str]]:
        """An object whose status was written through the status subresource."""
        before, wrong = self.create(old)
        assert wrong == []
        new = self.decoded({**json.loads(json.dumps(before)), "status": status})
        new["metadata"] = json.loads(json.dumps(before["metadata"]))
        self.strategy.default(new)
        self.strategy.prepare_subresource("status", new, before, self._context())
        return new, texts(self.strategy.validate_subresource("status", new, before))

    def _context(self) -> Context:
        return Context(NOW, self.resource.api_version)


def texts(errors: list[FieldError]) -> list[str]:
    """Errors as lines, long explanations of patterns cut."""
    return [str(e).split(" (e.g. '")[0] for e in errors]

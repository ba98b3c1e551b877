"""CustomResourceDefinition: a kind of the users' own. Its rules are in api/crd/."""

from __future__ import annotations

from pilothouse.api.crd import check
from pilothouse.api.crd.definition import FINALIZER
from pilothouse.api.errors import FieldError, Obj
from pilothouse.api.strategy import Context, Strategy


class CustomResourceDefinitionStrategy(Strategy):
    allow_unconditional_update = False
    has_generation = True
    terminates = True
    bare_finalizers = True
    reset_fields = {"": (("status",),), "status": (("spec",), ("metadata", "annotations"))}  # noqa: RUF012

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        names = spec.setdefault("names", {})
        kind = names.get("kind") or ""
        if kind and not names.get("singular"):
            names["singular"] = kind.lower()
        if kind and not names.get("listKind"):
            names["listKind"] = kind + "List"
        spec.setdefault("conversion", {"strategy": "None"})
        for path in _services(spec):
            path.setdefault("port", 443)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        super().prepare_create(obj, ctx)
        obj["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": None}
        self._store_version(obj)

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_update(obj, old, ctx)
        if "status" in obj:
            obj["status"] = dict(obj["status"])
            self._store_version(obj)

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        super().prepare_subresource(sub, obj, old, ctx)
        if sub == "status":
            obj["status"] = dict(obj.get("status") or {})
            if not obj["status"].get("storedVersions"):
                self._store_version(obj)

    def _store_version(self, obj: Obj) -> None:
        """What objects are stored as from now on is among the versions in which some may be stored."""
        stored = obj["status"].get("storedVersions") or []
        versions = [v.get("name") or "" for v in obj["spec"].get("versions") or () if v.get("storage")]
        if versions and versions[0] not in stored:
            obj["status"]["storedVersions"] = [*stored, versions[0]]

    def terminate(self, obj: Obj, now: str) -> None:
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if FINALIZER not in finalizers:
            finalizers.append(FINALIZER)
        status = obj.setdefault("status", {})
        kept = [c for c in status.get("conditions") or () if c.get("type") != "Terminating"]
        told = {
            "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        }
        status["conditions"] = [*kept, {"type": "Terminating", "status": "True", "lastTransitionTime": now, **told}]

    def validate(self, obj: Obj) -> list[FieldError]:
        return check.definition(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        return check.changed(obj, old)


def _services(spec: Obj) -> list[Obj]:
    client = ((spec["conversion"] or {}).get("webhook") or {}).get("clientConfig") or {}
    return [client["service"]] if client.get("service") else []

"""What is special about a kind: its defaults, validation, immutability, status split, selectable fields and table columns.

The hub runs every write through one generic path and asks the kind's `Strategy` at fixed points. A kind that needs nothing
special uses this base class as it is. One kind is one file in `api/kinds/`, listed in `api/kinds/__init__.py`.

Order of a create:  decode -> default -> mutating admission -> prepare_create -> validate -> validating admission -> store: what
admission and preparation add must be complete. Of an update: decode/patch -> default -> prepare_update -> mutating admission -> validate_update ->
validating admission -> store. Objects handed to a strategy belong to the request and may be changed in place, except `old`,
which never may be.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api.errors import FieldError, Obj

if TYPE_CHECKING:
    from pilothouse.api.resource import Resource

#: A path of field names, with "*" for any list element: ("status", "conditions").
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a Table: `kubectl get` shows priority 0, `-o wide` also 1."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0


NAME_COLUMN = Column("Name", format="name")
AGE_COLUMN = Column("Age")


@dataclass(frozen=True, slots=True)
class Context:
    """What a strategy may know about the request: the time, and the version that the client speaks; `warn` tells the client something."""

    now: float
    api_version: str
    warn: Callable[[str], None] = lambda text: None


class Strategy:
    """The rules of one kind. Attributes are facts; methods change the request's own object or return what is wrong."""

    #: PUT of a missing object creates it (facts section 5.5).
    allow_create_on_update: bool = False
    #: An update without resourceVersion is accepted.
    allow_unconditional_update: bool = True
    #: Deletion answers with the object rather than with a Status.
    delete_returns_object: bool = False
    #: What happens to dependents when the client does not say: Background or Orphan.
    default_propagation: str = "Background"
    #: A Warning for a deletion that does not say what happens to dependents.
    deletion_warning: str = ""
    #: The garbage collector's finalizers are used for this kind (not for events).
    garbage_collected: bool = True
    #: A Warning for every use of a deprecated kind: `v1 Endpoints is deprecated in v1.33+; use ...`.
    deprecated: str = ""
    #: Deletion is a state (namespaces): the object is marked Terminating and kept while it has finalizers in metadata or spec.
    terminates: bool = False
    #: The kind's own rules check an update's metadata once more, so that what is wrong with it is told twice: fields that never change
    #: (`immutable`), and what is checked on create, too (`common`).
    metadata_checked_again: frozenset[str] = frozenset(("immutable", "common"))
    #: Finalizers need no domain in front of their names.
    bare_finalizers: bool = False
    #: The group that errors name where it is not the kind's own: events of events.k8s.io are core's inside.
    error_group: str | None = None
    #: Defaults depend on what is prepared, and are for readers: they are filled in once a new object has been checked.
    defaulted_when_read: bool = False
    #: metadata.generation is kept: 1 on create, +1 when anything outside metadata and status changes.
    has_generation: bool = False
    #: Fields besides metadata.name and metadata.namespace that field selectors accept.
    selectable: tuple[str, ...] = ()
    #: Other names under which clients may select a selectable field.
    field_aliases: dict[str, str] = {}  # noqa: RUF012
    #: Field selectors accept metadata.namespace.
    namespace_selectable: bool = True
    #: Fields that writes through an endpoint do not touch ("" is the main endpoint): they are wiped or restored and never owned.
    reset_fields: dict[str, tuple[Path, ...]] = {}  # noqa: RUF012
    #: Objects of a list stand in a Table in the order of `table_order`, not in that of their names.
    table_sorted: bool = False
    #: Columns of the kind's Table.
    columns: tuple[Column, ...] = (NAME_COLUMN, Column("Created At", "date"))

    #: A TypedDict of the fields that `cells` and `row_conditions` look at, where decoding no others pays: a kind that is listed by
    #: the thousand. Its `bare_metadata` is the whole metadata then. None: any field.
    view: type | None = None

    def __init__(self, resource: Resource) -> None:
        self.resource = resource

    @property
    def scale(self) -> Obj | None:
        """Where a custom resource keeps what its Scale shows: specReplicasPath, statusReplicasPath, labelSelectorPath."""
        return None

    @property
    def group_in_errors(self) -> str:
        return self.resource.group if self.error_group is None else self.error_group

    # --- names and defaults -----------------------------------------------------------------------------------------------

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        """What is wrong with metadata.name (or, with `prefix`, with generateName): messages, as Kubernetes words them."""
        from pilothouse.api import names

        return names.dns1123_subdomain(name, prefix)

    def name_rule(self, obj: Obj) -> Callable[[str, bool], list[str]]:
        """`validate_name` for a new object: where the name must agree with what the object says, it is this that knows."""
        return self.validate_name

    def default(self, obj: Obj) -> None:
        """Fill in the version's defaults, in place. Must be idempotent."""

    # --- main endpoint ----------------------------------------------------------------------------------------------------

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        """Drop what clients may not set on create. The base empties `status` where a status subresource exists, and sets generation."""
        if "status" in self.resource.subresources:
            obj.pop("status", None)
            empty = _empty_status(self.resource.group, self.resource.version, self.resource.kind)
            if empty is not None:
                obj["status"] = orjson.loads(empty)
        if self.has_generation:
            obj["metadata"]["generation"] = 1

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        """Restore what clients may not change. The base restores `status` where a status subresource exists, and counts generation."""
        if "status" in self.resource.subresources:
            _restore(obj, old, "status")
        if self.has_generation:
            changed = self.spec_changed(obj, old)
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + (1 if changed else 0)

    def spec_changed(self, obj: Obj, old: Obj) -> bool:
        """Whether the desired state differs (anything but metadata and status)."""
        skip = ("metadata", "status", "kind", "apiVersion")
        return any(obj.get(k) != old.get(k) for k in (*obj, *old) if k not in skip)

    def validate(self, obj: Obj) -> list[FieldError]:
        """Errors of a new object, beyond its structure and its ObjectMeta, in the order in which Kubernetes reports them."""
        return []

    def validation_key(self, obj: Obj) -> bytes | None:
        """All of a new object that `validate` and `warnings` look at, as bytes: what was valid once is not checked again. None: check.

        Worth it only for kinds that are expensive to check and come in many equal copies.
        """
        return None

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        """Errors of a changed object, beyond its ObjectMeta. The base validates it as if it were new."""
        return self.validate(obj)

    def warnings(self, obj: Obj, old: Obj | None) -> list[str]:
        """Texts for Warning headers: deprecated or doubtful use."""
        return []

    # --- subresources that write this same kind (status, resize, ephemeralcontainers, approval, finalize) ---------------------

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        """Restore everything but what this subresource writes. The base lets `status` write only `.status`."""
        if sub == "status":
            keep = obj.get("status")
            for k in [k for k in obj if k not in ("kind", "apiVersion", "metadata")]:
                del obj[k]
            for k, v in old.items():
                if k not in ("kind", "apiVersion", "metadata", "status"):
                    obj[k] = v
            if keep is not None:
                obj["status"] = keep

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        """Errors of a write through a subresource."""
        return []

    def grace_period(self, obj: Obj, wanted: int | None) -> int | None:
        """Seconds in which an object that is being deleted may still end its work, of which the client wanted `wanted`.

        None: the kind does not know graceful deletion. 0: marked and deleted at once.
        """
        return None

    def terminate(self, obj: Obj, now: str) -> None:
        """Mark an object whose deletion is a state. `now` is RFC 3339. The base says so in its phase."""
        obj.setdefault("status", {})["phase"] = "Terminating"

    def undeletable(self, name: str) -> str:
        """Why clients may not delete the object of that name, whether it is there or not; "" where they may."""
        return ""

    # --- reading ------------------------------------------------------------------------------------------------------------

    def unknown_field(self, field: str) -> str:
        """What a client is told who selects by a field that cannot be selected by."""
        if self.selectable:
            return f"field label not supported: {field}"
        return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'

    def fields(self, obj: Obj) -> dict[str, str]:
        """The values of `selectable` for one object, as strings (booleans as true and false, absent as "")."""
        return {}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        """One value per column. `now` (epoch seconds, or LATER) is what ages are counted from, by `since` and `elapsed` of table.py only."""
        meta = obj["metadata"]
        return [meta.get("name", ""), meta.get("creationTimestamp")]

    def table_order(self, obj: Obj) -> Any:
        """What a Table's rows are sorted by, with `table_sorted`."""
        return obj["metadata"]["name"]

    def bare_metadata(self, obj: Obj) -> Obj:
        """The metadata that is shown where it is all that is wanted (PartialObjectMetadata)."""
        metadata: Obj = obj["metadata"]
        return metadata

    def row_conditions(self, obj: Obj) -> list[Obj]:
        """Conditions of the object's row in a Table: kubectl hides, or greys, rows of pods that have completed."""
        return []

    def convert(self, obj: Obj, version: str) -> Obj:
        """The same object as another apiVersion has it (autoscaling/v1 and autoscaling/v2, v1 and events.k8s.io/v1 events).

        `version` is the wanted apiVersion; the object's own apiVersion says what it is. The hub sets kind and apiVersion.
        """
        return obj


@functools.cache
def _empty_status(group: str, version: str, kind: str) -> bytes | None:
    """The status of an object that has none yet: what a built-in kind writes all the same."""
    from pilothouse.api import decode, tables

    if not tables.is_known_kind(group, version, kind):
        return None
    schema = tables.schema_for(group, version, kind).fields.get("status")
    return orjson.dumps(decode.zero_of(schema)) if schema is not None and schema.always else None


def _restore(obj: Obj, old: Obj, key: str) -> None:
    if key in old:
        obj[key] = old[key]
    else:
        obj.pop(key, None)

"""The shape of an object: what every generic algorithm (decode, prune, merge, apply, explain) walks along.

A `Schema` is a node. Built-in kinds get theirs from the generated tables (`schema_for`); custom resources get theirs from the
CRD's OpenAPI schema. References are resolved lazily, so recursive types (JSONSchemaProps) cost nothing until walked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Schema:
    """One node.

    `type` is one of: object (named fields), map (any keys, `items` values), list (`items`), string, integer (with `format`
    int32 or int64), number, boolean, bytes (base64), time, microtime, duration, quantity, intorstring, any (free-form JSON).
    """

    __slots__ = (
        "_fields",
        "_items",
        "_load",
        "always",
        "compiled",
        "defaults",
        "format",
        "keep_zero",
        "list_keys",
        "list_type",
        "map_type",
        "name",
        "null_zero",
        "patch_key",
        "patch_strategy",
        "required",
        "type",
    )

    def __init__(
        self,
        type: str,
        *,
        name: str = "",
        format: str = "",
        required: frozenset[str] = frozenset(),
        list_type: str = "atomic",
        list_keys: tuple[str, ...] = (),
        map_type: str = "granular",
        patch_strategy: frozenset[str] = frozenset(),
        patch_key: str = "",
        keep_zero: bool = False,
        always: bool = False,
        null_zero: bool = False,
        fields: dict[str, Schema] | None = None,
        items: Schema | None = None,
        load: Callable[[], tuple[dict[str, Schema] | None, Schema | None]] | None = None,
        defaults: dict[str, Any] | None = None,
    ) -> None:
        self.type = type
        self.name = name  # the definition's name, e.g. io.k8s.api.core.v1.PodSpec; "" for anonymous nodes
        self.format = format
        self.required = required
        self.list_type = list_type  # atomic, set, map
        self.list_keys = list_keys
        self.map_type = map_type  # granular, atomic
        self.patch_strategy = patch_strategy  # of merge, replace, retainKeys (strategic merge patch)
        self.patch_key = patch_key
        self.keep_zero = keep_zero  # an optional scalar whose zero value survives decoding (a pointer in the reference server)
        self.always = always  # written even when nobody set it (a plain value that the reference server never leaves out)
        self.null_zero = null_zero  # always written, and null when nobody set it (a pointer that is never left out)
        self.compiled: Any = None  # a decoder made for this node on first use (api/decode.py)
        self.defaults = defaults or {}  # structural defaults by field, where the schema itself declares them (list-map keys)
        self._fields = fields
        self._items = items
        self._load = load

    @property
    def fields(self) -> dict[str, Schema]:
        """Named fields of an object node; empty for the others."""
        if self._load is not None:
            self._resolve()
        return self._fields or {}

    @property
    def items(self) -> Schema | None:
        """Elements of a list node, or values of a map node."""
        if self._load is not None:
            self._resolve()
        return self._items

    def _resolve(self) -> None:
        load, self._load = self._load, None
        assert load is not None
        self._fields, self._items = load()

    def __repr__(self) -> str:
        return f"Schema({self.type}, {self.name!r})"

"""The seam for validation rules (`x-kubernetes-validations`): what checks an object beyond its structure."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api.errors import FieldError, Obj

#: (object, old object or None) -> errors. Called once the structure is known to be right.
Checker = Callable[[Obj, Obj | None], list[FieldError]]


def checker(openapi: Obj) -> Checker | None:
    """What checks the rules of a version's schema, made when an object comes by; None where there are none.

    No rule language is built in yet: rules are kept, published and not checked.
    """
    return None

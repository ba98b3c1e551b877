"""What the cells of Tables are made of: ages, lists of names, words for what is missing.

A Table is what `kubectl get` prints. Which columns a kind has, and how it fills them, is in its strategy (`columns` and `cells`); the
hub puts rows together. `<none>` stands for nothing there, `<unset>` for a choice not made, `<unknown>` for not known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilothouse.api import times
from pilothouse.api.duration import human
from pilothouse.api.errors import Obj

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"


#: Instead of a time: cells that hold moments, marked by NUL characters, where ages are to be put in when they are served.
LATER = float("nan")


def elapsed(start: float, now: float) -> str:
    """How long ago a moment (epoch seconds) was; its mark if `now` is LATER."""
    return f"\0{start!r}\0" if now is LATER else human(now - start)


def since(moment: str | None, now: float, missing: str = UNKNOWN) -> str:
    """How long ago a time was."""
    return elapsed(times.seconds(moment), now) if moment else missing


def age(obj: Obj, now: float) -> str:
    """The AGE column."""
    return since(obj["metadata"].get("creationTimestamp"), now)


def name_of(obj: Obj) -> str:
    """The NAME column."""
    name: str = obj["metadata"].get("name", "")
    return name


def marked_default(obj: Obj, *annotations: str) -> str:
    """The name, and whether an annotation makes this the class that is used when none is named."""
    set_on = obj["metadata"].get("annotations") or {}
    return f"{name_of(obj)} (default)" if any(set_on.get(a) == "true" for a in annotations) else name_of(obj)


def or_word(value: Any, word: str = NONE) -> Any:
    """The value, or a word for there being none."""
    return word if value is None or value == "" else value


def yes_no(value: bool | None, missing: str = UNSET) -> str:
    """A choice as a word: True, False, or not made."""
    return missing if value is None else str(value)


def names(items: Iterable[Obj] | None, field: str = "name") -> str:
    """One field of each item, with commas."""
    return ",".join(str(item.get(field, "")) for item in items or ())


def containers(pod_spec: Obj) -> tuple[str, str]:
    """Names and images of a pod's containers."""
    found = pod_spec.get("containers")
    return names(found), names(found, "image")


def labels_text(labels: dict[str, str] | None) -> str:
    """Labels in order of their keys: `a=1,b=2`."""
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def more(shown: list[str], total: int, separator: str = ",") -> str:
    """The first few of many, and how many are left."""
    text = separator.join(shown)
    return f"{text} + {total - len(shown)} more..." if total > len(shown) else text


def count(items: Any) -> int:
    """How many there are, where there may be none at all."""
    return len(items or ())


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def access_modes(modes: Iterable[str] | None) -> str:
    """Access modes of volumes, abbreviated, each once and always in the same order."""
    given = set(modes or ())
    return ",".join(short for mode, short in _MODES.items() if mode in given)


def load_balancer(status: Obj) -> str:
    """Addresses that a load balancer answers at."""
    given = (status.get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(sorted({i.get("ip") or i.get("hostname") or "" for i in given} - {""}))

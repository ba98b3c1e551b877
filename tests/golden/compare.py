"""Two answers compared: what differs from run to run is replaced by placeholders on both sides first.

The placeholders are those of the recordings: `<uid>`, `<time>`, `<resourceVersion>`, `<ip>`, `<age>` and so on. `$ns` stands for the
script's own namespace. Three verdicts: `same`; `close` (the same code, reason, object and fields of causes, in other words); `different`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

SAME, CLOSE, DIFFERENT = "same", "close", "different"

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_AGE = re.compile(r"(\d+[smhdy]){1,2}")
_TIME_FIELDS = frozenset({"creationTimestamp", "deletionTimestamp", "time"})
_AGE_COLUMNS = frozenset({"Age", "Last Seen", "First Seen"})
_PORT_FIELDS = frozenset({"nodePort", "healthCheckNodePort"})
#: Everything that is older than this was written into a request, and is not volatile.
_FIRST_YEAR = "2026"
#: A generated name keeps this much of its base.
GENERATED_BASE = 58
#: A message in terms of the reference's own language: any clear message is as good.
_IN_TERMS_OF_GO = re.compile(r"unmarshal|Go struct|invalid character|unexpected end of JSON")
#: The first line of a comparison of two structs, printed in the reference's own notation, says what is wrong.
_STRUCT_DIFF = re.compile(r"\n\s+(&|[a-z0-9]+\.[A-Z])")

#: Volatile parts of a text, and what stands for them; in this order.
_IN_TEXT: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), placeholder)
    for pattern, placeholder in (
        (_UUID.pattern, "<uid>"),
        (r"\b10\.96\.\d{1,3}\.\d{1,3}\b", "<ip>"),
        (r":3[012]\d{3}/(TCP|UDP|SCTP)", r":<nodePort>/\1"),
        (r"\beyJ[\w-]+\.eyJ[\w-]+\.[\w-]*", "<jwt>"),
        (r"\bkube-api-access-[a-z0-9]{5}\b", "kube-api-access-<gen>"),
        (r'(\\"resourceVersion\\":\\")\d+', r"\1<rv>"),
        (r'(\\"(?:creationTimestamp|time)\\":\\")[^"\\]*', r"\1<time>"),
        (r"selfType\d+", "selfType<n>"),
        (r"(ResourceVersion in (?:record|the precondition) \()\d+", r"\1<rv>"),
        (r"( at )20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", r"\1<time>"),
        (r"(too old resource version: )\d+ \(\d+\)", r"\1<rv> (<rv>)"),
        (r"(Too large resource version: )\d+, current: \d+", r"\1<rv>, current: <rv>"),
        (r'(\b(?:creationTimestamp|deletionTimestamp|time): ")20[2-9]\d-[^"\n]*', r"\1<time>"),
        (r'(\bresourceVersion: ")\d+', r"\1<rv>"),
        (r"(resourceVersion: |resource version[ :]+|revision )\d+", r"\1<rv>"),
    )
)


class Normaliser:
    """Puts placeholders into the answers of one step. `ports` are node ports that the request itself asked for."""

    def __init__(self, namespace: str, ports: frozenset[int] = frozenset()) -> None:
        self._namespace = namespace
        self._ports = ports

    def __call__(self, answer: Any) -> Any:
        """The answer with placeholders, in canonical order."""
        return canonical(self._any(answer))

    def _any(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, list):
            return [self._any(item) for item in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        if _TIME.fullmatch(text):
            return text if text[:4] < _FIRST_YEAR else "<time>"
        text = text.replace(self._namespace, "$ns")
        if "\n" in text and _STRUCT_DIFF.search(text):
            text = text.split("\n", 1)[0].rstrip()
        for pattern, placeholder in _IN_TEXT:
            text = pattern.sub(placeholder, text)
        return text

    def _object(self, obj: dict[str, Any]) -> dict[str, Any]:
        out = {self._text(key): self._field(key, value, obj) for key, value in obj.items()}
        kind = obj.get("kind")
        if kind == "Table":
            _without_ages(out)
        elif kind == "Status":
            self._sort_causes_of_custom_resources(out)
        elif kind == "APIResourceList" and self._namespace in str(obj.get("groupVersion")):
            for resource in out.get("resources") or ():
                if resource.get("storageVersionHash"):
                    resource["storageVersionHash"] = "<hash>"
        return out

    def _field(self, key: str, value: Any, owner: dict[str, Any]) -> Any:
        found = _placeholder(key, value)
        if found is not None:
            return found
        if key in _PORT_FIELDS:
            return "<nodePort>" if isinstance(value, int) and value and value not in self._ports else value
        if key == "name" and isinstance(base := owner.get("generateName"), str) and str(value).startswith(base[:GENERATED_BASE]):
            return base[:GENERATED_BASE] + "<gen>"
        return self._any(value)

    @staticmethod
    def _sort_causes_of_custom_resources(status: dict[str, Any]) -> None:
        """The reference finds what is wrong with a custom resource in no particular order."""
        details = status.get("details") or {}
        causes = details.get("causes")
        if not causes or "$ns" not in str(details.get("group")):
            return
        causes.sort(key=lambda cause: (str(cause.get("field")), str(cause.get("message"))))
        head, mark, tail = str(status.get("message")).partition(" is invalid: [")
        listed = ", ".join(f"{cause.get('field')}: {cause.get('message')}" for cause in causes) + "]"
        if mark and sorted(tail) == sorted(listed):
            status["message"] = head + mark + listed


def _placeholder(key: str, value: Any) -> str | None:
    """What stands for a field whose name says that it is volatile."""
    if not isinstance(value, str) or not value:
        return None
    if key == "uid":
        return "<uid>" if _UUID.fullmatch(value) else None
    if key == "resourceVersion":
        return "<resourceVersion>" if value.isdigit() else None
    if key in _TIME_FIELDS:
        return "<time>"
    return {"serverAddress": "<address>", "continue": "<continue>"}.get(key)


def _without_ages(table: dict[str, Any]) -> None:
    """Ages become placeholders. The rows of IPAddress end in an age that no column names; a watch names columns only once."""
    columns, rows = table.get("columnDefinitions"), table.get("rows") or []
    if not isinstance(columns, list):
        for row in rows:
            row["cells"] = ["<age>" if isinstance(c, str) and _AGE.fullmatch(c) else c for c in row.get("cells") or ()]
        return
    ages = {at for at, column in enumerate(columns) if column.get("name") in _AGE_COLUMNS}
    for column in columns:
        column.pop("description", None)
    for row in rows:
        row["cells"] = ["<age>" if at in ages or at >= len(columns) else c for at, c in enumerate(row["cells"])]


def canonical(value: Any) -> Any:
    """Lists without an order of their own (managed fields, an apply's conflicts) in one."""
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if not isinstance(value, dict):
        return value
    out = {key: canonical(item) for key, item in value.items()}
    if isinstance(entries := out.get("managedFields"), list):
        entries.sort(key=_text_of)
    causes = out.get("causes")
    if isinstance(causes, list) and any(isinstance(c, dict) and c.get("reason") == "FieldManagerConflict" for c in causes):
        causes.sort(key=_text_of)
    return out


def _text_of(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def without_generated_name(answer: Any, base: str) -> Any:
    """A refusal that names the object by a name that was just generated for it."""
    short = re.escape(json.dumps(base[:GENERATED_BASE])[1:-1])
    return json.loads(re.sub(f"({short})[bcdfghjklmnpqrstvwxz2456789]{{5}}(?![a-z0-9])", r"\1<gen>", json.dumps(answer)))


def verdict(want: dict[str, Any], code: int, answer: Any) -> str:
    """How an answer compares with the recorded one; both with placeholders."""
    if code != want["code"]:
        return DIFFERENT
    if "body" not in want:
        return SAME
    wanted = canonical(want["body"])
    if wanted == answer:
        return SAME
    if not (_is_status(wanted) and _is_status(answer)) or wanted.get("reason") != answer.get("reason"):
        return DIFFERENT
    if answer.get("message") and _IN_TERMS_OF_GO.search(wanted.get("message", "")):
        return SAME
    return CLOSE if _gist(wanted) == _gist(answer) else DIFFERENT


def _is_status(value: Any) -> bool:
    return isinstance(value, dict) and value.get("kind") == "Status"


def _gist(status: dict[str, Any]) -> tuple[Any, ...]:
    """What a program reads of a Status: which object, which fields, and why."""
    details = status.get("details") or {}
    causes = sorted((c.get("reason", ""), c.get("field", "")) for c in details.get("causes") or ())
    return details.get("kind"), details.get("name"), causes


def differences(want: Any, got: Any, at: str = "") -> Iterator[str]:
    """Where two answers differ, a line each."""
    short: Callable[[Any], str] = lambda value: json.dumps(value, ensure_ascii=False)[:300]  # noqa: E731
    if isinstance(want, dict) and isinstance(got, dict):
        for key in sorted({*want, *got}):
            if key not in got:
                yield f"{at}.{key}: missing, want {short(want[key])}"
            elif key not in want:
                yield f"{at}.{key}: not wanted, got {short(got[key])}"
            else:
                yield from differences(want[key], got[key], f"{at}.{key}")
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for index, (one, other) in enumerate(zip(want, got, strict=True)):
            yield from differences(one, other, f"{at}[{index}]")
    elif type(want) is not type(got) or want != got:
        yield f"{at or '.'}: want {short(want)}, got {short(got)}"

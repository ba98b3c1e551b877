"""The options that reads and writes carry in their query: parsed, checked, and refused in Kubernetes' words."""

from __future__ import annotations

from dataclasses import dataclass

from pilothouse.api.errors import (
    FieldError,
    StatusError,
    bad_request,
    forbidden,
    invalid,
    invalid_object,
    not_supported,
    required,
)
from pilothouse.apiserver.routes import Route, parse_int, parse_revision

MATCHES = ("Exact", "NotOlderThan", "")


@dataclass(frozen=True, slots=True)
class ListOptions:
    """A list's or watch's options. `revision_text` keeps what the client wrote: "" and "0" mean different things."""

    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    continue_token: str = ""
    revision_text: str = ""
    match: str = ""
    timeout_seconds: int | None = None
    bookmarks: bool = False
    send_initial: bool | None = None

    @property
    def revision(self) -> int:
        """The resource version as a number. 400 if it is none."""
        try:
            return parse_revision(self.revision_text)
        except ValueError as error:
            raise bad_request(f"invalid resource version: {error}") from None


_DEFAULT = ListOptions()


def list_options(route: Route, watch: bool) -> ListOptions:
    """Parse and check. 400 for what is no number, 422 for combinations that make no sense."""
    if not route.query:
        return _DEFAULT
    query = route.query
    options = ListOptions(
        label_selector=route.first("labelSelector"),
        field_selector=route.first("fieldSelector"),
        limit=parse_int(query["limit"][0]) if "limit" in query else 0,
        continue_token=route.first("continue"),
        revision_text=route.first("resourceVersion"),
        match=route.first("resourceVersionMatch"),
        timeout_seconds=parse_int(query["timeoutSeconds"][0]) if "timeoutSeconds" in query else None,
        bookmarks=route.flag("allowWatchBookmarks"),
        send_initial=route.flag("sendInitialEvents") if "sendInitialEvents" in query else None,
    )
    errors = _watch_errors(options) if watch else _list_errors(options)
    if errors:
        raise invalid_object("meta.k8s.io", "ListOptions", "", errors)
    return options


def _list_errors(options: ListOptions) -> list[FieldError]:
    errors: list[FieldError] = []
    if options.match:
        if not options.revision_text:
            errors.append(
                forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided")
            )
        if options.continue_token:
            errors.append(forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"))
        if options.match not in MATCHES:
            errors.append(not_supported("resourceVersionMatch", options.match, MATCHES))
        if options.match == "Exact" and options.revision_text == "0":
            errors.append(forbidden("resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if options.send_initial is not None:
        errors.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return errors


def _watch_errors(options: ListOptions) -> list[FieldError]:
    field = "resourceVersionMatch"
    if options.send_initial is None:
        return (
            [forbidden(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")]
            if options.match
            else []
        )
    errors: list[FieldError] = []
    if options.match != "NotOlderThan":
        errors.append(forbidden(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if options.match not in MATCHES:
        errors.append(not_supported(field, options.match, ("NotOlderThan",)))
    if options.continue_token:
        errors.append(forbidden(field, "resourceVersionMatch is forbidden when continue is provided"))
    return errors


@dataclass(frozen=True, slots=True)
class WriteParams:
    """A create's, update's or patch's options."""

    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = "Warn"
    force: bool | None = None


_PLAIN_WRITE = WriteParams()
_VALIDATIONS = ("Ignore", "Strict", "Warn")


def write_params(route: Route, kind: str, apply: bool = False) -> WriteParams:
    """Parse and check; `kind` is CreateOptions, UpdateOptions or PatchOptions. 422 names what is wrong."""
    if not route.query and not apply:
        return _PLAIN_WRITE
    query = route.query
    dry_run = query.get("dryRun", [])
    manager = route.first("fieldManager")
    validation = route.first("fieldValidation")
    force = route.flag("force") if query.get("force", [""])[0] != "" else None
    errors = _patch_errors(force, manager, apply) if kind == "PatchOptions" else []
    errors += _dry_run_errors(dry_run)
    if manager:
        errors += manager_errors(manager)
    if validation and validation not in _VALIDATIONS:
        errors.append(not_supported("fieldValidation", validation, ("", *_VALIDATIONS)))
    if errors:
        raise invalid_object("meta.k8s.io", kind, "", errors)
    return WriteParams("All" in dry_run, manager, validation or "Warn", force)


def _patch_errors(force: bool | None, manager: str, apply: bool) -> list[FieldError]:
    if not apply:
        return [forbidden("force", "may not be specified for non-apply patch")] if force is not None else []
    return [] if manager else [required("fieldManager", "is required for apply patch")]


def _dry_run_errors(dry_run: list[str]) -> list[FieldError]:
    if all(value == "All" for value in dry_run):
        return []
    return [not_supported("dryRun", dry_run, ("All",))]


def manager_errors(manager: str) -> list[FieldError]:
    """Field managers are short and printable."""
    errors: list[FieldError] = []
    if len(manager.encode()) > 128:
        errors.append(FieldError("FieldValueTooLong", "fieldManager", detail="may not be more than 128 bytes"))
    for index, letter in enumerate(manager):
        if not letter.isprintable():
            errors.append(invalid("fieldManager", manager, f"invalid character U+{ord(letter):04X} (at position {index})"))
            break
    return errors


def manager_of(params: WriteParams, user_agent: str) -> str:
    """Who is written down as the owner of the fields: what the client says, else the program in its User-Agent."""
    if params.field_manager:
        return params.field_manager
    if not user_agent:
        return "unknown"
    program = user_agent.partition("/")[0]
    return "".join(c for c in program if c.isprintable())[:128]


def too_large() -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")

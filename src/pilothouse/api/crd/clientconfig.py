"""Where a webhook is: a URL, or a service; and which reviews it understands. API reference: WebhookClientConfig v1."""

from __future__ import annotations

from urllib.parse import urlsplit

from pilothouse.api import names
from pilothouse.api.errors import FieldError, Obj, invalid, required

_FORM = "desired format: https://host[/path]"


def errors(client: Obj, path: str) -> list[FieldError]:
    """What is wrong with a webhook's address."""
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        return [required(path, "exactly one of url or service is required")]
    return _url(url, f"{path}.url") if url is not None else _service(service or {}, f"{path}.service")


def review_versions(given: list[str], path: str, spoken: tuple[str, ...]) -> list[FieldError]:
    """What is wrong with the versions of reviews that a webhook understands, at least one of which must be spoken here."""
    out: list[FieldError] = []
    for n, version in enumerate(given):
        out += [invalid(f"{path}[{n}]", version, problem) for problem in names.dns1035_label(version)]
        if version in given[:n]:
            out.append(invalid(f"{path}[{n}]", version, "duplicate version"))
    if given and not any(v in spoken for v in given):
        out.append(invalid(path, given, f"must include at least one of {', '.join(spoken)}"))
    return out


def _url(text: str, path: str) -> list[FieldError]:
    if text.startswith(":"):
        return [required(path, f'url must be a valid URL: parse "{text}": missing protocol scheme; {_FORM}')]
    parts = urlsplit(text)
    out = []
    if parts.scheme != "https":
        out.append(invalid(path, parts.scheme, f"'https' is the only allowed URL scheme; {_FORM}"))
    if not parts.hostname:
        out.append(invalid(path, parts.netloc, f"host must be specified; {_FORM}"))
    if "@" in parts.netloc:
        out.append(invalid(path, parts.netloc.rpartition("@")[0], "user information is not permitted in the URL"))
    if parts.fragment:
        out.append(invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        out.append(invalid(path, parts.query, "query parameters are not permitted in the URL"))
    return out


def _service(service: Obj, path: str) -> list[FieldError]:
    # The reference tells of a missing name where the namespace is, and the other way round.
    out = [required(f"{path}.{told}") for key, told in (("namespace", "name"), ("name", "namespace")) if not service.get(key)]
    port = service.get("port", 443)
    if not 1 <= port <= 65535:
        out.append(invalid(f"{path}.port", port, "port is not valid: must be between 1 and 65535, inclusive"))
    if service.get("path"):
        out += _path(service["path"], f"{path}.path")
    return out


def _path(text: str, path: str) -> list[FieldError]:
    if text == "/":
        return []
    if text.startswith("//"):
        return [invalid(path, text, "segment[0] may not be empty")]
    out = [] if text.startswith("/") else [invalid(path, text, "must start with a '/'")]
    for n, step in enumerate(text[1:].removesuffix("/").split("/")):
        if not step:
            return [*out, invalid(path, text, f"segment[{n}] may not be empty")]
        out += [invalid(path, text, f"segment[{n}]: {m}") for m in names.dns1123_subdomain(step)]
    return out

"""What configurations of admission webhooks are told about their webhooks. API reference: ValidatingWebhook and MutatingWebhook v1."""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.api import names
from pilothouse.api.crd import clientconfig
from pilothouse.api.errors import FieldError, Obj, duplicate, invalid, not_supported, required, too_many
from pilothouse.api.kinds import policy_checks
from pilothouse.api.selectors import validate_label_selector

_EFFECTS = ("None", "NoneOnDryRun")
#: Versions of AdmissionReview that are spoken here.
REVIEW_VERSIONS = ("v1", "v1beta1")
_SEGMENTS = "should be a domain with at least three segments separated by dots"


def webhooks(given: list[Obj], mutating: bool) -> Iterator[FieldError]:
    """Errors of a configuration's webhooks."""
    seen: set[str] = set()
    for n, webhook in enumerate(given):
        path, name = f"webhooks[{n}]", webhook.get("name") or ""
        yield from _webhook(webhook, path)
        if mutating and webhook.get("reinvocationPolicy") not in (None, "IfNeeded", "Never"):
            yield not_supported(f"{path}.reinvocationPolicy", webhook["reinvocationPolicy"], ("IfNeeded", "Never"))
        reviews = webhook.get("admissionReviewVersions") or []
        if not reviews:
            yield required(f"{path}.admissionReviewVersions", f"must specify one of {', '.join(REVIEW_VERSIONS)}")
        yield from clientconfig.review_versions(reviews, f"{path}.admissionReviewVersions", REVIEW_VERSIONS)
        if name and name in seen:
            yield duplicate(f"{path}.name", name)
        seen.add(name)


def _webhook(webhook: Obj, path: str) -> Iterator[FieldError]:
    yield from _name(webhook.get("name") or "", f"{path}.name")
    for n, rule in enumerate(webhook.get("rules") or ()):
        yield from policy_checks.rule(rule, f"{path}.rules[{n}]")
    yield from _word(webhook, path, "failurePolicy", ("Fail", "Ignore"))
    yield from _word(webhook, path, "matchPolicy", ("Equivalent", "Exact"))
    if webhook.get("sideEffects") is None:
        yield required(f"{path}.sideEffects", f"must specify one of {', '.join(_EFFECTS)}")
    yield from _word(webhook, path, "sideEffects", _EFFECTS)
    timeout = webhook.get("timeoutSeconds")
    if timeout is not None and not 1 <= timeout <= 30:
        yield invalid(f"{path}.timeoutSeconds", timeout, "the timeout value must be between 1 and 30 seconds")
    for part in ("namespaceSelector", "objectSelector"):
        if webhook.get(part):
            yield from validate_label_selector(webhook[part], f"{path}.{part}")
    yield from clientconfig.errors(webhook.get("clientConfig") or {}, f"{path}.clientConfig")
    yield from _conditions(webhook.get("matchConditions") or [], f"{path}.matchConditions")


def _name(name: str, path: str) -> Iterator[FieldError]:
    if not name:
        yield required(path)
        return
    problems = names.dns1123_subdomain(name)
    if not problems and name.count(".") < 2:
        problems = [_SEGMENTS]
    yield from (invalid(path, name, problem) for problem in problems)


def _word(webhook: Obj, path: str, key: str, words: tuple[str, ...]) -> Iterator[FieldError]:
    if webhook.get(key) is not None and webhook[key] not in words:
        yield not_supported(f"{path}.{key}", webhook[key], words)


def _conditions(given: list[Obj], path: str) -> Iterator[FieldError]:
    if len(given) > policy_checks.CONDITIONS_LIMIT:
        yield too_many(path, len(given), policy_checks.CONDITIONS_LIMIT)
        return
    yield from policy_checks.conditions(given, path, policy_checks.condition_variables())

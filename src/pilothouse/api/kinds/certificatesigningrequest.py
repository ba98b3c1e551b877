"""CertificateSigningRequest: a certificate asked for, approved or denied, and issued."""

from __future__ import annotations

import re
from typing import Any

from pilothouse.api import names, table, times
from pilothouse.api.duration import human
from pilothouse.api.errors import FieldError, Obj, duplicate, forbidden, invalid, not_supported, required
from pilothouse.api.strategy import AGE_COLUMN, NAME_COLUMN, Column, Context, Strategy

SHORTEST_LIFETIME = 600
LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only",
    "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement",
    "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping",
)  # fmt: skip
_DECISIONS = ("Approved", "Denied", "Failed")
#: Who issues may neither add nor take away nor change these.
_BY_APPROVAL = ("Approved", "Denied")


class CertificateSigningRequestStrategy(Strategy):
    selectable = ("spec.signerName",)
    reset_fields = {  # noqa: RUF012
        "": (("spec",), ("status",)),
        "status": (("spec",), ("status", "conditions")),
        "approval": (("spec",), ("status", "certificate")),
    }
    columns = (
        NAME_COLUMN, AGE_COLUMN, Column("SignerName"), Column("Requestor"), Column("RequestedDuration"), Column("Condition"),
    )  # fmt: skip

    def prepare_update(self, obj: Obj, old: Obj, ctx: Context) -> None:
        """What is asked for does not change."""
        super().prepare_update(obj, old, ctx)
        obj["spec"] = old["spec"]

    def validate_name(self, name: str, prefix: bool = False) -> list[str]:
        """Any name will do."""
        return []

    def validate(self, obj: Obj) -> list[FieldError]:
        spec = obj.get("spec") or {}
        out = _validate_request(spec.get("request") or None, "spec.request")
        out += _validate_usages(spec.get("usages") or [], "spec.usages")
        out += validate_signer_name(spec.get("signerName") or "", "spec.signerName")
        lifetime = spec.get("expirationSeconds")
        if lifetime is not None and lifetime < SHORTEST_LIFETIME:
            told = f"may not specify a duration less than {SHORTEST_LIFETIME} seconds (10 minutes)"
            out.append(invalid("spec.expirationSeconds", lifetime, told))
        return out

    def validate_update(self, obj: Obj, old: Obj) -> list[FieldError]:
        """What is asked for was restored: there is nothing that could be wrong."""
        return []

    def validate_subresource(self, sub: str, obj: Obj, old: Obj) -> list[FieldError]:
        status, before = obj.get("status") or {}, old.get("status") or {}
        conditions = status.get("conditions") or []
        out = _validate_conditions(conditions, "status.conditions")
        now, then = ({c.get("type") for c in found} for found in (conditions, before.get("conditions") or ()))
        for kind in _DECISIONS:
            if kind in then and kind not in now:
                out.append(forbidden("status.conditions", f'updates may not remove a condition of type "{kind}"'))
            elif sub == "status" and kind in _BY_APPROVAL and kind in now and kind not in then:
                out.append(forbidden("status.conditions", f'updates may not add a condition of type "{kind}"'))
        issued, had = status.get("certificate"), before.get("certificate")
        if issued and issued != had:
            out += _validate_certificate(issued, "status.certificate")
        if sub == "status" and had and issued != had:
            out.append(forbidden("status.certificate", "updates may not set certificate content when it is already set"))
        return out

    def prepare_subresource(self, sub: str, obj: Obj, old: Obj, ctx: Context) -> None:
        """Approval decides, status issues: neither can do the other's part. Who decides need not say when."""
        super().prepare_subresource("status", obj, old, ctx)
        status, before = obj.setdefault("status", {}), old.get("status") or {}
        known = {c.get("type"): c for c in before.get("conditions") or ()}
        if sub == "approval":
            status.pop("certificate", None)
            if before.get("certificate"):
                status["certificate"] = before["certificate"]
        elif sub == "status":
            kept = [known.get(c.get("type"), c) if c.get("type") in _BY_APPROVAL else c for c in status.get("conditions") or ()]
            if kept:
                status["conditions"] = kept
            else:
                status.pop("conditions", None)
        now = times.text(ctx.now)
        stamped = [_stamped(c, known.get(c.get("type")), now) for c in status.get("conditions") or ()]
        if stamped:
            status["conditions"] = stamped

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.signerName": (obj.get("spec") or {}).get("signerName", "")}

    def cells(self, obj: Obj, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        lifetime = spec.get("expirationSeconds")
        return [
            table.name_of(obj),
            table.age(obj, now),
            table.or_word(spec.get("signerName")),
            spec.get("username", ""),
            table.NONE if lifetime is None else human(lifetime),
            condition(obj),
        ]


def condition(obj: Obj) -> str:
    """How far it is, in the words of the CONDITION column."""
    status = obj.get("status") or {}
    types = {c.get("type") for c in status.get("conditions") or ()}
    words = [next((t for t in ("Denied", "Approved") if t in types), "Pending")]
    words += ["Failed"] * ("Failed" in types) + ["Issued"] * bool(status.get("certificate"))
    return ",".join(words)


def _stamped(condition: Obj, before: Obj | None, now: str) -> Obj:
    """The condition with the times that the client left out."""
    out = dict(condition)
    if not out.get("lastTransitionTime"):
        same = before is not None and before.get("status") == out.get("status")
        out["lastTransitionTime"] = before.get("lastTransitionTime") or now if before is not None and same else now
    if not out.get("lastUpdateTime"):
        out["lastUpdateTime"] = now
    return out


def _validate_request(text: str | None, path: str) -> list[FieldError]:
    """A PKCS #10 request in PEM, which the API carries in base64."""
    import base64

    from cryptography import x509

    content = base64.b64decode(text or "")
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in content:
        return [invalid(path, text, "PEM block type must be CERTIFICATE REQUEST")]
    try:
        x509.load_pem_x509_csr(content)
    except ValueError as e:
        return [invalid(path, text, f"not a certificate request: {e}")]
    return []


def _validate_certificate(text: str, path: str) -> list[FieldError]:
    """One or more certificates in PEM, and nothing else."""
    import base64

    from cryptography import x509

    content = base64.b64decode(text)
    kinds = re.findall(rb"-----BEGIN ([^-]+)-----", content)
    other = next((kind for kind in kinds if kind != b"CERTIFICATE"), None)
    if other is not None:
        told = f'only CERTIFICATE PEM blocks are allowed, found "{other.decode(errors="replace")}"'
    elif not kinds:
        told = "must contain at least one CERTIFICATE PEM block"
    else:
        try:
            x509.load_pem_x509_certificates(content)
        except ValueError as e:
            told = str(e)
        else:
            return []
    return [invalid(path, "<certificate data>", told)]


def _validate_usages(usages: list[str], path: str) -> list[FieldError]:
    out = [] if usages else [required(path)]
    for n, usage in enumerate(usages):
        if usage not in USAGES:
            out.append(not_supported(f"{path}[{n}]", usage, USAGES))
        elif usage in usages[:n]:
            out.append(duplicate(f"{path}[{n}]", usage))
    return out


def validate_signer_name(name: str, path: str) -> list[FieldError]:
    """Errors of a signer's name: a domain, a slash and a dotted path of labels."""
    if not name:
        return [required(path)]
    domain, slash, rest = name.partition("/")
    if not slash or "/" in rest:
        return [invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")]
    out: list[FieldError] = []
    for label in domain.split("."):
        if told := names.dns1123_label(label):
            out += [invalid(path, domain, f'validating label "{label}": {m}') for m in told]
            break
    if "." not in domain:
        out.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    for label in rest.split("."):
        out += [invalid(path, rest, f'validating label "{label}": {m}') for m in names.dns1123_subdomain(label)]
    if name == LEGACY_SIGNER:
        out.append(invalid(path, name, "the legacy signerName is not allowed via this API version"))
    return out


def _validate_conditions(conditions: list[Obj], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    types = [c.get("type") or "" for c in conditions]
    for n, c in enumerate(conditions):
        kind, status, where = types[n], c.get("status") or "", f"{path}[{n}]"
        if not kind:
            out.append(required(f"{where}.type"))
        if not status:
            out.append(required(f"{where}.status"))
        elif kind in _DECISIONS and status != "True":
            out.append(not_supported(f"{where}.status", status, ("True",)))
        elif status not in ("True", "False", "Unknown"):
            out.append(not_supported(f"{where}.status", status, ("True", "False", "Unknown")))
        if {"Approved", "Denied"} == {kind, *types[:n]} & {"Approved", "Denied"} and kind in ("Approved", "Denied"):
            out.append(invalid(path, kind, "Approved and Denied conditions are mutually exclusive"))
        if kind in types[:n]:
            out.append(duplicate(f"{where}.type", kind))
    return out

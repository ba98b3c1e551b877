"""certificatesigningrequest-cleaner-controller: deletes requests that nobody needs to see any more.

Decided ones after an hour, undecided ones after a day, and those whose certificate has expired. Reference: "Certificates and Certificate
Signing Requests".
"""

from __future__ import annotations

import base64

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import CERTIFICATE_SIGNING_REQUESTS
from pilothouse.client.reconcile.kit import Context, RoundsController, is_not_found, log
from pilothouse.client.reconcile.objects import Obj, created_at, uid
from pilothouse.clock import parse_rfc3339
from pilothouse.controllers.certificates import certificate

PERIOD = 3600.0
DECIDED, PENDING = 3600.0, 86400.0


def is_done(csr: Obj, now: float) -> bool:
    """Whether a request is old enough to go."""
    if certificate(csr) and _expiry(certificate(csr)) <= now:
        return True
    conditions = (csr.get("status") or {}).get("conditions") or ()
    if not conditions:
        return now - created_at(csr) > PENDING
    return any(c.get("lastUpdateTime") and now - parse_rfc3339(c["lastUpdateTime"]) > DECIDED for c in conditions)


def _expiry(text: str) -> float:
    """When a certificate (PEM in base64) expires; never, if it cannot be read."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(base64.b64decode(text)).not_valid_after_utc.timestamp()
    except ValueError:
        return float("inf")


class CSRCleanerController(RoundsController):
    name = "certificatesigningrequest-cleaner-controller"
    period = PERIOD

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.requests = self.cache(CERTIFICATE_SIGNING_REQUESTS)

    async def round(self) -> None:
        for csr in list(self.requests.list()):
            if is_done(csr, self.clock.now()):
                await self._delete(csr)

    async def _delete(self, csr: Obj) -> None:
        name = csr["metadata"]["name"]
        try:
            await self.api.delete(CERTIFICATE_SIGNING_REQUESTS, "", name, {"preconditions": {"uid": uid(csr)}})
        except (StatusError, OSError) as error:
            if not is_not_found(error):
                log.warning("%s: %s: %s", self.name, name, error)

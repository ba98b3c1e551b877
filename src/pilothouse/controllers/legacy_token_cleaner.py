"""legacy-serviceaccount-token-cleaner-controller: retires token Secrets that were made for accounts automatically and lie unused.

A Secret of the old kind that its account lists, that no pod mounts and nobody has used for a year is marked invalid, and deleted when another
year has passed. Reference: KEP-2799.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS
from pilothouse.client.reconcile.kit import Context, RoundsController, is_not_found, log
from pilothouse.client.reconcile.objects import Obj, annotations_of, created_at, is_deleting, key, labels_of, uid
from pilothouse.controllers.token import ACCOUNT, ACCOUNT_UID, is_token

PERIOD = 24 * 3600.0
#: --legacy-service-account-token-clean-up-period, days.
DAYS = 365
TRACKING = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking")
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"


def day(text: str | None) -> dt.date | None:
    """A date as labels say it."""
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        return None


def mounted(pods: Iterable[Obj]) -> set[str]:
    """The Secrets (`namespace/name`) that pods mount."""
    return {
        f"{pod['metadata']['namespace']}/{volume['secret']['secretName']}"
        for pod in pods
        for volume in pod["spec"].get("volumes") or ()
        if (volume.get("secret") or {}).get("secretName")
    }


def verdict(secret: Obj, since: dt.date, today: dt.date) -> str:
    """What becomes of an automatic Secret: `delete`, `mark`, or "" for nothing. `since`: when uses began to be noted."""
    limit = dt.timedelta(days=DAYS)
    labels = labels_of(secret)
    created = dt.datetime.fromtimestamp(created_at(secret), dt.UTC).date()
    used = day(labels.get(LAST_USED))
    if today - max(since, created, used or created) <= limit:
        return ""
    invalid = day(labels.get(INVALID_SINCE))
    if invalid is None:
        return "mark"
    return "delete" if today - invalid > limit else ""


class LegacyTokenCleaner(RoundsController):
    name = "legacy-serviceaccount-token-cleaner-controller"
    period = PERIOD

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.secrets, self.accounts, self.pods = self.cache(SECRETS), self.cache(SERVICE_ACCOUNTS), self.cache(PODS)

    async def round(self) -> None:
        since = await self._tracked_since()
        if since is None:
            return
        today = dt.datetime.fromtimestamp(self.clock.now(), dt.UTC).date()
        in_pods: set[str] | None = None
        for secret in list(self.secrets.list()):
            what = verdict(secret, since, today) if self._is_automatic(secret) else ""
            if not what:
                continue
            in_pods = mounted(self.pods.list()) if in_pods is None else in_pods
            if key(secret) not in in_pods:
                await self._carry_out(what, secret, today)

    async def _tracked_since(self) -> dt.date | None:
        try:
            tracking = await self.api.get(CONFIG_MAPS, *TRACKING)
        except StatusError as error:
            if is_not_found(error):
                return None
            raise
        return day((tracking.get("data") or {}).get("since"))

    def _is_automatic(self, secret: Obj) -> bool:
        """Whether an account lists it: those that people make by hand are listed by none."""
        if not is_token(secret) or is_deleting(secret):
            return False
        notes, meta = annotations_of(secret), secret["metadata"]
        account = self.accounts.get(meta["namespace"], notes.get(ACCOUNT) or "")
        if account is None or uid(account) != notes.get(ACCOUNT_UID):
            return False
        return any(each.get("name") == meta["name"] for each in account.get("secrets") or ())

    async def _carry_out(self, what: str, secret: Obj, today: dt.date) -> None:
        meta = secret["metadata"]
        name = (meta["namespace"], meta["name"])
        try:
            if what == "mark":
                patch = {"metadata": {"uid": meta["uid"], "labels": {INVALID_SINCE: today.isoformat()}}}
                await self.api.patch(SECRETS, *name, patch, "strategic")
            else:
                preconditions = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
                await self.api.delete(SECRETS, *name, {"preconditions": preconditions})
        except StatusError as error:
            if not is_not_found(error):
                log.warning("%s: %s: %s", self.name, key(secret), error)

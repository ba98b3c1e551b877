"""token-cleaner-controller: deletes bootstrap tokens that have expired. Off by default.

Reference: "Authenticating with Bootstrap Tokens".
"""

from __future__ import annotations

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import SECRETS
from pilothouse.client.reconcile.kit import Context, Controller, is_not_found
from pilothouse.client.reconcile.objects import Obj, split_key, uid
from pilothouse.controllers import bootstrap_tokens as tokens


class TokenCleanerController(Controller):
    name = "token-cleaner-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.secrets = self.cache(SECRETS)
        self.secrets.add_handler(self._changed)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and tokens.is_token(new):
            self.enqueue(new)

    async def sync(self, key: str) -> None:
        secret = self.secrets.get(*split_key(key))
        end = tokens.expires_at(secret) if secret is not None and tokens.is_token(secret) else None
        if secret is None or end is None:
            return
        left = end - self.clock.now()
        if left > 0:
            self.enqueue(secret, left)
            return
        meta = secret["metadata"]
        options = {"preconditions": {"uid": uid(secret), "resourceVersion": meta["resourceVersion"]}}
        try:
            await self.api.delete(SECRETS, meta["namespace"], meta["name"], options)
        except StatusError as error:
            if not is_not_found(error):
                raise

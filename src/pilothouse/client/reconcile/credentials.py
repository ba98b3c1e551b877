"""One ServiceAccount per controller: a transport that fetches and renews its own token.

With `--use-service-account-credentials` each controller acts as an account of kube-system and so has exactly the rights of its
`system:controller:...` role. The manager's own identity is used only to make the account and to ask for its tokens. Reference:
"Using RBAC authorization: controller roles", TokenRequest (authentication.k8s.io/v1).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from pilothouse.api.errors import StatusError
from pilothouse.client.interface import Response, Transport, WatchEvent
from pilothouse.client.reconcile.kinds import SERVICE_ACCOUNTS
from pilothouse.client.reconcile.requests import Requests
from pilothouse.clock import Clock, parse_rfc3339

NAMESPACE = "kube-system"
#: Seconds for which a token is asked for, and the share of its life after which the next one is.
LIFETIME = 3600 * 24
RENEWAL = 0.8

#: Makes a transport that presents this bearer token; None: the manager's own credentials.
TransportFactory = Callable[[str | None], Transport]


class AccountTransport:
    """A transport with a ServiceAccount's identity. Tokens are renewed when a request finds them old."""

    def __init__(self, account: str, own: Requests, make: TransportFactory, clock: Clock) -> None:
        self._account = account
        self._own = own
        self._make = make
        self._clock = clock
        self._inner: Transport | None = None
        self._renew_at = 0.0
        self._renewing = asyncio.Lock()

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Response:
        transport = await self._current()
        answer = await transport.request(method, path, query, body, content_type, accept)
        if answer.status == 401:  # the account was made anew, or its key changed
            self._renew_at = 0.0
            transport = await self._current()
            answer = await transport.request(method, path, query, body, content_type, accept)
        return answer

    async def watch(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[list[WatchEvent]]:
        transport = await self._current()
        async for batch in transport.watch(path, query):
            yield batch

    async def close(self) -> None:
        if self._inner is not None:
            await self._inner.close()

    async def _current(self) -> Transport:
        if self._inner is not None and self._clock.now() < self._renew_at:
            return self._inner
        async with self._renewing:
            if self._inner is None or self._clock.now() >= self._renew_at:
                former, self._inner = self._inner, await self._renewed()
                if former is not None:
                    await former.close()
        return self._inner

    async def _renewed(self) -> Transport:
        await self._ensure_account()
        wanted = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": self._account, "namespace": NAMESPACE},
            "spec": {"expirationSeconds": LIFETIME},
        }
        status = (await self._own.create(SERVICE_ACCOUNTS, wanted, "token"))["status"]
        now = self._clock.now()
        self._renew_at = now + RENEWAL * (parse_rfc3339(status["expirationTimestamp"]) - now)
        return self._make(status["token"])

    async def _ensure_account(self) -> None:
        try:
            await self._own.get(SERVICE_ACCOUNTS, NAMESPACE, self._account)
            return
        except StatusError as error:
            if error.code != 404:
                raise
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": self._account, "namespace": NAMESPACE}}
        try:
            await self._own.create(SERVICE_ACCOUNTS, body)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise

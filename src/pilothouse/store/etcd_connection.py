"""Connections to the members of an etcd cluster: one is used until it fails, then the next.

`Unreachable` means that a call may or may not have had an effect; `call` repeats only those that the caller says are safe to repeat.
Errors that etcd answers with are told apart by gRPC status, as etcd documents them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import grpc
import grpc.aio

from pilothouse.store.etcd_messages import MESSAGES, METHODS, WATCH
from pilothouse.store.interface import StoreError

#: How long one call may take, and all attempts of one that is repeated.
CALL_SECONDS, TOTAL_SECONDS = 10.0, 15.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


class _Clock(Protocol):
    def now(self) -> float: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class Unreachable(StoreError):
    """No member answered. What was asked may have happened or not."""


class OutOfRange(StoreError):
    """The revision is compacted or in the future; `compacted` tells which."""

    def __init__(self, compacted: bool) -> None:
        super().__init__("the revision cannot be read")
        self.compacted = compacted


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files for TLS: whom to trust, and our own certificate."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def load(self) -> grpc.ChannelCredentials:
        """StoreError if a file cannot be read."""
        try:
            ca, key, certificate = (path.read_bytes() if path else None for path in (self.ca, self.key, self.certificate))
        except OSError as e:
            raise StoreError(
                f"cannot read {e.filename}: {e.strerror}; check --etcd-cafile, --etcd-certfile and --etcd-keyfile"
            ) from None
        return grpc.ssl_channel_credentials(ca, key, certificate)


def split_endpoint(text: str) -> tuple[str, bool]:
    """`https://host:2379` as `host:2379` and whether it is TLS. StoreError if it is not an address."""
    try:
        parts = urlsplit(text if "//" in text else f"http://{text}")
        target = parts.netloc if parts.port else f"{parts.netloc}:2379"
        good = parts.scheme in ("http", "https") and parts.hostname and not parts.path.strip("/")
    except ValueError:  # a port that is no number
        good = ""
    if not good:
        raise StoreError(f"{text!r} is no etcd server's URL; write http://host:2379 or https://host:2379 in --etcd-servers")
    return target, parts.scheme == "https"


class _Member:
    """One endpoint's channel with its methods."""

    def __init__(self, endpoint: str, credentials: Credentials) -> None:
        self.endpoint = endpoint
        target, tls = split_endpoint(endpoint)
        if tls:
            self.channel = grpc.aio.secure_channel(target, credentials.load(), options=_OPTIONS)
        else:
            self.channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self._methods: dict[str, Any] = {}

    def method(self, name: str) -> Any:
        found = self._methods.get(name)
        if found is None:
            path, request, response = WATCH if name == "Watch" else METHODS[name]
            make = self.channel.stream_stream if name == "Watch" else self.channel.unary_unary
            encode, decode = MESSAGES[request].SerializeToString, MESSAGES[response].FromString
            found = self._methods[name] = make(path, request_serializer=encode, response_deserializer=decode)
        return found


class Connection:
    """Calls to whichever member answers."""

    def __init__(self, endpoints: Sequence[str], credentials: Credentials, clock: _Clock) -> None:
        self._endpoints = list(endpoints)
        self._credentials = credentials
        self._clock = clock
        self._members: list[_Member] = []
        self._at = 0

    def open(self) -> None:
        """Make the channels; nothing is sent yet."""
        if not self._endpoints:
            raise StoreError("no etcd server is given; name at least one in --etcd-servers")
        self._members = [_Member(endpoint, self._credentials) for endpoint in self._endpoints]

    async def close(self) -> None:
        members, self._members = self._members, []
        for member in members:
            await member.channel.close()

    def member(self) -> _Member:
        """The one in use."""
        if not self._members:
            raise StoreError("the store is closed")
        return self._members[self._at % len(self._members)]

    def leave(self, member: _Member) -> None:
        """Use another one than this, which failed."""
        if self._members and self.member() is member:
            self._at += 1

    async def call(self, method: str, request: Any, repeat: bool) -> Any:
        """Call and wait. With `repeat`, other members are tried after connection failures, for a while."""
        give_up = self._clock.monotonic() + TOTAL_SECONDS
        pause = FIRST_PAUSE
        while True:
            try:
                return await self.call_once(method, request)
            except Unreachable:
                if not repeat or self._clock.monotonic() + pause > give_up:
                    raise
            await self._clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def call_once(self, method: str, request: Any) -> Any:
        member = self.member()
        try:
            return await member.method(method)(request, timeout=CALL_SECONDS)
        except asyncio.CancelledError:
            if self._members:
                raise
            raise StoreError("the store is closed") from None
        except grpc.aio.AioRpcError as error:
            known = self.explain(error, member.endpoint)
            if isinstance(known, Unreachable):
                self.leave(member)
            raise known from None

    def explain(self, error: grpc.aio.AioRpcError, endpoint: str) -> StoreError:
        """What an error means, in one line that says what to do."""
        code, details = error.code(), error.details() or ""
        if code == grpc.StatusCode.OUT_OF_RANGE:
            return OutOfRange("compacted" in details)
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
            text = (
                f"etcd at {endpoint} does not answer ({details}): see that it runs, and check --etcd-servers and the certificates"
            )
            return Unreachable(text)
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED and "space" in details:
            return StoreError("etcd's database is full: compact and defragment it, then disarm the alarm (etcdctl alarm disarm)")
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return StoreError(f"etcd at {endpoint} refuses us ({details}): check --etcd-certfile and the rights of its user")
        return StoreError(f"etcd at {endpoint}: {details or code.name}")

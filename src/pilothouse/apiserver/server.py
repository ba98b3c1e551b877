"""The API server: all parts of the hub put together, started and stopped in order.

`ApiServer(Options(...))` is everything one needs: it opens the store, loads the caches, creates what a new cluster has, and serves
HTTPS and callers in its own process (inprocess.py) through one chain. It is the `Hub` that authenticators, authorizers, admission
plugins and special endpoints see.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse import GIT_VERSION
from pilothouse.api import tables
from pilothouse.api.errors import Obj
from pilothouse.api.kinds import strategy_for
from pilothouse.api.resource import Resource
from pilothouse.apiserver import admit
from pilothouse.apiserver.chain import Chain
from pilothouse.apiserver.claims import Claims
from pilothouse.apiserver.deleteoptions import check as check_delete_options
from pilothouse.apiserver.deleteoptions import of_object as delete_options_of
from pilothouse.apiserver.deletion import Deleter, Deletion
from pilothouse.apiserver.entries import Decoded, Entry
from pilothouse.apiserver.extensions import Extensions
from pilothouse.apiserver.handlers import Handlers
from pilothouse.apiserver.health import Health
from pilothouse.apiserver.http import HttpServer
from pilothouse.apiserver.interface import (
    LOOPBACK,
    AdmissionPlugin,
    Attributes,
    Authenticator,
    Authorizer,
    Credentials,
    Hub,
    User,
    Verdict,
    WriteHook,
)
from pilothouse.apiserver.metrics import Metrics
from pilothouse.apiserver.ownership import versions_of
from pilothouse.apiserver.patching import APPLY_PATCH, transform_for
from pilothouse.apiserver.paths import Paths
from pilothouse.apiserver.query import WriteParams
from pilothouse.apiserver.questions import PATH as QUESTIONS
from pilothouse.apiserver.questions import Questions
from pilothouse.apiserver.registry import Registry, Served, Special
from pilothouse.apiserver.storage import Storage
from pilothouse.apiserver.upkeep import APIServices, FlowSchemas, Registrations
from pilothouse.apiserver.usage import PATH as USAGE
from pilothouse.apiserver.usage import NodeUsage
from pilothouse.apiserver.watchcache import Feed, ResourceCache
from pilothouse.apiserver.watches import BOOKMARK_SECONDS
from pilothouse.apiserver.writes import Call, Writer, Written
from pilothouse.clock import Clock, SystemClock, Timer
from pilothouse.store.interface import Store

if TYPE_CHECKING:
    from pilothouse.apiserver import webhooks

log = logging.getLogger(__name__)

COMPACT_SECONDS = 300.0
EVENT_TTL = 3600


@dataclass(slots=True)
class Options:
    """What can be set. Files are paths; durations are seconds."""

    store: Store
    clock: Clock = field(default_factory=SystemClock)
    bind_address: str = "127.0.0.1"
    port: int = 0
    advertise_address: str = ""
    #: None: no network, in-process callers only.
    tls: ssl.SSLContext | None = None
    listen: bool = True
    anonymous_auth: bool = True
    max_in_flight: int = 400
    max_mutating_in_flight: int = 200
    event_ttl: int = EVENT_TTL
    compaction_interval: float = COMPACT_SECONDS
    #: Several servers write to this store: reads of the newest state ask it.
    shared_store: bool = False
    resources: Sequence[Resource] = tables.RESOURCES
    git_version: str = GIT_VERSION
    authenticators: Callable[[Hub], Sequence[Authenticator]] = lambda hub: ()
    authorizers: Callable[[Hub], Sequence[Authorizer]] = lambda hub: ()
    admission: Callable[[Hub], Sequence[AdmissionPlugin]] = lambda hub: ()
    hooks: Callable[[Hub], Mapping[tuple[str, str], WriteHook]] = lambda hub: {}
    #: (group, plural, subresource) -> handler; "" is the resource itself (reviews).
    special: Callable[[Hub], Mapping[tuple[str, str, str], Special]] = lambda hub: {}
    #: More documents: path to media type and object. Asked for when the server is up, because they may name its address.
    documents: Callable[[ApiServer], Mapping[str, tuple[str, Obj]]] = lambda server: {}
    #: Runs before the server is ready: the objects of a new cluster.
    bootstrap: Sequence[Callable[[ApiServer], Awaitable[None]]] = ()
    #: Runs again and again while the server is up: seconds between runs, and what.
    periodic: Sequence[tuple[float, Callable[[ApiServer], Awaitable[None]]]] = ()


class ApiServer:
    """One server. Use `start`, then `stop`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.clock = options.clock
        self.monotonic = options.clock.monotonic
        self.started = self.stopping = self.bootstrapped = False
        self.port = 0
        self.decoded = Decoded()
        self.registry = Registry(options.resources, strategy_for, tables.schema_for, self.decoded)
        self.feed = Feed(options.store)
        for cache in self.registry.caches.values():
            self.feed.add(cache)
        self.storage = Storage(options.store, self.feed)
        self.claims = Claims(options.store, self.feed, options.shared_store)
        self.metrics = Metrics()
        self.health = Health(self)
        #: Components of this process: what is wrong with each ("": nothing). componentstatuses tells it.
        self.components: dict[str, Callable[[], str]] = {}
        self.authenticators: tuple[Authenticator, ...] = tuple(options.authenticators(self))
        self.authorizers: tuple[Authorizer, ...] = tuple(options.authorizers(self))
        self.admission = admit.Chain(options.admission(self))
        self.writer = Writer(self.storage, self.admission, self.clock)
        self.deleter = Deleter(self.storage, self.admission, self.clock)
        self.handlers = Handlers(self.registry, self.storage, self.writer, self.deleter, self.clock, options.shared_store)
        self.paths = Paths(self)
        self.chain = Chain(self, self.registry, self.handlers)
        self.http = HttpServer(self.chain, self.clock.now)
        self.extensions = Extensions(self)
        self.questions = Questions(self)
        self.paths.register(QUESTIONS, self.questions.attend, listed=False)
        self.usage = NodeUsage(self)
        self.paths.register(USAGE, self.usage.attend, listed=False)
        self._webhooks: webhooks.Caller | None = None
        self.api_services = APIServices(self)
        self._followers = (self.api_services, FlowSchemas(self), Registrations(self))
        self._timers: dict[int, Timer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wire()

    def _wire(self) -> None:
        options = self.options
        for (group, plural), hook in options.hooks(self).items():
            for served in self._views(group, plural):
                served.hook = hook
        for (group, plural, subresource), handler in options.special(self).items():
            for served in self._views(group, plural):
                served.set_special(subresource, handler)
        for group in ("", "events.k8s.io"):
            for served in self._views(group, "events"):
                served.ttl = options.event_ttl
        self.metrics.add_gauges(self._gauges)

    def _views(self, group: str, plural: str) -> Iterable[Served]:
        """All versions of a resource."""
        return [s for s in self.registry.everything() if s.resource.group_resource == (group, plural)]

    # --- life -----------------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, load, serve, and create what a new cluster has. OSError for a busy port, StoreError for a bad store."""
        options = self.options
        await options.store.start()
        try:
            await self.extensions.preload()
            await self.feed.start()
            await self.extensions.start()
            if options.listen:
                self.port = await self.http.start(options.bind_address, options.port, options.tls)
            self.started = True
            for step in options.bootstrap:
                await step(self)
            for follower in self._followers:
                follower.start()
            self.bootstrapped = True
        except BaseException:
            await self.stop()
            raise
        self._every(options.compaction_interval, self._compact)
        self._every(BOOKMARK_SECONDS, self._bookmark)
        for seconds, work in options.periodic:
            self._every(seconds, partial(work, self))

    async def stop(self) -> None:
        """End watches, let running requests finish, close the store."""
        self.stopping = True
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for watch in list(self.handlers.native_watches):
            watch.close()
        for follower in self._followers:
            await follower.stop()
        await self.extensions.stop()
        await self.http.stop()
        if self._webhooks is not None:
            await self._webhooks.close()
        await self.feed.stop()
        await self.options.store.close()

    @property
    def webhooks(self) -> webhooks.Caller:
        """The client that calls webhooks, made when the first of them is called."""
        if self._webhooks is None:
            from pilothouse.apiserver.webhooks import Caller

            self._webhooks = Caller(self)
        return self._webhooks

    def _every(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        """Run something periodically, by the server's clock."""
        number = len(self._timers)

        def fire() -> None:
            task = asyncio.ensure_future(run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        async def run() -> None:
            try:
                await action()
            except Exception:
                log.exception("periodic work failed")
            if not self.stopping:
                self._timers[number] = self.clock.call_later(seconds, fire)

        self._timers[number] = self.clock.call_later(seconds, fire)

    async def _bookmark(self) -> None:
        self.handlers.bookmark_all()

    async def _compact(self) -> None:
        """Forget the history before the revision that was newest one interval ago."""
        revision, self._compact_at = self._compact_at, self.feed.revision
        if revision:
            await self.options.store.compact(revision)

    _compact_at = 0

    def store_problem(self) -> str:
        return str(self.feed.failed) if self.feed.failed is not None else ""

    def version_info(self) -> Obj:
        major, minor = "1", "36"
        return {
            "major": major, "minor": minor, "emulationMajor": major, "emulationMinor": minor, "minCompatibilityMajor": major,
            "minCompatibilityMinor": "35", "gitVersion": self.options.git_version, "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "cpython", "platform": "linux/amd64",
        }  # fmt: skip

    @property
    def address(self) -> str:
        return f"{self.options.advertise_address or self.options.bind_address}:{self.port}"

    def _gauges(self) -> Iterable[Any]:
        objects = [
            ({"resource": _qualified(s.resource)}, len(s.cache))
            for s in self.registry.everything()
            if s.stored and s.same_version
        ]
        yield "apiserver_storage_objects", "Number of stored objects at the time of last check split by kind.", "gauge", objects
        inflight = [({"request_kind": "mutating"}, self.chain.mutating), ({"request_kind": "readOnly"}, self.chain.reading)]
        yield "apiserver_current_inflight_requests", "Number of requests that are being answered, by kind.", "gauge", inflight
        watches = [({"component": "apiserver", "verb": "WATCH"}, len(self.handlers.watches) + len(self.handlers.native_watches))]
        yield "apiserver_longrunning_requests", "Number of long-running requests.", "gauge", watches
        checks = [({"name": n, "type": "readyz"}, 0) for n in self.health.failing()]
        yield "kubernetes_healthcheck", "The result of a check: 1 is success, 0 is failure.", "gauge", checks

    # --- who may what ------------------------------------------------------------------------------------------------------------------

    def authenticate(self, credentials: Credentials) -> User | None:
        """The first authenticator that knows the credentials. StatusError 401 for wrong ones."""
        for authenticator in self.authenticators:
            user = authenticator.authenticate(credentials)
            if user is not None:
                return user
        return None

    def authorize(self, attributes: Attributes) -> tuple[Verdict, str]:
        """The first authorizer with an opinion; the reasons of those without one are joined."""
        if "system:masters" in attributes.user.groups:
            return Verdict.ALLOW, ""
        reasons = []
        for authorizer in self.authorizers:
            verdict, reason = authorizer.authorize(attributes)
            if verdict is not Verdict.NO_OPINION:
                return verdict, reason
            if reason:
                reasons.append(reason)
        return Verdict.NO_OPINION, ", ".join(reasons)

    # --- Hub: what the other parts of the server may use -----------------------------------------------------------------------------------

    def resource(self, group: str, plural: str, version: str = "") -> Resource | None:
        if version:
            served = self.registry.find(group, version, plural)
        else:
            served = self.registry.preferred.get((group, plural))
        return served.resource if served is not None else None

    def cache(self, group: str, plural: str) -> ResourceCache:
        return self.registry.of(group, plural).cache

    async def create(
        self, group: str, plural: str, obj: Obj, *, namespace: str = "", user: User = LOOPBACK, dry_run: bool = False,
        manager: str = "kube-apiserver",
    ) -> Obj:  # fmt: skip
        namespace = namespace or obj.get("metadata", {}).get("namespace", "")
        call = self._call(group, plural, namespace, "", user, dry_run, manager=manager)
        return (await self.writer.create(call, call.served.labelled(obj))).view

    async def update(self, group: str, plural: str, obj: Obj, *, namespace: str = "", subresource: str = "", user: User = LOOPBACK,
                     dry_run: bool = False, manager: str = "kube-apiserver") -> Obj:  # fmt: skip
        metadata = obj["metadata"]
        namespace = namespace or metadata.get("namespace", "")
        call = self._call(group, plural, namespace, metadata["name"], user, dry_run, subresource, manager)

        async def transform(entry: Entry | None) -> Obj:
            copy: Obj = orjson.loads(orjson.dumps(obj))  # parts of it may be the caches' own
            return call.served.labelled(copy)

        written: Written = await self.writer.update(call, transform, retry=False)
        return written.view

    async def apply(self, group: str, plural: str, obj: Obj, *, manager: str, namespace: str = "", subresource: str = "",
                    user: User = LOOPBACK) -> Obj:  # fmt: skip
        metadata = obj["metadata"]
        namespace = namespace or metadata.get("namespace", "")
        call = self._call(group, plural, namespace, metadata["name"], user, False, subresource, manager)
        call.apply_manager = manager
        call.params = WriteParams(field_manager=manager, force=True)
        body = orjson.dumps(call.served.labelled(obj))
        written = await self.writer.update(
            call, transform_for(APPLY_PATCH, body, call, self.clock), create_missing=not subresource
        )
        return written.view

    async def delete(self, group: str, plural: str, name: str, *, namespace: str = "", options: Obj | None = None,
                     user: User = LOOPBACK, dry_run: bool = False, version: str = "", admitted: bool = False) -> Obj:  # fmt: skip
        parsed = delete_options_of(options or {})
        check_delete_options(parsed)
        if dry_run:
            parsed = parsed.with_dry_run()
        deletion = Deletion(self.registry.of(group, plural, version), namespace, name, user, parsed, [], admitted=admitted)
        return (await self.deleter.delete(deletion)).answer()[1]

    def _call(self, group: str, plural: str, namespace: str, name: str, user: User, dry_run: bool, subresource: str = "",
              manager: str = "kube-apiserver") -> Call:  # fmt: skip
        served = self.registry.of(group, plural)
        return Call(served, namespace, name, user, WriteParams(dry_run), manager, subresource,
                    versions=versions_of(self.registry, served))  # fmt: skip


def _qualified(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural

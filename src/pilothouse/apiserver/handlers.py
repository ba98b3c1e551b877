"""The endpoints of resources: from a route that was allowed to an answer.

Reads that the cache can answer are plain functions and answer at once; everything that has to wait is a coroutine. Here is where
options are parsed, bodies are decoded and answers are given their form; what a write means is in writes.py and deletion.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pilothouse.api.decode import decode
from pilothouse.api.errors import Obj, StatusError, not_found_error
from pilothouse.api.normalize import Emptied
from pilothouse.api.schema import Schema
from pilothouse.apiserver import lists, negotiate, patching, specials, websocket
from pilothouse.apiserver import metadata as md
from pilothouse.apiserver.deleteoptions import DeleteOptions, of_request
from pilothouse.apiserver.deletion import Deleter, Deletion
from pilothouse.apiserver.encoders import Encoder, encoder_for
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.interface import SpecialRequest, User
from pilothouse.apiserver.messages import Answer, Request, Response, Stream
from pilothouse.apiserver.ownership import versions_of
from pilothouse.apiserver.past import Past, expired, replay
from pilothouse.apiserver.prepared import BODY_LIMIT, Prepared
from pilothouse.apiserver.query import ListOptions, WriteParams, list_options, manager_of, too_large, write_params
from pilothouse.apiserver.registry import Registry, Served
from pilothouse.apiserver.render import (
    PLAIN_WISH,
    ListMeta,
    Wish,
    check_include,
    entries_response,
    entry_response,
    json_response,
    native_list,
    object_response,
    objects_response,
    protobuf_list,
)
from pilothouse.apiserver.routes import Route, parse_revision
from pilothouse.apiserver.scaling import Scaling
from pilothouse.apiserver.selection import Selection, select
from pilothouse.apiserver.storage import Storage
from pilothouse.apiserver.watches import LAST_BOOKMARK_SECONDS, NativeWatch, Start, Watches
from pilothouse.apiserver.writes import Call, Writer, Written
from pilothouse.clock import Clock, Timer

log = logging.getLogger(__name__)

#: Unless the client says how long it wants to watch: between these, at random, so that not all come back at once.
WATCH_SECONDS = (1800, 3600)
#: Custom resources have no strategic merge patches.
_CUSTOM_PATCHES = tuple(media for media in negotiate.PATCH_TYPES if media != patching.STRATEGIC_PATCH)
_HUMAN_AGENTS = (b"curl", b"Wget", b"Mozilla/5.0")
_PLAIN_ACCEPTS = frozenset((b"application/json", b"*/*", b"", None))


@dataclass(slots=True)
class Ask:
    """A request that was authenticated, authorized and routed."""

    request: Request
    route: Route
    served: Served
    user: User

    @property
    def warnings(self) -> list[str]:
        return self.request.warnings

    @property
    def namespace(self) -> str:
        return self.route.namespace if self.served.resource.namespaced else ""


class Handlers:
    """One method a verb."""

    def __init__(
        self, registry: Registry, storage: Storage, writer: Writer, deleter: Deleter, clock: Clock, shared: bool
    ) -> None:
        self.registry = registry
        self.storage = storage
        self.writer = writer
        self.deleter = deleter
        self.clock = clock
        self.shared = shared
        self.watches = Watches(storage.feed)
        self.native_watches: set[NativeWatch] = set()
        #: Watches that are still being told of what the cache has forgotten.
        self.replays: set[asyncio.Task[None]] = set()
        self.scaling = Scaling(self)
        self.prepared = Prepared()

    # --- what the client wants to see -------------------------------------------------------------------------------------------

    def wish(self, ask: Ask, watch: bool = False) -> Wish:
        headers, route = ask.request.headers, ask.route
        if not route.query and not watch:
            agent = headers.get(b"user-agent")
            if headers.get(b"accept") in _PLAIN_ACCEPTS and (agent is None or not agent.startswith(_HUMAN_AGENTS)):
                return PLAIN_WISH
        fmt = negotiate.choose(ask.request.header(b"accept"), watch, protobuf=ask.served.protobuf)
        wish = Wish(fmt, pretty=wants_pretty(route, ask.request))
        if fmt.transform:
            wish.now = self.clock.now()
            if fmt.transform == "Table":
                wish.include = check_include(route.first("includeObject"))
        return wish

    # --- reads --------------------------------------------------------------------------------------------------------------------

    def get(self, ask: Ask) -> Answer:
        served = ask.served
        wish = self.wish(ask)
        revision = 0
        if ask.route.query:
            text = ask.route.first("resourceVersion")
            try:
                revision = parse_revision(text)
            except ValueError as error:
                raise StatusError(500, "", str(error)) from None
            if self.shared and not text:
                return self._get_latest(ask, wish)
        elif self.shared:
            return self._get_latest(ask, wish)
        if revision > self.storage.feed.revision:
            return self._get_fresh(ask, wish, revision)
        return self._get_converted(ask, wish) if served.converting else self._get_now(ask, served, wish)

    def _get_now(self, ask: Ask, served: Served, wish: Wish, entry: Entry | None = None) -> Response:
        entry = entry or served.cache.get(ask.namespace, ask.route.name)
        if entry is None:
            raise not_found_error(served.resource.group, served.resource.plural, ask.route.name)
        if ask.request.native:
            return _native(200, served.obj(entry))
        return entry_response(served, entry, wish)

    async def _get_latest(self, ask: Ask, wish: Wish) -> Response:
        """Other servers write to this store, too: what is newest only the store knows."""
        await lists.fresh(self.storage.feed, await self.storage.store.current_revision())
        return await self._get_converted(ask, wish)

    async def _get_fresh(self, ask: Ask, wish: Wish, revision: int) -> Response:
        await lists.fresh(self.storage.feed, revision)
        return await self._get_converted(ask, wish)

    async def _get_converted(self, ask: Ask, wish: Wish) -> Response:
        """What a webhook may have to convert."""
        entry = ask.served.cache.get(ask.namespace, ask.route.name)
        served = await ask.served.ready((entry,)) if entry is not None else ask.served
        return self._get_now(ask, served, wish, entry)

    def list(self, ask: Ask) -> Answer:
        served, feed = ask.served, self.storage.feed
        options = list_options(ask.route, watch=False)
        wish = self.wish(ask)
        selection = self._select(ask, options, "")
        if lists.needs_wait(feed, options, self.shared):
            return self._list_later(ask, options, selection, wish)
        page = lists.list_now(feed, served, selection, options)
        return self._list_converted(ask, page, wish) if served.converting else self._listed(ask, served, page, wish)

    async def _list_later(self, ask: Ask, options: ListOptions, selection: Selection, wish: Wish) -> Response:
        storage = self.storage
        page = await lists.list_any(storage.feed, storage.store, ask.served, selection, options, self.shared)
        return await self._list_converted(ask, page, wish)

    async def _list_converted(self, ask: Ask, page: lists.Page, wish: Wish) -> Response:
        answer = self._listed(ask, await ask.served.ready(page.entries), page, wish)
        return answer if isinstance(answer, Response) else await answer

    def _listed(self, ask: Ask, served: Served, page: lists.Page, wish: Wish) -> Answer:
        if ask.request.native:
            return native_list(served, page.entries, page.meta)
        if wish.fmt is negotiate.PLAIN_PROTOBUF:
            return protobuf_list(served, page.entries, page.meta)
        return entries_response(served, page.entries, page.meta, wish)

    def _select(self, ask: Ask, options: ListOptions, name: str) -> Selection:
        return select(ask.served, ask.namespace, name, options.label_selector, options.field_selector)

    # --- watch --------------------------------------------------------------------------------------------------------------------

    def watch(self, ask: Ask) -> Answer:
        options = list_options(ask.route, watch=True)
        wish = self.wish(ask, watch=True)
        selection = self._select(ask, options, ask.route.name)
        revision = options.revision
        start = Start(
            initial=options.send_initial is True or (options.revision_text in ("", "0") and options.send_initial is not False),
            revision=revision if options.revision_text not in ("", "0") else self.storage.feed.revision,
            end_mark=options.send_initial is True,
        )
        if start.initial and (revision > self.storage.feed.revision or self.shared):
            return self._watch_fresh(ask, options, wish, selection, start)
        return self._watch_now(ask, options, wish, selection, start)

    async def _watch_fresh(self, ask: Ask, options: ListOptions, wish: Wish, selection: Selection, start: Start) -> Response:
        revision = options.revision or (await self.storage.store.current_revision() if not options.revision_text else 0)
        await lists.fresh(self.storage.feed, revision)
        return self._watch_now(ask, options, wish, selection, start)

    def _watch_now(self, ask: Ask, options: ListOptions, wish: Wish, selection: Selection, start: Start) -> Response:
        served = ask.served
        seconds = options.timeout_seconds or self.clock.random.randint(*WATCH_SECONDS)
        too_old = not start.initial and start.revision < served.cache.oldest
        if ask.request.native:
            if too_old:
                raise expired(start.revision, served.cache.oldest)
            return self._watch_native(served, selection, start, options.bookmarks, seconds)
        encoder = encoder_for(served, wish, self.clock.now)
        socket = b"upgrade" in ask.request.headers and websocket.wanted(ask.request)
        if socket:
            encoder = websocket.MessageEncoder(encoder, wish.fmt.media == negotiate.PROTOBUF)

        def run(stream: Stream) -> None:
            timer = self.clock.call_later(seconds, stream.finish)

            def follow(start: Start) -> None:
                watcher = self.watches.open(served, selection, encoder, start, options.bookmarks, stream)
                watcher.timers = (timer,)
                if options.bookmarks and seconds > LAST_BOOKMARK_SECONDS:
                    watcher.timers += (self.clock.call_later(seconds - LAST_BOOKMARK_SECONDS, watcher.last_bookmark),)
                if stream.closed:
                    for pending in watcher.timers:
                        pending.cancel()

            if too_old:
                past = Past(self.storage.store, self.storage.feed, served.cache, selection, start.revision)
                self._replay(past, encoder, stream, follow, timer)
            else:
                follow(start)

        if socket:
            return websocket.upgrade(ask.request, run)
        media = wish.fmt.media if wish.fmt.media == negotiate.JSON else f"{wish.fmt.media};stream=watch"
        return Response(200, content_type=media, stream=run)

    def _replay(self, past: Past, encoder: Encoder, stream: Stream, follow: Callable[[Start], None], timer: Timer) -> None:
        """Tell a watcher what the cache has forgotten, beside other work, until it can follow the cache."""
        task = asyncio.ensure_future(replay(past, encoder, stream, follow))

        def left() -> None:
            timer.cancel()
            task.cancel()

        stream.on_close = left
        self.replays.add(task)
        task.add_done_callback(self._replayed)

    def _replayed(self, task: asyncio.Task[None]) -> None:
        self.replays.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a watch of the past failed", exc_info=task.exception())

    def _watch_native(self, served: Served, selection: Selection, start: Start, bookmarks: bool, seconds: float) -> Response:
        watch = NativeWatch(self.storage.feed, served, selection, start, bookmarks)
        self.native_watches.add(watch)
        timer = self.clock.call_later(seconds, watch.close)

        def closed() -> None:
            timer.cancel()
            self.native_watches.discard(watch)

        watch.on_close = closed
        return _native(200, watch)

    def bookmark_all(self) -> None:
        """The periodic bookmark, to everyone who asked for bookmarks."""
        self.watches.bookmark_all()
        for watch in list(self.native_watches):
            watch.bookmark()

    # --- writes -------------------------------------------------------------------------------------------------------------------

    async def create(self, ask: Ask) -> Response:
        params = write_params(ask.route, "CreateOptions")
        wish = self.wish(ask)
        call = self.call(ask, params, "CreateOptions")
        written = await self.writer.create_prepared(call, self._new_object(ask, call))
        return self._written(ask, written, wish)

    def _new_object(self, ask: Ask, call: Call) -> Obj:
        """The object in a create's body, as it goes into admission."""
        request, params = ask.request, call.params
        if len(request.body) > BODY_LIMIT:
            obj = self.body_object(ask, params)
            self.writer.prepare(call, obj)
            return obj
        media = request.headers.get(b"content-type")
        key = (ask.served, request.body, media, call.namespace, call.manager, params.field_validation)
        known = self.prepared.find(key, self.clock.now())
        if known is not None:
            request.warnings += known[1]
            return known[0]
        obj = self.body_object(ask, params)
        self.writer.prepare(call, obj)
        if not call.emptied:
            self.prepared.keep(key, obj, request.warnings)
        return obj

    async def update(self, ask: Ask) -> Response:
        params = write_params(ask.route, "UpdateOptions")
        wish = self.wish(ask)
        call = self.call(ask, params, "UpdateOptions")
        first: list[Obj] = [self.body_object(ask, params)]
        patching.identify(call, first[0])
        revision = first[0]["metadata"].get("resourceVersion") or ""

        async def transform(entry: Entry | None) -> Obj:
            obj = first.pop() if first else self.body_object(ask, params)
            patching.identify(call, obj)
            if entry is not None:
                _same_uid(call, obj["metadata"], entry)
            return obj

        creates = ask.served.strategy.allow_create_on_update and not call.subresource
        written = await self.writer.update(call, transform, create_missing=creates, retry=revision in ("", "0"))
        return self._written(ask, written, wish)

    async def patch(self, ask: Ask) -> Response:
        media, params = self.patch_options(ask)
        wish = self.wish(ask)
        call = self.call(ask, params, "PatchOptions")
        applying = media == patching.APPLY_PATCH
        if applying:
            call.apply_manager = params.field_manager
        transform = patching.transform_for(media, self.body(ask), call, self.clock)
        written = await self.writer.update(call, transform, create_missing=applying and not call.subresource)
        return self._written(ask, written, wish)

    def patch_options(self, ask: Ask) -> tuple[str, WriteParams]:
        """The patch type and its options; 415 for other types."""
        media = ask.request.header(b"content-type").partition(";")[0].strip().lower()
        if ask.served.custom and media not in _CUSTOM_PATCHES and ask.route.subresource != "scale":
            raise negotiate.unsupported_media(_CUSTOM_PATCHES)
        if media not in negotiate.PATCH_TYPES:
            raise StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
        return media, write_params(ask.route, "PatchOptions", media == patching.APPLY_PATCH)

    def call(self, ask: Ask, params: WriteParams, kind: str) -> Call:
        """The write that a request asks for."""
        emptied: Emptied = []
        ask.request.emptied = emptied
        return Call(
            ask.served, ask.namespace, ask.route.name, ask.user, params, manager_of(params, ask.request.header(b"user-agent")),
            ask.route.subresource, ask.warnings, _options_object(params, kind, ask.route), versions=versions_of(self.registry, ask.served),
            emptied=emptied,
        )  # fmt: skip

    def body(self, ask: Ask) -> bytes:
        """The request's body; 413 if it is too large."""
        if ask.request.too_large:
            raise too_large()
        return ask.request.body

    def body_object(self, ask: Ask, params: WriteParams) -> Obj:
        """The request's body as an object of the endpoint's kind."""
        kind = patching.kind_of(ask.served)
        return self.decoded(ask, params, kind.schema, kind.gvk, custom=kind.custom)

    def decoded(self, ask: Ask, params: WriteParams, schema: Schema, gvk: tuple[str, str, str], *, custom: bool = False) -> Obj:
        """The request's body as an object of some kind."""
        media = negotiate.body_media(ask.request.header(b"content-type"))
        obj, warnings = decode(
            self.body(ask), media, schema, gvk, params.field_validation, custom=custom, emptied=ask.request.emptied
        )
        for text in warnings:
            if text not in ask.warnings:
                ask.warnings.append(text)
        return obj

    def _written(self, ask: Ask, written: Written, wish: Wish) -> Response:
        status = 201 if written.created else 200
        served = written.served
        if ask.request.native:
            return _native(status, written.view)
        if written.entry is not None:
            return entry_response(served, written.entry, wish, status)
        assert written.obj is not None
        return object_response(served, written.obj, wish, status)

    # --- deletion -----------------------------------------------------------------------------------------------------------------

    async def delete(self, ask: Ask) -> Response:
        options = of_request(ask.route, self.body(ask), ask.request.header(b"content-type"))
        wish = self.wish(ask)
        _warn_of_orphans(ask, options)
        deletion = Deletion(ask.served, ask.namespace, ask.route.name, ask.user, options, ask.warnings)
        deleted = await self.deleter.delete(deletion)
        is_object, body = deleted.answer()
        status = 202 if not deleted.gone and options.orphan is False else 200
        if ask.request.native:
            return _native(status, body)
        if is_object:
            return object_response(ask.served, body, wish, status)
        fmt = negotiate.error_format(ask.request.header(b"accept"), not ask.served.custom)
        return json_response(status, body, fmt, wish.pretty)

    async def deletecollection(self, ask: Ask) -> Response:
        list_wanted = list_options(ask.route, watch=False)
        options = of_request(ask.route, self.body(ask), ask.request.header(b"content-type"))
        _warn_of_orphans(ask, options)
        wish = self.wish(ask)
        selection = self._select(ask, list_wanted, "")
        storage = self.storage
        page = await lists.list_any(storage.feed, storage.store, ask.served, selection, list_wanted, self.shared)
        served = await ask.served.ready(page.entries)
        objects = [served.obj(e) for e in page.entries]
        for obj in objects:
            await self._delete_one(ask, obj, options)
        meta = ListMeta(page.meta.revision, page.meta.token, page.meta.remaining)
        if ask.request.native:
            return native_list(served, page.entries, meta)
        return objects_response(served, objects, meta, wish)

    async def _delete_one(self, ask: Ask, obj: Obj, options: DeleteOptions) -> None:
        metadata = obj["metadata"]
        deletion = Deletion(ask.served, metadata.get("namespace", ""), metadata["name"], ask.user, options, ask.warnings, True)
        try:
            await self.deleter.delete(deletion)
        except StatusError as error:
            if error.code != 404:
                raise

    async def special(self, ask: Ask, handler: Callable[[SpecialRequest], Any], verb: str) -> Response:
        """An endpoint that is not plain storage."""
        return await specials.answer(self, ask, handler, verb)


def _warn_of_orphans(ask: Ask, options: DeleteOptions) -> None:
    """Who deletes without a word about dependents may not know what happens to them."""
    text = ask.served.strategy.deletion_warning
    if text and options.policy is None and options.orphan is None:
        ask.warnings.append(text)


def _native(status: int, obj: Any) -> Response:
    response = Response(status)
    response.native = obj
    return response


def _options_object(params: WriteParams, kind: str, route: Route) -> Obj:
    out: Obj = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if params.dry_run:
        out["dryRun"] = ["All"]
    if params.field_manager:
        out["fieldManager"] = params.field_manager
    if "fieldValidation" in route.query:
        out["fieldValidation"] = params.field_validation
    if params.force is not None:
        out["force"] = params.force
    return out


def _same_uid(call: Call, metadata: Obj, entry: Entry) -> None:
    """409 if a PUT is meant for another object of the same name."""
    wanted, found = metadata.get("uid"), entry.obj["metadata"].get("uid", "")
    if wanted and wanted != found:
        raise md.wrong_uid(call.served, call.name, call.key, 0, wanted, found)


def wants_pretty(route: Route, request: Request) -> bool:
    """Indented JSON: asked for, or the client is one that people look at."""
    if "pretty" in route.query:
        return route.flag("pretty")
    return request.headers.get(b"user-agent", b"").startswith(_HUMAN_AGENTS)

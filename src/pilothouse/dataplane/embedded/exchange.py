"""One request on its way to a backend, and its answer on the way back.

An exchange stands between a *downstream* (the client's side: a connection of HTTP/1.1, or a stream of HTTP/2) and an *upstream* (the
backend's). Each side calls it as things arrive and is called to pass them on; neither knows what the other speaks. So all that is about
requests is here, once: which rule, which endpoint, time-outs, tries, copies for mirrors.

The invariants: an answer begins once; before it has begun, whatever fails may be tried again if the whole request is still held; after it has
begun, whatever fails ends in a reset, never in an answer that looks complete.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from pilothouse.clock import Timer
from pilothouse.dataplane.embedded import answers, heads, upstream
from pilothouse.dataplane.embedded.filters import Headers, change_path, encoded, hostname, location
from pilothouse.dataplane.embedded.pools import PoolState, Target
from pilothouse.dataplane.embedded.routing import Action, Way
from pilothouse.dataplane.model import Filters, Rule, Share

if TYPE_CHECKING:
    from pilothouse.dataplane.embedded.edge import EdgeFront

log = logging.getLogger("pilothouse.dataplane.access")

#: Methods that may be sent again when nobody knows whether they were heard.
_REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))
_NO_ACTION = Action(Rule())
_NO_WAY = Way(Share(""), Filters())


class Downstream(Protocol):
    """Where a request comes from. `client` is its address, `server_name` that of the TLS handshake (None: there was none)."""

    client: str
    server_name: bytes | None
    scheme: bytes

    def respond(self, status: int, headers: Headers, bodyless: bool) -> None:
        """Begin the answer; hop-by-hop headers are not among these."""

    def inform(self, status: int, headers: Headers) -> None: ...
    def body(self, data: bytes) -> None: ...
    def end(self, trailers: Headers) -> None: ...
    def reset(self) -> None:
        """End an answer that has begun so that it does not look complete."""

    def flush(self) -> None: ...
    def pause(self) -> None:
        """Read no more of the request for now."""

    def resume(self) -> None: ...
    def switch(self, status: int, headers: Headers, backend: upstream.Upstream) -> None:
        """Answer 101 and become a tunnel with the backend's connection."""


class Exchange:
    """See above. `begin` when it is this request's turn."""

    #: Who it is for, and what it is towards the backend: see `_prepare`.
    host = path = query = target = b""
    head: Headers
    pool: PoolState
    #: How much body there is: a length, or chunks.
    length: bytes | None = None
    asks_body = False
    upgrade = b""
    #: The client takes trailers.
    expects_trailers = False
    #: The request is over, as far as the client goes.
    ended = False
    #: Whether its answer counts as the front's.
    counted = True
    answered = False
    done = False
    status = 0
    up: upstream.Upstream | None = None
    _connecting: asyncio.Task[None] | None = None
    _target: Target | None = None
    _avoid: Target | None = None
    _held_size = 0
    _keep = True
    _repeats = 0
    _reused = False
    _tries_left = 0
    _deadline: Timer | None = None
    _try_deadline: Timer | None = None
    _body_size = 0

    def __init__(self, front: EdgeFront, down: Downstream, method: bytes, headers: Headers) -> None:
        self.front, self.down = front, down
        self.method, self.headers = method, headers
        self.action, self.way = _NO_ACTION, _NO_WAY
        self.trailers: Headers = []
        #: What has come of the body and may be needed (again).
        self.held: list[bytes] = []
        self._tried: list[Target] = []
        self._copies: list[str] = []
        self._copy: list[bytes] = []

    def aim(self, target: bytes) -> None:
        """What the request is for: a path and what follows it."""
        path, mark, query = target.partition(b"?")
        self.path, self.query = path, mark + query

    # --- from the client to a backend -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Find the rule and go its way."""
        front = self.front
        front.counters.requests += 1
        action = self._route()
        if action is None:
            return
        self.action = action
        self.way = way = action.pick()
        if way.cors is not None and way.cors.is_preflight(self.method, self.headers):
            self.answer(204, way.cors.preflight(self.headers))
            return
        if way.redirect is not None:
            where = location(way.redirect, self.down.scheme, self.host, self.path, self.query, action.match)
            self.answer(way.redirect.status, [(b"location", where)])
            return
        if not way.pool:
            self.answer(500)
            return
        self._prepare(way, action)
        if action.request_timeout:
            self._deadline = front.engine.clock.call_later(action.request_timeout, self._too_late)
        if action.retry is not None:
            self._tries_left = action.retry.attempts
        for mirror in way.mirrors:
            if not self.upgrade and front.engine.clock.random.random() * mirror.denominator < mirror.numerator:
                self._copies.append(mirror.pool)
        self._copy.extend(self.held if self._copies else ())
        self._go()

    def _route(self) -> Action | None:
        """The rule that takes the request; None after an answer that says there is none."""
        sites = self.front.sites
        name = hostname(self.host)
        site = sites.find(name)
        server_name = self.down.server_name
        if server_name is not None and site is not None and site is not sites.find(server_name):
            self.answer(421)  # another site's name on this site's connection: not for us to mix (RFC 9110 section 15.5.20)
            return None
        hosts = None if site is None else site.hosts.find(name)
        action = None if hosts is None else hosts.find(self)
        if action is None:
            self.answer(404)
        return action

    def _prepare(self, way: Way, action: Action) -> None:
        """The head as a backend is to see it: `host`, `target` and `head`."""
        head, self.expects_trailers = heads.to_backend(self.headers, self.down.client.encode(), self.down.scheme, self.host)
        path = self.path
        rewrite = way.rewrite
        if rewrite is not None:
            if rewrite.path is not None:
                path = change_path(rewrite.path, path, action.match)
            if rewrite.hostname:
                self.host = encoded(rewrite.hostname)
        for change in way.request:
            head, self.host = heads.changed(head, self.host, change)
        self.head = head
        self.target = path + self.query

    def _go(self) -> None:
        """Try the next endpoint."""
        engine = self.front.engine
        pool = engine.pool(self.way.pool)
        target = None if pool is None else self._choose(pool)
        if pool is None or target is None:
            self.answer(503)
            return
        self.pool = pool
        self._target = target
        target.active += 1
        if self.action.backend_timeout:
            self._try_deadline = engine.clock.call_later(self.action.backend_timeout, self._try_too_late)
        ready = upstream.ready(pool, target)
        if ready is not None:
            self._attach(ready, True)
        else:
            self._connecting = self.front.spawn(self._connect(pool, target))

    def _go_on(self) -> None:
        """`_go` outside of a turn in which the client's side flushes what was begun."""
        self._go()
        if self.up is not None:
            self.up.flush()

    def _choose(self, pool: PoolState) -> Target | None:
        choose, client = self.front.engine.choose, self.down.client
        name = pool.pool.name
        if self._avoid is not None:
            target = choose(name, client, [*self._tried, self._avoid])
            if target is not None:
                return target
        return choose(name, client, self._tried)

    async def _connect(self, pool: PoolState, target: Target) -> None:
        try:
            up = await upstream.connect(self.front.engine, pool, target)
        except (OSError, ValueError):  # also TLS that fails, time-outs, and authorities that are none
            self._connecting = None
            self.front.engine.shun(target)
            self._tried.append(target)
            self._leave()
            self._go_on()
            return
        self._connecting = None
        self._attach(up, False)
        up.flush()

    def _attach(self, up: upstream.Upstream, reused: bool) -> None:
        self._reused = reused
        self.up = up
        up.begin(self)
        for data in self.held:
            up.body(data)
        if self.ended:
            up.end(self.trailers)
        elif self._held_size > self.front.engine.limits.held:
            self._forget()
            self.down.resume()

    def body(self, data: bytes) -> None:
        """More of the request."""
        if self.done:
            return
        if self._copies:
            self._copy_body(data)
        limit = self.front.engine.limits.held
        if self._keep:
            self.held.append(data)
            self._held_size += len(data)
        if self.up is not None:
            self.up.body(data)
            if self._held_size > limit:
                self._forget()
        elif self._held_size > limit:
            self.down.pause()

    def _copy_body(self, data: bytes) -> None:
        self._copy.append(data)
        self._body_size += len(data)
        if self._body_size > self.front.engine.limits.mirrored:
            self._copies, self._copy = [], []

    def _forget(self) -> None:
        """The body is too long to be kept: there is no other try from here on."""
        self._keep = False
        self.held = []
        self._held_size = 0

    def end(self, trailers: Headers) -> None:
        """The request is complete."""
        self.ended = True
        self.trailers = trailers = heads.trailers(trailers)
        if self.done:
            return
        for pool in self._copies:
            self.front.mirror(self, pool, self._copy)
        if self.up is not None:
            self.up.end(trailers)

    def gone(self) -> None:
        """The client is gone, or gave the request up."""
        if not self.done:
            self._finish()
            self._drop_upstream()

    # --- from the backend to the client -----------------------------------------------------------------------------------

    def up_inform(self, status: int, headers: Headers) -> None:
        self.down.inform(status, heads.to_client(headers))

    def up_switch(self, headers: Headers) -> None:
        """The backend speaks another protocol from here on, and so do we."""
        assert self.up is not None
        up, self.up = self.up, None
        self.answered = True
        self.status = 101
        self._target = None  # the tunnel counts as active there until it ends
        self._finish()
        self.down.switch(101, heads.to_client(headers), up)

    def up_head(self, status: int, headers: Headers, bodyless: bool) -> bool:
        """An answer begins. False if it is not wanted: another try is made."""
        retry = self.action.retry
        if retry is not None and status in retry.codes and self._may_try_again():
            self._avoid = self._target
            self._drop_upstream()
            self._again()
            return False
        self._keep = False
        self.answered = True
        self.status = status
        self.down.respond(status, self._dressed(heads.to_client(headers)), bodyless)
        return True

    def _dressed(self, headers: Headers) -> Headers:
        way = self.way
        for change in way.response:
            headers = change.apply(headers)
        if way.cors is not None:
            headers = way.cors.answer(self.headers, headers)
        return headers

    def up_end(self, trailers: Headers) -> None:
        """The answer is complete; the upstream has gone its own way."""
        self.up = None
        self._leave()
        self._finish()
        self.down.end(heads.trailers(trailers))

    def up_lost(self, heard: bool, untouched: bool = False) -> None:
        """The connection ended before the answer did; `heard`: some of it had come; `untouched`: the backend says that it has not begun."""
        self.up = None
        target = self._target
        self._leave()
        if self.answered:
            self._finish()
            self.down.reset()
        elif self._keep and self._repeats < 3 and (untouched or (self._reused and not heard and self.method in _REPEATABLE)):
            # Most likely it was closed as idle while the request was on its way there.
            self._repeats += 1
            self._go_on()
        elif self._may_try_again():
            self._avoid = target
            self._again()
        else:
            self.answer(502)

    # --- tries, time and ends ---------------------------------------------------------------------------------------------

    def _may_try_again(self) -> bool:
        return self._tries_left > 0 and self._keep and not self.answered

    def _again(self) -> None:
        self._tries_left -= 1
        self._tried = []
        retry = self.action.retry
        if retry is not None and retry.backoff:
            self._try_deadline = self.front.engine.clock.call_later(retry.backoff, self._go_on)
        else:
            self._go_on()

    def _try_too_late(self) -> None:
        self._try_deadline = None
        if self._may_try_again():
            self._avoid = self._target
            self._drop_upstream()
            self._again()
        else:
            self._too_late()

    def _too_late(self) -> None:
        self._drop_upstream()
        if self.answered:
            self._finish()
            self.down.reset()
        else:
            self.answer(504)

    def answer(self, status: int, headers: Headers | None = None) -> None:
        """Answer without a backend."""
        self.status = status
        self.answered = True
        self._finish()
        body = b"" if status == 204 else answers.body(status)
        own = list(headers or ())
        if body:
            own += [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        if status != 204:  # a preflight's answer is whole already
            own = self._dressed(own)
        bodyless = self.method == b"HEAD" or not body
        self.down.respond(status, own, bodyless)
        if not bodyless:
            self.down.body(body)
        self.down.end([])

    def _drop_upstream(self) -> None:
        """Give the backend up in the middle."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        up, self.up = self.up, None
        if up is not None:
            up.drop()
        self._leave()

    def _leave(self) -> None:
        """Nothing runs at the endpoint any more."""
        if self._try_deadline is not None:
            self._try_deadline.cancel()
            self._try_deadline = None
        if self._target is not None:
            self._target.active -= 1
            self._target = None

    def _finish(self) -> None:
        self.done = True
        self.held = []
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._try_deadline is not None:
            self._try_deadline.cancel()
            self._try_deadline = None
        if self.status and self.counted:
            self.front.counters.answered(self.status)
            if log.isEnabledFor(logging.DEBUG):
                self._tell()

    def _tell(self) -> None:
        """A line of the access log: who asked for what, the answer, and whose rule took it."""
        asked = (self.method + b" " + self.host + self.path).decode("latin-1")
        log.debug("%s %s %r %d %s", self.front.front.name, self.down.client, asked, self.status, self.action.origin or "-")

    # --- back-pressure ----------------------------------------------------------------------------------------------------

    def down_full(self) -> None:
        if self.up is not None:
            self.up.pause()

    def down_drained(self) -> None:
        if self.up is not None:
            self.up.resume()

    def up_full(self) -> None:
        self.down.pause()

    def up_drained(self) -> None:
        self.down.resume()

"""LIST: from the watch cache where it can, from the store's past where it must.

Facts 5.3. A list without a resourceVersion, or with one that it must not be older than, is the cache's present. A page after the
first, and `resourceVersionMatch=Exact`, are of one past revision: still the cache's present if nothing of the resource changed
since, else a read of the store's history, which may have been compacted (410).
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from pilothouse.api.errors import StatusError, bad_request
from pilothouse.apiserver.entries import Entry
from pilothouse.apiserver.query import ListOptions
from pilothouse.apiserver.registry import Served
from pilothouse.apiserver.render import ListMeta
from pilothouse.apiserver.selection import Selection
from pilothouse.apiserver.watchcache import Feed
from pilothouse.store.interface import Compacted, FutureRevision, KeyValue, Store

#: How long a read waits for a revision that the cache has not seen yet.
FRESH_WAIT = 3.0
_TOKEN_VERSION = "meta.k8s.io/v1"
_BAD_TOKEN = "invalid continue token: continue key is not valid: "
_GONE_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or "
    "use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
)
_GONE_EXACT = "The resourceVersion for the provided list is too old."


@dataclass(frozen=True, slots=True)
class Page:
    """What a list found."""

    entries: list[Entry]
    meta: ListMeta


def too_new(revision: int, current: int) -> StatusError:
    """504: a resource version from the future."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {revision}, current: {current}"
    return StatusError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})


async def fresh(feed: Feed, revision: int) -> None:
    """Wait until the cache is not older than `revision`; 504 if that takes too long."""
    if not await feed.reached(revision, FRESH_WAIT):
        raise too_new(revision, feed.revision)


def encode_token(revision: int, start: str) -> str:
    """A continue token: where the next page starts, relative to the list's prefix, and of which revision."""
    text = orjson.dumps({"v": _TOKEN_VERSION, "rv": revision, "start": start})
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def decode_token(token: str) -> tuple[int, str]:
    """The revision (-1: whatever is newest) and the relative start of a continue token. 400 says what is wrong with it."""
    try:
        text = _decode_base64(token)
        fields = orjson.loads(text)
    except ValueError as error:
        raise bad_request(_BAD_TOKEN + str(error)) from None
    if not isinstance(fields, dict):
        raise bad_request(_BAD_TOKEN + "invalid character: not an object")
    version, revision, start = fields.get("v", ""), fields.get("rv", 0), fields.get("start", "")
    if not isinstance(revision, int) or not isinstance(start, str):
        raise bad_request(_BAD_TOKEN + "cannot unmarshal its fields")
    if version != _TOKEN_VERSION:
        raise bad_request(_BAD_TOKEN + f"server does not recognize this encoded version {version}")
    if revision == 0:
        raise bad_request(_BAD_TOKEN + f"incorrect encoded start resourceVersion (version {version})")
    if not start:
        raise bad_request(_BAD_TOKEN + f"encoded start key empty (version {version})")
    key = start if start.startswith("/") else "/" + start
    if posixpath.normpath(key) != key:
        raise bad_request(_BAD_TOKEN + start)
    return revision, start


def _decode_base64(token: str) -> bytes:
    bad = re.search(r"[^A-Za-z0-9_-]", token)
    if bad is not None:
        raise ValueError(f"illegal base64 data at input byte {bad.start()}")
    if len(token) % 4 == 1:
        raise ValueError(f"illegal base64 data at input byte {len(token) - 1}")
    try:
        return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except binascii.Error as error:
        raise ValueError(f"illegal base64 data: {error}") from None


def needs_wait(feed: Feed, options: ListOptions, shared: bool) -> bool:
    """Whether a list cannot be answered from the cache as it is right now."""
    if options.continue_token or options.match == "Exact":
        return True
    revision = options.revision
    return revision > feed.revision or (shared and not options.revision_text) or bool(options.limit and revision)


def list_now(feed: Feed, served: Served, selection: Selection, options: ListOptions) -> Page:
    """A list of the cache's present, with pages where they are asked for."""
    limit = 0 if options.revision_text == "0" else max(0, options.limit)
    return _page(served, selection, limit, feed.revision, "")


async def list_any(feed: Feed, store: Store, served: Served, selection: Selection, options: ListOptions, shared: bool) -> Page:
    """A list that may have to wait, or to look into the past."""
    limit = 0 if options.revision_text == "0" else max(0, options.limit)
    if options.continue_token:
        if options.revision_text not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        revision, start = decode_token(options.continue_token)
        if revision < 0:
            return _page(served, selection, limit, feed.revision, start)
        return await _exact(feed, store, served, selection, limit, revision, start)
    revision = options.revision
    if options.match == "Exact" or (revision and limit and not options.match):
        return await _exact(feed, store, served, selection, limit, revision, "")
    await fresh(feed, revision or (await store.current_revision() if shared else 0))
    return list_now(feed, served, selection, options)


async def _exact(feed: Feed, store: Store, served: Served, selection: Selection, limit: int, revision: int, start: str) -> Page:
    await fresh(feed, revision)
    cache = served.cache
    newest = cache.ring[-1].revision if cache.ring else cache.oldest
    if newest <= revision:
        return _page(served, selection, limit, revision, start)
    try:
        return await _past(store, served, selection, limit, revision, start)
    except Compacted:
        if not start:
            raise StatusError(410, "Expired", _GONE_EXACT) from None
        raise _expired_continue(start) from None
    except FutureRevision as error:
        raise too_new(revision, error.current) from None


def _expired_continue(start: str) -> StatusError:
    """410 whose Status carries a token for going on without consistency."""
    error = StatusError(410, "Expired", _GONE_CONTINUE)
    error.metadata = {"continue": encode_token(-1, start)}
    return error


def _page(served: Served, selection: Selection, limit: int, revision: int, start: str) -> Page:
    """Up to `limit` matching entries of the cache's present."""
    prefix = selection.prefix
    if not limit:
        entries = selection.entries(served.cache, start)
        return Page(entries, ListMeta(revision))
    if selection.narrow:
        return Page(selection.entries(served.cache, start)[:limit], ListMeta(revision))
    found, last, more = _take(served.cache.scan(prefix, prefix + start if start else ""), selection, limit)
    if not more:
        return Page(found, ListMeta(revision))
    following = last[len(prefix) :] + "\0"
    remaining = None if selection.selective else served.cache.keys_from(prefix, last + "\0")
    return Page(found, ListMeta(revision, encode_token(revision, following), remaining))


def _take(entries: Iterable[Entry], selection: Selection, limit: int) -> tuple[list[Entry], str, bool]:
    """The first `limit` matches, the key of the last of them, and whether there is any key after it."""
    found: list[Entry] = []
    last = ""
    for entry in entries:
        if len(found) == limit:
            return found, last, True
        if selection.matches(entry):
            found.append(entry)
            last = entry.key
    return found, last, False


async def _past(store: Store, served: Served, selection: Selection, limit: int, revision: int, start: str) -> Page:
    """A page of the store's state at a revision."""
    prefix = selection.prefix
    position = prefix + start if start else ""
    chunk = limit if limit and not selection.selective else 1000
    found: list[Entry] = []
    while True:
        page = await store.range(prefix, position, chunk, revision)
        batch, last, more = _take(_entries(served, page.kvs), selection, limit - len(found) if limit else len(page.kvs) + 1)
        found += batch
        if limit and len(found) == limit and (more or page.more):
            after = page.count - (1 + [kv.key for kv in page.kvs].index(last))
            token = encode_token(revision, last[len(prefix) :] + "\0")
            return Page(found, ListMeta(revision, token, None if selection.selective else after))
        if not page.more:
            return Page(found, ListMeta(revision))
        position = page.kvs[-1].key + "\0"


def _entries(served: Served, kvs: list[KeyValue]) -> Iterable[Entry]:
    for kv in kvs:
        entry = served.cache.entry_of(kv)
        entry.forget()  # the past is seldom looked at twice
        yield entry

"""One suite for every engine: the contract of store/interface.py."""

from __future__ import annotations

import asyncio

import pytest

from pilothouse.store.interface import CasFailed, Change, Compacted, FutureRevision, KeyValue, Store, Watch


async def test_a_write_gets_the_next_revision_of_the_whole_store(store: Store) -> None:
    first = await store.put("/a", b"1")
    second = await store.put("/b", b"2")
    assert second.mod_revision == first.mod_revision + 1 == store.revision()


async def test_create_refuses_what_exists_and_says_what_is_there(store: Store) -> None:
    await store.put("/a", b"1")
    with pytest.raises(CasFailed) as failed:
        await store.put("/a", b"2")
    assert failed.value.current is not None and failed.value.current.value == b"1"


async def test_update_needs_the_revision_it_was_read_at(store: Store) -> None:
    kv = await store.put("/a", b"1")
    newer = await store.put("/a", b"2", expected=kv.mod_revision)
    assert (newer.create_revision, newer.version) == (kv.mod_revision, 2)
    with pytest.raises(CasFailed):
        await store.put("/a", b"3", expected=kv.mod_revision)


async def test_delete_takes_a_revision_too(store: Store) -> None:
    kv = await store.put("/a", b"1")
    change = await store.delete("/a")
    assert change.revision == kv.mod_revision + 1 and await store.get("/a") is None
    with pytest.raises(CasFailed):
        await store.delete("/a")


async def test_range_comes_in_pages_at_one_revision(store: Store) -> None:
    for name in "abcde":
        await store.put(f"/x/{name}", name.encode())
    await store.put("/y/z", b"other")
    page = await store.range("/x/", limit=2)
    await store.put("/x/c", b"changed", expected=None)
    await store.delete("/x/d")
    rest = await store.range("/x/", start=page.kvs[-1].key + "\0", revision=page.revision)
    assert [kv.value for kv in (*page.kvs, *rest.kvs)] == [b"a", b"b", b"c", b"d", b"e"]
    assert (page.more, page.count, rest.more) == (True, 5, False)


async def test_the_past_can_be_read_until_it_is_compacted(store: Store) -> None:
    old = await store.put("/a", b"1")
    new = await store.put("/a", b"2", expected=old.mod_revision)
    past = await store.get("/a", revision=old.mod_revision)
    assert past is not None and past.value == b"1"
    await store.compact(new.mod_revision)
    with pytest.raises(Compacted):
        await store.get("/a", revision=old.mod_revision)
    with pytest.raises(FutureRevision):
        await store.get("/a", revision=new.mod_revision + 5)


async def test_watch_sees_every_change_once_in_order_from_a_revision_on(store: Store) -> None:
    first = await store.put("/w/a", b"1")
    watch = store.watch("/w/", first.mod_revision)
    await store.put("/w/a", b"2", expected=first.mod_revision)
    await store.put("/other", b"x")
    await store.delete("/w/a")
    seen = []
    async for batch in watch:
        seen += [(c.key, c.kv.value if c.kv else None, c.previous.value if c.previous else None) for c in batch]
        if len(seen) == 2:
            break
    assert seen == [("/w/a", b"2", b"1"), ("/w/a", None, b"2")]
    await watch.close()


async def test_watch_of_a_compacted_past_says_so(store: Store) -> None:
    for n in range(5):
        await store.put(f"/{n}", b"x")
    await store.compact(store.revision())
    with pytest.raises(Compacted):
        async for _ in store.watch("/", 1):
            pass


async def test_concurrent_writers_of_one_key_have_one_winner(store: Store) -> None:
    kv = await store.put("/a", b"0")
    results = await asyncio.gather(
        *(store.put("/a", b"%d" % n, expected=kv.mod_revision) for n in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(r, CasFailed) for r in results) == 1


async def test_whatever_is_there_can_be_overwritten_or_deleted(store: Store) -> None:
    first = await store.put("/a", b"1", expected=None)
    second = await store.put("/a", b"2", expected=None)
    assert (first.version, second.version, second.create_revision) == (1, 2, first.mod_revision)
    gone = await store.delete("/a")
    assert gone.previous == second and gone.kv is None
    again = await store.put("/a", b"3")
    assert (again.version, again.create_revision) == (1, again.mod_revision)


async def test_an_update_of_what_is_not_there_fails_and_changes_nothing(store: Store) -> None:
    before = store.revision()
    with pytest.raises(CasFailed) as failed:
        await store.put("/a", b"1", expected=before)
    assert failed.value.current is None and await store.get("/a") is None and await store.current_revision() == before


async def test_a_delete_at_another_revision_says_what_is_there(store: Store) -> None:
    kv = await store.put("/a", b"1")
    with pytest.raises(CasFailed) as failed:
        await store.delete("/a", expected=kv.mod_revision - 1)
    assert failed.value.current == kv == await store.get("/a")


async def test_keys_come_in_the_order_of_their_bytes(store: Store) -> None:
    keys = ["/o/a", "/o/a/b", "/o/é", "/o/z", "/o/Z", "/o/0", "/o/\U0001f600", "/o/~"]
    for key in keys:
        await store.put(key, key.encode())
    page = await store.range("/o/")
    assert [kv.key for kv in page.kvs] == sorted(keys, key=str.encode)
    some = await store.range("/o/", start="/o/a/b", limit=3)
    assert (len(some.kvs), some.count, some.more) == (3, 5, True)


async def test_the_empty_prefix_is_everything_and_an_empty_range_is_nothing(store: Store) -> None:
    kv = await store.put("/a", b"1")
    assert (await store.range("")).kvs == [kv]
    nothing = await store.range("/b/")
    assert (nothing.kvs, nothing.count, nothing.more) == ([], 0, False)


async def test_values_are_any_bytes_up_to_a_megabyte_and_a_half(store: Store) -> None:
    value = bytes(range(256)) * 5800
    await store.put("/big", value)
    kv = await store.get("/big")
    assert kv is not None and kv.value == value
    await store.put("/none", b"")
    empty = await store.get("/none")
    assert empty is not None and empty.value == b""


async def test_watch_from_now_on_sees_nothing_older(store: Store) -> None:
    await store.put("/w/a", b"1")
    watch = store.watch("/w/", 0)
    later = await store.put("/w/b", b"2")
    assert [c.kv for c in await first_changes(watch, 1)] == [later]
    await watch.close()


async def test_a_closed_watch_ends(store: Store) -> None:
    watch = store.watch("/", 0)
    following = asyncio.create_task(first_changes(watch, 1))
    await asyncio.sleep(0.05)
    await watch.close()
    assert await asyncio.wait_for(following, 5) == []


async def test_a_watch_catches_up_with_changes_elsewhere_when_somebody_asks_for_the_newest_revision(store: Store) -> None:
    watch = store.watch("/w/", 0)
    following = asyncio.create_task(first_changes(watch, 1))
    await store.put("/elsewhere", b"x")
    newest = await store.current_revision()
    async with asyncio.timeout(5):
        while watch.revision < newest:
            await asyncio.sleep(0.01)
    await watch.close()
    await following


async def test_watchers_hear_of_a_write_not_before_it_can_be_read(store: Store) -> None:
    watch = store.watch("/w/", 0)
    writing = asyncio.create_task(store.put("/w/a", b"1"))
    (change,) = await first_changes(watch, 1)
    assert await store.get("/w/a") == change.kv == await writing
    await watch.close()


async def test_ranges_of_the_past_have_what_was_there_then(store: Store) -> None:
    """Many writes, seen through every revision's range and through a watch from the beginning."""
    began = await store.current_revision()
    model: dict[str, KeyValue] = {}
    states = {began: dict(model)}
    for n in range(60):
        key = f"/h/{n * 7 % 11}"
        if n % 4 == 3 and key in model:
            change = await store.delete(key, expected=model.pop(key).mod_revision)
            states[change.revision] = dict(model)
        else:
            model[key] = await store.put(key, b"%d" % n, expected=model[key].mod_revision if key in model else 0)
            states[model[key].mod_revision] = dict(model)
    for revision, state in states.items():
        page = await store.range("/h/", revision=revision)
        assert {kv.key: kv for kv in page.kvs} == state and page.count == len(state)
    seen: dict[str, KeyValue] = {}
    watch = store.watch("/h/", began)
    for change in await first_changes(watch, len(states) - 1):
        assert change.previous == seen.pop(change.key, None)
        if change.kv is not None:
            seen[change.key] = change.kv
        assert seen == states[change.revision]
    await watch.close()


async def test_the_compacted_revision_is_the_oldest_that_can_be_read(store: Store) -> None:
    for n in range(4):
        await store.put("/a", b"%d" % n, expected=None)
    oldest = store.revision() - 1
    await store.compact(oldest)
    assert await store.compacted_revision() == oldest
    kv = await store.get("/a", revision=oldest)
    assert kv is not None and kv.value == b"2"
    with pytest.raises(Compacted) as error:
        await store.range("/", revision=oldest - 1)
    assert error.value.oldest == oldest
    await store.compact(oldest - 1)  # older than what is gone already: nothing to do
    assert await store.size() > 0


async def first_changes(watch: Watch, count: int) -> list[Change]:
    """The first so many changes of a watch, or fewer when it ends."""
    seen: list[Change] = []
    async with asyncio.timeout(10):
        async for batch in watch:
            seen += batch
            if len(seen) >= count:
                break
    return seen

"""Bodies that nobody should send: real ones from the recordings, spoilt in a hundred ways.

Each is sent through the whole chain. What must hold for every one: an answer below 500 that is a Status or an object, nothing logged as a
failure, no write by what is refused, and nothing written that cannot be read and written again. The same seed sends the same bodies.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import yaml

from pilothouse.api import protobuf_write

from .replay import Player, body_of, filled, scripts

JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 2**63, -(2**70), 1e300, "", "\x00", "\u2028", "\ud7ff", "a" * 300, "${x}", "../..", [], {}, [None], [[]], [{}],
    {"": ""}, {"$patch": "delete"}, {"$patch": 1}, [{"$patch": "replace"}], {"$retainKeys": [1]}, {"$setElementOrder/x": {}},
    {"$deleteFromPrimitiveList/finalizers": "x"}, {"k:{}": None}, "9999-99-99T99:99:99Z", "1e9999Gi", {"matchLabels": None},
)  # fmt: skip
PROTOBUF = "application/vnd.kubernetes.protobuf"
MEDIA = ("application/json", "application/yaml")
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
#: What makes the server ask others, who do not answer: 500 and 503 would be right then.
_DIVERTING = ("webhookconfigurations", "/apiservices")
OPERATIONS = ("add", "remove", "replace", "move", "copy", "test", "", "x", None)

#: Whole bodies that are hard to read: too deep, too many, too clever, or cut where it hurts.
RAW: tuple[bytes, ...] = (
    b"", b" ", b"\n\n", b"null", b"true", b"0", b'""', b"[]", b"{}", b"{", b"[", b'{"', b'{"a"', b'{"a":', b'{"a":1,}', b"[1,]", b"//",
    b"NaN", b"-Infinity", b'{"metadata": NaN}', b"1e99999", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"\x00", b"\x80\x81", b"k8s\x00",
    b"k8s\x00\x0a\xff\xff\xff\xff\x0f", b"[" * 100_000, b'{"a":' * 20_000, b'{"metadata":{"labels":' * 5_000 + b"1" + b"}}" * 5_000,
    b'{"metadata": {"name": "a", "name": "b"}}', b'{"spec": ' + b"[[" * 3_000 + b"]]" * 3_000 + b"}", b'"' + b"\\u0000" * 1_000 + b'"',
    b"a: &a [x]\n" + b"".join(b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c]\n" % (n + 1, n + 1, *[n] * 6) for n in range(97, 111)),
    b"a: &a {<<: *a}", b"&a [*a]", b"a: *nowhere", b"<<: [{a: 1}, {b: 2}]", b"<<: 1", b"!!python/object/apply:os.system [id]", b"!!binary x",
    b"!!timestamp 9999-99-99", b"? {a: b}\n: c", b"? [a]\n: c", b"1: 2", b"true: false", b"~: ~", b"- a\n b", b"\ta: b", b"a: b: c", b"a: 'b",
    b"---\na: 1\n---\nb: 2", b"%YAML 9.9\n---\na", b"a: 0x7fffffffffffffffff", b"a: 1_000", b"a: 12:30:45", b"a: .inf", b"a: 2001-01-01",
    b"- " * 5_000 + b"x", b"{" * 5_000, b"a: |\n" + b"x" * 100_000, b"name: " + b"'" * 999, b"@", b"`", b"key: [", b"\xc2\x85a: b", b"a: \xed\xa0\x80",
)  # fmt: skip


def requests(seed: int, namespace: str, recordings: tuple[str, ...]) -> Iterator[tuple[str, str, str, bytes]]:
    """Without end: method, target, media type, body."""
    draw = random.Random(seed)
    steps = list(_writes(recordings))
    for n in itertools.count():
        script, step = draw.choice(steps)
        known = {"ns": namespace, "rv": "1"}
        body, path = filled(body_of(step["b"], script), known), filled(step["p"], known)
        media = (step.get("h") or {}).get("Content-Type") or "application/json"
        method = step["m"]
        if draw.random() < 0.3:
            body, media = spoilt(body, draw), draw.choice(MEDIA if method != "PATCH" else PATCHES)
        else:
            body = spoilt(body, draw)
        if "json-patch" in media:
            body = _operations(body, draw)
        if (draw.random() < 0.1 and method == "POST") or (method != "DELETE" and any(kind in path for kind in _DIVERTING)):
            path += "?dryRun=All"
        whole = step["b"]
        if n % 10 == 0 and method in ("POST", "PUT") and isinstance(whole, dict) and _has_message(whole):
            yield method, path, PROTOBUF, spoilt_bytes(protobuf_write.write(filled(whole, known)), draw)
            continue
        yield method, path, media, draw.choice(RAW) if draw.random() < 0.03 else _bytes(body, media, draw)


def _writes(recordings: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for recording in recordings:
        for group in scripts(recording).values():
            for script in group:
                for step in script["steps"]:
                    if isinstance(step.get("b"), (dict, list)) and step["m"] in ("POST", "PUT", "PATCH", "DELETE"):
                        yield script, step


def _has_message(body: Any) -> bool:
    return (
        "$of" not in body and protobuf_write.writable(body.get("apiVersion") or "", body.get("kind") or "") and _writes_well(body)
    )


def _writes_well(body: Any) -> bool:
    """Recorded mistakes may have no protobuf form."""
    try:
        protobuf_write.write(body)
    except (AttributeError, TypeError, ValueError):
        return False
    return True


def spoilt_bytes(data: bytes, draw: random.Random) -> bytes:
    """A message with a few bytes changed, lost or added."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5))):
        at, way = draw.randrange(4, len(out)), draw.random()
        if way < 0.6:
            out[at] = draw.randrange(256)
        elif way < 0.8:
            del out[at : at + draw.randrange(1, 8)]
        else:
            out[at:at] = draw.randbytes(draw.randrange(1, 6))
    return bytes(out)


def spoilt(body: Any, draw: random.Random) -> Any:
    """A body with one to three places replaced by junk, dropped, or put somewhere else."""
    body = copy.deepcopy(body)
    for _ in range(draw.randint(1, 3)):
        places = list(_places(body))
        if not places:
            return draw.choice(JUNK)
        holder, key = draw.choice(places)
        way = draw.random()
        if way < 0.6:
            holder[key] = copy.deepcopy(draw.choice(JUNK))
        elif way < 0.75:
            del holder[key]
        elif way < 0.9:
            other, at = draw.choice(places)
            holder[key] = copy.deepcopy(other[at]) if _has(other, at) else None
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[draw.choice(("$patch", "unknown", "", "$setElementOrder/" + str(key)))] = copy.deepcopy(draw.choice(JUNK))
    return body


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def _operations(body: Any, draw: random.Random) -> Any:
    """A JSON Patch that means something by chance."""
    if isinstance(body, list) and draw.random() < 0.7:
        return body
    path = draw.choice(
        ("", "/", "/metadata", "/metadata/labels/x", "/spec", "/spec/containers/0", "/spec/containers/-", "/data/a~2", "x")
    )
    return [{"op": draw.choice(OPERATIONS), "path": path, "from": draw.choice(("/spec", path, None)), "value": draw.choice(JUNK)}]


def _bytes(body: Any, media: str, draw: random.Random) -> bytes:
    """The body as text, sometimes cut off or with a byte changed."""
    text = json.dumps(body) if "yaml" not in media or draw.random() < 0.5 else yaml.safe_dump(body)
    data = bytearray(text.encode(errors="surrogatepass"))
    way = draw.random()
    if way < 0.08 and data:
        del data[draw.randrange(len(data)) :]
    elif way < 0.2 and data:
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


# --- what must hold ------------------------------------------------------------------------------------------------------------

#: An answer that takes longer is a hang (time of the process, not of its virtual clock).
HANG_SECONDS = 5.0
#: The one answer of 500 that the API's documentation promises.
_MEANT = "more than one PodDisruptionBudget, which the eviction subresource does not support"
#: The share of written objects that are read and written again.
_READ_AGAIN = 0.1
#: What the server writes by itself, some time after a request: conditions, what stands for API services; and quota, which is charged first.
_ITS_OWN = ("/customresourcedefinitions/", "/apiservices/", "/flowschemas/", "/resourcequotas/")


async def offences(played: Player, count: int, seed: int, recordings: tuple[str, ...] = ("core", "machinery")) -> list[str]:
    """Send `count` bodies; say which were answered as they must not be, and what they left that cannot be."""
    namespace = f"fuzz{seed}"
    await played.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}, {})
    await played.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}}, {})
    found: list[str] = []
    draw = random.Random(seed)
    store = played.server.options.store
    for (method, target, media, data), _ in zip(requests(seed, namespace, recordings), range(count), strict=False):
        revision, began = store.revision(), time.perf_counter()
        code, answer, _warnings = await played.call(method, target, data, {"Content-Type": media})
        wrong = []
        if (code >= 500 and _MEANT not in str(answer)) or not isinstance(answer, (dict, list, str)):
            wrong.append("failed")
        if time.perf_counter() - began > HANG_SECONDS:
            wrong.append("hung")
        if code >= 400 and store.revision() > revision:
            wrong += [f"wrote {key}" for key in await _written_since(played, revision)]
        if code < 300 and draw.random() < _READ_AGAIN:
            wrong += await _unreadable(played, method, target, answer)
        if wrong:
            found.append(f"{'; '.join(wrong)}: {method} {target} {media} {data[:500]!r}: {code} {str(answer)[:300]}")
    return found + await damage(played)


async def _written_since(played: Player, revision: int) -> list[str]:
    kept = await played.server.options.store.range("/registry/")
    return [kv.key for kv in kept.kvs if kv.mod_revision > revision and not any(own in kv.key for own in _ITS_OWN)]


async def _unreadable(played: Player, method: str, target: str, answer: Any) -> list[str]:
    """Whether the object that was written is what is read, and would be accepted as it is."""
    path, _, query = target.partition("?")
    if method not in ("POST", "PUT", "PATCH") or query or not isinstance(answer, dict) or answer.get("kind") == "Status":
        return []
    meta = answer.get("metadata") or {}
    if method == "POST":
        path = f"{path}/{meta.get('name')}"
    if not path.endswith(f"/{meta.get('name')}") or "resourceVersion" not in meta:
        return []  # a subresource, or an answer that is not kept
    code, kept, _ = await played.call("GET", path, None, {})
    if code == 404 and meta.get("deletionTimestamp"):
        return []
    if code != 200 or kept != answer:
        return [f"read otherwise: {code} {kept}"]
    code, again, _ = await played.call("PUT", f"{path}?dryRun=All", kept, {})
    return (
        [] if code in (200, 405) else [f"refused as it is: {code} {again.get('message') if isinstance(again, dict) else again}"]
    )


async def damage(played: Player) -> list[str]:
    """What is in the store and is no whole object under its own name."""
    found = []
    kept = await played.server.options.store.range("/registry/")
    for kv in kept.kvs:
        try:
            obj = json.loads(kv.value)
            meta = obj["metadata"]
            place = [part for part in (meta.get("namespace"), meta["name"]) if part]
            if kv.key.split("/")[-len(place) :] != place or not obj["kind"] or not obj["apiVersion"] or not meta["uid"]:
                found.append(f"{kv.key} holds {kv.value[:300]!r}")
        except (ValueError, LookupError, TypeError) as error:
            found.append(f"{kv.key}: {error!r}: {kv.value[:300]!r}")
    return found

"""Bodies that nobody should send: real ones from the recordings, spoilt in a hundred ways.

Each is sent through the whole chain. What must hold for every one: an answer below 500 that is a Status or an object, nothing logged as a
failure, and nothing written that cannot be read again. The same seed sends the same bodies.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
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
OPERATIONS = ("add", "remove", "replace", "move", "copy", "test", "", "x", None)


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
        if draw.random() < 0.1 and method == "POST":
            path += "?dryRun=All"
        whole = step["b"]
        if n % 10 == 0 and method in ("POST", "PUT") and isinstance(whole, dict) and _has_message(whole):
            yield method, path, PROTOBUF, spoilt_bytes(protobuf_write.write(filled(whole, known)), draw)
            continue
        yield method, path, media, _bytes(body, media, draw)


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


async def offences(played: Player, count: int, seed: int, recordings: tuple[str, ...] = ("core", "machinery")) -> list[str]:
    """Send `count` bodies; say which were answered as they must not be."""
    namespace = f"fuzz{seed}"
    await played.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}, {})
    await played.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}}, {})
    found: list[str] = []
    for (method, target, media, data), _ in zip(requests(seed, namespace, recordings), range(count), strict=False):
        code, answer, _warnings = await played.call(method, target, data, {"Content-Type": media})
        if code >= 500 or not isinstance(answer, (dict, list, str)):
            found.append(f"{method} {target} {media} {data[:500]!r}: {code} {str(answer)[:300]}")
    return found

"""The CustomResourceDefinitions of the Gateway API, standard channel, and how they come into a cluster that has none.

Whoever installs the upstream ones, or newer ones, is left alone: a definition is made where there is none, and brought up to date only where it
is one of ours and older than what is here ("Upgrading Gateway API": the annotation `bundle-version` tells the release).
"""

from __future__ import annotations

import functools
import gzip
import re
from importlib import resources
from typing import Any

import orjson

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import Kind
from pilothouse.client.reconcile.kit import Api, is_not_found
from pilothouse.client.reconcile.objects import annotations_of, condition

Obj = dict[str, Any]

GROUP = "gateway.networking.k8s.io"
BUNDLE_VERSION = f"{GROUP}/bundle-version"
#: The release that was installed here: as long as the definition says so itself, nobody else has put another one in its place.
INSTALLED = "pilothouse.dev/installed-bundle"
#: kubectl's name. Whoever applies the upstream definitions with it, from the server's side as well, then meets no conflict.
MANAGER = "kubectl"

CRDS = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)

_NUMBERS = re.compile(r"^v?(\d+)\.(\d+)\.(\d+)")


def definitions() -> list[Obj]:
    """All of them, as they are created. A few milliseconds."""
    data = resources.files(__package__).joinpath("_generated_crds.json.gz").read_bytes()
    made: list[Obj] = orjson.loads(gzip.decompress(data))
    for each in made:
        notes = each["metadata"]["annotations"]
        notes[INSTALLED] = notes[BUNDLE_VERSION]
        schemas = {v["name"]: v["schema"] for v in each["spec"]["versions"] if "schema" in v}
        for version in each["spec"]["versions"]:
            if "like" in version:
                version["schema"] = schemas[version.pop("like")]
    return made


def release(definition: Obj) -> tuple[int, ...]:
    """The release that a definition belongs to, as numbers; () where it does not say."""
    found = _NUMBERS.match(annotations_of(definition).get(BUNDLE_VERSION, ""))
    return tuple(int(n) for n in found.groups()) if found else ()


@functools.cache
def newest() -> tuple[int, ...]:
    """The release of the definitions here."""
    return release(definitions()[0])


def is_outdated(present: Obj, ours: Obj) -> bool:
    """Whether what is there was installed here and is older."""
    notes = annotations_of(present)
    return notes.get(INSTALLED) == notes.get(BUNDLE_VERSION) and release(present) < release(ours)


async def install(api: Api) -> None:
    """See to it that all of them are there. StatusError as the server answers."""
    api = api.under(MANAGER)
    for wanted in definitions():
        name = wanted["metadata"]["name"]
        if await _is_wanting(api, name, wanted):
            await api.patch(CRDS, "", name, wanted, "apply")


async def _is_wanting(api: Api, name: str, wanted: Obj) -> bool:
    try:
        return is_outdated(await api.get(CRDS, "", name), wanted)
    except StatusError as error:
        if not is_not_found(error):
            raise
        return True


def is_served(definition: Obj | None, version: str) -> bool:
    """Whether objects of this version can be asked for."""
    if definition is None or (condition(definition, "Established") or {}).get("status") != "True":
        return False
    return any(v["name"] == version and v.get("served") for v in definition["spec"]["versions"])

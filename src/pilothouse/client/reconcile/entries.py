"""The controllers of a component: what is known of each before it is imported, and which of them `--controllers` selects."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.client.reconcile.kit import Controller


@dataclass(frozen=True, slots=True)
class Entry:
    """One controller: its name and former name, where its class is, the ServiceAccount that it acts as ("": the manager), needs.

    Without a place it is known here and runs elsewhere: `--controllers` may name it, which has no effect.
    """

    name: str
    alias: str
    place: str = ""
    account: str = ""
    default: bool = True
    #: Seconds after the manager's start at which it starts: what a new cluster waits for comes first, then what is asked of it first.
    start_after: float = 0.15
    #: The name that its Events bear, where it is not its own.
    component: str = ""
    #: Options without which it has nothing to do.
    needs: tuple[str, ...] = ()

    def load(self) -> type[Controller]:
        module, _, attribute = self.place.partition(":")
        return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True, slots=True)
class Program:
    """A component that runs controllers: the name of its Lease, its metrics and its field manager, and what it can run."""

    component: str
    entries: tuple[Entry, ...]


def select(wanted: Iterable[str], entries: Iterable[Entry]) -> list[Entry]:
    """The entries that a `--controllers` list means: `*` all that are on by default, `name` this one, `-name` not this one.

    ValueError for a name that no controller has.
    """
    entries = list(entries)
    named = list(wanted)
    by_name = {e.name: e for e in entries} | {e.alias: e for e in entries if e.alias}
    unknown = [n for n in named if n != "*" and n.removeprefix("-") not in by_name]
    if unknown:
        raise ValueError(f'"{unknown[0].removeprefix("-")}" is not in the list of known controllers')
    chosen = {by_name[n].name for n in named if n in by_name}
    refused = {by_name[n[1:]].name for n in named if n.startswith("-")}
    every = "*" in named
    return [e for e in entries if e.name in chosen or (every and e.default and e.name not in refused)]


def can_run(entry: Entry, options: Mapping[str, Any]) -> bool:
    """Whether it runs here, and has what it needs."""
    return bool(entry.place) and all(options.get(need) for need in entry.needs)

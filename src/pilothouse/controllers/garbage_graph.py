"""Who owns whom: the graph of owner references over everything in the cluster, and what it says about one object.

A node is an object as its informer last showed it, or *virtual*: named as an owner by somebody, but not seen yet, so that its
existence has to be asked of the server before anything is deleted on its account. Nothing here talks to the server; events go
in, and names of objects that deserve a look come out. Reference: "Garbage collection", "Use cascading deletion".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from pilothouse.client.reconcile.objects import Obj, is_deleting

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Identity:
    """Where an object is found. `namespace` is "" for cluster-scoped ones."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"[{self.api_version}/{self.kind}, namespace: {self.namespace}, name: {self.name}, uid: {self.uid}]"


@dataclass(frozen=True, slots=True)
class Owner:
    """One owner reference."""

    api_version: str
    kind: str
    name: str
    uid: str
    blocks: bool = False


@dataclass(slots=True)
class Node:
    identity: Identity
    owners: tuple[Owner, ...] = ()
    dependents: set[str] = field(default_factory=set)
    #: Those of the dependents that keep a foreground deletion from ending.
    blockers: set[str] = field(default_factory=set)
    deleting: bool = False
    foreground: bool = False
    orphan: bool = False
    virtual: bool = False
    version: str = ""

    @property
    def waits_for_dependents(self) -> bool:
        """Whether the object is being deleted and goes only after its dependents."""
        return self.deleting and self.foreground

    @property
    def orphans_dependents(self) -> bool:
        return self.deleting and self.orphan


class Fate(Enum):
    """What an owner reference is worth."""

    SOLID = "the owner is there"
    DANGLING = "the owner does not exist"
    WAITING = "the owner is being deleted and waits for its dependents"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with an object: nothing, drop these owners, or delete it by this policy."""

    drop: tuple[str, ...] = ()
    delete: str = ""
    unblock: bool = False


class Graph:
    """Nodes by uid. `look` is called with the uid of each node that deserves a look, `orphan` with owners to be bereft."""

    def __init__(self, look: Callable[[str], None], orphan: Callable[[str], None]) -> None:
        self.nodes: dict[str, Node] = {}
        self._look = look
        self._orphan = orphan

    def observe(self, obj: Obj, api_version: str, kind: str) -> None:
        """An object was added or changed."""
        meta = obj["metadata"]
        identity = Identity(api_version, kind, meta.get("namespace") or "", meta["name"], meta["uid"])
        node = self.nodes.get(identity.uid)
        if node is None:
            node = self.nodes[identity.uid] = Node(identity)
        elif node.virtual:
            self._confirm(node, identity)
        node.version = meta.get("resourceVersion") or ""
        was_waiting, was_orphaning = node.waits_for_dependents, node.orphans_dependents
        finalizers = meta.get("finalizers") or ()
        node.deleting, node.foreground, node.orphan = is_deleting(obj), FOREGROUND in finalizers, ORPHAN in finalizers
        self._connect(node, _owners(obj))
        if node.orphans_dependents and not was_orphaning:
            self._orphan(identity.uid)
        if node.waits_for_dependents and not was_waiting:
            self._look(identity.uid)
            for each in list(node.dependents):
                self._look(each)

    def remove(self, uid: str) -> None:
        """An object is gone, or a virtual one turned out not to exist: its dependents and its waiting owners deserve a look."""
        node = self.nodes.pop(uid, None)
        if node is None:
            return
        for each in list(node.dependents):
            self._look(each)
        for ref in node.owners:
            if owner := self.nodes.get(ref.uid):
                self._part(owner, node)

    def knows(self, ref: Owner, namespace: str) -> Node | None:
        """The owner that a reference from this namespace names, if it was seen there."""
        node = self.nodes.get(ref.uid)
        if node is None or node.virtual or not _matches(node.identity, ref):
            return None
        return node if node.identity.namespace in ("", namespace) else None

    def _confirm(self, node: Node, identity: Identity) -> None:
        """A virtual node has been seen. Dependents that know it by another name or place are mistaken."""
        node.identity, node.virtual = identity, False
        for uid in node.dependents:
            dependent = self.nodes.get(uid)
            ref = next((r for r in dependent.owners if r.uid == identity.uid), None) if dependent else None
            if dependent and ref and self.knows(ref, dependent.identity.namespace) is None:
                self._look(uid)

    def _connect(self, node: Node, owners: tuple[Owner, ...]) -> None:
        if owners == node.owners:
            return
        before = {ref.uid: ref for ref in node.owners}
        node.owners = owners
        now = {ref.uid: ref for ref in owners}
        for uid, ref in before.items():
            owner = self.nodes.get(uid)
            if owner and uid not in now:
                self._part(owner, node)
            elif owner and ref.blocks != now[uid].blocks:
                self._block(owner, node, now[uid].blocks)
        for uid, ref in now.items():
            if uid not in before:
                self._join(node, ref)

    def _join(self, node: Node, ref: Owner) -> None:
        owner = self.nodes.get(ref.uid)
        if owner is None:
            owner = self.nodes[ref.uid] = Node(
                Identity(ref.api_version, ref.kind, node.identity.namespace, ref.name, ref.uid), virtual=True
            )
            self._look(ref.uid)
        owner.dependents.add(node.identity.uid)
        self._block(owner, node, ref.blocks)
        if owner.waits_for_dependents or (not owner.virtual and self.knows(ref, node.identity.namespace) is None):
            self._look(node.identity.uid)

    def _part(self, owner: Node, node: Node) -> None:
        owner.dependents.discard(node.identity.uid)
        self._block(owner, node, False)
        if owner.virtual and not owner.dependents:
            self.nodes.pop(owner.identity.uid, None)

    def _block(self, owner: Node, node: Node, blocks: bool) -> None:
        """Note whether `node` blocks its owner. An owner that waits deserves a look when the last one does not any more."""
        if blocks:
            owner.blockers.add(node.identity.uid)
            return
        owner.blockers.discard(node.identity.uid)
        if owner.waits_for_dependents and not owner.blockers:
            self._look(owner.identity.uid)


def _owners(obj: Obj) -> tuple[Owner, ...]:
    refs = obj["metadata"].get("ownerReferences") or ()
    return tuple(Owner(r["apiVersion"], r["kind"], r["name"], r["uid"], bool(r.get("blockOwnerDeletion"))) for r in refs)


def _matches(identity: Identity, ref: Owner) -> bool:
    """Versions of one group are the same object."""
    same_group = identity.api_version.rpartition("/")[0] == ref.api_version.rpartition("/")[0]
    return same_group and (identity.kind, identity.name) == (ref.kind, ref.name)


def judge(node: Node, fates: Iterable[tuple[Owner, Fate]], dependents: Iterable[Node]) -> Verdict:
    """What becomes of an object, given what each of its owner references is worth."""
    by_fate: dict[Fate, list[Owner]] = {fate: [] for fate in Fate}
    for ref, fate in fates:
        by_fate[fate].append(ref)
    gone = by_fate[Fate.DANGLING] + by_fate[Fate.WAITING]
    if not gone:
        return Verdict()
    if by_fate[Fate.SOLID]:
        return Verdict(drop=tuple(ref.uid for ref in gone))
    if by_fate[Fate.WAITING] and (children := list(dependents)):
        # Children that wait for their own dependents may include the owner: a circle, broken by not blocking it any more.
        circle = any(child.waits_for_dependents for child in children)
        return Verdict(delete="Foreground", unblock=circle and any(ref.blocks for ref in node.owners))
    if node.orphan:
        return Verdict(delete="Orphan")
    return Verdict(delete="Foreground" if node.foreground else "Background")

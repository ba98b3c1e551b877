"""What the API serves: one `Resource` per group, version and plural, as discovery shows it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Subresource:
    """`status`, `scale`, `binding`, ...: its own verbs, and a kind of its own where the body is another kind."""

    name: str
    verbs: tuple[str, ...]
    group: str
    version: str
    kind: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A served resource. `prefix` is its place under /registry/ in the store; `storage` is the version it is stored as."""

    group: str
    version: str
    plural: str
    kind: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: dict[str, Subresource] = field(default_factory=dict, hash=False, compare=False)
    prefix: str = ""
    storage: tuple[str, str] = ("", "")  # group, version
    list_kind: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> tuple[str, str]:
        return (self.group, self.plural)

    def key(self, namespace: str, name: str) -> str:
        """The store key of one object: /registry/<prefix>[/<namespace>]/<name>."""
        return f"/registry/{self.prefix}/{namespace}/{name}" if self.namespaced else f"/registry/{self.prefix}/{name}"

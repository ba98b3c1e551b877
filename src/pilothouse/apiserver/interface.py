"""The seams inside the hub: who asks (User), what is asked (Attributes), and what each link of the chain looks like."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pilothouse.api.errors import Obj
from pilothouse.api.resource import Resource
from pilothouse.apiserver.claims import Claims
from pilothouse.clock import Clock


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated identity."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)


#: The hub's own identity, for its internal writes and loopback clients.
LOOPBACK = User("system:apiserver", ("system:masters", "system:authenticated"))


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an authorizer sees. For a non-resource request `resource` is "" and `path` is the URL path."""

    user: User
    verb: str  # get list watch create update patch delete deletecollection; for paths the lower-case HTTP method
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    #: The selectors of a list, watch or deletecollection, as text; for authorizers that look at them.
    field_selector: str = ""
    label_selector: str = ""


class Verdict(enum.Enum):
    ALLOW = "allow"
    DENY = "deny"
    NO_OPINION = "no opinion"


class Authorizer(Protocol):
    """Pure and in memory: decided from the hub's caches. The reason is shown to the user in the 403."""

    def authorize(self, attributes: Attributes) -> tuple[Verdict, str]: ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a connection presented: the Authorization header's bearer token, and the verified client certificate's subject."""

    bearer: str | None = None
    certificate: tuple[str, tuple[str, ...]] | None = None  # common name, organizations


class Authenticator(Protocol):
    """Returns the user, None where these credentials are not its business; raises StatusError 401 for wrong ones."""

    def authenticate(self, credentials: Credentials) -> User | None: ...


class Entry(Protocol):
    """A stored object as the watch cache holds it. `obj` is shared: never change it."""

    revision: int

    @property
    def labels(self) -> Mapping[str, str]: ...

    @property
    def obj(self) -> Obj: ...


class Cache(Protocol):
    """The newest state of one resource, always complete and local."""

    def get(self, namespace: str, name: str) -> Entry | None: ...

    def list(self, namespace: str = "") -> Iterable[Entry]: ...

    def subscribe(self, callback: Callable[[str, Obj, Obj | None], None]) -> None:
        """Call `callback(type, new-or-last object, previous object)` after each change, in order: for derived indexes (RBAC)."""


class Hub(Protocol):
    """What authenticators, authorizers, admission and special endpoints may use of the hub."""

    clock: Clock
    claims: Claims

    def resource(self, group: str, plural: str, version: str = "") -> Resource | None:
        """A served resource ("" picks the preferred version)."""

    def cache(self, group: str, plural: str) -> Cache: ...

    async def create(
        self,
        group: str,
        plural: str,
        obj: Obj,
        *,
        namespace: str = "",
        user: User = LOOPBACK,
        dry_run: bool = False,
        manager: str = "kube-apiserver",
    ) -> Obj:
        """Create through the whole chain but authorization. StatusError as a client would get it. `manager` owns the fields."""

    async def apply(
        self,
        group: str,
        plural: str,
        obj: Obj,
        *,
        manager: str,
        namespace: str = "",
        subresource: str = "",
        user: User = LOOPBACK,
    ) -> Obj:
        """Server-side apply, forced."""

    async def update(
        self,
        group: str,
        plural: str,
        obj: Obj,
        *,
        namespace: str = "",
        subresource: str = "",
        user: User = LOOPBACK,
        dry_run: bool = False,
        manager: str = "kube-apiserver",
    ) -> Obj: ...

    async def delete(
        self,
        group: str,
        plural: str,
        name: str,
        *,
        namespace: str = "",
        options: Obj | None = None,
        user: User = LOOPBACK,
        dry_run: bool = False,
    ) -> Obj: ...

    def authorize(self, attributes: Attributes) -> tuple[Verdict, str]: ...


@dataclass(slots=True)
class AdmissionRequest:
    """One write on its way in. Mutating plugins change `obj` in place (it belongs to the request); nobody changes `old`."""

    operation: str  # CREATE UPDATE DELETE CONNECT
    resource: Resource
    subresource: str
    namespace: str
    name: str
    obj: Obj | None
    old: Obj | None
    user: User
    options: Obj
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    #: What the audit log is told of it.
    annotations: dict[str, str] = field(default_factory=dict)
    #: Mutating plugins run once more (in round 1) where one of them asks for it in round 0, because it changed the object.
    round: int = 0
    again: bool = False
    #: What plugins remember from round to round, by their names.
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> tuple[str, str, str]:
        """Group, version and kind of the objects: the resource's, or those of its subresource's body."""
        sub = self.resource.subresources.get(self.subresource)
        if sub is None:
            return (self.resource.group, self.resource.version, self.resource.kind)
        return (sub.group, sub.version, sub.kind)


class AdmissionPlugin:
    """One rule, one file in apiserver/admission/. `name` is Kubernetes' own, for --enable-admission-plugins."""

    name: str = ""
    #: It does nothing unless it is told what.
    needs_configuration: bool = False

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def configure(self, config: Obj) -> None:
        """Take what --admission-control-config-file has for this plugin. ValueError, in one line, for what makes no sense."""
        raise ValueError(f"admission plugin {self.name} takes no configuration")

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        """Whether this plugin ever wants such requests: asked once per combination, so that a request pays only for its own."""
        return False

    async def admit(self, request: AdmissionRequest) -> None:
        """Mutate. Raise StatusError (403 via `forbidden_error`) to refuse."""

    async def validate(self, request: AdmissionRequest) -> None:
        """Check what all mutations have made of it. Raise StatusError to refuse."""


@dataclass(slots=True)
class SpecialRequest:
    """A call of an endpoint that is not plain storage: pods/binding, pods/eviction, serviceaccounts/token, access reviews."""

    resource: Resource
    subresource: str
    namespace: str
    name: str
    verb: str
    body: Obj | None
    user: User
    query: Mapping[str, str]
    dry_run: bool
    #: Who owns the fields that the request writes.
    manager: str = "unknown"
    #: For a patch: its media type and bytes.
    media: str = ""
    raw: bytes = b""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SpecialResult:
    """What such an endpoint answers: an object, or bytes that are sent as they are."""

    code: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


#: Called when a write has been decided: True if it was stored, False if it failed (give back what was taken).
Finish = Callable[[bool], Awaitable[None]]


class WriteHook:
    """What writing a kind does besides storing its object: cluster IPs and node ports of services, for example.

    The hub calls `begin_create` before the kind's validation with metadata filled in, and `begin_update` after
    `prepare_update` and before validation; what they return is called with the outcome. With `dry_run` nothing may be kept.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    async def begin_create(self, obj: Obj, dry_run: bool) -> Finish | None:
        return None

    async def begin_update(self, obj: Obj, old: Obj, dry_run: bool) -> Finish | None:
        return None

    async def after_delete(self, obj: Obj) -> None:
        """The object is gone for good."""

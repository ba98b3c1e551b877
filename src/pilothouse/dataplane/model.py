"""What an engine is told: pools of endpoints, and the fronts that traffic comes in by.

A *front* is one address and port. A `Forward` passes TCP or UDP on; an `Edge` reads HTTP (or the name in a TLS handshake) and chooses
among pools by it. Fronts name pools, so that endpoints come and go without a front being touched. Everything is immutable: what is to be
different is made anew and told again under its name.

The rules of an Edge follow the Gateway API's meaning (gateway-api.sigs.k8s.io, HTTPRoute): whoever makes them has them in the order in
which they are tried, so an engine takes the first that matches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a pool's traffic can go."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """How endpoints are spoken to over TLS: `hostname` is sent as SNI and verified, unless `names` (DNS names or URIs) are accepted instead.

    `ca` is PEM text; "" means the system's authorities. `certificate` is shown to endpoints that ask who comes.
    """

    hostname: str
    ca: str = ""
    names: tuple[str, ...] = ()
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """Endpoints that are as good as each other. None: a connection is refused, a request answered 503."""

    name: str
    endpoints: tuple[Endpoint, ...] = ()
    #: How its endpoints are spoken to. Forwards ignore it; for an Edge `http2` is prior knowledge (gRPC, h2c).
    protocol: Literal["http1", "http2"] = "http1"
    tls: UpstreamTls | None = None
    #: For so many seconds after its last connection a client's address comes to the same endpoint; 0: no affinity.
    affinity_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Forward:
    """TCP or UDP passed on as it comes."""

    name: str
    address: str
    port: int
    transport: Literal["TCP", "UDP"]
    pool: str
    #: Networks that may use it (CIDR); none: everybody.
    source_ranges: tuple[str, ...] = ()
    #: The network interface by which it is reached, such as `lo`; "": any.
    interface: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A header or query parameter that a request has to have."""

    name: str
    value: str
    regex: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """What a request has to be like; all of it. Header names are compared without case. A prefix matches whole path elements."""

    path: str = "/"
    path_type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    method: str = ""
    headers: tuple[Text, ...] = ()
    query: tuple[Text, ...] = ()


@dataclass(frozen=True, slots=True)
class Headers:
    """Changes of headers, in this order: set, add, remove."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PathChange:
    """A whole new path, or another prefix in place of the one that the rule's match names."""

    kind: Literal["full", "prefix"]
    value: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """An answer instead of a backend's. What is "" or None stays as the request has it; a known scheme brings its own port."""

    status: int = 302
    scheme: str = ""
    hostname: str = ""
    port: int | None = None
    path: PathChange | None = None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Another host or path towards the backend."""

    hostname: str = ""
    path: PathChange | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of a share of the requests (`numerator` of `denominator`) goes to another pool; its answers are thrown away."""

    pool: str
    numerator: int = 100
    denominator: int = 100


@dataclass(frozen=True, slots=True)
class Cors:
    """Cross-origin answers (fetch.spec.whatwg.org). Origins are exact, `*`, or have `*` as their host's first part."""

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int = 5


@dataclass(frozen=True, slots=True)
class Filters:
    """What happens to a request and its answer on the way."""

    request: Headers | None = None
    response: Headers | None = None
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A pool's part of a rule's traffic. "" is a pool that cannot be: its share is answered 500."""

    pool: str
    weight: int = 1
    filters: Filters | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Tries after the first, on these status codes and on failed connections, `backoff` seconds apart at least."""

    attempts: int
    codes: tuple[int, ...] = ()
    backoff: float = 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """A match and what is done with it. No shares and no redirect, or only weights of 0: 500. Seconds; 0 means no limit."""

    match: Match = Match()
    shares: tuple[Share, ...] = ()
    filters: Filters = Filters()
    #: For the whole request, 504 after it.
    request_timeout: float = 0.0
    #: For one try at a backend.
    backend_timeout: float = 0.0
    retry: Retry | None = None
    #: Whose rule this is (`HTTPRoute/namespace/name#rule`), for the access log and for explanations.
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """Rules for one hostname: exact, `*.` and a suffix of at least one label, or "" for any. The most specific one is asked, and it alone.

    A request that none of its rules matches is answered 404.
    """

    hostname: str = ""
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Certificate:
    """A chain and its key, PEM."""

    chain: str
    key: str


@dataclass(frozen=True, slots=True)
class Site:
    """A Gateway's listener: of an edge's sites, the one whose hostname is most specific for a request (TLS: for its SNI) takes it.

    `certificates` end TLS here. `tunnels` (hostname, pools by weight) are for TLS that is not read as HTTP: with certificates it is ended and
    the plain bytes go on, without them it passes through unread. Neither: plain HTTP. Where there are `client_authorities` (PEM), clients have
    to show a certificate that one of them has signed.
    """

    hostname: str = ""
    hosts: tuple[Host, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    #: By hostname, as `hosts`: where SNI decides.
    tunnels: tuple[tuple[str, tuple[Share, ...]], ...] = ()
    client_authorities: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """A front that reads what passes. `tls` says whether it begins with a handshake; HTTP/2 is offered by ALPN and, in the clear, by prior knowledge."""

    name: str
    address: str
    port: int
    tls: bool = False
    sites: tuple[Site, ...] = ()


Front = Forward | Edge

"""An Edge's part of the configuration.

Its HTTP front finds the site (by the handshake's name, in the clear by the host), the most specific host in it, and the first rule of that
host that matches; `txn.to` is then the backend. Nothing is changed on the way, so that a request may also come here from an older HAProxy
which holds the connection that it came on (`hop`: the client's address and the handshake's name come with it).

Where an Edge has TLS that is not HTTP, a front of streams reads the handshake's name first and hands on: unread to a pool, or to inner fronts
that end TLS.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from pilothouse.dataplane.haproxy import certificates, rules
from pilothouse.dataplane.haproxy.conditions import Lists, conditions
from pilothouse.dataplane.haproxy.forwards import front_name
from pilothouse.dataplane.haproxy.sections import BAD, MISDIRECTED, NOT_FOUND, Listener, Sections
from pilothouse.dataplane.haproxy.text import hostname, identifier
from pilothouse.dataplane.model import Edge, Rule, Share, Site

T = TypeVar("T")

HELLO_SECONDS = 10


def inner_name(name: str) -> str:
    """The HTTP front behind one that reads names."""
    return identifier("h_", name)


def add(edge: Edge, listener: Listener, sections: Sections) -> None:
    if not edge.tls:
        if any(site.tunnels for site in edge.sites):
            raise ValueError("tunnels are chosen by a handshake's name: the front has none")
        sections.frontends[front_name(edge.name)] = [
            f"bind fd@{listener.descriptor}",
            *_http(edge, listener, sections),
        ]
        return
    web = tuple(site for site in edge.sites if site.certificates and not site.tunnels)
    if web and len(web) == len(edge.sites):
        bind = f"bind fd@{listener.descriptor} {_ends_tls(web, sections, alone=True)} alpn h2,http/1.1"
        sections.frontends[front_name(edge.name)] = [bind, *_http(edge, listener, sections)]
    else:
        _mixed(edge, listener, sections)


def _ends_tls(sites: tuple[Site, ...], sections: Sections, *, alone: bool) -> str:
    strict = " strict-sni" if alone and all(site.hostname for site in sites) else ""
    return f"ssl crt-list {certificates.crt_list(sites, sections)}{strict}"


def _mixed(edge: Edge, listener: Listener, sections: Sections) -> None:
    """The name decides between HTTP, TLS that is ended here, and TLS that passes."""
    name = front_name(edge.name)
    inner_http, inner_stream = inner_name(edge.name), identifier("s_", edge.name)
    web = tuple(site for site in edge.sites if site.certificates and site.hosts)
    ended = tuple(site for site in edge.sites if site.certificates and site.tunnels)
    target = {
        inner_http: sections.backend("n_", ["mode tcp", f"server inner unix@{sections.folder}/{inner_http} send-proxy-v2"]),
        inner_stream: sections.backend("n_", ["mode tcp", f"server inner unix@{sections.folder}/{inner_stream} send-proxy-v2"]),
    }
    lines = [
        "mode tcp",
        f"bind fd@{listener.descriptor}",
        f"tcp-request inspect-delay {HELLO_SECONDS}s",
        "tcp-request content reject unless { req.ssl_hello_type 1 }",
        "tcp-request content set-var(txn.sni) req.ssl_sni,lower",
    ]
    choices = []
    for site in edge.sites:
        entries = (
            _tunnels(site, sections)
            if not site.certificates
            else dict.fromkeys(_by_name(site.tunnels), (target[inner_stream], []))
        )
        if site.hosts and site.certificates:
            entries.setdefault("", (target[inner_http], []))
        choices.append((site, entries))
    sections.frontends[name] = [*lines, *_streams(choices, sections)]
    bind = f"bind unix@{sections.folder}/{{}} mode 600 accept-proxy "
    if ended:
        ends = bind.format(inner_stream) + _ends_tls(ended, sections, alone=False)
        taken = [(site, _tunnels(site, sections)) for site in ended]
        sections.frontends[inner_stream] = [
            "mode tcp",
            ends,
            "tcp-request content set-var(txn.sni) ssl_fc_sni,lower",
            *_streams(taken, sections),
        ]
    http = _http(edge, listener, sections)
    if web:
        http.insert(0, bind.format(inner_http) + _ends_tls(web, sections, alone=False) + " alpn h2,http/1.1")
    sections.frontends[inner_http] = http


def _tunnels(site: Site, sections: Sections) -> dict[str, tuple[str, list[str]]]:
    made = {}
    for name, shares in _by_name(site.tunnels).items():
        taken = [share for share in shares if share.weight > 0] or [Share("")]
        made[name] = sections.split([(sections.stream(share.pool), share.weight) for share in taken], "tcp-request content")
    return made


def _streams(choices: list[tuple[Site, dict[str, tuple[str, list[str]]]]], sections: Sections) -> list[str]:
    """Lines that choose a backend of streams by `txn.sni`."""
    verb, after = "tcp-request content", list[str]()
    places = _by_name((site.hostname, f"s{place}") for place, (site, _) in enumerate(choices))
    made = sections.lookup(verb, "txn.sni", "txn.site", places)
    for place, (_, entries) in enumerate(choices):
        by_name = {name: to for name, (to, _) in entries.items()}
        made += sections.lookup(verb, "txn.sni", "txn.to", by_name, f"{{ var(txn.site) -m str s{place} }}")
        after += [line for _, lines in entries.values() for line in lines]
    made += dict.fromkeys(after)
    return [*made, f"{verb} reject unless {{ var(txn.to) -m found }}", "use_backend %[var(txn.to)]"]


def _http(edge: Edge, listener: Listener, sections: Sections) -> list[str]:
    """All lines of an HTTP front but its own bind."""
    hop = sections.backend("n_", _hop(listener))
    made = [
        f"bind fd@{listener.hop_descriptor} accept-proxy",
        "http-request set-var(txn.name) req.hdr(host),host_only,rtrim(.),lower",
    ]
    lists = Lists()
    chosen, hosts = _hosts(edge, sections)
    decisions, after = [], dict[str, None]()
    for key, asked_rules in hosts.items():
        place = [lists.name(f"var(txn.host) -m str {key}")] if chosen else []
        for rule in asked_rules:
            to, lines = rules.target(rule, sections, edge.tls)
            after |= dict.fromkeys(lines)
            asked = ["!decided", *place, *conditions(rule.match, lists)]
            decisions.append(f"http-request set-var(txn.to) str({to}) if {' '.join(asked)}")
    return [
        "option idle-close-on-response",
        *made,
        f"http-request set-var(txn.to) str({BAD}) unless {{ req.hdr_cnt(host) gt 0 }} or HTTP_1.0",
        f"http-request set-var(txn.to) str({BAD}) if {{ req.hdr(host) -m sub -- ' ' }}",
        "acl decided var(txn.to) -m found",
        *lists.lines(),
        *chosen,
        *decisions,
        *after,
        f"use_backend {hop} if {{ stopping }}",
        "use_backend %[var(txn.to)] if decided",
        f"default_backend {NOT_FOUND}",
    ]


def _hop(listener: Listener) -> list[str]:
    """To the HAProxy that is now. It may be stopping already and end before it has read what it accepted: then the one after it is asked."""
    server = f"unix@{listener.hop_path} send-proxy-v2 proxy-v2-options authority"
    tries = ["http-reuse never", "retries 3", "retry-on conn-failure empty-response", "option redispatch 1"]
    return [*tries, f"server next {server}", f"server again {server}"]


def _hosts(edge: Edge, sections: Sections) -> tuple[list[str], dict[str, list[Rule]]]:
    """Lines that set `txn.host`, and the rules by its values; no lines where there is nothing to decide.

    A request for one site that comes in by another's name is not mixed: 421 (RFC 9110, section 15.5.20).
    """
    verb, places = "http-request", _by_name((site.hostname, f"s{one}") for one, site in enumerate(edge.sites))
    made = sections.lookup(verb, "txn.name", "txn.site", places)
    found: dict[str, list[Rule]] = {}
    for one, site in enumerate(edge.sites):
        entries: dict[str, str] = {}
        for host in site.hosts:  # several may have the same name
            key = entries.setdefault(hostname(host.hostname), f"h{one}_{len(entries)}")
            found.setdefault(key, []).extend(host.rules)
        made += sections.lookup(verb, "txn.name", "txn.host", entries, f"{{ var(txn.site) -m str s{one} }}")
        if len(edge.sites) == 1 and list(places) == [""] == list(entries):
            return [], found
    if edge.tls and len(edge.sites) > 1:
        named = "{ var(txn.sni) -m found } { var(txn.site) -m found }"
        made += [
            f"{verb} set-var(txn.sni) fc_pp_authority,lower",
            f"{verb} set-var(txn.sni) ssl_fc_sni,lower if {{ ssl_fc }}",
            *sections.lookup(verb, "txn.sni", "txn.came", places),
            f"{verb} set-var(txn.to) str({MISDIRECTED}) if {named} !{{ var(txn.site),strcmp(txn.came) eq 0 }}",
        ]
    return made, found


def _by_name(pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    """By hostname; the first of two with the same name counts."""
    made: dict[str, T] = {}
    for name, thing in pairs:
        made.setdefault(hostname(name), thing)
    return made

"""TLS ended here, passed through, and spoken to backends; clients are Python's ssl and aiohttp."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from authority import Authority
from lab import Lab, to, url

from pilothouse.dataplane.model import Certificate, Edge, Host, Pool, Share, Site, UpstreamTls

Http = aiohttp.ClientSession


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


class Pinned(aiohttp.abc.AbstractResolver):
    """Every name is at the edge."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        return [{"hostname": host, "host": self._edge.address, "port": port, "family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Nothing is open."""


async def get(edge: Edge, authority: Authority, name: str, path: str = "/", host: str = "") -> tuple[int, str]:
    """Status and backend, by a client that believes to speak to `name`."""
    connector = aiohttp.TCPConnector(resolver=Pinned(edge), ssl=authority.context(), force_close=True)
    headers = {"Host": host} if host else {}
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"https://{name}:{edge.port}{path}", headers=headers) as answer,
    ):
        return answer.status, answer.headers.get("X-Backend", "")


async def names_offered(edge: Edge, authority: Authority, name: str | None) -> set[str]:
    """The names of the certificate that an edge shows for a name."""
    context = authority.context()
    context.check_hostname = False
    _, writer = await asyncio.open_connection(edge.address, edge.port, ssl=context, server_hostname=name or "")
    certificate = writer.get_extra_info("peercert")
    writer.close()
    return {value for _, value in certificate["subjectAltName"]}


def site(name: str, backend: str, *certificates: Certificate) -> Site:
    return Site(name, (Host(name, (to(backend),)),), certificates)


async def test_tls_ends_at_the_edge(lab: Lab, authority: Authority) -> None:
    backend = await lab.backend("a")
    edge = await lab.edge(tls=True, sites=(site("", "a", authority.certificate("www.example.com")),))
    assert await get(edge, authority, "www.example.com") == (200, "a")
    assert backend.seen[0]["headers"]["x-forwarded-proto"] == "https"


async def test_the_name_in_the_handshake_chooses_certificate_and_site(lab: Lab, authority: Authority) -> None:
    for name in "abc":
        await lab.backend(name)
    sites = (
        site("", "c", authority.certificate("default.example")),
        site("*.example.com", "b", authority.certificate("*.example.com")),
        site("www.example.com", "a", authority.certificate("www.example.com")),
    )
    edge = await lab.edge(tls=True, sites=sites)
    assert await names_offered(edge, authority, "www.example.com") == {"www.example.com"}
    assert await names_offered(edge, authority, "api.example.com") == {"*.example.com"}
    assert await names_offered(edge, authority, "other.org") == {"default.example"}
    assert await get(edge, authority, "www.example.com") == (200, "a")
    assert await get(edge, authority, "api.example.com") == (200, "b")
    assert await get(edge, authority, "default.example") == (200, "c")


async def test_a_site_with_several_certificates_shows_the_one_that_fits(lab: Lab, authority: Authority) -> None:
    await lab.backend("a")
    first, second, wild = (authority.certificate(name) for name in ("one.org", "two.org", "*.two.org"))
    edge = await lab.edge(tls=True, sites=(site("", "a", first, second, wild),))
    assert await names_offered(edge, authority, "two.org") == {"two.org"}
    assert await names_offered(edge, authority, "x.two.org") == {"*.two.org"}
    assert await names_offered(edge, authority, "else.org") == {"one.org"}


async def test_a_name_that_no_site_has_gets_no_handshake(lab: Lab, authority: Authority) -> None:
    await lab.backend("a")
    edge = await lab.edge(tls=True, sites=(site("www.example.com", "a", authority.certificate("www.example.com")),))
    with pytest.raises((aiohttp.ClientError, ConnectionError, ssl.SSLError)):
        await get(edge, authority, "other.org")
    assert await get(edge, authority, "www.example.com") == (200, "a")


async def test_another_sites_host_on_a_sites_connection_is_misdirected(lab: Lab, authority: Authority) -> None:
    await lab.backend("a")
    await lab.backend("b")
    both = authority.certificate("a.example.com", "b.example.com")
    edge = await lab.edge(tls=True, sites=(site("a.example.com", "a", both), site("b.example.com", "b", both)))
    assert await get(edge, authority, "a.example.com", host="b.example.com") == (421, "")
    assert await get(edge, authority, "a.example.com", host="c.example.com") == (404, "")


async def test_a_renewed_certificate_is_shown_to_new_connections_while_old_ones_stay(lab: Lab, authority: Authority) -> None:
    await lab.backend("a")
    edge = await lab.edge(tls=True, sites=(site("", "a", authority.certificate("www.example.com", "old.example")),))
    reader, writer = await asyncio.open_connection(
        edge.address, edge.port, ssl=authority.context(), server_hostname="www.example.com"
    )
    renewed = authority.certificate("www.example.com", "new.example")
    await lab.engine.set_front(replace(edge, sites=(site("", "a", renewed),)))
    assert await names_offered(edge, authority, "www.example.com") == {"www.example.com", "new.example"}
    writer.write(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_a_certificate_that_is_none_is_an_error_and_the_front_stays(lab: Lab, authority: Authority) -> None:
    await lab.backend("a")
    edge = await lab.edge(tls=True, sites=(site("", "a", authority.certificate("www.example.com")),))
    with pytest.raises(ValueError):
        await lab.engine.set_front(replace(edge, sites=(site("", "a", Certificate("no", "key")),)))
    assert await get(edge, authority, "www.example.com") == (200, "a")


async def test_what_is_no_tls_is_turned_away(lab: Lab, authority: Authority) -> None:
    await lab.backend("a")
    edge = await lab.edge(tls=True, sites=(site("", "a", authority.certificate("www.example.com")),))
    reader, writer = await asyncio.open_connection(edge.address, edge.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
    try:
        assert b"X-Backend" not in await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        pass  # that is turning away too
    writer.close()


# --- tunnels ------------------------------------------------------------------------------------------------------------------


async def through(edge: Edge, context: ssl.SSLContext, name: str) -> tuple[str, set[str]]:
    """The greeting of the backend that a name leads to, and the names of the certificate that was shown."""
    reader, writer = await asyncio.open_connection(edge.address, edge.port, ssl=context, server_hostname=name)
    greeting = (await reader.readline()).decode().strip()
    names = {value for _, value in writer.get_extra_info("peercert")["subjectAltName"]}
    writer.write(b"x" * 300_000)
    assert await reader.readexactly(300_000) == b"x" * 300_000
    writer.close()
    return greeting, names


async def test_tls_passes_through_to_the_pool_that_its_name_leads_to(lab: Lab, authority: Authority) -> None:
    for name in ("one.example.com", "two.example.com"):
        backend = await lab.tcp_backend(name, ssl=authority.server(name))
        await lab.engine.set_pool(Pool(name, (backend.endpoint,)))
    tunnels = (("one.example.com", (Share("one.example.com"),)), ("*.example.com", (Share("two.example.com"),)))
    edge = await lab.edge(tls=True, sites=(Site(tunnels=tunnels),))
    for name in ("one.example.com", "two.example.com"):
        assert await through(edge, authority.context(), name) == (name, {name})


async def test_tls_that_ends_at_the_edge_goes_on_as_plain_bytes(lab: Lab, authority: Authority) -> None:
    backend = await lab.tcp_backend("plain")
    await lab.engine.set_pool(Pool("plain", (backend.endpoint,)))
    tunnels = (("db.example.com", (Share("plain"),)),)
    edge = await lab.edge(tls=True, sites=(Site("", tunnels=tunnels, certificates=(authority.certificate("db.example.com"),)),))
    assert await through(edge, authority.context(), "db.example.com") == ("plain", {"db.example.com"})


async def test_one_edge_ends_some_names_and_passes_others_through(lab: Lab, authority: Authority) -> None:
    await lab.backend("a")
    backend = await lab.tcp_backend("deep", ssl=authority.server("deep.example.com"))
    await lab.engine.set_pool(Pool("deep", (backend.endpoint,)))
    passing = Site("deep.example.com", tunnels=(("deep.example.com", (Share("deep"),)),))
    edge = await lab.edge(tls=True, sites=(site("www.example.com", "a", authority.certificate("www.example.com")), passing))
    assert await get(edge, authority, "www.example.com") == (200, "a")
    assert (await through(edge, authority.context(), "deep.example.com"))[0] == "deep"


async def test_a_hello_in_pieces_is_understood(lab: Lab, authority: Authority) -> None:
    await lab.backend("a")
    edge = await lab.edge(tls=True, sites=(site("www.example.com", "a", authority.certificate("www.example.com")),))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.context().wrap_bio(incoming, outgoing, server_hostname="www.example.com")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    reader, writer = await asyncio.open_connection(edge.address, edge.port)
    for at in range(0, len(hello), 100):
        writer.write(hello[at : at + 100])
        await writer.drain()
        await asyncio.sleep(0.005)
    while True:
        incoming.write(await asyncio.wait_for(reader.read(65_536), 5))
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            continue
    assert tls.getpeercert() is not None
    writer.close()


# --- towards backends ---------------------------------------------------------------------------------------------------------


async def tls_backend(lab: Lab, authority: Authority, upstream: UpstreamTls, *names: str) -> None:
    backend = await lab.backend("a", pool=False, ssl_context=authority.server(*names))
    await lab.engine.set_pool(Pool("a", (backend.endpoint,), tls=upstream))


async def status(http: Http, edge: Edge) -> int:
    async with http.get(url(edge)) as answer:
        return answer.status


async def test_a_backend_is_spoken_to_over_tls_and_verified(lab: Lab, http: Http, authority: Authority) -> None:
    await tls_backend(lab, authority, UpstreamTls("backend.example", authority.pem), "backend.example")
    assert await status(http, await lab.edge(to("a"))) == 200


@pytest.mark.parametrize("names", [("other.example",), ("127.0.0.1",)])
async def test_a_backend_with_another_name_is_not_spoken_to(
    lab: Lab, http: Http, authority: Authority, names: tuple[str, ...]
) -> None:
    await tls_backend(lab, authority, UpstreamTls("backend.example", authority.pem), *names)
    assert await status(http, await lab.edge(to("a"))) in (502, 503)


async def test_a_backend_of_another_authority_is_not_spoken_to(lab: Lab, http: Http, authority: Authority) -> None:
    await tls_backend(lab, authority, UpstreamTls("backend.example", Authority().pem), "backend.example")
    assert await status(http, await lab.edge(to("a"))) in (502, 503)


@pytest.mark.parametrize(
    ("accepted", "expected"), [("spiffe://cluster/backend", 200), ("other.example", 200), ("spiffe://cluster/else", 503)]
)
async def test_other_names_are_accepted_in_place_of_the_hostname(
    lab: Lab, http: Http, authority: Authority, accepted: str, expected: int
) -> None:
    upstream = UpstreamTls("backend.example", authority.pem, (accepted,))
    await tls_backend(lab, authority, upstream, "spiffe://cluster/backend", "other.example")
    assert await status(http, await lab.edge(to("a"))) in ((200,) if expected == 200 else (502, 503))


async def test_weights_divide_the_connections_of_a_tunnel(lab: Lab, authority: Authority) -> None:
    for name in ("one", "two"):
        backend = await lab.tcp_backend(name, ssl=authority.server("a.example"))
        await lab.engine.set_pool(Pool(name, (backend.endpoint,)))
    tunnels = (("a.example", (Share("one", 3), Share("two", 1), Share("", 0))),)
    edge = await lab.edge(tls=True, sites=(Site(tunnels=tunnels),))
    reached = [(await through(edge, authority.context(), "a.example"))[0] for _ in range(8)]
    assert 4 <= reached.count("one") <= 7
    assert reached.count("one") + reached.count("two") == 8


# --- clients that show who they are -------------------------------------------------------------------------------------------


async def test_clients_have_to_show_a_certificate_where_a_site_has_authorities(lab: Lab, authority: Authority) -> None:
    for name in "ab":
        await lab.backend(name)
    closed, open_ = (site(f"{n}.example.com", n, authority.certificate(f"{n}.example.com")) for n in "ab")
    edge = await lab.edge(tls=True, sites=(replace(closed, client_authorities=authority.pem), open_))
    assert await get(edge, authority, "b.example.com") == (200, "b")
    with pytest.raises(aiohttp.ClientError):
        await get(edge, authority, "a.example.com")
    assert await get(edge, authority.showing("client"), "a.example.com") == (200, "a")
    stranger = Authority()
    stranger.pem = authority.pem
    with pytest.raises(aiohttp.ClientError):
        await get(edge, stranger.showing("client"), "a.example.com")
    assert (await get(edge, authority, "b.example.com", host="a.example.com"))[0] == 421, "not by another site's connection"


async def test_a_backend_is_shown_who_comes(lab: Lab, http: Http, authority: Authority) -> None:
    context = authority.server("backend.example")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem)
    backend = await lab.backend("a", pool=False, ssl_context=context)
    edge = await lab.edge(to("a"))
    for certificate, expected in ((authority.certificate("edge.example"), (200,)), (None, (502, 503))):
        upstream = UpstreamTls("backend.example", authority.pem, certificate=certificate)
        await lab.engine.set_pool(Pool("a", (backend.endpoint,), tls=upstream))
        assert await status(http, edge) in expected

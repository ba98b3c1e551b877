"""TLS: ended at the Gateway or passed through, by name; and spoken with backends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from pilothouse.client.loopback import twin
from pilothouse.client.reconcile.kinds import CONFIG_MAPS, SECRETS
from pilothouse.cloud.gateway.kinds import BACKEND_TLS_POLICIES, GATEWAYS, TLS_ROUTES

from .certificates import Authority
from .city import HTTP, HTTPS_PORT, City, Obj, eventually, https, path, to

pytestmark = pytest.mark.asyncio(loop_scope="module")
AUTHORITY = Authority()


def tls(name: str, mode: str, secret: str = "", hostname: str = "") -> Obj:
    refs = {"certificateRefs": [{"name": secret}]} if secret else {}
    named = {"hostname": hostname} if hostname else {}
    return {"name": name, "port": HTTPS_PORT, "protocol": "TLS", "tls": {"mode": mode, **refs}, **named}


async def shown(address: str, name: str) -> list[str]:
    """The DNS names of the certificate that a client is shown who asks for this name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(address, HTTPS_PORT, ssl=context, server_hostname=name)
    try:
        from cryptography import x509

        found = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(True))
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return list(names.get_values_for_type(x509.DNSName))
    finally:
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ended(city: City) -> AsyncIterator[str]:
    """A Gateway with two HTTPS listeners, and a route to a Service at each."""
    for secret, names in (("near", ["a.example.com"]), ("wide", ["*.example.com"])):
        pair = AUTHORITY.sign(*names)
        await city.secret(secret, pair.chain, pair.key)
        await city.backend(f"https-{secret}")
    near, wide = https("near", "near", "a.example.com"), https("wide", "wide", "*.example.com")
    address = await city.gateway("https", near, wide)
    for name in ("near", "wide"):
        await city.route(f"https-{name}", "https", to(f"https-{name}"), parent={"sectionName": name})
    yield address


async def test_tls_is_ended_with_the_certificate_of_the_name(city: City, ended: str) -> None:
    for host, pod, certificate in (("a.example.com", "near", "a.example.com"), ("b.example.com", "wide", "*.example.com")):
        answer = await city.ask(ended, host=host, ssl=AUTHORITY.trusting())
        assert (answer.status, answer.pod) == (200, f"https-{pod}")
        assert answer.told["headers"]["x-forwarded-proto"] == "https"
        assert await shown(ended, host) == [certificate]


async def test_a_request_for_another_listeners_name_is_misdirected(city: City, ended: str) -> None:
    ask: Any = {"ssl": AUTHORITY.trusting(), "server_hostname": "a.example.com"}
    assert (await city.ask(ended, host="b.example.com", **ask)).status == 421
    assert (await city.ask(ended, host="other.org", **ask)).status == 404


async def test_a_new_certificate_is_shown_as_soon_as_its_secret_has_it(city: City) -> None:
    pair = AUTHORITY.sign("old.example.com")
    await city.secret("renewed", pair.chain, pair.key)
    address = await city.gateway("renewed", https("https", "renewed"))
    assert await shown(address, "any.example.com") == ["old.example.com"]
    pair = AUTHORITY.sign("new.example.com")
    await city.change(SECRETS, "renewed", {"stringData": {"tls.crt": pair.chain, "tls.key": pair.key}})

    async def is_new() -> bool:
        return await shown(address, "any.example.com") == ["new.example.com"]

    await eventually(is_new)


async def test_a_listener_without_a_certificate_is_not_served(city: City) -> None:
    await city.backend("no-certificate")
    address = await city.gateway("no-certificate", HTTP, https("https", "not-there"))
    await city.route("no-certificate", "no-certificate", to("no-certificate"))
    assert (await city.ask(address)).pod == "no-certificate"
    with pytest.raises(aiohttp.ClientConnectionError):
        await city.ask(address, host="a.example.com", ssl=AUTHORITY.trusting())


async def test_a_certificate_of_another_namespace_is_shown_where_a_grant_says_so(city: City) -> None:
    await city.namespace("certificates")
    pair = AUTHORITY.sign("far.example.com")
    await city.secret("far", pair.chain, pair.key, "certificates")
    await city.grant("certificates", "Gateway", "Secret")
    listener = https("https", "far")
    listener["tls"]["certificateRefs"][0]["namespace"] = "certificates"
    address = await city.gateway("far-certificate", listener)
    assert await shown(address, "far.example.com") == ["far.example.com"]


async def test_tls_passes_through_unread_by_its_name(city: City) -> None:
    for name in ("one", "two"):
        pair = AUTHORITY.sign(f"{name}.example.com")
        await city.backend(f"through-{name}", ssl_context=pair.server_context())
    address = await city.gateway("through", tls("tls", "Passthrough"))
    for name in ("one", "two"):
        await city.route(f"through-{name}", "through", to(f"through-{name}"), kind=TLS_ROUTES, hostnames=[f"{name}.example.com"])
    for name in ("one", "two"):
        answer = await city.ask(address, host=f"{name}.example.com", ssl=AUTHORITY.trusting())
        assert answer.pod == f"through-{name}"
        assert await shown(address, f"{name}.example.com") == [f"{name}.example.com"]
        assert "x-forwarded-for" not in answer.told["headers"]
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await shown(address, "three.example.com")


async def test_tls_routes_share_a_port_with_https(city: City) -> None:
    pair = AUTHORITY.sign("h.example.com")
    await city.secret("mixed", pair.chain, pair.key)
    await city.backend("mixed-http")
    await city.backend("mixed-tls", ssl_context=AUTHORITY.sign("t.example.com").server_context())
    address = await city.gateway(
        "mixed", https("https", "mixed", "h.example.com"), tls("tls", "Passthrough", hostname="t.example.com")
    )
    await city.route("mixed-http", "mixed", to("mixed-http"))
    await city.route("mixed-tls", "mixed", to("mixed-tls"), kind=TLS_ROUTES, hostnames=["t.example.com"])
    assert (await city.ask(address, host="h.example.com", ssl=AUTHORITY.trusting())).pod == "mixed-http"
    assert (await city.ask(address, host="t.example.com", ssl=AUTHORITY.trusting())).pod == "mixed-tls"


async def test_tls_is_ended_for_what_is_not_read(city: City) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"plain: " + await reader.readline())
        writer.close()

    ip = city.new_ip()
    server = await asyncio.start_server(echo, twin(ip), 7000)
    await city.service("echo", ip, 7000)
    pair = AUTHORITY.sign("echo.example.com")
    await city.secret("echo", pair.chain, pair.key)
    address = await city.gateway("terminated", tls("tls", "Terminate", "echo", "echo.example.com"))
    await city.route("terminated", "terminated", to("echo"), kind=TLS_ROUTES, hostnames=["echo.example.com"])
    reader, writer = await asyncio.open_connection(
        address, HTTPS_PORT, ssl=AUTHORITY.trusting(), server_hostname="echo.example.com"
    )
    writer.write(b"hello\n")
    assert await reader.read() == b"plain: hello\n"
    writer.close()
    server.close()


async def test_http2_is_spoken_where_the_client_can(city: City, ended: str) -> None:
    import httpx

    async with httpx.AsyncClient(http2=True, verify=AUTHORITY.trusting()) as client:
        url = f"https://{ended}:{HTTPS_PORT}/two"
        sent = client.build_request("GET", url, headers={"Host": "a.example.com"}, extensions={"sni_hostname": "a.example.com"})
        answer = await client.send(sent)
        assert answer.http_version == "HTTP/2"
        assert (answer.json()["pod"], answer.json()["path"]) == ("https-near", "/two")


async def secure_backend(city: City, name: str, *names: str, authority: Authority = AUTHORITY) -> None:
    await city.backend(name, ssl_context=authority.sign(*names).server_context())


async def policy(city: City, of: str, **validation: Any) -> None:
    checked = {"hostname": f"{of}.internal", **validation}
    if "wellKnownCACertificates" not in checked:
        checked["caCertificateRefs"] = [{"group": "", "kind": "ConfigMap", "name": "authority"}]
    spec = {"targetRefs": [{"group": "", "kind": "Service", "name": of}], "validation": checked}
    await city.create(BACKEND_TLS_POLICIES, of, spec)


async def test_backends_are_spoken_to_over_tls_as_their_policy_says(city: City) -> None:
    await city.create(CONFIG_MAPS, "authority", data={"ca.crt": AUTHORITY.chain})
    address = await city.gateway("reencrypted")
    names = ("right", "wrong-name", "wrong-authority", "by-name", "by-uri", "other-name", "no-policy")
    await city.route("reencrypted", "reencrypted", *(to(f"tls-{n}", matches=[path(f"/{n}")]) for n in names))
    await secure_backend(city, "tls-right", "tls-right.internal")
    await secure_backend(city, "tls-wrong-name", "something.else")
    await secure_backend(city, "tls-wrong-authority", "tls-wrong-authority.internal", authority=Authority("other"))
    await secure_backend(city, "tls-by-name", "alternative.internal")
    await secure_backend(city, "tls-by-uri", "x.internal", "spiffe://cluster/ns/default")
    await secure_backend(city, "tls-other-name", "tls-other-name.internal")
    await secure_backend(city, "tls-no-policy", "tls-no-policy.internal")
    for name in ("tls-right", "tls-wrong-name", "tls-wrong-authority"):
        await policy(city, name)
    await policy(city, "tls-by-name", subjectAltNames=[{"type": "Hostname", "hostname": "alternative.internal"}])
    await policy(city, "tls-by-uri", subjectAltNames=[{"type": "URI", "uri": "spiffe://cluster/ns/default"}])
    await policy(city, "tls-other-name", subjectAltNames=[{"type": "Hostname", "hostname": "never.internal"}])
    for good in ("right", "by-name", "by-uri"):
        await city.until_answered(address, f"tls-{good}", f"/{good}")
    for bad in ("wrong-name", "wrong-authority", "other-name", "no-policy"):
        assert (await city.ask(address, f"/{bad}")).status >= 400, bad


async def test_requests_fail_where_the_authority_is_missing(city: City) -> None:
    await city.backend("no-authority")
    address = await city.gateway("no-authority")
    await city.route("no-authority", "no-authority", to("no-authority"))
    assert (await city.ask(address)).pod == "no-authority"
    spec = {"hostname": "a.internal", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "gone"}]}
    target = [{"group": "", "kind": "Service", "name": "no-authority"}]
    await city.create(BACKEND_TLS_POLICIES, "no-authority", {"targetRefs": target, "validation": spec})
    await city.until_status(address, 500)


async def test_clients_show_certificates_where_the_gateway_asks_for_them(city: City) -> None:
    clients = Authority("clients")
    pair = AUTHORITY.sign("*.example.com")
    await city.secret("mutual", pair.chain, pair.key)
    await city.backend("mutual")
    await city.create(CONFIG_MAPS, "clients", data={"ca.crt": clients.chain})
    asked = {"validation": {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "clients"}]}}
    open_to_all = {"port": 8444, "tls": {"validation": {**asked["validation"], "mode": "AllowInsecureFallback"}}}
    frontend = {"default": asked, "perPort": [open_to_all]}
    listeners = (https("checked", "mutual"), https("open", "mutual", port=8444))
    address = await city.gateway("mutual", *listeners, tls={"frontend": frontend})
    await city.route("mutual", "mutual", to("mutual"))
    told = (await city.get(GATEWAYS, "mutual"))["status"]["conditions"]
    assert {c["type"] for c in told} == {"Accepted", "Programmed", "InsecureFrontendValidationMode"}
    known, stranger = (authority.sign("client.internal").showing(AUTHORITY.trusting()) for authority in (clients, AUTHORITY))
    assert (await city.ask(address, host="a.example.com", ssl=known)).pod == "mutual"
    for wrong in (stranger, AUTHORITY.trusting()):
        with pytest.raises(aiohttp.ClientError):
            await city.ask(address, host="a.example.com", ssl=wrong)
    for anyone in (known, stranger, AUTHORITY.trusting()):
        assert (await city.ask(address, host="a.example.com", ssl=anyone, port=8444)).pod == "mutual"


async def test_backends_are_shown_the_gateways_certificate(city: City) -> None:
    clients = Authority("gateways")
    context = AUTHORITY.sign("asks.internal").server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=clients.chain)
    await city.backend("asks", ssl_context=context)
    pair = clients.sign("gateway.internal")
    await city.secret("identity", pair.chain, pair.key)
    await city.create(CONFIG_MAPS, "asks", data={"ca.crt": AUTHORITY.chain})
    refs = [{"group": "", "kind": "ConfigMap", "name": "asks"}]
    target = [{"group": "", "kind": "Service", "name": "asks"}]
    validation = {"hostname": "asks.internal", "caCertificateRefs": refs}
    await city.create(BACKEND_TLS_POLICIES, "asks", {"targetRefs": target, "validation": validation})
    known = await city.gateway("known", tls={"backend": {"clientCertificateRef": {"name": "identity"}}})
    unknown = await city.gateway("unknown")
    for name in ("known", "unknown"):
        await city.route(name, name, to("asks"))
    assert (await city.ask(known)).pod == "asks"
    assert (await city.ask(unknown)).status in (502, 503)

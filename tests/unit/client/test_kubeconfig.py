"""Kubeconfig files: every way to say who and where, and one clear line for what cannot be used."""

from __future__ import annotations

import base64
import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pilothouse.client.kubeconfig import KubeconfigError, in_cluster, load


@pytest.fixture(scope="module")
def pem() -> tuple[bytes, bytes]:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + dt.timedelta(hours=1)).add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return certificate.public_bytes(serialization.Encoding.PEM), private


def write(folder: Path, cluster: dict[str, Any], user: dict[str, Any] | None, **more: Any) -> Path:
    document = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "contexts": [{"name": "x", "context": {"cluster": "c", **({"user": "u"} if user is not None else {})}}],
        "users": [{"name": "u", "user": user or {}}],
        "current-context": "x",
        **more,
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def data(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_certificates_may_be_inline_or_in_files_beside_the_kubeconfig(tmp_path: Path, pem: tuple[bytes, bytes]) -> None:
    certificate, key = pem
    (tmp_path / "ca.crt").write_bytes(certificate)
    (tmp_path / "me.crt").write_bytes(certificate)
    (tmp_path / "me.key").write_bytes(key)
    files = write(tmp_path, {"server": "https://a:6443/", "certificate-authority": "ca.crt"},
                  {"client-certificate": "me.crt", "client-key": "me.key"})  # fmt: skip
    from_files = load(files)
    inline = load(write(tmp_path, {"server": "https://a:6443", "certificate-authority-data": data(certificate), "tls-server-name": "b"},
                        {"client-certificate-data": data(certificate), "client-key-data": data(key)}))  # fmt: skip
    for connection in (from_files, inline):
        assert connection.server == "https://a:6443"
        assert connection.tls is not None and connection.tls.verify_mode == ssl.CERT_REQUIRED
        assert [c["subject"] for c in connection.tls.get_ca_certs()] == [((("commonName", "test"),),)]
    assert (from_files.server_name, inline.server_name) == ("", "b")


def test_verification_can_be_switched_off(tmp_path: Path) -> None:
    connection = load(write(tmp_path, {"server": "https://a", "insecure-skip-tls-verify": True}, {"token": "t"}))
    assert connection.tls is not None and connection.tls.verify_mode == ssl.CERT_NONE
    assert connection.token == "t"


def test_tokens_may_be_in_a_file_and_an_inline_one_counts_more(tmp_path: Path) -> None:
    assert load(write(tmp_path, {"server": "http://a"}, {"tokenFile": "t"})).token_file == str(tmp_path / "t")
    both = load(write(tmp_path, {"server": "http://a"}, {"tokenFile": "t", "token": "inline"}))
    assert (both.token, both.token_file, both.tls) == ("inline", "", None)


def test_another_context_can_be_named(tmp_path: Path) -> None:
    contexts = [{"name": "y", "context": {"cluster": "c"}}]
    assert load(write(tmp_path, {"server": "http://a"}, None, contexts=contexts), "y").server == "http://a"


@pytest.mark.parametrize(
    ("cluster", "user", "more", "text"),
    [
        ({"server": "https://a"}, {"exec": {"command": "aws"}}, {}, "exec and auth-provider credentials are not supported"),
        ({"server": "https://a"}, {}, {"current-context": "z"}, "no context 'z'"),
        ({"server": "https://a"}, {}, {"users": None}, "no user 'u'"),
        ({"server": "https://a"}, {}, {"clusters": []}, "no cluster 'c'"),
        ({}, {}, {}, "cluster 'c' has no server's URL"),
        ({"server": "https://a", "certificate-authority": "missing"}, {}, {}, "certificates cannot be used: .*No such file"),
        ({"server": "https://a", "certificate-authority-data": data(b"x")}, {}, {}, "certificates cannot be used"),
        ({"server": "https://a", "certificate-authority-data": "?"}, {}, {}, "certificates cannot be used"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], more: dict[str, Any], text: str
) -> None:
    with pytest.raises(KubeconfigError, match=text) as error:
        load(write(tmp_path, cluster, user, **more))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("content", "text"), [("", "is empty"), ("a: [", "is not YAML"), (None, "cannot read kubeconfig")])
def test_a_file_that_is_no_kubeconfig_is_told_in_one_line(tmp_path: Path, content: str | None, text: str) -> None:
    if content is not None:
        (tmp_path / "config").write_text(content)
    with pytest.raises(KubeconfigError, match=text) as error:
        load(tmp_path / "config")
    assert "\n" not in str(error.value)


def test_outside_a_cluster_there_is_no_in_cluster_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubeconfigError, match="give --kubeconfig"):
        in_cluster()

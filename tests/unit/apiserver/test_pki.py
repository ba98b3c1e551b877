from __future__ import annotations

import ssl
import stat
from pathlib import Path

from cryptography import x509

from pilothouse.apiserver import pki

NOW = 1_767_225_600.0
YEAR = 365 * 86400.0


def _names(path: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(n.value) for n in found}


def test_a_first_start_makes_everything_that_a_cluster_needs(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path / "pki", NOW, ["10.96.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate("apiserver"), made.key("apiserver"))
    context.load_verify_locations(made.ca)
    assert {"kubernetes.default.svc", "localhost", "127.0.0.1", "::1", "10.96.0.1"} <= _names(made.certificate("apiserver"))
    assert made.service_account_key.exists()


def test_nobody_else_can_read_any_of_it(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path / "pki", NOW)
    modes = {stat.S_IMODE(f.stat().st_mode) for f in made.directory.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(made.directory.stat().st_mode) == 0o700


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path, NOW)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    pki.ensure(tmp_path, NOW + 86400)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    assert made.ca.exists()


def test_a_certificate_near_its_end_is_issued_anew_by_the_same_authority(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path, NOW)
    authority, serving = made.ca.read_bytes(), made.certificate("apiserver").read_bytes()
    pki.ensure(tmp_path, NOW + YEAR - 86400)
    assert made.ca.read_bytes() == authority
    assert made.certificate("apiserver").read_bytes() != serving


def test_a_new_address_gets_into_the_serving_certificate(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path, NOW)
    pki.ensure(tmp_path, NOW, ["192.0.2.7"])
    assert "192.0.2.7" in _names(made.certificate("apiserver"))


def test_client_certificates_name_users_and_groups(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path, NOW)
    subject = x509.load_pem_x509_certificate(made.certificate("admin").read_bytes()).subject.rfc4514_string()
    assert "CN=kubernetes-admin" in subject and "O=system:masters" in subject


def test_a_kubeconfig_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "kubeconfig"
    pki.write_kubeconfig(path, "https://127.0.0.1:6443", b"ca", certificate=b"c", key=b"k")
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "current-context: pilothouse" in text and "client-key-data: aw==" in text

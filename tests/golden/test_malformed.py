"""A small part of `tools/fuzz.py`: bodies that nobody should send. What must hold for each is in `malformed.py`."""

from __future__ import annotations

import base64
import logging

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .malformed import offences
from .replay import player


@pytest.mark.parametrize("seed", [11, 12])
async def test_no_malformed_body_fails_hangs_or_is_half_written(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        async with player() as played:
            found = await offences(played, 1000, seed, ("core", "machinery", "extend"))
    assert not found, "\n".join(found[:5])
    assert not caplog.records


@pytest.mark.parametrize("body", [b"-1180591620717411303424", b'{"metadata": {"generation": 1180591620717411303424}}'])
async def test_a_number_beyond_64_bits_is_a_mistake_of_the_client(body: bytes) -> None:
    async with player() as played:
        code, status, _ = await played.call("POST", "/api/v1/namespaces/default/configmaps", body + b" \x9b", {})
    assert (code, status["reason"]) == (400, "BadRequest")


async def test_a_service_without_a_name_is_refused_before_it_holds_an_address() -> None:
    async with player() as played:
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {"ports": [{"port": 80}]}}
        code, status, _ = await played.call("POST", "/api/v1/namespaces/default/services", service, {})
        assert (code, status["details"]["causes"][0]["field"]) == (422, "metadata.name")
        _, addresses, _ = await played.call("GET", "/apis/networking.k8s.io/v1/ipaddresses", None, {})
        assert len(addresses["items"]) == 1  # the API server's own


@pytest.mark.parametrize(
    ("method", "path", "media", "body"),
    [
        ("POST", "/api/v1/namespaces/default/configmaps", "application/yaml", b"!!timestamp 9999-99-99"),
        ("DELETE", "/api/v1/namespaces/default/configmaps/a", "application/yaml", b"- " * 5000 + b"x"),
        ("DELETE", "/api/v1/namespaces/default/configmaps/a", "application/yaml", b"!!int x"),
    ],
)
async def test_a_text_that_cannot_be_read_is_a_mistake_of_the_client(method: str, path: str, media: str, body: bytes) -> None:
    async with player() as played:
        code, status, _ = await played.call(method, path, body, {"Content-Type": media})
    assert (code, status["reason"]) == (400, "BadRequest")


async def test_no_name_is_more_than_a_part_of_a_path() -> None:
    request = {"kind": "CertificateSigningRequest", "apiVersion": "certificates.k8s.io/v1", "metadata": {"name": "a/b"}}
    key = ec.generate_private_key(ec.SECP256R1())
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    text = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": text, "signerName": "example.com/x", "usages": ["client auth"]}
    async with player() as played:
        target = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
        code, status, _ = await played.call("POST", target, {**request, "spec": spec}, {})
    assert (code, status["message"]) == (400, "Name parameter invalid: \"a/b\": may not contain '/'")


async def test_an_array_of_schemas_for_the_items_of_a_list_is_refused() -> None:
    tags = {"type": "array", "x-kubernetes-list-type": "set", "items": [{"type": "string"}]}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"tags": tags}}}
    names = {"plural": "widgets", "kind": "Widget"}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}
    async with player() as played:
        target = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        code, status, _ = await played.call("POST", target, {"metadata": {"name": "widgets.example.com"}, "spec": spec}, {})
    assert code == 422 and "items: Forbidden: items must be a schema object and not an array" in status["message"]

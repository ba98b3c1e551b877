from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pilothouse.api.errors import StatusError
from pilothouse.apiserver.authn.certificates import ClientCertificates
from pilothouse.apiserver.authn.jws import BadToken, claims_of
from pilothouse.apiserver.authn.keys import jwk, load_signing_key, load_verifying_keys, sign, verify
from pilothouse.apiserver.authn.tokenfile import TokenFile
from pilothouse.apiserver.authn.union import Union
from pilothouse.apiserver.interface import Credentials, User

from .cluster_kit import PODS, acting, cert_dir, cluster, pod

TOKENS = "/api/v1/namespaces/default/serviceaccounts/default/token"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


def test_a_certificate_names_its_user_and_groups() -> None:
    found = ClientCertificates().authenticate(Credentials(certificate=("bob", ("devs",))))
    assert found == User("bob", ("devs", "system:authenticated"))


def test_a_token_file_gives_users_with_groups(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text('t1,bob,7,"a,b"\nt2,eve,8\n')
    tokens = TokenFile.load(path)
    assert tokens.authenticate(Credentials("t1")) == User("bob", ("a", "b", "system:authenticated"), "7")
    assert tokens.authenticate(Credentials("t2")) == User("eve", ("system:authenticated",), "8")
    assert tokens.authenticate(Credentials("t3")) is None


def test_a_malformed_token_file_says_where(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text("t1,bob,7\nt2,eve\n")
    with pytest.raises(ValueError, match="line 2 has 2 columns"):
        TokenFile.load(path)


def test_a_token_that_nobody_knows_is_never_anonymous() -> None:
    union = Union(("api",))
    with pytest.raises(StatusError) as caught:
        union.authenticate(Credentials("wrong"))
    assert caught.value.code == 401
    found = union.authenticate(Credentials())
    assert found is not None and found.name == "system:anonymous"


async def test_a_signed_token_is_verified_by_its_key_and_no_other(tmp_path: Path) -> None:
    from pilothouse.apiserver import pki

    one, other = pki.ensure(tmp_path / "a", 1e9), pki.ensure(tmp_path / "b", 1e9)
    token = sign({"sub": "x"}, load_signing_key(one.service_account_key))
    assert verify(token, load_verifying_keys(one.service_account_key)) == {"sub": "x"}
    assert verify(token, load_verifying_keys(tmp_path / "a" / "sa.pub")) == {"sub": "x"}
    with pytest.raises(BadToken):
        verify(token, load_verifying_keys(other.service_account_key))
    with pytest.raises(BadToken):
        verify(token[:-8] + "AAAAAAAA", load_verifying_keys(one.service_account_key))
    key = jwk(load_verifying_keys(one.service_account_key)[0])
    assert (key["kty"], key["crv"], key["alg"]) == ("EC", "P-256", "ES256")


async def _token(call: Any, **spec: Any) -> str:
    got = await call("POST", TOKENS, {"spec": spec})
    assert got.code == 201, got.body
    token: str = got.body["status"]["token"]
    return token


async def test_a_service_account_is_who_its_token_says() -> None:
    async with cluster() as call:
        got = await acting(call, await _token(call))("POST", WHO, {})
        user = got.body["status"]["userInfo"]
        assert user["username"] == "system:serviceaccount:default:default"
        assert user["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
        assert list(user["extra"]) == ["authentication.kubernetes.io/credential-id"]


async def test_a_token_dies_with_its_account() -> None:
    async with cluster() as call:
        used, unused = await _token(call), await _token(call)
        assert (await acting(call, used)("GET", "/version")).code == 200
        await call("DELETE", "/api/v1/namespaces/default/serviceaccounts/default")
        assert (await acting(call, unused)("GET", "/version")).code == 401


async def test_a_bound_token_dies_with_its_pod() -> None:
    async with cluster() as call:
        await call("POST", PODS, pod())
        ref = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
        used, unused = await _token(call, boundObjectRef=ref), await _token(call, boundObjectRef=ref)
        got = await acting(call, used)("POST", WHO, {})
        assert got.body["status"]["userInfo"]["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
        await call("DELETE", f"{PODS}/p")
        assert (await acting(call, unused)("GET", "/version")).code == 401


async def test_a_token_for_another_audience_is_not_for_the_api_server() -> None:
    async with cluster() as call:
        token = await _token(call, audiences=["vault"])
        assert (await acting(call, token)("GET", "/version")).code == 401
        got = await call("POST", REVIEWS, {"spec": {"token": token, "audiences": ["vault", "x"]}})
        assert got.body["status"]["authenticated"] is True
        assert got.body["status"]["audiences"] == ["vault"]
        got = await call("POST", REVIEWS, {"spec": {"token": token}})
        assert got.body["status"]["error"].startswith('[invalid bearer token, token audiences ["vault"] is invalid')


async def test_a_pods_projected_token_outlives_what_it_says() -> None:
    async with cluster() as call:
        await call("POST", PODS, pod())
        ref = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
        claims = claims_of(await _token(call, expirationSeconds=3607, boundObjectRef=ref))
        assert claims["exp"] - claims["iat"] == 365 * 86400
        assert claims["kubernetes.io"]["warnafter"] == claims["iat"] + 3607


async def test_a_token_cannot_be_bound_to_a_pod_of_another_account() -> None:
    async with cluster() as call:
        await call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "other"}})
        await call("POST", PODS, pod(serviceAccountName="other"))
        ref = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
        got = await call("POST", TOKENS, {"spec": {"boundObjectRef": ref}})
        assert (got.code, got.body["reason"]) == (400, "BadRequest")


async def test_an_expired_token_is_refused() -> None:
    from pilothouse.clock import VirtualClock
    from pilothouse.store.memory import MemoryStore

    clock = VirtualClock()
    async with cluster(clock=clock, store=MemoryStore(clock)) as call:
        bearer = acting(call, await _token(call, expirationSeconds=600))
        assert (await bearer("GET", "/version")).code == 200
        clock._now += 601
        assert (await bearer("GET", "/version")).code == 401


async def test_a_legacy_token_is_valid_while_its_secret_holds_it() -> None:
    import base64

    async with cluster() as call:
        account = await call("GET", "/api/v1/namespaces/default/serviceaccounts/default")
        prefix = "kubernetes.io/serviceaccount/"
        claims = {
            "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:default", f"{prefix}namespace": "default",
            f"{prefix}secret.name": "s", f"{prefix}service-account.name": "default",
            f"{prefix}service-account.uid": account.body["metadata"]["uid"],
        }  # fmt: skip
        token = sign(claims, load_signing_key(cert_dir() / "sa.key"))
        annotations = {"kubernetes.io/service-account.name": "default"}
        secret = {
            "metadata": {"name": "s", "annotations": annotations}, "type": "kubernetes.io/service-account-token",
            "data": {"token": base64.b64encode(token.encode()).decode()},
        }  # fmt: skip
        assert (await acting(call, token)("GET", "/version")).code == 401
        await call("POST", "/api/v1/namespaces/default/secrets", secret)
        got = await acting(call, token)("POST", WHO, {})
        assert got.body["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"

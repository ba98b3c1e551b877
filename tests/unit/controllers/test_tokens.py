"""Bootstrap tokens that sign and expire."""

from __future__ import annotations

import base64

import jwt
import pytest

from pilothouse.client.reconcile.kinds import CONFIG_MAPS, SECRETS
from pilothouse.clock import rfc3339
from pilothouse.controllers.bootstrap_signer import BootstrapSignerController
from pilothouse.controllers.bootstrap_tokens import signing_token
from pilothouse.controllers.token_cleaner import TokenCleanerController

from .builders import NOW
from .cluster import Cluster


def token(id: str, *, expires: float | None = None, **more: str):
    values = {"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true", **more}
    if expires is not None:
        values["expiration"] = rfc3339(NOW + expires)
    data = {k: base64.b64encode(v.encode()).decode() for k, v in values.items()}
    meta = {"name": f"bootstrap-token-{id}", "namespace": "kube-system"}
    return {"metadata": meta, "type": "bootstrap.kubernetes.io/token", "data": data}


@pytest.mark.parametrize(
    "secret",
    [
        token("abcdef", expires=-1),
        token("abcdef", **{"usage-bootstrap-signing": "false"}),
        token("abcdef", **{"token-id": "other0"}),
        token("abcdef", expiration="some day"),
        {**token("abcdef"), "type": "Opaque"},
    ],
)
def test_tokens_that_may_not_sign(secret):
    assert signing_token(secret, NOW) is None


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # bootstrap tokens are short
async def test_cluster_info_is_signed_by_every_good_token_and_by_no_other():
    async with Cluster() as cluster:
        cluster.start(BootstrapSignerController)
        info = {
            "metadata": {"name": "cluster-info", "namespace": "kube-public"},
            "data": {"kubeconfig": "where", "jws-kubeconfig-gone": "x"},
        }
        await cluster.create(CONFIG_MAPS, info)
        await cluster.create(SECRETS, token("aaaaaa"))
        await cluster.create(SECRETS, token("bbbbbb", expires=100))
        await cluster.settle()
        data = cluster.find(CONFIG_MAPS, "cluster-info", "kube-public")["data"]
        assert set(data) == {"kubeconfig", "jws-kubeconfig-aaaaaa", "jws-kubeconfig-bbbbbb"}
        detached = data["jws-kubeconfig-aaaaaa"]
        payload = base64.urlsafe_b64encode(b"where").rstrip(b"=").decode()
        whole = detached.replace("..", f".{payload}.")
        assert jwt.get_unverified_header(whole) == {"alg": "HS256", "kid": "aaaaaa"}
        assert jwt.api_jws.decode(whole, "0123456789abcdef", algorithms=["HS256"]) == b"where"
        await cluster.settle(100)
        assert set(cluster.find(CONFIG_MAPS, "cluster-info", "kube-public")["data"]) == {"kubeconfig", "jws-kubeconfig-aaaaaa"}


async def test_expired_tokens_are_deleted_when_their_time_has_come():
    async with Cluster() as cluster:
        cluster.start(TokenCleanerController)
        await cluster.create(SECRETS, token("aaaaaa"))
        await cluster.create(SECRETS, token("bbbbbb", expires=100))
        await cluster.settle(90)
        assert len(cluster.all(SECRETS)) == 2
        await cluster.settle(20)
        assert [s["metadata"]["name"] for s in cluster.all(SECRETS)] == ["bootstrap-token-aaaaaa"]

"""serviceaccount-token-controller: fills hand-made Secrets of type `kubernetes.io/service-account-token`.

Such a Secret names a ServiceAccount in an annotation and gets a token that does not expire, the CA and the namespace. It goes with
its account. Reference: "Managing service accounts: manually create a long-lived API token".
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import SECRETS, SERVICE_ACCOUNTS
from pilothouse.client.reconcile.kit import Context, Controller, is_not_found
from pilothouse.client.reconcile.objects import Obj, annotations_of, is_deleting, key, split_key, uid
from pilothouse.controllers import indexes

TYPE = "kubernetes.io/service-account-token"
ACCOUNT = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"
ISSUER = "kubernetes/serviceaccount"


class Signer:
    """Signs tokens of the old, unbound kind with a PEM private key (RSA or elliptic curve)."""

    def __init__(self, pem: bytes) -> None:
        private = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(private, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
            raise ValueError("the service account key must be an RSA or an elliptic curve key")
        self._key = private
        curve = f"ES{private.curve.key_size}" if isinstance(private, ec.EllipticCurvePrivateKey) else ""
        self._algorithm = {"ES521": "ES512"}.get(curve, curve) or "RS256"
        public = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self._name = base64.urlsafe_b64encode(hashlib.sha256(public).digest()).rstrip(b"=").decode()

    def sign(self, account: Obj, secret: str) -> str:
        meta = account["metadata"]
        prefix = "kubernetes.io/serviceaccount"
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{meta['namespace']}:{meta['name']}",
            f"{prefix}/namespace": meta["namespace"],
            f"{prefix}/secret.name": secret,
            f"{prefix}/service-account.name": meta["name"],
            f"{prefix}/service-account.uid": meta["uid"],
        }
        return jwt.encode(claims, self._key, self._algorithm, headers={"kid": self._name})


def is_token(secret: Obj) -> bool:
    return secret.get("type") == TYPE


def filled(secret: Obj, account: Obj, signer: Signer, root_ca: str) -> Obj | None:
    """The Secret with all that belongs into it; None if it has it."""
    data = dict(secret.get("data") or {})
    wanted = {"namespace": _encode(account["metadata"]["namespace"])}
    if root_ca:
        wanted["ca.crt"] = _encode(root_ca)
    if not data.get("token"):
        wanted["token"] = _encode(signer.sign(account, secret["metadata"]["name"]))
    notes = dict(annotations_of(secret))
    right = all(data.get(k) == v for k, v in wanted.items()) and notes.get(ACCOUNT_UID) == uid(account)
    if right:
        return None
    notes |= {ACCOUNT: account["metadata"]["name"], ACCOUNT_UID: uid(account)}
    return {**secret, "metadata": {**secret["metadata"], "annotations": notes}, "data": {**data, **wanted}}


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class TokenController(Controller):
    name = "serviceaccount-token-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.signer = Signer(context.options["service_account_private_key"])
        self.root_ca = str(context.options.get("root_ca") or "")
        self.accounts = self.cache(SERVICE_ACCOUNTS)
        self.secrets = self.cache(SECRETS)
        indexes.add(self.secrets, "account")
        self.secrets.add_handler(self._secret_changed)
        self.accounts.add_handler(self._account_changed)

    def _secret_changed(self, old: Obj | None, new: Obj | None) -> None:
        each = new or old or {}
        if is_token(each):
            self.enqueue(each)

    def _account_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and uid(old) == uid(new):
            return
        for secret in self.secrets.indexed("account", key(new or old or {})):
            self.enqueue(secret)

    async def sync(self, key: str) -> None:
        namespace, name = split_key(key)
        secret = self.secrets.get(namespace, name)
        if secret is None:
            await self._drop_reference(namespace, name)
            return
        if not is_token(secret) or is_deleting(secret):
            return
        account = await self._account(secret)
        if account is None:
            await self._delete(secret)
        elif body := filled(secret, account, self.signer, self.root_ca):
            await self.api.update(SECRETS, body)

    async def _account(self, secret: Obj) -> Obj | None:
        """The account that a Secret names; before it is missed, the server is asked."""
        namespace = secret["metadata"]["namespace"]
        name, wanted = annotations_of(secret).get(ACCOUNT, ""), annotations_of(secret).get(ACCOUNT_UID)
        account = self.accounts.get(namespace, name)
        if account is None:
            try:
                account = await self.api.get(SERVICE_ACCOUNTS, namespace, name)
            except StatusError as error:
                if not is_not_found(error):
                    raise
        return account if account is not None and wanted in (None, "", uid(account)) else None

    async def _delete(self, secret: Obj) -> None:
        meta = secret["metadata"]
        conditions = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        try:
            await self.api.delete(SECRETS, meta["namespace"], meta["name"], {"preconditions": conditions})
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def _drop_reference(self, namespace: str, name: str) -> None:
        """A ServiceAccount must not go on naming a token that is gone."""
        for account in self.accounts.list(namespace):
            named = account.get("secrets") or []
            left = [s for s in named if s.get("name") != name]
            if left != named:
                body = {k: v for k, v in {**account, "secrets": left}.items() if v != []}
                await self.api.update(SERVICE_ACCOUNTS, body)

"""bootstrap-signer-controller: signs the ConfigMap kube-public/cluster-info with every bootstrap token that may sign.

Whoever has a token can then believe the cluster's address and certificate without having an identity. Signatures are detached JWS
(RFC 7515, HS256) in `jws-kubeconfig-<token id>`. Off by default. Reference: "Authenticating with Bootstrap Tokens".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable

from pilothouse.client.reconcile.kinds import CONFIG_MAPS, SECRETS
from pilothouse.client.reconcile.kit import Context, Controller
from pilothouse.client.reconcile.objects import Obj
from pilothouse.controllers import bootstrap_tokens as tokens

NAMESPACE, NAME, KEY = "kube-public", "cluster-info", "kubeconfig"
PREFIX = "jws-kubeconfig-"


def signature(content: str, token: tokens.Token) -> str:
    header = _encoded(json.dumps({"alg": "HS256", "kid": token.id}, separators=(",", ":")).encode())
    text = f"{header}.{_encoded(content.encode())}".encode()
    return f"{header}..{_encoded(hmac.digest(token.secret.encode(), text, hashlib.sha256))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(data: dict[str, str], wanted: Iterable[tokens.Token]) -> dict[str, str]:
    """The ConfigMap's data with the signatures of these tokens and no others."""
    out = {k: v for k, v in data.items() if not k.startswith(PREFIX)}
    content = data.get(KEY)
    if content is not None:
        out |= {PREFIX + token.id: signature(content, token) for token in wanted}
    return out


class BootstrapSignerController(Controller):
    name = "bootstrap-signer-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.config_maps, self.secrets = self.cache(CONFIG_MAPS), self.cache(SECRETS)
        self.config_maps.add_handler(self._config_map_changed)
        self.secrets.add_handler(self._secret_changed)

    def _config_map_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and (new["metadata"]["namespace"], new["metadata"]["name"]) == (NAMESPACE, NAME):
            self.enqueue(new)

    def _secret_changed(self, old: Obj | None, new: Obj | None) -> None:
        if tokens.is_token(new or old or {}):
            self.queue.add(f"{NAMESPACE}/{NAME}")

    async def sync(self, key: str) -> None:
        found = self.config_maps.get(NAMESPACE, NAME)
        if found is None:
            return
        now = self.clock.now()
        good = [t for s in self.secrets.list(tokens.NAMESPACE) if (t := tokens.signing_token(s, now)) is not None]
        data = signed(found.get("data") or {}, sorted(good, key=lambda t: t.id))
        if data != (found.get("data") or {}):
            await self.api.update(CONFIG_MAPS, {**found, "data": data})
        ends = [e for s in self.secrets.list(tokens.NAMESPACE) if tokens.is_token(s) and (e := tokens.expires_at(s)) is not None]
        if later := [e for e in ends if e > now]:
            self.queue.add_after(key, min(later) - now)

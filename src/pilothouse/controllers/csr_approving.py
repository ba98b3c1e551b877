"""certificatesigningrequest-approving-controller: approves client certificates that kubelets may ask for by themselves.

A kubelet that joins asks for its first one (`nodeclient`), later for new ones of the same name (`selfnodeclient`); whether it may is asked of
the authorizer. Reference: "TLS bootstrapping".
"""

from __future__ import annotations

from pilothouse.client.reconcile.kinds import CERTIFICATE_SIGNING_REQUESTS, SUBJECT_ACCESS_REVIEWS
from pilothouse.client.reconcile.kit import Context, Controller, TryAgain
from pilothouse.client.reconcile.objects import Obj
from pilothouse.clock import rfc3339
from pilothouse.controllers.certificates import KUBELET_CLIENT, Wanted, certificate, decided, is_node_client, with_condition

_SELF = "Auto approving self kubelet client certificate after SubjectAccessReview."
_NODE = "Auto approving kubelet client certificate after SubjectAccessReview."


class CSRApprovingController(Controller):
    name = "certificatesigningrequest-approving-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.requests = self.cache(CERTIFICATE_SIGNING_REQUESTS)
        self.follow(self.requests)

    async def sync(self, key: str) -> None:
        csr = self.requests.get("", key)
        if csr is None or certificate(csr) or decided(csr) or csr["spec"]["signerName"] != KUBELET_CLIENT:
            return
        try:
            wanted = Wanted.of(csr)
        except ValueError:
            return  # admission lets none through; nothing that time would mend
        if not is_node_client(wanted):
            return
        kinds = [("nodeclient", _NODE)]
        if csr["spec"].get("username") == wanted.common_name:
            kinds.insert(0, ("selfnodeclient", _SELF))
        for subresource, message in kinds:
            if await self._may(csr, subresource):
                approved = with_condition(csr, "Approved", "AutoApproved", message, rfc3339(self.clock.now()))
                await self.api.update(CERTIFICATE_SIGNING_REQUESTS, approved, "approval")
                return
        raise TryAgain(f"{key} is a kubelet's client certificate, but its requester may not ask for one")

    async def _may(self, csr: Obj, subresource: str) -> bool:
        spec = csr["spec"]
        attributes = {
            "group": "certificates.k8s.io",
            "resource": "certificatesigningrequests",
            "verb": "create",
            "subresource": subresource,
            "version": "*",
        }
        who = {"user": spec.get("username"), "uid": spec.get("uid"), "groups": spec.get("groups"), "extra": spec.get("extra")}
        asked = {"resourceAttributes": attributes, **{k: v for k, v in who.items() if v}}
        answer = await self.api.create(SUBJECT_ACCESS_REVIEWS, {"metadata": {}, "spec": asked})
        return bool((answer.get("status") or {}).get("allowed"))

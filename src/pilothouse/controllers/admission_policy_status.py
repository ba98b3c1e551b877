"""validatingadmissionpolicy-status-controller: policies are told what their expressions get wrong about the kinds that they match.

Each generation of a policy is checked once; `status.observedGeneration` says which was. Reference: "Type checking" of ValidatingAdmissionPolicy.
"""

from __future__ import annotations

from pilothouse.client.reconcile.kinds import VALIDATING_ADMISSION_POLICIES
from pilothouse.client.reconcile.kit import Context, Controller
from pilothouse.client.reconcile.objects import Obj


class AdmissionPolicyStatusController(Controller):
    name = "validatingadmissionpolicy-status-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.policies = self.cache(VALIDATING_ADMISSION_POLICIES)
        self.follow(self.policies)

    async def sync(self, key: str) -> None:
        policy = self.policies.get("", key)
        if policy is None:
            return
        generation = policy["metadata"].get("generation", 0)
        if (policy.get("status") or {}).get("observedGeneration") == generation:
            return
        from pilothouse.api.kinds.policy_typing import expression_warnings  # expressions are needed where there are policies only

        found = expression_warnings(policy)
        checked: Obj = {"expressionWarnings": found} if found else {}
        body = {
            "apiVersion": VALIDATING_ADMISSION_POLICIES.api_version,
            "kind": VALIDATING_ADMISSION_POLICIES.kind,
            "metadata": {"name": key},
            "status": {"observedGeneration": generation, "typeChecking": checked},
        }
        await self.api.patch(VALIDATING_ADMISSION_POLICIES, "", key, body, "apply", "status")

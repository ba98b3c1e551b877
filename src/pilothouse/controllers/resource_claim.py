"""resourceclaim-controller: makes ResourceClaims from templates for pods, and takes them back when the pods are done.

A claim of a template belongs to its pod and is named in the pod's status. Any claim that was allocated is free again when no pod that still
runs has reserved it. Reference: Dynamic Resource Allocation (KEP-4381, KEP-3063).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pilothouse.api.errors import StatusError
from pilothouse.client.reconcile.kinds import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS
from pilothouse.client.reconcile.kit import Context, Controller, TryAgain, is_not_found
from pilothouse.client.reconcile.objects import (
    Obj,
    annotations_of,
    controller_of,
    controller_uid,
    is_deleting,
    key,
    uid,
    with_metadata,
)
from pilothouse.controllers import pods as pod_facts

#: Which of the pod's claims a claim was made for.
POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
FINALIZER = "resource.kubernetes.io/delete-protection"


def templated(pod: Obj) -> Iterator[tuple[str, str]]:
    """The pod's claims that are made from templates: their names in the pod, and the templates'."""
    for each in pod["spec"].get("resourceClaims") or ():
        if each.get("resourceClaimTemplateName"):
            yield each["name"], each["resourceClaimTemplateName"]


def claim_for(pod: Obj, name: str, template: Obj) -> Obj:
    """The claim to create."""
    meta = template["spec"].get("metadata") or {}
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": uid(pod), "controller": True}
    metadata = {
        "generateName": f"{pod['metadata']['name']}-{name}-",
        "namespace": pod["metadata"]["namespace"],
        "annotations": {**(meta.get("annotations") or {}), POD_CLAIM: name},
        "ownerReferences": [owner],
    }
    if meta.get("labels"):
        metadata["labels"] = meta["labels"]
    return {"metadata": metadata, "spec": template["spec"]["spec"]}


def named_claims(pod: Obj) -> Iterator[str]:
    """The names of the claims that a pod uses, as far as they are known."""
    made = {s["name"]: s.get("resourceClaimName") for s in (pod.get("status") or {}).get("resourceClaimStatuses") or ()}
    for each in pod["spec"].get("resourceClaims") or ():
        name = each.get("resourceClaimName") or made.get(each["name"])
        if name:
            yield name


def _templates(pod: Obj) -> Iterable[str]:
    return [f"{pod['metadata']['namespace']}/{template}" for _, template in templated(pod)]


def _claims(pod: Obj) -> Iterable[str]:
    return [f"{pod['metadata']['namespace']}/{name}" for name in named_claims(pod)]


def _owner(claim: Obj) -> Iterable[str]:
    found = controller_uid(claim)
    return (found,) if found else ()


class ResourceClaimController(Controller):
    name = "resourceclaim-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.pods, self.claims = self.cache(PODS), self.cache(RESOURCE_CLAIMS)
        self.templates = self.cache(RESOURCE_CLAIM_TEMPLATES)
        self.pods.add_index("claim templates", _templates)
        self.pods.add_index("resource claims", _claims)
        self.claims.add_index("controller", _owner)
        self.pods.add_handler(self._pod_changed)
        self.claims.add_handler(self._claim_changed)
        self.templates.add_handler(self._template_changed)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        pod = new or old or {}
        if not pod["spec"].get("resourceClaims"):
            return
        if new is not None and any(templated(new)):
            self.queue.add(f"pod/{key(new)}")
        if new is None or pod_facts.is_finished(new):
            for name in _claims(pod):
                self.queue.add(f"claim/{name}")

    def _claim_changed(self, old: Obj | None, new: Obj | None) -> None:
        claim = new or old or {}
        if new is not None:
            self.queue.add(f"claim/{key(new)}")
        owner = controller_of(claim)
        if owner is not None and owner["kind"] == PODS.kind:
            self.queue.add(f"pod/{claim['metadata']['namespace']}/{owner['name']}")

    def _template_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None:
            for pod in self.pods.indexed("claim templates", key(new)):
                self.queue.add(f"pod/{key(pod)}")

    async def sync(self, key: str) -> None:
        what, namespace, name = key.split("/")
        if what == "pod":
            pod = self.pods.get(namespace, name)
            if pod is not None:
                await self._sync_pod(pod)
            return
        claim = self.claims.get(namespace, name)
        if claim is not None:
            await self._sync_claim(claim)

    # --- pods -------------------------------------------------------------------------------------------------------------------

    async def _sync_pod(self, pod: Obj) -> None:
        if is_deleting(pod) or pod_facts.is_finished(pod):
            return
        status = (pod.get("status") or {}).get("resourceClaimStatuses") or []
        known = {each["name"]: each.get("resourceClaimName") for each in status}
        wanted = dict(known)
        for name, template in templated(pod):
            wanted[name] = await self._made(pod, name, template, known.get(name))
        if wanted != known:
            statuses = [{"name": name, "resourceClaimName": claim} for name, claim in wanted.items()]
            meta = pod["metadata"]
            patch = {"metadata": {"uid": meta["uid"]}, "status": {"resourceClaimStatuses": statuses}}
            await self.api.patch(PODS, meta["namespace"], meta["name"], patch, "strategic", "status")

    async def _made(self, pod: Obj, name: str, template: str, known: str | None) -> str:
        """The claim's name; the claim is made if there is none."""
        namespace = pod["metadata"]["namespace"]
        if known and self.claims.get(namespace, known) is not None:
            return known
        for claim in self.claims.indexed("controller", uid(pod)):
            if annotations_of(claim).get(POD_CLAIM) == name and not is_deleting(claim):
                return str(claim["metadata"]["name"])
        found = self.templates.get(namespace, template)
        if found is None:
            fault = f'resource claim template "{template}": resourceclaimtemplate.resource.k8s.io "{template}" not found'
            self.context.event(pod, PODS, "Warning", "FailedResourceClaimCreation", f"PodResourceClaim {name}: {fault}")
            raise TryAgain(fault)
        try:
            made = await self._create(pod, claim_for(pod, name, found))
        except StatusError as error:
            self.context.event(pod, PODS, "Warning", "FailedResourceClaimCreation", f"PodResourceClaim {name}: {error.message}")
            raise
        return str(made["metadata"]["name"])

    async def _create(self, pod: Obj, wanted: Obj) -> Obj:
        """Names are drawn, so that a stale cache would make a second claim: the server is asked whether there is one."""
        name = wanted["metadata"]["annotations"][POD_CLAIM]
        listed = await self.api.list(RESOURCE_CLAIMS, pod["metadata"]["namespace"])
        for claim in listed["items"]:
            if controller_uid(claim) == uid(pod) and annotations_of(claim).get(POD_CLAIM) == name and not is_deleting(claim):
                return claim
        return await self.api.create(RESOURCE_CLAIMS, wanted)

    # --- claims -----------------------------------------------------------------------------------------------------------------

    async def _sync_claim(self, claim: Obj) -> None:
        status = claim.get("status") or {}
        reserved = status.get("reservedFor") or []
        valid = [each for each in reserved if not await self._is_done(claim, each)]
        if len(valid) != len(reserved) or (status.get("allocation") and not valid):
            claim = await self._free(claim, valid)
        finalizers = claim["metadata"].get("finalizers") or []
        if FINALIZER in finalizers and not (claim.get("status") or {}).get("allocation"):
            left = [f for f in finalizers if f != FINALIZER]
            claim = await self.api.update(RESOURCE_CLAIMS, with_metadata(claim, finalizers=left or None))
        if not valid and not is_deleting(claim):
            await self._delete_with_pod(claim)

    async def _is_done(self, claim: Obj, consumer: Obj) -> bool:
        """Whether a consumer does not need the claim any more; of others than pods that is not known here."""
        if consumer.get("apiGroup") or consumer.get("resource") != PODS.plural:
            return False
        namespace = claim["metadata"]["namespace"]
        pod = self.pods.get(namespace, consumer["name"])
        if pod is None or uid(pod) != consumer["uid"]:
            try:
                pod = await self.api.get(PODS, namespace, consumer["name"])
            except StatusError as error:
                if is_not_found(error):
                    return True
                raise
        return uid(pod) != consumer["uid"] or pod_facts.is_finished(pod)

    async def _free(self, claim: Obj, valid: list[Obj]) -> Obj:
        """Without the reservations of pods that are done; with none left, without its devices too."""
        status = {k: v for k, v in (claim.get("status") or {}).items() if k != "reservedFor"}
        if valid:
            status["reservedFor"] = valid
        else:
            status.pop("allocation", None)
            status.pop("devices", None)
        return await self.api.update(RESOURCE_CLAIMS, {**claim, "status": status}, "status")

    async def _delete_with_pod(self, claim: Obj) -> None:
        """A claim that was made for a pod which is done is not waited for until the pod is deleted."""
        owner = controller_of(claim)
        if owner is None or owner["kind"] != PODS.kind or POD_CLAIM not in annotations_of(claim):
            return
        meta = claim["metadata"]
        pod = self.pods.get(meta["namespace"], owner["name"])
        if pod is not None and uid(pod) == owner["uid"] and pod_facts.is_finished(pod):
            await self.api.delete(RESOURCE_CLAIMS, meta["namespace"], meta["name"], {"preconditions": {"uid": meta["uid"]}})

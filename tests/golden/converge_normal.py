"""Objects as the recordings of controllers show them: what differs from run to run is replaced by placeholders, or left out.

uids, revisions, times of the last two days, addresses, generated names (`<gen>`), hashes of templates (`<hash:n>`: of an owner's n-th
template, `<rev:n>`: of its n-th revision), the nodes that pods were bound to in turn, tokens and certificates. What the API server puts
into every pod is left out; of a pod's status remain its phase, whether it is ready, and conditions that nobody played.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pilothouse.clock import rfc3339

Obj = dict[str, Any]

SUFFIX = "[bcdfghjklmnpqrstvwxz2456789]{5}"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_TIME_WITHIN = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4} [A-Z]+( m=\S+)?"
)
_POD_IP, _CLUSTER_IP = re.compile(r"\b10\.250\.\d{1,3}\.\d{1,3}\b"), re.compile(r"\b10\.96\.\d{1,3}\.\d{1,3}\b")
_TWO_DAYS = 2 * 86400
#: What every pod and template has.
_USUAL: Obj = {
    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
    "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "securityContext": {}, "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30, "enableServiceLinks": True, "preemptionPolicy": "PreemptLowerPriority", "priority": 0,
    "serviceAccount": "default", "serviceAccountName": "default", "resources": {}, "automountServiceAccountToken": False,
}  # fmt: skip
_USUAL_KEYS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_PLAYED = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
_SECRET = ("ca.crt", "token", "certificate", "request", "caBundle")
_UNORDERED = (
    "endpoints", "addresses", "notReadyAddresses", "subsets", "ownerReferences", "finalizers", "tolerations", "taints", "ports",
)  # fmt: skip
_ADDRESSES = ("endpoints", "addresses", "notReadyAddresses")
#: A rollout under way: which of these is said last depends on how the controller's looks fell.
_UNDER_WAY = ("NewReplicaSetCreated", "ReplicaSetUpdated", "FoundNewReplicaSet")
#: Events that tell how busy controllers were, not what they decided.
NOISE = frozenset(
    ("FailedToUpdateEndpoint", "FailedToUpdateEndpointSlices", "FailedToCreateEndpoint", "CIDRAssignmentFailed", "RegisteredNode")
)


class Normal:
    """The placeholders of one scenario, at one moment."""

    def __init__(self, ns: str, now: float, names: Iterable[str], hashes: Mapping[str, str], pool: set[str]) -> None:
        self._ns = ns
        self._recent = rfc3339(now - _TWO_DAYS)
        self._minutes = int(now // 60)
        self._ns64 = base64.b64encode(ns.encode()).decode()
        self._hashes = sorted(hashes.items(), key=lambda item: -len(item[0]))
        self._pool = pool
        owners = "|".join(map(re.escape, sorted(filter(None, names), key=len, reverse=True)))
        self._generated = re.compile(rf"\b({owners})((?:-\d+)?(?:-[a-z0-9]+)?)-{SUFFIX}(?![a-z0-9])") if owners else None

    def text(self, text: str) -> str:
        if text == self._ns64:
            return "<base64 of $ns>"
        if _TIME.fullmatch(text):
            return "<time>" if text >= self._recent else text
        text = _UUID.sub("<uid>", text)
        if self._generated:
            text = self._generated.sub(lambda m: f"{m[1]}{m[2]}-<gen>", text)
        for mark, placeholder in self._hashes:
            text = text.replace(mark, placeholder)
        text = _CLUSTER_IP.sub("<ip>", text.replace(self._ns, "$ns"))
        text = re.sub(r"\bcsi-[0-9a-f]{64}\b", "csi-<hash>", text)
        text = _POD_IP.sub("<pod ip>", text)
        text = re.sub(r"-(\d{8})\b", lambda m: "-<minutes>" if abs(int(m[1]) - self._minutes) < 2880 else m[0], text)
        text = _TIME_WITHIN.sub("<time>", text)
        return re.sub(r"(resourceVersion: |resource version[ :]+)\d+", r"\1<rv>", text)

    def value(self, value: Any, key: str = "", generation: Any = None) -> Any:
        if isinstance(value, dict):
            out: Obj = {}
            for k, v in value.items():
                self._member(value, k, v, generation, out)
            return out
        if isinstance(value, list):
            return self._list(value, key, generation)
        return self.text(value) if isinstance(value, str) else value

    def _member(self, of: Obj, k: str, v: Any, generation: Any, out: Obj) -> None:
        if k in ("managedFields", "selfLink") or (k == "resourceVersion" and isinstance(v, str)):
            return
        if ("containers" in of or "image" in of) and k in _USUAL and v == _USUAL[k]:
            return
        if "containers" in of and k == "tolerations":
            rest = [t for t in v if not (t.get("tolerationSeconds") == 300 and t.get("key") in _USUAL_KEYS)]
            if rest:
                out[k] = self.value(rest, k, generation)
            return
        placeholder = self._placeholder(of, k, v, generation)
        if placeholder is not None:
            out[k] = placeholder
        else:
            out[self.text(k)] = self.value(v, k, generation)

    def _placeholder(self, of: Obj, k: str, v: Any, generation: Any) -> Any:
        """What stands for a member whose value is not shown; None for others."""
        if k == "observedGeneration":
            return "<current>" if v == generation else v
        if k in ("nodePort", "healthCheckNodePort") and v:
            return "<port>"
        prefix = of.get("generateName")
        if k == "name" and isinstance(prefix, str) and re.fullmatch(re.escape(prefix) + r"[a-z0-9]{5}", str(v)):
            return self.text(prefix) + "<gen>"
        if k in _SECRET and isinstance(v, str):
            return f"<{k}>"
        if k == "nodeName" and v in self._pool:
            return "<node>"
        return "<uid>" if k == "kubernetes.io/service-account.uid" else None

    def _list(self, value: list[Any], key: str, generation: Any) -> list[Any]:
        out = [self.value(v, key, generation) for v in value]
        if key == "conditions" and all(isinstance(c, dict) for c in out):
            return sorted(out, key=lambda c: str(c.get("type")))
        if key not in _UNORDERED:
            return out
        out.sort(key=_sorted_text)
        if key in _ADDRESSES and len(out) > 3:
            many = Counter(map(_sorted_text, out))
            return [{"<n>": n, "<of>": json.loads(c)} if n > 1 else json.loads(c) for c, n in many.items()]
        return out

    def object(self, obj: Obj) -> Obj:
        out: Obj = self.value(
            {k: v for k, v in obj.items() if k not in ("kind", "apiVersion")}, "", obj["metadata"].get("generation")
        )
        meta = out["metadata"]
        for member in ("uid", "creationTimestamp", "namespace"):
            meta.pop(member, None)
        if "deletionTimestamp" in meta:
            meta["deletionTimestamp"] = "<time>"
        for special in (_request, _node, _pod):
            special(out)
        if meta.get("ownerReferences"):
            meta.pop("generation", None)
        for condition in (out.get("status") or {}).get("conditions") or []:
            if condition.get("type") == "Progressing" and condition.get("reason") in _UNDER_WAY:
                condition["reason"] = condition["message"] = "<under way>"
        notes = meta.get("annotations")
        if isinstance(notes, dict):
            notes.pop("endpoints.kubernetes.io/last-change-trigger-time", None)
            if not notes:
                meta.pop("annotations")
        return out

    def event(self, event: Obj) -> Obj:
        about = event["involvedObject"]
        shown = {
            "about": f"{about.get('kind', '')}/{about.get('name', '')}",
            "type": event["type"],
            "reason": event["reason"],
            "message": event.get("message", ""),
            "from": event.get("reportingComponent") or (event.get("source") or {}).get("component"),
        }
        out: Obj = self.value(shown)
        return out


def _sorted_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _request(out: Obj) -> None:
    """Who asks for a certificate is whoever plays."""
    if "signerName" in (out.get("spec") or {}):
        for member in ("username", "groups", "uid", "extra"):
            out["spec"].pop(member, None)


def _node(out: Obj) -> None:
    """How soon these taints come depends on how many other nodes are ready."""
    spec = out.get("spec") or {}
    if "nodeInfo" in (out.get("status") or {}) and spec.get("taints"):
        spec["taints"] = [t for t in spec["taints"] if not (t["effect"] == "NoExecute" and t["key"] in _USUAL_KEYS)]


def _pod(out: Obj) -> None:
    if "containers" not in (out.get("spec") or {}):
        return
    was = out.get("status") or {}
    conditions = was.get("conditions") or []
    status: Obj = {k: was[k] for k in ("phase", "reason", "message") if k in was}
    status["ready"] = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    if rest := [c for c in conditions if c["type"] not in _PLAYED]:
        status["conditions"] = rest
    out["status"] = status
    out["metadata"].pop("generation", None)


def counted(objects: Iterable[Obj], show: Callable[[Obj], Obj], once: bool = False) -> list[Obj]:
    """Objects as a dump has them: sorted, and equal ones counted."""
    found: Counter[str] = Counter()
    for obj in objects:
        text = _sorted_text(show(obj))
        found[text] = 1 if once else found[text] + 1
    return [{"object": json.loads(text), **({"n": n} if n > 1 else {})} for text, n in sorted(found.items())]


def differences(want: Any, got: Any, path: str = "") -> list[str]:
    """Where two values differ, in words."""
    if isinstance(want, dict) and isinstance(got, dict):
        out = []
        for k in sorted({*want, *got}):
            if k not in got:
                out.append(f"{path}.{k}: missing, want {json.dumps(want[k])[:160]}")
            elif k not in want:
                out.append(f"{path}.{k}: not wanted, got {json.dumps(got[k])[:160]}")
            else:
                out += differences(want[k], got[k], f"{path}.{k}")
        return out
    if isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        return [d for i, (w, g) in enumerate(zip(want, got, strict=True)) for d in differences(w, g, f"{path}[{i}]")]
    return (
        []
        if want == got and type(want) is type(got)
        else [f"{path or '.'}: want {json.dumps(want)[:300]}, got {json.dumps(got)[:300]}"]
    )


def dump_differences(want: Mapping[str, list[Obj]], got: Mapping[str, list[Obj]]) -> list[str]:
    """Where two dumps differ: each object is held against the one that is most like it."""
    out = []
    for resource in sorted({*want, *got}):
        missing = [x for x in want.get(resource, []) if x not in got.get(resource, [])]
        extra = [x for x in got.get(resource, []) if x not in want.get(resource, [])]
        for each in missing:
            if not extra:
                out.append(f"{resource}: missing: {json.dumps(each)[:500]}")
                continue
            best = min(extra, key=lambda other: len(differences(each, other)))
            extra.remove(best)
            out += [f"{resource}: {d}" for d in differences(each, best)]
        out += [f"{resource}: not wanted: {json.dumps(x)[:500]}" for x in extra]
    return out

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.apiserver.admission import chain

from .cluster_kit import PODS, acting, cluster, pod

NS = "/api/v1/namespaces/default"
MERGE = "application/merge-patch+json"


def test_an_unknown_plugin_is_named() -> None:
    with pytest.raises(ValueError, match='enable-admission-plugins plugin "Nope" is unknown'):
        chain.check_names(enable=["Nope"])
    with pytest.raises(ValueError, match="overlapped"):
        chain.check_names(enable=["LimitRanger"], disable=["LimitRanger"])


async def test_plugins_run_in_kubernetes_order_whatever_the_flags_say() -> None:
    async with cluster() as call:
        plugins = chain.build(call.server, enable=["NodeRestriction"], disable=["Priority"])
        names = [p.name for p in plugins]
        assert names[:5] == ["NamespaceLifecycle", "LimitRanger", "ServiceAccount", "NodeRestriction", "TaintNodesByCondition"]
        assert names[-1] == "ResourceQuota" and "Priority" not in names


async def test_nothing_is_made_in_a_namespace_that_is_not_there() -> None:
    async with cluster() as call:
        got = await call("POST", "/api/v1/namespaces/none/configmaps", {"metadata": {"name": "a"}})
        assert (got.code, got.body["message"]) == (404, 'namespaces "none" not found')


async def test_nothing_new_in_a_namespace_that_goes_away() -> None:
    async with cluster() as call:
        await call("POST", "/api/v1/namespaces", {"metadata": {"name": "x"}})
        await call("POST", "/api/v1/namespaces/x/configmaps", {"metadata": {"name": "old"}})
        await call("DELETE", "/api/v1/namespaces/x")
        got = await call("POST", "/api/v1/namespaces/x/configmaps", {"metadata": {"name": "new"}})
        assert got.code == 403
        assert got.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
        got = await call("PATCH", "/api/v1/namespaces/x/configmaps/old", {"data": {"a": "b"}}, media=MERGE)
        assert got.code == 200


async def test_three_namespaces_never_go_away() -> None:
    async with cluster() as call:
        codes = [(await call("DELETE", f"/api/v1/namespaces/{n}")).code for n in ("default", "kube-system", "kube-public")]
        assert codes == [403, 403, 403]


async def test_a_pod_gets_its_accounts_token_where_libraries_look_for_it() -> None:
    async with cluster() as call:
        got = await call("POST", PODS, pod(initContainers=[{"name": "i", "image": "x"}]))
        spec = got.body["spec"]
        volume = spec["volumes"][0]
        assert spec["serviceAccountName"] == "default" and volume["name"].startswith("kube-api-access-")
        assert [next(iter(s)) for s in volume["projected"]["sources"]] == ["serviceAccountToken", "configMap", "downwardAPI"]
        for container in (*spec["containers"], *spec["initContainers"]):
            mount = {"name": volume["name"], "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
            assert container["volumeMounts"] == [mount]


async def test_who_does_not_want_a_token_gets_none() -> None:
    async with cluster() as call:
        account = {"metadata": {"name": "quiet"}, "automountServiceAccountToken": False, "imagePullSecrets": [{"name": "pull"}]}
        await call("POST", f"{NS}/serviceaccounts", account)
        got = await call("POST", PODS, pod("a", automountServiceAccountToken=False))
        assert "volumes" not in got.body["spec"]
        got = await call("POST", PODS, pod("b", serviceAccountName="quiet"))
        assert "volumes" not in got.body["spec"] and got.body["spec"]["imagePullSecrets"] == [{"name": "pull"}]
        got = await call("POST", PODS, pod("c", serviceAccountName="quiet", automountServiceAccountToken=True))
        assert "volumes" in got.body["spec"]


async def test_a_pod_needs_an_account_that_exists() -> None:
    async with cluster() as call:
        got = await call("POST", PODS, pod(serviceAccountName="none"))
        assert got.code == 403 and 'serviceaccount "none" not found' in got.body["message"]


async def test_pods_wait_five_minutes_for_a_lost_node_unless_they_say_otherwise() -> None:
    async with cluster() as call:
        got = await call("POST", PODS, pod("a"))
        assert [(t["key"], t["tolerationSeconds"]) for t in got.body["spec"]["tolerations"]] == [
            ("node.kubernetes.io/not-ready", 300), ("node.kubernetes.io/unreachable", 300)]  # fmt: skip
        got = await call("POST", PODS, pod("b", tolerations=[{"operator": "Exists"}]))
        assert got.body["spec"]["tolerations"] == [{"operator": "Exists"}]


async def test_a_class_gives_a_pod_its_priority() -> None:
    async with cluster() as call:
        group = "/apis/scheduling.k8s.io/v1/priorityclasses"
        await call("POST", group, {"metadata": {"name": "hi"}, "value": 9, "preemptionPolicy": "Never"})
        got = await call("POST", PODS, pod("a", priorityClassName="hi"))
        assert (got.body["spec"]["priority"], got.body["spec"]["preemptionPolicy"]) == (9, "Never")
        assert (await call("POST", PODS, pod("b", priorityClassName="none"))).code == 403
        assert (await call("POST", PODS, pod("c", priority=3))).code == 403
        await call("POST", group, {"metadata": {"name": "all"}, "value": 1, "globalDefault": True})
        got = await call("POST", PODS, pod("d"))
        assert (got.body["spec"]["priority"], got.body["spec"]["priorityClassName"]) == (1, "all")
        got = await call("POST", group, {"metadata": {"name": "more"}, "value": 2, "globalDefault": True})
        assert got.code == 403 and "all is already marked as default" in got.body["message"]


async def test_a_new_node_takes_no_pods_yet() -> None:
    async with cluster() as call:
        got = await call("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
        assert got.body["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


async def test_a_claim_gets_the_newest_default_class_and_a_finalizer() -> None:
    async with cluster() as call:
        claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
        got = await call("POST", f"{NS}/persistentvolumeclaims", {"metadata": {"name": "a"}, **claim})
        assert "storageClassName" not in got.body["spec"]
        assert got.body["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
        classes = "/apis/storage.k8s.io/v1/storageclasses"
        for name in ("s2", "s1"):
            await call("POST", classes, {"metadata": {"name": name, "annotations": annotations}, "provisioner": "x.io/y"})
        got = await call("POST", f"{NS}/persistentvolumeclaims", {"metadata": {"name": "b"}, **claim})
        assert got.body["spec"]["storageClassName"] in ("s1", "s2")


async def test_a_runtime_class_says_what_it_costs_and_where_it_runs() -> None:
    async with cluster() as call:
        scheduling = {"nodeSelector": {"rt": "kata"}, "tolerations": [{"key": "rt", "operator": "Exists"}]}
        body = {
            "metadata": {"name": "kata"},
            "handler": "kata",
            "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": scheduling,
        }
        await call("POST", "/apis/node.k8s.io/v1/runtimeclasses", body)
        got = await call("POST", PODS, pod("a", runtimeClassName="kata"))
        assert got.body["spec"]["overhead"] == {"cpu": "250m"} and got.body["spec"]["nodeSelector"] == {"rt": "kata"}
        assert {"key": "rt", "operator": "Exists"} in got.body["spec"]["tolerations"]
        got = await call("POST", PODS, pod("b", runtimeClassName="kata", nodeSelector={"rt": "other"}))
        assert got.code == 403 and got.body["message"].endswith("pod.spec.nodeSelector[rt] = other")
        assert (await call("POST", PODS, pod("c", overhead={"cpu": "1"}))).code == 403


LIMITS = {
    "type": "Container",
    "default": {"cpu": "500m"},
    "defaultRequest": {"cpu": "100m"},
    "max": {"cpu": "1"},
    "min": {"cpu": "50m"},
}


async def test_a_limit_range_fills_in_and_bounds() -> None:
    async with cluster() as call:
        await call("POST", f"{NS}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": [LIMITS]}})
        got = await call("POST", PODS, pod("a"))
        assert got.body["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}}
        note = got.body["metadata"]["annotations"]["kubernetes.io/limit-ranger"]
        assert note == "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
        big = [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "2"}}}]
        got = await call("POST", PODS, pod("b", containers=big))
        assert got.code == 403 and got.body["message"].endswith("maximum cpu usage per Container is 1, but limit is 2")


async def _quota(call: Any, hard: dict[str, str], **spec: Any) -> None:
    base = f"{NS}/resourcequotas"
    got = await call("POST", base, {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}})
    assert got.code == 201, got.body
    status = {"hard": hard, "used": dict.fromkeys(hard, "0")}
    await call("PATCH", f"{base}/q/status", {"status": status}, media=MERGE)


async def _used(call: Any) -> dict[str, str]:
    got = await call("GET", f"{NS}/resourcequotas/q")
    used: dict[str, str] = got.body["status"]["used"]
    return used


async def test_a_quota_counts_what_is_made_and_refuses_what_is_too_much() -> None:
    async with cluster() as call:
        await _quota(call, {"configmaps": "1", "count/secrets": "5"})
        make = f"{NS}/configmaps"
        assert (await call("POST", make, {"metadata": {"name": "a"}}, query={"dryRun": "All"})).code == 201
        assert await _used(call) == {"configmaps": "0", "count/secrets": "0"}
        assert (await call("POST", make, {"metadata": {"name": "a"}})).code == 201
        got = await call("POST", make, {"metadata": {"name": "b"}})
        want = (
            'configmaps "b" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1'
        )
        assert (got.code, got.body["message"]) == (403, want)
        await call("POST", f"{NS}/secrets", {"metadata": {"name": "a"}})
        assert await _used(call) == {"configmaps": "1", "count/secrets": "1"}


async def test_writers_at_the_same_time_share_a_quota_fairly() -> None:
    import asyncio

    async with cluster() as call:
        await _quota(call, {"configmaps": "3"})
        got = await asyncio.gather(*(call("POST", f"{NS}/configmaps", {"metadata": {"name": f"c{i}"}}) for i in range(8)))
        assert sorted(g.code for g in got) == [201] * 3 + [403] * 5
        assert await _used(call) == {"configmaps": "3"}


async def test_a_bounded_pod_must_say_what_it_asks_for() -> None:
    async with cluster() as call:
        await _quota(call, {"requests.cpu": "1", "pods": "5"})
        got = await call("POST", PODS, pod("a"))
        assert got.code == 403 and got.body["message"].endswith("failed quota: q: must specify requests.cpu for: c")
        asking = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "400m"}}}]
        init = [{"name": "i", "image": "i", "resources": {"requests": {"cpu": "600m"}}}]
        assert (await call("POST", PODS, pod("b", containers=asking, initContainers=init))).code == 201
        assert await _used(call) == {"requests.cpu": "600m", "pods": "1"}
        assert (await call("POST", PODS, pod("c", containers=asking))).code == 201
        assert (await call("POST", PODS, pod("d", containers=asking))).code == 403


async def test_a_scoped_quota_sees_only_its_pods() -> None:
    async with cluster() as call:
        await _quota(call, {"pods": "0"}, scopes=["BestEffort"])
        assert (await call("POST", PODS, pod("a"))).code == 403
        asking = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]
        assert (await call("POST", PODS, pod("b", containers=asking))).code == 201


async def test_nobody_asks_for_a_certificate_in_anothers_name() -> None:
    import base64

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    def request_of(organization: str) -> str:
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, "me"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)]
        )
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(subject)
            .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        )
        return base64.b64encode(csr.public_bytes(Encoding.PEM)).decode()

    group = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    async with cluster() as call:
        spec = {
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
            "username": "eve",
            "groups": ["x"],
        }
        got = await call("POST", group, {"metadata": {"name": "a"}, "spec": {**spec, "request": request_of("devs")}})
        assert got.code == 201, got.body
        assert (got.body["spec"]["username"], got.body["spec"]["groups"]) == ("admin", ["system:masters", "system:authenticated"])
        got = await call("POST", group, {"metadata": {"name": "b"}, "spec": {**spec, "request": request_of("system:masters")}})
        assert got.code == 403 and "system:masters group is not allowed" in got.body["message"]


@pytest.mark.parametrize(
    ("plural", "wrap"), [("resourceclaims", lambda spec: spec), ("resourceclaimtemplates", lambda spec: {"spec": spec})]
)
async def test_admin_access_to_devices_is_for_labelled_namespaces(plural: str, wrap: Any) -> None:
    async with cluster() as call:
        request = {"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": True}}
        claim = {"metadata": {"name": "c"}, "spec": wrap({"devices": {"requests": [request]}})}
        path = f"/apis/resource.k8s.io/v1/namespaces/default/{plural}"
        refused = await call("POST", path, claim)
        assert refused.code == 422
        assert "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label" in refused.body["message"]
        labels = {"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}}
        await call("PATCH", "/api/v1/namespaces/default", labels, media="application/merge-patch+json")
        assert (await call("POST", path, claim)).code == 201


async def test_an_ingress_gets_the_default_class() -> None:
    group = "/apis/networking.k8s.io/v1"
    async with cluster() as call:
        annotations = {"ingressclass.kubernetes.io/is-default-class": "true"}
        await call(
            "POST",
            f"{group}/ingressclasses",
            {"metadata": {"name": "c", "annotations": annotations}, "spec": {"controller": "a.b/c"}},
        )
        ingress = {"metadata": {"name": "a"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}
        made = await call("POST", f"{group}/namespaces/default/ingresses", ingress)
        assert made.body["spec"]["ingressClassName"] == "c"


@pytest.mark.parametrize(("expansion", "code"), [(True, 200), (False, 403)])
async def test_a_claim_grows_if_its_class_lets_it(expansion: bool, code: int) -> None:
    async with cluster() as call:
        storage = {"metadata": {"name": "c"}, "provisioner": "a.b/c", "allowVolumeExpansion": expansion}
        await call("POST", "/apis/storage.k8s.io/v1/storageclasses", storage)
        spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "c", "resources": {"requests": {"storage": "1Gi"}}}
        await call("POST", f"{NS}/persistentvolumeclaims", {"metadata": {"name": "p"}, "spec": spec})
        await call("PATCH", f"{NS}/persistentvolumeclaims/p/status", {"status": {"phase": "Bound"}}, media=MERGE)
        more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        assert (await call("PATCH", f"{NS}/persistentvolumeclaims/p", more, media=MERGE)).code == code


async def test_only_who_may_approve_for_a_signer_approves() -> None:
    import base64

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")]))
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM)
    group, rbac = "/apis/certificates.k8s.io/v1/certificatesigningrequests", "/apis/rbac.authorization.k8s.io/v1"
    async with cluster() as call:
        spec = {"signerName": "example.com/s", "usages": ["client auth"], "request": base64.b64encode(pem).decode()}
        await call("POST", group, {"metadata": {"name": "a"}, "spec": spec})
        csr = {
            "apiGroups": ["certificates.k8s.io"],
            "resources": ["certificatesigningrequests/approval"],
            "verbs": ["update", "patch"],
        }
        role = {"metadata": {"name": "r"}, "rules": [csr]}
        await call("POST", f"{rbac}/clusterroles", role)
        subject = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}
        await call("POST", f"{rbac}/clusterrolebindings", {"metadata": {"name": "r"}, "roleRef": ref, "subjects": [subject]})
        approved = {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "R", "message": "m"}]}}
        jane = acting(call, "jane")
        refused = await jane("PATCH", f"{group}/a/approval", approved, media=MERGE)
        assert refused.body["message"].endswith('user not permitted to approve requests with signerName "example.com/s"')
        signer = {
            "apiGroups": ["certificates.k8s.io"],
            "resources": ["signers"],
            "resourceNames": ["example.com/*"],
            "verbs": ["approve"],
        }
        await call("PUT", f"{rbac}/clusterroles/r", {**role, "rules": [csr, signer]})
        assert (await jane("PATCH", f"{group}/a/approval", approved, media=MERGE)).code == 200

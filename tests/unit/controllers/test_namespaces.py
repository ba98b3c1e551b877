from __future__ import annotations

import base64

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pilothouse.client.reconcile.kinds import CLUSTER_ROLES, CONFIG_MAPS, NAMESPACES, PODS, SECRETS, SERVICE_ACCOUNTS
from pilothouse.controllers import namespace_plan
from pilothouse.controllers.clusterrole_aggregation import ClusterRoleAggregationController, aggregate
from pilothouse.controllers.namespace import NamespaceController
from pilothouse.controllers.root_ca import RootCAPublisher
from pilothouse.controllers.serviceaccount import ServiceAccountController
from pilothouse.controllers.token import TYPE, TokenController

from .builders import NOW, pod
from .cluster import Cluster, copy


async def a_namespace(cluster: Cluster, name: str = "ns") -> None:
    await cluster.create(
        NAMESPACES, {"metadata": {"name": name}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    )


async def test_a_namespace_gets_its_account_and_the_ca_and_gets_them_back():
    async with Cluster() as cluster:
        cluster.start(ServiceAccountController, RootCAPublisher, root_ca="PEM")
        await a_namespace(cluster)
        await cluster.settle()
        assert cluster.find(SERVICE_ACCOUNTS, "default")
        body = copy(cluster.find(CONFIG_MAPS, "kube-root-ca.crt"))
        assert body["data"] == {"ca.crt": "PEM"}
        await cluster.delete(SERVICE_ACCOUNTS, "ns", "default")
        await cluster.update(CONFIG_MAPS, {**body, "data": {"ca.crt": "spoilt", "more": "x"}})
        await cluster.settle()
        assert cluster.find(SERVICE_ACCOUNTS, "default")
        assert cluster.find(CONFIG_MAPS, "kube-root-ca.crt")["data"] == {"ca.crt": "PEM"}


async def test_a_deleted_namespace_is_emptied_and_goes():
    async with Cluster() as cluster:
        cluster.start(NamespaceController)
        await a_namespace(cluster)
        await cluster.create(CONFIG_MAPS, {"metadata": {"name": "a"}})
        await cluster.create(CONFIG_MAPS, {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})
        await cluster.delete(NAMESPACES, "", "ns")
        await cluster.settle()
        told = {c["type"]: (c["status"], c["message"]) for c in cluster.find(NAMESPACES, "ns")["status"]["conditions"]}
        assert told["NamespaceContentRemaining"] == ("True", "Some resources are remaining: configmaps. has 1 resource instances")
        message = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        assert told["NamespaceFinalizersRemaining"] == ("True", message)
        cluster.lists, before = 0, cluster.find(NAMESPACES, "ns")["metadata"]["resourceVersion"]
        await cluster.settle(80)
        assert cluster.lists < 20, "only what stayed is looked at again"
        assert cluster.find(NAMESPACES, "ns")["metadata"]["resourceVersion"] == before
        held = copy(cluster.find(CONFIG_MAPS, "held"))
        held["metadata"]["finalizers"] = []
        await cluster.update(CONFIG_MAPS, held)
        await cluster.settle(10)
        assert cluster.find(NAMESPACES, "ns") is None
        assert cluster.all(CONFIG_MAPS) == []


async def test_pods_go_before_what_protects_them():
    async with Cluster() as cluster:
        cluster.start(NamespaceController)
        await a_namespace(cluster)
        await cluster.create(CONFIG_MAPS, {"metadata": {"name": "a"}})
        await cluster.create(PODS, pod("p", node=""))
        await cluster.run_pods()
        await cluster.delete(NAMESPACES, "", "ns")
        await cluster.settle()
        assert cluster.find(PODS, "p")["metadata"]["deletionTimestamp"]
        assert not cluster.find(CONFIG_MAPS, "a")["metadata"].get("deletionTimestamp")
        await cluster.end_pods()
        await cluster.settle(0.5)
        assert cluster.find(NAMESPACES, "ns") is None, "it does not wait for the next pass"


def test_conditions_keep_their_times_while_they_say_the_same():
    findings = namespace_plan.Findings(remaining={"pods.": 2, "jobs.batch": 1})
    namespace = {"status": {}}
    namespace["status"]["conditions"] = namespace_plan.conditions(namespace, findings, NOW)
    assert namespace_plan.conditions(namespace, findings, NOW + 60) is None
    texts = [c["message"] for c in namespace["status"]["conditions"]]
    assert "Some resources are remaining: jobs.batch has 1 resource instances, pods. has 2 resource instances" in texts
    later = namespace_plan.conditions(namespace, namespace_plan.Findings(remaining={"pods.": 1}), NOW + 60)
    stamps = {c["type"]: c["lastTransitionTime"] for c in later}
    assert stamps["NamespaceContentRemaining"] == "2026-01-01T00:00:00Z"


def pem() -> tuple[bytes, ec.EllipticCurvePublicKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain), key.public_key()


def secret(name: str, account: str) -> dict:
    meta = {"name": name, "annotations": {"kubernetes.io/service-account.name": account}}
    return {"metadata": meta, "type": TYPE}


async def test_a_token_secret_is_filled_refilled_and_goes_with_its_account():
    private, public = pem()
    async with Cluster() as cluster:
        cluster.start(TokenController, service_account_private_key=private, root_ca="PEM")
        account = await cluster.create(SERVICE_ACCOUNTS, {"metadata": {"name": "x"}, "secrets": [{"name": "t"}]})
        await cluster.create(SECRETS, secret("t", "x"))
        await cluster.create(SECRETS, secret("lost", "nobody"))
        await cluster.settle()
        assert cluster.find(SECRETS, "lost") is None
        filled = cluster.find(SECRETS, "t")
        claims = jwt.decode(base64.b64decode(filled["data"]["token"]), public, ["ES256"])
        assert claims["sub"] == "system:serviceaccount:ns:x"
        assert claims["kubernetes.io/serviceaccount/service-account.uid"] == account["metadata"]["uid"]
        assert base64.b64decode(filled["data"]["ca.crt"]) == b"PEM"
        await cluster.update(SECRETS, {**copy(filled), "data": {}})
        await cluster.settle()
        assert cluster.find(SECRETS, "t")["data"]["token"]
        await cluster.delete(SECRETS, "ns", "t")
        await cluster.settle()
        assert not cluster.find(SERVICE_ACCOUNTS, "x").get("secrets")
        await cluster.create(SECRETS, secret("u", "x"))
        await cluster.settle()
        await cluster.delete(SERVICE_ACCOUNTS, "ns", "x")
        await cluster.settle()
        assert cluster.find(SECRETS, "u") is None


def role(name: str, rules: list, **labels: str) -> dict:
    return {"metadata": {"name": name, "labels": labels}, "rules": rules}


def test_aggregated_rules_are_those_of_all_matching_roles_once():
    one, two = {"resources": ["pods"]}, {"resources": ["nodes"]}
    total = {**role("sum", []), "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"into": "sum"}}]}}
    roles = [total, role("b", [one, two], into="sum"), role("a", [one], into="sum"), role("c", [{"x": 1}])]
    assert aggregate(total, roles) == [one, two]


async def test_an_aggregated_role_is_put_right():
    async with Cluster() as cluster:
        cluster.start(ClusterRoleAggregationController)
        await cluster.create(CLUSTER_ROLES, role("a", [{"verbs": ["get"]}], into="sum"))
        total = {
            **role("sum", [{"verbs": ["all"]}]),
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"into": "sum"}}]},
        }
        await cluster.create(CLUSTER_ROLES, total)
        await cluster.settle()
        assert cluster.find(CLUSTER_ROLES, "sum")["rules"] == [{"verbs": ["get"]}]

"""What client libraries have beyond create, list, watch and delete: of the official client, lightkube and kr8s."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from live_cluster import ON_SQLITE, Kubectl, wait_for

#: The libraries leave sockets to the garbage collector, and kr8s warns of servers newer than itself.
pytestmark = [
    ON_SQLITE,
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Kubernetes version:UserWarning"),
]


@pytest.fixture
def api(kubectl: Kubectl) -> Iterator[Any]:
    """The official client's ApiClient."""
    from kubernetes import config

    client = config.new_client_from_config(str(kubectl.kubeconfig))
    yield client
    client.rest_client.pool_manager.clear()


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    body = {"containers": [{"name": "c", "image": "i:1"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": body}


# --- the official client -------------------------------------------------------------------------------------------------------------


def test_the_dynamic_client_finds_resources_and_applies(api: Any, kubectl: Kubectl) -> None:
    from kubernetes.dynamic import DynamicClient
    from kubernetes.dynamic.exceptions import ConflictError, NotFoundError, ResourceNotFoundError

    dynamic = DynamicClient(api)
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    assert dynamic.resources.get(api_version="apps/v1", kind="Deployment").subresources["scale"].kind == "Scale"
    assert {r.group_version for r in dynamic.resources.search(kind="HorizontalPodAutoscaler")} >= {
        "autoscaling/v1",
        "autoscaling/v2",
    }
    with pytest.raises(ResourceNotFoundError):
        dynamic.resources.get(api_version="v1", kind="Nothing")
    with pytest.raises(NotFoundError):
        maps.get(name="none", namespace=kubectl.namespace)

    first = maps.server_side_apply(namespace=kubectl.namespace, body=config_map("a", x="1"), field_manager="one")
    assert [(m.manager, m.operation) for m in first.metadata.managedFields] == [("one", "Apply")]
    with pytest.raises(ConflictError, match="FieldManagerConflict"):
        maps.server_side_apply(namespace=kubectl.namespace, body=config_map("a", x="2"), field_manager="two")
    taken = maps.server_side_apply(
        namespace=kubectl.namespace, body=config_map("a", x="2"), field_manager="two", force_conflicts=True
    )
    assert taken.data.x == "2" and [m.manager for m in taken.metadata.managedFields if "data" in str(m.fieldsV1)] == ["two"]


@pytest.mark.parametrize(
    ("media", "patch"),
    [
        ("application/json-patch+json", [{"op": "add", "path": "/data/b", "value": "2"}]),
        ("application/merge-patch+json", {"data": {"b": "2"}}),
        ("application/strategic-merge-patch+json", {"data": {"b": "2"}}),
    ],
)
def test_the_dynamic_client_patches(api: Any, kubectl: Kubectl, media: str, patch: Any) -> None:
    from kubernetes.dynamic import DynamicClient

    maps = DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    maps.create(namespace=kubectl.namespace, body=config_map("a", a="1"))
    patched = maps.patch(name="a", namespace=kubectl.namespace, body=patch, content_type=media)
    assert patched.data.to_dict() == {"a": "1", "b": "2"}


def test_a_custom_kind_is_found_once_it_is_served(api: Any, kubectl: Kubectl) -> None:
    from kubernetes import client
    from kubernetes.dynamic import DynamicClient

    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": free, "status": free}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"plural": "lamps", "kind": "Lamp", "singular": "lamp", "listKind": "LampList"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "lamps.light.example.com"},
        "spec": {"group": "light.example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }  # fmt: skip
    dynamic = DynamicClient(api)
    crds = dynamic.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    crds.create(body=definition)
    try:
        kubectl("wait", "--for=condition=Established", "crd/lamps.light.example.com", "--timeout=30s")
        dynamic.resources.invalidate_cache()
        lamps = dynamic.resources.get(api_version="light.example.com/v1", kind="Lamp")
        body = {"apiVersion": "light.example.com/v1", "kind": "Lamp", "metadata": {"name": "a"}, "spec": {"watt": 9}}
        lamps.create(namespace=kubectl.namespace, body=body)
        custom = client.CustomObjectsApi(api)
        where = ("light.example.com", "v1", kubectl.namespace, "lamps")
        custom.patch_namespaced_custom_object_status(*where, "a", {"status": {"on": True}})
        found = custom.list_namespaced_custom_object(*where)["items"]
        assert [(o["spec"], o["status"]) for o in found] == [({"watt": 9}, {"on": True})]
    finally:
        crds.delete(name="lamps.light.example.com")


def test_a_watch_resumes_where_it_ended(api: Any, kubectl: Kubectl) -> None:
    from kubernetes import client, watch

    core = client.CoreV1Api(api)
    core.create_namespaced_config_map(kubectl.namespace, config_map("a"))
    listed = core.list_namespaced_config_map(kubectl.namespace)
    core.create_namespaced_config_map(kubectl.namespace, config_map("b"))
    core.delete_namespaced_config_map("a", kubectl.namespace)

    def events(revision: str) -> list[str]:
        stream = watch.Watch().stream(
            core.list_namespaced_config_map, kubectl.namespace, resource_version=revision, timeout_seconds=1
        )
        return [f"{e['type']} {e['object'].metadata.name}" for e in stream]

    seen = events(listed.metadata.resource_version)
    assert seen == ["ADDED b", "DELETED a"]
    watcher = watch.Watch()
    for event in watcher.stream(
        core.list_namespaced_config_map, kubectl.namespace, resource_version=listed.metadata.resource_version
    ):
        assert f"{event['type']} {event['object'].metadata.name}" == "ADDED b"
        revision = event["object"].metadata.resource_version
        watcher.stop()
    assert events(revision) == ["DELETED a"]


def test_an_informer_follows_and_keeps_a_cache(api: Any, kubectl: Kubectl) -> None:
    from kubernetes import client
    from kubernetes.informer import SharedInformer

    core = client.CoreV1Api(api)
    core.create_namespaced_config_map(kubectl.namespace, {**config_map("a"), "metadata": {"name": "a", "labels": {"i": "1"}}})
    seen: list[str] = []
    informer = SharedInformer(core.list_namespaced_config_map, kubectl.namespace, label_selector="i=1", resync_period=2)
    for kind in ("ADDED", "MODIFIED", "DELETED"):
        informer.add_event_handler(kind, lambda obj, kind=kind: seen.append(f"{kind} {obj.metadata.name}"))
    informer.start()
    try:
        wait_for(lambda: seen == ["ADDED a"], "the first list")
        core.create_namespaced_config_map(kubectl.namespace, {**config_map("b"), "metadata": {"name": "b", "labels": {"i": "1"}}})
        wait_for(lambda: "ADDED b" in seen, "the new one")
        core.patch_namespaced_config_map("a", kubectl.namespace, {"metadata": {"labels": {"i": "2"}}})
        wait_for(lambda: "DELETED a" in seen, "the one that the selector no longer takes")
        assert informer.cache.list_keys() == [f"{kubectl.namespace}/b"]
    finally:
        informer.stop()


def test_leaders_are_elected_and_followed(api: Any, kubectl: Kubectl) -> None:
    from kubernetes import client, config
    from kubernetes.leaderelection import electionconfig, leaderelection
    from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

    config.load_kube_config(str(kubectl.kubeconfig))
    led: list[str] = []
    let_go = {"first": threading.Event(), "second": threading.Event()}

    def lead(name: str) -> None:
        led.append(name)
        let_go[name].wait(30)
        raise RuntimeError(f"the {name} one gives up")  # it stops to renew then

    def candidate(name: str) -> threading.Thread:
        lock = LeaseLock("election", kubectl.namespace, name)
        settings = electionconfig.Config(
            lock,
            lease_duration=3,
            renew_deadline=2,
            retry_period=1,
            onstarted_leading=lambda: lead(name),
            onstopped_leading=lambda: None,
        )
        thread = threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True)
        thread.start()
        return thread

    first = candidate("first")
    wait_for(lambda: led == ["first"], "the first leader")
    second = candidate("second")
    held = client.CoordinationV1Api(api).read_namespaced_lease("election", kubectl.namespace)
    assert held.spec.holder_identity == "first"
    let_go["first"].set()
    wait_for(lambda: led == ["first", "second"], "the second leader")
    let_go["second"].set()
    wait_for(lambda: not first.is_alive() and not second.is_alive(), "the end of both, which would ask a cluster that is gone")


def test_evictions_mind_budgets(api: Any, kubectl: Kubectl) -> None:
    from kubernetes import client

    core, policy = client.CoreV1Api(api), client.PolicyV1Api(api)
    for name in ("kept", "free"):
        core.create_namespaced_pod(kubectl.namespace, pod(name))
        kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
    budget = {"metadata": {"name": "kept"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "kept"}}}}
    policy.create_namespaced_pod_disruption_budget(kubectl.namespace, budget)
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name="kept", namespace=kubectl.namespace))
    with pytest.raises(client.ApiException) as refused:
        core.create_namespaced_pod_eviction("kept", kubectl.namespace, eviction)
    assert refused.value.status == 429
    core.create_namespaced_pod_eviction("free", kubectl.namespace, client.V1Eviction(metadata=client.V1ObjectMeta(name="free")))
    wait_for(lambda: kubectl("get", "pods", "-o", "name") == "pod/kept\n", "the free one to go")


def test_a_token_request_and_what_it_may_do(api: Any, kubectl: Kubectl) -> None:
    from kubernetes import client

    core, auth = client.CoreV1Api(api), client.AuthenticationV1Api(api)
    core.create_namespaced_service_account(kubectl.namespace, {"metadata": {"name": "robot"}})
    wanted = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=["vault"], expiration_seconds=1200))
    token = core.create_namespaced_service_account_token("robot", kubectl.namespace, wanted).status.token
    review = client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token, audiences=["vault"]))
    status = auth.create_token_review(review).status
    assert status.authenticated and status.user.username == f"system:serviceaccount:{kubectl.namespace}:robot"
    assert not auth.create_token_review(client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token))).status.authenticated
    rules = client.AuthorizationV1Api(api).create_self_subject_rules_review(
        client.V1SelfSubjectRulesReview(spec=client.V1SelfSubjectRulesReviewSpec(namespace=kubectl.namespace))
    )
    assert any(rule.verbs == ["*"] and rule.resources == ["*"] for rule in rules.status.resource_rules)


def test_manifests_are_created_from_files(api: Any, kubectl: Kubectl, tmp_path: Any) -> None:
    from kubernetes import client, utils

    path = tmp_path / "all.yaml"
    path.write_text(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n"
        "- {apiVersion: v1, kind: Secret, metadata: {name: b}, stringData: {k: v}}\n"
    )
    utils.create_from_yaml(api, str(path), namespace=kubectl.namespace)
    assert client.CoreV1Api(api).read_namespaced_secret("b", kubectl.namespace).data == {"k": "dg=="}
    with pytest.raises(utils.FailToCreateError, match="already exists"):
        utils.create_from_yaml(api, str(path), namespace=kubectl.namespace)


def test_scale_status_and_delete_with_preconditions(api: Any, kubectl: Kubectl) -> None:
    from kubernetes import client

    apps = client.AppsV1Api(api)
    kubectl("create", "deployment", "web", "--image=web:v1")
    apps.patch_namespaced_deployment_scale("web", kubectl.namespace, {"spec": {"replicas": 2}})
    assert apps.read_namespaced_deployment_scale("web", kubectl.namespace).spec.replicas == 2
    kubectl.rolled_out("deployment/web")
    assert apps.read_namespaced_deployment_status("web", kubectl.namespace).status.ready_replicas == 2
    wrong = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="other"))
    with pytest.raises(client.ApiException) as refused:
        apps.delete_namespaced_deployment("web", kubectl.namespace, body=wrong)
    assert refused.value.status == 409
    apps.delete_collection_namespaced_deployment(kubectl.namespace, propagation_policy="Foreground")
    wait_for(lambda: kubectl("get", "deployments,replicasets,pods", "-o", "name") == "", "everything to go")


# --- lightkube ------------------------------------------------------------------------------------------------------------------------


def test_lightkube_waits_patches_applies_and_watches(kubectl: Kubectl) -> None:
    from lightkube import ApiError, Client, KubeConfig, codecs
    from lightkube.models.autoscaling_v1 import ScaleSpec
    from lightkube.resources.apps_v1 import Deployment
    from lightkube.resources.core_v1 import ConfigMap, Pod
    from lightkube.types import PatchType

    client = Client(KubeConfig.from_file(str(kubectl.kubeconfig)), namespace=kubectl.namespace, field_manager="light")
    kubectl("create", "deployment", "web", "--image=web:v1")
    assert client.wait(Deployment, "web", for_conditions=["Available"]).metadata.name == "web"
    client.patch(Deployment.Scale, "web", {"spec": {"replicas": 3}}, patch_type=PatchType.MERGE)
    assert client.get(Deployment.Scale, "web").spec == ScaleSpec(replicas=3)
    (applied,) = (
        client.apply(o) for o in codecs.load_all_yaml("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: y}\n")
    )
    assert applied.data == {"x": "y"} and applied.metadata.managedFields[0].manager == "light"
    with pytest.raises(ApiError) as conflict:
        client.apply(ConfigMap.from_dict(config_map("a", x="z")), field_manager="other")
    assert conflict.value.status.code == 409 and conflict.value.status.details.causes[0].field == ".data.x"
    client.create(Pod.from_dict(pod("p")))
    assert [p.metadata.name for p in client.list(Pod, fields={"metadata.name": "p"}, labels={"app": ["p", "q"]})] == ["p"]
    for event, found in client.watch(Pod, fields={"metadata.name": "p"}):
        if found.status.phase == "Running":
            assert event in ("ADDED", "MODIFIED")
            break
    client.delete(Pod, "p", grace_period=0)
    client.deletecollection(ConfigMap)
    wait_for(lambda: "configmap/a" not in kubectl("get", "configmaps", "-o", "name"), "the collection to go")


# --- kr8s -----------------------------------------------------------------------------------------------------------------------------


async def test_kr8s_selects_labels_scales_and_watches(kubectl: Kubectl) -> None:
    import asyncio

    import kr8s.asyncio
    from kr8s.asyncio.objects import ConfigMap, Deployment, Node

    api = await kr8s.asyncio.api(kubeconfig=str(kubectl.kubeconfig), namespace=kubectl.namespace)
    assert (await api.version())["gitVersion"].startswith("v1.36.0")
    kinds = {resource["name"] for resource in await api.api_resources()}
    assert {"pods", "deployments", "customresourcedefinitions"} <= kinds
    kubectl("create", "deployment", "web", "--image=web:v1")
    web = await Deployment.get("web", namespace=kubectl.namespace, api=api)
    await web.scale(2)
    while not await web.ready():
        await asyncio.sleep(0.05)
    assert len(await web.pods()) == 2
    await web.label({"tier": "front"})
    await web.annotate({"note": "x"})
    assert [d.name async for d in api.get("deployments", label_selector={"tier": "front"})] == ["web"]
    node = await anext(aiter(Node.list(api=api)))
    await node.cordon()
    try:
        await node.refresh()
        assert node.unschedulable
    finally:
        await node.uncordon()
    made = await ConfigMap(config_map("a", x="1") | {"metadata": {"name": "a", "namespace": kubectl.namespace}}, api=api)
    await made.create()
    await made.patch([{"op": "replace", "path": "/data/x", "value": "2"}], type="json")
    assert made.data.x == "2"
    await made.delete(propagation_policy="Background")
    assert not await made.exists()
    if api._session is not None:  # the library leaves its connections to the garbage collector, which would warn
        await api._session.aclose()
        await asyncio.sleep(0)

from __future__ import annotations

from pilothouse.client.client import NODES, SERVICES
from pilothouse.cloud import service_plan as plan
from pilothouse.cloud.provider import CloudError, ImplementedElsewhere, RetryAfter, default_name

from .world import FINALIZER, World, world


def targets(cluster: World) -> list[str]:
    return next(iter(cluster.shelf.all("targets").values()))["nodes"]


async def test_a_service_gets_its_load_balancer_and_is_told_of_it() -> None:
    async with world() as cluster:
        await cluster.node("a")
        await cluster.start("service")
        made = await cluster.service()
        await cluster.settle()
        found = await cluster.found()
        assert found["metadata"]["finalizers"] == [FINALIZER]
        assert found["status"]["loadBalancer"] == {"ingress": [{"ip": "198.18.0.1", "ipMode": "VIP"}]}
        assert await cluster.events("web") == [
            "EnsuringLoadBalancer: Ensuring load balancer",
            "EnsuredLoadBalancer: Ensured load balancer",
        ]
        assert {e["source"]["component"] for e in await cluster.raw_events("web")} == {"service-controller"}
        name = default_name(made)
        assert cluster.left() == {"addresses": [name], "balancers": [name], "listeners": [f"{name}/TCP/80"], "targets": [name]}
        assert targets(cluster) == ["a"]


async def test_a_deleted_service_goes_after_its_load_balancer() -> None:
    async with world() as cluster:
        await cluster.start("service")
        await cluster.service()
        await cluster.settle()
        cluster.provider.faults.latency = 2.0
        await cluster.client.delete(SERVICES, "web", "default")
        await cluster.settle(3)
        assert (await cluster.found())["metadata"]["deletionTimestamp"], "it waits for what is being removed"
        await cluster.settle(60)
        assert await cluster.found() is None
        assert cluster.left() == {}
        assert (await cluster.reasons("web"))[-2:] == ["DeletingLoadBalancer", "DeletedLoadBalancer"]


async def test_a_service_that_becomes_a_cluster_ip_loses_everything() -> None:
    async with world() as cluster:
        await cluster.start("service")
        await cluster.service()
        await cluster.settle()
        await cluster.change(type="ClusterIP")
        await cluster.settle()
        found = await cluster.found()
        assert "finalizers" not in found["metadata"]
        assert found["status"] == {"loadBalancer": {}}
        assert cluster.left() == {}


async def test_a_service_with_a_class_is_left_alone() -> None:
    async with world() as cluster:
        await cluster.start("service")
        await cluster.service(loadBalancerClass="example.com/mine")
        await cluster.settle(100)
        assert "finalizers" not in (await cluster.found())["metadata"]
        assert cluster.left() == {} and await cluster.events("web") == []


async def test_a_service_that_is_given_a_class_with_its_type_is_cleaned_up_first() -> None:
    async with world() as cluster:
        await cluster.start("service")
        await cluster.service()
        await cluster.settle()
        await cluster.stop()
        await cluster.change(type="ClusterIP")
        await cluster.start("service")
        assert cluster.left() == {}


async def test_failures_are_told_and_tried_again_after_growing_pauses() -> None:
    async with world() as cluster:
        await cluster.start("service")
        cluster.provider.faults.refuse = lambda name: CloudError("quota exceeded") if name == "put_balancers" else None
        await cluster.service()
        await cluster.settle(200)
        tries = cluster.provider.faults.made.count("put_balancers")
        assert tries == 6, "at 0, 5, 15, 35, 75 and 155 s"
        failed = [e for e in await cluster.raw_events("web") if e["reason"] == "SyncLoadBalancerFailed"]
        assert [(e["type"], e["message"], e["count"]) for e in failed] == [
            ("Warning", "Error syncing load balancer: failed to ensure load balancer: quota exceeded", 6)
        ]
        cluster.provider.faults.refuse = lambda name: None
        assert await cluster.until(lambda: bool(cluster.shelf.all("targets"))) <= 160
        await cluster.settle()
        assert await cluster.ip() == "198.18.0.1"


async def test_what_is_not_ready_yet_is_looked_at_when_the_cloud_says() -> None:
    async with world() as cluster:
        await cluster.start("service")
        cluster.provider.faults.at(2, RetryAfter("address is pending", 42.0))
        await cluster.service()
        await cluster.settle(40)
        assert await cluster.ip() == ""
        await cluster.settle(5)
        assert await cluster.ip() == "198.18.0.1"


async def test_what_others_implement_is_nothing_to_be_told_of() -> None:
    async with world() as cluster:
        await cluster.node("a")
        await cluster.start("service")
        cluster.provider.faults.refuse = lambda name: ImplementedElsewhere("by another")
        await cluster.service()
        await cluster.settle(400)
        assert await cluster.reasons("web") == ["EnsuringLoadBalancer"]
        assert cluster.provider.faults.made == ["describe_addresses"]


async def test_no_nodes_are_a_warning_and_a_load_balancer_all_the_same() -> None:
    async with world() as cluster:
        await cluster.start("service")
        await cluster.service()
        await cluster.settle()
        assert "UnAvailableLoadBalancer: There are no available nodes for LoadBalancer" in await cluster.events("web")
        assert await cluster.ip()


async def test_load_balancers_follow_the_nodes() -> None:
    async with world() as cluster:
        await cluster.node("a")
        await cluster.start("service")
        await cluster.service()
        await cluster.settle()
        await cluster.node("b", ready="False")
        await cluster.settle()
        assert targets(cluster) == ["a", "b"], "readiness does not matter"
        await cluster.client.patch(NODES, "a", {"metadata": {"labels": {plan.EXCLUDED: ""}}})
        await cluster.settle()
        assert targets(cluster) == ["b"]
        await cluster.client.patch(NODES, "a", {"metadata": {"labels": {plan.EXCLUDED: "false"}}})
        await cluster.settle()
        assert targets(cluster) == ["a", "b"]
        await cluster.client.delete(NODES, "b")
        await cluster.settle()
        assert targets(cluster) == ["a"]
        told = [e for e in await cluster.raw_events("web") if e["reason"] == "UpdatedLoadBalancer"]
        assert [(e["message"], e["count"]) for e in told] == [("Updated load balancer with new hosts", 4)]


async def test_the_autoscalers_taint_counts_at_the_next_look_at_all_nodes() -> None:
    async with world() as cluster:
        await cluster.node("a")
        await cluster.node("b")
        await cluster.start("service")
        await cluster.service()
        await cluster.settle()
        taint = {"key": plan.LEAVING, "effect": "NoSchedule"}
        await cluster.client.patch(NODES, "a", {"spec": {"taints": [taint]}})
        await cluster.settle(10)
        assert targets(cluster) == ["a", "b"]
        await cluster.settle(100)
        assert targets(cluster) == ["b"]


async def test_a_set_of_nodes_that_is_the_same_is_not_told_again() -> None:
    async with world() as cluster:
        await cluster.node("a")
        await cluster.start("service")
        await cluster.service()
        await cluster.settle()
        calls = len(cluster.provider.faults.made)
        await cluster.client.patch(NODES, "a", {"metadata": {"labels": {"other": "label"}}})
        await cluster.settle(1000)
        assert len(cluster.provider.faults.made) == calls


async def test_a_load_balancer_that_takes_its_time_does_not_keep_nodes_from_others() -> None:
    async with world() as cluster:
        await cluster.node("a")
        await cluster.start("service")
        quick = default_name(await cluster.service("quick"))
        await cluster.settle()

        async def slowly(number: int, name: str, done: bool) -> None:
            if name == "put_balancers" and not done:
                await cluster.clock.sleep(60)

        cluster.provider.faults.watcher = slowly
        slow = default_name(await cluster.service("slow"))
        await cluster.settle()
        await cluster.node("b")
        await cluster.settle()
        assert cluster.shelf.get("targets", quick) == {"nodes": ["a", "b"]}
        assert cluster.shelf.get("targets", slow) is None
        await cluster.settle(60)
        assert cluster.shelf.get("targets", slow) == {"nodes": ["a", "b"]}
        assert (await cluster.reasons("slow"))[-1] == "UpdatedLoadBalancer", "it was made for those of its beginning"


async def test_only_services_whose_nodes_could_not_be_told_are_done_again() -> None:
    async with world() as cluster:
        await cluster.node("a")
        await cluster.start("service")
        await cluster.service("good")
        await cluster.service("bad")
        await cluster.settle()
        name = default_name(await cluster.found("bad"))
        inner = cluster.shelf.put

        def put(kind: str, key: str, value: dict) -> None:
            if kind == "targets" and key == name and failing:
                raise CloudError("no capacity")
            inner(kind, key, value)

        failing, cluster.shelf.put = True, put
        await cluster.node("b")
        await cluster.settle(3)
        assert "UpdatedLoadBalancer" in await cluster.reasons("good")
        told = await cluster.events("bad")
        assert "UpdateLoadBalancerFailed: Error updating load balancer with new hosts [a b]: no capacity" in told
        failing = False
        await cluster.settle(6)
        assert cluster.shelf.get("targets", name) == {"nodes": ["a", "b"]}
        assert (await cluster.reasons("good")).count("EnsuringLoadBalancer") == 1
        assert "service_controller_nodesync_error_total 1" in cluster.manager.metrics()


async def test_nodes_are_not_told_to_what_is_not_there() -> None:
    async with world() as cluster:
        await cluster.start("service")
        cluster.provider.faults.refuse = lambda name: CloudError("quota exceeded") if name == "put_balancers" else None
        await cluster.service()
        await cluster.settle()
        await cluster.node("a")
        await cluster.settle(2)
        assert "UpdateLoadBalancerFailed" not in await cluster.reasons("web")


async def test_changes_reach_the_cloud() -> None:
    async with world() as cluster:
        await cluster.start("service")
        made = await cluster.service()
        await cluster.settle()
        await cluster.change(ports=[{"port": 80, "name": "a"}, {"port": 53, "protocol": "UDP", "name": "b"}])
        await cluster.settle()
        name = default_name(made)
        assert cluster.left()["listeners"] == [f"{name}/TCP/80", f"{name}/UDP/53"]
        await cluster.change(loadBalancerSourceRanges=["10.0.0.0/8"])
        await cluster.settle()
        assert cluster.shelf.get("listeners", f"{name}/TCP/80")["sources"] == ["10.0.0.0/8"]


async def test_changes_that_do_not_concern_the_load_balancer_are_not_told() -> None:
    async with world() as cluster:
        await cluster.start("service")
        await cluster.service()
        await cluster.settle()
        calls = len(cluster.provider.faults.made)
        await cluster.change(selector={"app": "other"})
        await cluster.client.patch(SERVICES, "web", {"metadata": {"labels": {"a": "b"}}}, "default")
        await cluster.settle(100)
        assert len(cluster.provider.faults.made) == calls


async def test_conditions_of_others_stay_and_the_mode_of_an_address_is_told() -> None:
    async with world() as cluster:
        await cluster.start("service", seconds=0.0)
        await cluster.service(annotations={"fake.pilothouse.dev/ip-mode": "Proxy"})
        condition = {
            "type": "LoadBalancerPortsError", "status": "True", "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        await cluster.client.patch(SERVICES, "web", {"status": {"conditions": [condition]}}, "default", subresource="status")
        await cluster.settle()
        status = (await cluster.found())["status"]
        assert status["loadBalancer"] == {"ingress": [{"ip": "198.18.0.1", "ipMode": "Proxy"}]}
        assert [c["type"] for c in status["conditions"]] == ["LoadBalancerPortsError"]


async def test_a_status_that_was_lost_is_told_again_by_the_next_manager() -> None:
    async with world() as cluster:
        await cluster.start("service")
        await cluster.service()
        await cluster.settle()
        await cluster.stop()
        await cluster.client.patch(SERVICES, "web", {"status": {"loadBalancer": None}}, "default", "merge", "status")
        assert await cluster.ip() == ""
        await cluster.start("service")
        assert await cluster.ip() == "198.18.0.1"


async def test_a_service_without_node_ports_has_a_load_balancer_all_the_same() -> None:
    async with world() as cluster:
        await cluster.start("service")
        made = await cluster.service(allocateLoadBalancerNodePorts=False)
        await cluster.settle()
        assert "nodePort" not in made["spec"]["ports"][0]
        assert cluster.shelf.get("listeners", f"{default_name(made)}/TCP/80") == {"nodePort": None, "sources": []}
        assert await cluster.ip()


async def test_what_lost_its_finalizer_is_removed_all_the_same() -> None:
    async with world() as cluster:
        await cluster.start("service")
        await cluster.service()
        await cluster.settle()
        await cluster.client.patch(SERVICES, "web", {"metadata": {"finalizers": None}}, "default", "merge")
        await cluster.client.delete(SERVICES, "web", "default")
        await cluster.settle()
        assert cluster.left() == {}


async def test_failed_deletions_are_told_and_tried_again() -> None:
    async with world() as cluster:
        await cluster.start("service")
        await cluster.service()
        await cluster.settle()
        cluster.provider.faults.refuse = lambda name: CloudError("in use") if name == "delete_balancers" else None
        await cluster.client.delete(SERVICES, "web", "default")
        await cluster.settle(20)
        assert (
            "SyncLoadBalancerFailed: Error syncing load balancer: failed to delete load balancer: in use"
            in await cluster.events("web")
        )
        assert await cluster.found() is not None
        cluster.provider.faults.refuse = lambda name: None
        await cluster.settle(60)
        assert await cluster.found() is None and cluster.left() == {}


async def test_metrics_tell_of_syncs_and_of_the_clouds_calls() -> None:
    async with world() as cluster:
        await cluster.node("a")
        await cluster.start("service")
        await cluster.service()
        await cluster.settle()
        told = cluster.manager.metrics()
        assert "service_controller_loadbalancer_sync_total 1" in told
        assert 'cloudprovider_fake_api_request_duration_seconds_count{request="load_balancers_ensure"} 1' in told
        assert 'running_managed_controllers{manager="cloud-controller-manager",name="service-lb-controller"} 1' in told

"""Devices for the ResourceClaims of pods: what is allocated where, and why not."""

from __future__ import annotations

from typing import Any

import pytest
from world import Obj, World, node, pod

from pilothouse.clock import VirtualClock
from pilothouse.scheduler.framework import Plugin
from pilothouse.scheduler.podinfo import pod_info
from pilothouse.scheduler.schedule import Outcome, decide

DRIVER = "gpu.example.com"


def gpu(name: str, model: str = "a100", memory: str = "80Gi", **more: Any) -> Obj:
    return {"name": name, "attributes": {"model": {"string": model}}, "capacity": {"memory": {"value": memory}}, **more}


def device_slice(
    node_name: str, *devices: Obj, pool: str = "", generation: int = 1, of: int = 1, name: str = "", **spec: Any
) -> Obj:
    place = {"nodeName": node_name} if node_name else {}
    pool = pool or node_name
    return {"metadata": {"name": name or f"{pool}-{generation}"},
            "spec": {"driver": DRIVER, "pool": {"name": pool, "generation": generation, "resourceSliceCount": of},
                     **({"devices": list(devices)} if devices else {}), **place, **spec}}  # fmt: skip


def device_class(name: str = "gpu", *expressions: str, **spec: Any) -> Obj:
    return {"metadata": {"name": name}, "spec": {"selectors": [{"cel": {"expression": e}} for e in expressions], **spec}}


def exactly(name: str = "r", count: int = 1, *expressions: str, **more: Any) -> Obj:
    selectors = [{"cel": {"expression": e}} for e in expressions]
    return {
        "name": name,
        "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count, "selectors": selectors, **more},
    }


def claim(name: str, *requests: Obj, constraints: list[Obj] | None = None, config: list[Obj] | None = None) -> Obj:
    devices = {
        "requests": list(requests),
        **({"constraints": constraints} if constraints else {}),
        **({"config": config} if config else {}),
    }
    return {"metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"}, "spec": {"devices": devices}}


def user(name: str, *claims: str, **spec: Any) -> Obj:
    return pod(name, resourceClaims=[{"name": c, "resourceClaimName": c} for c in claims], **spec)


class Lab(World):
    """A world whose pods can be reserved for."""

    def allocate(self, obj: Obj) -> dict[str, Obj]:
        """Decide and reserve; the allocation of each claim by its name."""
        self.snapshot.view.clock = VirtualClock()
        outcome = decide(self.snapshot, pod_info(obj), self.profile, self.snapshot.view.clock.random)
        assert outcome.node is not None, outcome.status
        self.last: Outcome = outcome
        for plugin in self.profile.reserves:
            plugin.reserve(outcome.cycle, outcome.node)
        self.place(obj, outcome.node)
        names = [c["resourceClaimName"] for c in obj["spec"]["resourceClaims"]]
        return {n: (self.stock.get("resourceclaims", "default", n) or {})["status"]["allocation"] for n in names}

    def settle(self) -> None:
        """What is assumed has been written and read."""
        for obj in self.stock.all("resourceclaims"):
            self.stock.put("resourceclaims", obj)

    def plugin(self, name: str) -> Plugin:
        return next(p for p in self.profile.plugins if p.name == name)


def lab(
    *claims: Obj, slices: list[Obj] | None = None, classes: list[Obj] | None = None, nodes: tuple[str, ...] = ("a", "b")
) -> Lab:
    made = [device_slice("a", gpu("g0"), gpu("g1")), device_slice("b", gpu("g0", "h100"))] if slices is None else slices
    return Lab(
        *(node(n) for n in nodes), resourceslices=made, resourceclaims=list(claims), deviceclasses=classes or [device_class()]
    )


def names(allocation: Obj) -> list[str]:
    return [f"{r['pool']}/{r['device']}" for r in allocation["devices"]["results"]]


# --- what a pod's claims must be -------------------------------------------------------------------------------------------------------


def test_a_pod_waits_for_its_claims() -> None:
    world = lab()
    assert world.why_not(user("p", "c")) == 'could not find ResourceClaim "default/c"'
    template = pod("p", resourceClaims=[{"name": "c", "resourceClaimTemplateName": "t"}])
    assert world.why_not(template) == 'pod claim name "c": ResourceClaim not created yet'
    template["status"] = {"resourceClaimStatuses": [{"name": "c", "resourceClaimName": "p-c-1"}]}
    made = claim("p-c-1", exactly())
    world.stock.put("resourceclaims", made)
    assert "was not created for pod default/p (pod is not owner)" in world.why_not(template)
    made["metadata"]["ownerReferences"] = [{"uid": "uid-p", "controller": True}]
    assert world.feasible(template) == {"a", "b"}


def test_a_missing_device_class_is_told() -> None:
    world = lab(claim("c", exactly(deviceClassName="none")))
    assert world.why_not(user("p", "c")) == "0/2 nodes are available: request r: device class none does not exist."


def test_an_allocated_claim_holds_its_pod_where_it_is() -> None:
    allocated = claim("c", exactly())
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}
    result = {"request": "r", "driver": DRIVER, "pool": "b", "device": "g0"}
    allocated["status"] = {"allocation": {"devices": {"results": [result]}, "nodeSelector": {"nodeSelectorTerms": [term]}}}
    world = lab(allocated)
    assert world.feasible(user("p", "c")) == {"b"}
    world.table.remove_node("b")
    message = world.decide(user("p", "c")).message
    assert message.startswith("0/1 nodes are available: 1 resourceclaim not available on the node.")
    assert "deallocation of ResourceClaim completed" in message


# --- exact counts, all, selectors ------------------------------------------------------------------------------------------------------


def test_counts_and_selectors_decide_about_nodes() -> None:
    world = lab(claim("two", exactly(count=2)), claim("new", exactly("r", 1, f"device.attributes['{DRIVER}'].model == 'h100'")))
    assert world.feasible(user("p", "two")) == {"a"}
    assert world.feasible(user("q", "new")) == {"b"}
    assert names(world.allocate(user("p", "two"))["two"]) == ["a/g0", "a/g1"]


def test_a_device_is_given_once() -> None:
    world = lab(claim("c1", exactly()), claim("c2", exactly()), claim("c3", exactly()), claim("c4", exactly()))
    given = [names(allocation)[0] for n in ("1", "2", "3") for allocation in world.allocate(user(f"p{n}", f"c{n}")).values()]
    assert sorted(given) == ["a/g0", "a/g1", "b/g0"]
    assert world.why_not(user("p4", "c4")) == "0/2 nodes are available: 2 cannot allocate all claims."
    world.settle()
    freed = claim("c1", exactly())
    world.stock.put("resourceclaims", freed)
    assert len(world.feasible(user("p4", "c4"))) == 1


def test_a_claim_that_is_being_allocated_is_waited_for() -> None:
    world = lab(claim("c", exactly()))
    world.allocate(user("p", "c"))
    assert "resource claim default/c is in the process of being allocated" in world.why_not(user("q", "c"))
    plugin = world.plugin("DynamicResources")
    plugin.unreserve(world.last.cycle, world.last.node or "")
    assert world.feasible(user("q", "c")) == {"a", "b"}


def test_all_devices_means_all_that_match() -> None:
    world = lab(claim("all", exactly(allocationMode="All")), claim("one", exactly()))
    assert world.feasible(user("p", "all")) == {"a", "b"}
    world.allocate(user("q", "one", nodeSelector={"kubernetes.io/hostname": "a"}))
    assert world.feasible(user("p", "all")) == {"b"}


def test_a_selector_without_answer_is_told() -> None:
    world = lab(claim("c", exactly("r", 1, f"device.attributes['{DRIVER}'].missing == 'x'")))
    assert "request r: selector #0: CEL runtime error" in world.why_not(user("p", "c"))


def test_administrators_look_at_devices_in_use() -> None:
    world = lab(claim("one", exactly(count=1)), claim("admin", exactly(adminAccess=True)), nodes=("b",))
    world.allocate(user("p", "one"))
    looked = world.allocate(user("q", "admin"))["admin"]
    assert names(looked) == ["b/g0"] and looked["devices"]["results"][0]["adminAccess"] is True


# --- pools -----------------------------------------------------------------------------------------------------------------------------


def test_only_whole_pools_of_the_newest_generation_count() -> None:
    world = lab(claim("c", exactly()), slices=[device_slice("a", gpu("old")), device_slice("a", gpu("new"), generation=2, of=2)])
    assert world.why_not(user("p", "c")) == "0/2 nodes are available: 2 cannot allocate all claims."
    world.stock.put("resourceslices", device_slice("a", gpu("newer"), generation=2, of=2, name="a-2b"))
    assert world.feasible(user("p", "c")) == {"a"}
    assert names(world.allocate(user("p", "c"))["c"]) == ["a/new"]


def test_all_devices_of_a_pool_that_is_being_changed_cannot_be_told() -> None:
    world = lab(claim("c", exactly(allocationMode="All")), slices=[device_slice("a", gpu("g"), of=2)], nodes=("a",))
    told = "request r: asks for all devices, but resource pool gpu.example.com/a is currently being updated"
    assert world.why_not(user("p", "c")) == f"0/1 nodes are available: 1 {told}."


def test_network_devices_are_used_from_the_nodes_that_reach_them() -> None:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["b", "c"]}]}
    shared = device_slice("", gpu("n0"), pool="net", nodeSelector={"nodeSelectorTerms": [term]})
    world = lab(claim("c", exactly()), slices=[shared], nodes=("a", "b", "c"))
    assert world.feasible(user("p", "c")) == {"b", "c"}
    assert world.allocate(user("p", "c"))["c"]["nodeSelector"] == {"nodeSelectorTerms": [term]}


def test_each_device_may_say_where_it_can_be_used() -> None:
    mixed = device_slice("", gpu("x", nodeName="a"), gpu("y", allNodes=True), pool="p", perDeviceNodeSelection=True)
    world = lab(claim("two", exactly(count=2)), claim("one", exactly()), slices=[mixed], nodes=("a", "b"))
    assert world.feasible(user("p", "two")) == {"a"}
    assert world.feasible(user("q", "one")) == {"a", "b"}


# --- constraints, prioritized lists, taints -------------------------------------------------------------------------------------------


def test_devices_that_must_match_are_found_by_trying_again() -> None:
    mixed = device_slice("a", gpu("g0", "x"), gpu("g1", "y"), gpu("g2", "y"))
    alike = [{"matchAttribute": f"{DRIVER}/model"}]
    world = lab(claim("c", exactly("r1"), exactly("r2"), constraints=alike), slices=[mixed])
    assert names(world.allocate(user("p", "c"))["c"]) == ["a/g1", "a/g2"]


def test_devices_that_must_differ_do() -> None:
    mixed = device_slice("a", gpu("g0", "x"), gpu("g1", "x"), gpu("g2", "y"))
    differ = [{"distinctAttribute": f"{DRIVER}/model", "requests": ["r"]}]
    world = lab(claim("c", exactly(count=2), constraints=differ), slices=[mixed])
    assert names(world.allocate(user("p", "c"))["c"]) == ["a/g0", "a/g2"]


def test_the_first_choice_that_can_be_had_is_taken_and_liked() -> None:
    def choice(name: str, model: str, count: int) -> Obj:
        selectors = [{"cel": {"expression": f"device.attributes['{DRIVER}'].model == '{model}'"}}]
        return {"name": name, "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count, "selectors": selectors}

    wish = {"name": "r", "firstAvailable": [choice("big", "h100", 1), choice("small", "a100", 2)]}
    world = lab(claim("c1", wish), claim("c2", wish))
    decision = world.decide(user("p", "c1"))
    assert decision.node == "b" and decision.scores["DynamicResources"] == {"a": 174, "b": 200}
    first = world.allocate(user("p", "c1"))["c1"]
    assert first["devices"]["results"][0]["request"] == "r/big"
    assert [r["request"] for r in world.allocate(user("q", "c2"))["c2"]["devices"]["results"]] == ["r/small", "r/small"]


def test_tainted_devices_are_for_those_that_tolerate_them() -> None:
    tainted = gpu("g0", taints=[{"key": "broken", "effect": "NoSchedule"}])
    tolerated = [{"key": "broken", "operator": "Exists"}]
    world = lab(claim("no", exactly()), claim("yes", exactly(tolerations=tolerated)), slices=[device_slice("a", tainted)])
    assert world.feasible(user("p", "no")) == set()
    assert world.allocate(user("q", "yes"))["yes"]["devices"]["results"][0]["tolerations"] == tolerated


# --- shared counters and capacities ----------------------------------------------------------------------------------------------------


def test_partitions_share_the_counters_of_their_device() -> None:
    def part(name: str, memory: str) -> Obj:
        return gpu(name, consumesCounters=[{"counterSet": "gpu-0", "counters": {"memory": {"value": memory}}}])

    counters = device_slice(
        "a", of=2, name="a-counters", sharedCounters=[{"name": "gpu-0", "counters": {"memory": {"value": "40Gi"}}}]
    )
    parts = device_slice("a", part("whole", "40Gi"), part("half-0", "20Gi"), part("half-1", "20Gi"), of=2)
    halves = exactly("r", 1, f"device.attributes['{DRIVER}'].model == 'a100'")
    world = lab(claim("two", exactly(count=2)), claim("c", halves), slices=[counters, parts], nodes=("a",))
    assert names(world.allocate(user("p", "two"))["two"]) == ["a/half-0", "a/half-1"]
    assert world.feasible(user("q", "c")) == set()


@pytest.mark.parametrize(
    ("policy", "asked", "told"),
    [
        ({}, "8Gi", "8Gi"),
        ({"default": "4Gi", "validValues": ["4Gi", "16Gi"]}, "5Gi", "16Gi"),
        ({"default": "4Gi", "validRange": {"min": "4Gi", "step": "2Gi"}}, "5Gi", "6Gi"),
        ({"default": "4Gi", "validRange": {"min": "4Gi"}}, "", "4Gi"),
        ({}, "", "40Gi"),
    ],
)
def test_a_shared_device_gives_what_its_policy_allows(policy: Obj, asked: str, told: str) -> None:
    shared = {
        "name": "g",
        "allowMultipleAllocations": True,
        "capacity": {"memory": {"value": "40Gi", **({"requestPolicy": policy} if policy else {})}},
    }
    wanted = {"capacity": {"requests": {"memory": asked}}} if asked else {}
    world = lab(claim("c", exactly(**wanted)), slices=[device_slice("a", shared)])
    result = world.allocate(user("p", "c"))["c"]["devices"]["results"][0]
    assert result["consumedCapacity"] == {"memory": told} and len(result["shareID"]) == 36


def test_shares_end_when_the_capacity_does() -> None:
    shared = {"name": "g", "allowMultipleAllocations": True, "capacity": {"memory": {"value": "40Gi"}}}
    claims = [claim(n, exactly(capacity={"requests": {"memory": "15Gi"}})) for n in ("c1", "c2", "c3")]
    world = lab(*claims, slices=[device_slice("a", shared)])
    for n in ("1", "2"):
        world.allocate(user(f"p{n}", f"c{n}"))
    assert world.why_not(user("p3", "c3")) == "0/2 nodes are available: 2 cannot allocate all claims."


# --- the allocation ---------------------------------------------------------------------------------------------------------------------


def test_an_allocation_carries_node_and_configuration() -> None:
    opaque = {"opaque": {"driver": DRIVER, "parameters": {"mode": "fast"}}}
    own = [{"requests": ["r"], **opaque}, {"requests": ["other"], **opaque}]
    world = lab(claim("c", exactly(), config=own), classes=[device_class("gpu", config=[opaque])], nodes=("a",))
    allocation = world.allocate(user("p", "c"))["c"]
    assert allocation["devices"]["config"] == [
        {"source": "FromClass", "requests": ["r"], **opaque}, {"source": "FromClaim", "requests": ["r"], **opaque},
    ]  # fmt: skip
    named = {"key": "metadata.name", "operator": "In", "values": ["a"]}
    assert allocation["nodeSelector"] == {"nodeSelectorTerms": [{"matchFields": [named]}]}
    assert world.stock.get("resourceclaims", "default", "c")["status"]["reservedFor"] == [  # type: ignore[index]
        {"resource": "pods", "name": "p", "uid": "uid-p"}
    ]


# --- extended resources of device classes --------------------------------------------------------------------------------------------------


def asking(name: str, resource: str, *counts: int, **spec: Any) -> Obj:
    containers = [
        {"name": f"c{n}", "image": "i", "resources": {"requests": {"cpu": "1", resource: str(count)}}}
        for n, count in enumerate(counts)
    ]
    return pod(name, containers=containers, **spec)


def reserve(world: Lab, obj: Obj) -> Obj:
    """Decide and reserve; the claim that is made for the pod, as far as it is known."""
    world.snapshot.view.clock = VirtualClock()
    outcome = decide(world.snapshot, pod_info(obj), world.profile, world.snapshot.view.clock.random)
    assert outcome.node is not None, outcome.status
    world.plugin("DynamicResources").reserve(outcome.cycle, outcome.node)
    world.place(obj, outcome.node)
    made = world.stock.get("resourceclaims", "default", f"<extended resources of uid-{obj['metadata']['name']}>")
    assert made is not None
    return made


@pytest.mark.parametrize("resource", ["example.com/gpu", "deviceclass.resource.kubernetes.io/gpu"])
def test_an_extended_resource_may_be_devices(resource: str) -> None:
    world = lab(classes=[device_class("gpu", extendedResourceName="example.com/gpu")])
    made = reserve(world, asking("p", resource, 1, 1))
    assert [r["name"] for r in made["spec"]["devices"]["requests"]] == ["container-0-request-1", "container-1-request-1"]
    assert names(made["status"]["allocation"]) == ["a/g0", "a/g1"]
    assert world.why_not(asking("q", resource, 2)) == "0/2 nodes are available: 2 cannot allocate all claims."
    assert names(reserve(world, asking("r", resource, 1))["status"]["allocation"]) == ["b/g0"]


def test_a_node_that_has_the_resource_by_itself_gives_it_as_ever() -> None:
    world = lab(classes=[device_class("gpu", extendedResourceName="example.com/gpu")], nodes=("a",))
    world.table.set_node(node("plugin", **{"example.com/gpu": "1"}))
    assert world.feasible(asking("p", "example.com/gpu", 1)) == {"a", "plugin"}
    told = "0/2 nodes are available: 1 Insufficient example.com/gpu, 1 cannot allocate all claims."
    assert world.why_not(asking("q", "example.com/gpu", 3)) == told
    world.stock.put("deviceclasses", device_class("gpu"))
    assert world.feasible(asking("p", "example.com/gpu", 1)) == {"plugin"}


def test_what_an_init_container_had_is_there_for_the_others() -> None:
    world = lab(classes=[device_class("gpu", extendedResourceName="example.com/gpu")])
    first = {"name": "init", "image": "i", "resources": {"requests": {"example.com/gpu": "1"}}}
    made = reserve(world, asking("p", "example.com/gpu", 1, 1, initContainers=[first]))
    assert [r["name"] for r in made["spec"]["devices"]["requests"]] == ["container-0-request-0", "container-2-request-1"]

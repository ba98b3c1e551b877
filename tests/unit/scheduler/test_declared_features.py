"""Pods that need new features of nodes."""

from __future__ import annotations

from world import Obj, World, node, pod


def declaring(name: str, *features: str) -> Obj:
    made = node(name)
    made["status"]["declaredFeatures"] = list(features)
    return made


def test_a_pod_goes_where_what_it_needs_is_declared() -> None:
    world = World(node("a"), declaring("b", "UserNamespacesHostNetworkSupport"))
    assert world.feasible(pod("p", hostNetwork=True, hostUsers=False)) == {"b"}
    assert world.feasible(pod("q", hostNetwork=True)) == {"a", "b"}


def test_what_is_not_declared_is_told() -> None:
    world = World(declaring("a", "RestartAllContainersOnContainerExits"), node("b"))
    needy = pod("p", hostNetwork=True, hostUsers=False)
    needy["spec"]["containers"][0]["restartPolicyRules"] = [{"action": "RestartAllContainers"}]
    both = "1 node declared features check failed - unsatisfied requirements: RestartAllContainersOnContainerExits, UserNamespacesHostNetworkSupport"
    one = "1 node declared features check failed - unsatisfied requirements: UserNamespacesHostNetworkSupport"
    assert world.why_not(needy) == f"0/2 nodes are available: {both}, {one}."
    world.table.set_node(declaring("b", "RestartAllContainersOnContainerExits", "UserNamespacesHostNetworkSupport"))
    assert world.feasible(needy) == {"b"}

"""The controllers need no more than the documentation says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pilothouse.client.reconcile.kinds import CLUSTER_ROLES, SERVICES, Kind
from pilothouse.cloud.gateway.kinds import BACKEND_TLS_POLICIES, GATEWAYS, HTTP_ROUTES, INGRESSES, LISTENER_SETS

from .stage import a_stage, told

PAGE = Path(__file__).parents[3] / "docs" / "gateways.md"
BINDINGS = Kind("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
USER = "gateway-keeper"


def documented() -> dict[str, Any]:
    """The role in the page's block of YAML."""
    block = PAGE.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    role: dict[str, Any] = yaml.safe_load(block)
    return role


async def test_the_documented_role_is_enough(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates, start=False) as stage:
        role = documented()
        name = role["metadata"]["name"]
        await stage.create(CLUSTER_ROLES, name, namespace="", rules=role["rules"])
        subject = {"kind": "User", "name": USER, "apiGroup": "rbac.authorization.k8s.io"}
        ref = {"kind": "ClusterRole", "name": name, "apiGroup": "rbac.authorization.k8s.io"}
        await stage.create(BINDINGS, name, namespace="", subjects=[subject], roleRef=ref)
        stage.identity = (USER,)
        await stage.begin()
        await stage.ready()
        await stage.settle()
        await stage.create(SERVICES, "web", {"ports": [{"name": "http", "port": 80}]})
        http = {"name": "http", "port": 80, "protocol": "HTTP"}
        allowed = {"namespaces": {"from": "All"}}
        await stage.create(GATEWAYS, "gw", {"gatewayClassName": "pilothouse", "listeners": [http], "allowedListeners": allowed})
        await stage.create(LISTENER_SETS, "set", {"parentRef": {"name": "gw"}, "listeners": [{**http, "port": 81}]})
        to_web = {"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}
        await stage.create(HTTP_ROUTES, "r", {"parentRefs": [{"name": "gw"}], **to_web})
        validation = {"hostname": "a.b", "wellKnownCACertificates": "System"}
        target = [{"group": "", "kind": "Service", "name": "web"}]
        await stage.create(BACKEND_TLS_POLICIES, "p", {"targetRefs": target, "validation": validation})
        backend = {"service": {"name": "web", "port": {"number": 80}}}
        await stage.create(INGRESSES, "i", {"defaultBackend": backend})
        await stage.settle(30)
        for kind, name in ((GATEWAYS, "gw"), (LISTENER_SETS, "set")):
            assert told((await stage.get(kind, name))["status"]["conditions"])["Programmed"] == ("True", "Programmed")
        assert (await stage.get(HTTP_ROUTES, "r"))["status"]["parents"]
        assert (await stage.get(BACKEND_TLS_POLICIES, "p"))["status"]["ancestors"]
        assert (await stage.get(INGRESSES, "i"))["status"]["loadBalancer"]["ingress"]
        assert ("Normal", "Programmed") in await stage.events("gw")
        for kind, name in ((GATEWAYS, "gw"), (INGRESSES, "i")):
            await stage.remove(kind, name)
        await stage.settle(30)
        assert not stage.cloud.plans

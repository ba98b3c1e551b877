"""The Ingress controller against the real hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pilothouse.client.reconcile.kinds import SECRETS, SERVICES
from pilothouse.cloud.gateway.ingress import CONTROLLER, DEFAULT_ANNOTATION, FINALIZER
from pilothouse.cloud.gateway.kinds import INGRESS_CLASSES, INGRESSES
from pilothouse.cloud.provider import CloudError

from .stage import Obj, Stage, a_stage

PORTS = {"ports": [{"name": "http", "port": 80}]}
KEY = "IngressClass/pilothouse"


def ingress(**more: Any) -> Obj:
    backend = {"service": {"name": "web", "port": {"name": "http"}}}
    return {
        "rules": [{"host": "a.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        **more,
    }


async def address(stage: Stage, name: str = "i") -> list[Obj]:
    found = await stage.get(INGRESSES, name)
    return ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []


async def test_a_default_class_is_offered_and_its_ingresses_share_an_address(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.settle()
        found = await stage.get(INGRESS_CLASSES, "pilothouse", "")
        assert found["spec"]["controller"] == CONTROLLER and found["metadata"]["annotations"][DEFAULT_ANNOTATION] == "true"
        await stage.create(SERVICES, "web", PORTS)
        made = await stage.create(INGRESSES, "i", ingress())
        assert made["spec"]["ingressClassName"] == "pilothouse", "the server's admission fills it in"
        await stage.create(INGRESSES, "j", ingress())
        await stage.settle()
        assert await address(stage) == await address(stage, "j") == [{"ip": "127.9.0.1"}]
        (edge,) = stage.cloud.plans[KEY].edges
        assert edge.sites[0].hosts[0].rules[0].shares[0].pool == "default/web:80/ingress"
        calls = stage.cloud.calls
        await stage.settle(300)
        assert stage.cloud.calls == calls


async def test_a_port_that_is_elsewhere_is_told(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        stage.cloud.moved = {"port-80": 40080}
        await stage.settle()
        await stage.create(INGRESSES, "i", ingress())
        await stage.settle()
        ports = [{"port": 80, "protocol": "TCP", "error": "pilothouse.dev/FoundOnPort40080"}]
        assert await address(stage) == [{"ip": "127.9.0.1", "ports": ports}]


async def test_the_class_is_not_the_default_where_another_is(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates, start=False) as stage:
        other = {"annotations": {DEFAULT_ANNOTATION: "true"}}
        await stage.create(INGRESS_CLASSES, "other", {"controller": "example.com/x"}, "", metadata=other)
        await stage.begin()
        await stage.settle()
        assert not (await stage.get(INGRESS_CLASSES, "pilothouse", ""))["metadata"].get("annotations")
        await stage.create(INGRESSES, "i", ingress())
        await stage.create(INGRESSES, "j", ingress(), metadata={"annotations": {"kubernetes.io/ingress.class": "pilothouse"}})
        await stage.settle()
        assert await address(stage) == [] and await address(stage, "j") == [{"ip": "127.9.0.1"}]


async def test_an_ingress_from_before_any_class_is_taken_by_the_default(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates, start=False) as stage:
        await stage.create(INGRESSES, "i", ingress())
        await stage.begin()
        await stage.settle()
        assert await address(stage) == [{"ip": "127.9.0.1"}]


async def test_no_class_is_made_where_that_is_not_wanted(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates, install_ingress_class=False) as stage:
        await stage.settle()
        assert (await stage.admin.request("GET", INGRESS_CLASSES.path("", "pilothouse"))).status == 404


async def test_a_secret_opens_the_secure_port(pilothouse_certificates: Path, tls_secret: Obj) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.create(SERVICES, "web", PORTS)
        await stage.settle()
        await stage.create(INGRESSES, "i", ingress(tls=[{"hosts": ["a.example.com"], "secretName": "cert"}]))
        await stage.settle()
        assert [e.port for e in stage.cloud.plans[KEY].edges] == [80]
        assert ("Warning", "InvalidCertificateRef") in await stage.events("i")
        await stage.create(SECRETS, "cert", **tls_secret)
        await stage.settle()
        assert [e.port for e in stage.cloud.plans[KEY].edges] == [80, 443]


async def test_the_last_ingress_takes_everything_with_it(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.settle()
        await stage.create(INGRESSES, "i", ingress())
        await stage.settle()
        assert FINALIZER in (await stage.get(INGRESS_CLASSES, "pilothouse", ""))["metadata"]["finalizers"]
        await stage.end()
        await stage.remove(INGRESSES, "i")
        await stage.begin()
        await stage.settle()
        assert not stage.cloud.plans
        assert not (await stage.get(INGRESS_CLASSES, "pilothouse", ""))["metadata"].get("finalizers")


async def test_an_ingress_that_goes_to_another_class_loses_its_address(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.settle()
        await stage.create(INGRESSES, "i", ingress())
        await stage.create(INGRESSES, "j", ingress())
        await stage.settle()
        await stage.change(INGRESSES, "i", {"spec": {"ingressClassName": "other"}})
        await stage.settle()
        assert await address(stage) == [] and await address(stage, "j") == [{"ip": "127.9.0.1"}]


async def test_what_the_cloud_cannot_do_is_told_and_tried_again(pilothouse_certificates: Path) -> None:
    async with a_stage(pilothouse_certificates) as stage:
        await stage.settle()
        stage.cloud.failure = CloudError("quota")
        await stage.create(INGRESSES, "i", ingress())
        await stage.settle()
        assert await address(stage) == [] and ("Warning", "ProgrammingFailed") in await stage.events("i")
        stage.cloud.failure = None
        await stage.settle(60)
        assert await address(stage) == [{"ip": "127.9.0.1"}]

"""A small AWS for tests: moto's server over real HTTP, with a network and instances, faults on demand, and what is left at the end.

moto is its own reference for what AWS answers; where it lacks something, the test that would need it says so.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import io
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import boto3
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from werkzeug.serving import make_server

from pilothouse.client.reconcile.kinds import ENDPOINT_SLICES, NODES, SERVICES, Kind
from pilothouse.client.reconcile.kit import Handler
from pilothouse.clock import SystemClock
from pilothouse.cloud.provider import CloudError, Provider, RetryAfter, Surroundings
from pilothouse.cloud.providers.aws import make

Obj = dict[str, Any]
CLUSTER = "test"
REGION = "us-east-1"
TAG = f"kubernetes.io/cluster/{CLUSTER}"
THROTTLED = b"<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Slow down.</Message></Error></Errors></Response>"
ELB_THROTTLED = b"<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>"
BROKEN = b"<Response><Errors><Error><Code>InternalError</Code><Message>Something broke.</Message></Error></Errors></Response>"
ELB_BROKEN = b"<ErrorResponse><Error><Code>InternalFailure</Code><Message>Something broke.</Message></Error></ErrorResponse>"


class Cache:
    """An informer's place: objects that a test puts there."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], Obj] = {}
        self._indexes: dict[str, Callable[[Obj], Iterable[str]]] = {}
        self._handlers: list[Handler] = []

    def put(self, obj: Obj) -> None:
        key = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        old = self._objects.get(key)
        self._objects[key] = obj
        for handler in self._handlers:
            handler(old, obj)

    def drop(self, obj: Obj) -> None:
        old = self._objects.pop((obj["metadata"].get("namespace", ""), obj["metadata"]["name"]), None)
        if old is not None:
            for handler in self._handlers:
                handler(old, None)

    def get(self, namespace: str, name: str) -> Obj | None:
        return self._objects.get((namespace, name))

    def list(self, namespace: str = "") -> list[Obj]:
        return [o for (ns, _), o in self._objects.items() if not namespace or ns == namespace]

    def indexed(self, index: str, value: str) -> list[Obj]:
        return [o for o in self._objects.values() if value in self._indexes[index](o)]

    def add_index(self, name: str, values: Callable[[Obj], Iterable[str]]) -> None:
        self._indexes[name] = values

    def add_handler(self, handler: Handler) -> None:
        self._handlers.append(handler)
        for obj in self._objects.values():
            handler(None, obj)


class Faults:
    """In front of moto: counts a provider's calls and spoils those that a test chooses, before or after they are carried out."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self.count = 0
        self.calls: list[str] = []
        #: Seconds that each call takes.
        self.latency = 0.0
        #: (n, how): the n-th call from now on; "throttle" and "break" do nothing, "lose" carries it out and says it broke.
        self.plan: dict[int, str] = {}

    def spoil(self, n: int, how: str) -> None:
        """The n-th call from now on."""
        self.clear()
        self.plan = {n: how}

    def __call__(self, environ: Obj, start: Any) -> Any:
        if "pilothouse" not in environ.get("HTTP_USER_AGENT", ""):  # the test's own
            return self._app(environ, start)
        if self.latency:
            threading.Event().wait(self.latency)
        with self._lock:
            self.count += 1
            how = self.plan.get(self.count, "")
            length = int(environ.get("CONTENT_LENGTH") or 0)
            body = environ["wsgi.input"].read(length) if length else b""
            self.calls.append(_name(environ, body))
        elb = b"Version=2015-12-01" in body
        if how == "throttle":
            start("503 Slow Down", [("Content-Type", "text/xml")])
            return [ELB_THROTTLED if elb else THROTTLED]
        if how in ("break", "lose"):
            if how == "lose":
                environ["wsgi.input"] = io.BytesIO(body)
                b"".join(self._app(environ, lambda *_: None))
            start("500 Broken", [("Content-Type", "text/xml")])
            return [ELB_BROKEN if elb else BROKEN]
        environ["wsgi.input"] = io.BytesIO(body)
        return self._app(environ, start)


def _name(environ: Obj, body: bytes) -> str:
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return target.rpartition(".")[2]
    return next((p[7:].decode() for p in body.split(b"&") if p.startswith(b"Action=")), "?")


class Server:
    """moto on a free port, in a thread."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app

        class Quiet(MotoRequestHandler):
            def log(self, *_: Any) -> None:
                """Requests are of no interest."""

        self.faults = Faults(DomainDispatcherApplication(create_backend_app))
        self._server = make_server("127.0.0.1", 0, self.faults, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        config = Config(retries={"total_max_attempts": 1})
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self.clients = {
            name: boto3.client(name, region_name=REGION, endpoint_url=self.url, config=config, **keys)
            for name in ("ec2", "elbv2", "acm")
        }

    def reset(self) -> None:
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")):
            self.faults.clear()

    def stop(self) -> None:
        for client in self.clients.values():
            client.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class World:
    """A VPC with public and private subnets in three zones, and what a cluster has there."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.faults = server.faults
        self.ec2, self.elb, self.acm = (server.clients[name] for name in ("ec2", "elbv2", "acm"))
        self.caches: dict[Kind, Cache] = {k: Cache() for k in (NODES, SERVICES, ENDPOINT_SLICES)}
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        self.public = [self._subnet(n, "kubernetes.io/role/elb") for n in range(2)]
        self.private = [self._subnet(n, "kubernetes.io/role/internal-elb", 10) for n in range(2)]
        self.nodes_group = self.ec2.create_security_group(
            GroupName="nodes", Description="nodes", VpcId=self.vpc, TagSpecifications=_tags("security-group", {TAG: "owned"})
        )["GroupId"]
        self.nodes: list[Obj] = []
        self.at_start: dict[str, Any] = {}
        self.events: list[str] = []

    def _subnet(self, zone: int, role: str, shift: int = 0) -> str:
        return self.ec2.create_subnet(
            VpcId=self.vpc,
            CidrBlock=f"10.0.{zone + shift}.0/24",
            AvailabilityZone=f"{REGION}{'abc'[zone]}",
            TagSpecifications=_tags("subnet", {role: "1", "Name": f"{role.rpartition('/')[2]}-{zone}"}),
        )["Subnet"]["SubnetId"]

    def add_node(self, subnet: int = 0, named: bool = False) -> Obj:
        """An instance and its Node; `named`: without a provider id."""
        return self.add_nodes(1, subnet, named)[0]

    def add_nodes(self, count: int, subnet: int = 0, named: bool = False) -> list[Obj]:
        instances = self.ec2.run_instances(
            ImageId="ami-12c6146b",
            MinCount=count,
            MaxCount=count,
            InstanceType="m5.large",
            SubnetId=self.private[subnet],
            SecurityGroupIds=[self.nodes_group],
        )["Instances"]
        nodes = [_node(i, named) for i in instances]
        for node in nodes:
            self.nodes.append(node)
            self.caches[NODES].put(node)
        return nodes

    def add_service(self, name: str = "web", *, uid: str = "", annotations: Obj | None = None, **spec: Any) -> Obj:
        """A Service of type LoadBalancer; annotations without the part of their name that all share."""
        service: Obj = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": name,
                "namespace": "default",
                "uid": uid or f"{len(self.caches[SERVICES].list()):08d}-0000-4000-8000-000000000000",
                "annotations": {f"service.beta.kubernetes.io/aws-load-balancer-{k}": v for k, v in (annotations or {}).items()},
            },
            "spec": {"type": "LoadBalancer", "ports": [port(80, 30080)], "externalTrafficPolicy": "Cluster", **spec},
        }
        self.caches[SERVICES].put(service)
        return service

    def put_endpoints(self, service: Obj, *addresses: str, number: int = 8080, name: str = "") -> None:
        """What its EndpointSlice says from now on."""
        meta = service["metadata"]
        self.caches[ENDPOINT_SLICES].put(
            {
                "metadata": {
                    "name": f"{meta['name']}-1",
                    "namespace": meta["namespace"],
                    "labels": {"kubernetes.io/service-name": meta["name"]},
                },
                "addressType": "IPv4",
                "ports": [{"name": name, "port": number, "protocol": "TCP"}],
                "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
            }
        )

    def certificate(self, name: str = "example.com") -> str:
        """A certificate in ACM, by its ARN."""
        chain, key = self_signed(name)
        return self.acm.import_certificate(Certificate=chain, PrivateKey=key)["CertificateArn"]

    def balancer(self) -> Obj:
        """The only one."""
        (found,) = self.elb.describe_load_balancers()["LoadBalancers"]
        return found

    def listeners(self) -> dict[int, Obj]:
        told = self.elb.describe_listeners(LoadBalancerArn=self.balancer()["LoadBalancerArn"])["Listeners"]
        return {t["Port"]: t for t in told}

    def target_groups(self) -> list[Obj]:
        return self.elb.describe_target_groups()["TargetGroups"]

    def target_group(self, listener: int) -> Obj:
        """The one that a listener forwards to."""
        arn = self.listeners()[listener]["DefaultActions"][0]["TargetGroupArn"]
        return self.elb.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]

    def targets(self, listener: int) -> list[tuple[str, int]]:
        told = self.elb.describe_target_health(TargetGroupArn=self.target_group(listener)["TargetGroupArn"])
        return sorted((d["Target"]["Id"], d["Target"]["Port"]) for d in told["TargetHealthDescriptions"])

    def ingress(self, group: str) -> list[tuple[str, int, str]]:
        """Protocol, port and source of what a security group lets in."""
        way = [{"Name": "group-id", "Values": [group]}]
        return sorted(
            (
                r["IpProtocol"],
                r["FromPort"],
                r.get("CidrIpv4") or r.get("CidrIpv6") or r.get("PrefixListId") or r["ReferencedGroupInfo"]["GroupId"],
            )
            for r in self.ec2.describe_security_group_rules(Filters=way)["SecurityGroupRules"]
            if not r["IsEgress"]
        )

    def tags(self, arn: str) -> dict[str, str]:
        (told,) = self.elb.describe_tags(ResourceArns=[arn])["TagDescriptions"]
        return {t["Key"]: t["Value"] for t in told["Tags"]}

    def attributes(self, arn: str) -> dict[str, str]:
        if ":targetgroup/" in arn:
            told = self.elb.describe_target_group_attributes(TargetGroupArn=arn)
        else:
            told = self.elb.describe_load_balancer_attributes(LoadBalancerArn=arn)
        return {a["Key"]: a["Value"] for a in told["Attributes"]}

    def remember(self) -> None:
        """What is there before the cluster makes anything."""
        self.at_start = self.inventory()
        self.faults.clear()

    def inventory(self) -> dict[str, Any]:
        """Everything that a provider could leave behind."""
        return {
            "load balancers": sorted(b["LoadBalancerName"] for b in self.elb.describe_load_balancers()["LoadBalancers"]),
            "target groups": sorted(t["TargetGroupName"] for t in self.elb.describe_target_groups()["TargetGroups"]),
            "security groups": sorted(g["GroupName"] for g in self.ec2.describe_security_groups()["SecurityGroups"]),
            "rules": sorted(
                (r["GroupId"], r["IpProtocol"], r.get("FromPort", -1), r.get("CidrIpv4", ""))
                for r in self.ec2.describe_security_group_rules()["SecurityGroupRules"]
            ),
            "routes": sorted(
                (t["RouteTableId"], r.get("DestinationCidrBlock", ""))
                for t in self.ec2.describe_route_tables()["RouteTables"]
                for r in t["Routes"]
            ),
            "certificates": sorted(c["CertificateArn"] for c in self.acm.list_certificates()["CertificateSummaryList"]),
        }

    def surroundings(self) -> Surroundings:
        return Surroundings(
            clock=SystemClock(seed=1),
            cluster=CLUSTER,
            cache=lambda kind: self.caches[kind],
            api=None,  # type: ignore[arg-type]  # nothing is asked of the API server
            event=lambda about, kind, type, reason, message: self.events.append(message),
        )

    @contextlib.asynccontextmanager
    async def provider(self, more: str = "", vpc: bool = True) -> Any:
        """A fresh provider, as after a restart."""
        named = f"VPC = {self.vpc}\n" if vpc else ""
        config = f"[Global]\nZone = {REGION}a\n{named}EndpointURL = {self.server.url}\n{more}"
        made: Provider = make(config, SystemClock(seed=1))
        await made.start(self.surroundings())
        try:
            yield made
        finally:
            await made.close()


def _node(instance: Obj, named: bool) -> Obj:
    zone = instance["Placement"]["AvailabilityZone"]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": instance["PrivateDnsName"], "uid": instance["InstanceId"]},
        "spec": {} if named else {"providerID": f"aws:///{zone}/{instance['InstanceId']}"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


@functools.cache
def self_signed(name: str) -> tuple[bytes, bytes]:
    """A certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), plain


def port(number: int, node_port: int = 0, protocol: str = "TCP", **more: Any) -> Obj:
    return {"port": number, "protocol": protocol, "targetPort": 8080} | ({"nodePort": node_port} if node_port else {}) | more


async def until_done(work: Callable[[], Any], tries: int = 5) -> Any:
    """What the guard does around a provider, without its pauses."""
    for left in range(tries, 0, -1):
        try:
            return await work()
        except RetryAfter:
            raise
        except CloudError:
            if left == 1:
                raise
    raise AssertionError


def _tags(kind: str, tags: dict[str, str]) -> list[Obj]:
    return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]


@contextlib.contextmanager
def running() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.stop()


async def ensure(world: World, service: dict, more: str = "") -> dict:
    """The Service's load balancer, by a provider of its own."""
    async with world.provider(more) as aws:
        return await aws.load_balancers().ensure(CLUSTER, service, world.nodes)


async def delete(world: World, service: dict) -> None:
    async with world.provider() as aws:
        await aws.load_balancers().ensure_deleted(CLUSTER, service)

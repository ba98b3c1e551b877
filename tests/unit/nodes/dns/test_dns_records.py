"""The records of a cluster, asked for by name: the specification, section by section, and what clusters rely on besides."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rdatatype
import dns.reversename
import pytest
from dns_cluster import NODES, PODS, SERVICES, SLICES, Objects, asker, endpoint

from pilothouse.nodes.dns.zone import Options

ZONE = "cluster.local"


@pytest.fixture
def objects() -> Objects:
    out = Objects()
    out.namespace("default")
    out.service("web", ports=[{"name": "http", "port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}])
    out.slice("web", endpoint("10.64.0.2"), endpoint("10.64.0.3", ready=False))
    out.service("db", ip="None")
    out.slice("db", endpoint("10.64.0.4", "db-0"), endpoint("10.64.0.5", "db-1"), endpoint("10.64.0.6", ready=False))
    out.slice("db", endpoint("10.64.0.7", ready=None), endpoint("10.64.0.4", "db-0"), name="db-2")
    return out


async def test_a_service_has_the_address_of_its_cluster_ip(objects: Objects) -> None:
    objects.service("both", ip="10.96.0.9", clusterIPs=["10.96.0.9", "fd00::9"])
    async with asker(objects) as to:
        assert to.told("web.default.svc.cluster.local") == ["A 10.96.0.7"]
        assert to.told("WEB.Default.SVC.cluster.LOCAL") == ["A 10.96.0.7"]
        assert to.told("both.default.svc.cluster.local", "AAAA") == ["AAAA fd00::9"]
        answer = to.ask("web.default.svc.cluster.local")
        assert answer.answer[0].ttl == 5
        assert answer.flags & dns.flags.AA


async def test_a_named_port_has_a_service_record_with_the_address_besides(objects: Objects) -> None:
    async with asker(objects) as to:
        answer = to.ask("_http._tcp.web.default.svc.cluster.local", "SRV")
        assert [str(d) for d in answer.answer[0]] == ["0 100 80 web.default.svc.cluster.local."]
        assert [str(a) for a in answer.additional] == ["web.default.svc.cluster.local. 5 IN A 10.96.0.7"]
        assert to.told("_http._udp.web.default.svc.cluster.local", "SRV") == ["NXDOMAIN"]
        assert to.told("http.tcp.web.default.svc.cluster.local", "SRV") == ["NXDOMAIN"]
        every = to.told("web.default.svc.cluster.local", "SRV")
        assert every == ["SRV 0 50 53 web.default.svc.cluster.local.", "SRV 0 50 80 web.default.svc.cluster.local."]


async def test_a_headless_service_has_its_ready_endpoints_each_once(objects: Objects) -> None:
    async with asker(objects) as to:
        assert to.told("db.default.svc.cluster.local") == ["A 10.64.0.4", "A 10.64.0.5", "A 10.64.0.7"]
        assert to.told("db.default.svc.cluster.local", "AAAA") == []


async def test_endpoints_have_names_by_hostname_or_else_by_address(objects: Objects) -> None:
    async with asker(objects) as to:
        assert to.told("db-1.db.default.svc.cluster.local") == ["A 10.64.0.5"]
        assert to.told("10-64-0-7.db.default.svc.cluster.local") == ["A 10.64.0.7"]
        assert to.told("10-64-0-5.db.default.svc.cluster.local") == ["NXDOMAIN"]
        assert to.told("10-64-0-2.web.default.svc.cluster.local") == ["A 10.64.0.2"]
        assert to.told("10-64-0-3.web.default.svc.cluster.local") == ["NXDOMAIN"]


async def test_the_service_records_of_a_headless_service_name_its_endpoints(objects: Objects) -> None:
    async with asker(objects) as to:
        answer = to.ask("_http._tcp.db.default.svc.cluster.local", "SRV", use_edns=0)
        assert sorted(str(d) for d in answer.answer[0]) == [
            "0 33 8080 10-64-0-7.db.default.svc.cluster.local.",
            "0 33 8080 db-0.db.default.svc.cluster.local.",
            "0 33 8080 db-1.db.default.svc.cluster.local.",
        ]
        assert sorted(str(a.name) for a in answer.additional)[1] == "db-0.db.default.svc.cluster.local."


async def test_a_headless_service_without_ready_endpoints_does_not_exist(objects: Objects) -> None:
    objects.slice("db", endpoint("10.64.0.6", ready=False))
    objects.slice("db", name="db-2")
    async with asker(objects) as to:
        assert to.told("db.default.svc.cluster.local") == ["NXDOMAIN"]


async def test_a_headless_service_without_ports_has_addresses_and_no_service_records(objects: Objects) -> None:
    objects.service("bare", ip="None", ports=None)
    objects.slice("bare", endpoint("10.64.0.9"), ports=None)
    async with asker(objects) as to:
        assert to.told("bare.default.svc.cluster.local") == ["A 10.64.0.9"]
        assert to.told("bare.default.svc.cluster.local", "SRV") == []


async def test_an_external_name_is_an_alias_that_is_followed_inside_the_cluster(objects: Objects) -> None:
    objects.service("out", type="ExternalName", externalName="example.com")
    objects.service("alias", type="ExternalName", externalName="web.default.svc.cluster.local.")
    objects.service("lost", type="ExternalName", externalName="none.default.svc.cluster.local")
    objects.service("loop", type="ExternalName", externalName="loop.default.svc.cluster.local")
    objects.service("number", type="ExternalName", externalName="1.2.3.4")
    async with asker(objects) as to:
        assert to.told("out.default.svc.cluster.local") == ["CNAME example.com."]
        assert to.told("alias.default.svc.cluster.local") == ["A 10.96.0.7", "CNAME web.default.svc.cluster.local."]
        assert to.told("alias.default.svc.cluster.local", "CNAME") == ["CNAME web.default.svc.cluster.local."]
        assert to.told("lost.default.svc.cluster.local") == ["NXDOMAIN"]
        assert to.told("loop.default.svc.cluster.local") == ["CNAME loop.default.svc.cluster.local."]
        assert to.told("number.default.svc.cluster.local") == ["NXDOMAIN"]
        objects.service("web", ip="10.96.0.8")
        await to.news()
        assert to.told("alias.default.svc.cluster.local") == ["A 10.96.0.8", "CNAME web.default.svc.cluster.local."]


@pytest.mark.parametrize("name", ["", "svc.", "pod.", "default.svc.", "default.pod.", "dns.", "web.default.svc.", "dns-version."])
async def test_a_name_without_such_records_has_no_data_and_says_for_how_long(objects: Objects, name: str) -> None:
    async with asker(objects) as to:
        answer = to.ask(name + ZONE, "MX")
        assert (dns.rcode.to_text(answer.rcode()), answer.answer) == ("NOERROR", [])
        soa = answer.authority[0]
        assert (str(soa.name), soa.ttl, soa[0].minimum) == ("cluster.local.", 5, 5)
        assert str(soa[0].mname) == "ns.dns.cluster.local."


@pytest.mark.parametrize(
    "name",
    ["other", "web.none.svc", "none.svc", "none.default.svc", "a.b.web.default.svc", "_a._b._c.web.default.svc", "x.dns",
     "*.default.svc", "a.dns-version", "1-2-3.default.pod", "1-2-3-4.none.pod", "x.default.pod", "kubernetes.io.default.svc"],
)  # fmt: skip
async def test_a_name_that_is_none_does_not_exist(objects: Objects, name: str) -> None:
    async with asker(objects) as to:
        answer = to.ask(f"{name}.{ZONE}")
        assert dns.rcode.to_text(answer.rcode()) == "NXDOMAIN"
        assert answer.authority[0].rdtype == dns.rdatatype.SOA


async def test_the_zone_tells_its_version_its_server_and_its_authority(objects: Objects) -> None:
    objects.service("kube-dns", "kube-system", "10.96.0.10")
    async with asker(objects) as to:
        assert to.told("dns-version.cluster.local", "TXT") == ['TXT "1.1.0"']
        assert to.told("cluster.local", "NS") == ["NS ns.dns.cluster.local."]
        assert to.told("ns.dns.cluster.local") == ["A 10.96.0.10"]
        assert to.told("cluster.local", "SOA")[0].startswith("SOA ns.dns.cluster.local. hostmaster.cluster.local. ")


async def test_addresses_have_the_names_of_services_and_endpoints(objects: Objects) -> None:
    async with asker(objects) as to:
        assert to.told("7.0.96.10.in-addr.arpa", "PTR") == ["PTR web.default.svc.cluster.local."]
        assert to.told("4.0.64.10.in-addr.arpa", "PTR") == ["PTR db-0.db.default.svc.cluster.local."]
        assert to.told("6.0.64.10.in-addr.arpa", "PTR") == ["NXDOMAIN"]
        objects.remove(SERVICES, "web", "default")
        objects.slice("db", endpoint("10.64.0.44", "db-0"))
        objects.remove(SLICES, "db-2", "default")
        await to.news()
        assert to.told("7.0.96.10.in-addr.arpa", "PTR") == ["NXDOMAIN"]
        assert to.told("4.0.64.10.in-addr.arpa", "PTR") == ["NXDOMAIN"]
        assert to.told("44.0.64.10.in-addr.arpa", "PTR") == ["PTR db-0.db.default.svc.cluster.local."]


async def test_addresses_of_the_other_family_have_names_too(objects: Objects) -> None:
    objects.service("six", ip="fd00::9")
    objects.slice("six", endpoint("fd00:0::a"), addressType="IPv6")
    async with asker(objects) as to:
        assert to.told(dns.reversename.from_address("fd00::9"), "PTR") == ["PTR six.default.svc.cluster.local."]
        assert to.told(dns.reversename.from_address("fd00::a"), "PTR") == ["PTR fd00--a.six.default.svc.cluster.local."]
        assert to.told("fd00-0--a.six.default.svc.cluster.local", "AAAA") == ["AAAA fd00::a"]


async def test_pods_have_names_by_their_addresses(objects: Objects) -> None:
    async with asker(objects) as to:
        assert to.told("10-64-0-2.default.pod.cluster.local") == ["A 10.64.0.2"]
        assert to.told("fd00--1.default.pod.cluster.local", "AAAA") == ["AAAA fd00::1"]
        assert to.told("10-64-0-2.default.pod.cluster.local", "AAAA") == []
        assert to.told("10-64-0-2.other.pod.cluster.local") == ["NXDOMAIN"]
        objects.namespace("other")
        await to.news()
        assert to.told("10-64-0-2.other.pod.cluster.local") == ["A 10.64.0.2"]


async def test_names_of_pods_can_be_limited_to_those_that_exist(objects: Objects) -> None:
    objects.put(PODS, "p", "default", status={"phase": "Running", "podIPs": [{"ip": "10.64.0.2"}]})
    async with asker(objects, Options(pods="verified")) as to:
        assert to.told("10-64-0-2.default.pod.cluster.local") == ["A 10.64.0.2"]
        assert to.told("10-64-0-3.default.pod.cluster.local") == ["NXDOMAIN"]
        objects.put(PODS, "q", "default", status={"podIPs": [{"ip": "10.64.0.3"}]})
        objects.remove(PODS, "p", "default")
        await to.news()
        assert to.told("10-64-0-2.default.pod.cluster.local") == ["NXDOMAIN"]
        assert to.told("10-64-0-3.default.pod.cluster.local") == ["A 10.64.0.3"]


async def test_twins_are_told_of_what_is_simulated_if_asked_for(objects: Objects) -> None:
    objects.put(NODES, "sim", metadata={"labels": {"pilothouse.dev/simulated": "true"}})
    objects.put(NODES, "real")
    objects.service("mixed", ip="None")
    objects.slice("mixed", endpoint("10.64.0.8", node="sim"), endpoint("10.1.2.3", node="real"))
    async with asker(objects, Options(twins=frozenset({"services", "pods"}))) as to:
        assert to.told("web.default.svc.cluster.local") == ["A 127.96.0.7"]
        assert to.told("mixed.default.svc.cluster.local") == ["A 10.1.2.3", "A 127.64.0.8"]
        assert to.told("7.0.96.127.in-addr.arpa", "PTR") == ["PTR web.default.svc.cluster.local."]
        assert to.told("10-64-0-2.default.pod.cluster.local") == ["A 127.64.0.2"]


async def test_another_zone_can_be_served(objects: Objects) -> None:
    async with asker(objects, Options(zone="k8s.example.", ttl=30)) as to:
        answer = to.ask("web.default.svc.k8s.example")
        assert str(answer.answer[0]) == "web.default.svc.k8s.example. 30 IN A 10.96.0.7"
        assert to.told("web.default.svc.cluster.local") == ["REFUSED"]


async def test_answers_follow_what_changes(objects: Objects) -> None:
    async with asker(objects) as to:
        names = ["web.default.svc.cluster.local", "new.default.svc.cluster.local", "db.default.svc.cluster.local"]
        assert [to.told(n) for n in names[:2]] == [["A 10.96.0.7"], ["NXDOMAIN"]]
        assert len(to.told(names[2])) == 3
        objects.service("web", ip="10.96.0.70")
        objects.service("new", ip="10.96.0.71")
        objects.remove(SLICES, "db", "default")
        await to.news()
        assert [to.told(n) for n in names] == [["A 10.96.0.70"], ["A 10.96.0.71"], ["A 10.64.0.4", "A 10.64.0.7"]]
        objects.remove(SERVICES, "web", "default")
        await to.news()
        assert to.told(names[0]) == ["NXDOMAIN"]


async def test_a_change_costs_only_answers_made_from_it(objects: Objects) -> None:
    async with asker(objects) as to:
        kept = to.responder.cache.answers
        for name in ("web.default.svc", "db.default.svc", "db-0.db.default.svc", "none.default.svc"):
            to.ask(f"{name}.{ZONE}", id=1)
        assert len(kept) == 4
        objects.slice("db", endpoint("10.64.0.4", "db-0"))
        await to.news()
        assert len(kept) == 2
        objects.service("none")
        await to.news()
        assert len(kept) == 1


async def test_addresses_come_in_turn(objects: Objects) -> None:
    async with asker(objects) as to:
        wires = [to.wire(dns.message.make_query("db.default.svc.cluster.local", "A", id=1).to_wire()) for _ in range(7)]
        parsed = [dns.message.from_wire(w, one_rr_per_rrset=True) for w in wires if w]
        assert len({str(m.answer[0][0]) for m in parsed}) == 3
        assert {len(m.answer) for m in parsed} == {3}

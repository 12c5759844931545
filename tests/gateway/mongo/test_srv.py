"""mongodb+srv:// against a real DNS server: what is followed, what is refused, and what is looked up again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from wardgate.api.machine import MongoTarget
from wardgate.api.models import HopKind
from wardgate.gateway.mongo import srv
from wardgate.gateway.mongo.approach import run_test
from wardgate.gateway.mongo.connection import resolve
from wardgate.gateway.mongo.errors import MongoError
from wardgate.gateway.mongo.names import Names
from wardgate.gateway.mongo.site import Site
from wardgate.gateway.mongo.target import Target
from wardgate.numbers import Numbers
from wardgate.testing.dns import DnsServer, Fault

HOST = "cluster0.shop.test"
RECORD = f"_mongodb._tcp.{HOST}"


@pytest.fixture
def zone() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture
def names(zone: DnsServer) -> Names:
    return Names(("127.0.0.1", zone.port))


def model(**changes: Any) -> MongoTarget:
    values: dict[str, Any] = {
        "hosts": [],
        "srv_host": HOST,
        "tls": True,
        "reject_unauthorized": True,
        "auth_database": "admin",
    }
    return MongoTarget(**{**values, **changes})


async def located(names: Names, **changes: Any) -> srv.Located:
    return await srv.locate(model(**changes), names, 1.0)


async def refusal(names: Names, **changes: Any) -> MongoError:
    with pytest.raises(MongoError) as caught:
        await located(names, **changes)
    assert str(caught.value).isprintable()
    return caught.value


async def test_hosts_and_options_come_from_dns(zone: DnsServer, names: Names) -> None:
    zone.add_service(HOST, ("M0.shop.test", 27017), ("m1.shop.test", 27018), ttl=300)
    zone.add(HOST, "TXT", '"authSource=admin&replica" "Set=atlas-0"')
    found = await located(names)
    assert sorted(found.model.hosts) == [("m0.shop.test", 27017), ("m1.shop.test", 27018)]
    assert (found.model.set_name, found.model.load_balanced) == ("atlas-0", False)
    assert found.seeds is not None
    assert (found.seeds.record, found.seeds.pause) == (RECORD, 300.0)
    assert "m1.shop.test:27018" in found.note
    assert "authSource" not in found.note


async def test_a_target_with_hosts_asks_nobody(zone: DnsServer, names: Names) -> None:
    plain = model(srv_host=None, hosts=[("db1", 27017)])
    assert (await srv.locate(plain, names, 1.0)).model is plain
    assert not zone.asked


async def test_what_the_resource_says_counts_more_than_txt(zone: DnsServer, names: Names) -> None:
    zone.add_service(HOST, ("m0.shop.test", 27017))
    zone.add(HOST, "TXT", '"authSource=other&replicaSet=theirs"')
    found = await located(names, set_name="ours")
    assert (found.model.set_name, found.model.auth_database) == ("ours", "admin")
    assert "authSource=other" in found.note
    assert "what counts" in found.note


async def test_a_service_of_another_name(zone: DnsServer, names: Names) -> None:
    zone.add_service(HOST, ("m0.shop.test", 27017), service="customers")
    assert (await located(names, srv_service="customers")).model.hosts == [("m0.shop.test", 27017)]
    assert (await refusal(names)).code == "dns_srv_missing"


async def test_an_answer_too_long_for_udp(zone: DnsServer, names: Names) -> None:
    zone.add_service(HOST, *[(f"member-with-a-long-name-{n:02}.shop.test", 27017) for n in range(50)])
    zone.fail(RECORD, Fault.TRUNCATED)
    assert len((await located(names)).model.hosts) == 50


@pytest.mark.parametrize(
    ("srv_host", "host", "inside"),
    [
        (HOST, "m0.shop.test", True),
        (HOST, "deep.below.shop.test", True),
        (HOST, "m0.SHOP.test", True),
        (HOST, HOST, True),
        (HOST, "m0.other.test", False),
        (HOST, "m0.notshop.test", False),
        (HOST, "shop.test", False),
        (HOST, "evil.example", False),
        (HOST, "m0.shop.test.evil.example", False),
        ("two.test", "m0.two.test", True),
        ("two.test", "two.test", False),
        ("two.test", "other.test", False),
    ],
)
async def test_only_hosts_of_its_own_domain(
    zone: DnsServer, names: Names, srv_host: str, host: str, inside: bool
) -> None:
    zone.add_service(srv_host, (host, 27017))
    if inside:
        assert (await located(names, srv_host=srv_host)).model.hosts == [(host.lower(), 27017)]
    else:
        error = await refusal(names, srv_host=srv_host)
        assert error.code == "dns_srv_host"
        assert host in str(error)


async def test_one_stranger_spoils_all_at_the_start(zone: DnsServer, names: Names) -> None:
    zone.add_service(HOST, ("m0.shop.test", 27017), ("evil.example", 27017))
    assert (await refusal(names)).code == "dns_srv_host"


@pytest.mark.parametrize("host", [r"a\032b.shop.test", r"a\000b.shop.test", r"a\064b.shop.test"])
async def test_hostile_host_names(zone: DnsServer, names: Names, host: str) -> None:
    zone.add_service(HOST, (host, 27017))
    assert (await refusal(names)).code == "dns_srv_host"


async def test_a_name_that_only_looks_like_an_address(zone: DnsServer, names: Names) -> None:
    """Its addresses are judged when it is dialled, as everybody's."""
    zone.add_service(HOST, ("169.254.169.254.shop.test", 27017))
    assert (await located(names)).model.hosts == [("169.254.169.254.shop.test", 27017)]


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        (('"ssl=false"',), "dns_txt_invalid"),
        (('"authSource=admin&tls=false"',), "dns_txt_invalid"),
        (('"authSource"',), "dns_txt_invalid"),
        (('"authSource="',), "dns_txt_invalid"),
        (('""',), "dns_txt_invalid"),
        (('"replicaSet=a&replicaSet=b"',), "dns_txt_invalid"),
        (('"loadBalanced=maybe"',), "dns_txt_invalid"),
        (('"loadBalanced=true&replicaSet=a"',), "dns_txt_invalid"),
        (('"authSource=a"', '"replicaSet=b"'), "dns_txt_invalid"),
    ],
)
async def test_txt_that_is_not_taken(zone: DnsServer, names: Names, texts: tuple[str, ...], code: str) -> None:
    zone.add_service(HOST, ("m0.shop.test", 27017))
    zone.add(HOST, "TXT", *texts)
    error = await refusal(names)
    assert error.code == code
    assert HOST in str(error)


async def test_load_balanced_by_txt(zone: DnsServer, names: Names) -> None:
    zone.add_service(HOST, ("lb.shop.test", 27017))
    zone.add(HOST, "TXT", '"loadBalanced=true"')
    assert (await located(names)).model.load_balanced
    zone.add_service(HOST, ("lb.shop.test", 27017), ("lb2.shop.test", 27017))
    assert (await refusal(names)).code == "dns_srv_host"


async def test_some_of_many_hosts(zone: DnsServer, names: Names) -> None:
    every = {(f"m{n}.shop.test", 27017) for n in range(10)}
    zone.add_service(HOST, *every)
    hosts = (await located(names, srv_max_hosts=3)).model.hosts
    assert len(set(hosts)) == 3
    assert set(hosts) <= every
    assert len((await located(names, srv_max_hosts=20)).model.hosts) == 10
    zone.add(HOST, "TXT", '"replicaSet=a"')
    assert (await refusal(names, srv_max_hosts=3)).code == "dns_txt_invalid"


async def test_more_hosts_than_a_deployment_has(zone: DnsServer, names: Names) -> None:
    zone.add_service(HOST, *[(f"m{n}.shop.test", 27017) for n in range(65)])
    assert (await refusal(names)).code == "dns_srv_host"


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.SILENT])
@pytest.mark.parametrize("which", [RECORD, HOST])
async def test_dns_that_fails_is_told_with_the_record(zone: DnsServer, names: Names, fault: Fault, which: str) -> None:
    zone.add_service(HOST, ("m0.shop.test", 27017))
    zone.fail(which, fault)
    error = await refusal(names)
    assert error.code == "dns_failed"
    assert which in str(error)


async def test_addresses_come_from_the_named_server_too(zone: DnsServer, names: Names) -> None:
    zone.add("m0.shop.test", "A", "127.0.0.1", "169.254.169.254")
    zone.add("m0.shop.test", "AAAA", "::1")
    zone.add("evil.shop.test", "A", "169.254.169.254")
    target = Target.of(model(srv_host=None, hosts=[("m0.shop.test", 1)]), names=names)
    found = {each.sockaddr[:2] for each in await resolve(target, "m0.shop.test:5")}
    assert found == {("127.0.0.1", 5), ("::1", 5)}
    for name, code in (("evil.shop.test:5", "address_refused"), ("none.shop.test:5", "dns_failed")):
        with pytest.raises(MongoError) as caught:
            await resolve(target, name)
        assert caught.value.code == code


class HalfServer(DnsServer):
    """Fails at questions for IPv6 addresses, as some do in front of old zones."""

    def answer(self, data: bytes, *, udp: bool) -> bytes | None:
        query = dns.message.from_wire(data)
        if query.question[0].rdtype is not dns.rdatatype.AAAA:
            return super().answer(data, udp=udp)
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.SERVFAIL)
        return reply.to_wire()


async def test_one_family_is_enough() -> None:
    with HalfServer() as zone:
        zone.add("m0.shop.test", "A", "127.0.0.1")
        names = Names(("127.0.0.1", zone.port))
        assert [each.sockaddr for each in await names.addresses("m0.shop.test", 5, 1.0)] == [("127.0.0.1", 5)]
        with pytest.raises(OSError, match="no address"):
            await names.addresses("none.shop.test", 5, 1.0)


# --- again --------------------------------------------------------------------------------------------------------


async def seeds_of(names: Names, **changes: Any) -> srv.Seeds:
    seeds = (await located(names, **changes)).seeds
    assert seeds is not None
    return seeds


async def test_another_look_follows_the_record(zone: DnsServer, names: Names) -> None:
    zone.add_service(HOST, ("m0.shop.test", 27017))
    seeds = await seeds_of(names)
    zone.add_service(HOST, ("m1.shop.test", 27017), ("evil.example", 27017), ttl=600)
    again, pause = await seeds.again(("m0.shop.test:27017",), 1.0)
    assert (again, pause) == (("m1.shop.test:27017",), 600.0)
    zone.add_service(HOST, ("evil.example", 27017))
    with pytest.raises(MongoError):
        await seeds.again(again, 1.0)
    zone.remove(RECORD, "SRV")
    with pytest.raises(MongoError):
        await seeds.again(again, 1.0)


async def test_another_look_keeps_who_is_known(zone: DnsServer, names: Names) -> None:
    every = [(f"m{n}.shop.test", 27017) for n in range(10)]
    zone.add_service(HOST, *every)
    seeds = await seeds_of(names, srv_max_hosts=2)
    known = ("m7.shop.test:27017", "gone.shop.test:27017")
    again, pause = await seeds.again(known, 1.0)
    assert len(again) == 2
    assert again[0] == "m7.shop.test:27017"
    assert pause == 60.0


# --- the connection test ------------------------------------------------------------------------------------------


async def test_the_failed_record_is_a_hop(zone: DnsServer, names: Names, quick: Numbers) -> None:
    result = await run_test(model(), None, Site(names=names), quick)
    assert not result.ok
    (hop,) = result.hops
    assert (hop.hop, hop.target, hop.code) == (HopKind.DNS, RECORD, "dns_srv_missing")


async def test_the_record_is_the_first_hop(zone: DnsServer, names: Names, quick: Numbers) -> None:
    zone.add_service(HOST, ("m0.shop.test", 1))
    zone.add("m0.shop.test", "A", "127.0.0.1")
    result = await run_test(model(), None, Site(names=names), quick)
    seen = [(hop.hop, hop.target, hop.ok) for hop in result.hops]
    assert seen[:3] == [
        (HopKind.DNS, RECORD, True),
        (HopKind.DNS, "m0.shop.test:1", True),
        (HopKind.TCP, "m0.shop.test:1", False),
    ]

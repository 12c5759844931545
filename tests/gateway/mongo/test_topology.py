"""The monitor on real replica sets: discovery, step-down, a member that hangs, seeds that lie."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import bson
import pytest

from wardgate.gateway.mongo.discovery import Kind, Role, Topology
from wardgate.gateway.mongo.errors import Code, MongoError
from wardgate.gateway.mongo.login import Login
from wardgate.gateway.mongo.topology import TopologyMonitor
from wardgate.testing.certificates import CertificateAuthority
from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.ports import free_ports
from wardgate.wire.header import HEADER_BYTES, build_msg, header_of

TargetOf = Callable[..., Any]
StartServer = Callable[..., Any]
PATIENCE = 60.0  # seconds; elections take as long as they take on a busy machine


def addresses(deployment: MongoDeployment) -> set[str]:
    return {member.address for member in deployment.members}


def settled(topology: Topology) -> bool:
    return topology.primary is not None and all(member.role is not Role.UNKNOWN for member in topology.members)


def primary_is_not(address: str) -> Callable[[Topology], bool]:
    return lambda topology: topology.primary not in (None, address)


async def test_one_member_and_what_the_login_learns(
    target_of: TargetOf, login_of: Callable[..., Login], mongod_rs1: MongoDeployment
) -> None:
    login = login_of(mongod_rs1.ro)
    async with TopologyMonitor(target_of(mongod_rs1), login=login) as monitor:
        assert await monitor.wait_primary(PATIENCE) == mongod_rs1.members[0].address
        assert (monitor.topology.kind, monitor.topology.set_name) == (Kind.REPLICA_SET, "rs0")
        assert login.name_for_hello is None


async def test_standalone(target_of: TargetOf, mongod_standalone: MongoDeployment) -> None:
    async with TopologyMonitor(target_of(mongod_standalone)) as monitor:
        assert await monitor.wait_primary(PATIENCE) == mongod_standalone.members[0].address
        assert monitor.topology.kind is Kind.STANDALONE


async def test_all_members_from_one_seed_beside_a_dead_one(target_of: TargetOf, mongod_rs3: MongoDeployment) -> None:
    (dead,) = free_ports(1)
    hosts = [("127.0.0.1", dead), ("127.0.0.1", mongod_rs3.members[1].port)]
    async with TopologyMonitor(target_of(mongod_rs3, hosts=hosts)) as monitor:
        topology = await monitor.wait_for(settled, PATIENCE)
        assert {member.address for member in topology.members} == addresses(mongod_rs3)
        assert monitor.errors() == {}


async def test_a_seed_by_another_name(target_of: TargetOf, mongod_rs3: MongoDeployment) -> None:
    hosts = [("localhost", mongod_rs3.members[0].port)]
    async with TopologyMonitor(target_of(mongod_rs3, hosts=hosts)) as monitor:
        topology = await monitor.wait_for(settled, PATIENCE)
        assert {member.address for member in topology.members} == addresses(mongod_rs3)


async def test_step_down_is_told_to_listeners_in_order(target_of: TargetOf, mongod_rs3: MongoDeployment) -> None:
    told: list[Topology] = []
    async with TopologyMonitor(target_of(mongod_rs3), on_change=told.append) as monitor:
        await monitor.wait_for(settled, PATIENCE)
        before = await monitor.wait_primary(PATIENCE)
        await asyncio.to_thread(mongod_rs3.step_down)
        after = (await monitor.wait_for(primary_is_not(before), PATIENCE)).primary
    primaries = [topology.primary for topology in told]
    assert primaries.index(before) < primaries.index(after)
    assert all(one != other for one, other in itertools.pairwise(told))


async def test_a_member_that_hangs_is_lost_and_found_again(target_of: TargetOf, mongod_rs3: MongoDeployment) -> None:
    index = await asyncio.to_thread(mongod_rs3.primary)
    stopped = mongod_rs3.members[index].address
    async with TopologyMonitor(target_of(mongod_rs3), await_seconds=0.2, probe_timeout=0.5) as monitor:
        await monitor.wait_for(settled, PATIENCE)
        mongod_rs3.pause(index)
        try:
            topology = await monitor.wait_for(primary_is_not(stopped), PATIENCE)
            assert topology.role(stopped) is Role.UNKNOWN
            assert stopped in monitor.errors()
        finally:
            mongod_rs3.resume(index)
        await monitor.wait_for(lambda seen: settled(seen) and not monitor.errors(), PATIENCE)


async def test_wrong_set_name(target_of: TargetOf, mongod_rs1: MongoDeployment) -> None:
    async with TopologyMonitor(target_of(mongod_rs1, set_name="other")) as monitor:
        await monitor.wait_for(lambda topology: topology.problem is not None, PATIENCE)
        with pytest.raises(MongoError) as caught:
            await monitor.wait_primary(0.01)
    assert caught.value.code == "topology_set_name"
    assert "rs0" in str(caught.value)


async def test_nobody_there(target_of: TargetOf) -> None:
    (dead,) = free_ports(1)
    async with TopologyMonitor(target_of(f"127.0.0.1:{dead}")) as monitor:
        with pytest.raises(MongoError) as caught:
            await monitor.wait_primary(0.3)
        assert caught.value.code == "topology_no_primary"
        assert f"127.0.0.1:{dead} refused the connection" in str(caught.value)


async def test_a_hello_can_not_lure_the_gateway_to_metadata(
    target_of: TargetOf, start_server: StartServer, mongo_double: Callable[..., Any]
) -> None:
    lure = {"ok": 1, "setName": "rs0", "secondary": True, "hosts": ["169.254.169.254:80"], "maxWireVersion": 17}
    address = await start_server(mongo_double(lambda _: lure))
    async with TopologyMonitor(target_of(address), poll=0.01) as monitor:
        topology = await monitor.wait_for(lambda seen: seen.role("169.254.169.254:80") is not None, PATIENCE)
        while "169.254.169.254:80" not in monitor.errors():
            await asyncio.sleep(0.01)
        assert "never dials" in monitor.errors()["169.254.169.254:80"]
        assert topology.primary is None


async def test_old_servers_are_polled_and_a_lost_one_is_retried(
    target_of: TargetOf, start_server: StartServer, mongo_double: Callable[..., Any]
) -> None:
    answers = iter([{"ok": 1}, {"ok": 1}, b"garbage garbage garbage", *[{"ok": 1}] * 1000])
    address = await start_server(mongo_double(lambda _: next(answers)))
    told: list[Topology] = []
    async with TopologyMonitor(target_of(address), on_change=told.append, poll=0.01) as monitor:
        await monitor.wait_for(lambda _: [each.primary for each in told][-3:] == [address, None, address], PATIENCE)
    assert all(topology.kind is Kind.STANDALONE for topology in told)


class Source:
    """Seeds that change when the test says so."""

    pause = 0.0

    def __init__(self) -> None:
        self.answers: asyncio.Queue[tuple[str, ...] | MongoError] = asyncio.Queue()
        self.known: list[tuple[str, ...]] = []

    async def again(self, known: Iterable[str], timeout: float) -> tuple[tuple[str, ...], float]:
        self.known.append(tuple(known))
        answer = await self.answers.get()
        if isinstance(answer, MongoError):
            raise answer
        return answer, 0.0


async def test_a_sharded_cluster_follows_its_record(
    target_of: TargetOf,
    start_server: StartServer,
    mongo_double: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wardgate.gateway.mongo.topology.RESCAN_SOON", 0.0)
    hello = {"ok": 1, "msg": "isdbgrid", "isWritablePrimary": True, "maxWireVersion": 17}
    first, second = [await start_server(mongo_double(lambda _: dict(hello))) for _ in range(2)]
    source = Source()
    async with TopologyMonitor(replace(target_of(first), source=source), poll=0.05) as monitor:
        assert await monitor.wait_primary(PATIENCE) == first
        source.answers.put_nowait(MongoError(Code.DNS_FAILED, "not now"))
        source.answers.put_nowait((first, second))
        both = await monitor.wait_for(lambda seen: settled(seen) and len(seen.members) == 2, PATIENCE)
        assert (both.kind, both.primary) == (Kind.SHARDED, first)
        source.answers.put_nowait((second,))
        alone = await monitor.wait_for(lambda seen: len(seen.members) == 1, PATIENCE)
        assert alone.primary == second
        assert source.known[:3] == [(first,), (first,), (first, second)]


class Mongos:
    """A double that can fall silent or hang up, and counts the hellos that it gets."""

    def __init__(self) -> None:
        self.mute = self.hangs_up = False
        self._seen = asyncio.Condition()
        self._count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = {"ok": 1, "msg": "isdbgrid", "isWritablePrimary": True, "maxWireVersion": 17}
        while True:
            header = header_of(await reader.readexactly(HEADER_BYTES))
            await reader.readexactly(header.length - HEADER_BYTES)
            async with self._seen:
                self._count += 1
                self._seen.notify_all()
            if self.hangs_up:
                writer.transport.abort()
                return
            if not self.mute:
                writer.write(build_msg(bson.encode(hello), 7, header.request_id))

    async def asked(self, times: int = 1) -> None:
        """Until it was asked so often again."""
        async with self._seen:
            until = self._count + times
            await self._seen.wait_for(lambda: self._count >= until)


@pytest.fixture
async def two_mongos(target_of: TargetOf, start_server: StartServer) -> tuple[dict[str, Mongos], Any]:
    both = {await start_server(each.serve): each for each in (Mongos(), Mongos())}
    hosts = [("127.0.0.1", int(each.rpartition(":")[2])) for each in both]
    return both, target_of(next(iter(both)), hosts=hosts)


async def test_a_mongos_that_is_late_keeps_the_main_port(two_mongos: tuple[dict[str, Mongos], Any]) -> None:
    both, target = two_mongos
    told: list[Topology] = []
    async with TopologyMonitor(target, poll=0.01, probe_timeout=0.2, mongos_patience=3600.0) as monitor:
        main = (await monitor.wait_for(settled, PATIENCE)).primary
        assert main is not None
        monitor.subscribe(told.append)
        mongos = both[main]
        mongos.mute = True
        await mongos.asked(3)  # the second went unanswered too
        assert "did not answer" in monitor.errors()[main]
        mongos.mute = False
        while main in monitor.errors():
            await mongos.asked()
        mongos.hangs_up = True
        await mongos.asked()
        mongos.hangs_up = False
        await mongos.asked(2)
    assert told == []


@pytest.mark.parametrize("how", ["mute", "hangs_up"])
async def test_a_mongos_that_stays_away_gives_the_main_port_to_another(
    two_mongos: tuple[dict[str, Mongos], Any], how: str
) -> None:
    both, target = two_mongos
    patience = 0.5 if how == "mute" else 3600.0
    async with TopologyMonitor(target, poll=0.01, probe_timeout=0.2, mongos_patience=patience) as monitor:
        main = (await monitor.wait_for(settled, PATIENCE)).primary
        assert main is not None
        (other,) = both.keys() - {main}
        setattr(both[main], how, True)
        await monitor.wait_for(lambda seen: seen.primary == other, PATIENCE)
        setattr(both[main], how, False)
        again = await monitor.wait_for(settled, PATIENCE)
        assert again.primary == other, "cursors live there by now"


async def test_a_replica_set_names_its_own_members(target_of: TargetOf, mongod_rs1: MongoDeployment) -> None:
    (dead,) = free_ports(1)
    async with TopologyMonitor(target_of(mongod_rs1)) as monitor:
        before = await monitor.wait_for(settled, PATIENCE)
        assert monitor._discovery.reseed((f"127.0.0.1:{dead}",)) == before


async def test_what_needs_a_person_is_told_at_once(target_of: TargetOf, mongod_rs1: MongoDeployment) -> None:
    (dead,) = free_ports(1)
    hosts = [("127.0.0.1", dead), ("127.0.0.1", mongod_rs1.members[0].port)]
    stranger = CertificateAuthority.create("somebody else")
    async with TopologyMonitor(target_of(mongod_rs1, hosts=hosts, ca_certificate=stranger.pem)) as monitor:
        with pytest.raises(MongoError) as caught:
            await monitor.wait_primary(3600.0)
    assert caught.value.code == "tls_untrusted"


async def test_listeners_come_and_go(target_of: TargetOf, mongod_rs1: MongoDeployment) -> None:
    told: list[Topology] = []
    monitor = TopologyMonitor(target_of(mongod_rs1))
    unsubscribe = monitor.subscribe(told.append)
    unsubscribe()
    unsubscribe()
    async with monitor:
        await monitor.wait_primary(PATIENCE)
    assert told == []
    assert monitor.statistics()["watched"] == []

"""Where the main port leads while primaries come and go: held, told, or dialled anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from wardgate.errors import WardgateError
from wardgate.gateway import following
from wardgate.gateway.mongo.discovery import Kind, Member, Role, Topology
from wardgate.gateway.mongo.errors import Code, MongoError
from wardgate.gateway.mongo.topology import TopologyMonitor

ONE, TWO = "db1:27017", "db2:27017"
HOLD = 60.0  # seconds; no test waits so long


def seen(one: Role, two: Role, problem: str | None = None) -> Topology:
    members = (Member(ONE, one), Member(TWO, two))
    primary = next((each.address for each in members if each.role is Role.PRIMARY), None)
    return Topology(Kind.REPLICA_SET, "rs0", members, primary, problem)


FIRST = seen(Role.PRIMARY, Role.SECONDARY)
SECOND = seen(Role.SECONDARY, Role.PRIMARY)
NEITHER = seen(Role.UNKNOWN, Role.SECONDARY)
NOBODY = seen(Role.UNKNOWN, Role.UNKNOWN)


class Monitor:
    """As much of a TopologyMonitor as following needs; `show` is what the network would do."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.hurried: list[str | None] = []
        self.listeners: list[Callable[[Topology], None]] = []
        self._changed = asyncio.Condition()

    async def show(self, topology: Topology) -> None:
        self.topology = topology
        for listener in tuple(self.listeners):
            listener(topology)
        async with self._changed:
            self._changed.notify_all()

    def subscribe(self, listener: Callable[[Topology], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def hurry(self, address: str | None = None) -> None:
        self.hurried.append(address)

    async def wait_for(self, accept: Callable[[Topology], bool], timeout: float) -> Topology:
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(lambda: accept(self.topology))
            return self.topology

    async def wait_primary(self, timeout: float) -> str:
        try:
            topology = await self.wait_for(lambda topology: topology.primary is not None, timeout)
        except TimeoutError:
            raise MongoError(Code.TOPOLOGY_NO_PRIMARY, "There is no primary.") from None
        assert topology.primary is not None
        return topology.primary


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "TOLD_AFTER", 0.02)
    monkeypatch.setattr(following, "DOUBT", 0.02)


def reach(monitor: Monitor, dial: Callable[[str], Any]) -> asyncio.Task[tuple[str, Any]]:
    return asyncio.create_task(following.reach(cast("TopologyMonitor", monitor), dial, HOLD))


async def at_once(address: str) -> str:
    return f"dialled {address}"


@pytest.mark.parametrize(
    ("topology", "elsewhere"),
    [
        (FIRST, False),
        (SECOND, True),
        (NEITHER, False),  # it is silent; its sockets will say whether they are
        (seen(Role.SECONDARY, Role.SECONDARY), True),
        (seen(Role.OTHER, Role.SECONDARY), True),
        (NOBODY, False),
    ],
)
def test_when_it_leads_elsewhere(topology: Topology, elsewhere: bool) -> None:
    assert following.leads_elsewhere(topology, ONE) is elsewhere


def cluster(one: Role) -> Topology:
    return Topology(Kind.SHARDED, None, (Member(ONE, one), Member(TWO, Role.MONGOS)), TWO)


@pytest.mark.parametrize(
    ("topology", "lost"),
    [
        (SECOND, False),  # it answers: what runs there goes on
        (seen(Role.UNKNOWN, Role.PRIMARY), True),
        (Topology(Kind.REPLICA_SET, "rs0", (Member(TWO, Role.PRIMARY),), TWO), True),
        (cluster(Role.MONGOS), False),
        (cluster(Role.UNKNOWN), False),  # slow, perhaps; its sockets will say
    ],
)
def test_when_what_runs_at_the_old_one_is_given_up(topology: Topology, lost: bool) -> None:
    assert following.leads_elsewhere(topology, ONE)
    assert following.is_lost(topology, ONE) is lost


def test_what_moved_is_called_by_its_name() -> None:
    assert following.moved(SECOND) == "the primary changed"
    assert following.moved(cluster(Role.UNKNOWN)) == "the main port leads to another mongos now"


async def test_a_primary_is_dialled_at_once() -> None:
    monitor = Monitor(FIRST)
    assert await reach(monitor, at_once) == (ONE, f"dialled {ONE}")
    assert monitor.listeners == []


async def test_without_a_primary_it_holds_while_somebody_answers() -> None:
    monitor = Monitor(NEITHER)
    reaching = reach(monitor, at_once)
    done, _ = await asyncio.wait({reaching}, timeout=5 * following.TOLD_AFTER)
    assert not done
    await monitor.show(SECOND)
    assert await reaching == (TWO, f"dialled {TWO}")


@pytest.mark.parametrize("topology", [NOBODY, seen(Role.UNKNOWN, Role.SECONDARY, "It belongs to another set.")])
async def test_what_an_election_does_not_mend_is_told(topology: Topology) -> None:
    with pytest.raises(MongoError, match="no primary"):
        await reach(Monitor(topology), at_once)


async def test_a_hold_has_an_end() -> None:
    with pytest.raises(MongoError, match="no primary"):
        await following.primary(cast("TopologyMonitor", Monitor(NEITHER)), 0.05)


async def test_a_dial_is_given_up_when_the_primary_changes() -> None:
    """The old one hangs: its sockets open and nothing answers."""
    monitor, dialling = Monitor(FIRST), asyncio.Event()

    async def dial(address: str) -> str:
        if address == ONE:
            dialling.set()
            await asyncio.Event().wait()
        return address

    reaching = reach(monitor, dial)
    await dialling.wait()
    await monitor.show(SECOND)
    assert await reaching == (TWO, TWO)
    assert monitor.listeners == []


async def test_a_failed_dial_waits_for_the_news() -> None:
    """The primary died a moment ago, and the monitor learns it a moment later."""
    monitor, failed = Monitor(FIRST), asyncio.Event()

    async def dial(address: str) -> str:
        if address == ONE:
            failed.set()
            raise MongoError(Code.TCP_REFUSED, f"{address} refuses connections.")
        return address

    following.DOUBT = HOLD
    reaching = reach(monitor, dial)
    await failed.wait()
    await monitor.show(NEITHER)
    await monitor.show(SECOND)
    assert await reaching == (TWO, TWO)
    assert monitor.hurried == [ONE]


async def test_a_primary_that_lives_and_refuses_is_told() -> None:
    async def dial(address: str) -> str:
        raise WardgateError("tls_unknown_ca", "Its certificate is from an authority that we do not know.")

    monitor = Monitor(FIRST)
    with pytest.raises(WardgateError, match="authority"):
        await reach(monitor, dial)


async def test_cancelling_it_cancels_the_dial() -> None:
    monitor, cancelled = Monitor(FIRST), asyncio.Event()
    dialling = asyncio.Event()

    async def dial(address: str) -> str:
        dialling.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return address

    reaching = reach(monitor, dial)
    await dialling.wait()
    reaching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reaching
    assert cancelled.is_set()
    assert monitor.listeners == []

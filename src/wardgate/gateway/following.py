"""The main port: where it leads now, and when what it led to is not it any more.

It leads to the primary (the standalone, one mongos). A newcomer is held while there is none and somebody says so: a
driver waits for the answer to its hello, but takes a refusal for an answer. Nobody holds a newcomer because of a member
that does not answer: a dial is given up when the primary changes under it, and where no member answers at all, that is
told after a moment, for it may be the network, the name or the certificate.

Law: `reach` dials an address only while it is the primary's; it raises nothing but WardgateError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from ..errors import WardgateError
from .mongo.discovery import Kind, Role, Topology
from .mongo.errors import MongoError
from .mongo.topology import TopologyMonitor

T = TypeVar("T")
# mongosh gives up after two seconds; a sentence that comes earlier is one that it can show.
TOLD_AFTER = 1.5
# A dial that failed is news to the monitor as well, within this time: its own connection broke with ours.
DOUBT = 0.5


def leads_elsewhere(topology: Topology, address: str) -> bool:
    """Whether the main port leads elsewhere now: a member that merely fell silent is no reason, its socket is."""
    if topology.primary is not None:
        return topology.primary != address
    return topology.role(address) in (Role.SECONDARY, Role.ARBITER, Role.OTHER)


def is_lost(topology: Topology, address: str) -> bool:
    """Whether what runs there is given up, the main port leading elsewhere: it answers nobody, and others have elected.

    A mongos is never lost by its silence: it has work of its own that no other one has, and may be merely slow.
    """
    return topology.kind is Kind.REPLICA_SET and topology.role(address) in (None, Role.UNKNOWN)


def moved(topology: Topology) -> str:
    """The sentence for who is still where the main port led before."""
    if topology.kind is Kind.SHARDED:
        return "the main port leads to another mongos now"
    return "the primary changed"


async def primary(monitor: TopologyMonitor, hold: float) -> str:
    """Its address once there is one. Raises MongoError after `hold` seconds, or earlier where nobody answers."""
    until = monotonic() + hold
    while True:
        left = until - monotonic()
        try:
            return await monitor.wait_primary(max(min(left, TOLD_AFTER), 0.0))
        except MongoError:
            silent = all(member.role is Role.UNKNOWN for member in monitor.topology.members)
            if silent or left <= TOLD_AFTER or monitor.topology.problem is not None:
                raise


async def reach(monitor: TopologyMonitor, dial: Callable[[str], Awaitable[T]], hold: float) -> tuple[str, T]:
    """Dial where the main port leads; the address, and what `dial` gave. Raises WardgateError."""
    until = monotonic() + hold
    while True:
        address = await primary(monitor, until - monotonic())
        try:
            return address, await _while_primary(monitor, address, dial)
        except TimeoutError:
            continue
        except WardgateError:
            monitor.hurry(address)
            if not await has_moved(monitor, address):
                raise


async def _while_primary(monitor: TopologyMonitor, address: str, dial: Callable[[str], Awaitable[T]]) -> T:
    """`dial`, given up with TimeoutError when the main port comes to lead elsewhere."""
    async with asyncio.timeout(None) as scope:

        def look(topology: Topology) -> None:
            if leads_elsewhere(topology, address) and not scope.expired():
                scope.reschedule(0.0)

        unsubscribe = monitor.subscribe(look)
        try:
            return await dial(address)
        finally:
            unsubscribe()


async def has_moved(monitor: TopologyMonitor, address: str) -> bool:
    """Whether the primary is lost or another one, now or in a moment."""
    try:
        await monitor.wait_for(lambda seen: seen.primary != address, DOUBT)
    except TimeoutError:
        return False
    return True

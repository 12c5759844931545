"""Members of a real set that come, change and go, while the monitor looks on; all of it over IPv6."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wardgate.gateway.mongo.discovery import Role, Topology
from wardgate.gateway.mongo.topology import TopologyMonitor
from wardgate.testing.mongo import RS1, MongoDeployment

TargetOf = Callable[..., Any]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def growing(mongod_binary: Path) -> Iterator[MongoDeployment]:
    """A set of its own, because it changes for good."""
    with MongoDeployment(replace(RS1, host="::1"), mongod=mongod_binary) as deployment:
        yield deployment


def roles(topology: Topology) -> dict[str, Role]:
    return {member.address: member.role for member in topology.members}


@pytest.mark.slow
async def test_members_come_change_and_go(target_of: TargetOf, growing: MongoDeployment) -> None:
    first = growing.members[0].address
    assert first.startswith("[::1]:")
    hosts = [("::1", growing.members[0].port)]
    async with TopologyMonitor(target_of(growing, hosts=hosts)) as monitor:

        async def settle(**wanted: Role) -> None:
            expected = {growing.members[int(index[1:])].address: role for index, role in wanted.items()}
            await monitor.wait_for(lambda seen: roles(seen) == expected, PATIENCE)

        await settle(m0=Role.PRIMARY)
        hidden = await asyncio.to_thread(growing.add_member, priority=0, votes=0, hidden=True)
        arbiter = await asyncio.to_thread(growing.add_member, arbiterOnly=True)
        assert (hidden, arbiter) == (1, 2)
        await settle(m0=Role.PRIMARY, m2=Role.ARBITER)
        seeds = [("::1", growing.members[index].port) for index in (hidden, arbiter)]
        async with TopologyMonitor(target_of(growing, hosts=seeds)) as other:  # nobody who holds data among the seeds
            seen = await other.wait_for(lambda seen: seen.primary == first, PATIENCE)
            assert growing.members[hidden].address not in roles(seen)
        await asyncio.to_thread(growing.set_member, hidden, hidden=False)
        await settle(m0=Role.PRIMARY, m1=Role.SECONDARY, m2=Role.ARBITER)
        await asyncio.to_thread(growing.remove_member, arbiter)
        await settle(m0=Role.PRIMARY, m1=Role.SECONDARY)

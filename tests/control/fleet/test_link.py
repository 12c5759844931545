"""control.fleet.link: what is said reaches who listens, and a link that can't keep up ends."""

from __future__ import annotations

import asyncio

from wardgate.api.machine import LinkEvent, SessionOrder
from wardgate.api.models import EndReason
from wardgate.control.cluster import Signals
from wardgate.control.db import Database
from wardgate.control.fleet import LinkHub
from wardgate.control.fleet.link import Link
from wardgate.control.sources import Sources

GATEWAY = "gw_a"
ONE, TWO = "gwi_1", "gwi_2"


def a_hub() -> LinkHub:
    return LinkHub(Signals(Database("sqlite+aiosqlite://"), Sources()))


def order(number: int) -> LinkEvent:
    return LinkEvent(end=SessionOrder(session_id=f"ses_{number}", reason=EndReason.TERMINATED))


async def read(link: Link, stopping: asyncio.Event | None = None) -> list[str]:
    """Everything until the link ends."""
    return [line async for line in link.lines(stopping or asyncio.Event())]


async def test_events_come_in_order_as_server_sent_events() -> None:
    hub = a_hub()
    with hub.connected(GATEWAY, ONE) as link:
        hub.push(GATEWAY, order(1))
        hub.push("gw_b", order(2))
        hub.push_all(order(3))
        hub.cut(GATEWAY)
        lines = await read(link)
    assert lines[0].startswith(":")
    events = [LinkEvent.model_validate_json(line.removeprefix("data: ")) for line in lines[1:]]
    assert events == [order(1), order(3)]
    assert all(line.endswith("\n\n") for line in lines)


async def test_every_link_of_a_gateway_hears_it() -> None:
    hub = a_hub()
    with hub.connected(GATEWAY, ONE) as one, hub.connected(GATEWAY, ONE) as other:
        hub.push(GATEWAY, order(1))
        hub.cut(GATEWAY)
        assert await read(one) == await read(other)


async def test_nothing_is_kept_for_who_is_away() -> None:
    hub = a_hub()
    hub.push(GATEWAY, order(1))
    hub.cut(GATEWAY)
    with hub.connected(GATEWAY, ONE) as link:
        assert hub.is_linked(GATEWAY)
        hub.cut(GATEWAY)
        assert len(await read(link)) == 1
    assert not hub.is_linked(GATEWAY)


async def test_a_link_that_can_not_keep_up_ends() -> None:
    hub = a_hub()
    with hub.connected(GATEWAY, ONE) as link:
        for number in range(1_000):
            hub.push(GATEWAY, order(number))
        lines = await read(link)
    assert len(lines) < 300


async def test_stopping_ends_a_link() -> None:
    stopping = asyncio.Event()
    with a_hub().connected(GATEWAY, ONE) as link:
        reading = asyncio.ensure_future(read(link, stopping))
        await asyncio.sleep(0)
        stopping.set()
        assert not [line for line in await reading if line.startswith("data:")]


async def test_a_reader_that_goes_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    with a_hub().connected(GATEWAY, ONE) as link:
        lines = link.lines(asyncio.Event())
        await anext(lines)
        waiting = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await lines.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_waiting_for_a_gateway() -> None:
    hub = a_hub()
    assert not await hub.wait_linked(GATEWAY, 0)
    waits = [asyncio.ensure_future(hub.wait_linked(GATEWAY, 5.0)) for _ in range(3)]
    await asyncio.sleep(0)
    with hub.connected("gw_b", ONE):
        await asyncio.sleep(0)
        assert not any(wait.done() for wait in waits)
        with hub.connected(GATEWAY, ONE):
            assert await asyncio.gather(*waits) == [True, True, True]


async def test_an_instance_is_spoken_to_alone() -> None:
    hub = a_hub()
    with hub.connected(GATEWAY, ONE) as one, hub.connected(GATEWAY, TWO) as two:
        assert hub.linked() == [ONE, TWO]
        hub.push(GATEWAY, order(1), TWO)
        hub.push(GATEWAY, order(2))
        hub.cut(GATEWAY, TWO)
        assert len(await read(two)) == 3
        hub.cut(GATEWAY)
        assert len(await read(one)) == 2
    assert not hub.is_linked(GATEWAY)
    assert not hub.is_linked(GATEWAY, ONE)

"""follow: what comes is shown when it comes, in order, and the end is told."""

from __future__ import annotations

import asyncio

from wardgate.api.models import Page, Record
from wardgate.control.paging import Paging

from .conftest import Epoch, Recorded
from .samples import CLOSED, OPENED, find, ok


async def follow(recorded: Recorded, after: str | None = None, wait_s: float = 30.0) -> Page[Record]:
    return await recorded.records.follow(recorded.actor(), recorded.session_id, Paging(after), wait_s)


async def _waiting(recorded: Recorded, after: str | None) -> asyncio.Task[Page[Record]]:
    """A reader that has looked, found nothing and waits."""
    task = asyncio.create_task(follow(recorded, after))
    while not recorded.records._tail._waiting:
        await asyncio.sleep(0)
    return task


async def _begun(recorded: Recorded) -> tuple[Epoch, str]:
    epoch = (await recorded.lease()).append(OPENED, find(), ok(2))
    await epoch.ship()
    page = await follow(recorded)
    assert [item.seq for item in page.items] == [1, 2]
    assert page.next is not None
    return epoch, page.next


async def test_a_delivery_wakes_who_waits(recorded: Recorded) -> None:
    epoch, after = await _begun(recorded)
    task = await _waiting(recorded, after)
    epoch.append(find(), ok(4))
    await epoch.ship()
    async with asyncio.timeout(30):  # far below the wait that was asked for, were it not woken
        page = await task
    assert [(item.seq, item.ok) for item in page.items] == [(4, 1.0)]
    assert not recorded.records._tail._waiting


async def test_a_command_is_shown_with_its_outcome(recorded: Recorded) -> None:
    epoch, after = await _begun(recorded)
    epoch.append(find(), find(), ok(5))
    await epoch.ship()
    page = await follow(recorded, after, 0)
    assert (page.items, page.next) == ([], after)  # 4 is under way, and 5 comes behind it
    epoch.append(ok(4))
    await epoch.ship()
    assert [(item.seq, item.ok) for item in (await follow(recorded, after, 0)).items] == [(4, 1.0), (5, 1.0)]


async def test_a_command_that_runs_long_is_shown_without(recorded: Recorded) -> None:
    epoch, after = await _begun(recorded)
    epoch.append(find())
    await epoch.ship()
    recorded.control.clock.forward(seconds=3)
    assert [(item.seq, item.ok) for item in (await follow(recorded, after, 0)).items] == [(4, None)]


async def test_the_end_is_told_once_all_is_here(recorded: Recorded) -> None:
    epoch, after = await _begun(recorded)
    await recorded.end()
    page = await follow(recorded, after, 0)
    assert (page.items, page.next) == ([], after)  # the closing record is on its way
    epoch.append(CLOSED)
    await epoch.ship()
    page = await follow(recorded, after, 0)
    assert [item.event for item in page.items] == ["closed"]
    assert page.next is None


async def test_nothing_yet_has_a_cursor(recorded: Recorded) -> None:
    page = await follow(recorded, None, 0)
    assert (page.items, page.next) == ([], "0.0")
    await (await recorded.lease()).append(OPENED).ship()
    assert [item.seq for item in (await follow(recorded, page.next, 0)).items] == [1]


async def test_a_stop_answers_who_waits(recorded: Recorded) -> None:
    _, after = await _begun(recorded)
    recorded.records.stopping = lambda: True
    assert (await follow(recorded, after)).next == after


async def test_reading_from_the_middle_leaves_a_trace_too(recorded: Recorded) -> None:
    await (await recorded.lease()).append(OPENED).ship()
    await recorded.records.read(recorded.actor(), recorded.session_id, Paging("0.0"))
    assert await recorded.control.count("audit_events WHERE event = 'records.read'") == 1
    recorded.control.clock.forward(minutes=11)
    await recorded.records.read(recorded.actor(), recorded.session_id, Paging())
    assert await recorded.control.count("audit_events WHERE event = 'records.read'") == 2

"""Spare streams: which one a client gets, and when the next is established. A dialler that the test lets go on."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from wardgate.net import stream as streams
from wardgate.net.stream import Stream, StreamDialler, TunnelError, WarmStreams


class Made:
    """A stream without a socket."""

    usable = True
    instance = None

    def __init__(self, number: int) -> None:
        self.number = number
        self.aborted = False

    def when_lost(self, callback: object) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


class Dialler:
    """Opens when it is told to."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Made]] = []

    async def open(self, alpn: str, *, instance: str | None = None, first: object = None) -> Made:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    async def answer(self, number: int) -> None:
        """Let the dial with this number succeed, once it has begun."""
        async with asyncio.timeout(5):
            while len(self.asked) <= number:
                await asyncio.sleep(0)
        self.asked[number].set_result(Made(number))
        await asyncio.sleep(0)


def warm_of(dialler: Dialler, keep: int) -> WarmStreams:
    return WarmStreams(cast("StreamDialler", dialler), "purpose", keep)


def number_of(stream: Stream) -> int:
    return cast("Any", stream).number  # type: ignore[no-any-return]


async def waited_for(dialler: Dialler) -> tuple[WarmStreams, asyncio.Future[Stream]]:
    """Who keeps one spare, which is being established, and somebody who waits for it."""
    warm = warm_of(dialler, keep=1)
    warm.start()
    await asyncio.sleep(0)
    wanted = asyncio.ensure_future(warm.get())
    await asyncio.sleep(0)
    return warm, wanted


async def test_who_finds_none_gets_the_one_that_is_being_established() -> None:
    dialler = Dialler()
    warm = warm_of(dialler, keep=1)
    warm.start()
    wanted = asyncio.ensure_future(warm.get())
    await dialler.answer(0)
    assert number_of(await wanted) == 0
    await warm.close()


async def test_a_second_who_finds_none_does_not_wait_for_the_same() -> None:
    dialler = Dialler()
    warm = warm_of(dialler, keep=1)
    warm.start()
    await asyncio.sleep(0)
    first, second = asyncio.ensure_future(warm.get()), asyncio.ensure_future(warm.get())
    await dialler.answer(1)
    assert number_of(await second) == 1
    assert not first.done()
    await dialler.answer(0)
    assert number_of(await first) == 0
    await warm.close()


async def test_who_waits_is_told_the_failure_of_a_dial_of_its_own() -> None:
    dialler = Dialler()
    warm, wanted = await waited_for(dialler)
    dialler.asked[0].set_exception(TunnelError("gateway_unreachable", "not there"))
    while len(dialler.asked) < 2:
        await asyncio.sleep(0)
    dialler.asked[1].set_exception(TunnelError("gateway_unreachable", "still not there"))
    with pytest.raises(TunnelError, match="still not there"):
        await wanted
    await warm.close()


async def test_who_waits_when_it_is_closed_is_not_left_waiting() -> None:
    dialler = Dialler()
    warm, wanted = await waited_for(dialler)
    await warm.close()
    await dialler.answer(1)
    assert number_of(await wanted) == 1


async def test_the_next_one_is_established_later_while_one_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_REFILL_AFTER", 3600.0)
    dialler = Dialler()
    warm = warm_of(dialler, keep=2)
    warm.start()
    await dialler.answer(0)
    await dialler.answer(1)
    assert number_of(await warm.get()) == 0
    await asyncio.sleep(0)
    assert len(dialler.asked) == 2
    assert number_of(await warm.get()) == 1  # in quick succession, and none is left
    await dialler.answer(2)
    await dialler.answer(3)
    assert warm.statistics() == {"ready": 2, "hits": 2, "misses": 0}
    await warm.close()

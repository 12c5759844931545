"""shipper: everything arrives once, in order, whatever dies; what is refused is kept and named."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from wardgate.api.client import UnreachableError
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.audit.frame import HEAD_BYTES
from wardgate.audit.recorder import RecordingFailed
from wardgate.audit.records import BodyChunk, CommandIntent, SessionNotice
from wardgate.gateway.spool.shipper import Shipper
from wardgate.gateway.spool.spool import Spool
from wardgate.numbers import KIB, MIB, Numbers

from .receiver import Receiver, durable, session_id

NUMBERS = replace(Numbers(), spool_segment_bytes=64 * KIB, spool_bytes=64 * MIB, spool_free_bytes=0)


@asynccontextmanager
async def life(folder: Path, receiver: Receiver, *, die: bool = False) -> AsyncIterator[tuple[Spool, Shipper]]:
    """One life of a gateway's spool; with `die` the folder is left as a killed process leaves it."""
    spool = await Spool.open(folder, NUMBERS)
    shipper = Shipper(spool, receiver.post, interval=0.01, retry_first=0.01, retry_longest=0.02)
    shipper.start()
    try:
        yield spool, shipper
    finally:
        await shipper.close()
        if die:
            for recorder in list(spool._open):
                spool.closed(recorder)
        await spool.close()


def notices(count: int, start: int = 0) -> list[SessionNotice]:
    return [SessionNotice("n", str(index)) for index in range(start, start + count)]


async def test_records_arrive_and_segments_go(tmp_path: Path) -> None:
    receiver = Receiver()
    async with life(tmp_path, receiver) as (spool, shipper):
        sessions = [session_id() for _ in range(3)]
        recorders = [receiver.open_epoch(spool, session) for session in sessions]
        for notice in notices(1000):
            for recorder in recorders:
                recorder.append(notice)
        assert len(spool.segments) > 2
        assert await shipper.flush(30)
        for session in sessions:
            assert receiver.records[session, 1] == notices(1000)
        assert len(spool.segments) == 1
        assert spool.backlog_bytes == 0
        assert sum(count for _, _, count in receiver.posts) >= 3003


async def test_live_records_need_no_flush(tmp_path: Path) -> None:
    receiver = Receiver()
    async with life(tmp_path, receiver) as (spool, _):
        session = session_id()
        recorder = receiver.open_epoch(spool, session, durability="process")
        recorder.append(SessionNotice("n"))
        async with asyncio.timeout(10):
            while not receiver.records.get((session, 1)):
                await asyncio.sleep(0.005)


async def test_what_comes_during_a_delivery_waits_for_the_next(tmp_path: Path) -> None:
    """Under load each delivery would else be as small as the one before was quick."""
    receiver, session = Receiver(), session_id()
    spool = await Spool.open(tmp_path, NUMBERS)
    recorder = receiver.open_epoch(spool, session)
    delivered = asyncio.Event()

    async def busy(*args: object) -> object:
        ack = await receiver.post(*args)  # type: ignore[arg-type]
        await durable(recorder, recorder.append(SessionNotice("meanwhile")))
        delivered.set()
        return ack

    shipper = Shipper(spool, busy, interval=3600)  # type: ignore[arg-type]
    await durable(recorder, recorder.append(SessionNotice("n")))
    shipper.start()
    await delivered.wait()
    for _ in range(100):
        await asyncio.sleep(0)
    assert receiver.posts == [(session, 1, 2)]
    await shipper.close()
    await spool.close()


async def test_the_end_of_a_session_waits_for_nothing(tmp_path: Path) -> None:
    receiver, session = Receiver(), session_id()
    spool = await Spool.open(tmp_path, NUMBERS)
    shipper = Shipper(spool, receiver.post, interval=3600)
    shipper.start()
    assert await shipper.flush(30)  # it has begun to wait
    recorder = receiver.open_epoch(spool, session)
    recorder.append(SessionNotice("n"))
    await recorder.close()
    async with asyncio.timeout(10):
        while not receiver.records.get((session, 1)):
            await asyncio.sleep(0.005)
    await shipper.close()
    await spool.close()


async def test_an_outage_is_waited_out(tmp_path: Path) -> None:
    receiver = Receiver()
    outage = 5

    def down() -> None:
        nonlocal outage
        if outage:
            outage -= 1
            raise (UnreachableError("unreachable", "no answer"), ProblemError(ProblemCode.INTERNAL, "no"))[outage % 2]

    receiver.before = down
    async with life(tmp_path, receiver) as (spool, shipper):
        session = session_id()
        recorder = receiver.open_epoch(spool, session)
        for notice in notices(50):
            recorder.append(notice)
        assert await shipper.flush(30)
        assert receiver.records[session, 1] == notices(50)


async def test_flush_gives_up_in_time(tmp_path: Path) -> None:
    receiver = Receiver()

    def down() -> None:
        raise UnreachableError("unreachable", "no answer")

    receiver.before = down
    async with life(tmp_path, receiver) as (spool, shipper):
        receiver.open_epoch(spool).append(SessionNotice("n"))
        assert not await shipper.flush(0.05)


async def test_a_next_life_delivers_what_the_last_left_and_says_that_it_is_all(tmp_path: Path) -> None:
    receiver, session = Receiver(), session_id()
    silent = Receiver()
    silent.private, silent.public = receiver.private, receiver.public

    def down() -> None:
        raise UnreachableError("unreachable", "no answer")

    silent.before = down
    async with life(tmp_path, silent, die=True) as (spool, _):
        recorder = silent.open_epoch(spool, session)
        for notice in notices(500):
            recorder.append(notice)
        left = len(spool.segments)
    assert left > 1
    async with life(tmp_path, receiver) as (spool, shipper):
        young = receiver.open_epoch(spool, session, epoch=2)
        young.append(SessionNotice("young"))
        assert await shipper.flush(30)
        assert receiver.records[session, 1] == notices(500)
        assert receiver.readers[session, 1].closed
        assert receiver.records[session, 2] == [SessionNotice("young")]
        assert not receiver.readers[session, 2].closed
        assert len(spool.segments) == 1


async def test_no_tail_is_sent_for_what_the_control_plane_knows_to_be_closed(tmp_path: Path) -> None:
    receiver, session = Receiver(), session_id()
    async with life(tmp_path, receiver) as (spool, shipper):
        receiver.open_epoch(spool, session).append(SessionNotice("n"))
        assert await shipper.flush(30)
    receiver.closed.add((session, 1))
    async with life(tmp_path, receiver) as (_, shipper):
        assert await shipper.flush(30)
    assert not receiver.readers[session, 1].closed


async def test_deliveries_may_be_doubled(tmp_path: Path) -> None:
    """The acknowledgement is lost each time; and a third life begins again from the first segment."""
    receiver, session = Receiver(), session_id()

    async def forgetful(*args: object) -> object:
        await receiver.post(*args)  # type: ignore[arg-type]
        raise UnreachableError("unreachable", "the answer was lost")

    for index in range(2):
        spool = await Spool.open(tmp_path, NUMBERS)
        shipper = Shipper(spool, forgetful, interval=0.01, retry_first=0.01, retry_longest=0.01)  # type: ignore[arg-type]
        shipper.start()
        if index == 0:
            recorder = receiver.open_epoch(spool, session)
            for notice in notices(300):
                recorder.append(notice)
        assert not await shipper.flush(0.2)
        await shipper.close()
        await spool.close()
    async with life(tmp_path, receiver) as (_, shipper):
        assert await shipper.flush(30)
    assert receiver.records[session, 1] == notices(300)
    assert receiver.readers[session, 1].closed


async def test_what_is_already_there_is_not_sent_again(tmp_path: Path) -> None:
    receiver, session = Receiver(), session_id()
    async with life(tmp_path, receiver) as (spool, shipper):
        recorder = receiver.open_epoch(spool, session)
        for notice in notices(20):
            recorder.append(notice)
        assert await shipper.flush(30)
        receiver.posts.clear()
        recorder.append(SessionNotice("one more"))
        assert await shipper.flush(30)
        assert receiver.posts == [(session, 1, 1)]


async def test_a_torn_tail_is_cut(tmp_path: Path) -> None:
    receiver, session = Receiver(), session_id()
    spool = await Spool.open(tmp_path, NUMBERS)
    recorder = receiver.open_epoch(spool, session)
    for notice in notices(10):
        recorder.append(notice)
    await recorder.close()
    assert spool.current is not None
    path, end = spool.current.path, spool.current.end
    await spool.close()
    with path.open("r+b") as file:
        file.seek(end - 5)
        file.write(b"\0" * 5)  # the last frame did not reach the disk whole
        file.write(os.urandom(30))
    async with life(tmp_path, receiver) as (_, shipper):
        assert await shipper.flush(30)
    assert receiver.records[session, 1] == notices(9)
    assert receiver.readers[session, 1].closed
    assert not list(tmp_path.glob("*.damaged"))


async def test_a_hole_is_an_alarm_and_hurts_only_its_own_epoch(tmp_path: Path) -> None:
    receiver, hurt, whole = Receiver(), session_id(), session_id()
    spool = await Spool.open(tmp_path, NUMBERS)
    one, two = receiver.open_epoch(spool, hurt), receiver.open_epoch(spool, whole)
    for index, notice in enumerate(notices(10)):
        two.append(notice)
        assert spool.current is not None
        at = spool.current.end
        one.append(notice)
        if index == 4:
            place = at
    await one.close()
    await two.close()
    path = spool.current.path if spool.current else Path()
    await spool.close()
    with path.open("r+b") as file:
        file.seek(place + HEAD_BYTES + 3)
        file.write(b"??")
    async with life(tmp_path, receiver) as (_, shipper):
        assert await shipper.flush(30)
    assert receiver.records[whole, 1] == notices(10)
    assert receiver.readers[whole, 1].closed
    assert receiver.records[hurt, 1] == notices(4)
    assert not receiver.readers[hurt, 1].closed
    assert [found.name for found in tmp_path.glob("*.damaged")] == [path.with_suffix(".damaged").name]


@pytest.mark.parametrize("how", ["says so", "has another frame"])
async def test_a_refused_epoch_ends_its_session_and_keeps_its_segment(tmp_path: Path, how: str) -> None:
    receiver, bad, good = Receiver(), session_id(), session_id()
    post = receiver.post

    async def judge(session: str, epoch: int, body: bytes) -> object:
        if session == bad and how == "says so":
            raise ProblemError(ProblemCode.RECORDS_REFUSED, "another frame is there")
        ack = await post(session, epoch, body)
        return ack.model_copy(update={"hash": "00" * 32}) if session == bad else ack

    receiver.post = judge  # type: ignore[assignment,method-assign]
    async with life(tmp_path, receiver) as (spool, shipper):
        failed: list[str] = []
        one, two = receiver.open_epoch(spool, bad, on_failed=failed.append), receiver.open_epoch(spool, good)
        one.append(SessionNotice("n"))
        two.append(SessionNotice("n"))
        assert await shipper.flush(30)
        assert len(failed) == 1
        with pytest.raises(RecordingFailed):
            one.append(SessionNotice("n"))
        two.append(SessionNotice("m"))
        assert await shipper.flush(30)
        assert len(receiver.records[good, 1]) == 2
        for notice in notices(500):
            two.append(notice)
        assert await shipper.flush(30)
    assert len(list(tmp_path.glob("*.damaged"))) == 1


async def test_a_failed_segment_is_still_delivered(tmp_path: Path) -> None:
    receiver, session = Receiver(), session_id()
    broken: list[int] = []

    def sync(fd: int) -> None:
        if fd in broken:
            raise OSError(5, "Input/output error")
        os.fdatasync(fd)

    spool = await Spool.open(tmp_path, NUMBERS, sync=sync)
    shipper = Shipper(spool, receiver.post, interval=0.01)
    failed = asyncio.Event()
    recorder = receiver.open_epoch(spool, session, on_failed=lambda _: failed.set())
    assert spool.current is not None
    broken.append(spool.current.fd)
    for notice in notices(10):
        recorder.append(notice)
    recorder.kick()
    await failed.wait()
    shipper.start()
    assert await shipper.flush(30)
    assert receiver.records[session, 1] == notices(10)
    assert not receiver.readers[session, 1].closed  # it did not end in order: that is what verification will say
    await shipper.close()
    await spool.close()


async def test_a_large_body_arrives_whole(tmp_path: Path) -> None:
    numbers = replace(Numbers(), spool_segment_bytes=8 * MIB, spool_bytes=512 * MIB, spool_free_bytes=0)
    receiver, session = Receiver(), session_id()
    spool = await Spool.open(tmp_path, numbers)
    shipper = Shipper(spool, receiver.post, interval=0.01)
    shipper.start()
    recorder = receiver.open_epoch(spool, session)
    data = os.urandom(20_000_000)
    recorder.append(CommandIntent(1, 1, "d", "c", "insert", "write", b"\x05\0\0\0\0", 5, (("documents", data),)))
    assert await shipper.flush(60)
    chunks = [record for record in receiver.records[session, 1] if isinstance(record, BodyChunk)]
    assert b"".join(chunk.data for chunk in chunks) == b"\x05\0\0\0\0" + data
    await shipper.close()
    await spool.close()

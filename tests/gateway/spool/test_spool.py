"""spool: what is acknowledged as durable is; what can't be recorded is refused; one failure does not spread."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import bson
import pytest

from wardgate import ids
from wardgate.audit.frame import Scan
from wardgate.audit.recorder import Recorder, RecordingFailed
from wardgate.audit.records import (
    BodyChunk,
    CommandIntent,
    CommandOutcome,
    ConnectionClosed,
    ConnectionOpened,
    Record,
    SessionClosed,
    SessionNotice,
)
from wardgate.errors import WardgateError
from wardgate.gateway.spool import committer
from wardgate.gateway.spool import segment as segments
from wardgate.gateway.spool.epoch import EpochRecorder
from wardgate.gateway.spool.segment import Segment
from wardgate.gateway.spool.spool import Spool
from wardgate.numbers import KIB, MIB, Numbers

from .receiver import Receiver, durable, session_id

NUMBERS = replace(
    Numbers(), spool_segment_bytes=256 * KIB, spool_bytes=4 * MIB, spool_session_bytes=2 * MIB, spool_free_bytes=0
)
NOTICE = SessionNotice("test")


def intent(size: int = 100) -> CommandIntent:
    body = bson.encode({"insert": "orders", "data": b"x" * size, "$db": "shop"})
    return CommandIntent(1, 7, "shop", "orders", "insert", "write", body, len(body))


def outcome(seq: int, *, more: bool = False, unacknowledged: bool = False) -> CommandOutcome:
    return CommandOutcome(seq, 1.0, None, 1, 50, 300, more=more, unacknowledged=unacknowledged)


@asynccontextmanager
async def opened(
    folder: Path, numbers: Numbers = NUMBERS, sync: Callable[[int], None] = os.fdatasync, *, quick: float = 0.0
) -> AsyncIterator[Spool]:
    """`quick`: how long a sync may take to be done in the loop itself; by default all of them go to the thread."""
    spool = await Spool.open(folder, numbers, sync=sync)
    spool._committer.quick = quick
    try:
        yield spool
    finally:
        await spool.close()


async def fill(recorder: EpochRecorder, record: Record) -> tuple[list[int], str]:
    """Append until it is refused: the sequence numbers that were taken, and why the next one was not."""
    taken: list[int] = []
    while True:
        try:
            taken.append(recorder.append(record))
        except RecordingFailed as failed:
            return taken, failed.message
        await asyncio.sleep(0)


def on_disk(spool: Spool) -> list[tuple[bytes, int, int]]:
    """(session, epoch, sequence) of every frame in the segment files."""
    return [
        (place.head.session, place.head.epoch, place.head.seq)
        for segment in spool.segments
        for place in Scan(segment.path.read_bytes())
    ]


async def test_a_record_is_in_the_file_before_append_returns(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        session = session_id()
        recorder: Recorder = Receiver().open_epoch(spool, session)
        raw = ids.to_bytes(session, ids.Kind.SESSION)
        assert recorder.append(intent()) == 1
        assert on_disk(spool) == [(raw, 1, 0), (raw, 1, 1)]
        assert recorder.append(outcome(1)) == 2
        assert on_disk(spool)[-1] == (raw, 1, 2)
        assert recorder.durable() < 2


async def test_durable_follows_a_sync_that_began_after_the_write(tmp_path: Path) -> None:
    synced: list[bytes] = []

    def sync(fd: int) -> None:
        os.fdatasync(fd)
        synced.append(os.pread(fd, 64 * KIB, 0))

    async with opened(tmp_path, sync=sync) as spool:
        recorder = Receiver().open_epoch(spool)
        seq = recorder.append(intent())
        seq = recorder.append(outcome(seq))
        await durable(recorder, seq)
        assert recorder.durable() == seq
        assert max(place.head.seq for place in Scan(synced[-1])) == seq
        called = []
        recorder.when_durable(seq, lambda: called.append(1))
        assert called == [1]  # at once


async def test_waiters_are_called_in_order_each_when_its_own_is_safe(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        recorder = Receiver().open_epoch(spool)
        first = recorder.append(intent())
        second = recorder.append(intent())
        order: list[tuple[int, int]] = []
        done = asyncio.Event()
        recorder.when_durable(second, done.set)
        recorder.when_durable(second, lambda: order.append((second, recorder.durable())))
        recorder.when_durable(first, lambda: order.append((first, recorder.durable())))
        await done.wait()
        await asyncio.sleep(0)
        assert [seq for seq, _ in order] == [first, second]
        assert all(safe >= seq for seq, safe in order)


async def test_an_intent_alone_is_synced_soon_and_a_kick_is_sooner(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        recorder = Receiver().open_epoch(spool)
        for kick in (False, True):
            seq = recorder.append(intent())
            if kick:
                recorder.kick()
            async with asyncio.timeout(10):
                while recorder.durable() < seq:
                    await asyncio.sleep(0.001)


async def test_writers_share_syncs(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        recorders = [Receiver().open_epoch(spool) for _ in range(4)]

        async def work(index: int) -> None:
            recorder = recorders[index % 4]
            for _ in range(20):
                seq = recorder.append(intent())
                await asyncio.sleep(0)  # MongoDB works
                await durable(recorder, recorder.append(outcome(seq)))

        await asyncio.gather(*(work(index) for index in range(16)))
        facts = spool.statistics()
        assert facts["writes"] == 16 * 20 * 2 + 4
        assert facts["syncs"] < 16 * 20 / 2


async def test_process_durability_waits_for_no_sync(tmp_path: Path) -> None:
    def sync(fd: int) -> None:
        raise AssertionError("nothing asked for a sync")

    async with opened(tmp_path, sync=sync) as spool:
        recorder = Receiver().open_epoch(spool, durability="process")
        seq = recorder.append(outcome(recorder.append(intent())))
        assert recorder.durable() == seq
        await recorder.close()


async def test_large_bodies_go_over_several_segments(tmp_path: Path) -> None:
    numbers = replace(NUMBERS, spool_segment_bytes=4 * MIB, spool_bytes=256 * MIB, spool_session_bytes=256 * MIB)
    async with opened(tmp_path, numbers) as spool:
        recorder = Receiver().open_epoch(spool)
        seq = recorder.append(intent(48_000_000))
        last = recorder.append(outcome(seq))
        assert last == seq + 1 + 46  # 45 whole chunks and a bit
        await durable(recorder, last)
        assert recorder.durable() == last
        assert len(spool.segments) > 10
        heads = [place for place in on_disk(spool) if place[2] == 0]
        assert len(heads) == len(spool.segments)  # each bears the epoch's head
        assert sorted({seq for _, _, seq in on_disk(spool)}) == list(range(last + 1))


async def test_a_record_that_can_not_be_written_down_ends_the_epoch(tmp_path: Path) -> None:
    async with opened(tmp_path, replace(Numbers(), spool_segment_bytes=4 * MIB)) as spool:
        failed: list[str] = []
        recorder = Receiver().open_epoch(spool, on_failed=failed.append)
        with pytest.raises(RecordingFailed):
            recorder.append(BodyChunk(1, 1, bytes(3 * MIB)))
        await asyncio.sleep(0)
        assert len(failed) == 1
        with pytest.raises(RecordingFailed):
            recorder.append(NOTICE)


async def test_a_session_over_its_quota_is_slowed_then_refused_alone(tmp_path: Path) -> None:
    numbers = replace(NUMBERS, spool_session_bytes=200 * KIB)
    async with opened(tmp_path, numbers) as spool:
        greedy, modest = Receiver().open_epoch(spool), Receiver().open_epoch(spool)
        open_intent = greedy.append(intent())
        assert not greedy.slow()
        assert "share of the audit spool" in (await fill(greedy, intent(1000)))[1]
        assert greedy.slow()
        greedy.append(outcome(open_intent))  # what is due is still taken
        modest.append(intent())
        assert not modest.slow()
        greedy.append(SessionClosed("audit_failed"))


async def test_a_full_spool_refuses_intents_and_keeps_room_for_what_is_due(tmp_path: Path) -> None:
    numbers = replace(NUMBERS, spool_bytes=1 * MIB, spool_session_bytes=8 * MIB)
    async with opened(tmp_path, numbers) as spool:
        recorder = Receiver().open_epoch(spool)
        recorder.append(ConnectionOpened(1, "127.0.0.1:9"))
        due, reason = await fill(recorder, intent(2000))
        assert "spool is full" in reason
        assert recorder.slow()
        for seq in due:
            recorder.append(replace(outcome(seq), error="e" * 9000))
        recorder.append(ConnectionClosed(1, "session ended"))
        recorder.append(SessionClosed("audit_failed", "x" * 9000, 3, ("op " * 300,) * 20))
        await recorder.close()
        assert recorder.failure is None
        assert spool.reserved == 0
        assert sum(segment.size for segment in spool.segments) <= numbers.spool_bytes


async def test_too_little_free_space_refuses(tmp_path: Path) -> None:
    numbers = replace(NUMBERS, spool_free_bytes=1 << 62)
    spool = await Spool.open(tmp_path, numbers)
    try:
        recorder = Receiver().open_epoch(spool)  # the first segment is there: what fits is taken
        assert "disk is short of space" in (await fill(recorder, intent(2000)))[1]
        recorder.append(SessionClosed("audit_failed"))
    finally:
        await spool.close()


async def test_a_folder_that_can_not_be_used_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WardgateError, match="can't be used"):
        await Spool.open(tmp_path / "file" / "spool", NUMBERS)

    def none(*_: object) -> Segment:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(segments, "prepare", none)
    with pytest.raises(WardgateError, match="No space left"):
        await Spool.open(tmp_path / "spool", NUMBERS)


async def test_room_comes_back_when_segments_go(tmp_path: Path) -> None:
    numbers = replace(NUMBERS, spool_bytes=512 * KIB, spool_session_bytes=8 * MIB)
    async with opened(tmp_path, numbers) as spool:
        recorder = Receiver().open_epoch(spool)
        await fill(recorder, NOTICE)
        assert len(spool.segments) == 2
        spool.release(spool.segments[0])
        recorder.append(intent(2000))


async def test_who_waits_alone_on_a_quick_disk_is_not_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "_SLOW", 60.0)  # a busy machine is no slow disk
    threads: list[str] = []

    def sync(fd: int) -> None:
        threads.append(threading.current_thread().name)
        os.fdatasync(fd)

    async with opened(tmp_path, sync=sync, quick=60.0) as spool:
        recorder = Receiver().open_epoch(spool)
        await durable(recorder, recorder.append(outcome(recorder.append(intent()))))  # tells how quick the disk is
        async with asyncio.timeout(10):
            while not spool._committer._idle:
                await asyncio.sleep(0.001)
        threads.clear()
        seq = recorder.append(outcome(recorder.append(intent())))
        assert recorder.durable() == seq
        assert threads == [threading.main_thread().name]

        seq = recorder.append(intent())  # a write that nobody will answer waits for its own sync
        recorder.kick()
        assert recorder.durable() == seq
        assert threads == [threading.main_thread().name] * 2
        recorder.append(replace(outcome(seq), ok=None, unacknowledged=True))

        others = recorder.append(intent())  # somebody else's command is under way: now there is a group to wait for
        seq = recorder.append(intent())
        recorder.kick()
        assert recorder.durable() < seq
        await durable(recorder, recorder.append(outcome(seq)))
        assert len(threads) > 2
        seq = recorder.append(outcome(recorder.append(intent())))
        assert recorder.durable() < seq
        await durable(recorder, recorder.append(outcome(others)))

        spool._committer.quick = 0.0  # the disk was slow
        seq = recorder.append(outcome(recorder.append(intent())))
        assert recorder.durable() < seq
        await durable(recorder, seq)


async def test_a_sync_that_fails_in_the_loop_refuses_the_record(tmp_path: Path) -> None:
    broken: list[int] = []
    calls: list[int] = []

    def sync(fd: int) -> None:
        calls.append(fd)
        if fd in broken:
            raise OSError(errno.EIO, "Input/output error")
        os.fdatasync(fd)

    async with opened(tmp_path, sync=sync, quick=60.0) as spool:
        failed: list[str] = []
        recorder = Receiver().open_epoch(spool, on_failed=failed.append)
        await durable(recorder, recorder.append(outcome(recorder.append(intent()))))
        async with asyncio.timeout(10):
            while not spool._committer._idle:
                await asyncio.sleep(0.001)
        seq = recorder.append(intent())
        assert spool.current is not None
        bad = spool.current.fd
        broken.append(bad)
        calls.clear()
        with pytest.raises(RecordingFailed):
            recorder.append(outcome(seq))
        await asyncio.sleep(0)
        assert len(failed) == 1
        assert calls.count(bad) == 1


async def test_a_disk_where_every_sync_fails_costs_no_file_after_file(tmp_path: Path) -> None:
    """Found in a test that never ended: the fresh segment was synced although nothing had been written to it."""
    broken = False
    calls: list[int] = []

    def sync(fd: int) -> None:
        calls.append(fd)
        if broken:
            raise OSError(errno.EIO, "Input/output error")
        os.fdatasync(fd)

    async with opened(tmp_path, sync=sync) as spool:
        failed: list[str] = []
        recorder = Receiver().open_epoch(spool, on_failed=failed.append)
        await durable(recorder, recorder.append(outcome(recorder.append(intent()))))
        broken = True
        calls.clear()
        recorder.append(outcome(recorder.append(intent())))
        async with asyncio.timeout(10):
            while not failed or not spool._committer._idle:
                await asyncio.sleep(0.001)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(calls) == 1
        assert not spool.unsynced


async def test_a_failed_sync_is_not_retried_and_ends_its_sessions(tmp_path: Path) -> None:
    broken: list[int] = []
    calls: list[int] = []

    def sync(fd: int) -> None:
        calls.append(fd)
        if fd in broken:
            raise OSError(errno.EIO, "Input/output error")
        os.fdatasync(fd)

    async with opened(tmp_path, sync=sync) as spool:
        failed: list[str] = []
        one, two = (Receiver().open_epoch(spool, on_failed=failed.append) for _ in range(2))
        await durable(one, one.append(outcome(one.append(intent()))))
        assert spool.current is not None
        bad = spool.current
        broken.append(bad.fd)
        calls.clear()
        seq = one.append(outcome(one.append(intent())))
        called: list[int] = []
        one.when_durable(seq, lambda: called.append(1))
        async with asyncio.timeout(10):
            while len(failed) < 2:
                await asyncio.sleep(0.001)
        assert "Input/output error" in failed[0]
        assert called == []
        for recorder in (one, two):
            with pytest.raises(RecordingFailed):
                recorder.append(NOTICE)
            await recorder.close()
        later = Receiver().open_epoch(spool)
        assert spool.current is not bad
        await durable(later, later.append(outcome(later.append(intent()))))
        assert calls.count(bad.fd) == 1
        assert spool.limit(bad) == (bad.end, True)


async def test_a_recording_that_was_closed_hears_of_no_failure(tmp_path: Path) -> None:
    """The session goes on in another epoch, perhaps at this very gateway: its own recorder has not failed."""
    broken, failed = False, asyncio.Queue[str]()

    def sync(fd: int) -> None:
        if broken:
            raise OSError(errno.EIO, "Input/output error")
        os.fdatasync(fd)

    async with opened(tmp_path, sync=sync) as spool:
        old = Receiver().open_epoch(spool, on_failed=lambda _: failed.put_nowait("old"))
        old.append(NOTICE)
        await old.close()
        new = Receiver().open_epoch(spool, on_failed=lambda _: failed.put_nowait("new"))
        broken = True
        new.append(NOTICE)
        assert await failed.get() == "new"
        assert failed.empty()
        assert old.failure is None
        await new.close()


@pytest.mark.parametrize("short", [False, True])
async def test_a_failed_write_ends_its_sessions_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bool
) -> None:
    async with opened(tmp_path) as spool:
        failed: list[str] = []
        old = Receiver().open_epoch(spool, on_failed=failed.append)
        old.append(intent())
        bad = spool.current
        real = Segment.write

        def write(self: Segment, data: bytes) -> None:
            if self is not bad:
                real(self, data)
            elif short:
                os.pwrite(self.fd, data[:50], self.end)
                raise OSError("the system took 50 bytes")
            else:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Segment, "write", write)
        with pytest.raises(RecordingFailed):
            old.append(intent())
        await asyncio.sleep(0)
        assert len(failed) == 1
        young = Receiver().open_epoch(spool)
        await durable(young, young.append(outcome(young.append(intent()))))


async def test_no_segment_to_be_had_refuses_and_keeps_room_to_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> Segment:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with opened(tmp_path) as spool:
        while spool.statistics()["bytes"] < 2 * NUMBERS.spool_segment_bytes:
            await asyncio.sleep(0.001)
        monkeypatch.setattr(segments, "prepare", none)
        monkeypatch.setattr(segments, "allocate", none)
        failed: list[str] = []
        recorder = Receiver().open_epoch(spool, on_failed=failed.append)
        assert "short of space" in (await fill(recorder, NOTICE))[1]
        recorder.append(SessionClosed("audit_failed"))
        await recorder.close()
        assert failed == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small tmpfs")
async def test_a_really_full_disk_refuses_before_it_loses(tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(tmp_path)]).returncode:
        pytest.skip("tmpfs can't be mounted here")
    try:
        numbers = replace(NUMBERS, spool_bytes=64 * MIB, spool_session_bytes=64 * MIB)
        async with opened(tmp_path / "spool", numbers) as spool:
            receiver = Receiver()
            recorder = receiver.open_epoch(spool)
            due, _ = await fill(recorder, intent(3000))
            assert len(due) > 50
            for seq in due:
                recorder.append(outcome(seq))
            recorder.append(SessionClosed("audit_failed"))
            await recorder.close()
            assert recorder.failure is None
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


async def test_closing_waits_for_the_disk_and_forgets_the_key(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        recorder = Receiver().open_epoch(spool)
        seq = recorder.append(SessionClosed("client_closed"))
        await recorder.close()
        assert recorder.durable() == seq
        with pytest.raises(RecordingFailed):
            recorder.append(NOTICE)
        await recorder.close()


async def test_nothing_readable_lies_on_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        recorder = Receiver().open_epoch(spool)
        recorder.append(replace(intent(), client_app="a-telling-name"))
        await recorder.close()
        whole = b"".join(segment.path.read_bytes() for segment in spool.segments)
        assert b"a-telling-name" not in whole
        assert b"orders" not in whole
        assert {(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {0o600}

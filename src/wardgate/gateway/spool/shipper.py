"""The shipper: it carries frames to the control plane, in order for each epoch, and lets segments go.

It walks the oldest segment window by window. A window is split by epoch, the parts are posted side by side, and when
all are acknowledged the walk goes on; so it needs no index, and a restart, an outage or a doubled delivery is the same
walk again, in which frames that are known to be acknowledged are skipped. An acknowledgement may run ahead of what was
sent, since the control plane knows what an earlier life of this gateway delivered.

A delivery costs the control plane more than the records in it (a request, a signature, an object and a transaction,
each on disk), so they are made as large as they may be: the walk stops where it has caught up, and begins again after
`interval`; at once when a session has ended, or when somebody waits (`flush`).

Segments of an earlier life are read through `audit.frame.Scan`: what is torn is cut, and the epochs in them get a
tail, which says that nothing more will come. An epoch that the control plane refuses, or one with a hole, is an alarm:
its segments are put aside and never deleted here.

Law: a segment is deleted only when every frame in it has been acknowledged as durable.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Final

from ... import ids
from ...api.machine import RecordsAck
from ...api.problems import ProblemCode, ProblemError
from ...audit.chain import Link, tail_frame
from ...audit.frame import HEAD_BYTES, Located, Scan
from ...errors import WardgateError
from ...net import logs
from ...numbers import MIB
from . import tails
from .epoch import EpochKey
from .segment import Segment
from .spool import Spool

_log = logs.get("spool.shipper")

Post = Callable[[str, int, bytes], Awaitable[RecordsAck]]

_INTERVAL: Final = 0.8  # what people see of a session is at most this and a delivery behind what happens
_WINDOW: Final = 4 * MIB  # twice the longest frame, and well below what a request may hold
_PARALLEL: Final = 4
_BREATH: Final = 256  # frames walked before the loop gets its turn
_FLUSH_STEP: Final = 0.02
_PLACE = struct.Struct("<QI")  # sequence number and length, at offset 28 of a head
_REFUSALS: Final = frozenset({ProblemCode.RECORDS_REFUSED, ProblemCode.NOT_FOUND, ProblemCode.FORBIDDEN})


class Shipment:
    """What is known of one epoch."""

    __slots__ = ("acked", "closed", "last", "refused", "seen")

    def __init__(self) -> None:
        self.acked = -1  # the newest sequence number that the control plane has
        self.last = b""  # that frame's hash
        self.seen = -1  # the newest one met in the walk
        self.closed = False  # the control plane knows that this was all
        self.refused = False


class _Part:
    """One epoch's share of a window."""

    __slots__ = ("last", "pieces", "seq", "size")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self.seq = -1
        self.last = b""  # the newest frame

    def add(self, seq: int, frame: bytes) -> None:
        self.pieces.append(frame)
        self.size += len(frame)
        self.seq = seq
        self.last = frame


class Shipper:
    """Made for one spool; `start` it, `flush` it, and `close` it before the spool."""

    def __init__(
        self,
        spool: Spool,
        post: Post,
        *,
        interval: float = _INTERVAL,
        retry_first: float = 0.5,
        retry_longest: float = 30.0,
    ) -> None:
        self._spool = spool
        self._post = post
        self._interval = interval
        self._retry_first = retry_first
        self._retry_longest = retry_longest
        self._shipments: dict[EpochKey, Shipment] = {}
        self._offset = 0  # in the oldest segment
        self._aside = False  # whether the oldest segment has frames that can't be delivered
        self._scan: tuple[Segment, list[Located], bool] | None = None
        self._recovered = max((segment.number for segment in spool.segments if not segment.trusted), default=-1)
        self._tails: dict[EpochKey, Link] = {}
        self._failures = 0
        self._wake = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ship, in a task of its own."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def flush(self, timeout: float) -> bool:
        """Ship what there is now; whether all of it was acknowledged in time."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._spool.sync_soon()
        self._wake.set()
        done, _ = await asyncio.wait([waiter], timeout=timeout)
        if not done:
            self._waiters.remove(waiter)
        return bool(done)

    async def close(self) -> None:
        """Stop where it is; what is not acknowledged stays in the spool."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    # --- the walk ---

    async def _run(self) -> None:
        self._tails = await asyncio.to_thread(tails.load, self._spool.folder)
        self._spool.on_closed = self._session_ended
        while True:
            self._wake.clear()  # before the walk: whoever ends while it goes on gets another
            pause = self._interval
            try:
                await self._round()
                self._failures = 0
                self._settle()
            except (WardgateError, OSError) as error:
                pause = min(self._retry_longest, self._retry_first * 2.0 ** min(self._failures, 10))
                pause *= random.uniform(0.5, 1.0)
                self._failures += 1
                _log.warning("spool.not_shipped", error=str(error), failures=self._failures)
            if self._waiters and not self._failures:
                pause = _FLUSH_STEP
            # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with the wake-up.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _round(self) -> None:
        spool = self._spool
        if spool.unsynced:
            spool.sync_soon()
        while spool.segments:
            segment = spool.segments[0]
            if self._tails and segment.number > self._recovered:
                await self._send_tails()
            limit, complete = spool.limit(segment)
            if segment.trusted:
                if self._offset < limit:
                    await self._window(segment, limit)
                    if not complete and self._offset == limit and not self._waiters:
                        return  # what was written meanwhile makes the next delivery
                elif complete:
                    self._release(segment)
                else:
                    return
            else:
                await self._untrusted(segment)

    def _session_ended(self) -> None:
        if not self._failures:  # an outage is waited out, whoever ends meanwhile
            self._wake.set()

    def _settle(self) -> None:
        """Tell those who flush, if nothing is left."""
        if self._waiters and not self._spool.unsynced and not self._tails and self._at_end():
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()

    def _at_end(self) -> bool:
        segments = self._spool.segments
        return not segments or (len(segments) == 1 and self._offset == self._spool.limit(segments[0])[0])

    def _release(self, segment: Segment) -> None:
        if self._aside:
            _log.error("spool.segment_put_aside", segment=segment.path.name)
        self._spool.release(segment, keep=self._aside)
        self._offset = 0
        self._aside = False
        self._scan = None
        live = self._spool.keys()
        self._shipments = {key: known for key, known in self._shipments.items() if known.refused or key in live}

    async def _window(self, segment: Segment, limit: int) -> None:
        data = segment.read(self._offset, min(_WINDOW, limit - self._offset))
        parts: dict[EpochKey, _Part] = {}
        position = count = 0
        while position + HEAD_BYTES <= len(data):
            seq, length = _PLACE.unpack_from(data, position + 28)
            end = position + HEAD_BYTES + length
            if end > len(data):
                break
            self._take(parts, data[position:end], seq)
            position = end
            count += 1
            if count % _BREATH == 0:
                await asyncio.sleep(0)
        await self._post_all(parts)
        self._offset += position

    async def _untrusted(self, segment: Segment) -> None:
        """A segment of an earlier life, or one that failed: what can be read of it, then put it away."""
        if self._scan is None or self._scan[0] is not segment:
            located, damaged = await asyncio.to_thread(_survey, segment)
            self._scan = (segment, located, damaged)
        _, located, damaged = self._scan
        for window in _windows(located):
            parts: dict[EpochKey, _Part] = {}
            for count, place in enumerate(window, 1):
                self._take(parts, segment.read(place.offset, place.end - place.offset), place.head.seq)
                if count % _BREATH == 0:
                    await asyncio.sleep(0)
            await self._post_all(parts)
        keys = {(place.head.session, place.head.epoch) for place in located}
        if segment.number <= self._recovered:
            await self._note_tails(keys)
        self._aside = self._aside or damaged
        self._release(segment)

    def _take(self, parts: dict[EpochKey, _Part], frame: bytes, seq: int) -> None:
        """Put a frame into its epoch's part, unless it is known to be delivered or can't be."""
        key = (frame[8:24], int.from_bytes(frame[24:28], "little"))
        shipment = self._shipments.get(key)
        if shipment is None:
            shipment = self._shipments[key] = Shipment()
        shipment.seen = max(seq, shipment.seen)
        part = parts.get(key)
        newest = part.seq if part is not None else shipment.acked
        if shipment.refused:
            self._aside = True
            return
        if seq <= newest:
            return
        # Behind a repeated head the walk may begin anywhere: the control plane knows whether it has what comes before.
        if seq != newest + 1 and newest != 0:
            self._refuse(key, shipment, f"sequence {seq} follows {newest} in the spool")
            return
        if part is None:
            part = parts[key] = _Part()
        part.add(seq, frame)

    # --- posting ---

    async def _post_all(self, parts: dict[EpochKey, _Part]) -> None:
        """Post every part; the first failure is raised when all have been tried."""
        results = await asyncio.gather(
            *(self._post_part(key, part) for key, part in parts.items() if part.pieces), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _post_part(self, key: EpochKey, part: _Part) -> None:
        shipment = self._shipments[key]
        try:
            async with self._slots:
                ack = await self._post(ids.from_bytes(ids.Kind.SESSION, key[0]), key[1], b"".join(part.pieces))
        except ProblemError as problem:
            if problem.problem.code not in _REFUSALS:
                raise
            self._refuse(key, shipment, problem.message)
            return
        digest = hashlib.sha256(part.last).digest()
        if ack.seq < part.seq:
            raise WardgateError("not_acknowledged", f"The control plane acknowledged {ack.seq} instead of {part.seq}.")
        if ack.seq == part.seq and ack.hash != digest.hex():
            self._refuse(key, shipment, f"the control plane has another frame with sequence {ack.seq}")
            return
        shipment.acked = max(ack.seq, shipment.acked)
        shipment.last = digest if ack.seq == part.seq else bytes.fromhex(ack.hash)
        shipment.closed = ack.closed
        self._spool.shipped(key, part.size)

    def _refuse(self, key: EpochKey, shipment: Shipment, reason: str) -> None:
        session = ids.from_bytes(ids.Kind.SESSION, key[0])
        _log.error("spool.epoch_refused", session=session, epoch=key[1], reason=reason)
        shipment.refused = self._aside = True
        self._spool.refused(key, f"The control plane does not take this session's records: {reason}.")

    # --- tails ---

    async def _note_tails(self, keys: set[EpochKey]) -> None:
        """Remember, on disk, that these epochs are owed a tail, before the segment that shows it goes."""
        for key in keys:
            shipment = self._shipments[key]
            if shipment.refused or shipment.closed:
                self._tails.pop(key, None)
            elif shipment.acked == shipment.seen:
                self._tails[key] = Link(key[1], shipment.acked, shipment.last)
        await asyncio.to_thread(tails.save, self._spool.folder, dict(self._tails))

    async def _send_tails(self) -> None:
        """Nothing of an earlier life is left: close its epochs. A tail that is already there is acknowledged again."""
        for key, link in list(self._tails.items()):
            part = _Part()
            part.add(link.seq + 1, tail_frame(key[0], link))
            self._shipments.setdefault(key, Shipment())
            await self._post_part(key, part)
            del self._tails[key]
        await asyncio.to_thread(tails.save, self._spool.folder, {})


def _survey(segment: Segment) -> tuple[list[Located], bool]:
    scan = Scan(segment.read(0, segment.end))
    return list(scan), bool(scan.holes)


def _windows(located: list[Located]) -> Iterator[list[Located]]:
    start = 0
    while start < len(located):
        end = start
        while end < len(located) and located[end].end - located[start].offset <= _WINDOW:
            end += 1
        yield located[start:end]
        start = end

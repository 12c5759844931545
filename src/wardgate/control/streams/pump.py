"""Delivering: at least once, in order, one process at a time for each stream.

A turn: take the stream (or leave it to who has it), fill a parcel, send it, and move the stream's places in one
transaction, from exactly where they were. A crash between the sending and the move sends the parcel again; nothing is
ever passed over. What the receiver does not take is tried again, ever later, for as long as it takes.

Law: no database transaction is open while a receiver is waited for.
"""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ...net import logs
from ..audit_log import AuditLog, Event
from ..audit_log.log import SYSTEM
from ..db import Database
from ..records.feed import Feed
from ..sources import Sources
from . import store
from .gather import MOST_LINES, Gatherer, Parcel, Share
from .model import StreamRow
from .opening import Opener
from .senders import NotSent, Sender

_log = logs.get("control.streams")

_HELD: Final = timedelta(seconds=60)  # longer than any delivery takes
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 300.0
_TELL_AT: Final = 3  # failures in a row before it is an event: a receiver that restarts is none
_LOOK_EVERY: Final = 1.0
_NONE_FOR: Final = timedelta(seconds=2)  # how long “there is no stream” is believed, since another node may make one


class Deliveries:
    """Runs the streams of an installation."""

    def __init__(self, database: Database, audit_log: AuditLog, sources: Sources, feed: Feed, opener: Opener) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._feed = feed
        self._opener = opener
        self._gatherer = Gatherer(database, feed)
        self._me = sources.randomness(16).hex()
        self._senders: dict[str, tuple[int, Sender]] = {}
        self._limits: dict[str, int] = {}
        self._none_until: datetime | None = None
        self.wake = asyncio.Event()
        feed.watchers.append(self.mark)

    def changed(self) -> None:
        """A stream was made or changed here."""
        self._none_until = None
        self.wake.set()

    async def mark(
        self, session: AsyncSession, session_id: str, project_id: str | None, epoch: int, before: int
    ) -> None:
        """Note that records arrived; see `records.feed`."""
        now = self._sources.now()
        if self._none_until is not None and now < self._none_until:
            return
        if not await store.count(session):
            self._none_until = now + _NONE_FOR
            return
        await store.mark(session, session_id, project_id, epoch, before, now)
        self.wake.set()

    # --- the loop ---

    async def run(self) -> None:
        """Deliver until cancelled. Streams do not wait for each other."""
        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self.wake.clear()
                async with self._database.read() as session:
                    due = await store.due(session, self._sources.now())
                tasks = {stream_id: task for stream_id, task in tasks.items() if not task.done()}
                for stream_id in due:
                    if stream_id not in tasks:
                        tasks[stream_id] = asyncio.create_task(self._one(stream_id), name=f"stream {stream_id}")
                await asyncio.sleep(_LOOK_EVERY / 10)  # what arrives together is sent together
                try:
                    async with asyncio.timeout(_LOOK_EVERY):
                        await self.wake.wait()
                except TimeoutError:
                    continue
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            await self.close()

    async def close(self) -> None:
        """Let go of connections."""
        for _, sender in self._senders.values():
            await sender.close()
        self._senders.clear()

    async def _one(self, stream_id: str) -> None:
        try:
            await self.deliver(stream_id)
        except Exception as error:
            _log.error("stream broke", stream=stream_id, error=type(error).__name__)

    async def deliver(self, stream_id: str) -> None:
        """Send what there is, until nothing is left or an attempt fails."""
        while await self._turn(stream_id):
            pass

    async def _turn(self, stream_id: str) -> bool:
        """One delivery; whether there may be more."""
        now = self._sources.now()
        async with self._database.read() as session:
            row = await session.get(StreamRow, stream_id)
        if row is None:
            return False
        limit = self._limits.get(stream_id, MOST_LINES)
        parcel = await self._gatherer.parcel(row, limit, now)
        if not parcel.lines and not any(not share.held for share in parcel.shares):
            return False
        async with self._database.write() as session:
            if not await store.claim(session, stream_id, self._me, now, now + _HELD):
                return False
        if parcel.lines:
            try:
                await (await self._sender(row)).send(parcel.lines)
            except NotSent as error:
                if error.too_large and limit > 1:
                    self._limits[stream_id] = limit // 4 or 1
                    return True
                await self._failed(row, str(error))
                return False
            self._limits.pop(stream_id, None)
        return await self._moved(row, parcel)

    async def _sender(self, row: StreamRow) -> Sender:
        """The connection to a receiver, as the stream is set now; NotSent."""
        known = self._senders.get(row.id)
        if known is not None and known[0] == row.version:
            return known[1]
        if known is not None:
            await known[1].close()
        sender = await self._opener.open(row)
        self._senders[row.id] = (row.version, sender)
        return sender

    # --- what became of it ---

    async def _moved(self, before: StreamRow, parcel: Parcel) -> bool:
        """Move the stream's places behind what was sent; whether it was still where it had been."""
        now = self._sources.now()
        async with self._database.write() as session:
            row = await session.scalar(select(StreamRow).where(StreamRow.id == before.id).with_for_update())
            if row is None or row.holder != self._me or row.event_seq != before.event_seq:
                return False
            row.event_seq = parcel.event_seq
            for share in parcel.shares:
                await self._move(session, row.id, share)
            if parcel.lines:
                row.sent += len(parcel.lines)
                row.sent_at = now
                if row.failures >= _TELL_AT:
                    await self._tell(session, row, Event.STREAM_RECOVERED, {"failures": row.failures})
                row.failures, row.failing_since, row.next_try_at = 0, None, None
        return not all(share.held for share in parcel.shares) or bool(parcel.lines)

    async def _move(self, session: AsyncSession, stream_id: str, share: Share) -> None:
        place = await store.position(session, stream_id, share.session_id, share.epoch)
        if place is None or place.seq != share.before:
            return
        if share.gone:
            await session.delete(place)
            return
        place.seq = share.after
        place.pending = ",".join(map(str, share.pending))
        if share.held or await self._feed.has_more(session, share.session_id, share.epoch, share.after):
            place.since = share.at or place.since
            return
        place.waiting = False
        if await self._feed.is_closed(session, share.session_id, share.epoch):
            await session.delete(place)

    async def _failed(self, before: StreamRow, why: str) -> None:
        now = self._sources.now()
        async with self._database.write() as session:
            row = await session.scalar(select(StreamRow).where(StreamRow.id == before.id).with_for_update())
            if row is None:
                return
            row.failures += 1
            row.failing_since = row.failing_since or now
            row.last_error, row.last_error_at = why[:500], now
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(row.failures - 1, 12)) * random.uniform(0.75, 1.0)
            row.next_try_at = now + timedelta(seconds=pause)
            if row.failures == _TELL_AT:
                await self._tell(session, row, Event.STREAM_FAILING, {"why": row.last_error})
        _log.warning("stream.not_sent", stream=before.name, why=why, failures=before.failures + 1)

    async def _tell(self, session: AsyncSession, row: StreamRow, event: Event, details: dict[str, object]) -> None:
        facts = {"name": row.name, **details}
        await self._audit_log.append(session, SYSTEM, event, row.id, project_id=row.project_id, details=facts)

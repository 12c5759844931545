"""What a stream has to send next: the next events, then what waits in sessions, in bounded parcels.

Order: events by number; the lines of an epoch by sequence number; of a session's epochs the earlier first, where both
are there. A command that has just begun holds its epoch up for two seconds, so that most are sent once, with their
outcome; one that runs longer is sent as pending, and its outcome by a line of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from ..access.places import RecordPlace
from ..db import Database
from ..records.feed import Feed
from . import lines, store
from .formats import HTTP_MOST
from .lines import Line
from .model import SEALS, StreamPositionRow, StreamRow

MOST_LINES: Final = 200
_MOST_CHARACTERS: Final = 1024 * 1024
_MOST_PLACES: Final = 50
_MOST_PENDING: Final = 1_000  # no connection has more than one, no session a thousand connections for long
_UNDER_WAY: Final = timedelta(seconds=2)


@dataclass(slots=True)
class Share:
    """What is sent of one epoch (or of a session's seals), and where that leaves it. `held`: there is more, which has
    to wait; `gone`: there is no such session any more."""

    session_id: str
    epoch: int
    before: int
    after: int
    pending: list[int]
    at: datetime | None = None  # of the last line
    held: bool = False
    gone: bool = False


@dataclass(slots=True)
class Parcel:
    """One delivery."""

    event_seq: int
    lines: list[Line] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    size: int = 0

    def add(self, line: Line) -> None:
        """One line more."""
        self.lines.append(line)
        self.size += len(line.text(HTTP_MOST))

    def is_full(self, limit: int) -> bool:
        """Whether it is time to send it."""
        return len(self.lines) >= limit or self.size >= _MOST_CHARACTERS


class Gatherer:
    """Fills parcels."""

    def __init__(self, database: Database, feed: Feed) -> None:
        self._database = database
        self._feed = feed

    async def parcel(self, row: StreamRow, limit: int, now: datetime) -> Parcel:
        """At most `limit` lines; none if there is nothing to send now."""
        parcel = Parcel(row.event_seq)
        async with self._database.read() as session:
            if row.events:
                for event in await store.events(session, row, max(1, limit // 2)):
                    parcel.add(lines.of_event(event))
                    parcel.event_seq = event.seq
                    if parcel.is_full(limit):
                        break
            places = [] if not row.commands else list(await store.waiting(session, row.id, _MOST_PLACES))
        for place in places:
            if parcel.is_full(limit):
                break
            await self._share(parcel, row, place, limit, now)
        return parcel

    async def _share(self, parcel: Parcel, row: StreamRow, place: StreamPositionRow, limit: int, now: datetime) -> None:
        pending = [int(each) for each in place.pending.split(",") if each]
        share = Share(place.session_id, place.epoch, place.seq, place.seq, pending)
        parcel.shares.append(share)
        async with self._database.read() as session:
            whose = await self._feed.place(session, place.session_id)
            if whose is None:
                share.gone = True
                return
            if place.epoch == SEALS:
                await self._seals(session, parcel, share, whose, limit)
                return
        await self._outcomes(parcel, share, whose)
        if not parcel.is_full(limit):
            await self._lines(parcel, share, whose, row, limit, now)

    async def _seals(self, session: AsyncSession, parcel: Parcel, share: Share, whose: RecordPlace, limit: int) -> None:
        for seal in await self._feed.seals(session, share.session_id, share.after, max(1, limit - len(parcel.lines))):
            parcel.add(lines.of_seal(whose, seal))
            share.after, share.at = seal.number, seal.at

    async def _outcomes(self, parcel: Parcel, share: Share, whose: RecordPlace) -> None:
        """Of commands that were sent while they ran."""
        if not share.pending:
            return
        for record in await self._feed.commands(share.session_id, share.epoch, share.pending):
            if not lines.is_pending(record):
                parcel.add(lines.of_record(whose, record, outcome=True))
                share.pending.remove(record.seq)

    async def _lines(
        self, parcel: Parcel, share: Share, whose: RecordPlace, row: StreamRow, limit: int, now: datetime
    ) -> None:
        wanted = max(1, limit - len(parcel.lines))
        for record in await self._feed.lines(share.session_id, share.epoch, share.after, wanted, bodies=row.bodies):
            if lines.is_pending(record):
                if now - record.at < _UNDER_WAY:
                    share.held = True
                    return
                share.pending = [*share.pending, record.seq][-_MOST_PENDING:]
            parcel.add(lines.of_record(whose, record))
            share.after, share.at = record.seq, record.at
            if parcel.is_full(limit):
                return

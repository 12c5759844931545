"""The shape of a session, from its rows alone: its client connections, and its activity over time.

Law: no body is opened here, so both are quick for a session of a million commands, and tell no more than facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.audit import ClientConnection, LogFilter, Timeline, TimelineStep
from . import store
from .model import RecordRow

MOST_CONNECTIONS: Final = 500
_MOST_EVENTS: Final = 4 * MOST_CONNECTIONS  # opened, hello, closed; and some that were malformed
_STEPS: Final = 240


async def connections(session: AsyncSession, session_id: str) -> list[ClientConnection]:
    """The first MOST_CONNECTIONS connections, in the order in which they were opened."""
    rows = await store.page(session, session_id, None, _MOST_EVENTS, LogFilter(kind="connection"))
    return fold(rows)[:MOST_CONNECTIONS]


def fold(rows: Iterable[RecordRow]) -> list[ClientConnection]:
    """One entry for each connection that these rows tell of."""
    found: dict[tuple[int, int], ClientConnection] = {}
    for row in rows:
        if row.connection is None:
            continue
        key = (row.epoch, row.connection)
        known = found.setdefault(key, ClientConnection(number=row.connection, epoch=row.epoch))
        found[key] = known.model_copy(update=_told(row))
    return list(found.values())


def _told(row: RecordRow) -> dict[str, Any]:
    details = row.details or {}
    match row.event:
        case "opened":
            return {"opened_at": row.at, "member": details.get("member")}
        case "hello":
            names = ("driver", "platform")
            return {"client_app": row.client_app, **{name: details.get(name) for name in names}}
        case "closed":
            sizes = {"bytes_in": row.bytes_in, "bytes_out": row.bytes_out}
            return {"closed_at": row.at, "reason": details.get("reason"), "commands": details.get("commands"), **sizes}
        case _:
            return {}


async def timeline(session: AsyncSession, session_id: str) -> Timeline:
    """A session's activity. Stretches are of records, not of time: one index is read from its first row to its last."""
    epochs = await store.epochs(session, session_id)
    width = max(1, -(-sum(epoch.seq + 1 for epoch in epochs) // _STEPS))
    steps = [
        TimelineStep(
            at=_utc(row.first),
            until=_utc(row.last),
            commands=row.commands,
            errors=row.errors,
            mean_us=None if row.mean is None else float(row.mean),
            longest_us=row.longest,
        )
        for epoch in epochs
        for row in await store.stretches(session, session_id, epoch.epoch, width)
    ]
    since, until = (steps[0].at, max(step.until for step in steps)) if steps else (None, None)
    return Timeline(since=since, until=until, steps=steps)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

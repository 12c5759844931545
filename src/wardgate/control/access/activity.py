"""What a project's sessions add up to: for the overview, and for whoever reports.

Everything is summed by the database, over the sessions that the reader may see and nothing else. Steps are as many
columns of one query, so the time does not grow with them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.models import VerificationState
from ...api.sessions import Activity, ActivityShare, ActivityStep
from . import store
from .model import SessionRow
from .states import LIVE

MOST_STEPS: Final = 62
_SHARES: Final = 8


async def activity(
    session: AsyncSession, seen: store.Seen, since: datetime, until: datetime, step: timedelta
) -> Activity:
    """From `since` (included) to `until`, in steps; at most MOST_STEPS of them."""
    here = and_(seen.condition(), SessionRow.created_at >= since, SessionRow.created_at < until)
    starts = [since + step * number for number in range(MOST_STEPS) if since + step * number < until]
    totals = (await session.execute(select(*_totals(), *_columns(starts, step)).where(here))).one()
    ends = select(SessionRow.end_reason, func.count()).where(here).group_by(SessionRow.end_reason)
    whole = select(
        func.count().filter(SessionRow.status.in_(LIVE)),
        func.count().filter(SessionRow.verification == VerificationState.TAMPERED),
    ).where(seen.condition())
    live, tampered = (await session.execute(whole)).one()
    return Activity(
        since=since,
        until=until,
        live=live,
        tampered=tampered,
        sessions=totals[0],
        commands=totals[1],
        errors=totals[2],
        documents_read=totals[3],
        documents_changed=totals[4],
        steps=[
            ActivityStep(at=at, sessions=sessions, commands=commands, errors=errors)
            for at, (sessions, commands, errors) in zip(starts, _threes(totals[5:]), strict=True)
        ],
        people=await _shares(session, here, SessionRow.user),
        accounts=await _shares(session, here, SessionRow.account, SessionRow.resource),
        ends={reason: count for reason, count in await session.execute(ends) if reason is not None},
    )


def _totals() -> list[Any]:
    sums = (SessionRow.commands, SessionRow.errors, SessionRow.documents_read, SessionRow.documents_changed)
    return [func.count(), *(func.coalesce(func.sum(column), 0) for column in sums)]


def _columns(starts: list[datetime], step: timedelta) -> list[Any]:
    found: list[Any] = []
    for start in starts:
        within = and_(SessionRow.created_at >= start, SessionRow.created_at < start + step)
        sums = (func.sum(case((within, value), else_=0)) for value in (1, SessionRow.commands, SessionRow.errors))
        found += [func.coalesce(each, 0) for each in sums]
    return found


def _threes(values: Any) -> list[tuple[int, int, int]]:
    numbers = [int(value) for value in values]
    return list(zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True))


async def _shares(session: AsyncSession, here: Any, *names: Any) -> list[ActivityShare]:
    query = (
        select(*names, func.count().label("opened"), func.coalesce(func.sum(SessionRow.commands), 0))
        .where(here)
        .group_by(*names)
        .order_by(func.count().desc(), *names)
        .limit(_SHARES)
    )
    return [
        ActivityShare(name=" on ".join(row[: len(names)]), sessions=row[-2], commands=row[-1])
        for row in await session.execute(query)
    ]

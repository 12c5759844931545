"""What time does to sessions.

A gateway ends its sessions by its own clock; this is for those that it could not end or not tell of, and for rights
that were withdrawn under a live session. Every run looks at the state as it is, so a run that fails loses nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.models import EndReason, SessionStatus
from ...numbers import Numbers
from ..audit_log.log import SYSTEM
from ..db import Database
from ..sources import Sources
from . import store
from .gateways import GatewayAccess
from .lifecycle import Lifecycle
from .model import SessionRow
from .ports import Catalogue
from .states import LIVE

_EXPIRY_GRACE = timedelta(seconds=20)  # for the gateway's own report to arrive first


class Sweep:
    """Run every few seconds."""

    def __init__(
        self,
        database: Database,
        sources: Sources,
        numbers: Numbers,
        catalogue: Catalogue,
        gateways: GatewayAccess,
        lifecycle: Lifecycle,
    ) -> None:
        self._database = database
        self._sources = sources
        self._numbers = numbers
        self._catalogue = catalogue
        self._gateways = gateways
        self._lifecycle = lifecycle

    async def __call__(self) -> None:
        """Look at every live session once."""
        now = self._sources.now()
        async with self._database.read() as session:
            rows = await store.live(session)
            over = {row.id: end for row in rows if (end := self._over(row, now)) is not None}
            lost = [row.id for row in rows if row.id not in over and not await self._has_right(session, row)]
        for session_id, (reason, message) in over.items():
            await self._end(session_id, reason, message)
        for session_id in lost:
            await self._want_end(session_id)

    def _over(self, row: SessionRow, now: datetime) -> tuple[EndReason, str | None] | None:
        """Why the session is over by now, if it is."""
        if row.expires_at + _EXPIRY_GRACE <= now:
            return row.wanted_end or EndReason.EXPIRED, row.wanted_message
        starting = timedelta(seconds=self._numbers.starting_timeout)
        if row.status is SessionStatus.STARTING and row.created_at + starting <= now:
            return EndReason.FAILED_TO_START, "The session was not ready in time."
        if row.renew_by is not None and row.renew_by <= now:
            if row.wanted_end is not None:
                return row.wanted_end, row.wanted_message
            return EndReason.GATEWAY_LOST, "No gateway has renewed its lease in time."
        return None

    async def _has_right(self, session: AsyncSession, row: SessionRow) -> bool:
        if row.wanted_end is not None:
            return True  # it is to end already
        account = await self._catalogue.account_facts_by_id(session, row.account_id)
        return account is not None and await self._gateways.has_right(session, row, account)

    async def _end(self, session_id: str, reason: EndReason, message: str | None) -> None:
        async with self._database.write() as session:
            row = await store.by_id(session, session_id)
            if row is None or row.status not in LIVE:
                return
            await self._lifecycle.end(session, row, reason, message, SYSTEM)
        self._lifecycle.push(row)

    async def _want_end(self, session_id: str) -> None:
        async with self._database.write() as session:
            row = await store.by_id(session, session_id)
            if row is None:
                return
            message = "The right to this account was withdrawn."
            await self._lifecycle.want_end(session, row, EndReason.RIGHTS_LOST, message, SYSTEM)
        self._lifecycle.push(row)

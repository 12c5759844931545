"""The one place where a session changes its state.

Law: every change goes through the table in `states`, adds a row to the history and an event to the audit log, in the
transaction of whoever asked; an end that a gateway must carry out is *wanted* first and becomes true when the gateway
says so, or when it can't say anything any more.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.machine import SessionOrder
from ...api.models import EndReason, SessionStatus
from ...api.problems import ProblemCode, ProblemError
from ..audit_log import AuditLog, Cause, Event
from ..sources import Sources
from . import store
from .model import SessionRow, TransitionRow
from .ports import Fleet
from .states import allowed


class Lifecycle:
    """Begins, activates and ends sessions."""

    def __init__(self, audit_log: AuditLog, sources: Sources, fleet: Fleet) -> None:
        self._audit_log = audit_log
        self._sources = sources
        self._fleet = fleet

    async def begin(self, session: AsyncSession, row: SessionRow, cause: Cause) -> None:
        """Write a new session."""
        session.add(row)
        await session.flush()
        await self._note(session, row, cause, Event.SESSION_CREATED, None)

    async def activate(self, session: AsyncSession, row: SessionRow, cause: Cause) -> None:
        """Its gateway is ready; said again after a restart of the gateway, it changes nothing."""
        if row.status is SessionStatus.ACTIVE:
            return
        self._move(row, SessionStatus.ACTIVE, None)
        row.started_at = self._sources.now()
        await session.flush()
        await self._note(session, row, cause, Event.SESSION_STARTED, None)

    async def end(
        self, session: AsyncSession, row: SessionRow, reason: EndReason, message: str | None, cause: Cause
    ) -> None:
        """It is over."""
        if row.status is SessionStatus.STARTING and reason is EndReason.IDLE:
            reason = EndReason.FAILED_TO_START
        self._move(row, SessionStatus.ENDED, reason)
        row.ended_at = self._sources.now()
        row.end_reason, row.end_message = reason, message
        row.wanted_end = row.wanted_message = None
        row.sealed_local_password = None
        await session.flush()
        await self._note(session, row, cause, Event.SESSION_ENDED, message)

    async def want_end(
        self, session: AsyncSession, row: SessionRow, reason: EndReason, message: str | None, cause: Cause
    ) -> None:
        """Somebody wants it over: at once where no gateway serves it, else as soon as its gateway has done it."""
        if row.status is SessionStatus.ENDED:
            return
        if reason is EndReason.TERMINATED:
            details = {"user": row.user, "resource": row.resource, "account": row.account}
            await self._audit_log.append(
                session, cause, Event.SESSION_TERMINATED, row.id, project_id=row.project_id, details=details
            )
        if row.epoch == 0:
            await self.end(session, row, reason, message, cause)
        elif row.wanted_end is None:
            row.wanted_end, row.wanted_message = reason, message
            await session.flush()

    def push(self, row: SessionRow) -> None:
        """After the commit: tell the gateway what is wanted."""
        order = order_for(row)
        if order is not None and row.epoch > 0:
            self._fleet.order_end(row.gateway_id, order)

    def fence(self, row: SessionRow, instance_id: str | None, order: SessionOrder) -> None:
        """After the commit: tell who had the epoch before that it is over."""
        self._fleet.fence(row.gateway_id, instance_id, order)

    def _move(self, row: SessionRow, status: SessionStatus, reason: EndReason | None) -> None:
        if not allowed(row.status, status, reason):
            raise ProblemError(ProblemCode.SESSION_ENDED, f"The session {row.id} is {row.status.value} already.")
        row.status = status

    async def _note(
        self, session: AsyncSession, row: SessionRow, cause: Cause, event: Event, message: str | None
    ) -> None:
        session.add(
            TransitionRow(
                session_id=row.id,
                number=await store.next_number(session, row.id),
                at=self._sources.now(),
                status=row.status,
                end_reason=row.end_reason,
                message=message,
                actor=cause.actor,
            )
        )
        details = {"user": row.user, "resource": row.resource, "account": row.account}
        if row.end_reason is not None:
            details["end_reason"] = row.end_reason.value
        if event is Event.SESSION_CREATED:
            details |= {"expires_at": row.expires_at.isoformat(), "reason": row.reason or ""}
        await self._audit_log.append(session, cause, event, row.id, project_id=row.project_id, details=details)


def order_for(row: SessionRow) -> SessionOrder | None:
    """What a gateway that still serves the session must be told, if it must end it."""
    if row.status is SessionStatus.ENDED:
        return SessionOrder(session_id=row.id, reason=row.end_reason or EndReason.TERMINATED, message=row.end_message)
    if row.wanted_end is not None:
        return SessionOrder(session_id=row.id, epoch=row.epoch, reason=row.wanted_end, message=row.wanted_message)
    return None

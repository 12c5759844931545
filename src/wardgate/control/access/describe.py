"""A session's row as the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ...api.models import ClientFacts, Session, SessionStatus
from .model import SessionRow


def describe(row: SessionRow, now: datetime, gateway_online: bool) -> Session:
    """The session at the moment `now`."""
    return Session(
        id=row.id,
        project_id=row.project_id,
        resource=row.resource,
        account=row.account,
        user=row.user,
        status=row.status,
        end_reason=row.end_reason,
        end_message=row.end_message,
        link=_link(row, gateway_online),
        reason=row.reason,
        gateway=row.gateway,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        expires_at=row.expires_at,
        duration_s=_duration(row, now),
        commands=row.commands,
        errors=row.errors,
        documents_read=row.documents_read,
        documents_changed=row.documents_changed,
        verification=row.verification,
        local_auth=row.local_auth,
        client=ClientFacts.model_validate(row.client),
    )


def _link(row: SessionRow, gateway_online: bool) -> Literal["ok", "lost"] | None:
    if row.status is SessionStatus.ENDED:
        return None
    return "ok" if gateway_online and row.linked else "lost"


def _duration(row: SessionRow, now: datetime) -> float | None:
    if row.started_at is None:
        return None
    return max(0.0, ((row.ended_at or now) - row.started_at).total_seconds())

"""Appending to the audit log and checking its chain.

Law: an event is appended in the same transaction as what it tells of, so neither exists without the other; details hold
names, ids and non-secret fields only. Each row carries the hash of the one before: a row changed, removed or put
in between breaks the chain at that place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..db.engine import SHARED
from ..sources import Sources
from .events import Event
from .model import AuditEvent

_GENESIS = bytes(32)
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Cause:
    """Who did it, from where. `actor` is what a person reads: an e-mail address, or `gateway near-db`;
    `client` is the program that asked, by its own word."""

    actor: str
    actor_id: str | None = None
    address: str | None = None
    request_id: str | None = None
    client: str | None = None


SYSTEM = Cause(actor="system")


class AuditLog:
    """The log of one installation."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def append(
        self,
        session: AsyncSession,
        cause: Cause,
        event: Event,
        target: str | None = None,
        *,
        project_id: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Add one event to the caller's `write()` transaction. `target` is the id of what it happened to."""
        if session.info.get(SHARED):
            raise RuntimeError("a shared write() block appends no event: the chain has one end, which others move on")
        last = await session.scalar(select(AuditEvent).order_by(AuditEvent.seq.desc()).limit(1))
        row = AuditEvent(
            seq=last.seq + 1 if last is not None else 1,
            at=self._sources.now(),
            event=event.value,
            actor_id=cause.actor_id,
            actor=cause.actor,
            address=cause.address,
            request_id=cause.request_id,
            client=cause.client,
            target=target,
            project_id=project_id,
            details=dict(details or {}),
            previous=last.hash if last is not None else _GENESIS,
        )
        row.hash = digest(row)
        session.add(row)
        await session.flush()

    async def first_broken(self, session: AsyncSession) -> int | None:
        """The sequence number at which the chain breaks, or None when it is whole."""
        previous, expected = _GENESIS, 1
        while True:
            rows = (
                await session.scalars(
                    select(AuditEvent).where(AuditEvent.seq >= expected).order_by(AuditEvent.seq).limit(_BATCH)
                )
            ).all()
            if not rows:
                return None
            for row in rows:
                if row.seq != expected or row.previous != previous or row.hash != digest(row):
                    return expected
                previous, expected = row.hash, expected + 1
            session.expunge_all()


def digest(row: AuditEvent) -> bytes:
    """SHA-256 over the row in one canonical form: a JSON array of its columns in the order below.

    A row without a client has one element less: so were all rows before there was the column.
    """
    fields = [
        row.seq,
        _canonical_time(row.at),
        row.event,
        row.actor_id,
        row.actor,
        row.address,
        row.request_id,
        row.target,
        row.project_id,
        row.details,
        row.previous.hex(),
        *([] if row.client is None else [row.client]),
    ]
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).digest()


def _canonical_time(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")

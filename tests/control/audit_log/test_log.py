"""The chain of the control plane's own log."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, text

from wardgate.control.audit_log import Cause, Event
from wardgate.control.audit_log.log import digest
from wardgate.control.audit_log.model import AuditEvent

CAUSE = Cause("ann@example.com", "usr_1", "192.0.2.7", "r1", "wardgate/1.0")


async def append(control: Any, count: int) -> None:
    for number in range(count):
        async with control.services.database.write() as session:
            await control.services.audit_log.append(
                session, CAUSE, Event.PROJECT_CREATED, f"prj_{number}", details={"name": f"ü{number}", "n": None}
            )


async def first_broken(control: Any) -> int | None:
    async with control.services.database.read() as session:
        broken: int | None = await control.services.audit_log.first_broken(session)
        return broken


async def test_the_chain_is_whole(control: Any) -> None:
    await append(control, 5)
    assert await first_broken(control) is None


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit_events SET actor = 'eve@example.com' WHERE seq = 5",
        "UPDATE audit_events SET details = '{}' WHERE seq = 5",
        "UPDATE audit_events SET at = '2031-01-01 00:00:00' WHERE seq = 5",
        "UPDATE audit_events SET client = 'curl/8' WHERE seq = 5",
        "UPDATE audit_events SET client = NULL WHERE seq = 5",
        "DELETE FROM audit_events WHERE seq = 5",
    ],
)
async def test_a_row_that_was_changed_or_taken_out_is_found(control: Any, tampering: str) -> None:
    await append(control, 6)
    async with control.services.database.write() as session:
        await session.execute(text(tampering))
    assert await first_broken(control) == 5


def test_a_row_from_before_clients_were_kept_has_the_hash_that_it_had() -> None:
    row = AuditEvent(
        seq=1,
        at=datetime(2026, 11, 24, tzinfo=UTC),
        event="project.created",
        actor="ann@example.com",
        details={"name": "shop"},
        previous=bytes(32),
    )
    assert digest(row).hex() == "f80dbf6832ff4eadfa158cebcac899b75eb5986bdff95888a8d931db61042d71"
    row.client = ""
    assert digest(row).hex() != "f80dbf6832ff4eadfa158cebcac899b75eb5986bdff95888a8d931db61042d71"


async def test_an_event_is_undone_with_what_it_tells_of(control: Any) -> None:
    with suppress(LookupError):
        async with control.services.database.write() as session:
            await control.services.audit_log.append(session, CAUSE, Event.PROJECT_CREATED, "prj_undone")
            raise LookupError
    async with control.services.database.read() as session:
        assert await session.scalar(select(AuditEvent).where(AuditEvent.target == "prj_undone")) is None
    assert await first_broken(control) is None


def test_events_are_alphabetical() -> None:
    names = [event.name for event in Event]
    assert names == sorted(names)

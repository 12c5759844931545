"""retention: what is due is deleted, whole and on record; a hold, a doubt or a crash deletes nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wardgate.api.audit import RecordSettingsUpdate
from wardgate.api.models import VerificationState
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role
from wardgate.control.paging import Paging

from .conftest import Recorded
from .samples import CLOSED, OPENED, find, ok


async def _set(recorded: Recorded, **settings: Any) -> None:
    body = RecordSettingsUpdate.model_validate(settings)
    await recorded.control.services.keeping.update(recorded.actor(), recorded.project_id, body)


async def _ended(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(OPENED, find(), ok(2))
    await epoch.ship()
    epoch.append(CLOSED)
    await epoch.ship()
    await recorded.end()
    await recorded.records.sweep()


async def _left(recorded: Recorded) -> tuple[int, int, int]:
    count = recorded.control.count
    return len(recorded.files()), await count("records"), await count("record_batches")


async def test_what_is_due_goes_whole_and_is_on_record(recorded: Recorded) -> None:
    await _ended(recorded)
    await _set(recorded, retention_days=30)
    recorded.control.clock.forward(days=29)
    await recorded.records.retire()
    assert await _left(recorded) == (2, 3, 2)
    recorded.control.clock.forward(days=2)
    await recorded.records.retire()
    assert await _left(recorded) == (0, 0, 0)
    assert await recorded.control.count("audit_events WHERE event = 'records.deleted'") == 1
    await recorded.records.retire()
    assert await recorded.control.count("audit_events WHERE event = 'records.deleted'") == 1
    found = await recorded.verify()
    assert (found.state, found.how, found.seals) == (VerificationState.INCOMPLETE, "deleted", 1)
    page = await recorded.records.read(recorded.actor(), recorded.session_id, Paging())
    assert page.items == []
    assert await recorded.control.count("record_seals") == 1


async def test_without_a_setting_records_are_kept_for_ever(recorded: Recorded) -> None:
    await _ended(recorded)
    recorded.control.clock.forward(days=36_500)
    await recorded.records.retire()
    assert await _left(recorded) == (2, 3, 2)


async def test_a_legal_hold_keeps_everything(recorded: Recorded) -> None:
    await _ended(recorded)
    await _set(recorded, retention_days=1, legal_hold=True)
    recorded.control.clock.forward(days=100)
    await recorded.records.retire()
    assert await _left(recorded) == (2, 3, 2)
    await _set(recorded, legal_hold=False)
    await recorded.records.retire()
    assert await _left(recorded) == (0, 0, 0)


async def test_a_session_that_goes_on_is_kept(recorded: Recorded) -> None:
    await (await recorded.lease()).append(OPENED, find()).ship()
    await _set(recorded, retention_days=1)
    recorded.control.clock.forward(days=100)
    await recorded.records.retire()
    assert await _left(recorded) == (1, 2, 1)


async def test_a_deletion_that_was_cut_off_goes_on(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    await _ended(recorded)
    await _set(recorded, retention_days=1)
    recorded.control.clock.forward(days=100)
    unlink = Path.unlink

    def fails(path: Path, missing_ok: bool = False) -> None:
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr(Path, "unlink", fails)
    with pytest.raises(ProblemError, match="the disk is gone"):
        await recorded.records.retire()
    monkeypatch.setattr(Path, "unlink", unlink)
    assert (await recorded.verify()).how == "deleted"
    await recorded.records.retire()
    assert await _left(recorded) == (0, 0, 0)
    assert await recorded.control.count("audit_events WHERE event = 'records.deleted'") == 1


async def test_nothing_is_taken_for_what_was_deleted(recorded: Recorded) -> None:
    await _ended(recorded)
    epoch = await recorded.lease(2)
    await _set(recorded, retention_days=1)
    recorded.control.clock.forward(days=100)
    await recorded.records.retire()
    first = (await recorded.control.services.records.read(recorded.actor(), recorded.session_id, Paging())).items
    assert first == []
    epoch.append(find())
    await epoch.ship()  # an epoch that never arrived is no part of what was deleted


async def test_who_may_change_it_and_that_it_is_on_record(recorded: Recorded) -> None:
    keeping, scope = recorded.control.services.keeping, Scope(recorded.project_id)
    body = RecordSettingsUpdate(durability="process")
    for actor, code in [
        (recorded.actor(Role.AUDITOR, scope), ProblemCode.FORBIDDEN),
        (recorded.actor(Role.ADMIN, Scope("prj_other")), ProblemCode.NOT_FOUND),
    ]:
        with pytest.raises(ProblemError) as caught:
            await keeping.update(actor, recorded.project_id, body)
        assert caught.value.problem.code is code
    assert (await keeping.get(recorded.project_id)).durability == "strict"
    changed = await keeping.update(recorded.actor(Role.ADMIN, scope), recorded.project_id, body)
    assert (changed.durability, changed.retention_days, changed.legal_hold) == ("process", None, False)
    assert await recorded.control.count("audit_events WHERE event = 'project.records_updated'") == 1
    await keeping.update(recorded.actor(), recorded.project_id, body)
    assert await recorded.control.count("audit_events WHERE event = 'project.records_updated'") == 1
    async with recorded.control.services.database.read() as session:
        assert await keeping.durability(session, recorded.project_id) == "process"


async def test_what_comes_after_its_deletion_is_refused(recorded: Recorded) -> None:
    """The intake remembers where an epoch stood; that it was deleted in the meantime counts all the same."""
    epoch = (await recorded.lease()).append(OPENED, find(), ok(2))
    await epoch.ship()
    await recorded.end()
    await _set(recorded, retention_days=1)
    recorded.control.clock.forward(days=100)
    await recorded.records.retire()
    epoch.append(find())
    with pytest.raises(ProblemError, match="have been deleted") as caught:
        await epoch.ship()
    assert caught.value.problem.code is ProblemCode.RECORDS_REFUSED
    assert (await _left(recorded))[1:] == (0, 0)


async def test_a_longer_retention_counts_for_what_was_about_to_go(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _ended(recorded)
    await _set(recorded, retention_days=1)
    recorded.control.clock.forward(days=100)
    retention = recorded.records._retention
    due = retention._due

    async def slow(*args: Any) -> list[str]:
        found = await due(*args)
        await _set(recorded, retention_days=365)
        return found

    monkeypatch.setattr(retention, "_due", slow)
    await recorded.records.retire()
    assert await _left(recorded) == (2, 3, 2)


async def test_a_hold_stops_a_deletion_that_has_begun(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    await _ended(recorded)
    await _set(recorded, retention_days=1)
    recorded.control.clock.forward(days=100)
    unlink = Path.unlink

    def fails(path: Path, missing_ok: bool = False) -> None:
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr(Path, "unlink", fails)
    with pytest.raises(ProblemError, match="the disk is gone"):
        await recorded.records.retire()
    monkeypatch.setattr(Path, "unlink", unlink)
    await _set(recorded, legal_hold=True)
    await recorded.records.retire()
    assert await _left(recorded) == (2, 3, 2)
    await _set(recorded, legal_hold=False)
    await recorded.records.retire()
    assert await _left(recorded) == (0, 0, 0)

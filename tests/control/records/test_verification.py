"""verify: what is whole is verified; each way of spoiling the store is found, by place and name."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from wardgate.api.models import VerificationState
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.audit.frame import split
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

from .conftest import Recorded
from .samples import CLOSED, OPENED, find, ok


async def two_epochs(recorded: Recorded) -> None:
    """A session that moved from one gateway to another, in several objects, ended and sealed."""
    one = (await recorded.lease()).append(OPENED, find(), ok(2))
    await one.ship()
    acknowledged = one.link
    two = (await recorded.lease(2, "gw_two", acknowledged)).append(OPENED, find())
    await two.ship()
    one.append(find())
    one.tail()
    await one.ship()
    two.append(ok(2), CLOSED)
    await two.ship()
    await recorded.end()
    await recorded.records.sweep()


async def test_a_whole_session_is_verified_and_sealed(recorded: Recorded) -> None:
    await two_epochs(recorded)
    found = await recorded.verify()
    assert (found.state, found.records, found.epochs) == (VerificationState.VERIFIED, 8, 2)
    assert found.head is not None
    assert found.signature is not None
    assert base64.b64decode(found.signature)
    assert (await recorded.row()).verification is VerificationState.VERIFIED
    assert await recorded.control.count("record_seals WHERE final") == 1


async def test_while_it_goes_on_it_is_open(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(find())
    await epoch.ship()
    await recorded.records.sweep()
    assert (await recorded.verify()).state is VerificationState.OPEN
    assert await recorded.control.count("record_seals") == 1
    await recorded.records.sweep()
    assert await recorded.control.count("record_seals") == 1  # nothing new to seal
    epoch.append(ok(1))
    await epoch.ship()
    await recorded.records.sweep()
    assert await recorded.control.count("record_seals") == 1  # not yet
    recorded.control.clock.forward(minutes=6)
    await recorded.records.sweep()
    assert await recorded.control.count("record_seals") == 2


async def test_a_tail_that_never_comes_is_incomplete(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(find())
    await epoch.ship()
    await recorded.end()
    assert (await recorded.verify()).state is VerificationState.OPEN  # it may be on its way
    recorded.control.clock.forward(minutes=2)
    await recorded.records.sweep()
    found = await recorded.verify()
    assert (found.state, found.epoch, found.seq) == (VerificationState.INCOMPLETE, 1, 2)
    assert (await recorded.row()).verification is VerificationState.INCOMPLETE
    epoch.append(CLOSED)
    await epoch.ship()  # better late than never
    assert (await recorded.row()).verification is VerificationState.VERIFIED
    assert (await recorded.verify()).state is VerificationState.VERIFIED


async def test_an_epoch_that_never_came_is_incomplete(recorded: Recorded) -> None:
    await (await recorded.lease()).append(find(), CLOSED).ship()
    await recorded.lease(2)
    await recorded.end()
    recorded.control.clock.forward(minutes=2)
    found = await recorded.verify()
    assert (found.state, found.epoch, found.seq) == (VerificationState.INCOMPLETE, 2, 0)


async def test_a_session_that_never_started_is_verified(recorded: Recorded) -> None:
    await recorded.end()
    found = await recorded.verify()
    assert (found.state, found.records) == (VerificationState.VERIFIED, 0)


def _flip(files: list[Path]) -> None:
    data = bytearray(files[0].read_bytes())
    data[-1] ^= 1
    files[0].write_bytes(data)


def _remove(files: list[Path]) -> None:
    files[1].unlink()


def _cut(files: list[Path]) -> None:
    frames = split(files[-1].read_bytes())
    files[-1].write_bytes(b"".join(frame.raw for frame in frames[:-1]))


def _cut_in_the_middle(files: list[Path]) -> None:
    frames = split(files[0].read_bytes())
    files[0].write_bytes(b"".join(frame.raw for frame in (*frames[:2], *frames[3:])))


def _swap(files: list[Path]) -> None:
    frames = [frame.raw for frame in split(files[0].read_bytes())]
    files[0].write_bytes(b"".join((*frames[:2], frames[3], frames[2])))


def _transplant(files: list[Path]) -> None:
    files[0].write_bytes(files[2].read_bytes())


def _empty(files: list[Path]) -> None:
    files[2].write_bytes(b"")


# Files: epoch 1 frames 0-3, epoch 1 frames 4-5, epoch 2 frames 0-2, epoch 2 frames 3-4.
@pytest.mark.parametrize(
    ("spoil", "epoch", "seq", "word"),
    [
        (_flip, 1, 3, "checksum"),
        (_remove, 1, 4, "missing"),
        (_cut, 2, 4, "missing"),
        (_cut_in_the_middle, 1, 2, "follows"),
        (_swap, 1, 2, "follows"),
        (_transplant, 1, 0, "another session or epoch"),
        (_empty, 2, 0, "head is missing"),
    ],
)
async def test_a_spoilt_store_is_found(
    recorded: Recorded, spoil: Callable[[list[Path]], None], epoch: int, seq: int, word: str
) -> None:
    await two_epochs(recorded)
    assert (await recorded.verify()).state is VerificationState.VERIFIED
    spoil(recorded.files())
    found = await recorded.verify()
    assert found.detail is not None
    assert word in found.detail
    assert (found.state, found.epoch, found.seq) == (VerificationState.TAMPERED, epoch, seq)
    assert (await recorded.row()).verification is VerificationState.TAMPERED


@pytest.mark.parametrize(
    "statement",
    [
        # Somebody who owns the database cuts the end off and mends the counters: the seal remembers.
        "UPDATE record_epochs SET seq = 3, hash = x'00' WHERE epoch = 1",
        "DELETE FROM record_epochs WHERE epoch = 2",
        "DELETE FROM record_batches WHERE epoch = 2 AND first_seq > 0",
        "UPDATE record_seals SET signature = x'3006020101020101'",
        "UPDATE record_seals SET statement = CAST(replace(statement, 'ses', 'sex') AS BLOB)",
    ],
)
async def test_a_changed_database_is_found(recorded: Recorded, statement: str) -> None:
    await two_epochs(recorded)
    await recorded.control.execute(statement)
    assert (await recorded.verify()).state is VerificationState.TAMPERED


async def test_an_end_cut_off_with_its_counters_is_missed_by_the_seal(recorded: Recorded) -> None:
    await two_epochs(recorded)
    files = recorded.files()
    cut = split(files[-2].read_bytes())[-1]
    files[-1].unlink()
    digest = hashlib.sha256(cut.raw).hexdigest()
    await recorded.control.execute("DELETE FROM record_batches WHERE epoch = 2 AND first_seq = 3")
    await recorded.control.execute(f"UPDATE record_epochs SET seq = {cut.head.seq}, hash = x'{digest}' WHERE epoch = 2")
    found = await recorded.verify()
    assert (found.state, found.epoch, found.seq) == (VerificationState.TAMPERED, 2, 4)
    assert "vouched" in (found.detail or "")


async def test_an_epoch_opened_behind_another_frame_is_found(recorded: Recorded) -> None:
    one = (await recorded.lease()).append(find(), CLOSED)
    await one.ship()
    two = (await recorded.lease(2, previous=one.link._replace(hash=bytes(32)))).append(CLOSED)
    await two.ship()
    await recorded.end()
    found = await recorded.verify()
    assert (found.state, found.epoch, found.seq) == (VerificationState.TAMPERED, 1, 2)


async def test_who_may_verify(recorded: Recorded) -> None:
    await recorded.end()
    verify = recorded.records.verify
    scope = Scope(recorded.project_id, "res_one", "acc_one")
    await verify(recorded.actor(Role.AUDITOR, scope), recorded.session_id)
    await verify(recorded.actor(Role.CONNECTOR, scope, "usr_ann"), recorded.session_id)
    for actor, code in [
        (recorded.actor(Role.CONNECTOR, scope), ProblemCode.FORBIDDEN),
        (recorded.actor(Role.ADMIN, Scope("prj_other")), ProblemCode.NOT_FOUND),
    ]:
        with pytest.raises(ProblemError) as caught:
            await verify(actor, recorded.session_id)
        assert caught.value.problem.code is code

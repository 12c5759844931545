"""verify: what is whole is verified; each way of spoiling the store is found, by place and name."""

from __future__ import annotations

import base64

import pytest

from wardgate.api.models import VerificationState
from wardgate.api.problems import ProblemCode, ProblemError
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
    await recorded.records.sweep()
    found = await recorded.verify()
    assert (found.state, found.records, found.seals) == (VerificationState.VERIFIED, 0, 1)


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

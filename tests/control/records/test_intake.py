"""intake: what is acknowledged is kept; twice is once; what can't be true is an alarm, and final."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wardgate.api.models import VerificationState
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.audit import frame as framing
from wardgate.audit.frame import split
from wardgate.control.access.places import SessionDirectory
from wardgate.control.paging import Paging
from wardgate.control.records import ObjectFolder, RecordService, latest_head

from .conftest import Epoch, Recorded
from .samples import CLOSED, OPENED, denied, failed, find, insert, ok


async def refused(epoch: Epoch, body: bytes, gateway: str | None = None) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        await epoch.records.ingest(gateway or epoch.gateway, body)
    return caught.value


async def test_what_is_delivered_is_acknowledged_and_counted(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(OPENED, find(), ok(2), find(), failed(4), denied())
    ack = await epoch.ship()
    assert (ack.seq, ack.hash, ack.fenced) == (6, epoch.link.hash.hex(), False)
    row = await recorded.row()
    assert (row.commands, row.errors) == (3, 2)
    assert b"".join(recorded.stored(path) for path in recorded.files()) == b"".join(epoch.frames)
    async with recorded.control.services.database.read() as session:
        head = await latest_head(session, recorded.session_id)
    assert head is not None
    assert (head.epoch, head.seq, head.hash) == (1, 6, ack.hash)


async def test_documents_are_counted_by_what_their_command_does(recorded: Recorded) -> None:
    """In the batch of their command or in a later one, and once however often they are delivered."""
    epoch = (await recorded.lease()).append(OPENED, find(), ok(2, 5), insert(1), find())
    await epoch.ship()
    epoch.append(ok(4, 7), ok(5, 11))
    await epoch.ship()
    epoch.sent = 0
    await epoch.ship()
    row = await recorded.row()
    assert (row.documents_read, row.documents_changed) == (16, 7)


async def test_deliveries_may_be_doubled_and_overlap(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(OPENED, find())
    first = await epoch.ship()
    epoch.sent = 0
    assert await epoch.ship() == first
    epoch.append(ok(2), find(), ok(4))
    await epoch.ship()
    epoch.append(find())
    for start in (0, 2, 5):
        epoch.sent = start
        assert (await epoch.ship()).seq == 6
    # As a gateway does after a restart: the repeated head, then what is left.
    epoch.append(ok(6))
    ack = await recorded.records.ingest("gw_one", epoch.frames[0] + b"".join(epoch.frames[5:]))
    assert ack.seq == 7
    assert (await recorded.row()).commands == 3
    assert (await recorded.verify()).state is VerificationState.OPEN


async def test_what_is_remembered_of_an_epoch_is_only_a_guess(recorded: Recorded) -> None:
    """Another process took what came between: the database says so, and nothing is kept twice."""
    services = recorded.control.services
    objects = ObjectFolder(recorded.objects.parent)
    other = RecordService(
        services.database,
        services.audit_log,
        services.sources,
        services.keys,
        SessionDirectory(),
        objects,
        services.keeping,
    )
    epoch = (await recorded.lease()).append(OPENED, find())
    await epoch.ship()
    epoch.append(ok(2), find())
    await other.ingest("gw_one", b"".join(epoch.frames[3:]))
    epoch.append(ok(4))
    ack = await recorded.records.ingest(
        "gw_one", b"".join(epoch.frames[3:])
    )  # the lost acknowledgement's, and one more
    assert ack.seq == 5
    epoch.sent = len(epoch.frames)
    assert (await recorded.row()).commands == 2
    assert (await recorded.verify()).state is VerificationState.OPEN
    forged = framing.build(split(epoch.frames[1])[0].aad, bytes(split(epoch.frames[1])[0].head.length))
    with pytest.raises(ProblemError):
        await other.ingest("gw_one", forged)
    assert "alarm" in (await refused(epoch, epoch.append(find()).frames[-1])).problem.context


async def test_outcomes_that_come_later_are_merged(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(find())
    await epoch.ship()
    epoch.append(ok(1, 10, more=True))
    await epoch.ship()
    epoch.append(ok(1, 5))
    await epoch.ship()
    page = await recorded.records.read(recorded.actor(), recorded.session_id, Paging())
    (record,) = page.items
    assert (record.ok, record.documents, record.bytes_out) == (1.0, 15, 200)


async def test_only_the_gateway_that_was_leased_the_epoch_delivers_it(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(find())
    body = b"".join(epoch.frames)
    assert (await refused(epoch, body, "gw_two")).problem.code is ProblemCode.RECORDS_REFUSED
    assert recorded.files() == []
    await epoch.ship()
    await recorded.lease(2, "gw_two", epoch.link)
    epoch.append(find())
    ack = await epoch.ship()  # its own tail, although a newer epoch exists
    assert ack.fenced
    assert (await refused(epoch, body, "gw_two")).problem.code is ProblemCode.RECORDS_REFUSED


async def test_unknown_sessions_and_unleased_epochs_are_refused(
    recorded: Recorded, make_session: Callable[[], Awaitable[Recorded]]
) -> None:
    other = await make_session()
    stranger = (await other.lease()).append(find())
    await recorded.control.execute("DELETE FROM session_epochs")
    assert (await refused(stranger, b"".join(stranger.frames))).problem.code is ProblemCode.RECORDS_REFUSED


async def test_the_acknowledgement_tells_when_it_is_all(recorded: Recorded) -> None:
    one = (await recorded.lease()).append(find())
    assert not (await one.ship()).closed
    assert (await one.append(CLOSED).ship()).closed
    assert (await (await recorded.lease(2)).append(find()).tail().ship()).closed


async def test_a_gap_is_refused_without_an_alarm(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(find(), ok(1), find())
    problem = await refused(epoch, b"".join(epoch.frames[2:]))
    assert problem.problem.context["seq"] == 0
    await recorded.records.ingest("gw_one", b"".join(epoch.frames[:2]))
    problem = await refused(epoch, b"".join(epoch.frames[3:]))
    assert problem.problem.context == {"epoch": 1, "seq": 2}
    epoch.sent = 2
    assert (await epoch.ship()).seq == 3


async def test_the_same_sequence_with_other_bytes_is_an_alarm(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(OPENED, find(), ok(2), find())
    await epoch.ship()
    for at in (0, 2, 4):
        genuine = split(epoch.frames[at])[0]
        payload = genuine.payload[:-1] + bytes([genuine.payload[-1] ^ 1])
        forged = framing.build(genuine.aad, payload)
        if at == 4:
            assert "alarm" in (await refused(epoch, forged)).problem.context
    row = await recorded.row()
    assert row.verification is VerificationState.TAMPERED
    # The alarm is final.
    epoch.append(ok(4))
    assert "alarm" in (await refused(epoch, epoch.frames[-1])).problem.context
    verified = await recorded.verify()
    assert (verified.state, verified.epoch, verified.seq) == (VerificationState.TAMPERED, 1, 4)
    assert await recorded.control.count("audit_events") > 0


@pytest.mark.parametrize("at", [0, 1, 3])
async def test_another_frame_deep_in_the_past_is_an_alarm(recorded: Recorded, at: int) -> None:
    epoch = await recorded.lease()
    for _ in range(3):
        epoch.append(find(), find())
        await epoch.ship()
    genuine = split(epoch.frames[at])[0]
    forged = framing.build(genuine.aad, genuine.payload[:-1] + bytes([genuine.payload[-1] ^ 1]))
    assert "alarm" in (await refused(epoch, forged)).problem.context


async def test_an_altered_frame_is_an_alarm(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(find(), find())
    genuine = split(epoch.frames[1])[0]
    forged = framing.build(genuine.aad, genuine.payload[:-1] + bytes([genuine.payload[-1] ^ 1]))
    assert "alarm" in (await refused(epoch, epoch.frames[0] + forged)).problem.context
    assert recorded.files() == []
    verified = await recorded.verify()
    assert (verified.state, verified.seq) == (VerificationState.TAMPERED, 1)


async def test_nonsense_is_an_invalid_request(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(find())
    other = (await recorded.lease(2)).append(find())
    for body in (b"", b"WGF1", os.urandom(100), epoch.frames[0][:-1], epoch.frames[0] + other.frames[0]):
        assert (await refused(epoch, body)).problem.code is ProblemCode.INVALID_REQUEST


async def test_a_key_that_is_not_sealed_to_us_is_refused(recorded: Recorded) -> None:
    one, two = await recorded.lease(1), await recorded.lease(2)
    swapped = split(two.frames[0])[0]
    aad = framing.associated_data(0, 0, swapped.head.session, 1, 0, swapped.head.length)
    problem = await refused(one, framing.build(aad, swapped.payload))  # sealed for another epoch
    assert problem.problem.code is ProblemCode.RECORDS_REFUSED


async def test_a_large_body_is_kept_whole(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(insert(5_000_000), ok(1, 50), CLOSED)
    for index in range(len(epoch.frames)):  # each frame by itself
        await recorded.records.ingest("gw_one", epoch.frames[index])
    page = await recorded.records.read(recorded.actor(), recorded.session_id, Paging())
    record = page.items[0]
    assert record.body is not None
    assert len(record.body["documents"]) == 49
    assert record.documents == 50
    assert page.items[1].event == "closed"


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 7)), max_size=4))
async def test_any_order_of_deliveries_gives_the_same_store(
    make_session: Callable[[], Awaitable[Recorded]], steps: list[tuple[int, int]]
) -> None:
    recorded = await make_session()
    epoch = (await recorded.lease()).append(OPENED, find(), ok(2), find(), ok(4), CLOSED)
    known = -1
    for start, length in [*steps, (0, 7)]:
        start = min(start, known + 1)
        frames = epoch.frames[start : start + length]
        known = max(known, start + len(frames) - 1)
        assert (await recorded.records.ingest("gw_one", b"".join(frames))).seq == known
    await recorded.end()
    assert (await recorded.row()).commands == 2
    assert (await recorded.verify()).state is VerificationState.VERIFIED

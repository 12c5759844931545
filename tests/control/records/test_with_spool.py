"""The gateway's real spool and shipper against the real record service, over a crash and a change of lease."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from wardgate.api.machine import RecordsAck
from wardgate.api.models import VerificationState
from wardgate.audit.chain import Link
from wardgate.control.access.model import EpochRow
from wardgate.control.paging import Paging
from wardgate.control.records import latest_head
from wardgate.gateway.spool.epoch import EpochRecorder
from wardgate.gateway.spool.shipper import Shipper
from wardgate.gateway.spool.spool import Spool
from wardgate.numbers import KIB, Numbers

from .conftest import Recorded
from .samples import CLOSED, OPENED, denied, find, insert, ok

NUMBERS = replace(Numbers(), spool_segment_bytes=256 * KIB, spool_free_bytes=0)


async def _lease(recorded: Recorded, spool: Spool, epoch: int) -> EpochRecorder:
    """What a lease is: an epoch in the database, and the head that was acknowledged before it."""
    services = recorded.control.services
    async with services.database.write() as session:
        head = await latest_head(session, recorded.session_id)
        session.add(
            EpochRow(
                session_id=recorded.session_id, epoch=epoch, gateway_id="gw_one", leased_at=recorded.control.clock()
            )
        )
    return spool.open_epoch(
        recorded.session_id,
        epoch,
        audit_public_key=services.keys.audit_public_key,
        audit_key_id=services.keys.audit_key_id,
        gateway_id="gw_one",
        previous=Link(head.epoch, head.seq, bytes.fromhex(head.hash)) if head is not None else None,
        on_failed=lambda reason: None,
    )


async def test_a_session_over_two_lives_of_its_gateway(recorded: Recorded, tmp_path: Path) -> None:
    async def post(session_id: str, epoch: int, body: bytes) -> RecordsAck:
        ack = await recorded.records.ingest("gw_one", body)
        assert (ack.session_id, ack.epoch) == (session_id, epoch)
        return ack

    folder = tmp_path / "spool"
    spool = await Spool.open(folder, NUMBERS)
    shipper = Shipper(spool, post, interval=0.01)
    shipper.start()
    recorder = await _lease(recorded, spool, 1)
    recorder.append(OPENED)
    for value in range(200):
        recorder.append(ok(recorder.append(find(value=value))))
    assert await shipper.flush(30)
    await shipper.close()
    recorder.append(ok(recorder.append(insert(3_000_000)), 30))
    recorder.append(find())  # forwarded, and then the gateway was killed
    assert spool.current is not None
    os.pwrite(spool.current.fd, b"WGF1 and half a frame", spool.current.end)
    await spool.close()

    spool = await Spool.open(folder, NUMBERS)
    recorder = await _lease(recorded, spool, 2)
    shipper = Shipper(spool, post, interval=0.01)
    shipper.start()
    recorder.append(OPENED)
    recorder.append(denied())
    recorder.append(CLOSED)
    await recorder.close()
    assert await shipper.flush(30)
    await shipper.close()
    assert len(spool.segments) == 1
    await spool.close()

    await recorded.end()
    found = await recorded.verify()
    assert (found.state, found.epochs) == (VerificationState.VERIFIED, 2), found
    page = await recorded.records.read(recorded.actor(), recorded.session_id, Paging(None, 1000))
    assert [item.seq for item in page.items if item.epoch == 1 and item.ok is None and item.kind == "command"] == [
        page.items[-4].seq
    ]
    assert len(page.items) == 1 + 200 + 1 + 1 + 3
    assert page.items[201].body is not None
    assert len(page.items[201].body["documents"]) == 29
    row = await recorded.row()
    assert (row.commands, row.errors, row.verification) == (203, 1, VerificationState.VERIFIED)

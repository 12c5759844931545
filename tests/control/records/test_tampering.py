"""Every way of spoiling a stored session is found, and called by its name and place: online and on a bundle of it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import bson
import pytest
from sqlalchemy import delete, insert, select, update

from wardgate import ids, sealing
from wardgate.api.audit import ExportFormat
from wardgate.api.models import VerificationState
from wardgate.audit import frame as framing
from wardgate.audit.chain import ChainWriter, EpochHead, parse_epoch_head
from wardgate.audit.codec import encode
from wardgate.audit.frame import Frame, Kind, split
from wardgate.control import schema
from wardgate.proof.breaks import Break
from wardgate.proof.bundle import open_bundle

from .conftest import AT, Epoch, Recorded
from .samples import CLOSED, OPENED, find, ok

_TABLES = ("record_epochs", "record_batches", "record_seals", "records", "sessions")


@dataclass
class Store:
    """A session of two epochs as its spoiler sees it: files 0 and 1 are epoch 1 (frames 0-3, 4-5), 2 and 3 epoch 2."""

    recorded: Recorded
    one: Epoch
    two: Epoch
    other: Epoch  # of another session

    def frames(self, index: int) -> list[bytes]:
        return [frame.raw for frame in split(self.recorded.stored(self.recorded.files()[index]))]

    def write(self, index: int, *frames: bytes) -> None:
        self.recorded.files()[index].write_bytes(b"".join(frames))

    def sql(self, *statements: str) -> None:
        mine = f"session_id = '{self.recorded.session_id}'"
        self.recorded.control.sql(*(statement.replace("$S", mine) for statement in statements))


def _mended(frame: Frame, payload: bytes, *, epoch: int | None = None) -> bytes:
    """The frame with another payload or epoch, and everything that stands in clear made to fit."""
    head = frame.head
    aad = framing.associated_data(head.algorithm, head.kind, head.session, epoch or head.epoch, head.seq, len(payload))
    return framing.build(aad, payload)


def _gap(store: Store) -> None:
    a, b, _, d = store.frames(0)
    store.write(0, a, b, d)


def _swapped(store: Store) -> None:
    a, b, c, d = store.frames(0)
    store.write(0, a, b, d, c)


def _swapped_over_objects(store: Store) -> None:
    a, b, c, d = store.frames(0)
    e, f = store.frames(1)
    store.write(0, a, b, c, e)
    store.write(1, d, f)


def _twice(store: Store) -> None:
    a, b, c, d = store.frames(0)
    store.write(0, a, b, c, b, d)


def _head_twice(store: Store) -> None:
    a, b, c, d = store.frames(0)
    store.write(0, a, b, a, c, d)


def _cut(store: Store) -> None:
    store.write(3, *store.frames(3)[:-1])


def _cut_within_a_frame(store: Store) -> None:
    store.write(3, b"".join(store.frames(3))[:-10])


def _cut_object(store: Store) -> None:
    store.recorded.files()[3].unlink()
    store.sql("DELETE FROM record_batches WHERE $S AND epoch = 2 AND first_seq = 3")


def _cut_and_counters_mended(store: Store) -> None:
    _cut_object(store)
    digest = hashlib.sha256(store.frames(2)[-1]).hexdigest()
    store.sql(
        f"UPDATE record_epochs SET seq = 2, hash = x'{digest}' WHERE $S AND epoch = 2",
        "DELETE FROM records WHERE $S AND epoch = 2 AND seq > 2",
        "UPDATE records SET ok = NULL, documents = NULL, bytes_out = NULL, duration_us = NULL WHERE $S AND epoch = 2",
    )


def _forged(store: Store, epoch: Epoch, index: int, place: int) -> None:
    """A frame by somebody who had the epoch's key, but not the frames behind it."""
    *before, old = store.frames(index)[: place + 1]
    writer = ChainWriter(
        split(old)[0].head.session, epoch.number, epoch.key, parse_epoch_head(split(epoch.frames[0])[0])
    )
    writer.seq, writer.hash = split(old)[0].head.seq - 1, hashlib.sha256(before[-1]).digest()
    (document,) = encode(find(value="forged"), AT, 1)
    store.write(index, *before, writer.append(document), *store.frames(index)[place + 1 :])


def _substituted(store: Store) -> None:
    _forged(store, store.one, 0, 2)


def _substituted_last(store: Store) -> None:
    _forged(store, store.two, 3, 1)


def _foreign(store: Store) -> None:
    a, b, _, d = store.frames(0)
    store.write(0, a, b, store.other.frames[2], d)


def _foreign_in_disguise(store: Store) -> None:
    a, b, c, d = store.frames(0)
    store.write(0, a, b, _mended(split(c)[0], split(store.other.frames[2])[0].payload), d)


def _foreign_object(store: Store) -> None:
    store.write(0, *store.other.frames)


def _flipped(store: Store) -> None:
    a, b, c, d = store.frames(0)
    store.write(0, a, b, c[:-1] + bytes([c[-1] ^ 1]), d)


def _flipped_and_mended(store: Store) -> None:
    a, b, c, d = store.frames(0)
    payload = split(c)[0].payload
    store.write(0, a, b, _mended(split(c)[0], payload[:-1] + bytes([payload[-1] ^ 1])), d)


def _checksum_altered(store: Store) -> None:
    a, b, c, d = store.frames(0)
    store.write(0, a, b, c[:40] + bytes(4) + c[44:], d)


def _overwritten(store: Store) -> None:
    store.write(1, bytes(500))


def _emptied(store: Store) -> None:
    store.write(2)


def _deleted(store: Store) -> None:
    store.recorded.files()[1].unlink()


def _epoch_again(store: Store) -> None:
    store.write(2, *store.frames(0))


def _epoch_again_renumbered(store: Store) -> None:
    """Epoch 1 as epoch 2: its head opens with the purpose of another epoch, so its key does not."""
    frames = [
        _mended(frame, frame.payload, epoch=2) for frame in split(store.recorded.stored(store.recorded.files()[0]))
    ]
    store.write(2, *frames)
    store.sql(f"UPDATE record_epochs SET head_hash = x'{hashlib.sha256(frames[0]).hexdigest()}' WHERE $S AND epoch = 2")


def _key_replaced(store: Store) -> None:
    """A head with another key, sealed as it should be: everybody can seal to the public key."""
    _head_replaced(store)
    head = store.frames(0)[0]
    store.sql(f"UPDATE record_epochs SET head_hash = x'{hashlib.sha256(head).hexdigest()}' WHERE $S AND epoch = 1")


def _head_replaced(store: Store) -> None:
    keys = store.recorded.control.services.keys
    purpose = sealing.epoch_info(store.recorded.session_id, 1)
    sealed = sealing.seal(keys.audit_public_key, purpose, bytes(32))
    head = EpochHead(sealed, keys.audit_key_id, "gw_one", AT, None)
    session = ids.to_bytes(store.recorded.session_id, ids.Kind.SESSION)
    made = ChainWriter(session, 1, bytes(32), head).head_frame
    store.write(0, made, *store.frames(0)[1:])


def _head_edited(store: Store) -> None:
    head, *rest = store.frames(0)
    document = bson.decode(split(head)[0].payload)
    store.write(0, _mended(split(head)[0], bson.encode(document | {"gateway": "gw_two"})), *rest)


def _head_edited_and_mended(store: Store) -> None:
    _head_edited(store)
    head = store.frames(0)[0]
    store.sql(f"UPDATE record_epochs SET head_hash = x'{hashlib.sha256(head).hexdigest()}' WHERE $S AND epoch = 1")


def _head_unreadable(store: Store) -> None:
    head, *rest = store.frames(0)
    store.write(0, _mended(split(head)[0], bson.encode({"key": 1})), *rest)


def _tail_forged(store: Store) -> None:
    """The end of epoch 2 replaced by a tail, which needs no key."""
    frames = store.frames(2)
    previous = bson.encode({"previous": hashlib.sha256(frames[-1]).digest()})
    session = split(frames[0])[0].head.session
    tail = framing.build(framing.associated_data(0, Kind.TAIL, session, 2, 3, len(previous)), previous)
    store.write(3, tail)
    store.sql(f"UPDATE record_epochs SET seq = 3, hash = x'{hashlib.sha256(tail).hexdigest()}' WHERE $S AND epoch = 2")


def _sql(*statements: str) -> Callable[[Store], None]:
    return lambda store: store.sql(*statements)


def _seal_reworded(store: Store) -> None:
    text = "convert_from(statement, 'UTF8')" if store.recorded.control.cluster is not None else "statement"
    words = f"replace({text}, 'true', 'null')"
    as_bytes = f"convert_to({words}, 'UTF8')" if text != "statement" else f"CAST({words} AS BLOB)"
    store.sql(f"UPDATE record_seals SET statement = {as_bytes} WHERE $S")


def _seal_of_another(store: Store) -> None:
    store.sql(
        "UPDATE record_seals SET (statement, signature) = (SELECT statement, signature FROM record_seals AS other"
        " WHERE other.session_id != record_seals.session_id) WHERE $S"
    )


# what, who does it, its name, epoch, sequence number
CASES: list[tuple[str, Callable[[Store], None], Break, int, int]] = [
    ("a frame taken out", _gap, Break.GAP, 1, 2),
    ("two frames swapped", _swapped, Break.REORDERED, 1, 2),
    ("two frames swapped between objects", _swapped_over_objects, Break.REORDERED, 1, 3),
    ("a frame twice", _twice, Break.REPLAYED, 1, 3),
    ("a head in the middle", _head_twice, Break.REPLAYED, 1, 2),
    ("the end cut off", _cut, Break.TRUNCATED, 2, 4),
    ("the end cut off within a frame", _cut_within_a_frame, Break.DAMAGED, 2, 4),
    ("the last object gone with its row", _cut_object, Break.TRUNCATED, 2, 3),
    ("the tail cut and the counters mended", _cut_and_counters_mended, Break.CUT_TAIL, 2, 3),
    ("the end replaced by a tail", _tail_forged, Break.CUT_TAIL, 2, 4),
    ("a frame replaced by a keyholder", _substituted, Break.SUBSTITUTED, 1, 2),
    ("the last frame replaced by a keyholder", _substituted_last, Break.SUBSTITUTED, 2, 4),
    ("another session's frame", _foreign, Break.FOREIGN, 1, 2),
    ("another session's object", _foreign_object, Break.FOREIGN, 1, 0),
    ("another session's ciphertext under our head", _foreign_in_disguise, Break.ALTERED, 1, 2),
    ("one bit", _flipped, Break.ALTERED, 1, 2),
    ("one bit and the checksum", _flipped_and_mended, Break.ALTERED, 1, 2),
    ("a checksum", _checksum_altered, Break.ALTERED, 1, 2),
    ("an object overwritten", _overwritten, Break.DAMAGED, 1, 4),
    ("an object emptied", _emptied, Break.GAP, 2, 0),
    ("an object deleted", _deleted, Break.MISSING_OBJECT, 1, 4),
    ("an epoch's objects replayed", _epoch_again, Break.REPLAYED, 2, 0),
    ("an epoch replayed under another number", _epoch_again_renumbered, Break.WRONG_KEY, 2, 0),
    ("another key", _key_replaced, Break.WRONG_KEY, 1, 0),
    ("another head", _head_replaced, Break.EDITED_HEAD, 1, 0),
    ("a head edited", _head_edited, Break.EDITED_HEAD, 1, 0),
    ("a head edited and its hash mended", _head_edited_and_mended, Break.EDITED_HEAD, 1, 0),
    ("a head that can't be read", _head_unreadable, Break.EDITED_HEAD, 1, 0),
    (
        "an epoch deleted",
        _sql("DELETE FROM record_epochs WHERE $S AND epoch = 2", "DELETE FROM record_batches WHERE $S AND epoch = 2"),
        Break.MISSING_EPOCH,
        2,
        0,
    ),
    (
        "an object's row deleted",
        _sql("DELETE FROM record_batches WHERE $S AND epoch = 1 AND first_seq = 4"),
        Break.TRUNCATED,
        1,
        4,
    ),
    (
        "a head's hash",
        _sql("UPDATE record_epochs SET head_hash = x'00' WHERE $S AND epoch = 1"),
        Break.ALTERED_ROW,
        1,
        0,
    ),
    ("the last hash", _sql("UPDATE record_epochs SET hash = x'00' WHERE $S AND epoch = 2"), Break.ALTERED_ROW, 2, 4),
    ("the last number", _sql("UPDATE record_epochs SET seq = 3 WHERE $S AND epoch = 1"), Break.ALTERED_ROW, 1, 3),
    (
        "what a row says",
        _sql("UPDATE records SET collection = 'x' WHERE $S AND epoch = 1 AND seq = 2"),
        Break.ALTERED_ROW,
        1,
        2,
    ),
    (
        "when a row says it was",
        _sql("UPDATE records SET at = '2001-01-01 00:00:00.000000' WHERE $S AND epoch = 2 AND seq = 2"),
        Break.ALTERED_ROW,
        2,
        2,
    ),
    (
        "a row's outcome",
        _sql("UPDATE records SET documents = 0 WHERE $S AND epoch = 2 AND seq = 2"),
        Break.ALTERED_ROW,
        2,
        2,
    ),
    ("a row deleted", _sql("DELETE FROM records WHERE $S AND epoch = 1 AND seq = 4"), Break.MISSING_ROW, 1, 4),
    ("a row added", _sql("UPDATE records SET seq = 3 WHERE $S AND epoch = 2 AND seq = 4"), Break.FOREIGN_ROW, 2, 3),
    (
        "a row added behind the end",
        _sql(
            "INSERT INTO records (session_id, epoch, seq, at, kind)"
            " SELECT session_id, 7, 1, at, kind FROM records WHERE $S LIMIT 1"
        ),
        Break.FOREIGN_ROW,
        7,
        1,
    ),
    (
        "a seal's signature",
        _sql("UPDATE record_seals SET signature = x'3006020101020101' WHERE $S"),
        Break.BAD_SEAL,
        2,
        4,
    ),
    ("a seal's words", _seal_reworded, Break.BAD_SEAL, 2, 4),
    ("another session's seal", _seal_of_another, Break.BAD_SEAL, 1, 3),
    ("the seals deleted", _sql("DELETE FROM record_seals WHERE $S"), Break.MISSING_SEAL, 2, 4),
]
# What only the database could tell: a bundle has neither rows nor what the control plane remembers of heads and seals.
_HEADS = {Break.EDITED_HEAD, Break.WRONG_KEY}
_ONLINE_ONLY = {Break.ALTERED_ROW, Break.FOREIGN_ROW, Break.MISSING_ROW, Break.MISSING_SEAL}


async def _two_epochs(recorded: Recorded) -> tuple[Epoch, Epoch]:
    one = (await recorded.lease()).append(OPENED, find(), ok(2))
    await one.ship()
    two = (await recorded.lease(2, "gw_two", one.link)).append(OPENED, find())
    await two.ship()
    one.append(find())
    one.tail()
    await one.ship()
    two.append(ok(2), CLOSED)
    await two.ship()
    await recorded.end()
    await recorded.records.sweep()
    return one, two


@asynccontextmanager
async def _kept(recorded: Recorded) -> AsyncIterator[None]:
    """Put files and rows back afterwards."""
    tables = [schema.metadata().tables[name] for name in _TABLES]
    files = {file: file.read_bytes() for file in recorded.files()}
    async with recorded.control.services.database.read() as session:
        rows = {table: [dict(row) for row in (await session.execute(select(table))).mappings()] for table in tables}
    yield
    for file, data in files.items():
        file.write_bytes(data)
    async with recorded.control.services.database.write() as session:
        for table in tables:
            if table.name == "sessions":  # others point to them
                for row in rows[table]:
                    await session.execute(update(table).where(table.c.id == row["id"]).values(row))
                continue
            await session.execute(delete(table))
            if rows[table]:
                await session.execute(insert(table), rows[table])


@pytest.mark.timeout(300)
async def test_every_kind_of_tampering_is_named(make_session: Callable[[], Awaitable[Recorded]]) -> None:
    other = await make_session()
    foreign = (await other.lease()).append(OPENED, find(), ok(2), CLOSED)
    foreign.frames = foreign.frames[:4]
    await foreign.ship()
    await other.records.sweep()
    recorded = await make_session()
    one, two = await _two_epochs(recorded)
    store = Store(recorded, one, two, foreign)
    assert (await recorded.verify()).state is VerificationState.VERIFIED
    for what, spoil, how, epoch, seq in CASES:
        async with _kept(recorded):
            spoil(store)
            found = await recorded.verify()
            assert (what, found.state, found.how, found.epoch, found.seq) == (
                what,
                VerificationState.TAMPERED,
                how.value,
                epoch,
                seq,
            ), f"{what}: {found}"
            assert (await recorded.row()).verification is VerificationState.TAMPERED
            checked = open_bundle(await recorded.export(ExportFormat.BUNDLE)).check(recorded.published)
            if how not in _ONLINE_ONLY:
                assert checked.broken is not None, what
                assert checked.broken.epoch == epoch, what
                # A bundle brings the keys along, so that which of the two it was can look the other way round.
                assert checked.broken.how is how or {checked.broken.how, how} == _HEADS, (what, checked.broken)
            elif how is Break.MISSING_SEAL:
                assert not checked.sealed
        assert (await recorded.verify()).state is VerificationState.VERIFIED, f"after {what} was undone"

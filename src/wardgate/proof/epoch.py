"""Checking one epoch, object by object, and naming what is wrong with it.

Two readers of the same format (docs/formats.md): a fast one that only tells how far all is well, and a slow one that
looks around at the place where it is not. The fast one must read a hundred thousand frames in well under a second, so
it is one flat loop; whatever it does not expect, it leaves to the other.

The checksum of a frame is not looked at on the way: the tag covers what it covers, and the hash inside the next frame
(or the seal, for the last one) covers the checksum too.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .breaks import Break, ChainBroken, Link

HEAD_BYTES: Final = 44
_AAD_BYTES: Final = 40
_HASH_BYTES: Final = 32
_HEAD: Final = struct.Struct("<4sBBBB16sIQII")
_FORM: Final = b"WGF1\x01"  # magic and version
_EPOCH_HEAD, _RECORD, _TAIL = 0, 1, 2
_MAX_PAYLOAD: Final = 2 * 1024 * 1024
_WRONG_KEY_SAMPLE: Final = 8  # frames that must all be unreadable before the key is blamed and not the first of them


class Remade(NamedTuple):
    """An object that keeps no frames but what they say: they were made again from it, each chained to the one before,
    so there is nothing left to check in it but how it joins the others. `before` is the hash of the frame before it."""

    session: bytes
    epoch: int
    key: bytes
    first: int
    before: bytes
    frames: Sequence[bytes]
    hashes: Sequence[bytes]
    documents: list[tuple[int, bytes]]
    closed: bool

    @property
    def data(self) -> bytes:
        """The frames as they lie in a batch."""
        return b"".join(self.frames)


Load = Callable[[str], bytes | Remade]
# Called with the records of each object that was found good: (sequence number, document).
Visit = Callable[[int, int, int, list[tuple[int, bytes]]], None]


class UnreadableObject(Exception):  # noqa: N818 - it is what was found, not what failed
    """An object of the store whose bytes are not what was put there."""


class HeadFacts(NamedTuple):
    """What an epoch's head says."""

    sealed_key: bytes
    audit_key_id: str
    gateway: str
    previous: Link | None


Unseal = Callable[[int, HeadFacts], bytes]


@dataclass(frozen=True, slots=True)
class StoredEpoch:
    """An epoch as somebody tells it: where its objects are, and where it should begin and end."""

    epoch: int
    objects: Sequence[str]
    last: Link | None = None
    head_hash: bytes | None = None


@dataclass(slots=True)
class _Walk:
    """How far one epoch has been checked."""

    session: bytes
    epoch: int
    places: dict[int, bytes]  # sequence numbers that somebody vouches for; their hashes are noted here
    seq: int = -1
    hash: bytes = b""
    closed: bool = False
    records: int = 0
    last_frame: bytes = b""
    key: bytes = field(default=b"", repr=False)
    aead: AESGCM | None = field(default=None, repr=False)
    head_differs: bool = False


class EpochFacts(NamedTuple):
    """What a good epoch was found to be. `records` counts neither its head nor its tail."""

    link: Link
    records: int
    closed: bool


def check_epoch(
    session: bytes,
    stored: StoredEpoch,
    load: Load,
    unseal: Unseal,
    places: dict[int, bytes],
    visit: Visit | None = None,
    vouched: Collection[Link] = (),
) -> EpochFacts:
    """Check every frame of an epoch; ChainBroken at the first bad place. `unseal` raises ValueError.

    The hashes of the frames that `places` names are noted there; `vouched` is what others say of them."""
    walk = _Walk(session, stored.epoch, places)
    for index, name in enumerate(stored.objects):
        loaded = _object(walk, load, name)
        if index == 0:
            _begin(walk, stored, head_of(loaded), unseal)
        if isinstance(loaded, Remade) and _join(walk, loaded):
            if visit is not None:
                visit(stored.epoch, loaded.first, walk.seq, loaded.documents)
            continue
        data = frames_of(loaded)
        first = walk.seq + 1
        documents: list[tuple[int, bytes]] | None = [] if visit is not None else None
        stopped = _advance(walk, data, documents)
        if stopped != len(data):
            raise _named(walk, data, stopped, stored.objects[index + 1 :], load)
        if visit is not None and documents is not None:
            visit(stored.epoch, first, walk.seq, documents)
    _check_end(walk, stored, vouched)
    return EpochFacts(Link(walk.epoch, walk.seq, walk.hash), walk.records, walk.closed)


def read_head(data: bytes) -> HeadFacts | None:
    """What the epoch head at the beginning of `data` says; None if there is none that can be read."""
    frame = _frame_at(data, 0)
    if frame is None or frame.kind != _EPOCH_HEAD:
        return None
    try:
        document = _plain_bson(data[HEAD_BYTES : frame.end])
        previous = document["previous"]
        link = previous and Link(int(previous["epoch"]), int(previous["seq"]), bytes(previous["hash"]))
        return HeadFacts(
            bytes(document["key"]), str(document["audit_key_id"]), str(document["gateway"]), link if previous else None
        )
    except (KeyError, TypeError, ValueError, IndexError, struct.error):
        return None


def frames_of(loaded: bytes | Remade) -> bytes:
    """An object as frames, one behind the other."""
    return loaded.data if isinstance(loaded, Remade) else loaded


def head_of(loaded: bytes | Remade) -> bytes:
    """As much of an object as an epoch's head may fill."""
    return b"".join(loaded.frames[:1]) if isinstance(loaded, Remade) else loaded


# --- the fast reader ------------------------------------------------------------------------------------------------


def _advance(walk: _Walk, data: bytes, documents: list[tuple[int, bytes]] | None) -> int:
    """Go on through an object; the offset of what is not as it should be, or its length."""
    if walk.aead is None:
        return 0
    unpack, sha256, decrypt, places = _HEAD.unpack_from, hashlib.sha256, walk.aead.decrypt, walk.places
    session, epoch, expected, digest = walk.session, walk.epoch, walk.seq + 1, walk.hash
    offset, end, raw, records, closed = 0, len(data), walk.last_frame, 0, walk.closed
    while end - offset >= HEAD_BYTES and not closed:
        magic, version, algorithm, kind, reserved, of_session, of_epoch, seq, length, _ = unpack(data, offset)
        stop = offset + HEAD_BYTES + length
        if (
            magic != b"WGF1"
            or version != 1
            or reserved
            or algorithm != (kind == _RECORD)
            or seq != expected
            or of_epoch != epoch
            or of_session != session
            or stop > end
        ):
            break
        frame = data[offset:stop]
        if kind == _RECORD:
            if seq == 0:
                break
            try:
                plain = decrypt(seq.to_bytes(12, "big"), frame[HEAD_BYTES:], frame[:_AAD_BYTES])
            except InvalidTag:
                break
            if plain[:_HASH_BYTES] != digest:
                break
            records += 1
            if documents is not None:
                documents.append((seq, plain[_HASH_BYTES:]))
        elif kind == _TAIL:
            if seq == 0 or frame[HEAD_BYTES:] != _tail_payload(digest):
                break
            closed = True
        elif kind != _EPOCH_HEAD or seq:
            break
        raw, digest = frame, sha256(frame).digest()
        if seq in places:
            places[seq] = digest
        expected += 1
        offset = stop
    walk.seq, walk.hash, walk.last_frame, walk.closed = expected - 1, digest, raw, closed
    walk.records += records
    return offset


def _join(walk: _Walk, made: Remade) -> bool:
    """Go on behind an object whose frames are chained by their making; whether it is the one that comes next."""
    fits = (made.session, made.epoch, made.first, made.before) == (walk.session, walk.epoch, walk.seq + 1, walk.hash)
    if walk.aead is None or walk.closed or made.key != walk.key or not fits or not made.frames:
        return False
    last = walk.seq + len(made.frames)
    for seq in walk.places:
        if made.first <= seq <= last:
            walk.places[seq] = made.hashes[seq - made.first]
    walk.seq, walk.hash, walk.last_frame, walk.closed = last, made.hashes[-1], made.frames[-1], made.closed
    walk.records += len(made.documents)
    return True


def _tail_payload(digest: bytes) -> bytes:
    """The BSON document {previous: digest}, of which a tail consists."""
    return b"\x34\0\0\0\x05previous\0\x20\0\0\0\0" + digest + b"\0"


# --- the beginning and the end --------------------------------------------------------------------------------------


def _object(walk: _Walk, load: Load, name: str) -> bytes | Remade:
    try:
        return load(name)
    except FileNotFoundError as error:
        raise _broken(walk, Break.MISSING_OBJECT, walk.seq + 1, "an object of the store is missing") from error
    except UnreadableObject as error:
        raise _broken(walk, Break.ALTERED, walk.seq + 1, f"an object of the store was altered: {error}") from error


def _begin(walk: _Walk, stored: StoredEpoch, data: bytes, unseal: Unseal) -> None:
    """The key, from the epoch's head; the walk stands before it."""
    frame = _frame_at(data, 0)
    if frame is None:
        if not data:
            raise _broken(walk, Break.GAP, 0, "the epoch's head is missing")
        raise _broken(walk, Break.DAMAGED, 0, "bytes that are no frame stand where the epoch's head was")
    if (frame.session, frame.epoch) != (walk.session, walk.epoch):
        raise _misplaced(walk, frame)
    if frame.kind != _EPOCH_HEAD or frame.seq != 0:
        raise _broken(walk, Break.GAP, 0, "the epoch's head is missing")
    digest = hashlib.sha256(data[: frame.end]).digest()
    walk.head_differs = stored.head_hash is not None and digest != stored.head_hash
    head = read_head(data)
    if head is None:
        raise _broken(walk, Break.EDITED_HEAD, 0, "the epoch's head can't be read")
    try:
        walk.key = unseal(walk.epoch, head)
        walk.aead = AESGCM(walk.key)
    except ValueError as error:
        how = Break.EDITED_HEAD if walk.head_differs else Break.WRONG_KEY
        raise _broken(walk, how, 0, f"the epoch's key does not open: {error}") from error


def _check_end(walk: _Walk, stored: StoredEpoch, vouched: Collection[Link]) -> None:
    last = stored.last
    if walk.seq < 0:
        raise _broken(walk, Break.GAP, 0, "nothing of the epoch is there")
    if last is not None and walk.seq < last.seq:
        missing = last.seq - walk.seq
        noun = "frame is" if missing == 1 else "frames are"
        raise _broken(walk, Break.TRUNCATED, walk.seq + 1, f"{missing} {noun} missing at the end")
    if last is not None and (walk.seq, walk.hash) != (last.seq, last.hash):
        if walk.seq > last.seq:
            detail = f"the database says that the epoch ends at {last.seq}, and it ends at {walk.seq}"
            raise _broken(walk, Break.ALTERED_ROW, last.seq, detail)
        if Link(walk.epoch, walk.seq, walk.hash) in vouched:
            detail = "the database has the hash of another last frame than the stored one"
            raise _broken(walk, Break.ALTERED_ROW, walk.seq, detail)
        raise _broken(walk, Break.SUBSTITUTED, walk.seq, "the last frame is not the one that was acknowledged")
    if walk.head_differs:
        raise _broken(walk, Break.ALTERED_ROW, 0, "the database has the hash of another epoch head than the stored one")


# --- the slow reader ------------------------------------------------------------------------------------------------


class _FrameAt(NamedTuple):
    kind: int
    session: bytes
    epoch: int
    seq: int
    end: int
    sound: bool  # whether the checksum holds


def _frame_at(data: bytes, offset: int) -> _FrameAt | None:
    """The frame at `offset`, if its form is right and all of it is there."""
    if len(data) - offset < HEAD_BYTES or data[offset : offset + 5] != _FORM:
        return None
    _, _, algorithm, kind, reserved, session, epoch, seq, length, crc = _HEAD.unpack_from(data, offset)
    end = offset + HEAD_BYTES + length
    if reserved or kind > _TAIL or algorithm != (kind == _RECORD) or length > _MAX_PAYLOAD or end > len(data):
        return None
    sound = crc32c(data[offset : offset + _AAD_BYTES] + data[offset + HEAD_BYTES : end]) == crc
    return _FrameAt(kind, session, epoch, seq, end, sound)


def _named(walk: _Walk, data: bytes, offset: int, later: Sequence[str], load: Load) -> ChainBroken:
    """What is wrong at `offset`, which the fast reader would not pass."""
    expected = walk.seq + 1
    frame = _frame_at(data, offset)
    if frame is None:
        return _broken(walk, Break.DAMAGED, expected, "bytes that are no whole frame")
    if (frame.session, frame.epoch) != (walk.session, walk.epoch):
        return _misplaced(walk, frame)
    if walk.closed:
        return _broken(walk, Break.FOREIGN, frame.seq, "a frame follows the epoch's tail")
    if frame.seq < expected:
        return _broken(walk, Break.REPLAYED, expected, f"frame {frame.seq} stands there a second time")
    if frame.seq > expected:
        moved = any(found.seq == expected for found in _frames_behind(data, frame.end, later, load))
        how = Break.REORDERED if moved else Break.GAP
        return _broken(walk, how, expected, f"sequence {frame.seq} follows {walk.seq}")
    if (frame.kind == _EPOCH_HEAD) != (frame.seq == 0):
        return _broken(walk, Break.SUBSTITUTED, expected, "an epoch head stands exactly at sequence 0")
    return _unchained(walk, data, offset, frame)


def _unchained(walk: _Walk, data: bytes, offset: int, frame: _FrameAt) -> ChainBroken:
    """A frame in the right place that does not open, or that is chained to another one than is there."""
    if frame.kind == _RECORD and not _opens(walk, data, offset):
        if walk.seq == 0 and walk.head_differs:
            return _broken(walk, Break.EDITED_HEAD, 0, "the epoch's head is not the one that was acknowledged")
        if walk.seq == 0 and frame.sound and _none_opens(walk, data, offset):
            return _broken(walk, Break.WRONG_KEY, 0, "the epoch's key opens none of its frames")
        detail = "the frame was altered" if frame.sound else "the frame was altered: its checksum does not hold"
        return _broken(walk, Break.ALTERED, frame.seq, detail)
    if walk.seq == 0:
        return _broken(walk, Break.EDITED_HEAD, 0, "the epoch's head is not the one that its first record follows")
    before = _frame_at(walk.last_frame, 0)
    if before is not None and not before.sound:
        return _broken(walk, Break.ALTERED, walk.seq, "the frame was altered: its checksum does not hold")
    return _broken(walk, Break.SUBSTITUTED, walk.seq, "the frame is not the one that its successor was chained to")


def _opens(walk: _Walk, data: bytes, offset: int) -> bool:
    frame = _frame_at(data, offset)
    assert frame is not None
    assert walk.aead is not None
    try:
        walk.aead.decrypt(
            frame.seq.to_bytes(12, "big"),
            data[offset + HEAD_BYTES : frame.end],
            data[offset : offset + _AAD_BYTES],
        )
    except InvalidTag:
        return False
    return True


def _none_opens(walk: _Walk, data: bytes, offset: int) -> bool:
    """Whether this frame and those behind it are all sound and all unreadable; at least two must be there to say so."""
    seen = 0
    while seen < _WRONG_KEY_SAMPLE:
        frame = _frame_at(data, offset)
        if frame is None or frame.kind != _RECORD:
            break
        if not frame.sound or _opens(walk, data, offset):
            return False
        seen += 1
        offset = frame.end
    return seen > 1


def _frames_behind(data: bytes, offset: int, later: Sequence[str], load: Load) -> Iterator[_FrameAt]:
    """The frames of this epoch from there on, as far as they can be read."""
    for name in ("", *later):
        if name:
            try:
                data, offset = frames_of(load(name)), 0
            except (FileNotFoundError, UnreadableObject):
                continue
        while (frame := _frame_at(data, offset)) is not None:
            yield frame
            offset = frame.end


def _misplaced(walk: _Walk, frame: _FrameAt) -> ChainBroken:
    if frame.session == walk.session:
        return _broken(
            walk, Break.REPLAYED, walk.seq + 1, f"a frame of epoch {frame.epoch} stands in epoch {walk.epoch}"
        )
    return _broken(walk, Break.FOREIGN, walk.seq + 1, "a frame of another session")


def _broken(walk: _Walk, how: Break, seq: int, detail: str) -> ChainBroken:
    return ChainBroken(how, walk.epoch, seq, detail)


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE: Final = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C. Slow: for the few frames around a bad place."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


# --- the little BSON that stands in clear ---------------------------------------------------------------------------

_I32: Final = struct.Struct("<i")
_I64: Final = struct.Struct("<q")


def _plain_bson(raw: bytes, depth: int = 0) -> dict[str, Any]:
    """A document of strings, binaries, integers, nulls and documents; ValueError for anything else."""
    if len(raw) < 5 or _I32.unpack_from(raw)[0] != len(raw) or raw[-1] != 0 or depth > 2:
        raise ValueError("not BSON")
    fields: dict[str, Any] = {}
    at = 4
    while at < len(raw) - 1:
        kind = raw[at]
        name_end = raw.index(0, at + 1)
        name, at = raw[at + 1 : name_end].decode(), name_end + 1
        if kind == 0x0A:
            fields[name] = None
            continue
        if kind in (0x10, 0x12):
            number = _I32 if kind == 0x10 else _I64
            fields[name], at = number.unpack_from(raw, at)[0], at + number.size
            continue
        size = _I32.unpack_from(raw, at)[0]
        start, end = {
            0x02: (at + 4, at + 4 + size),
            0x03: (at, at + size),
            0x05: (at + 5, at + 5 + size),
        }[kind]
        if size < 0 or end > len(raw) - 1:
            raise ValueError("not BSON")
        value = raw[start:end]
        fields[name] = value[:-1].decode() if kind == 0x02 else _plain_bson(value, depth + 1) if kind == 3 else value
        at = end
    return fields

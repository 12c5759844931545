"""The chain: frames of one epoch, each bound to the one before and to its place.

A record frame's plaintext is SHA-256 of the whole previous frame (32 bytes) and the record's BSON. It is sealed with
AES-256-GCM under the epoch's key, nonce = sequence number (96 bits, big-endian), associated data = the frame's first
40 bytes. Sequence number 0 is the epoch head, in clear: BSON {key, audit_key_id, gateway, opened_at, previous}, where
`key` is the epoch's key sealed to the control plane's audit key and `previous` the {epoch, seq, hash} that was
acknowledged before this epoch began, or null. An epoch tail, in clear, ends an epoch whose gateway lost the key.

Invariants:
1. A key seals one epoch, and in it every sequence number once: no nonce repeats.
2. A reader accepts frame n only after frame n - 1 of the same session and epoch, with its hash inside the ciphertext.
3. Whoever lacks the key can cut the end off, and nothing else, unseen; the signed seal over the head shows the cut.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import bson
from bson.codec_options import CodecOptions
from bson.errors import InvalidBSON
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..proof.breaks import Break, ChainBroken, Link
from . import frame as framing
from .frame import AES_256_GCM, CLEAR, Frame, Kind

__all__ = [
    "Break",
    "ChainBroken",
    "ChainReader",
    "ChainWriter",
    "EpochHead",
    "Link",
    "open_frame",
    "parse_epoch_head",
    "seal_statement",
    "tail_frame",
]

KEY_BYTES: Final = 32
HASH_BYTES: Final = 32
_TAG_BYTES: Final = 16
_OVERHEAD: Final = HASH_BYTES + _TAG_BYTES


class EpochHead(NamedTuple):
    """What sequence number 0 says. `sealed_key` opens with the audit key and the purpose `epoch_info`."""

    sealed_key: bytes
    audit_key_id: str
    gateway: str
    opened_at_us: int
    previous: Link | None


class ChainWriter:
    """Writes one epoch. Holds the key, in memory only."""

    def __init__(self, session: bytes, epoch: int, key: bytes, head: EpochHead) -> None:
        self._session = session
        self._epoch = epoch
        self._aead = AESGCM(key)
        self.head_frame = _clear(Kind.HEAD, session, epoch, 0, _head_document(head))
        self.hash = hashlib.sha256(self.head_frame).digest()
        self.seq = 0

    def append(self, document: bytes) -> bytes:
        """The next frame; it must be written before the one after it."""
        seq = self.seq + 1
        length = len(document) + _OVERHEAD
        if length > framing.MAX_PAYLOAD:
            raise ValueError("the record is too long for a frame")
        aad = framing.associated_data(AES_256_GCM, Kind.RECORD, self._session, self._epoch, seq, length)
        frame = framing.build(aad, self._aead.encrypt(seq.to_bytes(12, "big"), self.hash + document, aad))
        self.hash = hashlib.sha256(frame).digest()
        self.seq = seq
        return frame


def tail_frame(session: bytes, last: Link) -> bytes:
    """The epoch tail that follows `last`; the same bytes each time it is made."""
    return _clear(Kind.TAIL, session, last.epoch, last.seq + 1, bson.encode({"previous": last.hash}))


def parse_epoch_head(frame: Frame) -> EpochHead:
    """What an epoch head says; ChainBroken if it is none."""
    try:
        document: dict[str, Any] = bson.decode(frame.payload, CodecOptions())
        previous = document["previous"]
        link = previous and Link(int(previous["epoch"]), int(previous["seq"]), bytes(previous["hash"]))
        return EpochHead(
            bytes(document["key"]),
            str(document["audit_key_id"]),
            str(document["gateway"]),
            int(document["opened_at"]),
            link,
        )
    except (InvalidBSON, KeyError, TypeError, ValueError) as error:
        raise ChainBroken(Break.DAMAGED, frame.head.epoch, frame.head.seq, "the epoch head can't be read") from error


def _head_document(head: EpochHead) -> bytes:
    previous = head.previous and {"epoch": head.previous.epoch, "seq": head.previous.seq, "hash": head.previous.hash}
    return bson.encode(
        {
            "key": head.sealed_key,
            "audit_key_id": head.audit_key_id,
            "gateway": head.gateway,
            "opened_at": bson.Int64(head.opened_at_us),
            "previous": previous,
        }
    )


def _clear(kind: Kind, session: bytes, epoch: int, seq: int, payload: bytes) -> bytes:
    return framing.build(framing.associated_data(CLEAR, kind, session, epoch, seq, len(payload)), payload)


# --- reading ------------------------------------------------------------------------------------------------------


class ChainReader:
    """Checks and opens the frames of one epoch, in order, from its head or from a place already checked."""

    def __init__(
        self, session: bytes, epoch: int, key: bytes, last: Link | None = None, *, closed: bool = False
    ) -> None:
        self._session = session
        self._epoch = epoch
        self._aead = AESGCM(key)
        self.seq = last.seq if last else -1
        self.hash = last.hash if last else b""
        self.closed = closed

    @property
    def link(self) -> Link:
        """The last accepted frame."""
        return Link(self._epoch, self.seq, self.hash)

    def accept(self, frame: Frame) -> bytes | None:
        """The record's document, or null for an epoch head or tail; ChainBroken otherwise, and nothing has changed."""
        head = frame.head
        if head.session != self._session or head.epoch != self._epoch:
            raise ChainBroken(Break.FOREIGN, self._epoch, self.seq + 1, "a frame of another session or epoch")
        if head.seq != self.seq + 1:
            how = Break.GAP if head.seq > self.seq else Break.REPLAYED
            raise ChainBroken(how, self._epoch, self.seq + 1, f"sequence {head.seq} follows {self.seq}")
        if self.closed:
            raise ChainBroken(Break.SUBSTITUTED, self._epoch, head.seq, "a frame follows the epoch's tail")
        document = self._open(frame)
        self.seq = head.seq
        self.hash = hashlib.sha256(frame.raw).digest()
        self.closed = head.kind == Kind.TAIL
        return document

    def _open(self, frame: Frame) -> bytes | None:
        head = frame.head
        if (head.kind == Kind.HEAD) != (head.seq == 0):
            raise ChainBroken(Break.SUBSTITUTED, self._epoch, head.seq, "an epoch head stands exactly at sequence 0")
        if head.kind == Kind.HEAD:
            return None
        if head.kind == Kind.TAIL:
            previous, document = _tail_hash(frame), None
        else:
            plain = _decrypt(self._aead, frame)
            previous, document = plain[:HASH_BYTES], plain[HASH_BYTES:]
        if previous != self.hash:
            raise ChainBroken(
                Break.SUBSTITUTED, self._epoch, self.seq, "the frame is not the one that its successor was chained to"
            )
        return document


def _tail_hash(frame: Frame) -> bytes:
    try:
        return bytes(bson.decode(frame.payload)["previous"])
    except (InvalidBSON, KeyError, TypeError) as error:
        raise ChainBroken(Break.DAMAGED, frame.head.epoch, frame.head.seq, "the tail can't be read") from error


def open_frame(frame: Frame, key: bytes) -> bytes:
    """The document of one record frame by itself, for reading what was checked before; ChainBroken if it is altered."""
    return _decrypt(AESGCM(key), frame)[HASH_BYTES:]


def _decrypt(aead: AESGCM, frame: Frame) -> bytes:
    head = frame.head
    try:
        return aead.decrypt(head.seq.to_bytes(12, "big"), frame.payload, frame.aad)
    except InvalidTag as error:
        raise ChainBroken(Break.ALTERED, head.epoch, head.seq, "the frame was altered") from error


def seal_statement(session_id: str, heads: Iterable[Link], *, final: bool, sealed_at_us: int) -> bytes:
    """The bytes that the control plane signs: canonical JSON (sorted keys, no spaces) behind a purpose line."""
    body = {
        "final": final,
        "heads": [{"epoch": link.epoch, "hash": link.hash.hex(), "seq": link.seq} for link in sorted(heads)],
        "sealed_at_us": sealed_at_us,
        "session": session_id,
    }
    return b"wardgate seal v1\n" + json.dumps(body, sort_keys=True, separators=(",", ":")).encode()

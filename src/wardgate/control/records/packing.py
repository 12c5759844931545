"""The stored form of a batch: its frames packed, compressed and sealed, and made again as they were.

    4s  magic `WGO1`     B  version, 1     B  algorithm, 1: zstd, AES-256-GCM     H  length of the key's name
    H   length of the sealed key     16s  session     I  epoch     Q  first sequence number     Q  last
    the name of the audit key, the epoch's key sealed to it (as the epoch's head has them), 12 bytes nonce, ciphertext

Little-endian. In the ciphertext, compressed: SHA-256 of the frame before the first (zeros before an epoch's head), then
for each frame its kind (B), the length (I) and what it says: a record's document, or the payload of a frame in clear.

A frame follows from its document, the epoch's key and the frame before it (`audit.chain`), so nothing else is kept: no
tags, hashes and heads, which can't be compressed and are most of a small frame. What is made again is the frame to its
last byte, since each step is deterministic; a verification makes the chain anew and compares its end with what was
acknowledged and signed.

The object's key is derived from the epoch's, the nonce from what is sealed: the same frames give the same object, and
different ones never meet under one nonce. A batch that was stored before this form existed is frames as they came.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ... import ids
from ...api.problems import ProblemError
from ...audit import frame as framing
from ...audit.frame import AES_256_GCM, CLEAR, Frame, Kind
from ...proof.epoch import Remade, UnreadableObject

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EpochKey = Callable[[str, int, str, bytes], bytes]  # session id, epoch, name of the audit key, sealed key

MAGIC: Final = b"WGO1"
_VERSION: Final = 1
_ZSTD_AES_256_GCM: Final = 1
_HEAD: Final = struct.Struct("<4sBBHH16sIQQ")
_ENTRY: Final = struct.Struct("<BI")
_HASH_BYTES: Final = 32
_TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_LEVEL: Final = 3
# Far above what a delivery can hold (16 MiB): what is ours does not get there, and what is not has no valid tag.
_MOST_BYTES: Final = 64 * 1024 * 1024


def pack(
    frames: Sequence[Frame], documents: Mapping[int, bytes], before: bytes, key: bytes, key_id: str, sealed_key: bytes
) -> bytes:
    """Checked, consecutive frames of one epoch as an object. `documents` are those of the records among them, `before`
    is the hash of the frame before the first, empty at the head."""
    first, last = frames[0].head, frames[-1].head
    name = key_id.encode()
    head = _HEAD.pack(
        MAGIC,
        _VERSION,
        _ZSTD_AES_256_GCM,
        len(name),
        len(sealed_key),
        first.session,
        first.epoch,
        first.seq,
        last.seq,
    )
    parts = [before.rjust(_HASH_BYTES, b"\0")]
    for frame in frames:
        content = documents[frame.head.seq] if frame.head.kind == Kind.RECORD else frame.payload
        parts += (_ENTRY.pack(frame.head.kind, len(content)), content)
    plain = zstd.compress(b"".join(parts), _LEVEL)
    clear = head + name + sealed_key
    own = _derived(key)
    nonce = hmac.digest(own, clear + plain, "sha256")[:_NONCE_BYTES]
    return b"".join((clear, nonce, AESGCM(own).encrypt(nonce, plain, clear)))


def is_packed(data: bytes) -> bool:
    """Whether it is an object of this form."""
    return data.startswith(MAGIC)


def remake(data: bytes, epoch_key: EpochKey) -> Remade:
    """The frames of a packed object; UnreadableObject if it is not what was put there."""
    try:
        return _remake(data, epoch_key)
    except (struct.error, InvalidTag, ValueError, ProblemError, zstd.ZstdError) as error:
        raise UnreadableObject("it does not open") from error


def _remake(data: bytes, epoch_key: EpochKey) -> Remade:
    _, version, algorithm, name_size, sealed_size, session, epoch, first, last = _HEAD.unpack_from(data)
    if version != _VERSION or algorithm != _ZSTD_AES_256_GCM:
        raise UnreadableObject(f"its form {version}.{algorithm} is unknown to this version")
    sealed_at = _HEAD.size + name_size
    clear_end = sealed_at + sealed_size
    name, sealed = data[_HEAD.size : sealed_at].decode(), data[sealed_at:clear_end]
    key = epoch_key(ids.from_bytes(ids.Kind.SESSION, session), epoch, name, sealed)
    nonce, body = data[clear_end : clear_end + _NONCE_BYTES], data[clear_end + _NONCE_BYTES :]
    plain = _inflated(AESGCM(_derived(key)).decrypt(nonce, body, data[:clear_end]))
    made = _Chain(session, epoch, key, plain[:_HASH_BYTES] if first else b"").frames(plain, first)
    if made.first + len(made.frames) - 1 != last:
        raise UnreadableObject("it holds other frames than it says")
    return made


def _inflated(data: bytes) -> bytes:
    reader = zstd.ZstdDecompressor()
    plain = reader.decompress(data, _MOST_BYTES)
    if not reader.eof or reader.unused_data:
        raise ValueError("not one whole piece")
    return plain


class _Chain:
    """Makes frames again. Apart from `audit.chain.ChainWriter`, which begins an epoch and writes nothing in clear."""

    def __init__(self, session: bytes, epoch: int, key: bytes, before: bytes) -> None:
        self._session = session
        self._epoch = epoch
        self._key = key
        self._before = before

    def frames(self, plain: bytes, first: int) -> Remade:
        """One flat loop: it runs for every record of a session that is verified."""
        session, epoch, encrypt, digest = self._session, self._epoch, AESGCM(self._key).encrypt, self._before
        associated, build, sha256, entry = framing.associated_data, framing.build, hashlib.sha256, _ENTRY.unpack_from
        frames: list[bytes] = []
        hashes: list[bytes] = []
        documents: list[tuple[int, bytes]] = []
        at, end, seq, kind = _HASH_BYTES, len(plain), first, Kind.RECORD
        while at < end:
            kind, size = entry(plain, at)
            at += _ENTRY.size
            content = plain[at : at + size]
            if len(content) != size:
                raise ValueError("cut short")
            at += size
            if kind == Kind.RECORD:
                aad = associated(AES_256_GCM, kind, session, epoch, seq, size + _HASH_BYTES + _TAG_BYTES)
                frame = build(aad, encrypt(seq.to_bytes(12, "big"), digest + content, aad))
                documents.append((seq, content))
            else:
                frame = build(associated(CLEAR, kind, session, epoch, seq, size), content)
            digest = sha256(frame).digest()
            frames.append(frame)
            hashes.append(digest)
            seq += 1
        return Remade(session, epoch, self._key, first, self._before, frames, hashes, documents, kind == Kind.TAIL)


def _derived(key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"wardgate object v1").derive(key)

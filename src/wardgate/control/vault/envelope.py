"""The form of a sealed value: which key, which algorithm, and for which place.

    version (1) ‖ algorithm (1) ‖ key id (16) ‖ nonce (12) ‖ ciphertext and tag

Associated data is the head together with the place (project, table, row, column, each with its length), so a value that
is copied to another row, or one whose head was changed, opens as nothing. Pure: the nonce is an argument.

Nonces are random. A key seals the secrets of one project, far below the 2^32 values at which random 96-bit nonces
under one key begin to matter (NIST SP 800-38D, section 8.3).
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...errors import WardgateError

_VERSION = 1
_AES_256_GCM = 1
KEY_ID_BYTES = 16
NONCE_BYTES = 12
_HEAD_BYTES = 2 + KEY_ID_BYTES + NONCE_BYTES
_TAG_BYTES = 16


class VaultError(WardgateError):
    """A sealed value that does not open: another key, another place, or changed bytes."""

    def __init__(self, place: Place) -> None:
        super().__init__(
            "vault_broken",
            f"The sealed {place.table}.{place.column} does not open: it was changed or moved, or its key is missing.",
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed value stands."""

    project_id: str | None
    table: str
    row: str
    column: str

    def encode(self) -> bytes:
        """Unambiguous: each part with its length before it."""
        parts = [b"wardgate vault v1", (self.project_id or "").encode(), self.table.encode(), self.row.encode()]
        parts.append(self.column.encode())
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def seal(key: bytes, key_id: bytes, nonce: bytes, place: Place, plaintext: bytes) -> bytes:
    """`plaintext` sealed for `place`."""
    if len(key_id) != KEY_ID_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError("wrong length of key id or nonce")
    head = bytes([_VERSION, _AES_256_GCM]) + key_id + nonce
    return head + AESGCM(key).encrypt(nonce, plaintext, head + place.encode())


def key_id_of(blob: bytes, place: Place) -> bytes:
    """Which key sealed `blob`; VaultError if it is no sealed value of a kind that we know."""
    if len(blob) < _HEAD_BYTES + _TAG_BYTES or blob[0] != _VERSION or blob[1] != _AES_256_GCM:
        raise VaultError(place)
    return blob[2 : 2 + KEY_ID_BYTES]


def open_(key: bytes, place: Place, blob: bytes) -> bytes:
    """What was sealed for `place`; VaultError otherwise."""
    key_id_of(blob, place)
    head, body = blob[:_HEAD_BYTES], blob[_HEAD_BYTES:]
    try:
        return AESGCM(key).decrypt(head[-NONCE_BYTES:], body, head + place.encode())
    except InvalidTag:
        raise VaultError(place) from None

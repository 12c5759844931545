"""HPKE (RFC 9180, base mode): sealing a few bytes to one receiver's key for one purpose.

Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. A sealed value is `enc ‖ ciphertext`; `info` names the
purpose and its parties, so a value sealed for one lease, test, epoch or relay opens as nothing else. The purposes are
the functions below and no caller writes its own.

Law: what opens was sealed to this key with this `info`; it is not said by whom (base mode authenticates nobody), so
the channel that carried the public key is authenticated by other means. Fresh keys come from `cryptography`'s own
generator: the one randomness allowed on this floor, since a key that a caller could choose is no key.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from .errors import WardgateError

KEY_BYTES = 32
OVERHEAD = 32 + 16  # the encapsulated key and the tag
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class SealError(WardgateError):
    """A value that does not open, or a key that is none. Says nothing of why: there is nobody to help."""

    def __init__(self) -> None:
        super().__init__("seal_broken", "A sealed value could not be opened with this key for this purpose.")


def generate() -> tuple[bytes, bytes]:
    """A fresh X25519 key pair: (private, public), 32 raw bytes each."""
    key = X25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw()


def public_of(private_raw: bytes) -> bytes:
    """The public half of a raw private key."""
    try:
        return X25519PrivateKey.from_private_bytes(private_raw).public_key().public_bytes_raw()
    except ValueError as error:
        raise SealError from error


def seal(public_raw: bytes, info: bytes, plaintext: bytes) -> bytes:
    """`plaintext` sealed to `public_raw`; SealError if that is not a usable key (wrong length, low order)."""
    try:
        return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public_raw), info)
    except ValueError as error:
        raise SealError from error


def open_(private_raw: bytes, info: bytes, blob: bytes) -> bytes:
    """What was sealed; SealError when key, purpose or bytes do not belong together."""
    if len(blob) < OVERHEAD:
        raise SealError
    try:
        return _SUITE.decrypt(blob, X25519PrivateKey.from_private_bytes(private_raw), info)
    except (InvalidTag, ValueError) as error:
        raise SealError from error


def lease_info(session_id: str, gateway_id: str) -> bytes:
    """Purpose of a lease's credentials."""
    return f"wardgate lease v1|{session_id}|{gateway_id}".encode()


def test_info(test_id: str, gateway_id: str) -> bytes:
    """Purpose of a connection test's credentials."""
    return f"wardgate test v1|{test_id}|{gateway_id}".encode()


def epoch_info(session_id: str, epoch: int) -> bytes:
    """Purpose of an epoch's record key, sealed to the control plane's audit key."""
    return f"wardgate epoch v1|{session_id}|{epoch}".encode()


def relay_key_info(relay_id: str) -> bytes:
    """Purpose of a relay's route key."""
    return f"wardgate relay key v1|{relay_id}".encode()

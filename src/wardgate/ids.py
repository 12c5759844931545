"""Identifiers: a prefix that names the kind and a UUIDv7 in 26 lower-case Crockford characters.

UUIDv7 (RFC 9562, section 5.7) begins with the time in milliseconds, so ids sort by creation and index well. Clock and
randomness are arguments: this room has neither. Crockford base32 has no i, l, o, u, so an id can be read aloud.
"""

from __future__ import annotations

import re
from enum import StrEnum

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {char: value for value, char in enumerate(_ALPHABET)}
_LENGTH = 26
NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,62}"
_NAME = re.compile(NAME_PATTERN)


class Kind(StrEnum):
    """What an id names; the value is its prefix."""

    ACCOUNT = "acc"
    BINDING = "bnd"
    GATEWAY = "gw"
    GROUP = "grp"
    INSTANCE = "gwi"
    PROJECT = "prj"
    PROVIDER = "idp"
    RELAY = "rly"
    REQUEST = "req"
    RESOURCE = "res"
    SECRET = "sec"  # noqa: S105 - a prefix
    SERVICE = "svc"
    SESSION = "ses"
    STREAM = "str"
    TOKEN = "tok"  # noqa: S105 - a prefix
    TRUST = "trs"
    USER = "usr"


def make(kind: Kind, unix_ms: int, randomness: bytes) -> str:
    """An id of `kind` for the moment `unix_ms` (milliseconds, 48 bits) and ten random bytes."""
    if len(randomness) != 10:
        raise ValueError("an id takes exactly ten random bytes")
    if not 0 <= unix_ms < 1 << 48:
        raise ValueError("unix_ms does not fit 48 bits")
    raw = bytearray(unix_ms.to_bytes(6, "big") + randomness)
    raw[6] = (raw[6] & 0x0F) | 0x70
    raw[8] = (raw[8] & 0x3F) | 0x80
    return from_bytes(kind, bytes(raw))


def from_bytes(kind: Kind, raw: bytes) -> str:
    """The id of `kind` whose UUID is `raw` (16 bytes)."""
    if len(raw) != 16:
        raise ValueError("an id holds exactly 16 bytes")
    number = int.from_bytes(raw, "big")
    digits = []
    for _ in range(_LENGTH):
        digits.append(_ALPHABET[number & 31])
        number >>= 5
    return f"{kind.value}_{''.join(reversed(digits))}"


def to_bytes(text: str, kind: Kind) -> bytes:
    """The 16 bytes of an id of `kind`; ValueError if `text` is anything else."""
    prefix, _, digits = text.partition("_")
    if prefix != kind.value or len(digits) != _LENGTH:
        raise ValueError(f"not an id of kind {kind.value}")
    number = 0
    for char in digits:
        value = _VALUES.get(char)
        if value is None:
            raise ValueError(f"not an id of kind {kind.value}")
        number = (number << 5) | value
    if number >> 128:
        raise ValueError(f"not an id of kind {kind.value}")
    return number.to_bytes(16, "big")


def is_id(text: str, kind: Kind) -> bool:
    """Whether `text` is a well-formed id of `kind`."""
    try:
        to_bytes(text, kind)
    except ValueError:
        return False
    return True


def is_name(text: str) -> bool:
    """Whether `text` is a name as projects, gateways, resources and accounts bear: `NAME_PATTERN`, case-sensitive."""
    return _NAME.fullmatch(text) is not None

"""The head of a dial-back: the four bytes `WGB1` and a single-use ticket of 16 bytes, then the stream as it is."""

from __future__ import annotations

from typing import Final

MAGIC: Final = b"WGB1"
TICKET_BYTES: Final = 16
PREFACE_BYTES: Final = len(MAGIC) + TICKET_BYTES


def preface(ticket: bytes) -> bytes:
    """What a gateway sends first on a connection that it dials back."""
    if len(ticket) != TICKET_BYTES:
        raise ValueError("a ticket has 16 bytes")
    return MAGIC + ticket


def parse_preface(data: bytes) -> bytes | None:
    """The ticket in the first `PREFACE_BYTES` of a connection, or None if it does not begin a dial-back."""
    if len(data) < PREFACE_BYTES or not data.startswith(MAGIC):
        return None
    return data[len(MAGIC) : PREFACE_BYTES]

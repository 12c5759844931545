"""The clock and randomness, for rooms that may not have them: ids, the time in UTC, tickets."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

from .. import ids
from ..tunnel.dialback import TICKET_BYTES


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def new_id(kind: ids.Kind) -> str:
    """A fresh id of `kind`."""
    return ids.make(kind, time.time_ns() // 1_000_000, os.urandom(10))


def new_ticket() -> bytes:
    """A fresh dial-back ticket: 128 random bits."""
    return os.urandom(TICKET_BYTES)

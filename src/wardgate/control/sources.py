"""Where the control plane gets its time, its randomness and its ids.

One value that is passed to every service, so that a test sets the clock and can make ids predictable; no feature reads
a clock or a random generator from anywhere else.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from ..ids import Kind, make


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Sources:
    """`now` answers aware UTC time; `randomness` answers that many unpredictable bytes."""

    now: Callable[[], datetime] = _utc_now
    randomness: Callable[[int], bytes] = secrets.token_bytes

    def new_id(self, kind: Kind) -> str:
        """A fresh id of `kind`."""
        return make(kind, int(self.now().timestamp() * 1000), self.randomness(10))

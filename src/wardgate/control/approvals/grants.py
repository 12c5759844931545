"""A grant as access sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Grant:
    """Sessions of at most `longest`, none of which outlives `until`."""

    request_id: str
    longest: timedelta
    until: datetime

    def cut(self, wanted: timedelta, now: datetime) -> timedelta:
        """What is left of `wanted`."""
        return min(wanted, self.longest, self.until - now)

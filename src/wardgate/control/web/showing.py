"""Values as pages show them: times, durations, counts, and what a status is called and coloured.

Law: colour is for state only, and never alone: every badge has its word.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from markupsafe import Markup

# status: (tone, word). Tones: ok, live, warn, bad, quiet.
STATUSES: Final[Mapping[str, tuple[str, str]]] = {
    # gateways, relays
    "online": ("ok", "Online"),
    "offline": ("bad", "Offline"),
    "pending": ("warn", "Pending"),
    "revoked": ("quiet", "Revoked"),
    # sessions
    "starting": ("warn", "Starting"),
    "active": ("live", "Live"),
    "ended": ("quiet", "Ended"),
    # access requests
    "approved": ("ok", "Approved"),
    "denied": ("bad", "Denied"),
    "cancelled": ("quiet", "Cancelled"),
    "expired": ("quiet", "Expired"),
    # verification
    "verified": ("ok", "Verified"),
    "open": ("quiet", "Still open"),
    "incomplete": ("warn", "Incomplete"),
    "tampered": ("bad", "Tampered"),
    # users
    "disabled": ("quiet", "Disabled"),
    # tests
    "passed": ("ok", "Reachable"),
    "failed": ("bad", "Test failed"),
    "untested": ("warn", "Untested"),
}

_UNITS = ((86_400 * 365, "year"), (86_400 * 30, "month"), (86_400, "day"), (3_600, "hour"), (60, "minute"))
_JUST_NOW = 45


def exact(moment: datetime) -> str:
    """The moment to the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def relative(moment: datetime, now: datetime) -> str:
    """The moment as people say it: “3 minutes ago”, “in 2 hours”."""
    seconds = (now - moment).total_seconds()
    size = abs(seconds)
    if size < _JUST_NOW:
        return "just now" if seconds >= 0 else "in a moment"
    text = next(
        (_count(round(size / unit), word) for unit, word in _UNITS if size >= unit),
        _count(1, "minute"),
    )
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def ago(moment: datetime | None, now: datetime, never: str = "never") -> Markup:
    """A `<time>`: relative, the exact moment on hover; a script keeps it true while the page is open."""
    if moment is None:
        return Markup('<span class="faint">{}</span>').format(never)
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(
        moment.astimezone(UTC).isoformat(), exact(moment), relative(moment, now)
    )


def lasting(seconds: float | None) -> str:
    """A measured time in at most two units: “1 h 12 m”, “48 s”."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def span(value: timedelta) -> str:
    """`lasting` of a timedelta."""
    return lasting(value.total_seconds())


def number(value: int | float | None) -> str:
    """A count with thin spaces between its thousands."""
    return "–" if value is None else f"{value:,}".replace(",", "\u202f")


def milliseconds(value: float) -> str:
    """A measured duration of a hop."""
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def status(name: str) -> tuple[str, str]:
    """(tone, word) of a status; one that is not known is shown as it is, without colour."""
    return STATUSES.get(name, ("quiet", name.replace("_", " ").capitalize()))


def _count(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"

"""Durations as people type them: days, hours, minutes, seconds in that order, as `30m`, `2h30m`, `1d` or `20s`.

The grammar is the same in the CLI, the API and the forms, so a command can be copied between them.
"""

from __future__ import annotations

import re
from datetime import timedelta

from .errors import WardgateError

_PATTERN = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,7})m)?(?:(\d{1,9})s)?")
SHORTEST = timedelta(seconds=5)
LONGEST = timedelta(days=30)


def parse(text: str, *, longest: timedelta = LONGEST, what: str = "a session") -> timedelta:
    """The duration that `text` says, from `SHORTEST` to `longest`; WardgateError `invalid_duration` otherwise.

    `what` names what lasts so long, for the sentence of the error.
    """
    match = _PATTERN.fullmatch(text)
    if match is None or not text:
        raise WardgateError(
            "invalid_duration",
            f"“{text[:40]}” is not a duration: write days, hours, minutes, seconds in that order, as 2h30m.",
        )
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if duration < SHORTEST:
        raise WardgateError("invalid_duration", f"“{text}” is too short: {what} lasts at least 5s.")
    if duration > longest:
        raise WardgateError("invalid_duration", f"“{text}” is too long: {what} lasts at most {format(longest)}.")
    return duration


def format(duration: timedelta) -> str:  # noqa: A001 - durations.format reads as it should
    """`duration` in whole seconds, in the grammar of `parse`: the largest units first, none of them zero."""
    left = max(0, int(duration.total_seconds()))
    if left == 0:
        return "0s"
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)

"""Two runs of one list, row by row: the same, or where not. Pure.

What must differ is made alike first: an address becomes the name of the member behind it (`labels`), because a loopback
port stands for a member. Nothing else is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

SHOWN = 160


class Verdict(StrEnum):
    """What a row says; the value is its sign in the tables."""

    SAME = "✓"
    SAME_ERROR = "="  # no result on either side: the deployment does not have it, and both say so in the same words
    KNOWN = "k"
    DIFFERS = "✗"
    ABSENT = "–"
    BROKEN = "!"
    NOT_RUN = "·"


@dataclass(frozen=True, slots=True)
class Known:
    """A difference that is meant. Client and row are regular expressions, so is the path within the value."""

    row: str
    path: str
    reason: str
    client: str = ".*"

    def explains(self, client: str, row: str, path: str) -> bool:
        """Whether it is about this place."""
        pairs = ((self.client, client), (self.row, row), (self.path, path))
        return all(re.fullmatch(pattern, text) for pattern, text in pairs)


@dataclass(frozen=True, slots=True)
class Cell:
    """One row on one deployment in one view."""

    row: str
    verdict: Verdict
    differences: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    seconds: tuple[float, float] = (0.0, 0.0)


def relabel(value: Any, labels: Mapping[str, str]) -> Any:
    """The value with addresses by their members' names, in keys and in the middle of sentences too."""
    if isinstance(value, str):
        for address in sorted(labels, key=len, reverse=True):
            value = value.replace(address, labels[address])
        return value
    if isinstance(value, list):
        return [relabel(each, labels) for each in value]
    if isinstance(value, dict):
        return {relabel(key, labels): relabel(each, labels) for key, each in value.items()}
    return value


def differences(direct: Any, through: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, what) for each place where they differ."""
    if isinstance(direct, dict) and isinstance(through, dict):
        for key in [*direct, *(key for key in through if key not in direct)]:
            inner = f"{path}.{key}" if path else str(key)
            if key not in through:
                yield inner, f"{_short(direct[key])} → nothing"
            elif key not in direct:
                yield inner, f"nothing → {_short(through[key])}"
            else:
                yield from differences(direct[key], through[key], inner)
    elif isinstance(direct, list) and isinstance(through, list) and len(direct) == len(through):
        for index, (one, other) in enumerate(zip(direct, through, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif direct != through or type(direct) is not type(through):
        yield path, f"{_short(direct)} → {_short(through)}"


def judge(client: str, direct: Mapping[str, Any], through: Mapping[str, Any], known: Iterable[Known]) -> Cell:
    """One row of both runs, already relabelled. `expected` in direct says whether it has to work there."""
    row = direct["row"]
    seconds = (float(direct.get("seconds", 0)), float(through.get("seconds", 0)))
    if "absent" in direct and "absent" in through:
        return Cell(row, Verdict.ABSENT, seconds=seconds)
    kept = ("value", "error", "absent")
    found = list(
        differences({k: direct[k] for k in kept if k in direct}, {k: through[k] for k in kept if k in through})
    )
    if not found:
        if "error" not in direct:
            return Cell(row, Verdict.SAME, seconds=seconds)
        verdict = Verdict.BROKEN if direct.get("expected") else Verdict.SAME_ERROR
        return Cell(row, verdict, (_short(direct["error"]),), seconds=seconds)
    lines = tuple(f"{path}: {what}" for path, what in found)
    known = list(known)
    reasons = [next((each.reason for each in known if each.explains(client, row, path)), None) for path, _ in found]
    if all(reason is not None for reason in reasons):
        unique = tuple(dict.fromkeys(reason for reason in reasons if reason))
        return Cell(row, Verdict.KNOWN, lines, unique, seconds)
    return Cell(row, Verdict.DIFFERS, lines, seconds=seconds)


def missing(row: str, side: str) -> Cell:
    """A row that one side never reported: its client died before."""
    return Cell(row, Verdict.DIFFERS, (f"not reported {side}",))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"

"""Loads on every way at once, one fault under them, and the verdict: the direct way saw the very same fault."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .faults import Fault
from .judge import FRAGILE, WRITES, Seen, Stored, strange, wrongs
from .world import Load, Way, World

BEFORE_S = 4.0  # of quiet load before the fault
AFTER_S = 8.0  # after the repair
RECOVERED_S = 90.0  # a way that does not write again within this has failed
GAP_ALLOWED_S = 2.0  # the longest gap may be so much longer than directly
READS = ("find", "aggregate", "secondaryRead")


@dataclass(slots=True)
class Line:
    """One way in one fault."""

    way: str
    acknowledged: int
    gap: float
    read_gap: float
    change_events: int
    errors: dict[str, int]
    wrong: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)  # of the errors that should not be, in full

    def row(self) -> dict[str, Any]:
        """For the report."""
        return {
            "way": self.way,
            "acknowledged": self.acknowledged,
            "gap_s": round(self.gap, 2),
            "read_gap_s": round(self.read_gap, 2),
            "change_events": self.change_events,
            "errors": self.errors,
            "wrong": self.wrong,
            "messages": self.messages,
        }


def outage(
    world: World,
    fault: Fault,
    ways: Sequence[Way],
    folder: Path,
    *,
    seconds: float = 0.0,
    before: float = BEFORE_S,
    after: float = AFTER_S,
    timed: bool = True,
    **job: Any,
) -> list[Line]:
    """Run one. `seconds` is the least that the loads run; without `timed` no gap is judged."""
    deployment = world.deployment
    others = job.get("others", True)
    for way in ways:
        with deployment.client() as root:
            root.drop_database(way.database)
    with ExitStack() as ends:
        loads = [ends.enter_context(Load(way, folder, **job)) for way in ways]
        for load in loads:
            load.wait_ready()
        began = time.monotonic()
        time.sleep(before)
        harmed = time.monotonic()
        repair = fault.harm(deployment)
        time.sleep(fault.last)
        if fault.last:  # the harm leaves nothing to recover to, or nothing to recover from
            repair()
            given_up = wait_recovered(loads, time.monotonic())
        else:
            given_up = wait_recovered(loads, time.monotonic())
            time.sleep(2.0)
            repair()
        time.sleep(max(after, began + seconds - time.monotonic()))
        until = time.monotonic()
        for load in loads:
            load.stop()
        seen = {load.way: load.seen() for load in loads}
    with deployment.client() as root:
        stored = {way: Stored.of(root[way.database]) for way in ways}
    lines = [_line(way, seen[way], stored[way], harmed, until, others) for way in ways]
    for line, way in zip(lines, ways, strict=True):
        if way in given_up:
            line.wrong.append(f"no insert was acknowledged within {RECOVERED_S:.0f} s of the fault")
    _compare(lines, ways, seen, timed, fault.cuts)
    return lines


def wait_recovered(loads: Sequence[Load], since: float) -> list[Way]:
    """Until each load has an insert that began after `since` acknowledged; the ways that have not in time."""
    deadline = time.monotonic() + RECOVERED_S
    waiting = list(loads)
    while waiting and time.monotonic() < deadline:
        time.sleep(0.2)
        waiting = [load for load in waiting if not _wrote(load.so_far(), since)]
    return [load.way for load in waiting]


def _wrote(seen: Seen, since: float) -> bool:
    return any(begun > since for begun, _ in seen.acknowledged.get("insertOne", {}).values())


def _line(way: Way, seen: Seen, stored: Stored, harmed: float, until: float, others: bool) -> Line:
    return Line(
        way.name,
        seen.writes(),
        max(seen.gap(op, harmed, until) for op in WRITES[:1]),
        max(seen.gap(op, harmed, until) for op in READS) if others else 0.0,
        len(seen.changes),
        dict(sorted(seen.kinds().items())),
        wrongs(seen, stored, others=others),
    )


def _compare(lines: Sequence[Line], ways: Sequence[Way], seen: dict[Way, Seen], timed: bool, cut: bool) -> None:
    """What is only wrong beside the direct way."""
    for line, way in zip(lines, ways, strict=True):
        if way.route == "direct":
            continue
        direct = [each for each in ways if each.driver == way.driver and each.route == "direct"]
        odd = strange(seen[way], [seen[each] for each in direct], cut=cut)
        line.wrong += [f"{count} × {name}, which direct did not see" for name, count in sorted(odd.items())]
        line.messages += [f"{each.name}: {each.message}" for each in seen[way].failures if each.name in odd][:10]
        often = {name: count for name, count in _fragile(seen[way]).items() if count > _twice(seen, direct, name)}
        line.wrong += [f"{count} × {name}, more than once an outage" for name, count in sorted(often.items())]
        gaps = [each.gap for each, other in zip(lines, ways, strict=True) if other in direct]
        if timed and gaps and line.gap > max(gaps) + GAP_ALLOWED_S:
            line.wrong.append(f"the longest gap is {line.gap:.1f} s, directly {max(gaps):.1f} s")


def _fragile(seen: Seen) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in seen.failures:
        if each.op in FRAGILE:
            counts[each.op] = counts.get(each.op, 0) + 1
    return counts


def _twice(seen: dict[Way, Seen], direct: Sequence[Way], op: str) -> int:
    """An outage has two ends (the harm, the return of the old primary), and direct may have had bad luck as well."""
    return max([2, *(_fragile(seen[each]).get(op, 0) + 1 for each in direct)])

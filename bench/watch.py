"""CPU time and memory of other processes, as the kernel counts them. Linux only."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Watched:
    """A process under measurement and what it is called in the tables."""

    label: str
    pid: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process has used: CPU seconds in all, and the most memory since `forget_peak`."""

    cpu_s: float
    peak_bytes: int


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads, with the resolution of the scheduler (clock_getcpuclockid(3) in one line)."""
    return time.clock_gettime((~pid << 3) | 2)


def peak_bytes(pid: int) -> int:
    """The high-water mark of resident memory."""
    return _status(pid, "VmHWM")


def resident_bytes(pid: int) -> int:
    """Resident memory now."""
    return _status(pid, "VmRSS")


def forget_peak(pid: int) -> None:
    """Let the high-water mark start again from what is resident now; where we may not, it stays."""
    with contextlib.suppress(PermissionError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def usage(processes: Iterable[Watched]) -> dict[str, Usage]:
    """All of them, by label."""
    return {each.label: Usage(cpu_seconds(each.pid), peak_bytes(each.pid)) for each in processes}


def wait_quiet(processes: Iterable[Watched], *, share: float = 0.1, pause: float = 0.25, timeout: float = 20.0) -> bool:
    """Wait until all together use less than `share` of one core for `pause` seconds; whether they did in time."""
    pids = {each.pid for each in processes}
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        before, began = sum(map(cpu_seconds, pids)), time.monotonic()
        time.sleep(pause)
        if sum(map(cpu_seconds, pids)) - before < share * (time.monotonic() - began):
            return True
    return False


def children(pid: int) -> list[int]:
    """The processes that this one has started and not lost."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(each) for each in (task / "children").read_text().split()]
    return found


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no {field}")

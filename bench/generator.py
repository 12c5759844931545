"""One load generator as a child process, spoken to in lines of JSON (see load.py for its side)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .watch import Usage, Watched, forget_peak, usage
from .ways import Way

ROOT = Path(__file__).resolve().parents[1]
END_S = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """One cell of a table: a workload on some connections, for a time or a number of operations."""

    workload: str
    connections: int
    seconds: float | None = None
    operations: int | None = None

    @property
    def name(self) -> str:
        """The key in the results."""
        return f"{self.workload}/{self.connections}"


class GeneratorFailedError(Exception):
    """A load generator ended early or said something else than was due; the message is the end of its log."""


class Generator:
    """The load generator of one way; a context manager."""

    def __init__(self, way: Way, folder: Path) -> None:
        self.way = way
        self._log = folder / f"load-{way.name}.log"
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "bench.load"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                text=True,
            )
        self._say(asdict(way.target))

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *_: object) -> None:
        """End it: its loop ends with its input."""
        with contextlib.suppress(BrokenPipeError):
            self._child.communicate(timeout=END_S)
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def run(self, job: Job) -> dict[str, Any]:
        """One measurement: times, and what each process of the way used meanwhile."""
        watched = self.way.processes
        for each in watched:
            forget_peak(each.pid)
        self._say(asdict(job))
        self._hear("begin")
        before = usage(watched)
        self._say({"event": "go"})
        answer = self._hear("done")
        answer["processes"] = used(watched, before, usage(watched), answer["count"])
        return answer

    def _say(self, document: dict[str, Any]) -> None:
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `_hear` tells why
            self._child.stdin.write(json.dumps(document) + "\n")
            self._child.stdin.flush()

    def _hear(self, event: str) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"event": "end"}
        if found.pop("event") != event:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])
            raise GeneratorFailedError(f"The load generator of {self.way.name} failed: {line}{tail}")
        return found


def used(
    watched: Sequence[Watched], before: dict[str, Usage], after: dict[str, Usage], operations: int
) -> dict[str, dict[str, float]]:
    """CPU time per operation and the peak of memory, by process."""
    return {
        each.label: {
            "cpu_us": (after[each.label].cpu_s - before[each.label].cpu_s) / max(operations, 1) * 1e6,
            "cpu_s": after[each.label].cpu_s - before[each.label].cpu_s,
            "peak_mib": after[each.label].peak_bytes / 1024**2,
        }
        for each in watched
    }

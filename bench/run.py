"""`make bench`: what wardgate costs, beside no proxy and beside HAProxy doing nothing but the same hops.

All ways are up at the same time and measured in turns: in every round each workload runs on each way, every round
begins with another way, and what is reported is the median of the rounds, so that a noisy minute hits all alike. No
measurement begins before what the one before left to do is done (records on their way to the control plane, MongoDB's
checkpoint). The load generator is one process a way (load.py); the spool, MongoDB's data and every log lie in one
folder on a real disk (`bench/.work`, or WARDGATE_BENCH_DIR). Everything is started by us and ended by its own pid.

    python -m bench [--quick] [--rounds N] [--ways direct,haproxy,wardgate]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wardgate.errors import WardgateError
from wardgate.testing import servers

from . import report, ways
from .facts import ROOT, facts
from .generator import Generator, GeneratorFailedError, Job
from .spool import raw
from .watch import wait_quiet

RESULTS = ROOT / "bench" / "results"
NAMES = ("direct", "haproxy", "wardgate", *ways.LIGHTER)
DEFAULT_WAYS = NAMES
ROUNDS = 5
SYNCS = 500
FULL = (
    Job("small_find", 1, seconds=2.0),
    Job("small_find", 16, seconds=2.0),
    Job("thousand_find", 1, seconds=2.0),
    Job("thousand_find", 16, seconds=2.0),
    Job("thousand_find_zstd", 1, seconds=2.0),
    Job("thousand_find_zstd", 16, seconds=2.0),
    Job("big_find", 1, operations=16),
    Job("big_find", 16, operations=32),
    Job("big_insert", 1, operations=8),
    Job("big_insert", 16, operations=32),
    Job("huge_insert", 1, operations=4),
    Job("connect", 1, operations=50),
    Job("connect_apart", 1, operations=40),
)
QUICK = (
    Job("small_find", 1, seconds=0.3),
    Job("small_find", 16, seconds=0.3),
    Job("thousand_find", 1, seconds=0.3),
    Job("thousand_find", 16, seconds=0.3),
    Job("thousand_find_zstd", 1, seconds=0.3),
    Job("thousand_find_zstd", 16, seconds=0.3),
    Job("big_find", 1, operations=2),
    Job("big_find", 16, operations=16),
    Job("big_insert", 1, operations=2),
    Job("big_insert", 16, operations=16),
    Job("huge_insert", 1, operations=1),
    Job("connect", 1, operations=5),
    Job("connect_apart", 1, operations=3),
)


@contextlib.contextmanager
def work_folder() -> Iterator[Path]:
    """A new folder on a real disk, removed at the end."""
    base = Path(os.environ.get("WARDGATE_BENCH_DIR") or ROOT / "bench" / ".work")
    base.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(names: list[str], jobs: tuple[Job, ...], rounds: int, folder: Path) -> dict[str, Any]:
    """Everything up, all rounds, everything down; the raw figures."""
    found: dict[str, Any] = {"facts": facts(folder), "rounds": []}
    with contextlib.ExitStack() as ends:
        deployment = ends.enter_context(ways.database(folder))
        generators = [
            ends.enter_context(Generator(way, folder))
            for way in ends.enter_context(ways.all_of(names, deployment, folder))
        ]
        watched = {each for generator in generators for each in generator.way.processes}
        for number in range(rounds):
            turn = generators[number % len(generators) :] + generators[: number % len(generators)]
            wait_quiet(watched)
            done: dict[str, Any] = {"fdatasync": raw(folder, SYNCS)}
            for job in jobs:
                for generator in turn:
                    _tell(f"round {number + 1}/{rounds}: {job.name} {generator.way.name}")
                    wait_quiet(watched)
                    done.setdefault(job.name, {})[generator.way.name] = generator.run(job)
                if job.workload.endswith("_insert"):
                    ways.drop_inserts(deployment)
            found["rounds"].append(done)
    _tell("")
    return found


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
    elif text:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()


def save(result: dict[str, Any], table: str) -> Path:
    """Raw figures and medians as JSON by date and commit; the table as latest.md."""
    RESULTS.mkdir(exist_ok=True)
    about = result["facts"]
    path = RESULTS / f"{about['at'][:10]}-{about['commit']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "latest.md").write_text(table)
    return path


def main() -> int:
    """Run and print; 1 with a sentence if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round, which saves nothing: does it work?")
    parser.add_argument("--rounds", type=int, default=None, help=f"medians of so many rounds (default {ROUNDS})")
    parser.add_argument("--ways", default=",".join(DEFAULT_WAYS), help=f"some of {', '.join(NAMES)}")
    asked = parser.parse_args()
    names = asked.ways.split(",")
    if unknown := set(names) - set(NAMES):
        parser.error(f"there is no way {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if "haproxy" in names and servers.find(servers.HAPROXY) is None:
        sys.stderr.write(f"without the yardstick: {servers.ServerMissingError(servers.HAPROXY).message}\n")
        names.remove("haproxy")
    rounds = asked.rounds or (1 if asked.quick else ROUNDS)
    try:
        with work_folder() as folder:
            result = measure(names, QUICK if asked.quick else FULL, rounds, folder)
    except (WardgateError, GeneratorFailedError) as error:
        sys.stderr.write(f"\nerror: {error}\n")
        return 1
    result["medians"] = report.medians(result["rounds"])
    table = report.table(result)
    print(table)
    if not asked.quick:
        print(f"Saved as {save(result, table).relative_to(ROOT)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make torture`: kills, elections and outages under load, minutes long, with a printed seed.

    python -m torture [--seed N] [--only NAME …] [--ways pymongo-members,…] [--seconds N] [--kills N] [--untimed]

What goes wrong is said as it is found; the report (a table and all findings) is printed at the end, that of a whole run
also written to torture/results/. Exit status 1 if anything was wrong. Timings mean something on a quiet machine only:
`--untimed` judges nothing by the clock.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from wardgate.errors import WardgateError
from wardgate.testing.mongo import RS1

from . import report
from .elections import outage
from .faults import OF_ONE, OF_THREE, Fault
from .kills import gateway_kills, proxy_kill, relay_kills
from .sockets import client_killed, many_sockets, session_ended
from .stall import STALLS, shimmed
from .world import DRIVERS, ROUTES, World

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(slots=True)
class Run:
    """What the caller asked for, and where we are."""

    seed: int
    dice: random.Random
    folder: Path
    names: list[str]  # of ways
    seconds: float
    kills: int
    timed: bool
    pause: float

    @property
    def drivers(self) -> list[str]:
        return [each for each in DRIVERS if any(name.startswith(each) for name in self.names)]

    def ways(self, world: World) -> list[Any]:
        return [way for way in world.ways() if way.name in self.names]


Trial = Callable[[Run], list[dict[str, Any]]]


def _elections(faults: Sequence[Fault], up: Callable[[Path], AbstractContextManager[World]]) -> dict[str, Trial]:
    """Each fault is a trial, in a world of its own."""

    def trial(fault: Fault) -> Trial:
        def run(asked: Run) -> list[dict[str, Any]]:
            folder = asked.folder / fault.name
            with up(folder) as world:
                lines = outage(
                    world, fault, asked.ways(world), folder, seconds=asked.seconds, timed=asked.timed, pause=asked.pause
                )
            return [line.row() for line in lines]

        return run

    return {fault.name: trial(fault) for fault in faults}


def _killing(work: Callable[[Path, random.Random, int], list[dict[str, Any]]], share: float) -> Trial:
    """A trial of kills.py; `share` of the asked kills."""
    return lambda asked: work(asked.folder / work.__name__, asked.dice, max(1, round(asked.kills * share)))


def _timed(work: Callable[[Path, bool], list[dict[str, Any]]]) -> Trial:
    """A trial of sockets.py."""
    return lambda asked: work(asked.folder / work.__name__, asked.timed)


TRIALS: dict[str, Trial] = {
    **_elections(OF_THREE, World.up),
    **_elections(OF_ONE, lambda folder: World.up(folder, RS1)),
    **_elections(STALLS, shimmed),
    "many-sockets": _timed(many_sockets),
    "client-killed": _timed(client_killed),
    "session-ended": _timed(session_ended),
    "gateway-kills": _killing(gateway_kills, 1.0),
    "relay-kills": _killing(relay_kills, 0.2),
    "proxy-kill": _killing(proxy_kill, 0.0),
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torture", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=None, help="repeats the choices of a run (default: a new one)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this trial (may be repeated)")
    parser.add_argument("--ways", default=None, help="names of ways, with commas (default: all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each outage's load runs at least")
    parser.add_argument("--kills", type=int, default=30, help="how often the gateway is killed")
    parser.add_argument("--pause", type=float, default=0.1, help="of a worker between operations, in seconds")
    parser.add_argument("--untimed", action="store_true", help="judge nothing by the clock")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    return parser.parse_args()


def main() -> int:
    """Run what was asked for; 1 if anything was wrong."""
    arguments = _arguments()
    if arguments.list:
        sys.stdout.write("\n".join(TRIALS) + "\n")
        return 0
    unknown = [name for name in arguments.only if name not in TRIALS]
    if unknown:
        sys.stderr.write(f"There is no trial {unknown[0]}; there are {', '.join(TRIALS)}.\n")
        return 2
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1_000_000)
    sys.stderr.write(f"seed {seed}\n")
    folder = Path(tempfile.mkdtemp(prefix="wardgate-torture-"))
    names = arguments.ways.split(",") if arguments.ways else [f"{a}-{b}" for a in DRIVERS for b in ROUTES]
    run = Run(
        seed,
        random.Random(seed),
        folder,
        names,
        arguments.seconds,
        arguments.kills,
        not arguments.untimed,
        arguments.pause,
    )
    results = {name: _one(name, run) for name in (arguments.only or TRIALS)}
    wrong = report.wrong(results)
    table = report.table(results, seed)
    sys.stdout.write(table)
    _save(table, results, seed, whole=not arguments.only and arguments.ways is None)
    if wrong:
        sys.stderr.write(f"Everything is kept in {folder}.\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if wrong else 0


def _one(name: str, run: Run) -> list[dict[str, Any]]:
    started = time.monotonic()
    sys.stderr.write(f"{name} …\n")
    run.dice.seed(f"{run.seed}/{name}")  # the same choices whether it runs alone or not
    try:
        rows = TRIALS[name](run)
    except (WardgateError, PyMongoError, OSError, AssertionError) as error:
        traceback.print_exc()
        rows = [{"way": "-", "wrong": [f"the trial broke off: {error}"]}]
    sys.stderr.write(f"{name}: {time.monotonic() - started:.0f} s\n")
    for row in rows:
        for each in row.get("wrong", ()):
            sys.stderr.write(f"  {row['way']}: {each}\n")
    return rows


def _save(table: str, results: dict[str, Any], seed: int, *, whole: bool) -> None:
    """A whole run becomes latest.md; a part of it is printed only."""
    if whole:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "latest.md").write_text(table)
        (RESULTS / f"{time.strftime('%Y-%m-%d')}-{seed}.json").write_text(json.dumps(results, indent=1) + "\n")

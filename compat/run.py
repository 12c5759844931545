"""`make compat`: every client's list, directly and through wardgate, on every deployment, compared row by row.

One control plane, one relay and one gateway serve all deployments; these run beside each other, and on each of them
one list at a time, because fail points are the server's. Directly and through, the same MongoDB user works; through
wardgate nobody names one. What is found is kept by list (`compat/.work/results.json`): a run of some lists replaces
theirs, and docs/compatibility.md is written from all.

    python -m compat [--deployments rs1,rs3] [--clients pymongo,"Node driver 7"] [--views plain] [--rows CRUD]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import grounds, report, views
from .clients import ROOT, Client, all_clients, environment, named
from .compare import Cell, Verdict, judge, missing, relabel
from .grounds import GROUNDS, Ground
from .known import DIFFERENCES, REAL_NAMES
from .views import View

DOCS = ROOT / "docs" / "compatibility.md"
KEPT = ROOT / "compat" / ".work" / "results.json"
LIST_S = 900
AT_ONCE = 3  # deployments: rows that wait for deadlines would measure a busier machine

Key = tuple[str, str, str]

_one_at_a_time = threading.Lock()


def run_list(client: Client, uri: str, ground: Ground, rows: Sequence[str] | None) -> list[dict[str, Any]]:
    """One list once: what its program printed, the version line apart."""
    home = Path(tempfile.mkdtemp(dir=ground.folder))
    asked = {"uri": uri, "admin_uri": ground.admin_uri, "async": client.is_async, "rows": rows}
    late = contextlib.suppress(subprocess.TimeoutExpired)
    with (home / "stdout").open("wb") as out, (home / "stderr").open("wb") as err, late:
        subprocess.run(
            client.argv(asked, home),
            cwd=ROOT,
            env=environment(client, home),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            timeout=LIST_S,
            check=False,
        )
    said = [json.loads(line) for line in (home / "stdout").read_text(errors="replace").splitlines() if line[:1] == "{"]
    if not said or "version" not in said[0]:
        tail = "".join((home / name).read_text(errors="replace")[-2_000:] for name in ("stderr", "stdout"))
        raise RuntimeError(f"{client.name} did not start:\n{tail}")
    if client.version and not said[0]["version"].startswith(client.version):
        raise RuntimeError(f"{client.name} is {said[0]['version']}: {client.name} was not installed")
    return said[1:]


def compare_lists(client: Client, view: View, ground: Ground, rows: Sequence[str] | None) -> list[Cell]:
    """Direct and through, row by row, in the order of the list."""
    uri = views.direct_uri(view, ground)
    key = (client.name, uri, json.dumps(rows))
    if key not in ground.cache:
        ground.cache[key] = run_list(client, uri, ground, rows)
    direct = {each["row"]: each for each in ground.cache[key]}
    through = {each["row"]: each for each in run_list(client, views.our_uri(view, ground), ground, rows)}
    plain, ours = ground.direct_labels(), ground.our_labels()
    cells = []
    for row in [*direct, *(each for each in through if each not in direct)]:
        if row not in direct or row not in through:
            cells.append(missing(row, "directly" if row not in direct else "through wardgate"))
            continue
        here = relabel(direct[row], plain)
        here["expected"] = views.has_to_work(here.get("needs", "any"), view, ground)
        there = relabel(through[row], {**plain, **ours} if row.startswith(REAL_NAMES) else ours)
        cells.append(judge(client.name, here, there, DIFFERENCES))
    return cells


def run_ground(
    ground: Ground, clients: Sequence[Client], wanted: list[str], rows: Sequence[str] | None
) -> dict[Key, list[Cell]]:
    """Everything on one deployment; each list is kept when it is done, so that an interrupted run is not lost."""
    found: dict[Key, list[Cell]] = {}
    for client in clients:
        for view in views.chosen(wanted):
            if not (view.whole or client.newest) or not views.fits(view, client, ground):
                continue
            key = (client.name, ground.name, view.name)
            if client.why_not is not None:
                found[key] = [Cell("", Verdict.NOT_RUN, (client.why_not,))]
                continue
            only = views.rows_of(view, client, ground) if rows is None else rows
            try:
                found[key] = compare_lists(client, view, ground, only)
            except RuntimeError as error:
                found[key] = [Cell("(start)", Verdict.DIFFERS, (str(error),))]
            with _one_at_a_time:
                sys.stderr.write(report.progress(key, found[key]) + "\n")
                sys.stderr.flush()
                keep({key: found[key]}, some=rows is not None)
    return found


def run(
    names: Sequence[str],
    clients: Sequence[Client],
    wanted: list[str],
    rows: Sequence[str] | None,
    at_once: int = AT_ONCE,
) -> dict[Key, list[Cell]]:
    """Everything up, everything compared, everything down."""
    folder = Path(tempfile.mkdtemp(prefix="wardgate-compat-"))
    try:
        with grounds.opened(list(names), folder) as open_ones, ThreadPoolExecutor(at_once) as pool:
            parts = pool.map(lambda ground: run_ground(ground, clients, wanted, rows), open_ones)
            return {key: cells for part in parts for key, cells in part.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(results: dict[Key, list[Cell]], *, some: bool = False) -> dict[Key, list[Cell]]:
    """These and what earlier runs found of other lists, in the order of clients and deployments. With `some` rows, the
    others of a list that ran before stay; a list that never ran whole is not kept."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else []
    known: dict[Key, list[Cell]] = {tuple(each["key"]): report.cells_of(each["cells"]) for each in kept}
    if some:
        results = {key: _with(known[key], cells) for key, cells in results.items() if key in known}
    known |= results
    order = [each.name for each in all_clients()], list(GROUNDS), [each.name for each in views.VIEWS]
    merged: dict[Key, list[Cell]] = {}
    for client in order[0]:
        for ground in order[1]:
            for view in order[2]:
                if (client, ground, view) in known:
                    merged[client, ground, view] = known[client, ground, view]
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    saved = [{"key": key, "cells": report.saved(cells)} for key, cells in merged.items()]
    KEPT.write_text(json.dumps(saved, ensure_ascii=False) + "\n")
    return merged


def _with(cells: Sequence[Cell], newer: Sequence[Cell]) -> list[Cell]:
    """A list with those rows replaced that ran again."""
    again = {cell.row: cell for cell in newer}
    return [again.get(cell.row, cell) for cell in cells]


def page(results: dict[Key, list[Cell]]) -> str:
    """The page of these results; a client that has not run on a deployment is shown as such."""
    never = [Cell("", Verdict.NOT_RUN, ("no run of it is kept here",))]
    first = views.VIEWS[0].name
    whole: dict[Key, list[Cell]] = {}
    for client in all_clients():
        for ground in GROUNDS:
            found = {key: cells for key, cells in results.items() if key[:2] == (client.name, ground)}
            whole |= found or {(client.name, ground, first): never}
    return report.document(whole, suites(), specifications())


def suites() -> dict[str, Any]:
    """What the last runs of compat.suite found."""
    found = sorted((KEPT.parent / "suite").glob("*/summary.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def specifications() -> dict[str, Any]:
    """What the last runs of compat.specs found."""
    found = sorted((KEPT.parent / "specs").glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in found}


def main() -> int:
    """1 if a row differs without a reason, or could not work where it has to."""
    parser = argparse.ArgumentParser(prog="python -m compat", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--deployments", default=",".join(GROUNDS))
    parser.add_argument("--clients", default="", help="families or names, separated by commas")
    parser.add_argument("--views", default="", help="names of views, separated by semicolons")
    parser.add_argument("--rows", default="", help="beginnings of row names, separated by semicolons")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="deployments that are tried beside each other")
    asked = parser.parse_args()
    clients = named(all_clients(), [each for each in asked.clients.split(",") if each])
    rows = [each for each in asked.rows.split(";") if each] or None
    wanted = [each for each in asked.views.split(";") if each]
    results = run(asked.deployments.split(","), clients, wanted, rows, asked.at_once)
    print(report.terminal(results))
    DOCS.write_text(page(keep(results, some=rows is not None)), encoding="utf-8")
    print(f"Written: {DOCS.relative_to(ROOT)}.")
    return 1 if report.bad(results) else 0


if __name__ == "__main__":
    sys.exit(main())

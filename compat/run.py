"""`make compat`: every client's list, directly and through wardgate, on every deployment, compared row by row.

One control plane, one relay and one gateway serve all deployments; these run beside each other, and on each of them
one list at a time, because fail points are the server's. Directly and through, the same MongoDB user works; through
wardgate nobody names one.

    python -m compat [--deployments rs1,rs3] [--clients pymongo,"Node driver 7"] [--views plain] [--rows CRUD]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wardgate.testing.mongo import Login, MongoDeployment
from wardgate.testing.stack import Access, Stack

from . import report, views
from .clients import ROOT, Client, all_clients, environment, named
from .compare import Cell, Verdict, judge, missing, relabel
from .known import DIFFERENCES
from .views import DEPLOYMENTS, View

DOCS = ROOT / "docs" / "compatibility.md"
LIST_S = 900
RESOURCE_NEEDS = {"any": 0, "set": 1, "replica": 1, "many": 2}
ACCOUNT = "rw"


@dataclass(slots=True)
class Ground:
    """One deployment with the session that leads to it."""

    name: str
    deployment: MongoDeployment
    access: Access
    folder: Path
    direct_labels: dict[str, str]
    our_labels: dict[str, str]
    cache: dict[tuple[str, str, str], list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def level(self) -> int:
        """What rows may need of it."""
        if self.deployment.shape.set_name is None:
            return 0
        return 1 if len(self.deployment.members) == 1 else 2


@contextlib.contextmanager
def _folder() -> Any:
    folder = Path(tempfile.mkdtemp(prefix="wardgate-compat-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _logins() -> dict[str, Login]:
    """Letters and digits only: Debian's libmongoc can't log in with other passwords (directly, that is)."""
    return {name: Login(name, secrets.token_hex(12)) for name in ("root", "rw", "ro")}


def run_list(client: Client, uri: str, ground: Ground, rows: Sequence[str] | None) -> list[dict[str, Any]]:
    """One list once: what its program printed, the version line apart."""
    home = Path(tempfile.mkdtemp(dir=ground.folder))
    admin = ground.deployment.uri(ground.deployment.root)
    asked = {"uri": uri, "admin_uri": admin, "async": client.is_async, "rows": rows}
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
        tail = (home / "stderr").read_text(errors="replace")[-2_000:] + (home / "stdout").read_text(errors="replace")[
            -500:
        ]
        raise RuntimeError(f"{client.name} did not start:\n{tail}")
    if client.version and not said[0]["version"].startswith(client.version):
        raise RuntimeError(f"{client.name} is {said[0]['version']}: {client.name} was not installed")
    return said[1:]


def compare_lists(client: Client, view: View, ground: Ground, rows: Sequence[str] | None) -> list[Cell]:
    """Direct and through, row by row, in the order of the list."""
    uri = views.direct_uri(view, client, ground.deployment, ground.deployment.rw)
    key = (client.name, uri, json.dumps(rows))
    if key not in ground.cache:
        ground.cache[key] = run_list(client, uri, ground, rows)
    direct = {each["row"]: each for each in ground.cache[key]}
    through = {each["row"]: each for each in run_list(client, views.our_uri(view, ground.access), ground, rows)}
    cells = []
    for row in [*direct, *(each for each in through if each not in direct)]:
        if row not in direct or row not in through:
            cells.append(missing(row, "directly" if row not in direct else "through wardgate"))
            continue
        here = relabel(direct[row], ground.direct_labels)
        needs = RESOURCE_NEEDS[here.get("needs", "any")]
        here["expected"] = needs <= ground.level and not view.options
        there = relabel(through[row], ground.our_labels)
        cells.append(judge(client.name, here, there, DIFFERENCES))
    return cells


def run_ground(
    ground: Ground, clients: Sequence[Client], wanted: list[str], rows: Sequence[str] | None
) -> dict[tuple[str, str, str], list[Cell]]:
    """Everything on one deployment."""
    found: dict[tuple[str, str, str], list[Cell]] = {}
    for client in clients:
        for view in views.chosen(wanted):
            if not (view.whole or client.newest) or not views.fits(view, client, ground.deployment):
                continue
            key = (client.name, ground.name, view.name)
            if client.why_not is not None:
                found[key] = [Cell("", Verdict.NOT_RUN, (client.why_not,))]
                continue
            only = rows
            if only is None and not view.whole:
                only = [*views.CORE_WORDS]
            try:
                found[key] = compare_lists(client, view, ground, only)
            except RuntimeError as error:
                found[key] = [Cell("(start)", Verdict.DIFFERS, (str(error),))]
            _say(report.progress(key, found[key]))
    return found


_printing = threading.Lock()


def _say(text: str) -> None:
    with _printing:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def run(
    names: Sequence[str], clients: Sequence[Client], wanted: list[str], rows: Sequence[str] | None
) -> report.Results:
    """Everything up, everything compared, everything down."""
    with contextlib.ExitStack() as ends:
        folder = ends.enter_context(_folder())
        stack = ends.enter_context(Stack(folder / "stack"))
        stack.up()
        grounds = []
        for name in names:
            deployment = ends.enter_context(MongoDeployment(DEPLOYMENTS[name], logins=_logins()))
            stack.add_resource(name, deployment)
            stack.add_account(ACCOUNT, name, deployment.rw)
            access = stack.access(name, ACCOUNT, "12h")
            labels = views.direct_labels(deployment), views.our_labels(deployment, access)
            (folder / name).mkdir()
            grounds.append(Ground(name, deployment, access, folder / name, *labels))
        with ThreadPoolExecutor(max_workers=len(grounds)) as pool:
            parts = pool.map(lambda ground: run_ground(ground, clients, wanted, rows), grounds)
            return {key: cells for part in parts for key, cells in part.items()}


def main() -> int:
    """1 if a row differs without a reason, or could not work where it has to."""
    parser = argparse.ArgumentParser(prog="python -m compat", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--deployments", default=",".join(DEPLOYMENTS))
    parser.add_argument("--clients", default="", help="families or names, separated by commas")
    parser.add_argument("--views", default="", help="names of views, separated by semicolons")
    parser.add_argument("--rows", default="", help="beginnings of row names, separated by semicolons")
    parser.add_argument("--no-docs", action="store_true", help="do not write docs/compatibility.md")
    asked = parser.parse_args()
    clients = named(all_clients(), [each for each in asked.clients.split(",") if each])
    rows = [each for each in asked.rows.split(";") if each] or None
    wanted = [each for each in asked.views.split(";") if each]
    results = run(asked.deployments.split(","), clients, wanted, rows)
    print(report.terminal(results))
    whole = not (asked.clients or asked.views or asked.rows) and set(asked.deployments.split(",")) == set(DEPLOYMENTS)
    if whole and not asked.no_docs:
        DOCS.write_text(report.document(results), encoding="utf-8")
        print(f"Written: {DOCS.relative_to(ROOT)}.")
    return 1 if report.bad(results) else 0


if __name__ == "__main__":
    sys.exit(main())

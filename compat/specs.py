"""The specifications' unified tests with the Node driver, directly and through wardgate, on one mongod, compared.

The driver's own repository runs these same files; its tests are in no registry, the files come with PyMongo's. Nothing
is judged against what a file expects: what the driver returned, threw and reported directly is what it has to return,
throw and report through wardgate. The mongod runs without authorization, as for `suite`; with `--login` it has some,
and the driver logs in on both sides: to MongoDB directly, with the session's password through wardgate. What differs
runs again, alone and both ways, because many of these tests are about time.

    python -m compat.specs [--standalone|--login] [--folders crud,sessions]     (tools/setup-compat fetches the files)
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from wardgate.testing.mongo import RS1, STANDALONE, MongoDeployment, Shape
from wardgate.testing.stack import Stack

from .clients import ROWS, SETUP, TOOLS, Client, environment, node
from .compare import Cell, Verdict, judge, missing, relabel
from .known import SPECIFICATIONS

AGAIN: Final = 2
SHOWN: Final = 6  # differences of a test
FOLDER_S: Final = 1_800
FOLDERS: Final = (
    "causal_consistency", "change_streams", "collection_management", "command_logging", "command_monitoring", "crud",
    "csot", "discovery_and_monitoring", "gridfs", "index_management", "read_write_concern", "retryable_reads",
    "retryable_writes", "run_command", "sessions", "transactions", "transactions-convenient-api",
    "unified-test-format/valid-pass", "versioned-api",
)  # fmt: skip

SHAPES: Final = {
    "rs1": replace(RS1, auth=False, tls=False),
    "standalone": replace(STANDALONE, auth=False, tls=False),
    "login": replace(RS1, tls=False),
}

Account = dict[str, dict[str, Any]]


def spec_files(source: Path, folder: str) -> list[tuple[str, str]]:
    """(name, path) of the unified test files in a folder."""
    found = []
    for path in sorted((source / "test" / folder).rglob("*.json")):
        content = json.loads(path.read_text())
        if isinstance(content, dict) and "schemaVersion" in content and "tests" in content:
            found.append((str(path.relative_to(source / "test")).removesuffix(".json"), str(path)))
    return found


@dataclass(frozen=True, slots=True)
class Side:
    """One way to the deployment, and the names of the addresses that are seen on it."""

    client: Client
    uri: str
    topology: str
    auth: bool
    labels: Mapping[str, str]

    def account(self, files: Sequence[tuple[str, str]], rows: Sequence[str] | None = None) -> Account:
        """What happened, by test."""
        asked = json.dumps(
            {"uri": self.uri, "topology": self.topology, "auth": self.auth, "files": files, "rows": rows}
        )
        with tempfile.TemporaryDirectory(prefix="wardgate-specs-") as name:
            home = Path(name)
            late = contextlib.suppress(subprocess.TimeoutExpired)
            with (home / "stdout").open("wb") as out, (home / "stderr").open("wb") as err, late:
                program = [*self.client.argv({}, home)[:-2], ROWS / "node" / "specs.cjs", asked]
                env = environment(self.client, home)
                subprocess.run(program, env=env, stdout=out, stderr=err, timeout=FOLDER_S, check=False)
            lines = (home / "stdout").read_text(errors="replace").splitlines()
            said = [json.loads(line) for line in lines if line[:1] == "{"]
            if not said or "version" not in said[0]:
                raise RuntimeError(f"{self.client.name} did not start:\n{(home / 'stderr').read_text()[-2_000:]}")
        return {each["row"]: relabel(each, self.labels) for each in said[1:]}


def compare(direct: Side, through: Side, files: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Counts, and every test that differs: by name, with the first differences, or with the reason."""
    plain = direct.account(files)
    cells = differing(plain, through.account(files))
    first = len(cells)
    for _ in range(AGAIN):
        again = [row for row, cell in cells.items() if cell.verdict is Verdict.DIFFERS]
        if not again:
            break
        known = {row: cell for row, cell in cells.items() if row not in again}
        cells = known | differing(direct.account(files, again), through.account(files, again))
    ran = [each for each in plain.values() if "absent" not in each]
    # Alike, but not what the file says of it: no result that could be called the same.
    odd = [each for each in ran if each["row"] not in cells and ("error" in each or "unexpected" in each)]
    return {
        "same": len(ran) - len(cells) - len(odd),
        "known": {row: list(cell.reasons) for row, cell in cells.items() if cell.verdict is Verdict.KNOWN},
        "neither": {each["row"]: each.get("unexpected", each.get("error")) for each in odd},
        "absent": len(plain) - len(ran),
        "again": first - len(cells),
        "differ": {
            row: list(cell.differences[:SHOWN]) for row, cell in cells.items() if cell.verdict is Verdict.DIFFERS
        },
    }


def differing(plain: Account, ours: Account) -> dict[str, Cell]:
    """The tests that are not the same, for a reason or without one."""
    found: dict[str, Cell] = {}
    for row, here in plain.items():
        if row not in ours:
            found[row] = missing(row, "through wardgate")
            continue
        cell = judge("Node driver", here, ours[row], SPECIFICATIONS)
        if cell.verdict in (Verdict.DIFFERS, Verdict.KNOWN):
            found[row] = cell
    return found


@contextlib.contextmanager
def sides(stack: Stack, shape: Shape) -> Iterator[tuple[Side, Side]]:
    """A deployment with the ways to it: direct, and through wardgate."""
    client = list(node())[-1]
    topology = "single" if shape.set_name is None else "replicaset"
    with MongoDeployment(shape) as deployment:
        root, member = deployment.root, deployment.members[0]
        if not shape.auth:
            deployment.create_login(root, ["root"])
        stack.add_resource("db", deployment)
        stack.add_account("root", "db", root, "--allow-admin")
        access = stack.access("db", "root", "12h", *(["--local-auth"] if shape.auth else []))
        user = f"{quote(root.username, safe='')}:{quote(root.password, safe='')}@" if shape.auth else ""
        ours = {each["address"]: "member0" for each in access.members} | {f"127.0.0.1:{access.port}": "member0"}
        yield (
            Side(client, f"mongodb://{user}{member.address}/", topology, shape.auth, {member.address: "member0"}),
            Side(client, access.uri, topology, shape.auth, ours),
        )


def run(source: Path, work: Path, name: str, folders: Sequence[str]) -> int:
    """Everything up, the folders both ways; how many tests differ. `name` is of SHAPES."""
    results = work / f"{name}.json"
    work.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    with Stack(work / f"stack-{os.getpid()}") as stack:
        stack.up()
        with sides(stack, SHAPES[name]) as (direct, through):
            for folder in folders:
                kept[folder] = found = compare(direct, through, spec_files(source, folder))
                results.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
                sys.stdout.write("\n".join(lines(folder, found)) + "\n")
                sys.stdout.flush()
    return sum(len(each["differ"]) for each in kept.values())


def lines(folder: str, found: Mapping[str, Any]) -> Iterator[str]:
    """What is said of a folder on the terminal."""
    figures = (f"{len(each) if isinstance(each, dict) else each} {name}" for name, each in found.items())
    yield f"{folder}: {', '.join(figures)}"
    for name, differences in found["differ"].items():
        yield f"    {name}"
        yield from (f"        {each}" for each in differences)


def main() -> int:
    """1 if a test differs."""
    parser = argparse.ArgumentParser(prog="python -m compat.specs", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--source", type=Path, default=TOOLS / "suite", help="where PyMongo's tests are")
    parser.add_argument("--work", type=Path, default=Path("compat/.work/specs"), help="where results go")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--standalone", action="store_true", help="on a standalone instead of a one-member set")
    which.add_argument("--login", action="store_true", help="on a set of one member that demands a login")
    parser.add_argument("--folders", default=",".join(FOLDERS), help="folders of the specifications")
    asked = parser.parse_args()
    if not (asked.source / "test" / "crud").is_dir():
        parser.error(f"{asked.source} has no tests: {SETUP}")
    folders = [each for each in asked.folders.split(",") if each]
    name = "standalone" if asked.standalone else "login" if asked.login else "rs1"
    return 1 if run(asked.source.resolve(), asked.work.resolve(), name, folders) else 0


if __name__ == "__main__":
    sys.exit(main())

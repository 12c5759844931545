"""The specifications' unified tests with the Node driver, directly and through wardgate, on one mongod, compared.

The driver's own repository runs these same files; its tests are in no registry, the files come with PyMongo's. Nothing
is judged against what a file expects: what the driver returned, threw and reported directly is what it has to return,
throw and report through wardgate. The mongod runs without authorization, as for `suite`. What differs runs again, alone
and both ways, because many of these tests are about time.

    python -m compat.specs [--standalone] [--folders crud,sessions]     (tools/setup-compat fetches the files)
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from wardgate.testing.mongo import RS1, STANDALONE, MongoDeployment
from wardgate.testing.stack import Stack

from .clients import ROWS, SETUP, TOOLS, Client, environment, node
from .compare import Verdict, judge, relabel
from .known import DIFFERENCES

AGAIN: Final = 2
FOLDER_S: Final = 1_800
FOLDERS: Final = (
    "causal_consistency", "change_streams", "collection_management", "command_logging", "command_monitoring", "crud",
    "csot", "discovery_and_monitoring", "gridfs", "index_management", "read_write_concern", "retryable_reads",
    "retryable_writes", "run_command", "sessions", "transactions", "transactions-convenient-api",
    "unified-test-format/valid-pass", "versioned-api",
)  # fmt: skip

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
    labels: Mapping[str, str]

    def account(self, files: Sequence[tuple[str, str]], rows: Sequence[str] | None = None) -> Account:
        """What happened, by test."""
        asked = json.dumps({"uri": self.uri, "topology": self.topology, "files": files, "rows": rows})
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
    """Counts, and every test that differs: by name, with the first differences."""
    plain = direct.account(files)
    differing = _differing(plain, through.account(files))
    first = len(differing)
    for _ in range(AGAIN):
        if not differing:
            break
        names = list(differing)
        differing = _differing(direct.account(files, names), through.account(files, names))
    ran = [each for each in plain.values() if "absent" not in each]
    # Alike, but not what the file says of it: no result that could be called the same.
    odd = [each for each in ran if each["row"] not in differing and ("error" in each or "unexpected" in each)]
    return {
        "same": len(ran) - len(differing) - len(odd),
        "neither": {each["row"]: each.get("unexpected", each.get("error")) for each in odd},
        "absent": len(plain) - len(ran),
        "again": first - len(differing),
        "differ": differing,
    }


def _differing(plain: Account, ours: Account) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row, here in plain.items():
        if row not in ours:
            found[row] = ["not reported through wardgate"]
            continue
        cell = judge("Node specifications", here, ours[row], DIFFERENCES)
        if cell.verdict is Verdict.DIFFERS:
            found[row] = list(cell.differences[:6])
    return found


def run(source: Path, work: Path, *, standalone: bool, folders: Sequence[str]) -> int:
    """Everything up, the folders both ways; how many tests differ."""
    client = list(node())[-1]
    shape = replace(STANDALONE if standalone else RS1, auth=False, tls=False)
    results = work / f"{'standalone' if standalone else 'rs1'}.json"
    work.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    topology = "single" if standalone else "replicaset"
    with MongoDeployment(shape) as deployment, Stack(work / f"stack-{os.getpid()}") as stack:
        deployment.create_login(deployment.root, ["root"])
        stack.up()
        stack.add_resource("db", deployment)
        stack.add_account("root", "db", deployment.root, "--allow-admin")
        access = stack.access("db", "root", "12h")
        member = deployment.members[0]
        direct = Side(client, f"mongodb://{member.address}/", topology, {member.address: "member0"})
        ours = {each["address"]: "member0" for each in access.members} | {f"127.0.0.1:{access.port}": "member0"}
        through = Side(client, f"mongodb://127.0.0.1:{access.port}/", topology, ours)
        for folder in folders:
            kept[folder] = found = compare(direct, through, spec_files(source, folder))
            results.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
            figures = ", ".join(
                f"{len(each) if isinstance(each, dict) else each} {name}" for name, each in found.items()
            )
            sys.stdout.write(f"{folder}: {figures}\n")
            for name, lines in found["differ"].items():
                sys.stdout.write("".join(f"    {line}\n" for line in (name, *lines)))
            sys.stdout.flush()
    return sum(len(each["differ"]) for each in kept.values())


def main() -> int:
    """1 if a test differs."""
    parser = argparse.ArgumentParser(prog="python -m compat.specs", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--source", type=Path, default=TOOLS / "suite", help="where PyMongo's tests are")
    parser.add_argument("--work", type=Path, default=Path("compat/.work/specs"), help="where results go")
    parser.add_argument("--standalone", action="store_true", help="on a standalone instead of a one-member set")
    parser.add_argument("--folders", default=",".join(FOLDERS), help="folders of the specifications")
    asked = parser.parse_args()
    if not (asked.source / "test" / "crud").is_dir():
        parser.error(f"{asked.source} has no tests: {SETUP}")
    folders = [each for each in asked.folders.split(",") if each]
    return 1 if run(asked.source.resolve(), asked.work.resolve(), standalone=asked.standalone, folders=folders) else 0


if __name__ == "__main__":
    sys.exit(main())

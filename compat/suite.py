"""PyMongo's own tests, directly and through wardgate, on one mongod, compared test by test.

Their harness logs in by itself where it finds authorization switched on, which is nothing that a wardgate user does. So
the mongod runs without it: the direct tests need no password, and wardgate logs in as a superuser all the same. Files
run in small groups, first directly, then through; what is lost on the way runs again alone, because some of these
tests fail now and then without us. What is found is kept by file: a run of some files replaces theirs, and the summary
is of all.

Law: a test that passes directly neither fails nor is skipped through wardgate, or its name stands in SUITE_REASONS.

    python -m compat.suite [--standalone] [--missing] [FILE ...]     (tools/setup-compat fetches the tests)
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wardgate.testing.mongo import RS1, STANDALONE, MongoDeployment
from wardgate.testing.stack import Stack

from .clients import SETUP, TOOLS
from .known import SUITE_REASONS

FILE_TIMEOUT_S = 900
GROUP = 8  # files in one process: starting one takes longer than most files
TEST_TIMEOUT_S = 90
AGAIN = 2
# They ask for services that are not there, or for another driver than the one under test.
LEFT_OUT = (
    "test_auth_aws",
    "test_auth_oidc",
    "test_azure",
    "test_gcp",
    "test_kms",
    "test_ocsp",
    "test_typing",
    "qcheck",
)
# They bring servers of their own, or ask for machines that are not there.
FOLDERS_LEFT_OUT = frozenset({"atlas", "auth_aws", "mockupdb", "mod_wsgi_test", "performance"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one test ended: passed, failed or skipped, and why."""

    state: str
    reason: str = ""


Outcomes = Mapping[str, Outcome]


def read_report(path: Path) -> dict[str, Outcome]:
    """The outcomes in a JUnit report, by `file::Class::test`."""
    found: dict[str, Outcome] = {}
    for case in ET.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        outcome = Outcome("passed")
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = Outcome("failed", (child.get("message") or "")[:400])
            elif child.tag == "skipped":
                outcome = Outcome("skipped", (child.get("message") or "")[:200])
        found[name] = outcome
    return found


def lost(direct: Outcomes, through: Outcomes) -> dict[str, Outcome]:
    """What passes directly and does not pass through wardgate."""
    missing = Outcome("failed", "did not run")
    return {
        name: through.get(name, missing)
        for name, outcome in direct.items()
        if outcome.state == "passed" and through.get(name, missing).state != "passed"
    }


def reason(name: str) -> str | None:
    """Why this test may be lost, if it may."""
    return next((why for pattern, why in SUITE_REASONS.items() if re.fullmatch(pattern, name)), None)


def files(source: Path, chosen: Sequence[str]) -> Iterator[str]:
    """The test files to run, as paths below `source`."""
    if chosen:
        yield from chosen
        return
    for path in sorted((source / "test").rglob("test_*.py")):
        if not path.stem.startswith(LEFT_OUT) and path.parent.name not in FOLDERS_LEFT_OUT:
            yield str(path.relative_to(source))


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs files of the suite against one port."""

    source: Path
    results: Path
    label: str
    port: int

    def run(self, name: str, targets: Sequence[str]) -> dict[str, Outcome]:
        """The outcomes of files, or of some tests (`file::Class::test`), in one process; `name` is for its report."""
        report = self.results / f"{self.label}-{name}.xml"
        report.unlink(missing_ok=True)
        argv: list[str | Path] = [
            *(self.source / ".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"),
            *(f"--timeout={TEST_TIMEOUT_S}", f"--junitxml={report}", *targets),
        ]
        env = {**os.environ, "DB_IP": "127.0.0.1", "DB_PORT": str(self.port)}
        with (self.results / f"{self.label}-{name}.log").open("wb") as out:
            try:
                subprocess.run(
                    argv,
                    cwd=self.source,
                    env=env,
                    stdout=out,
                    stderr=out,
                    timeout=FILE_TIMEOUT_S * len(targets),
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return {}
        return read_report(report) if report.exists() else {}

    def files(self, group: Sequence[str]) -> dict[str, Outcomes]:
        """The outcomes by file. What one process could not finish runs in one for each file."""
        found = self.run(_module(group[0]), group)
        if not found and len(group) > 1:
            return {file: self.run(_module(file), [file]) for file in group}
        return {file: {name: each for name, each in found.items() if belongs(name, file)} for file in group}


def _module(file: str) -> str:
    """`test/test_x.py` as its tests are named."""
    return file.removesuffix(".py").replace("/", ".")


def belongs(name: str, file: str) -> bool:
    """Whether a test is of this file."""
    return name.startswith((f"{_module(file)}.", f"{_module(file)}::"))


def groups(wanted: Sequence[str], size: int = GROUP) -> Iterator[Sequence[str]]:
    """Neighbours, as long as they lie in one folder: each folder has a conftest of its own."""
    for _, folder in itertools.groupby(wanted, key=os.path.dirname):
        together = list(folder)
        yield from (together[start : start + size] for start in range(0, len(together), size))


def compare_group(direct: Runner, through: Runner, group: Sequence[str]) -> Iterator[tuple[str, Outcomes, Outcomes]]:
    """Each file's outcomes, direct and through; what is lost in it stays lost when it runs again both ways."""
    plain, ours = direct.files(group), through.files(group)
    for file in group:
        yield file, plain[file], settled(direct, through, file, plain[file], ours[file])


def settled(direct: Runner, through: Runner, file: str, plain: Outcomes, ours: Outcomes) -> Outcomes:
    """`ours`, with those tests passed that pass when they run again, or that fail directly then."""
    missing = lost(plain, ours)
    for _ in range(AGAIN):
        if not missing:
            break
        targets = [_selector(file, name) for name in missing]
        again = replace(direct, label="direct-again").run(_module(file), targets)
        missing = lost(
            {name: again.get(name, Outcome("failed")) for name in missing},
            replace(through, label="through-again").run(_module(file), targets),
        )
    return {**ours, **{name: missing.get(name, Outcome("passed")) for name in lost(plain, ours)}}


def _selector(file: str, name: str) -> str:
    """`test.test_x.TestClass::test_y` as pytest wants it."""
    classname, _, test = name.partition("::")
    inner = classname.removeprefix(_module(file)).strip(".")
    return "::".join([file, *inner.split("."), test] if inner else [file, test])


def count(outcomes: Outcomes) -> dict[str, int]:
    """How many passed, failed, skipped."""
    return {
        state: sum(outcome.state == state for outcome in outcomes.values()) for state in ("passed", "failed", "skipped")
    }


def found_in(file: str, plain: Outcomes, ours: Outcomes) -> dict[str, Any]:
    """What is kept of one file."""
    missing = lost(plain, ours)
    known = {name: why for name in missing if (why := reason(name)) is not None}
    for name, outcome in missing.items():
        _say(f"  {'known' if name in known else 'LOST'} {name}: {outcome.state} {known.get(name, outcome.reason)}")
    _say(f"{file}: direct {count(plain)} through {count(ours)}")
    return {
        "totals": {"direct": count(plain), "through": count(ours)},
        "lost": {name: f"{each.state}: {each.reason}" for name, each in missing.items() if name not in known},
        "known": known,
    }


def summary(kept: Mapping[str, Mapping[str, Any]], every: int) -> dict[str, Any]:
    """The sums of what is kept by file; `every` is how many files there are."""
    totals = {
        side: {
            state: sum(each["totals"][side][state] for each in kept.values())
            for state in ("passed", "failed", "skipped")
        }
        for side in ("direct", "through")
    }
    lost_tests = {name: why for each in kept.values() for name, why in each["lost"].items()}
    known = {name: why for each in kept.values() for name, why in each["known"].items()}
    return {"totals": totals, "lost": lost_tests, "known": known, "files": [len(kept), every]}


def run(source: Path, work: Path, *, standalone: bool, chosen: Sequence[str], missing_only: bool) -> int:
    """Everything up, the files both ways; how many tests of all that is kept are lost without a known reason."""
    shape = replace(STANDALONE if standalone else RS1, auth=False, tls=False)
    results = work / ("standalone" if standalone else "rs1")
    results.mkdir(parents=True, exist_ok=True)
    by_file = results / "files.json"
    kept: dict[str, dict[str, Any]] = json.loads(by_file.read_text()) if by_file.exists() else {}
    wanted = [file for file in files(source, chosen) if not (missing_only and file in kept)]
    every = len(list(files(source, ())))
    with MongoDeployment(shape) as deployment, Stack(work / f"stack-{os.getpid()}") as stack:
        deployment.create_login(deployment.root, ["root"])
        stack.up()
        stack.add_resource("db", deployment)
        stack.add_account("root", "db", deployment.root, "--allow-admin")
        access = stack.access("db", "root", "12h")
        direct = Runner(source, results, "direct", deployment.members[0].port)
        through = Runner(source, results, "through", access.port)
        for file, plain, ours in itertools.chain.from_iterable(
            compare_group(direct, through, group) for group in groups(wanted)
        ):
            kept[file] = found_in(file, plain, ours)
            by_file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
            (results / "summary.json").write_text(json.dumps(summary(kept, every), indent=1, ensure_ascii=False) + "\n")
    whole = summary(kept, every)
    _say(json.dumps(whole["totals"]))
    return len(whole["lost"])


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """1 if a test is lost without a reason."""
    parser = argparse.ArgumentParser(prog="python -m compat.suite", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--source", type=Path, default=TOOLS / "suite", help="PyMongo's tests, with a .venv beside them"
    )
    parser.add_argument("--work", type=Path, default=Path("compat/.work/suite"), help="where results and logs go")
    parser.add_argument("--standalone", action="store_true", help="on a standalone instead of a one-member set")
    parser.add_argument("--missing", action="store_true", help="only files of which no result is kept")
    parser.add_argument("files", nargs="*", help="test files below the source (default: all)")
    asked = parser.parse_args()
    if not (asked.source / ".venv/bin/python").exists():
        parser.error(f"{asked.source} has no tests with a .venv beside them: {SETUP}")
    lost_tests = run(
        asked.source.resolve(),
        asked.work.resolve(),
        standalone=asked.standalone,
        chosen=asked.files,
        missing_only=asked.missing,
    )
    return 1 if lost_tests else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a run of a driver's own tests says of wardgate."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compat.clients import PYMONGO, ROOT
from compat.known import SUITE_REASONS
from compat.suite import Outcome, belongs, found_in, groups, lost, read_report, reason, summary

REPORT = """<testsuites><testsuite>
<testcase classname="test.test_x.TestX" name="test_good"/>
<testcase classname="test.test_x.TestX" name="test_bad"><failure message="AssertionError: 1 != 2"/></testcase>
<testcase classname="test.test_x.TestX" name="test_off"><skipped message="needs a mongos"/></testcase>
<testcase classname="test.test_x.TestX" name="test_setup"><error message="no server"/></testcase>
</testsuite></testsuites>"""


def test_outcomes_of_a_report(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    found = read_report(tmp_path / "report.xml")
    assert {name.rpartition("::")[2]: outcome.state for name, outcome in found.items()} == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_off": "skipped",
        "test_setup": "failed",
    }


def test_only_what_passes_directly_can_be_lost() -> None:
    passed, failed, skipped = Outcome("passed"), Outcome("failed"), Outcome("skipped", "why")
    direct = {"a": passed, "b": passed, "c": failed, "d": skipped, "e": passed}
    through = {"a": passed, "b": skipped, "c": failed, "d": failed}
    assert lost(direct, through) == {"b": skipped, "e": Outcome("failed", "did not run")}


def test_what_is_excused_is_named_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SUITE_REASONS, r".*TestClient::test_unix_.*", "why")
    assert reason("test.test_client.TestClient::test_unix_socket") == "why"
    assert reason("test.test_client.TestClient::test_uri_unix_socket") is None
    assert reason("test.test_collection.TestCollection::test_insert_one") is None


def test_files_that_ran_apart_make_one_summary() -> None:
    passed, failed = Outcome("passed"), Outcome("failed", "x")
    one = found_in("test/test_a.py", {"a": passed, "b": passed}, {"a": passed, "b": failed})
    two = found_in("test/test_b.py", {"c": passed, "d": failed}, {"c": passed, "d": failed})
    whole = summary({"test/test_a.py": one, "test/test_b.py": two}, 9)
    assert whole["totals"]["direct"] == {"passed": 3, "failed": 1, "skipped": 0}
    assert whole["totals"]["through"] == {"passed": 2, "failed": 2, "skipped": 0}
    assert (whole["lost"], whole["known"], whole["files"]) == ({"b": "failed: x"}, {}, [2, 9])


def test_files_run_in_groups_within_their_folder() -> None:
    wanted = ["test/asynchronous/test_a.py", "test/asynchronous/test_b.py", *(f"test/test_{n}.py" for n in "abc")]
    assert [list(each) for each in groups(wanted, 2)] == [wanted[:2], wanted[2:4], wanted[4:]]


@pytest.mark.parametrize(
    ("name", "file", "mine"),
    [
        ("test.test_a.TestA::test_x", "test/test_a.py", True),
        ("test.test_a::test_x", "test/test_a.py", True),
        ("test.test_a_b.TestA::test_x", "test/test_a.py", False),
        ("test.asynchronous.test_a.TestA::test_x", "test/test_a.py", False),
    ],
)
def test_a_test_belongs_to_its_file(name: str, file: str, mine: bool) -> None:
    assert belongs(name, file) is mine


def test_the_tests_are_of_the_version_that_runs_them() -> None:
    locked = [
        re.findall(r"^pymongo==(\S+)", (ROOT / "tools" / "compat" / name).read_text(), re.MULTILINE)
        for name in ("suite.txt", "suite-source.txt")
    ]
    assert locked[0] == locked[1]
    assert locked[0][0].startswith(PYMONGO[-1])

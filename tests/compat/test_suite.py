"""What a run of a driver's own tests says of wardgate."""

from __future__ import annotations

import re
from pathlib import Path

from compat.clients import PYMONGO, ROOT
from compat.suite import Outcome, lost, read_report, reason

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


def test_what_wardgate_answers_itself_is_excused_and_nothing_else() -> None:
    start = "test.asynchronous.test_command_logging.TestCommandLoggingRedactedCommands::test_"
    assert reason(f"{start}network_error_in_response_to_saslStart_is_not_redacted") is not None
    assert reason(f"{start}authenticate_command_and_resulting_server-generated_error_are_redacted") is not None
    assert reason(f"{start}hello_with_speculative_authenticate_is_redacted") is None
    assert reason("test.test_collection.TestCollection::test_insert_one") is None


def test_the_tests_are_of_the_version_that_runs_them() -> None:
    locked = [
        re.findall(r"^pymongo==(\S+)", (ROOT / "tools" / "compat" / name).read_text(), re.MULTILINE)
        for name in ("suite.txt", "suite-source.txt")
    ]
    assert locked[0] == locked[1]
    assert locked[0][0].startswith(PYMONGO[-1])

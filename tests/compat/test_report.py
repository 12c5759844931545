"""The page says what was found: no row that differs is left out, and what did not run is not called a success."""

from __future__ import annotations

from compat import report
from compat.compare import Cell, Verdict

SAME = Cell("CRUD", Verdict.SAME)
KNOWN = Cell("errors", Verdict.KNOWN, ("value: a → b",), ("our own words",))
NEITHER = Cell("transactions: commit and abort", Verdict.SAME_ERROR, ("IllegalOperation: a | b",))
BUG = Cell("cursors", Verdict.DIFFERS, ("value[0]: 1 → 2",))
RESULTS = {
    ("PyMongo 4.20", "rs1", "plain"): [SAME, KNOWN, BUG],
    ("PyMongo 4.20", "rs1", "localhost"): [SAME],
    ("Perl", "rs1", "plain"): [Cell("", Verdict.NOT_RUN, ("run tools/setup-compat as root",))],
}


def test_the_page_names_every_difference_with_its_reason() -> None:
    page = report.document(RESULTS)
    assert "- our own words (rows: errors)" in page
    assert "- PyMongo 4.20, rs1, plain: cursors: value[0]: 1 → 2" in page
    assert (
        "4 rows were compared: 2 have the same result, 1 differ as meant, 0 have none on either side, 1 differ without "
        "a reason." in page
    )
    assert "| PyMongo 4.20 | rs1 | 2 of 3 | 1 of 1 |" in page
    assert "| cursors | ✗ |" in page


def test_what_did_not_run_says_so() -> None:
    assert "Not run: run tools/setup-compat as root." in report.document(RESULTS)
    (line,) = [each for each in report.terminal(RESULTS).splitlines() if each.startswith("Perl")]
    assert line.endswith("not run: run tools/setup-compat as root")


def test_the_page_says_how_much_was_tried() -> None:
    idle = {("PyMongo 4.20", "rs3", "plain"): [Cell("", Verdict.NOT_RUN, ("no run of it is kept here",))]}
    page = report.document({**RESULTS, **idle})
    assert "Of 3 pairs of client and deployment, 1 were run." in page
    assert "| PyMongo 4.20 | rs3 | · |" in page
    assert "| | 4.20 rs1 |\n" in page


def test_an_error_on_both_sides_is_no_same_result() -> None:
    found = {("PyMongo 4.20", "standalone", "plain"): [SAME, NEITHER]}
    page = report.document(found)
    assert "| PyMongo 4.20 | standalone | 1 of 2, 1 = |" in page
    said = (
        "| A standalone has no transactions. | transactions: commit and abort | standalone | IllegalOperation: a / b |"
    )
    assert said in page
    assert "1 have the same result, 0 differ as meant, 1 have none on either side, 0 differ" in page
    (line,) = [each for each in report.terminal(found).splitlines() if each.startswith("PyMongo")]
    assert line.split()[-5:] == ["1", "0", "1", "0", "0"]
    assert "## No result on either side\n\nNone." in report.document(RESULTS)


def test_an_error_on_both_sides_has_a_reason_or_is_a_bug() -> None:
    found = {("PyMongo 4.20", "rs3", "plain"): [SAME, NEITHER]}
    assert [cell for _, cell in report.bad(found)] == [NEITHER]
    assert "**Nobody knows why.**" in report.document(found)
    assert report.bad({("PyMongo 4.20", "standalone", "plain"): [SAME, NEITHER]}) == []


def test_bugs_are_what_decides() -> None:
    assert [cell for _, cell in report.bad(RESULTS)] == [BUG]


def test_what_is_kept_comes_back() -> None:
    cells = RESULTS["PyMongo 4.20", "rs1", "plain"]
    assert report.cells_of(report.saved(cells)) == cells


def test_a_drivers_own_tests() -> None:
    totals = {"direct": {"passed": 9, "failed": 1, "skipped": 2}, "through": {"passed": 7, "failed": 3, "skipped": 2}}
    found = {
        "totals": totals,
        "lost": {"m.T::test_lost": "failed: x"},
        "known": {"m.T::test_own_login": "answered here"},
        "files": [3, 9],
    }
    page = report.document(RESULTS, {"rs1": found})
    assert "| rs1 | 3 of 9 | direct | 9 | 1 | 2 |  |" in page
    assert "| rs1 | 3 of 9 | through | 7 | 3 | 2 | 1 with a reason, 1 without |" in page
    assert "- answered here (own login)" in page
    assert "- **failed: x** (lost)" in page


def test_the_specifications_tests() -> None:
    found = {
        "crud": {
            "same": 7,
            "known": {"crud/c: d": ["why"]},
            "neither": {"crud/a: b": ["x"]},
            "absent": 2,
            "again": 1,
            "differ": {},
        },
        "sessions": {
            "same": 1,
            "known": {},
            "neither": {},
            "absent": 0,
            "again": 0,
            "differ": {"sessions/a: b": ["v: 1 → 2"]},
        },
    }
    page = report.document(RESULTS, None, {"rs1": found})
    assert "| rs1 | crud | 7 | 1 | 1 | 2 | 0 |" in page
    assert "| rs1 | **all** | 8 | 1 | 1 | 2 | 1 |" in page
    assert "- why (c: d)" in page
    assert "- rs1: sessions/a: b: v: 1 → 2" in page

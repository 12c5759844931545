"""A difference is found wherever it is, and only the ones that have a reason are excused."""

from __future__ import annotations

from typing import Any

import pytest

from compat.compare import Known, Verdict, differences, judge, relabel

HERE = {"127.0.0.1:1001": "member0", "127.0.0.1:10012": "member1"}


@pytest.mark.parametrize(
    ("direct", "through", "path"),
    [
        ({"a": [1, 2]}, {"a": [1, 3]}, "a[1]"),
        ({"a": 1}, {"a": 1, "b": 2}, "b"),
        ({"a": 1, "b": 2}, {"a": 1}, "b"),
        ([1], [1, 2], ""),
        ({"a": 1}, {"a": 1.0}, "a"),
        ({"a": True}, {"a": 1}, "a"),
        ({"a": None}, {}, "a"),
        ("x", "y", ""),
    ],
)
def test_every_difference_has_its_place(direct: Any, through: Any, path: str) -> None:
    assert [found for found, _ in differences(direct, through)] == [path]
    assert not list(differences(direct, direct))


def test_addresses_become_members_wherever_they_stand() -> None:
    value = {"me": "127.0.0.1:1001", "text": ["no 127.0.0.1:10012, no 127.0.0.1:1001!"], "127.0.0.1:1001": 1}
    assert relabel(value, HERE) == {"me": "member0", "text": ["no member1, no member0!"], "member0": 1}


def _said(**more: Any) -> dict[str, Any]:
    return {"row": "CRUD", "needs": "any", **more}


def test_a_row_is_judged_by_all_that_it_saw() -> None:
    assert judge("PyMongo", _said(value=1), _said(value=1), ()).verdict is Verdict.SAME
    assert judge("PyMongo", _said(value=1), _said(value=2), ()).verdict is Verdict.DIFFERS
    assert judge("PyMongo", _said(value=1), _said(error={"code": 13}), ()).verdict is Verdict.DIFFERS
    assert judge("PyMongo", _said(error={"code": 20}), _said(error={"code": 20}), ()).verdict is Verdict.SAME_ERROR
    assert judge("PyMongo", _said(absent="no x"), _said(absent="no x"), ()).verdict is Verdict.ABSENT


def test_an_error_on_both_sides_is_no_success_where_the_row_has_to_work() -> None:
    error = _said(error={"code": 2}, expected=True)
    assert judge("PyMongo", error, _said(error={"code": 2}), ()).verdict is Verdict.BROKEN


def test_a_reason_excuses_its_own_place_only() -> None:
    known = (Known("CRUD", r"value\.text", "our own words", client="PyMongo.*"),)
    direct, through = _said(value={"text": "a", "n": 1}), _said(value={"text": "b", "n": 1})
    cell = judge("PyMongo 4.20", direct, through, known)
    assert (cell.verdict, cell.reasons) == (Verdict.KNOWN, ("our own words",))
    assert judge("mongosh", direct, through, known).verdict is Verdict.DIFFERS
    assert judge("PyMongo 4.20", direct, _said(value={"text": "b", "n": 2}), known).verdict is Verdict.DIFFERS

"""What is printed is hostile until it is escaped."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.api.mfa import RecoveryCodes
from wardgate.cli.output import print_list, safe, span, to_json, when


def test_what_moves_the_cursor_or_hides_text_is_escaped() -> None:
    assert safe("drop\x1b[2Jtable") == "drop\\x1b[2Jtable"
    assert safe("a\nb\tc\rd") == "a\\nb\\tc\\rd"
    assert safe("abc\u202edef") == "abc\\u202edef"
    assert safe("zero\u200bwidth") == "zero\\u200bwidth"
    assert safe("\x9b31m") == "\\x9b31m"


def test_ordinary_text_of_any_language_stays() -> None:
    assert safe("Größe 日本語 – “ok” [bold]") == "Größe 日本語 – “ok” [bold]"


@given(st.text())
def test_nothing_that_a_terminal_obeys_comes_through(text: str) -> None:
    assert all(char.isprintable() for char in safe(text))


@given(
    st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
    st.sampled_from([None, 2]),
)
def test_nothing_that_a_terminal_obeys_comes_through_in_json(value: object, indent: int | None) -> None:
    text = to_json(value, indent)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert json.loads(text) == value


def test_times_are_relative() -> None:
    now = datetime.now(UTC)
    assert when(None) == "–"
    assert when(now) == "just now"
    assert when(now - timedelta(minutes=5, seconds=1)) == "5 min ago"
    assert when(now + timedelta(hours=2, minutes=1)) == "in 2 h"


def test_spans() -> None:
    assert span(None) == "–"
    assert span(0.25) == "250 ms"
    assert span(3723) == "1h2m3s"


def test_a_list_is_a_table_or_one_array(capsys: pytest.CaptureFixture[str]) -> None:
    found = [RecoveryCodes(codes=["a", "b"]), RecoveryCodes(codes=["c", "\x1b[2J"])]
    for as_json in (True, False):
        print_list(found, as_json, ("FIRST", "SECOND"), lambda each: each.codes, empty="None.")
        shown = capsys.readouterr().out
        assert "\x1b" not in shown
        if as_json:
            assert json.loads(shown) == [{"codes": ["a", "b"]}, {"codes": ["c", "\x1b[2J"]}]
        else:
            assert [line.split() for line in shown.splitlines()] == [["FIRST", "SECOND"], ["a", "b"], ["c", "\\x1b[2J"]]
    nothing: list[RecoveryCodes] = []
    print_list(nothing, False, ("FIRST",), lambda each: each.codes, empty="None.")
    assert capsys.readouterr().out == "None.\n"
    print_list(nothing, True, ("FIRST",), lambda each: each.codes, empty="None.")
    assert json.loads(capsys.readouterr().out) == []

"""What is printed is hostile until it is escaped."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from wardgate.cli.output import safe, span, to_json, when


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

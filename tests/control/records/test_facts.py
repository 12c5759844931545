"""facts: the short way reads what the definition reads, or leaves it alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import bson
from hypothesis import given
from hypothesis import strategies as st

from wardgate.audit.codec import CodecError, decode, encode
from wardgate.audit.records import CommandIntent, CommandOutcome
from wardgate.control.records import facts

_I64 = st.integers(-(2**63), 2**63 - 1)
_TEXT = st.text(max_size=12)
_BODY = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4), st.integers(0, 9) | _TEXT
).map(bson.encode)
_INTENTS = st.builds(
    CommandIntent,
    _I64,
    _I64,
    _TEXT,
    st.none() | _TEXT,
    _TEXT,
    _TEXT,
    _BODY,
    _I64,
    sequences=st.lists(st.tuples(_TEXT, st.binary(max_size=20)), max_size=2).map(tuple),
    rule=st.none() | _TEXT,
    client_app=st.none() | _TEXT,
    masked=st.just(()) | st.just(("filter.pin",)),
)
_OUTCOMES = st.builds(
    CommandOutcome,
    _I64,
    st.none() | st.floats(allow_nan=False),
    st.none() | _I64,
    st.none() | _I64,
    _I64,
    _I64,
    unacknowledged=st.booleans(),
    error=st.none() | _TEXT,
    more=st.booleans(),
    modified=st.none() | st.integers(0, 2**40),
    upserted=st.none() | st.integers(0, 2**40),
    write_errors=st.integers(0, 3),
)
_AT = st.integers(0, 2**60)
_USUAL = CommandIntent(3, 77, "shop", "orders", "find", "read", bson.encode({"find": "orders"}), 300, client_app="app")
_INSERT = dataclasses.replace(_USUAL, command="insert", sequences=(("documents", bson.encode({"x": 1})),))
_SUCCESS = CommandOutcome(7, 1.0, None, 10, 4000, 350)
_UPDATED = CommandOutcome(7, 1.0, 11000, 10, 4000, 350, modified=5, upserted=1, write_errors=2)
_GET_MORE = dataclasses.replace(_USUAL, command="getMore", continues=4)


def _same(document: bytes) -> bool:
    """Whether the short way took it; what it took must be what `decode` says."""
    intent, outcome = facts.intent(document), facts.outcome(document)
    if intent is None and outcome is None:
        return False
    entry: Any = decode(document)
    if intent is not None:
        assert intent == facts.Intent(
            entry.at_us, **{name: getattr(entry.record, name) for name in facts.Intent._fields[1:]}
        )
    else:
        assert outcome is not None
        for name, value in outcome._asdict().items():
            assert repr(value) == repr(getattr(entry.record, name))  # NaN is not NaN
    return True


def test_the_usual_takes_the_short_way() -> None:
    for record in (
        _USUAL,
        dataclasses.replace(_USUAL, collection=None, client_app=None),
        _SUCCESS,
        _UPDATED,
        _GET_MORE,
    ):
        assert _same(encode(record, 5, 1)[0])
    for record in (_INSERT, dataclasses.replace(_USUAL, masked=("a",)), CommandOutcome(7, None, error="lost")):
        assert not _same(encode(record, 5, 1)[0])


@given(record=_INTENTS | _OUTCOMES, at_us=_AT)
def test_what_it_reads_is_what_was_recorded(record: CommandIntent | CommandOutcome, at_us: int) -> None:
    _same(encode(record, at_us, 1)[0])


@given(record=_INTENTS | _OUTCOMES, changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3))
def test_what_is_broken_is_left_to_the_definition(
    record: CommandIntent | CommandOutcome, changes: list[tuple[int, int]]
) -> None:
    document = bytearray(encode(record, 1, 1)[0])
    for at, value in changes:
        document[at % len(document)] = value
    try:
        decode(bytes(document))
    except CodecError:
        assert not facts.intent(bytes(document))
        assert not facts.outcome(bytes(document))
        return
    _same(bytes(document))


@given(document=st.binary(max_size=200))
def test_noise_is_nothing(document: bytes) -> None:
    assert not _same(document)

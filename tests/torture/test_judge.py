"""The judge of `make torture` finds what is wrong, and only that: a judge that sees nothing proves nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from torture.judge import Seen, Stored, strange, wrongs

OK: dict[str, Any] = {"done": True, "stuck": [], "caught_up": True}


def line(op: str, token: str, at: float = 1.0, **error: Any) -> dict[str, Any]:
    told = {"w": "x", "op": op, "id": token, "a": at - 0.5, "b": at}
    return told | ({"error": {"code": None, "labels": [], "message": "", **error}} if error else {})


def seen(*lines: dict[str, Any]) -> Seen:
    return Seen.of(json.dumps(each) for each in (*lines, OK))


def stored(**counts: Mapping[str, int]) -> Stored:
    return Stored({name: counts.get(name, {}) for name in ("inserts", "updates", "left", "right")})


GOOD = (
    line("insertOne", "w-1"),
    line("change", "w-1"),
    line("updateOne", "w-2"),
    line("findAndModify", "w-3"),
    line("withTransaction", "w-4"),
)
THERE = {"inserts": {"w-1": 1, "last": 1}, "updates": {"w-2": 1, "w-3": 1}, "left": {"w-4": 1}, "right": {"w-4": 1}}


def test_all_is_well() -> None:
    assert wrongs(seen(*GOOD), stored(**THERE)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"inserts": {"last": 1}}, "1 acknowledged writes are not in inserts: ['w-1']"),
        ({"updates": {"w-2": 2, "w-3": 1}}, "1 writes were applied twice in updates: ['w-2']"),
        ({"right": {}}, "1 acknowledged writes are not in right: ['w-4']"),
        ({"left": {"w-4": 1, "w-5": 1}}, "1 transactions are there by half: ['w-5']"),
        ({"inserts": {"w-1": 1, "w-9": 1}}, "the change stream missed 1 events: ['w-9']"),
    ],
)
def test_what_the_database_lacks(changed: dict[str, dict[str, int]], said: str) -> None:
    assert said in wrongs(seen(*GOOD), stored(**{**THERE, **changed}))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([line("change", "w-1")], "the change stream told 1 events twice: ['w-1']"),
        ([line("change", "w-7"), line("change", "w-6")], "the change stream told w-6 out of order"),
    ],
)
def test_what_the_change_stream_told(more: list[dict[str, Any]], said: str) -> None:
    there = {**THERE, "inserts": {"w-1": 1, "w-6": 1, "w-7": 1, "last": 1}}
    assert said in wrongs(seen(*GOOD, *more), stored(**there))


def test_a_load_that_ended_early_or_hung() -> None:
    early = Seen.of(json.dumps(each) for each in GOOD)
    assert "the load ended before it was told to" in wrongs(early, stored(**THERE))
    hung = Seen.of(json.dumps(each) for each in (*GOOD, {**OK, "stuck": ["writer3"], "caught_up": False}))
    assert wrongs(hung, stored(**THERE)) == ["writer3 hung", "the change stream did not reach the last document"]


NETWORK: dict[str, Any] = {"kind": "AutoReconnect"}


@pytest.mark.parametrize(
    ("failure", "odd"),
    [
        (line("insertOne", "w-1", **NETWORK), True),
        (line("find", "f-1", kind="NotPrimaryError", code=10107), True),
        (line("updateMany", "m-1", **NETWORK), False),
        (line("updateMany", "m-1", kind="OperationFailure", code=13), True),
        (line("cursor", "c-1", kind="CursorNotFound", code=43), False),
        (line("cursor", "c-1", kind="OperationFailure", code=-1), True),
        (line("transaction", "t-1", kind="OperationFailure", code=251, labels=["TransientTransactionError"]), False),
        (line("transaction", "t-1", kind="OperationFailure", code=251), True),
        (line("changeStream", "s-1", kind="OperationFailure", code=136), True),
    ],
)
def test_which_errors_are_strange(failure: dict[str, Any], odd: bool) -> None:
    assert bool(strange(seen(failure), [seen()], cut=False)) is odd
    assert not strange(seen(failure), [seen(failure)], cut=False), "direct saw the same"


def test_what_node_loses_when_connections_are_cut() -> None:
    lost = line("insertOne", "w-1", kind="MongoNetworkError")
    assert not strange(seen(lost), [seen()], cut=True)
    assert strange(seen(lost), [seen()], cut=False)


def test_what_mongod_says_in_an_election() -> None:
    young = line("secondaryRead", "r-1", kind="OperationFailure", code=211)
    assert not strange(seen(young), [seen()], cut=False)
    hidden = line("insertOne", "w-1", kind="WriteError", code=189, message="Not primary while writing to a.b")
    assert not strange(seen(hidden), [seen()], cut=False)
    assert strange(seen({**hidden, "op": "find"}), [seen()], cut=False)


def test_the_longest_gap() -> None:
    acknowledged = seen(*(line("insertOne", f"w-{at}", at) for at in (1.0, 2.0, 2.5, 9.5, 10.0)))
    assert acknowledged.gap("insertOne", 1.5, 10.5) == 7.0
    assert acknowledged.gap("insertOne", 9.0, 20.0) == 10.0
    assert acknowledged.gap("find", 0.0, 4.0) == 4.0

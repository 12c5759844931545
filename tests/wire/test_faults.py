"""What a fail point does to a login: how often, to whom, and never because of bytes that are no such thing."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.wire.faults import Fault, LoginFaults

CLOSES: dict[str, Any] = {"failCommands": ["saslStart"], "closeConnection": True}


def told(mode: object, data: object, name: object = "failCommand") -> LoginFaults:
    faults = LoginFaults()
    faults.configured(bson.encode({"configureFailPoint": name, "mode": mode, "data": data, "$db": "admin"}))
    return faults


def times(faults: LoginFaults, name: str = "saslStart", app: str | None = None) -> list[bool]:
    """Which of five commands in a row fail."""
    return [faults.strike(name, app) is not None for _ in range(5)]


@pytest.mark.parametrize(
    ("mode", "fails"),
    [
        ("alwaysOn", [True] * 5),
        ("off", [False] * 5),
        ({"times": 2}, [True, True, False, False, False]),
        ({"times": 2.0}, [True, True, False, False, False]),
        ({"times": 0}, [False] * 5),
        ({"times": -1}, [False] * 5),
        ({"skip": 3}, [False, False, False, True, True]),
        ({"activationProbability": 1.0}, [False] * 5),
        ("ever", [False] * 5),
        (5, [False] * 5),
    ],
)
def test_how_often(mode: object, fails: list[bool]) -> None:
    assert times(told(mode, CLOSES)) == fails


def test_what_happens() -> None:
    assert told("alwaysOn", CLOSES).strike("saslStart", None) == Fault(closes=True)
    error = {"failCommands": ["saslStart"], "errorCode": 18, "errorLabels": ["A", "B"]}
    assert told("alwaysOn", error).strike("saslStart", None) == Fault(closes=False, code=18, labels=("A", "B"))


@pytest.mark.parametrize(
    "data",
    [
        {"failCommands": ["saslStart"]},
        {"failCommands": ["saslStart"], "closeConnection": False},
        {"failCommands": ["saslStart"], "errorCode": 0},
        {"failCommands": ["saslStart"], "errorCode": 2**40},
        {"failCommands": ["saslStart"], "errorCode": -5},
        {"failCommands": ["saslStart"], "blockConnection": True, "blockTimeMS": 5},
        {"failCommands": "saslStart", "closeConnection": True},
        {"failCommands": [5], "closeConnection": True},
        {"closeConnection": True},
        {},
        None,
        "data",
    ],
)
def test_what_does_nothing(data: object) -> None:
    assert times(told("alwaysOn", data)) == [False] * 5


def test_whom_it_hits() -> None:
    named = told("alwaysOn", {**CLOSES, "appName": "mine"})
    assert times(named, app="mine") == [True] * 5
    assert times(named, app="other") == times(named) == times(named, "saslContinue", "mine") == [False] * 5
    assert times(told("alwaysOn", {**CLOSES, "appName": ""})) == [True] * 5
    commands = told("alwaysOn", {**CLOSES, "failCommands": ["find", "hello"]})
    assert times(commands, "find") == times(commands, "hello") == [False] * 5  # the server sees to these itself


def test_what_the_server_fails_by_the_same_fail_point_uses_it_up_too() -> None:
    """`{times: 2}` of ping and saslContinue: the server fails the ping, and one login is left."""
    faults = told({"times": 2}, {**CLOSES, "failCommands": ["ping", "saslContinue"], "appName": "mine"})
    faults.passed("ping", "other")
    faults.passed("find", "mine")
    faults.passed("ping", "mine")
    assert times(faults, "saslContinue", "mine") == [True, False, False, False, False]
    faults.passed("ping", "mine")
    assert times(faults, "saslContinue", "mine") == [False] * 5


def test_the_newest_one_counts() -> None:
    faults = told("alwaysOn", CLOSES)
    faults.configured(bson.encode({"configureFailPoint": "other", "mode": "off"}))
    assert times(faults) == [True] * 5
    faults.configured(bson.encode({"configureFailPoint": "failCommand", "mode": "off"}))
    assert times(faults) == [False] * 5


@given(st.binary(max_size=60))
def test_bytes_that_are_nothing(data: bytes) -> None:
    faults = LoginFaults()
    faults.configured(data)
    faults.configured(
        bson.encode({"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": CLOSES})[:-9] + data
    )
    assert len(times(faults)) == 5

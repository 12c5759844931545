"""When a session has not been used for too long."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from wardgate.gateway import idleness
from wardgate.gateway.idleness import Idleness


@dataclass
class Stream:
    """What Idleness looks at."""

    last_command_at: float = 0.0
    busy: bool = False


class Loop:
    """A clock that a test moves, and the one timer that is set on it."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.due: float | None = None
        self.call: Any = None

    def call_later(self, delay: float, call: Any) -> Loop:
        assert self.due is None, "one timer at a time"
        self.due, self.call = self.now + delay, call
        return self

    def cancel(self) -> None:
        self.due = None

    def forward(self, seconds: float) -> None:
        until = self.now + seconds
        while self.due is not None and self.due <= until:
            self.now, self.due = self.due, None
            self.call()
        self.now = until


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: made)
    monkeypatch.setattr(idleness, "monotonic", lambda: made.now)
    return made


def test_without_any_use_it_ends_after_the_timeout(loop: Loop) -> None:
    ended: list[float] = []
    Idleness(60, list, lambda: ended.append(loop.now))
    loop.forward(59)
    assert ended == []
    loop.forward(2)
    assert ended == [1_060.0]
    loop.forward(600)
    assert ended == [1_060.0]


def test_each_command_begins_the_time_anew(loop: Loop) -> None:
    ended: list[float] = []
    stream = Stream()
    Idleness(60, lambda: [Stream(), stream], lambda: ended.append(loop.now))
    loop.forward(50)
    stream.last_command_at = loop.now
    loop.forward(59)
    assert ended == []
    loop.forward(10)
    assert ended == [1_110.0]


def test_what_runs_is_use_for_as_long_as_it_runs(loop: Loop) -> None:
    ended: list[float] = []
    stream = Stream(last_command_at=1_000.0, busy=True)
    Idleness(60, lambda: [stream], lambda: ended.append(loop.now))
    loop.forward(6_000)
    assert ended == []
    stream.busy, stream.last_command_at = False, loop.now  # its reply is here
    loop.forward(61)
    assert ended == [7_060.0]


def test_what_a_closed_stream_did_counts(loop: Loop) -> None:
    ended: list[float] = []
    idle = Idleness(60, list, lambda: ended.append(loop.now))
    loop.forward(50)
    idle.used(loop.now)
    idle.used(10.0)  # an older one changes nothing
    loop.forward(59)
    assert ended == []
    loop.forward(2)
    assert ended == [1_110.0]


def test_without_a_timeout_and_after_the_end_it_never_fires(loop: Loop) -> None:
    ended: list[float] = []
    Idleness(None, list, lambda: ended.append(loop.now))
    loop.forward(1_000_000)
    stopped = Idleness(60, list, lambda: ended.append(loop.now))
    stopped.stop()
    stopped.stop()
    loop.forward(1_000_000)
    assert ended == []

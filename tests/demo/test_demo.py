"""`wardgate demo` as a visitor starts it: what it tells, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wardgate.testing.processes import Process
from wardgate.testing.stack import find_executable, wait_event

STEPS = ["database", "control_plane", "gateway", "resource", "accounts", "access", "driver", "record"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("mongod_binary")]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the demo makes its folder, so that a test can see whether it is gone."""
    folder = tmp_path / "t"
    folder.mkdir()
    return folder


def _demo(tmp_path: Path, temporary: Path, *options: str) -> Process:
    environment = {**os.environ, "TMPDIR": str(temporary)}
    return Process("demo", [find_executable(), "demo", *options], tmp_path, env=environment)


def _events(demo: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in demo.lines]


def _working_in(folder: Path) -> Iterator[str]:
    """Processes that still mention `folder` on their command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in command:
            yield command.decode(errors="replace")


def _assert_nothing_left(temporary: Path) -> None:
    assert list(_working_in(temporary)) == []
    assert list(temporary.iterdir()) == []


def test_once(tmp_path: Path, temporary: Path) -> None:
    demo = _demo(tmp_path, temporary, "--once", "--json")
    assert demo.wait(110) == 0, demo.stderr()
    events = _events(demo)
    assert [event["step"] for event in events if event["event"] == "step"] == STEPS
    assert all(event["duration_ms"] > 0 for event in events if event["event"] == "step")
    by_step = {event.get("step"): event for event in events}
    assert by_step["driver"]["refusal_code"] == 13
    assert by_step["record"]["commands"] > 5
    assert events[-1]["event"] == "ended"
    assert events[-1]["reason"] == "client_closed"
    assert events[-1]["verification"]["state"] == "verified"
    _assert_nothing_left(temporary)


def test_for_a_person(tmp_path: Path, temporary: Path) -> None:
    demo = _demo(tmp_path, temporary, "--once")
    assert demo.wait(110) == 0, demo.stderr()
    shown = "\n".join(demo.lines)
    for words in ("TLS and SCRAM", "mongodb://127.0.0.1:", "createUser", "denied", "verified"):
        assert words in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_it_stays_up_until_it_is_told(tmp_path: Path, temporary: Path, number: signal.Signals) -> None:
    demo = _demo(tmp_path, temporary, "--json")
    ready = wait_event(demo, "ready", 100)
    assert ready["uri"].startswith("mongodb://127.0.0.1:")
    assert list(_working_in(temporary))
    demo.send(number)
    assert demo.wait(60) == 0, demo.stderr()
    assert _events(demo)[-1]["event"] == "ended"
    _assert_nothing_left(temporary)


def test_interrupted_early(tmp_path: Path, temporary: Path) -> None:
    demo = _demo(tmp_path, temporary, "--json")
    demo.wait_line(lambda line: '"database"' in line, 60)
    demo.interrupt()
    assert demo.wait(60) == 130, demo.stderr()
    _assert_nothing_left(temporary)

"""How `wardgate pam db access` is called: what is refused before anything is opened, and where its output goes."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wardgate.cli.access.run import Wish
from wardgate.cli.access.uris import LocalLogin
from wardgate.cli.access.view import BesideClient, EndFacts, JsonView, ReadyFacts, TerminalView, View
from wardgate.cli.commands import access
from wardgate.cli.main import run

NEEDED = ["pam", "db", "access", "--resource", "r", "--account", "a", "--project-id", "prj_1", "--duration", "1h"]


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain, and no login for it: whoever gets that far is told so (3)."""
    monkeypatch.setenv("WARDGATE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WARDGATE_DOMAIN", "https://wardgate.example")
    monkeypatch.delenv("WARDGATE_TOKEN", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.fixture
def wishes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Wish, View]]:
    """What would be opened."""
    kept: list[tuple[Wish, View]] = []
    monkeypatch.setenv("WARDGATE_TOKEN", "a token")

    def keep(_settings: Any, wish: Wish, view: View) -> int:
        kept.append((wish, view))
        return 0

    monkeypatch.setattr(access, "run_access", keep)
    return kept


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mongosh"], "put -- before a client"),
        (["mongosh", "--", "mongosh"], "put -- before a client"),
        (["--"], "there is no client"),
        (["--json", "--", "mongosh"], "--events FILE"),
        (["--events", "file"], "--json"),
        (["--socket", "--port", "27017"], "--socket opens no port"),
        (["--port", "0"], "0"),
        (["--mongosh"], "--mongosh"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert run([*NEEDED, *words]) == 2
    assert told in capsys.readouterr().err


def test_a_json_error_is_one_document_whatever_the_clients_words_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*NEEDED, "--json", "--", "mongosh", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "events_needed"


def test_json_of_the_client_is_not_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*NEEDED, "--", "mongosh", "--json"]) == 3
    assert capsys.readouterr().err.startswith("error: ")


def test_the_clients_words_are_taken_as_they_are(wishes: list[tuple[Wish, View]]) -> None:
    words = ["mongosh", "{uri}", "--port", "--", "--help", "--resource=x", ""]
    assert run([*NEEDED, "--local-auth", "--", *words]) == 0
    [(wish, view)] = wishes
    assert wish.client == tuple(words)
    assert wish.local_auth
    assert isinstance(view, BesideClient)


def test_choices(wishes: list[tuple[Wish, View]]) -> None:
    assert run([*NEEDED, "--socket", "--single-port"]) == 0
    assert run([*NEEDED, "--port", "27017", "--json"]) == 0
    (first, person), (second, program) = wishes
    assert (first.sockets, first.single, first.port, first.local_auth, first.client) == (True, True, 0, False, ())
    assert (second.sockets, second.single, second.port) == (False, False, 27017)
    assert isinstance(person, TerminalView)
    assert isinstance(program, JsonView)


def test_what_no_control_plane_would_take_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARDGATE_TOKEN", "a token")
    assert run([*NEEDED, "--reason", "x" * 2_000]) == 2
    assert capsys.readouterr().err == "error: The reason can't be used: string should have at most 1024 characters.\n"


# --- the file of events


def test_events_go_into_a_file_that_is_ours_alone(wishes: list[tuple[Wish, View]], tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text("of an older session\n" * 100)
    path.chmod(0o644)
    assert run([*NEEDED, "--json", "--events", str(path), "--", "true"]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == ""


@pytest.mark.parametrize("kind", ["link", "folder", "nowhere"])
def test_events_go_nowhere_else(
    wishes: list[tuple[Wish, View]], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    target, path = tmp_path / "precious", tmp_path / "events"
    target.write_text("kept")
    if kind == "link":
        path.symlink_to(target)
    elif kind == "nowhere":
        path = tmp_path / "missing" / "events"
    else:
        path.mkdir()
    assert run([*NEEDED, "--json", "--events", str(path), "--", "true"]) in (1, 2)
    assert target.read_text() == "kept"
    assert wishes == []


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="a folder below /dev that everybody writes to")
def test_a_link_below_dev_is_followed_only_where_the_system_put_it(
    wishes: list[tuple[Wish, View]], tmp_path: Path
) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    path = Path("/dev/shm") / f"wardgate-{os.getpid()}-events"
    path.symlink_to(target)
    try:
        assert run([*NEEDED, "--json", "--events", str(path), "--", "true"]) == 1
    finally:
        path.unlink()
    assert target.read_text() == "kept"
    assert run([*NEEDED, "--json", "--events", "/dev/null", "--", "true"]) == 0


def test_a_pipe_that_somebody_else_has_put_there_is_refused(
    wishes: list[tuple[Wish, View]], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # without one, opening it to write would wait
    words = [*NEEDED, "--json", "--events", str(path), "--", "true"]
    assert run(words) == 0
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert run(words) == 1
    os.close(reader)
    assert "somebody else's" in capsys.readouterr().err
    assert len(wishes) == 1


def test_events_go_into_what_the_caller_has_opened(wishes: list[tuple[Wish, View]]) -> None:
    reader, writer = os.pipe()
    assert run([*NEEDED, "--json", "--events", f"/dev/fd/{writer}", "--", "true"]) == 0
    os.close(reader)
    os.close(writer)


# --- what is seen


def facts(**changes: Any) -> ReadyFacts:
    known: dict[str, Any] = {
        "session_id": "ses_1",
        "resource": "shop",
        "account": "ro",
        "uri": "mongodb://127.0.0.1:1/",
        "shown_uri": "mongodb://127.0.0.1:1/",
        "replica_set_uri": None,
        "port": 1,
        "members": [],
        "expires_at": datetime.now(UTC) + timedelta(hours=1),
        "granted_s": 3600,
        "login": LocalLogin("ro", "wgs_secret"),
        **changes,
    }
    return ReadyFacts(**known)


async def shown(view: View, capsys: pytest.CaptureFixture[str], **changes: Any) -> tuple[str, str]:
    view.ready(facts(**changes))
    view.notice("warning", "Something \x1b[2J happened.")
    view.members_changed(facts(**changes))
    view.reconnected("relay near")
    view.connections(3)
    view.close()
    view.ended(EndFacts("ses_1", "expired", "Its time \x1b was over.", 61.2, 3, 7, 1, 5))
    await asyncio.sleep(0)
    both = capsys.readouterr()
    return both.out, both.err


async def test_a_person_sees_no_colours_in_a_pipe_and_no_controls_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = await shown(TerminalView(), capsys)
    assert "\n  mongodb://127.0.0.1:1/\n" in out
    assert "wgs_secret with any user name" in out
    assert "No user name and no password are needed" in out
    assert "ended (expired) after 1m1s: 3 connections, 7 commands, 1 error" in out
    assert "\x1b" not in out + err
    assert "\r" not in out + err


async def test_with_local_authentication_a_person_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    uri = "mongodb://ro:wgs_secret@127.0.0.1:1/"
    out, _ = await shown(TerminalView(), capsys, uri=uri, local_auth=True)
    assert f"\n  {uri}\n" in out
    assert "must log in" in out
    assert "No user name" not in out


async def test_beside_a_client_standard_output_is_the_clients(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = await shown(BesideClient("mongo\x1bsh"), capsys)
    assert out == ""
    assert all(line.startswith("wardgate: ") for line in err.splitlines())
    assert "ro on shop for 1h" in err
    assert "wgs_secret" not in err
    assert "\x1b" not in err
    assert "ended (expired)" in err


async def test_a_program_gets_one_event_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = await shown(JsonView(), capsys)
    events = [json.loads(line) for line in out.splitlines()]
    assert [each["event"] for each in events] == ["ready", "notice", "reconnected", "ended"]
    assert list(events[0]) == ["event", "session_id", "uri", "replica_set_uri", "port", "members", "expires_at"]
    assert events[2]["route"] == "relay near"
    assert events[3] == {"event": "ended", "reason": "expired", "message": "Its time \x1b was over.", "client_exit": 5}
    assert "\x1b" not in out
    assert err == ""


def test_where_colours_are_not_wanted_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as each:
            each.setitem(os.environ, name, value)
            assert TerminalView()._bold("text") == "text"

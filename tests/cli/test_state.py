"""What is kept of open sessions: found while their local proxies live, gone with them however they go."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wardgate.cli.access.listeners import SocketFolder
from wardgate.cli.access.state import StateFile, open_sessions
from wardgate.cli.access.uris import LocalLogin
from wardgate.cli.access.view import EndFacts, ReadyFacts
from wardgate.cli.main import run

FIRST, SECOND = "ses_0000000001e0rv4csm6mv3ee1s", "ses_0000000001e0rv4csm6mv3ee2s"


def facts(session_id: str = FIRST, set_uri: str | None = None) -> ReadyFacts:
    return ReadyFacts(
        session_id=session_id,
        resource="shop",
        account="ro",
        uri="mongodb://ro:wgs_secret@127.0.0.1:1/",
        shown_uri="mongodb://ro@127.0.0.1:1/",
        replica_set_uri=set_uri,
        port=1,
        members=[],
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        granted_s=3600,
        login=LocalLogin("ro", "wgs_secret"),
        local_auth=True,
    )


def opened(folder: Path, session_id: str = FIRST, **changes: str | None) -> StateFile:
    state = StateFile(folder, "https://wardgate.example", "prj_1", None)
    state.begin(session_id)
    state.ready(facts(session_id, **changes))
    assert state.trouble is None
    return state


def test_an_open_session_is_found_by_those_who_may(tmp_path: Path) -> None:
    state = opened(tmp_path / "config")
    [found] = open_sessions(tmp_path / "config")
    assert (found.session_id, found.uri, found.password) == (FIRST, facts().uri, "wgs_secret")
    assert "wgs_secret" not in repr(found)
    for path in (tmp_path / "config", *(tmp_path / "config").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    state.close()


def test_before_it_is_ready_it_is_not_there(tmp_path: Path) -> None:
    state = StateFile(tmp_path, "https://wardgate.example", "prj_1", None)
    state.begin(FIRST)
    assert open_sessions(tmp_path) == []
    state.close()


@pytest.mark.parametrize("how", ["close", "ended"])
def test_nothing_is_left_of_one_that_ended(tmp_path: Path, how: str) -> None:
    state = opened(tmp_path)
    if how == "close":
        state.close()
        state.close()
    else:
        state.ended(EndFacts(FIRST, "expired", None, 1.0, 0, None, None))
    assert open_sessions(tmp_path) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["sessions", "lock"]


def test_members_that_come_change_the_full_uri(tmp_path: Path) -> None:
    state = opened(tmp_path, set_uri="mongodb://127.0.0.1:1/?replicaSet=rs0")
    state.members_changed(facts(set_uri="mongodb://127.0.0.1:1,127.0.0.1:2/?replicaSet=rs0"))
    [found] = open_sessions(tmp_path)
    assert found.replica_set_uri == "mongodb://127.0.0.1:1,127.0.0.1:2/?replicaSet=rs0"
    state.close()


def test_what_a_killed_one_left_is_removed_its_sockets_too(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_state import FIRST, facts
from wardgate.cli.access.listeners import SocketFolder
from wardgate.cli.access.state import StateFile
folder = SocketFolder()
state = StateFile(Path({str(tmp_path)!r}), "https://wardgate.example", "prj_1", folder.folder)
state.begin(FIRST)
state.ready(facts())
print(folder.folder, flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        sockets = Path(process.stdout.readline().strip())
        assert [each.session_id for each in open_sessions(tmp_path)] == [FIRST]
        assert (sockets / "mongodb.sock").is_socket()
        process.send_signal(signal.SIGKILL)
    assert open_sessions(tmp_path) == []
    assert not sockets.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["sessions", "lock"]


@pytest.mark.parametrize("named", ["victim", "wardgate-0123456789abcde", "wardgate-0123456789abcdef/.."])
def test_only_our_own_socket_folders_are_ever_removed(tmp_path: Path, named: str) -> None:
    for folder in ("victim", "wardgate-0123456789abcde", "wardgate-0123456789abcdef"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "precious.sock").touch()
    place = tmp_path / "config" / "sessions" / FIRST
    place.mkdir(parents=True)
    (place / "session.json").write_text(json.dumps({"sockets": str(tmp_path / named)}))
    (place / "session.json").chmod(0o600)
    assert open_sessions(tmp_path / "config") == []
    assert len(list(tmp_path.glob("*/precious.sock"))) == 3


def test_a_config_folder_that_can_not_be_written_costs_only_the_look_up(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("a file where a folder should be")
    state = StateFile(tmp_path, "https://wardgate.example", "prj_1", None)
    state.begin(FIRST)
    assert state.trouble is not None
    assert "pam db uri" in state.trouble
    state.ready(facts())
    state.members_changed(facts())
    state.close()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"uri": 1}'])
def test_a_damaged_file_is_no_session(tmp_path: Path, content: bytes) -> None:
    state = opened(tmp_path)
    (tmp_path / "sessions" / FIRST / "session.json").write_bytes(content)
    assert open_sessions(tmp_path) == []
    state.close()


# --- the command


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WARDGATE_CONFIG_DIR", str(tmp_path))
    return tmp_path


def test_the_only_one_needs_no_name(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = opened(config, set_uri="mongodb://127.0.0.1:1,127.0.0.1:2/?replicaSet=rs0")
    assert run(["pam", "db", "uri"]) == 0
    assert capsys.readouterr().out == facts().uri + "\n"
    assert run(["pam", "db", "uri", FIRST, "--replica-set"]) == 0
    assert capsys.readouterr().out == "mongodb://127.0.0.1:1,127.0.0.1:2/?replicaSet=rs0\n"
    assert run(["pam", "db", "uri", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["session_id"], shown["domain"], shown["account"]) == (FIRST, "https://wardgate.example", "ro")
    assert shown["pid"] == os.getpid()
    state.close()


def test_of_several_one_must_be_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    states = [opened(config, FIRST), opened(config, SECOND)]
    assert run(["pam", "db", "uri"]) == 2
    told = capsys.readouterr().err
    assert FIRST in told
    assert SECOND in told
    assert "wgs_secret" not in told
    assert run(["pam", "db", "uri", SECOND]) == 0
    for state in states:
        state.close()


@pytest.mark.parametrize("words", [[], [FIRST], ["x\x1b[2J"]])
def test_none(config: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert run(["pam", "db", "uri", *words]) == 1
    told = capsys.readouterr().err
    assert "open" in told
    assert "\x1b" not in told


def test_a_standalone_has_no_full_uri(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = opened(config)
    assert run(["pam", "db", "uri", "--replica-set"]) == 2
    assert "no replica set" in capsys.readouterr().err
    state.close()


def test_a_folder_that_can_not_be_used_is_told(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config / "sessions" / "lock").mkdir(parents=True)
    assert run(["pam", "db", "uri"]) == 1
    assert "can't be used" in capsys.readouterr().err


# --- sockets


def test_sockets_are_ours_alone() -> None:
    doors = SocketFolder()
    try:
        member = doors.open("db1:27017")
        assert stat.S_IMODE(doors.folder.stat().st_mode) == 0o700
        for listener in (doors.main, member):
            path = Path(listener.address)
            assert path.parent == doors.folder
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert listener.address == listener.address.lower()  # PyMongo and Go write what hello names in lower case
            assert listener.address.endswith(".sock")
            assert len(listener.address.encode()) < 104
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(listener.address)
    finally:
        doors.close()
    assert not doors.folder.exists()


def test_a_runtime_folder_that_others_can_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Path("/tmp") / f"wg-{os.getpid()}"
    short.mkdir(mode=0o700)
    try:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
        for mode, used in ((0o700, True), (0o777, False)):
            short.chmod(mode)
            doors = SocketFolder()
            assert (doors.folder.parent == short) == used
            doors.close()
    finally:
        short.rmdir()

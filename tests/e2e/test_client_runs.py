"""A client that is run by the access command, on the real chain; sockets, a single port, several sessions at once."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pymongo import MongoClient

from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.processes import Process
from wardgate.testing.stack import Access, Answer, Stack
from wardgate.testing.terminal import CTRL_C, Terminal

from .test_clients import _mongosh, _node, _pymongo

PYTHON = sys.executable
INSERT = (
    "import os, sys, pymongo; uri = os.environ['WARDGATE_URI']; assert sys.argv[1:] in ([], [uri]);"
    "c = pymongo.MongoClient(uri); c.client_runs.things.insert_one({}); print('inserted'); c.close(); sys.exit(5)"
)
Run = Callable[..., Answer]


def words(stack: Stack, resource: str = "rs", duration: str = "1h") -> list[str | Path]:
    return [
        *("pam", "db", "access", "--resource", resource, "--account", "rw", "--project-id", stack.project_id),
        *("--duration", duration),
    ]


@pytest.fixture
def run(stack: Stack) -> Run:
    """`run("--local-auth", "--", "mongosh", …)`."""

    def run_one(*rest: str | Path, resource: str = "rs", duration: str = "1h", **env: str) -> Answer:
        return stack.wardgate.run(*words(stack, resource, duration), *rest, check=False, env=env)

    return run_one


@pytest.fixture
def on_terminal(stack: Stack, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(*rest: str | Path, duration: str = "1h") -> Terminal:
        argv = [stack.wardgate.executable, *words(stack, duration=duration), *rest]
        opened.append(Terminal(argv, env=stack.wardgate.environment({"HOME": str(tmp_path)})))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def session_of(told: str) -> str:
    [found] = {word.strip(":") for word in told.split() if word.startswith("ses_")}
    return found


# --- the client and its session


def test_mongosh_in_one_line(stack: Stack, run: Run, mongosh: Path, tmp_path: Path) -> None:
    done = run("--", mongosh, "{uri}", "--quiet", "--norc", "--eval", "db.hello().setName", HOME=str(tmp_path))
    assert (done.status, done.out) == (0, "rs0\n")
    assert all(line.startswith("wardgate: ") for line in done.err.splitlines())
    session = stack.session(session_of(done.err))
    assert (session["status"], session["end_reason"]) == ("ended", "client_closed")


def test_the_uri_is_in_the_environment_too_and_the_status_is_the_clients(run: Run) -> None:
    done = run("--", PYTHON, "-c", INSERT)
    assert (done.status, done.out) == (5, "inserted\n")


def test_local_authentication_is_in_no_argument(run: Run) -> None:
    show = "import sys; print(sys.argv.pop(), open('/proc/self/cmdline').read().count('wgs' + '_'));"
    done = run("--local-auth", "--", PYTHON, "-c", show + INSERT, "--uri={uri}")
    shown, inserted = done.out.splitlines()
    assert (done.status, inserted) == (5, "inserted")
    assert shown.startswith("--uri=mongodb://rw@127.0.0.1:")
    assert shown.endswith("/ 0")


def test_events_beside_a_client(run: Run, tmp_path: Path) -> None:
    events = tmp_path / "events"
    done = run("--json", "--events", events, "--", PYTHON, "-c", INSERT, "{uri}")
    assert (done.status, done.out, done.err) == (5, "inserted\n", "")
    ready, *_, ended = map(json.loads, events.read_text().splitlines())
    assert ready["event"] == "ready"
    assert ended == {"event": "ended", "reason": "client_closed", "message": None, "client_exit": 5}


def test_an_unknown_client_opens_no_session(stack: Stack, run: Run) -> None:
    before = stack.wardgate.run("pam", "session", "list", "--project-id", stack.project_id, "--json").json()
    done = run("--", "no-such-client", "{uri}")
    assert done.status == 1
    assert "no-such-client" in done.err
    after = stack.wardgate.run("pam", "session", "list", "--project-id", stack.project_id, "--json").json()
    assert len(after) == len(before)


def test_a_session_that_expires_ends_its_client(run: Run) -> None:
    done = run("--", "sleep", "1000", duration="6s")
    assert done.status == 7
    assert "the session is over (expired); sleep is asked to end" in done.err.lower()


def test_a_session_that_is_terminated_ends_its_client(stack: Stack, tmp_path: Path) -> None:
    events = tmp_path / "events"
    script = "import time; print('begun', flush=True); time.sleep(1000)"
    argv = [*words(stack), "--json", "--events", events, "--", PYTHON, "-c", script]
    process: Process = stack.wardgate.start("client-run", *argv)
    try:
        process.wait_line(lambda line: line == "begun", 60)
        session_id = json.loads(events.read_text().splitlines()[0])["session_id"]
        stack.wardgate.run("pam", "session", "terminate", session_id)
        assert process.wait(30) == 7
    finally:
        process.stop()
    ended = json.loads(events.read_text().splitlines()[-1])
    assert (ended["event"], ended["reason"]) == ("ended", "terminated")
    assert ended["client_exit"] == 128 + signal.SIGTERM


def test_who_ends_us_ended_as_asked(stack: Stack) -> None:
    process = stack.wardgate.start("client-run-term", *words(stack), "--", "sh", "-c", "echo begun; exec sleep 1000")
    process.wait_line(lambda line: line == "begun", 60)
    assert process.stop() == 0
    assert "(client_closed)" in process.stderr()


# --- on a terminal


def test_ctrl_c_in_mongosh_is_mongoshs(on_terminal: Any, mongosh: Path) -> None:
    screen: Terminal = on_terminal("--", mongosh, "{uri}", "--norc", "--quiet")
    screen.expect(r"rw on rs for 1h", 60)
    screen.expect("test> $", 60)
    screen.type("print('busy'.toUpperCase()); sleep(10000)\n")
    screen.expect("BUSY")
    screen.type(CTRL_C)
    screen.expect("Stopping execution|interrupted")
    screen.expect("> $")
    screen.type("'ali' + 've'\n")
    screen.expect("\nalive")  # and has not heard of the end of a session
    assert "wardgate: session" not in screen.screen


def test_mongosh_asks_for_the_password_that_is_in_no_argument(on_terminal: Any, mongosh: Path) -> None:
    screen: Terminal = on_terminal("--local-auth", "--", mongosh, "{uri}", "--norc", "--quiet")
    password = screen.expect(r"the password is (wgs_\w+)", 60)[1]
    screen.expect("Enter password", 60)
    screen.type(password + "\n")
    screen.expect("test> $", 60)
    screen.type("db.things.countDocuments({nobody: 1}) + 41\n")
    screen.expect("\n41")
    screen.type(".exit\n")
    assert screen.wait() == 0


def test_the_screen_of_a_session_and_ctrl_c(on_terminal: Any) -> None:
    screen: Terminal = on_terminal()
    uri = screen.expect(r"\n  (mongodb://127\.0\.0\.1:\d+/)\n", 60)[1]
    screen.expect("No user name and no password are needed")
    screen.expect("left · 0 connections open")
    with MongoClient[dict[str, Any]](uri) as client:
        client.admin.command("ping")
        screen.expect(r"left · [1-9]\d* connections? open")
    screen.type(CTRL_C)
    screen.expect(r"Session ended \(client_closed\)")
    assert screen.wait() == 0


@pytest.mark.parametrize("client", [[], ["--", "sleep", "1000"]])
def test_a_terminal_that_is_closed_ends_the_session(stack: Stack, on_terminal: Any, client: list[str]) -> None:
    screen: Terminal = on_terminal(*client)
    session_id = screen.expect(r"ses_\w{26}", 60)[0]
    screen.hang_up()
    assert screen.wait() == 0
    session = stack.session(session_id)
    assert (session["status"], session["end_reason"]) == ("ended", "client_closed")


# --- sockets and a single port


@pytest.fixture
def shown_hosts() -> Callable[[str], list[str]]:
    """What hello says at a URI."""

    def ask(uri: str) -> list[str]:
        with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=15_000) as client:
            hello = client.admin.command("hello")
            assert hello["me"] in hello["hosts"]
            hosts: list[str] = hello["hosts"]
            return hosts

    return ask


def test_a_unix_socket(
    access: Any, node: Path, mongosh: Path, tmp_path: Path, shown_hosts: Callable[[str], list[str]]
) -> None:
    opened: Access = access("rs", "rw", "1h", "--socket")
    assert opened.port is None
    path = Path(unquote(opened.uri.removeprefix("mongodb://").removesuffix("/")))
    assert path.is_socket()
    assert shown_hosts(opened.uri) == [each["address"] for each in opened.members]
    assert all(Path(each).parent == path.parent for each in shown_hosts(opened.uri))
    assert opened.replica_set_uri is not None
    for uri in (opened.uri, opened.replica_set_uri, opened.uri + "?directConnection=true"):
        assert _pymongo(uri, "client_runs_socket")["transaction"] == "committed"
    assert _node(node, opened.uri, "client_runs_socket_node", tmp_path)["transaction"] == "committed"
    assert _mongosh(mongosh, opened.uri, "client_runs_socket_shell", tmp_path)["transaction"] == "committed"
    opened.close()
    assert not path.parent.exists()


def test_a_single_port(
    access: Any,
    node: Path,
    mongosh: Path,
    tmp_path: Path,
    mongod_rs1: MongoDeployment,
    shown_hosts: Callable[[str], list[str]],
) -> None:
    opened: Access = access("rs", "rw", "1h", "--single-port")
    address = f"127.0.0.1:{opened.port}"
    assert opened.replica_set_uri == f"mongodb://{address}/?replicaSet=rs0"
    assert opened.members == [{"address": address, "role": "primary", "member": mongod_rs1.members[0].address}]
    for uri in (opened.uri, opened.replica_set_uri, opened.uri + "?directConnection=true"):
        assert shown_hosts(uri) == [address]
        seen = _pymongo(uri, "client_runs_single")
        assert (seen["transaction"], seen["change"]) == ("committed", "watched")
    assert _node(node, opened.uri, "client_runs_single_node", tmp_path)["transaction"] == "committed"
    assert _mongosh(mongosh, opened.uri, "client_runs_single_shell", tmp_path)["transaction"] == "committed"


def test_a_single_port_at_a_standalone(access: Any) -> None:
    opened: Access = access("single", "rw", "1h", "--single-port")
    assert opened.replica_set_uri is None
    assert _pymongo(opened.uri, "client_runs_standalone")["kind"] == "Single"


# --- several at once


def test_the_uri_of_a_session_that_another_process_has(stack: Stack, access: Any) -> None:
    first: Access = access("rs", "rw")
    assert stack.wardgate.run("pam", "db", "uri", first.session_id).out == first.uri + "\n"
    second: Access = access("rs", "ro", "1h", "--local-auth")
    unclear = stack.wardgate.run("pam", "db", "uri", check=False)
    assert unclear.status == 2
    for each in (first, second):
        assert each.session_id in unclear.err
        assert stack.wardgate.run("pam", "db", "uri", each.session_id).out == each.uri + "\n"
        full = stack.wardgate.run("pam", "db", "uri", each.session_id, "--replica-set").out
        assert full == f"{each.replica_set_uri}\n"
        with MongoClient[dict[str, Any]](full.strip()) as client:
            client.admin.command("ping")
    first.close()
    assert first.session_id not in stack.wardgate.run("pam", "db", "uri", check=False).out
    second.process.kill()
    gone = stack.wardgate.run("pam", "db", "uri", second.session_id, check=False)
    assert gone.status == 1
    assert not (stack.wardgate.config / "sessions" / second.session_id).exists()


def test_a_port_that_is_taken_opens_no_session(stack: Stack, access: Any, run: Run) -> None:
    opened: Access = access("rs", "rw")
    refused = run("--port", str(opened.port))
    assert refused.status == 1
    assert f"Port {opened.port} is in use" in refused.err
    assert os.linesep.join(refused.err.splitlines()) == refused.err.strip()

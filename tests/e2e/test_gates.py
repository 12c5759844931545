"""The gates before a session, as people meet them on a terminal: a second factor, and somebody else's approval."""

from __future__ import annotations

import base64
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from pymongo import MongoClient

from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.stack import Stack, Wardgate
from wardgate.testing.terminal import CTRL_C, Terminal

PASSWORD = "correct horse battery staple"
ANN, BOSS = "ann@example.com", "boss@example.com"


@pytest.fixture(scope="module")
def guarded(mongod_rs1: MongoDeployment) -> Iterator[Stack]:
    """A product whose mail goes to a file, with the accounts `mfa` and `asked`."""
    folder = Path(tempfile.mkdtemp(prefix="wardgate-e2e-"))
    try:
        with Stack(folder) as stack:
            stack.init_server()
            stack.start_server("--dev-outbox", str(folder / "outbox"))
            stack.login()
            stack.create_project("shop")
            stack.start_gateway("near-db", stack.create_gateway("near-db"))
            stack.add_resource("rs", mongod_rs1)
            stack.add_account("mfa", "rs", mongod_rs1.ro, "--require-mfa")
            stack.add_account("asked", "rs", mongod_rs1.ro, "--require-approval")
            here = ("--project-id", stack.project_id)
            for email, role in ((ANN, "connector"), (BOSS, "admin")):
                stack.wardgate.run("user", "create", email, "--password-stdin", stdin=PASSWORD)
                stack.wardgate.run("role", "grant", role, "--user", email, *here)
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ann(guarded: Stack, tmp_path: Path) -> Wardgate:
    return logged_in(guarded, tmp_path / "ann", ANN)


def logged_in(stack: Stack, folder: Path, email: str) -> Wardgate:
    folder.mkdir()
    person = Wardgate(folder, stack.domain)
    person.run("login", "--email", email, "--password-stdin", stdin=PASSWORD)
    return person


def typing(person: Wardgate, *arguments: str) -> Terminal:
    """The person's command on a terminal."""
    return Terminal([person.executable, *arguments], env=person.environment({"TERM": "dumb"}), cwd=person.folder)


def access(stack: Stack, account: str, *more: str) -> tuple[str, ...]:
    place = ("--resource", "rs", "--account", account, "--project-id", stack.project_id, "--duration", "10m")
    return ("pam", "db", "access", *place, *more)


def works(terminal: Terminal) -> None:
    """The session on that terminal is there; it is ended with Ctrl+C."""
    uri = terminal.expect(r"mongodb://127\.0\.0\.1:\d+/\S*")[0]
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=5_000, directConnection=True) as client:
        assert client.admin.command("ping")["ok"] == 1
    terminal.type(CTRL_C)
    assert terminal.wait() == 0
    terminal.close()


def mailed(stack: Stack, short_code: str) -> str:
    """The code of the mail about that challenge."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        text = (stack.folder / "outbox").read_text() if (stack.folder / "outbox").exists() else ""
        for mail in text.split("Subject: wardgate: code for ")[1:]:
            if mail.startswith(short_code):
                found = re.search(r"Your code is (\d{4} \d{4})", mail)
                assert found is not None
                return found[1]
        time.sleep(0.05)
    raise AssertionError(f"no mail about {short_code}")


def test_a_code_by_mail_opens_the_session(guarded: Stack, ann: Wardgate) -> None:
    terminal = typing(ann, *access(guarded, "mfa"))
    short_code = terminal.expect(r"challenge ([0-9A-Z]{4}),")[1]
    terminal.type("0000 0000\n")
    terminal.expect("That code is wrong: 4 tries are left")
    terminal.expect("Code from the mail")  # what is typed before a hidden prompt is there is thrown away
    terminal.type(mailed(guarded, short_code) + "\n")
    works(terminal)


def test_a_program_is_told_what_is_asked(guarded: Stack, ann: Wardgate) -> None:
    refused = ann.run(*access(guarded, "mfa", "--json"), check=False)
    assert refused.status == 4
    problem = refused.problem()
    assert (problem["code"], problem["context"]["kind"]) == ("mfa_required", "email")
    assert refused.out == ""


def test_an_authenticator_app_from_its_set_up_to_the_session(guarded: Stack, tmp_path: Path) -> None:
    guarded.wardgate.run("user", "create", "totp@example.com", "--password-stdin", stdin=PASSWORD)
    here = ("--project-id", guarded.project_id)
    guarded.wardgate.run("role", "grant", "connector", "--user", "totp@example.com", *here)
    person = logged_in(guarded, tmp_path / "totp", "totp@example.com")
    setup = typing(person, "mfa", "totp")
    setup.expect("Password")
    setup.type(PASSWORD + "\n")
    typed = setup.expect(r"type the secret in: ([A-Z2-7 ]+)")[1].replace(" ", "")
    secret = base64.b32decode(typed + "=" * (-len(typed) % 8))

    def code(steps: int = 0) -> str:
        return TOTP(secret, 6, SHA1(), 30).generate(int(time.time()) + 30 * steps).decode()

    setup.expect("The code that the app shows now")
    setup.type(code() + "\n")
    recovery = setup.expect(r"((?:[0-9A-Z]{4}-){3}[0-9A-Z]{4})")[1]
    assert setup.wait() == 0
    setup.close()
    assert person.run("mfa", "status", "--json").json()["kind"] == "totp"

    terminal = typing(person, *access(guarded, "mfa"))
    terminal.expect("Code from your authenticator app")
    terminal.type(code(1) + "\n")  # the next one, which its drift allows: the present one is used up
    works(terminal)

    lost = typing(person, *access(guarded, "mfa"))
    lost.expect("Code from your authenticator app")
    lost.type(recovery.lower() + "\n")
    works(lost)


def test_an_approval_is_asked_for_waited_for_and_used(guarded: Stack, ann: Wardgate, tmp_path: Path) -> None:
    boss = logged_in(guarded, tmp_path / "boss", BOSS)
    refused = ann.run(*access(guarded, "asked", "--json"), check=False)
    assert (refused.status, refused.problem()["code"]) == (4, "approval_required")
    terminal = typing(ann, *access(guarded, "asked"))
    terminal.expect("Ask for it now, and wait?")
    terminal.type("y\n")
    terminal.expect("Reason")
    terminal.type("ticket 42\n")
    request_id = terminal.expect(r"Waiting for a decision on (req_[0-9a-z]{26})")[1]
    here = ("--project-id", guarded.project_id)
    (waiting,) = boss.run("pam", "request", "list", *here, "--pending", "--json").json()
    assert (waiting["id"], waiting["user"], waiting["reason"]) == (request_id, ANN, "ticket 42")
    own = ann.run("pam", "request", "approve", request_id, check=False)
    assert own.status == 4
    boss.run("pam", "request", "approve", request_id, "--note", "go ahead")
    terminal.expect("Approved by boss@example.com")
    works(terminal)
    boss.run("pam", "request", "deny", request_id)
    again = ann.run(*access(guarded, "asked", "--json"), check=False)
    assert again.problem()["code"] == "approval_required"

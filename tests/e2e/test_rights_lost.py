"""Every way of losing a right, with the real chain: the session ends, and nothing can be opened any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from wardgate.testing.stack import Access, Stack, Wardgate, wait_event

PASSWORD = "correct horse battery staple"
ANN = "ann@example.com"


class Actor:
    """A person or a program with a configuration folder of its own."""

    def __init__(self, stack: Stack, folder: Path, token: str | None = None) -> None:
        folder.mkdir()
        self.stack = stack
        self.wardgate = Wardgate(folder, stack.domain)
        if token is not None:
            self.wardgate.variables["WARDGATE_TOKEN"] = token

    def options(self, account: str) -> tuple[str, ...]:
        return ("--resource", "rs", "--account", account, "--project-id", self.stack.project_id, "--duration", "1h")

    def access(self, account: str = "rw") -> Access:
        process = self.wardgate.start("access", "pam", "db", "access", *self.options(account), "--json")
        return Access(process, wait_event(process, "ready"))

    def refusal(self, account: str = "rw") -> str:
        """The code of what keeps it out."""
        answer = self.wardgate.run("pam", "db", "access", *self.options(account), "--json", check=False)
        assert answer.status in (3, 4), answer
        code: str = answer.problem()["code"]
        return code


def loses(stack: Stack, actor: Actor, how: Callable[[], object], *codes: str, account: str = "rw") -> float:
    """Open a session, lose the right; seconds until the user was told. Then nothing opens."""
    with actor.access(account) as access, MongoClient[Any](access.uri, serverSelectionTimeoutMS=1_000) as client:
        assert client.admin.command("ping")["ok"] == 1
        how()
        lost = time.monotonic()
        assert access.wait_event("ended", 15)["reason"] == "rights_lost"
        seconds = time.monotonic() - lost
        with pytest.raises(PyMongoError):
            client.admin.command("ping")
    assert stack.session(access.session_id)["end_reason"] == "rights_lost"
    assert actor.refusal(account) in codes
    print(f"rights_lost after {seconds:.2f} s")
    return seconds


@pytest.fixture
def ann(stack: Stack, tmp_path: Path) -> Iterator[Actor]:
    """A connector by way of the group `devs`."""
    here = ("--project-id", stack.project_id)
    stack.wardgate.run("user", "create", ANN, "--password-stdin", stdin=PASSWORD)
    stack.wardgate.run("group", "create", "devs")
    stack.wardgate.run("group", "add", "devs", ANN)
    stack.wardgate.run("role", "grant", "connector", "--group", "devs", *here)
    actor = Actor(stack, tmp_path / "ann")
    actor.wardgate.run("login", "--email", ANN, "--password-stdin", stdin=PASSWORD)
    yield actor
    stack.wardgate.run("group", "remove", "devs", check=False)
    stack.wardgate.run("user", "remove", ANN, check=False)


@pytest.fixture
def ci(stack: Stack, tmp_path: Path) -> Iterator[Actor]:
    """A service that connects, with its secret in WARDGATE_TOKEN."""
    stack.wardgate.run("service", "create", "ci", "--json")
    stack.wardgate.run("role", "grant", "connector", "--service", "ci", "--project-id", stack.project_id)
    secret = stack.wardgate.run("service", "secret", "create", "ci", "--json").json()
    actor = Actor(stack, tmp_path / "ci", secret["secret"])
    yield actor
    stack.wardgate.run("service", "remove", "ci", check=False)


def secret_of(stack: Stack) -> str:
    found: str = stack.wardgate.run("service", "show", "ci", "--json").json()["secrets"][0]["id"]
    return found


def test_a_person_in_a_group(stack: Stack, ann: Actor) -> None:
    run = stack.wardgate.run
    loses(stack, ann, lambda: run("group", "drop", "devs", ANN), "not_found")
    run("group", "add", "devs", ANN)
    loses(stack, ann, lambda: run("group", "remove", "devs"), "not_found")
    role = ("role", "grant", "connector", "--user", ANN, "--project-id", stack.project_id)
    run(*role)
    loses(stack, ann, lambda: run("user", "remove", ANN), "not_logged_in")


def test_a_role_that_ends_by_itself(stack: Stack, ann: Actor) -> None:
    """Nobody does anything: time does."""
    stack.wardgate.run("group", "drop", "devs", ANN)
    role = ("role", "grant", "connector", "--user", ANN, "--project-id", stack.project_id)
    stack.wardgate.run(*role, "--duration", "8s")
    loses(stack, ann, lambda: None, "not_found")


def test_a_service(stack: Stack, ci: Actor) -> None:
    run = stack.wardgate.run
    assert ci.wardgate.run("whoami", "--json").json()["kind"] == "service"
    loses(stack, ci, lambda: run("service", "disable", "ci"), "not_logged_in", "invalid_credentials")
    run("service", "enable", "ci")
    loses(stack, ci, lambda: run("service", "update", "ci", "--network", "203.0.113.0/24"), "network_refused")
    run("service", "update", "ci", "--any-network")
    lost = loses(stack, ci, lambda: run("service", "secret", "revoke", "ci", secret_of(stack)), "invalid_credentials")
    assert lost >= 0


def test_an_account_that_asks_for_a_second_factor_anew(stack: Stack, ci: Actor) -> None:
    place = ("--project-id", stack.project_id, "--resource", "rs")
    change = ("pam", "account", "update", "ro", *place)
    try:
        loses(stack, ci, lambda: stack.wardgate.run(*change, "--require-mfa"), "mfa_required", account="ro")
    finally:
        stack.wardgate.run(*change, "--no-require-mfa")


def test_a_service_gets_a_token_of_an_hour(stack: Stack, ci: Actor, tmp_path: Path) -> None:
    secret = ci.wardgate.variables["WARDGATE_TOKEN"]
    token = stack.wardgate.run("service", "token", "--secret-stdin", stdin=secret).out.strip()
    assert token.startswith("wgt1_")
    other = Actor(stack, tmp_path / "job", token)
    assert other.wardgate.run("whoami", "--json").json()["email"] == "ci"
    with other.access("ro") as access:
        assert stack.session(access.session_id)["user"] == "ci"
    assert secret not in str(stack.wardgate.run("audit", "list", "--json").out)

"""Two people: one gives the other a role, who works with it until it is taken back, all with the commands they type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from wardgate.testing.processes import Process
from wardgate.testing.stack import Access, Answer, Stack, Wardgate, wait_event

PASSWORD = "correct horse battery staple"
ANN = "ann@example.com"


class Person:
    """Somebody with a login folder of their own."""

    def __init__(self, stack: Stack, folder: Path, email: str) -> None:
        folder.mkdir()
        self.stack = stack
        self.wardgate = Wardgate(folder, stack.domain)
        self.wardgate.run("login", "--email", email, "--password-stdin", stdin=PASSWORD)

    def options(self, account: str) -> tuple[str, ...]:
        return ("--resource", "rs", "--account", account, "--project-id", self.stack.project_id, "--duration", "1h")

    def refused(self, account: str) -> Answer:
        answer = self.wardgate.run("pam", "db", "access", *self.options(account), "--json", check=False)
        assert answer.status == 4, answer
        return answer

    def access(self, account: str) -> Access:
        process: Process = self.wardgate.start("access", "pam", "db", "access", *self.options(account), "--json")
        return Access(process, wait_event(process, "ready"))


@pytest.fixture
def ann(stack: Stack, tmp_path: Path) -> Any:
    """A user without a role."""
    stack.wardgate.run("user", "create", ANN, "--password-stdin", stdin=PASSWORD)
    yield Person(stack, tmp_path / "ann", ANN)
    stack.wardgate.run("user", "remove", ANN)


def test_a_role_is_given_used_and_taken_back(stack: Stack, ann: Person) -> None:
    here = ("--project-id", stack.project_id)
    assert ann.refused("ro").problem()["code"] == "not_found"
    place = (*here, "--resource", "rs", "--account", "ro")
    bound = stack.wardgate.run("role", "grant", "connector", "--user", ANN, *place, "--json").json()
    listed = stack.wardgate.run("role", "list", "--user", ANN, "--json").json()
    assert listed == [bound]
    assert ann.refused("rw").problem()["code"] == "not_found"
    with ann.access("ro") as access:
        with MongoClient[dict[str, Any]](access.uri, serverSelectionTimeoutMS=1_000) as client:
            assert client.admin.command("ping")["ok"] == 1
            stack.wardgate.run("role", "revoke", bound["id"])
            assert access.wait_event("ended", 15)["reason"] == "rights_lost"
            with pytest.raises(PyMongoError):
                client.admin.command("ping")
        assert access.process.wait(10) == 7
    assert stack.session(access.session_id)["end_reason"] == "rights_lost"
    assert ann.refused("ro").problem()["code"] == "not_found"


def test_who_is_disabled_loses_login_and_session(stack: Stack, ann: Person) -> None:
    stack.wardgate.run("role", "grant", "connector", "--user", ANN, "--project-id", stack.project_id)
    with ann.access("rw") as access:
        stack.wardgate.run("user", "disable", ANN)
        assert access.wait_event("ended", 15)["reason"] == "rights_lost"
    assert ann.wardgate.run("whoami", check=False).status == 3
    again = ann.wardgate.run("login", "--email", ANN, "--password-stdin", stdin=PASSWORD, check=False)
    assert again.status == 3

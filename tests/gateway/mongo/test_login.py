"""Logging in: the machine against scripted servers, and both mechanisms against a real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from wardgate.api.machine import Credentials
from wardgate.gateway.mongo.conversation import Conversation
from wardgate.gateway.mongo.errors import MongoError
from wardgate.gateway.mongo.login import Login
from wardgate.gateway.mongo.server import ServerConnection
from wardgate.scram import primitives as p
from wardgate.secret import Secret
from wardgate.testing import mongo as deployments
from wardgate.testing.mongo import MongoDeployment

TargetOf = Callable[..., Any]
PASSWORD = "correct horse"
SALT = b"0123456789abcdef"


class Server:
    """saslStart and saslContinue of an honest server, with knobs for dishonest ones."""

    def __init__(self, mechanisms: tuple[str, ...] = ("SCRAM-SHA-256", "SCRAM-SHA-1"), *, skips: bool = True) -> None:
        self.mechanisms = mechanisms
        self.skips = skips  # knows skipEmptyExchange
        self.iterations = 4096
        self.seen: list[dict[str, Any]] = []
        self._final: p.ServerFinal | None = None

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        self.seen.append(command)
        if "saslStart" in command:
            return self._start(command)
        if self._final is None:
            return {"ok": 1, "conversationId": 5, "done": True, "payload": b""}
        return self._prove(command["payload"])

    def _start(self, command: dict[str, Any]) -> dict[str, Any]:
        if command["mechanism"] not in self.mechanisms:
            return {"ok": 0, "code": 18, "errmsg": "Authentication failed."}
        self._mechanism = p.Mechanism(command["mechanism"])
        self._first = p.ClientFirst.parse(command["payload"])
        self._challenge = p.ServerFirst.make(self._first.nonce + b"srv", SALT, self.iterations)
        self._final = p.ServerFinal(b"x")
        return {"ok": 1, "conversationId": 5, "done": False, "payload": self._challenge.raw}

    def _prove(self, payload: bytes) -> dict[str, Any]:
        final = p.ClientFinal.parse(payload)
        prepared = p.prepare_password(self._mechanism, self._first.username, PASSWORD)
        keys = p.derive_keys(self._mechanism, prepared, SALT, self.iterations)
        signed = p.auth_message(self._first, self._challenge, final)
        if not p.proof_is_right(self._mechanism, p.stored_key(self._mechanism, keys.client_key), signed, final.proof):
            return {"ok": 0, "code": 18, "errmsg": "Authentication failed."}
        self._final = None
        proof = p.ServerFinal(p.server_signature(self._mechanism, keys.server_key, signed)).encode()
        return {"ok": 1, "conversationId": 5, "done": self.skips, "payload": proof}


def login(password: str = PASSWORD, mechanism: str = "auto") -> Login:
    return Login("ro", Secret(password), "admin", mechanism)


def drive(conversation: Conversation, answer: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    command = conversation.next(None)
    while command is not None:
        command = conversation.next(answer(command))


def refused(conversation: Conversation, answer: Callable[[dict[str, Any]], Mapping[str, Any]]) -> MongoError:
    with pytest.raises(MongoError) as caught:
        drive(conversation, answer)
    assert PASSWORD not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("skips", [True, False])
def test_login_in_two_or_three_rounds(skips: bool) -> None:
    server = Server(skips=skips)
    drive(login().conversation(), server.answer)
    assert [next(iter(each)) for each in server.seen] == ["saslStart"] + ["saslContinue"] * (1 if skips else 2)
    assert all(each["$db"] == "admin" for each in server.seen)
    assert server.seen[0]["options"] == {"skipEmptyExchange": True}
    assert {each["conversationId"] for each in server.seen[1:]} == {5}


def test_fallback_is_remembered() -> None:
    ours, server = login(), Server(("SCRAM-SHA-1",))
    drive(ours.conversation(), server.answer)
    assert [each["mechanism"] for each in server.seen if "saslStart" in each] == ["SCRAM-SHA-256", "SCRAM-SHA-1"]
    server.seen.clear()
    drive(ours.conversation(), server.answer)
    assert [each["mechanism"] for each in server.seen if "saslStart" in each] == ["SCRAM-SHA-1"]


def test_a_wrong_password_is_no_reason_for_another_mechanism() -> None:
    server = Server()
    assert refused(login("wrong").conversation(), server.answer).code == "login_failed"
    assert [each["mechanism"] for each in server.seen if "saslStart" in each] == ["SCRAM-SHA-256"]


def test_a_fixed_mechanism_is_never_left() -> None:
    server = Server(("SCRAM-SHA-1",))
    assert refused(login(mechanism="SCRAM-SHA-256").conversation(), server.answer).code == "login_failed"
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("told", "mechanisms"),
    [
        (["SCRAM-SHA-1"], ["SCRAM-SHA-1"]),
        (["SCRAM-SHA-1", "SCRAM-SHA-256"], ["SCRAM-SHA-256"]),
        (["PLAIN"], ["SCRAM-SHA-256", "SCRAM-SHA-1"]),
        (None, ["SCRAM-SHA-256", "SCRAM-SHA-1"]),
        ("SCRAM-SHA-1", ["SCRAM-SHA-256", "SCRAM-SHA-1"]),
        ([7, {}], ["SCRAM-SHA-256", "SCRAM-SHA-1"]),
    ],
)
def test_what_a_hello_teaches(told: object, mechanisms: list[str]) -> None:
    ours = login()
    assert ours.name_for_hello == "admin.ro"
    ours.learn(told)
    assert [each.value for each in ours.mechanisms] == mechanisms
    assert (ours.name_for_hello is None) == (len(mechanisms) == 1)


def test_api_version_is_added_where_it_is_demanded() -> None:
    server = Server()

    def strict(command: dict[str, Any]) -> dict[str, Any]:
        return server.answer(command) if command.get("apiVersion") == "1" else {"ok": 0, "code": 498870}

    drive(login().conversation(), strict)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ({"ok": 1}, "login_hostile"),
        ({"ok": 1, "payload": "text", "done": False}, "login_hostile"),
        ({"ok": 1, "payload": b"", "done": True}, "login_hostile"),
        ({"ok": 1, "payload": b"garbage", "done": False}, "login_hostile"),
        ({"ok": 1, "payload": b"r=x,s=QQ==,i=4096", "done": False}, "login_hostile"),
        ({"ok": 0, "code": 13, "errmsg": "\x1b[2Jno"}, "login_failed"),
        ({}, "login_failed"),
    ],
)
def test_hostile_first_replies(reply: dict[str, Any], code: str) -> None:
    error = refused(login().conversation(), lambda _: reply)
    assert error.code == code
    assert str(error).isprintable()


@pytest.mark.parametrize("iterations", [1, 4095, 100_001, 2_000_000_000])
def test_iteration_counts_that_are_not_taken(iterations: int) -> None:
    server = Server()
    server.iterations = iterations
    assert refused(login().conversation(), server.answer).code == "login_hostile"


def test_server_that_ends_before_it_proved_itself() -> None:
    server = Server()

    def early(command: dict[str, Any]) -> dict[str, Any]:
        return {**server.answer(command), "done": True}

    assert refused(login().conversation(), early).code == "login_hostile"


def test_server_with_a_wrong_signature() -> None:
    server = Server()

    def forged(command: dict[str, Any]) -> dict[str, Any]:
        reply = server.answer(command)
        return reply if "saslStart" in command else {**reply, "payload": p.ServerFinal(bytes(32)).encode()}

    ours = login()
    assert refused(ours.conversation(), forged).code == "login_hostile"
    assert len(ours.keys) == 0


def test_server_that_never_ends() -> None:
    server = Server(skips=False)

    def endless(command: dict[str, Any]) -> dict[str, Any]:
        return {**server.answer(command), "done": False}

    assert refused(login().conversation(), endless).code == "login_hostile"


def test_password_that_saslprep_prohibits() -> None:
    with pytest.raises(MongoError) as caught:
        login("bell\a").conversation().next(None)
    assert caught.value.code == "password_unusable"


def test_wiped_credentials_log_in_no_more() -> None:
    ours = login()
    drive(ours.conversation(), Server().answer)
    assert len(ours.keys) == 1
    ours.wipe()
    assert len(ours.keys) == 0
    assert refused(ours.conversation(), Server().answer).code == "login_failed"


def test_a_login_prints_no_secret() -> None:
    ours = Login("ro", Secret(PASSWORD), "admin")
    assert PASSWORD not in repr(Credentials(username="ro", password=PASSWORD, client_certificate=PASSWORD))
    assert PASSWORD not in f"{ours!r} {ours!s} {ours.conversation()!r}"


async def log_in(target: Any, ours: Login) -> list[Any]:
    async with await ServerConnection.open(target, target.seeds[0], purpose="test", login=ours) as connection:
        status = await connection.command({"connectionStatus": 1})
    return [(user["user"], user["db"]) for user in status["authInfo"]["authenticatedUsers"]]


@pytest.mark.parametrize("mechanisms", [["SCRAM-SHA-1"], ["SCRAM-SHA-256"], ["SCRAM-SHA-1", "SCRAM-SHA-256"]])
async def test_real_server(
    target_of: TargetOf, login_of: Callable[..., Login], mongod_rs1: MongoDeployment, mechanisms: list[str]
) -> None:
    name = f"user,{'='.join(mechanisms)}"
    user = deployments.Login(name, "pässwörd\u00a0/@:%", "shop")
    mongod_rs1.create_login(user, [], mechanisms)
    target, ours = target_of(mongod_rs1), login_of(user)
    assert await log_in(target, ours) == [(name, "shop")]
    assert await log_in(target, ours) == [(name, "shop")]
    assert ours.mechanisms[0] == max(mechanisms)
    assert len(ours.keys) == 1


async def test_real_server_without_a_hello(
    target_of: TargetOf, login_of: Callable[..., Login], mongod_rs1: MongoDeployment
) -> None:
    """As on a data stream: the login is the first thing on the socket, and the client's hello still comes after it."""
    user = mongod_rs1.create_login(deployments.Login("nohello", "pw", "admin"), [], ["SCRAM-SHA-1"])
    target = target_of(mongod_rs1)
    async with await ServerConnection.plain(target, target.seeds[0]) as connection:
        await connection.log_in(login_of(user))
        hello = await connection.handshake("somebody's client")
        assert hello["ok"] == 1


@pytest.mark.parametrize(("name", "password"), [("ro", "wrong"), ("nobody", "pw")])
async def test_real_refusals(target_of: TargetOf, mongod_rs1: MongoDeployment, name: str, password: str) -> None:
    with pytest.raises(MongoError) as caught:
        await log_in(target_of(mongod_rs1), Login(name, Secret(password), "admin"))
    assert caught.value.code == "login_failed"
    assert name in str(caught.value)


async def test_wrong_authentication_database(
    target_of: TargetOf, login_of: Callable[..., Login], mongod_rs1: MongoDeployment
) -> None:
    with pytest.raises(MongoError) as caught:
        await log_in(target_of(mongod_rs1), login_of(replace(mongod_rs1.ro, auth_db="elsewhere")))
    assert "elsewhere" in str(caught.value)

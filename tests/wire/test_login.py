"""The emulated server against the client of `scram`, and against what no client should send."""

from __future__ import annotations

import base64
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.scram.primitives import (
    ClientFinal,
    ClientFirst,
    Mechanism,
    ServerFinal,
    ServerFirst,
    auth_message,
    client_proof,
    derive_keys,
    prepare_password,
    server_signature,
)
from wardgate.secret import Secret
from wardgate.wire.login import LOGIN_COMMANDS, LoginAnswer, LoginEmulation, LoginKeys, is_login

SCRAM = list(Mechanism)


class Counting:
    """Stands in for randomness: never the same twice, always printable nonces."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(4, "big").rjust(size, b"r")[:size]


def server(password: str | None = None, *, required: bool = False) -> LoginEmulation:
    random = Counting()
    return LoginEmulation(LoginKeys(random, None if password is None else Secret(password)), random, required=required)


def say(emulation: LoginEmulation, name: str, **fields: Any) -> tuple[LoginAnswer, dict[str, Any]]:
    answer = emulation.answer(name, bson.encode({name: 1, **fields, "$db": "admin"}))
    return answer, dict(bson.decode(answer.document))


def scram(
    emulation: LoginEmulation,
    mechanism: Mechanism,
    password: str,
    *,
    user: str = "ada",
    skip_empty: bool = True,
    last: bytes = b"",
) -> tuple[LoginAnswer, bool]:
    """A client's whole conversation; whether the server proved itself."""
    first = ClientFirst(user, b"clientnonce")
    _, reply = say(
        emulation,
        "saslStart",
        mechanism=mechanism.value,
        payload=first.encode(),
        options={"skipEmptyExchange": skip_empty},
    )
    assert reply["ok"] == 1.0
    assert reply["done"] is False
    server_first = ServerFirst.parse(reply["payload"])
    assert server_first.nonce.startswith(first.nonce)
    prepared = prepare_password(mechanism, user, password)
    keys = derive_keys(mechanism, prepared, server_first.salt, server_first.iterations)
    final = ClientFinal(server_first.nonce, b"?")
    message = auth_message(first, server_first, final)
    final = ClientFinal(server_first.nonce, client_proof(mechanism, keys.client_key, message))
    answer, reply = say(emulation, "saslContinue", conversationId=reply["conversationId"], payload=final.encode())
    if reply["ok"] != 1.0:
        return answer, False
    proved = ServerFinal.parse(reply["payload"]).signature == server_signature(mechanism, keys.server_key, message)
    assert reply["done"] is skip_empty
    if not skip_empty:
        assert not answer.finished
        answer, reply = say(emulation, "saslContinue", conversationId=reply["conversationId"], payload=last)
        assert reply == {"conversationId": reply["conversationId"], "done": True, "payload": b"", "ok": 1.0}
    return answer, proved


@pytest.mark.parametrize("mechanism", SCRAM)
@pytest.mark.parametrize("skip_empty", [True, False])
@pytest.mark.parametrize("password", ["", "session-pass"])
def test_scram_with_the_empty_or_the_session_password(mechanism: Mechanism, skip_empty: bool, password: str) -> None:
    emulation = server("session-pass")
    for _ in range(2):
        answer, proved = scram(emulation, mechanism, password, skip_empty=skip_empty)
        assert proved
        assert (answer.finished, answer.succeeded, answer.mechanism) == (True, True, mechanism)


def test_the_last_exchange_need_not_be_empty() -> None:
    """Java's driver 3.6 says in it what it was told before, and mongod does not look."""
    answer, proved = scram(server(), Mechanism.SHA_1, "", skip_empty=False, last=b"v=c2lnbmF0dXJl")
    assert (proved, answer.finished, answer.succeeded) == (True, True, True)


@pytest.mark.parametrize("mechanism", SCRAM)
@pytest.mark.parametrize("session_password", [None, "session-pass"])
def test_scram_with_another_password_says_what_to_do(mechanism: Mechanism, session_password: str | None) -> None:
    emulation = server(session_password)
    answer, proved = scram(emulation, mechanism, "their own")
    assert not proved
    assert (answer.finished, answer.succeeded) == (True, False)
    document = bson.decode(answer.document)
    assert (document["code"], document["codeName"]) == (18, "AuthenticationFailed")
    assert "remove user and password" in document["errmsg"]
    assert emulation.open


def test_the_names_of_users_do_not_matter() -> None:
    for user in ("", "a=b,c", "grün"):
        for mechanism in SCRAM:
            answer, proved = scram(server(), mechanism, "", user=user)
            assert proved
            assert answer.succeeded


def test_plain_and_x509_always_succeed() -> None:
    emulation = server()
    answer, reply = say(emulation, "saslStart", mechanism="PLAIN", payload=b"\0ada\0whatever")
    assert answer.succeeded
    assert reply["done"] is True
    answer, reply = say(emulation, "saslStart", mechanism="PLAIN", payload=base64.b64encode(b"\0ada\0x").decode())
    assert answer.succeeded
    answer, reply = say(emulation, "authenticate", mechanism="MONGODB-X509", user="CN=ada")
    assert answer.succeeded
    assert reply == {"dbname": "$external", "user": "CN=ada", "ok": 1.0}


@pytest.mark.parametrize("field", ["db", "pwd", "<b>db</b>", "n" * 99])
def test_x509_with_a_field_that_mongodb_does_not_know_is_refused_as_by_mongodb(field: str) -> None:
    emulation = server()
    command: dict[str, Any] = {"mechanism": "MONGODB-X509", "user": "CN=ada", field: "$external"}
    answer, reply = say(emulation, "authenticate", **command)
    assert (answer.finished, answer.succeeded) == (True, False)
    shown = field.replace("<", "").replace(">", "").replace("/", "")[:40] if len(field) < 40 else field[:40]
    assert reply["errmsg"] == f"BSON field 'authenticate.{shown}' is an unknown field."
    assert (reply["code"], reply["codeName"]) == (40415, "Location40415")


def test_x509_with_what_every_command_may_have_succeeds() -> None:
    more = {
        "lsid": {"id": 1},
        "$db": "$external",
        "$clusterTime": {},
        "apiVersion": "1",
        "comment": "x",
        "maxTimeMS": 5,
    }
    assert say(server(), "authenticate", mechanism="MONGODB-X509", **more)[0].succeeded


@pytest.mark.parametrize("mechanism", ["GSSAPI", "MONGODB-AWS", "MONGODB-OIDC", "scram-sha-256", "<script>", ""])
def test_other_mechanisms(mechanism: str) -> None:
    answer, reply = say(server(), "saslStart", mechanism=mechanism, payload=b"x")
    assert answer.finished
    assert reply["code"] == 18
    assert "<" not in reply["errmsg"]


def test_logout_and_getnonce_are_answered() -> None:
    assert say(server(), "logout")[1] == {"ok": 1.0}
    nonce = say(server(), "getnonce")[1]
    assert nonce["ok"] == 1.0
    assert len(nonce["nonce"]) == 16


def test_the_oldest_login_is_refused() -> None:
    assert say(server(), "authenticate", user="ada", nonce="x", key="y")[1]["code"] == 18


def test_required_login() -> None:
    emulation = server("session-pass", required=True)
    assert not emulation.open
    assert emulation.allows("hello")
    assert emulation.allows("saslStart")
    assert not any(map(emulation.allows, ("find", "ping", "buildInfo", "endSessions")))
    for mechanism in SCRAM:
        assert not scram(emulation, mechanism, "")[0].succeeded
    for payload in (b"\0ada\0", b"\0ada\0wrong", b"session-pass"):
        answer, reply = say(emulation, "saslStart", mechanism="PLAIN", payload=payload)
        assert not answer.succeeded
        assert "session password" in reply["errmsg"]
    assert say(emulation, "authenticate", mechanism="MONGODB-X509")[1]["code"] == 18
    assert not emulation.open
    for mechanism in SCRAM:
        assert scram(emulation, mechanism, "session-pass")[0].succeeded
        assert emulation.open
        assert emulation.allows("find")
        say(emulation, "logout")
        assert not emulation.open
    assert say(emulation, "saslStart", mechanism="PLAIN", payload=b"\0ada\0session-pass")[0].succeeded
    assert emulation.open


def test_required_without_a_password_lets_nobody_in() -> None:
    emulation = server(None, required=True)
    assert not scram(emulation, Mechanism.SHA_256, "")[0].succeeded
    assert not say(emulation, "saslStart", mechanism="PLAIN", payload=b"\0a\0")[0].succeeded


def test_wiped_keys_let_nobody_in() -> None:
    random = Counting()
    keys = LoginKeys(random, Secret("session-pass"))
    emulation = LoginEmulation(keys, random, required=True)
    assert scram(emulation, Mechanism.SHA_256, "session-pass")[0].succeeded
    say(emulation, "logout")
    keys.wipe()
    assert not scram(emulation, Mechanism.SHA_256, "session-pass")[0].succeeded
    assert not keys.is_password(b"")


def test_a_conversation_can_not_be_taken_up_elsewhere() -> None:
    emulation = server()
    say(emulation, "saslStart", mechanism="SCRAM-SHA-256", payload=b"n,,n=a,r=abc")
    assert say(emulation, "saslContinue", conversationId=77, payload=b"")[1]["code"] == 18
    assert say(emulation, "saslContinue", conversationId=1, payload=b"")[1]["code"] == 18
    assert say(server(), "saslContinue", conversationId=1, payload=b"")[1]["code"] == 18


def test_a_nonce_that_is_not_ours() -> None:
    emulation = server()
    _, reply = say(emulation, "saslStart", mechanism="SCRAM-SHA-256", payload=b"n,,n=a,r=abc")
    final = ClientFinal(b"other", b"p" * 32).encode()
    assert say(emulation, "saslContinue", conversationId=reply["conversationId"], payload=final)[1]["code"] == 18


def test_keys_are_made_once_for_all_connections() -> None:
    random = Counting()
    keys = LoginKeys(random)
    offers = {id(keys.offer(Mechanism.SHA_256, name, required=False)) for name in ("a", "b")}
    assert len(offers) == 1
    names = [f"user {i}" for i in range(70)]
    for name in names:
        keys.offer(Mechanism.SHA_1, name, required=False)
    assert len(keys._offers) <= 64, "a client can't fill the memory with names"


def test_names() -> None:
    assert is_login("saslStart")
    assert not is_login("find")


@given(
    name=st.sampled_from(sorted(LOGIN_COMMANDS)),
    fields=st.dictionaries(
        st.sampled_from(["mechanism", "payload", "conversationId", "options", "user"]),
        st.one_of(
            st.sampled_from(
                ["SCRAM-SHA-256", "PLAIN", b"n,,n=a,r=b", b"c=biws,r=b,p=AAAA", 1, 1.5, None, {"skipEmptyExchange": 1}]
            ),
            st.binary(max_size=20),
            st.text(max_size=10),
        ),
    ),
)
def test_nothing_that_a_client_says_raises(name: str, fields: dict[str, Any]) -> None:
    emulation = server()
    for _ in range(2):
        say(emulation, name, **fields)
        say(emulation, "saslContinue", **fields)
        emulation.answer(name, b"\5\0\0\0\1")

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Code
from hypothesis import given
from hypothesis import strategies as st

from wardgate.command.catalogue import CATALOGUE
from wardgate.command.placeholders import MASK
from wardgate.command.sensitive import SENSITIVE, is_sensitive, record_body

from .build import command, query

SECRET = "hunter2-hunter2"


def test_the_list_of_the_specification() -> None:
    assert {
        "authenticate", "saslStart", "saslContinue", "getnonce", "createUser", "updateUser", "copydbgetnonce",
        "copydbsaslstart", "copydb",
    } == SENSITIVE  # fmt: skip
    assert is_sensitive("createUser")
    assert not is_sensitive("hello")
    assert is_sensitive("hello", speculative=True)
    assert not is_sensitive("find", speculative=True)


def test_ordinary_commands_are_recorded_as_they_came() -> None:
    found = command({"insert": "c", "ordered": True}, sequences={"documents": [{"pwd": "data"}, {"_id": 2}]})
    recorded = record_body(found)
    assert recorded.body == found.request.body
    assert recorded.sequences == (("documents", bson.encode({"pwd": "data"}) + bson.encode({"_id": 2})),)
    assert recorded.masked == ()
    assert record_body(command({"find": "c", "filter": {"password": "x"}})).masked == ()


@pytest.mark.parametrize(
    ("document", "masked"),
    [
        ({"createUser": "eve", "pwd": SECRET, "roles": ["read"], "mechanisms": ["SCRAM-SHA-256"]}, ["pwd"]),
        ({"updateUser": "eve", "pwd": SECRET, "customData": {"a": 1}}, ["pwd"]),
        ({"updateUser": "eve", "pwd": {"odd": SECRET}}, ["pwd"]),
        ({"saslStart": 1, "mechanism": "PLAIN", "payload": SECRET.encode()}, ["payload"]),
        ({"saslContinue": 1, "conversationId": 1, "payload": SECRET.encode()}, ["payload"]),
        ({"authenticate": 1, "user": "eve", "nonce": SECRET, "key": SECRET}, ["nonce", "key"]),
        ({"copydb": 1, "fromhost": "h", "key": SECRET}, ["key"]),
        (
            {"hello": 1, "speculativeAuthenticate": {"saslStart": 1, "payload": SECRET.encode()}},
            ["speculativeAuthenticate"],
        ),
        ({"createuser": "typo", "pwd": SECRET}, ["pwd"]),
        ({"noSuchCommand": {"deep": [{"PassWord": SECRET}]}}, ["noSuchCommand.deep.0.PassWord"]),
        ({"setParameter": 1, "ldapBindPassword": SECRET, "logLevel": 1}, ["ldapBindPassword"]),
        ({"explain": {"createUser": "eve", "pwd": SECRET}}, ["explain.pwd"]),
        ({"rotateCertificates": 1, "password": SECRET}, ["password"]),
        ({"configureFailPoint": "x", "data": {"secret": SECRET}}, ["data.secret"]),
        ({"_someInternal": 1, "credentials": {"k": SECRET}}, ["credentials"]),
    ],
)
def test_secrets_are_masked(document: dict[str, Any], masked: list[str]) -> None:
    recorded = record_body(command(document))
    assert SECRET.encode() not in recorded.body
    assert list(recorded.masked) == masked
    shown = bson.decode(recorded.body)
    assert list(shown) == [*document, "$db"], "everything keeps its place"
    if len(masked) == 1 and "." not in masked[0]:
        assert str(shown[masked[0]]).startswith(MASK)
        for name in document.keys() - set(masked):
            assert shown[name] == document[name]


def test_placeholders_are_typed_and_tell_no_length() -> None:
    shown = bson.decode(record_body(command({"createUser": "eve", "pwd": "x"})).body)
    longer = bson.decode(record_body(command({"createUser": "eve", "pwd": "x" * 99})).body)
    assert shown == longer
    assert shown["pwd"] == f"{MASK}:string"


@pytest.mark.parametrize(
    ("document", "sequences"),
    [
        ({"insert": "system.users"}, {"documents": [{"user": "eve", "credentials": {"SCRAM-SHA-1": SECRET}}]}),
        ({"insert": "system.users", "documents": [{"credentials": SECRET}]}, {}),
        ({"update": "system.users", "updates": [{"q": {}, "u": {"$set": {"credentials": SECRET}}}]}, {}),
        ({"applyOps": [{"op": "c", "o": {"createUser": "eve", "pwd": SECRET}}]}, {}),
        ({"bulkWrite": 1, "ops": [{"document": {"x": SECRET}}], "nsInfo": [{"ns": "admin.system.users"}]}, {}),
    ],
)
def test_what_could_hold_credentials_anywhere_is_withheld(
    document: dict[str, Any], sequences: dict[str, list[dict[str, Any]]]
) -> None:
    recorded = record_body(command(document, "admin", sequences))
    assert SECRET.encode() not in recorded.body
    assert recorded.sequences == ()
    assert recorded.masked == ("*",)
    shown = bson.decode(recorded.body)
    assert next(iter(shown)) == next(iter(document))
    assert shown["$db"] == "admin"
    assert "withheld" in shown[MASK]


def test_a_handshake_in_an_old_query() -> None:
    recorded = record_body(query({"$query": {"ismaster": 1, "speculativeAuthenticate": {"payload": SECRET}}}))
    assert SECRET.encode() not in recorded.body
    assert recorded.masked == ("speculativeAuthenticate",)


def test_a_repeated_secret_is_masked_each_time() -> None:
    found = command({"noSuchCommand": 1, "list": [{"pwd": SECRET}, {"pwd": Code(SECRET)}]})
    assert SECRET.encode() not in record_body(found).body


@given(
    name=st.sampled_from([*sorted(SENSITIVE), "grantRolesToUser", "createRole", "unknownThing"]),
    place=st.sampled_from(["pwd", "payload", "key", "nonce", "credentials", "PWD", "password", "Secret"]),
    wrap=st.integers(0, 3),
)
def test_no_secret_field_of_such_a_command_survives(name: str, place: str, wrap: int) -> None:
    value: Any = SECRET
    for _ in range(wrap):
        value = {"a": [value, {"b": value}]}
    recorded = record_body(command({name: 1, "x": {place: value}, place: value}))
    assert SECRET.encode() not in recorded.body


def test_every_command_can_be_recorded() -> None:
    for entry in CATALOGUE.values():
        document: dict[str, Any] = {entry.name: [] if "Sessions" in entry.name else "x", "pwd": "data"}
        if entry.name != "explain":
            assert record_body(command(document)).body

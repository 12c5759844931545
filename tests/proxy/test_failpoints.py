"""A test tool's fail points reach what they mean: its own connections, and the logins that end at the gateway."""

from __future__ import annotations

from typing import Any

import bson
import pytest

from wardgate.audit import records as audit
from wardgate.policy.decide import Policy
from wardgate.testing.playbook import SESSION, Playbook, command, document_of, reply
from wardgate.wire.metadata import attribution

POINT: dict[str, Any] = {
    "configureFailPoint": "failCommand",
    "mode": {"times": 1},
    "data": {"failCommands": ["hello"], "appName": "mine"},
}


@pytest.fixture
def admin() -> Playbook:
    play = Playbook(policy=Policy(allow_admin=True))
    play.ready()
    return play


def test_it_asks_for_the_name_in_the_handshake(admin: Playbook) -> None:
    request = command(POINT, 7, database="admin")
    assert admin.client(request) == ["record intent configureFailPoint", ">> configureFailPoint #7"]
    sent = document_of(admin.to_server)
    assert sent["data"] == {"failCommands": ["hello"], "appName": f"{attribution('ann@example.com', SESSION)}|mine"}
    (intent,) = admin.records
    assert isinstance(intent, audit.CommandIntent)
    assert bson.decode(intent.body)["data"]["appName"] == "mine"  # as the client sent it
    assert intent.bytes_in == len(request)


def test_without_a_name_it_goes_as_it_came(admin: Playbook) -> None:
    request = command({**POINT, "data": {"failCommands": ["find"]}}, 7, database="admin")
    admin.client(request)
    assert admin.to_server == request


def test_it_needs_allow_admin() -> None:
    play = Playbook()
    play.ready()
    assert play.client(command(POINT, 7, database="admin"))[0].startswith("record denied")
    assert play.to_server == b""


def login(name: str, request_id: int) -> bytes:
    """A login command that needs no conversation."""
    return command({name: 1, "mechanism": "MONGODB-X509"}, request_id, database="$external")


def test_a_login_fails_as_the_server_was_told(admin: Playbook) -> None:
    data = {"failCommands": ["authenticate", "ping"], "errorCode": 91, "errorLabels": ["A"]}
    admin.client(command({**POINT, "data": data}, 7, database="admin"))
    admin.server(reply(7))
    assert admin.client(login("getnonce", 8)) == ["<< #8 ok=1 held"]
    told = len(admin.to_client)
    assert admin.client(login("authenticate", 9)) == ["<< #9 ok=0 code=91 held"]
    answer = document_of(admin.to_client[told:])
    assert (answer["codeName"], answer["errorLabels"]) == ("ShutdownInProgress", ["A"])
    assert admin.client(login("authenticate", 10)) == ["<< #10 ok=1 held"]  # it was for one time


def test_a_login_loses_its_connection(admin: Playbook) -> None:
    data = {"failCommands": ["getnonce"], "closeConnection": True, "appName": "app"}
    admin.client(command({**POINT, "data": data}, 7, database="admin"))
    admin.server(reply(7))
    lines = admin.client(login("getnonce", 8))
    assert lines == ["abort server", "record closed fail_point", "close client"]


def test_a_fail_point_that_the_server_did_not_take_does_nothing(admin: Playbook) -> None:
    data = {"failCommands": ["getnonce"], "closeConnection": True}
    admin.client(command({**POINT, "data": data}, 7, database="admin"))
    admin.server(reply(7, ok=0.0, code=59))
    assert admin.client(login("getnonce", 8)) == ["<< #8 ok=1 held"]

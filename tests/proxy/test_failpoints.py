"""A test tool's fail point for its own connections reaches them, though their name is another at the server."""

from __future__ import annotations

from typing import Any

import bson
import pytest

from wardgate.audit import records as audit
from wardgate.policy.decide import Policy
from wardgate.testing.playbook import SESSION, Playbook, command, document_of
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

"""A fail point hits the connections that its application name means, whose name we have changed on the way."""

from __future__ import annotations

import bson
import pytest

from wardgate.wire import metadata
from wardgate.wire.failpoint import attributed
from wardgate.wire.header import build_msg
from wardgate.wire.message import OpMsg, parse_request

US = "wardgate:ann@example.com:ses_01k00000000000000000000000"


def _message(command: dict[str, object]) -> bytes:
    return build_msg(bson.encode({"configureFailPoint": "failCommand", **command, "$db": "admin"}), 7)


def _body(raw: bytes) -> dict[str, object]:
    request = parse_request(raw)
    assert isinstance(request, OpMsg)
    return dict(bson.decode(request.body))


def test_the_name_is_the_one_in_our_handshake() -> None:
    raw = _message({"mode": {"times": 2}, "data": {"failCommands": ["hello"], "appName": "mine", "errorCode": 91}})
    sent = attributed(parse_request(raw), US)
    element = metadata.element(bson.encode({"application": {"name": "mine"}}), US, 512)
    handshake = bson.decode(element[len(b"\3client\0") :])
    expected = _body(raw)
    expected["data"] = {"failCommands": ["hello"], "appName": handshake["application"]["name"], "errorCode": 91}
    assert _body(sent) == expected
    assert list(_body(sent)) == list(_body(raw))
    assert parse_request(sent).request_id == 7


@pytest.mark.parametrize("data", [None, 5, {}, {"appName": 5}, {"appName": ["mine"]}, {"other": {"appName": "mine"}}])
def test_anything_else_goes_as_it_came(data: object) -> None:
    raw = _message({"mode": "off", "data": data})
    assert attributed(parse_request(raw), US) is raw


def test_an_empty_name_means_every_connection_without_one() -> None:
    sent = attributed(parse_request(_message({"data": {"appName": ""}})), US)
    assert _body(sent)["data"] == {"appName": US}


def test_a_long_name_is_cut_as_in_the_handshake() -> None:
    sent = attributed(parse_request(_message({"data": {"appName": "m" * 128}})), US)
    data = _body(sent)["data"]
    assert isinstance(data, dict)
    assert len(data["appName"]) == 128
    assert data["appName"].startswith(f"{US}|mmm")


def test_logins_are_failed_here_and_not_at_the_server() -> None:
    """There the same names would hit the gateway's own login."""
    raw = _message({"mode": {"times": 2}, "data": {"failCommands": ["ping", "saslContinue"], "closeConnection": True}})
    expected = _body(raw)
    expected["data"] = {"failCommands": ["ping"], "closeConnection": True}
    assert _body(attributed(parse_request(raw), US)) == expected
    only = _message({"mode": "alwaysOn", "data": {"failCommands": ["saslStart"], "appName": "mine"}})
    assert _body(attributed(parse_request(only), US))["data"] == {"failCommands": [], "appName": f"{US}|mine"}
    for odd in (["ping", 5], "saslStart", []):
        message = _message({"mode": "off", "data": {"failCommands": odd}})
        assert attributed(parse_request(message), US) is message

from __future__ import annotations

import bson
import pytest

from wardgate.wire.errors import LocalProtocolError, MongoCode, error_document, error_reply, ok_reply
from wardgate.wire.header import header_of
from wardgate.wire.message import MORE_TO_COME, OpMsg, OpReply, parse_reply, parse_request

from .messages import command, query

PING = {"ping": 1, "$db": "admin"}


def test_an_error_in_the_requests_own_dialect() -> None:
    answer = error_reply(parse_request(command(PING)), 3, MongoCode.UNAUTHORIZED, "no")
    assert isinstance(parse_reply(answer), OpMsg)
    assert header_of(answer)[1:3] == (3, 7)
    document = bson.decode(parse_reply(answer).body)
    assert list(document.items()) == [("ok", 0.0), ("errmsg", "no"), ("code", 13), ("codeName", "Unauthorized")]
    answer = error_reply(parse_request(query({"ismaster": 1})), 3, 6, "gone")
    assert isinstance(parse_reply(answer), OpReply)
    assert bson.decode(parse_reply(answer).body)["codeName"] == "HostUnreachable"


def test_codes_without_a_name() -> None:
    assert MongoCode.NO_DATABASE.code_name == "Location40571"
    assert bson.decode(error_document(12345, None, "x"))["codeName"] == "Location12345"
    assert bson.decode(error_document(1, "Mine", "x"))["codeName"] == "Mine"


def test_labels_and_long_messages() -> None:
    document = bson.decode(error_document(91, None, "é" * 5_000, ["RetryableWriteError"]))
    assert document["errorLabels"] == ["RetryableWriteError"]
    assert len(document["errmsg"]) == 2_000


def test_no_reply_slot() -> None:
    request = parse_request(command(PING, flags=MORE_TO_COME))
    with pytest.raises(LocalProtocolError):
        ok_reply(request, 1, bson.encode({"ok": 1.0}))


def test_every_code_has_a_name() -> None:
    assert all(code.code_name for code in MongoCode)

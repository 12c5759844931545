from __future__ import annotations

import contextlib
import struct

import bson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wardgate.command.facts import parse
from wardgate.wire.errors import LocalProtocolError, MongoCode, ProtocolError, RemoteProtocolError
from wardgate.wire.header import HEADER, Opcode, check_length, header_of
from wardgate.wire.message import (
    EXHAUST_ALLOWED,
    MORE_TO_COME,
    OpMsg,
    OpQuery,
    OpReply,
    build_msg,
    build_reply,
    parse_reply,
    parse_request,
    refusal,
)

from .messages import body, command, message, msg, query, reply, sequence

PING = {"ping": 1, "$db": "admin"}


def opened(raw: bytes) -> OpMsg:
    parsed = parse_request(raw)
    assert isinstance(parsed, OpMsg)
    return parsed


def refused(raw: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_request(raw)
    return caught.value


def test_a_plain_command() -> None:
    raw = command(PING, request_id=-5)
    parsed = opened(raw)
    assert parsed.raw is raw
    assert (parsed.request_id, parsed.flags, parsed.sequences) == (-5, 0, ())
    assert bson.decode(parsed.body) == PING
    assert not parsed.more_to_come
    assert not parsed.exhaust_allowed


def test_a_message_never_shows_its_content() -> None:
    assert "hunter2" not in repr(opened(command({"x": "hunter2", "$db": "a"})))


@pytest.mark.parametrize("first", [True, False], ids=["body first", "sequence first"])
def test_sections_in_any_order(first: bool) -> None:
    insert = body({"insert": "c", "$db": "d"})
    documents = sequence("documents", {"_id": 1}, {"_id": 2, "x": "y"})
    parsed = opened(msg(insert, documents) if first else msg(documents, insert))
    assert bson.decode(parsed.body) == {"insert": "c", "$db": "d"}
    (found,) = parsed.sequences
    assert (found.identifier, found.documents) == ("documents", 2)
    assert parsed.raw[found.start : found.end] == bson.encode({"_id": 1}) + bson.encode({"_id": 2, "x": "y"})


def test_two_sequences() -> None:
    parsed = opened(
        msg(sequence("ops", {"insert": 0}), body({"bulkWrite": 1, "$db": "admin"}), sequence("nsInfo", {"ns": "a.b"}))
    )
    assert [(s.identifier, s.documents) for s in parsed.sequences] == [("ops", 1), ("nsInfo", 1)]


def test_an_empty_sequence() -> None:
    assert opened(msg(body({"insert": "c", "$db": "d"}), sequence("documents"))).sequences[0].documents == 0


def test_flags() -> None:
    assert opened(command(PING, flags=MORE_TO_COME)).more_to_come
    assert opened(command(PING, flags=EXHAUST_ALLOWED)).exhaust_allowed
    opened(command(PING, flags=1 << 20))  # unknown optional bits are ignored
    for bit in range(2, 16):
        assert refused(command(PING, flags=1 << bit)).mongo_code is None


def test_checksums() -> None:
    raw = msg(body(PING), checksum=True)
    assert opened(raw).checksum_present
    assert bson.decode(opened(raw).body) == PING
    wrong = raw[:-1] + bytes((raw[-1] ^ 1,))
    assert refused(wrong).code == "wrong_checksum"
    assert refused(wrong).mongo_code is None
    assert opened(msg(body({"insert": "c", "$db": "d"}), sequence("documents", {}), checksum=True)).sequences


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ([body(PING), body(PING)], MongoCode.REPEATED_BODY),
        ([sequence("documents", {}), sequence("x", {})], MongoCode.NO_BODY),
        ([body(PING), sequence("documents"), sequence("documents")], MongoCode.REPEATED_SEQUENCE),
        ([body(PING), b"\2" + bson.encode({})], MongoCode.UNKNOWN_SECTION),
        ([body(PING), b"\x09rest"], MongoCode.UNKNOWN_SECTION),
        ([body(PING), sequence("documents", b"\6\0\0\0\0")], MongoCode.INVALID_BSON),
        ([body(PING), sequence("documents", b"\5\0\0\0\1")], MongoCode.INVALID_BSON),
        ([body(PING), sequence("documents", b"\xff\xff\xff\x7f\0")], MongoCode.INVALID_BSON),
        ([body(PING), sequence("documents", b"\0\0\0\0\0")], MongoCode.INVALID_BSON),
        ([body(PING), sequence("documents", b"\5\0")], MongoCode.INVALID_BSON),
        ([body(PING), b"\1\xff\xff\xff\x7fx\0"], MongoCode.INVALID_BSON),
        ([body(PING), b"\1\x03\0\0\0x\0"], MongoCode.INVALID_BSON),
        ([body(PING), b"\1\0\0"], MongoCode.INVALID_BSON),
        ([body(PING), sequence("documents", {})[:-1]], MongoCode.INVALID_BSON),
        ([b"\0" + bson.encode(PING)[:-1] + b"\1"], MongoCode.INVALID_BSON),
        ([b"\0\x10\0\0\0\x02x\0\xff\0\0\0abcde"], MongoCode.INVALID_BSON),
    ],
)
def test_lying_sections_are_answered(sections: list[bytes], code: MongoCode) -> None:
    raw = msg(*sections)
    error = refused(raw)
    assert error.mongo_code == code
    answer = refusal(raw, error.mongo_code, error.message, 99)
    assert answer is not None
    header = header_of(answer)
    assert (header.request_id, header.response_to, header.opcode) == (99, 7, Opcode.MSG)
    document = bson.decode(parse_reply(answer).body)
    assert document["ok"] == 0.0
    assert document["code"] == code
    assert document["errmsg"] == error.message


def test_depth_is_limited_in_the_body() -> None:
    deep = bson.encode({})
    for _ in range(181):
        deep = bson.encode({"a": bson.raw_bson.RawBSONDocument(deep)})
    assert refused(msg(b"\0" + deep)).mongo_code == MongoCode.OVERFLOW


@pytest.mark.parametrize("opcode", [0, 1, 1000, 2001, 2002, 2005, 2006, 2007, 2010, 2011, 2012, 2014, -1])
def test_other_opcodes_are_never_answered(opcode: int) -> None:
    raw = message(opcode, command(PING)[16:])
    assert refused(raw).mongo_code is None
    assert refusal(raw, 13, "no", 1) is None


def test_compressed_is_told_apart() -> None:
    assert (
        refused(message(Opcode.COMPRESSED, b"\xdd\x07\0\0\x40\0\0\0\2" + b"x" * 9)).code == "compression_not_negotiated"
    )


def test_an_unacknowledged_request_gets_no_refusal() -> None:
    raw = msg(body(PING), body(PING), flags=MORE_TO_COME)
    assert refusal(raw, 13, "no", 1) is None


def test_wrong_cutting_is_a_local_error() -> None:
    for raw in (command(PING) + b"x", command(PING)[:-1], b"\0" * 15, b""):
        with pytest.raises(LocalProtocolError):
            parse_request(raw)


def test_a_query() -> None:
    parsed = parse_request(query({"isMaster": 1, "helloOk": True}))
    assert isinstance(parsed, OpQuery)
    assert (parsed.database, parsed.namespace, parsed.wrapped) == ("admin", "admin.$cmd", False)
    assert bson.decode(parsed.body) == {"isMaster": 1, "helloOk": True}
    parsed = parse_request(query({"$query": {"ismaster": 1}, "$readPreference": {"mode": "primary"}}))
    assert isinstance(parsed, OpQuery)
    assert parsed.wrapped
    assert bson.decode(parsed.body) == {"ismaster": 1}
    parse_request(query({"ismaster": 1}, selector=bson.encode({"a": 1})))


def test_other_queries() -> None:
    raw = query({"x": 1}, "shop.orders")
    error = refused(raw)
    assert error.mongo_code == MongoCode.LEGACY_OPCODE
    answer = refusal(raw, error.mongo_code, error.message, 3)
    assert answer is not None
    reply = parse_reply(answer)
    assert isinstance(reply, OpReply)
    assert reply.flags == 2  # QueryFailure
    text = "OP_QUERY is no longer supported. The client driver may require an upgrade."
    assert bson.decode(reply.body) == {"$err": text, "code": 5739101, "ok": 0.0}
    for raw in (query({"ismaster": 1})[:-3], message(Opcode.QUERY, b"\0" * 4 + b"admin.$cmd")):
        refused(HEADER.pack(len(raw), 1, 0, Opcode.QUERY) + raw[16:])
    assert refused(query({"a": 1}, selector=b"more")).mongo_code == MongoCode.INVALID_BSON


def test_replies() -> None:
    parsed = parse_reply(reply({"ok": 1.0}))
    assert isinstance(parsed, OpReply)
    assert bson.decode(parsed.body) == {"ok": 1.0}
    assert parse_reply(build_reply(bson.encode({"ok": 1.0}), 9, 7)) == parsed
    assert parse_reply(build_msg(bson.encode({"ok": 1.0}), 9, 7, MORE_TO_COME)).more_to_come
    two = message(Opcode.REPLY, struct.pack("<Iqii", 8, 0, 0, 2) + bson.encode({}) * 2)
    for raw in (two, message(Opcode.QUERY, bytes(30)), message(Opcode.REPLY, bytes(9))):
        with pytest.raises(RemoteProtocolError):
            parse_reply(raw)


def test_possible_lengths() -> None:
    assert [check_length(n) for n in (15, 16, 48_000_000, 48_000_001, -1)] == [False, True, True, False, False]


MESSAGES = [
    command(PING),
    msg(sequence("documents", {"_id": 1}, {"_id": 2}), body({"insert": "c", "$db": "d", "lsid": {"id": 1}})),
    msg(body(PING), checksum=True),
    query({"$query": {"ismaster": 1}, "x": 1}, selector=bson.encode({"a": 1})),
    command({"aggregate": "c", "pipeline": [{"$lookup": {"from": "d", "pipeline": [{"$out": "e"}]}}], "$db": "d"}),
    command({"explain": {"find": "c", "filter": {"$where": "1"}}, "$db": "d"}),
]


@given(st.sampled_from(MESSAGES), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_messages_raise_protocol_errors_only(raw: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(raw)
    for place, value in changes:
        data[place % len(data)] = value
    data[:4] = len(data).to_bytes(4, "little")
    for parser in (lambda r: parse(parse_request(r)), parse_reply):
        with contextlib.suppress(ProtocolError):
            parser(bytes(data))


@given(st.binary(max_size=200), st.sampled_from([2013, 2004, 1, 2012]))
@example(b"\0" * 5, 2013)
def test_any_rest_raises_protocol_errors_only(rest: bytes, opcode: int) -> None:
    for parser in (lambda r: parse(parse_request(r)), parse_reply):
        with contextlib.suppress(RemoteProtocolError):
            parser(message(opcode, rest))


@given(st.sampled_from(MESSAGES), st.integers(0))
def test_cut_messages_raise_protocol_errors_only(raw: bytes, place: int) -> None:
    cut = raw[16 : 16 + place % (len(raw) - 16)]
    with contextlib.suppress(RemoteProtocolError):
        parse(parse_request(message(header_of(raw).opcode, cut)))

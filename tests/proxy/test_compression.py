"""Compression on both legs of one connection, each negotiated for itself."""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.audit import records as audit
from wardgate.policy.decide import Policy
from wardgate.testing.playbook import (
    EXHAUST_ALLOWED,
    LISTENER,
    MEMBER,
    MORE_TO_COME,
    Playbook,
    body_section,
    command,
    document_of,
    hello_document,
    hello_request,
    op_msg,
    op_msg_sections,
    op_query,
    op_reply,
    reply,
    sequence_section,
)
from wardgate.wire.compression import Compressor, compress, decompress, read_head
from wardgate.wire.header import HEADER, Opcode, header_of

ALL = frozenset(Compressor)
FIND = command({"find": "orders", "filter": {"text": "x" * 100}}, 7)
ANSWER = reply(7, cursor={"firstBatch": [{"text": "y" * 50}] * 20, "id": bson.Int64(0), "ns": "shop.orders"})
any_compressor = pytest.mark.parametrize("compressor", Compressor)


def agreed(
    *words: str,
    offered: tuple[Compressor, ...] = (),
    taken: tuple[str, ...] = (),
    allow_admin: bool = False,
    **machine: Any,
) -> Playbook:
    """Ready, with a client that asked for `words` and a server that takes `taken` of what we `offered`."""
    it = Playbook(machine={"compressors": offered, **machine}, policy=Policy(allow_admin))
    it.start()
    it.event(it.machine.server_ready, MEMBER, logged_in=True)
    it.client(hello_request(1, compression=list(words)))
    it.server(op_msg(hello_document(**({"compression": list(taken)} if taken else {})), 800, 1))
    return it


def settled(*words: str, **more: Any) -> Playbook:
    it = agreed(*words, **more)
    it.clear()
    return it


def plain(data: bytes) -> bytes:
    """A run of messages, each opened if it is compressed."""
    out = b""
    while data:
        message, data = data[: header_of(data).length], data[header_of(data).length :]
        if header_of(message).opcode == Opcode.COMPRESSED:
            message = decompress(message, read_head(message, ALL))
        out += message
    return out


def test_the_client_is_told_what_both_can_in_its_own_order() -> None:
    it = agreed("none", "zlib", "noop", "zstd")
    assert document_of(it.to_client)["compression"] == ["zlib", "zstd"]
    assert "compression" not in document_of(it.to_server)
    it.clear()
    it.client(hello_request(2))  # without the field all stays as it is, as at a server
    it.server(op_msg(hello_document(), 801, 2))
    assert document_of(it.to_client)["compression"] == ["zlib", "zstd"]
    it.clear()
    it.client(hello_request(3, compression=["snappy"]))
    it.server(op_msg(hello_document(), 802, 3))
    assert document_of(it.to_client)["compression"] == ["snappy"]
    it.client(compress(FIND, Compressor.ZLIB))
    assert it.machine.closed


def test_a_client_that_does_not_ask_is_not_told() -> None:
    it = Playbook()
    it.start()
    it.event(it.machine.server_ready, MEMBER)
    it.client(op_query({"isMaster": 1}, 1))
    it.server(op_reply(hello_document(compression=["zlib"]), 800, 1))
    assert "compression" not in document_of(it.to_client)


@any_compressor
def test_a_compressed_request_is_recorded_and_forwarded_plain_and_its_reply_is_compressed(
    compressor: Compressor,
) -> None:
    it = settled(compressor.word)
    it.client(compress(FIND, compressor))
    assert it.to_server == FIND
    it.server(ANSWER)
    assert header_of(it.to_client).opcode == Opcode.COMPRESSED
    assert it.to_client[24] == compressor
    assert plain(it.to_client) == ANSWER
    intent, outcome = it.records
    assert isinstance(intent, audit.CommandIntent)
    assert isinstance(outcome, audit.CommandOutcome)
    assert (intent.bytes_in, outcome.bytes_out, outcome.documents) == (len(FIND), len(ANSWER), 20)


def test_a_plain_request_gets_a_plain_reply() -> None:
    it = settled("zstd")
    it.client(FIND)
    it.server(ANSWER)
    assert it.to_client == ANSWER


def test_our_own_answers_are_plain() -> None:
    it = settled("zstd")
    it.client(compress(command({"shutdown": 1}, 7, database="admin"), Compressor.ZSTD))
    assert document_of(it.to_client)["code"] == 13


def test_totals_count_uncompressed_bytes() -> None:
    it = settled("zlib")
    before = it.machine.statistics()
    it.client(compress(FIND, Compressor.ZLIB))
    it.server(ANSWER)
    after = it.machine.statistics()
    assert after["bytes_in"] - before["bytes_in"] == len(FIND)
    assert after["bytes_out"] - before["bytes_out"] == len(ANSWER)


def test_unacknowledged_and_exhaust_work_compressed() -> None:
    it = settled("snappy")
    it.client(compress(command({"insert": "orders"}, 7, MORE_TO_COME), Compressor.SNAPPY))
    assert it.state() == "DURABLE"
    it.event(it.machine.durable)
    it.clear()
    it.work.saw_cursor(5, MEMBER, "shop", "orders")
    it.client(
        compress(command({"getMore": bson.Int64(5), "collection": "orders"}, 8, EXHAUST_ALLOWED), Compressor.SNAPPY)
    )
    batch = {"nextBatch": [{"x": "y" * 200}] * 3, "id": bson.Int64(5), "ns": "shop.orders"}
    chain = [reply(8, 810, MORE_TO_COME, cursor=batch), reply(810, 811, cursor={**batch, "id": bson.Int64(0)})]
    it.server(*chain)
    assert plain(it.to_client) == b"".join(chain)
    assert header_of(it.to_client).opcode == Opcode.COMPRESSED


@pytest.mark.parametrize("message", [op_query({"ismaster": 1}, 7), hello_request(7)])
def test_a_hello_that_comes_compressed_is_answered_plainly(message: bytes) -> None:
    """Drivers of Perl and Java compress one that their application runs, and mongod takes it."""
    it = settled("zlib")
    it.client(compress(message, Compressor.ZLIB))
    assert header_of(it.to_server).opcode == header_of(message).opcode
    wrap = op_msg if header_of(message).opcode == Opcode.MSG else op_reply
    it.server(wrap(hello_document(), 801, 7))
    assert header_of(it.to_client).opcode != Opcode.COMPRESSED
    assert document_of(it.to_client)["me"] == LISTENER


def test_no_login_may_come_compressed() -> None:
    for message in (
        op_msg({"saslStart": 1, "mechanism": "PLAIN", "payload": b"", "$db": "$external"}, 7),
        command({"createUser": "x", "pwd": "y", "roles": []}, 7),
    ):
        it = settled("zlib")
        it.client(compress(message, Compressor.ZLIB))
        assert it.to_server == b""
        assert document_of(it.to_client)["code"] == 17
        assert it.state() == "REQUEST"


@pytest.mark.parametrize(
    "message",
    [
        compress(FIND, Compressor.ZSTD),
        HEADER.pack(len(FIND) + 9, 7, 0, 2012) + struct.pack("<iiB", 2013, len(FIND) - 16, 0) + FIND[16:],
        compress(compress(FIND, Compressor.ZLIB), Compressor.ZLIB),
        compress(FIND, Compressor.ZLIB)[:20] + struct.pack("<i", 5) + compress(FIND, Compressor.ZLIB)[24:],
        compress(FIND, Compressor.ZLIB)[:20] + struct.pack("<i", 5000) + compress(FIND, Compressor.ZLIB)[24:],
        compress(FIND, Compressor.ZLIB)[:20] + struct.pack("<i", 50_000_000) + compress(FIND, Compressor.ZLIB)[24:],
        HEADER.pack(18, 7, 0, 2012) + b"\0\0",
    ],
    ids=["not agreed", "noop", "nested", "too short", "too long", "far too long", "no head"],
)
def test_what_lies_ends_the_connection_and_is_recorded(message: bytes) -> None:
    it = settled("zlib")
    it.client(message)
    assert it.to_server == b""
    assert it.to_client == b""
    assert [type(record) for record in it.records] == [audit.Malformed, audit.ConnectionClosed]
    assert it.machine.closed


def test_before_any_agreement_a_compressed_message_ends_the_connection() -> None:
    it = Playbook()
    it.ready()
    it.client(compress(FIND, Compressor.ZLIB))
    assert it.machine.closed
    assert it.to_server == b""


# --- large ones -----------------------------------------------------------------------------------------------------

DOCUMENTS = [{"n": n, "text": "x" * 40} for n in range(60)]
INSERT = op_msg_sections(
    [body_section({"insert": "orders", "$db": "shop"}), sequence_section("documents", DOCUMENTS)], 7
)


def outcome(message: bytes, cuts: list[int]) -> tuple[Any, ...]:
    it = settled("zlib", "snappy", "zstd", whole_bytes=600)
    edges = [0, *sorted(cut for cut in cuts if cut < len(message)), len(message)]
    it.client(*(message[a:b] for a, b in itertools.pairwise(edges) if a < b))
    if it.state() == "REPLY":
        it.server(ANSWER)
    return [(each.command, each.body, each.sequences) for each in it.bodies()], it.to_server, plain(it.to_client)


@any_compressor
@given(cuts=st.lists(st.integers(1, 4000), max_size=6))
def test_a_large_compressed_request_is_streamed_wherever_it_is_cut(compressor: Compressor, cuts: list[int]) -> None:
    bodies, to_server, to_client = outcome(compress(INSERT, compressor), cuts)
    assert to_server == INSERT
    assert to_client == ANSWER
    ((name, _, sequences),) = bodies
    assert name == "insert"
    assert sequences == (("documents", b"".join(map(bson.encode, DOCUMENTS))),)


@any_compressor
def test_one_byte_at_a_time(compressor: Compressor) -> None:
    message = compress(INSERT, compressor)
    assert outcome(message, list(range(1, len(message)))) == outcome(message, [])
    aggregate = command({"aggregate": "c", "pipeline": [{"$match": {"x": "y" * 900}}], "cursor": {}}, 7)
    message = compress(aggregate, compressor)
    assert outcome(message, list(range(1, len(message))))[1] == aggregate


@any_compressor
def test_a_large_one_that_lies_is_never_finished(compressor: Compressor) -> None:
    message = compress(INSERT, compressor)
    for wrong in (
        message[:20] + struct.pack("<i", len(INSERT) - 16 + 1) + message[24:],
        message[:20] + struct.pack("<i", len(INSERT) - 16 - 1) + message[24:],
        HEADER.pack(len(message) + 3, 7, 0, 2012) + message[16:] + b"zzz",
    ):
        it = settled("zlib", "snappy", "zstd", whole_bytes=600)
        it.client(*(wrong[a : a + 50] for a in range(0, len(wrong), 50)))
        assert len(it.to_server) < len(INSERT)
        assert not [record for record in it.records if isinstance(record, audit.CommandIntent)]
        assert it.machine.closed


@pytest.mark.parametrize("inside", [b"x", FIND[16:]])
def test_a_small_request_may_be_large_when_compressed(inside: bytes) -> None:
    padding = b"\0\0\0\xff\xff" * 200  # stored blocks without bytes
    stream = zlib.compressobj()
    payload = stream.compress(inside) + stream.flush(zlib.Z_FULL_FLUSH) + padding
    payload += b"\x03\0" + struct.pack(">I", zlib.adler32(inside))
    rest = struct.pack("<iiB", Opcode.MSG, len(inside), Compressor.ZLIB) + payload
    message = HEADER.pack(16 + len(rest), 7, 0, Opcode.COMPRESSED) + rest
    it = settled("zlib", whole_bytes=600)
    it.client(*(message[a : a + 100] for a in range(0, len(message), 100)))
    if inside == b"x":
        assert it.machine.closed
    else:
        assert it.to_server == FIND


def test_replies_too_long_to_be_held_stay_plain() -> None:
    it = settled("zstd")
    it.client(compress(FIND, Compressor.ZSTD))
    huge = reply(7, cursor={"firstBatch": [{"x": b"y" * 1_000_000}] * 5, "id": bson.Int64(0), "ns": "shop.orders"})
    it.server(*(huge[a : a + 200_000] for a in range(0, len(huge), 200_000)))
    assert it.to_client == huge


@any_compressor
def test_a_reply_in_pieces_is_compressed_whole(compressor: Compressor) -> None:
    it = settled(compressor.word)
    it.client(compress(FIND, compressor))
    it.server(*(ANSWER[a : a + 30] for a in range(0, len(ANSWER), 30)))
    assert header_of(it.to_client).length == len(it.to_client)
    assert plain(it.to_client) == ANSWER


def test_a_session_that_ends_while_a_reply_is_held_still_says_why() -> None:
    it = settled("zlib")
    it.client(compress(FIND, Compressor.ZLIB))
    it.server(ANSWER[:100])
    it.event(it.machine.session_ending, "Time is up.")
    assert document_of(it.to_client)["errmsg"] == "Time is up."


# --- the server's leg -------------------------------------------------------------------------------------------------

BOTH = (Compressor.ZSTD, Compressor.ZLIB)


def test_the_server_is_asked_once_for_what_the_resource_says() -> None:
    it = agreed(offered=BOTH, taken=("zlib",))
    assert document_of(it.to_server)["compression"] == ["zstd", "zlib"]
    assert "compression" not in document_of(it.to_client)
    it.clear()
    it.client(hello_request(2, compression=["zlib"]))
    assert "compression" not in document_of(it.to_server)
    assert header_of(it.to_server).opcode == Opcode.MSG


def test_our_own_greeting_asks_too() -> None:
    it = Playbook(machine={"compressors": BOTH})
    it.start()
    it.event(it.machine.server_ready, MEMBER, logged_in=True)
    it.client(FIND)
    greeting = it.to_server
    assert document_of(greeting)["compression"] == ["zstd", "zlib"]
    it.clear()
    it.server(op_msg(hello_document(compression=["zstd"]), 800, header_of(greeting).request_id))
    assert it.to_server[24] == Compressor.ZSTD
    assert plain(it.to_server) == FIND


@any_compressor
@given(cuts=st.lists(st.integers(1, 1000), max_size=6))
def test_commands_and_replies_are_compressed_towards_the_server(compressor: Compressor, cuts: list[int]) -> None:
    it = settled(offered=(compressor,), taken=(compressor.word,))
    it.client(FIND)
    assert it.to_server[24] == compressor
    assert plain(it.to_server) == FIND
    small = compress(ANSWER, compressor)
    edges = [0, *sorted(cut for cut in cuts if cut < len(small)), len(small)]
    it.server(*(small[a:b] for a, b in itertools.pairwise(edges) if a < b))
    assert it.to_client == ANSWER
    intent, result = it.records
    assert isinstance(intent, audit.CommandIntent)
    assert isinstance(result, audit.CommandOutcome)
    assert (intent.bytes_in, result.bytes_out, result.documents) == (len(FIND), len(ANSWER), 20)
    it.clear()
    it.client(command({"count": "orders"}, 8))
    it.server(reply(8, n=1))  # it need not compress
    assert document_of(it.to_client)["n"] == 1


def test_both_legs_may_differ() -> None:
    it = settled("snappy", offered=BOTH, taken=("zlib", "zstd"))
    it.client(compress(FIND, Compressor.SNAPPY))
    assert it.to_server[24] == Compressor.ZSTD  # our order counts
    it.server(compress(ANSWER, Compressor.ZSTD))
    assert it.to_client[24] == Compressor.SNAPPY
    assert plain(it.to_client) == ANSWER


def test_what_must_never_be_compressed_goes_plain() -> None:
    for message in (hello_request(7), command({"createUser": "x", "pwd": "y", "roles": []}, 7)):
        it = settled(offered=BOTH, taken=("zlib",), allow_admin=True)
        it.client(message)
        assert header_of(it.to_server).opcode == Opcode.MSG


def test_a_streamed_request_goes_plain() -> None:
    it = settled(offered=BOTH, taken=("zlib",), whole_bytes=600)
    it.client(*(INSERT[a : a + 500] for a in range(0, len(INSERT), 500)))
    assert it.to_server == INSERT


def test_a_server_that_agreed_to_nothing_gets_and_may_send_nothing_compressed() -> None:
    it = settled(offered=BOTH)
    it.client(FIND)
    assert it.to_server == FIND
    it.server(compress(ANSWER, Compressor.ZLIB))
    assert it.machine.closed
    assert isinstance(it.records[-3], audit.Malformed)


@pytest.mark.parametrize("agreed_on", ["zlib", "zstd"])
def test_a_servers_lies_end_the_connection(agreed_on: str) -> None:
    good = compress(ANSWER, Compressor.ZLIB)
    for wrong in (good[:20] + struct.pack("<i", 99) + good[24:], compress(good, Compressor.ZLIB), good[:-5] + b"zzzzz"):
        it = settled(offered=BOTH, taken=(agreed_on,))
        it.client(FIND)
        it.server(wrong)
        assert it.to_client == b""
        assert it.machine.closed


def test_a_compressed_chain_of_replies() -> None:
    it = settled(offered=BOTH, taken=("zlib",))
    it.work.saw_cursor(5, MEMBER, "shop", "orders")
    it.client(command({"getMore": bson.Int64(5), "collection": "orders"}, 8, EXHAUST_ALLOWED))
    batch = {"nextBatch": [{"x": "y" * 200}] * 3, "id": bson.Int64(5), "ns": "shop.orders"}
    chain = [reply(8, 810, MORE_TO_COME, cursor=batch), reply(810, 811, cursor={**batch, "id": bson.Int64(0)})]
    it.server(b"".join(compress(each, Compressor.ZLIB) for each in chain))
    assert it.to_client == b"".join(chain)
    assert it.state() == "REQUEST"

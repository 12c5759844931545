"""Requests that are passed on while they come: what is recorded, what the server gets, and what a no costs."""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Iterable
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardgate.audit import records as audit
from wardgate.audit.codec import Assembler, Entry
from wardgate.policy.decide import Policy
from wardgate.proxy import actions as do
from wardgate.testing.playbook import (
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
    reply,
    sequence_section,
)
from wardgate.wire.header import HEADER

WHOLE = 600
DOCUMENTS = [{"n": n, "text": "x" * 40} for n in range(60)]


def insert(
    request_id: int = 7,
    flags: int = 0,
    *,
    last: bool = False,
    documents: Any = DOCUMENTS,
    into: str = "orders",
    database: str = "shop",
) -> bytes:
    """An insert whose documents stand in a section, before its kind-0 section if that is to be `last`."""
    sections = [
        body_section({"insert": into, "$db": database}),
        sequence_section("documents", documents),
    ]
    return op_msg_sections(sections[::-1] if last else sections, request_id, flags)


def play(**rules: Any) -> Playbook:
    """Ready, with a low threshold."""
    it = Playbook(machine={"whole_bytes": WHOLE}, **rules)
    it.ready()
    return it


def in_pieces(data: bytes, size: int = 500) -> list[bytes]:
    return [data[a : a + size] for a in range(0, len(data), size)]


def kinds(it: Playbook) -> list[str]:
    """The kinds of records, a run of parts being one."""
    return [name for name, _ in itertools.groupby(type(record).__name__ for record in it.records)]


def only(it: Playbook) -> audit.CommandIntent | audit.Denied:
    (found,) = it.bodies()
    return found


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("size", [1, 333, 100_000])
def test_it_is_passed_on_as_it_came_and_recorded_whole(last: bool, size: int) -> None:
    it, message = play(), insert(last=last)
    it.client(*in_pieces(message, size))
    assert it.to_server == message
    it.server(reply(7, n=60))
    assert kinds(it) == ["Upload", "UploadPart", "CommandIntent", "CommandOutcome"]
    intent = only(it)
    assert isinstance(intent, audit.CommandIntent)
    assert (intent.database, intent.collection, intent.command, intent.effect) == ("shop", "orders", "insert", "write")
    assert intent.bytes_in == len(message)
    assert bson.decode(intent.body) == {"insert": "orders", "$db": "shop"}
    assert intent.sequences == (("documents", b"".join(map(bson.encode, DOCUMENTS))),)
    assert intent.streamed is not None
    assert intent.streamed.sha256 == hashlib.sha256(message).digest()
    assert document_of(it.to_client)["n"] == 60
    assert it.state() == "REQUEST"


def test_its_documents_may_stand_in_the_body() -> None:
    message = command({"insert": "orders", "documents": DOCUMENTS, "ordered": False, "lsid": {"id": 1}}, 7)
    it = play()
    it.client(*in_pieces(message))
    assert it.to_server == message
    intent = only(it)
    assert intent.collection == "orders"
    assert bson.decode(intent.body)["documents"] == DOCUMENTS


def test_the_record_is_opened_before_the_first_byte_and_closed_before_the_last() -> None:
    it = play()
    it.client(*in_pieces(insert(), 400))
    order = [
        type(action.record).__name__ if isinstance(action, do.Record) else type(action).__name__
        for action in it.actions
    ]
    assert order[:2] == ["Upload", "Proceed"]
    assert order[-4:] == ["ToServer", "UploadPart", "CommandIntent", "ToServer"]
    parts = [action.record for action in it.actions if isinstance(action, do.Record)][1:-1]
    assert [part.index for part in parts if isinstance(part, audit.UploadPart)] == list(range(len(parts)))
    assert all(isinstance(part, audit.UploadPart) and b"x" * 40 not in part.data for part in parts)


def test_what_was_sent_ahead_comes_after_it() -> None:
    it = play()
    it.client(insert() + command({"count": "orders"}, 8) + insert(9) + command({"count": "orders"}, 10))
    for request_id in range(7, 11):
        it.server(reply(request_id, n=request_id))
    assert [intent.command for intent in it.bodies()] == ["insert", "count", "insert", "count"]
    assert it.to_server == insert() + command({"count": "orders"}, 8) + insert(9) + command({"count": "orders"}, 10)


def test_one_that_waits_for_no_reply_waits_for_the_disk() -> None:
    it, message = play(), insert(flags=MORE_TO_COME)
    it.client(*in_pieces(message))
    assert it.state() == "DURABLE"
    assert 0 < len(it.to_server) < len(message)
    it.event(it.machine.durable)
    assert it.to_server == message
    assert it.to_client == b""
    assert kinds(it)[-2:] == ["CommandIntent", "CommandOutcome"]
    assert it.state() == "REQUEST"


# --- waiting for the server -----------------------------------------------------------------------------------------


def test_it_waits_for_the_server_the_greeting_and_the_login() -> None:
    it = Playbook(machine={"whole_bytes": WHOLE})
    it.start()
    message = insert()
    it.client(*in_pieces(message))
    assert it.state() == "SERVER"
    assert it.to_server == b""
    it.event(it.machine.server_ready, MEMBER)
    assert it.state() == "GREETING"
    greeting = HEADER.unpack_from(it.to_server)[1]
    it.to_server = b""
    it.server(op_msg(hello_document(), 800, greeting))
    assert it.state() == "LOGIN"
    assert it.to_server == b""
    it.event(it.machine.logged_in)
    assert it.to_server == message
    assert it.state() == "REPLY"


def test_a_client_that_goes_on_sending_meanwhile_is_paused() -> None:
    it = Playbook(machine={"whole_bytes": WHOLE})
    it.start()
    message = insert(documents=[{"x": b"y" * 1000}] * 300)
    it.client(*in_pieces(message[:200_000], 10_000))
    assert do.PauseClient() in it.actions
    it.event(it.machine.server_ready, MEMBER, logged_in=True)
    it.server(op_msg(hello_document(), 800, 1))
    assert it.actions[-1] == do.ResumeClient()
    it.client(message[200_000:])
    assert it.to_server.endswith(message)


@pytest.mark.parametrize(
    ("step", "rule", "end"),
    [("failed", "server_unreachable", "server_unreachable"), ("login", "server_login", "login_failed")],
)
def test_without_a_server_it_is_read_to_its_end_and_answered(step: str, rule: str, end: str) -> None:
    it = Playbook(machine={"whole_bytes": WHOLE})
    it.start()
    message = insert()
    it.client(message[:700])
    if step == "failed":
        it.event(it.machine.server_failed, "no route")
    else:
        it.event(it.machine.server_ready, MEMBER, logged_in=False)
        it.server(op_msg(hello_document(), 800, 1))
        it.event(it.machine.login_failed, "wrong password")
    assert it.to_client == b""  # it would be lost: the client is not reading
    it.client(*in_pieces(message[700:]))
    denied = it.records[-2]
    assert isinstance(denied, audit.Denied)
    assert denied.rule == rule
    assert only(it).sequences[0][1] == b"".join(map(bson.encode, DOCUMENTS))
    assert document_of(it.to_client)["ok"] == 0
    assert it.records[-1] == audit.ConnectionClosed(1, end, *(getattr(it.records[-1], name) for name in COUNTS))
    assert it.machine.closed


COUNTS = ("hellos", "sasl", "logins", "commands", "bytes_in", "bytes_out")


# --- saying no ------------------------------------------------------------------------------------------------------


def test_a_no_that_is_known_at_once_costs_the_server_nothing() -> None:
    it = play()
    message = insert(database="config")
    it.client(*in_pieces(message))
    assert it.to_server == b""
    denied = only(it)
    assert isinstance(denied, audit.Denied)
    assert denied.rule == "system_collection"
    assert denied.bytes_in == len(message)
    assert denied.sequences == (("documents", b"".join(map(bson.encode, DOCUMENTS))),)
    assert document_of(it.to_client)["code"] == 13
    assert it.state() == "REQUEST"
    it.client(command({"count": "orders"}, 8))
    assert it.to_server == command({"count": "orders"}, 8)


def test_a_no_that_is_known_at_the_end_aborts_the_server() -> None:
    it = play()
    message = insert(last=True, database="config")
    it.client(*in_pieces(message))
    assert len(it.to_server) < len(message)
    aborted = it.actions.index(do.AbortServer())
    answered = next(n for n, action in enumerate(it.actions) if isinstance(action, do.ToClient))
    assert aborted < answered
    assert document_of(it.to_client)["code"] == 13
    assert isinstance(only(it), audit.Denied)
    assert it.machine.closed


def test_the_loss_of_an_aborted_server_is_no_surprise() -> None:
    it = play()
    broken = sequence_section("documents", DOCUMENTS) + body_section({"insert": "orders", "$db": "a.b"})
    message = op_msg_sections([broken, b"\x07" + bytes(2000)], 7)
    it.client(*in_pieces(message[:-1000]))
    assert it.actions.count(do.AbortServer()) == 1
    assert it.event(it.machine.server_gone, "aborted") == []
    assert it.server(b"late bytes") == []
    it.client(message[-1000:])
    assert document_of(it.to_client)["code"] == 40432
    assert it.machine.closed


def test_local_auth_is_asked_before_anything_else() -> None:
    it = Playbook(machine={"whole_bytes": WHOLE}, local_auth=True)
    it.start()
    it.event(it.machine.server_ready, MEMBER)
    it.client(*in_pieces(insert()))
    assert it.to_server == b""
    assert document_of(it.to_client)["code"] == 13
    denied = it.records[-1]
    assert isinstance(denied, audit.Denied)
    assert denied.rule == "local_auth"


@pytest.mark.parametrize("last", [False, True])
def test_what_may_hold_credentials_is_withheld(last: bool) -> None:
    it = play(policy=Policy(allow_admin=True))
    message = insert(last=last, into="system.users", database="admin")
    it.client(*in_pieces(message))
    assert it.to_server == message
    (intent,) = (record for record in it.records if isinstance(record, audit.CommandIntent))
    assert intent.masked == ("*",)
    assert intent.streamed is not None
    assert (intent.streamed.key, intent.streamed.sha256) == (b"", b"")
    assert bson.decode(intent.body)["insert"] == "system.users"
    assert Assembler(Entry(0, intent, ())).record() == intent


def test_code_is_found_in_what_is_not_kept() -> None:
    it = play()
    updates = [{"q": {"n": n}, "u": {"$set": {"x": "y" * 40}}} for n in range(30)] + [{"q": {"$where": "1"}, "u": {}}]
    sections = [body_section({"update": "orders", "$db": "shop"}), sequence_section("updates", updates)]
    it.client(*in_pieces(op_msg_sections(sections, 7), 100))
    assert only(it).effect == "code"


def test_bulk_writes_are_judged_by_all_their_namespaces() -> None:
    ops = [{"insert": 0, "document": {"n": n, "text": "x" * 40}} for n in range(30)]
    for namespace, passes in [("shop.orders", True), ("config.settings", False)]:
        it = play()
        sections = [
            body_section({"bulkWrite": 1, "$db": "admin"}),
            sequence_section("ops", ops),
            sequence_section("nsInfo", [{"ns": "shop.a"}, {"ns": namespace}]),
        ]
        message = op_msg_sections(sections, 7)
        it.client(*in_pieces(message))
        assert (it.to_server == message) == passes
        assert isinstance(only(it), audit.CommandIntent) == passes
        assert it.machine.closed == (not passes)


# --- wrong bytes ----------------------------------------------------------------------------------------------------


def test_bytes_that_break_a_rule_are_answered_when_the_client_reads() -> None:
    it = play()
    message = bytearray(insert(documents=DOCUMENTS * 3))
    message[-1] = 1  # the last document has no end
    it.client(*in_pieces(bytes(message)))
    assert document_of(it.to_client)["code"] == 22
    assert kinds(it) == ["Upload", "UploadPart", "Malformed", "ConnectionClosed"]
    assert it.machine.closed  # the server has most of it


def test_before_anything_was_passed_on_the_connection_survives_wrong_bytes() -> None:
    it = play()
    it.client(op_msg_sections([body_section({"insert": "orders"}), sequence_section("documents", DOCUMENTS)], 7))
    assert document_of(it.to_client)["code"] == 40571
    assert it.to_server == b""
    assert it.state() == "REQUEST"
    it.client(command({"count": "orders"}, 8))
    assert it.state() == "REPLY"


def test_a_wrong_checksum_ends_the_connection() -> None:
    raw = insert()
    length, request_id, response_to, opcode = HEADER.unpack_from(raw)
    wrong = HEADER.pack(length + 4, request_id, response_to, opcode) + struct.pack("<I", 1) + raw[20:] + b"\0\0\0\0"
    it = play()
    it.client(*in_pieces(wrong))
    assert it.to_client == b""
    assert len(it.to_server) < len(wrong)
    assert it.machine.closed


@pytest.mark.parametrize(
    ("event", "arguments", "reason"),
    [
        ("client_gone", (), "client_closed"),
        ("server_gone", ("reset",), "reset"),
        ("session_ending", (None,), "the session ended"),
        ("member_lost", ("the primary changed",), "the primary changed"),
    ],
)
def test_a_connection_that_ends_within_it_says_that_nothing_ran(event: str, arguments: Any, reason: str) -> None:
    it, message = play(), insert()
    it.client(message[:2000])
    it.event(getattr(it.machine, event), *arguments)
    malformed, closed = it.records[-2:]
    assert isinstance(malformed, audit.Malformed)
    assert malformed.reason.endswith(f"was not carried out: {reason}")
    assert isinstance(closed, audit.ConnectionClosed)
    assert len(it.to_server) < len(message)
    assert it.machine.closed


def test_a_write_without_reply_is_carried_out_if_all_of_it_came() -> None:
    it, message = play(), insert(flags=MORE_TO_COME)
    it.client(message)
    it.event(it.machine.client_gone)
    it.event(it.machine.durable)
    assert it.to_server == message
    assert do.FinishServer() in it.actions
    it = play()
    it.client(message[:-1])
    it.event(it.machine.client_gone)
    assert it.machine.closed
    assert do.AbortServer() in it.actions


def test_a_client_that_left_within_it_is_not_waited_for() -> None:
    it = play()
    small = command({"insert": "orders", "documents": [{"a": 1}]}, 7, MORE_TO_COME)
    it.client(small + insert(8, MORE_TO_COME)[:1000])
    assert it.event(it.machine.client_gone) == []  # the small one is still carried out
    it.event(it.machine.durable)
    assert it.to_server == small
    assert it.machine.closed
    assert it.actions[-3] == do.FinishServer()


def test_what_a_client_that_left_wanted_an_answer_to_is_not_begun() -> None:
    it = play()
    small = command({"insert": "orders", "documents": [{"a": 1}]}, 7, MORE_TO_COME)
    it.client(small + insert(8, MORE_TO_COME) + insert(9))
    it.event(it.machine.client_gone)
    it.event(it.machine.durable)
    it.event(it.machine.durable)
    assert it.to_server == small + insert(8, MORE_TO_COME)
    assert [each.request_id for each in it.bodies()] == [7, 8]
    assert it.machine.closed


def test_bytes_that_break_a_rule_are_not_answered_where_no_answer_is_awaited() -> None:
    too_large = command({"aggregate": "orders", "comment": b"x" * 17_000_000}, 7, MORE_TO_COME)
    no_body = op_msg_sections([b"\x01" + struct.pack("<i", 4) + b"x" * 1000], 7, MORE_TO_COME)
    for message in (too_large, no_body):
        it = play()
        it.client(*in_pieces(message, 1_000_000))
        assert it.to_client == b""
        assert it.state() == "REQUEST"
        it.client(command({"count": "orders"}, 8))
        assert it.state() == "REPLY"


def test_a_record_that_is_refused_stops_everything() -> None:
    it, message = play(), insert()
    it.client(message[:2000])
    sent = it.to_server
    it.event(it.machine.recording_failed, "the disk is full")
    assert it.to_server == sent
    assert document_of(it.to_client)["errmsg"] == "the disk is full"
    assert it.machine.closed


# --- what is held ---------------------------------------------------------------------------------------------------


def test_a_large_command_without_documents_is_held() -> None:
    message = command({"aggregate": "orders", "pipeline": [{"$match": {"n": {"$in": list(range(300))}}}]}, 7)
    assert len(message) > WHOLE
    it = play()
    it.client(*in_pieces(message))
    assert it.to_server == message
    assert kinds(it) == ["CommandIntent"]
    assert only(it).command == "aggregate"


def test_a_large_hello_is_rewritten_like_a_small_one() -> None:
    it = play()
    it.client(*in_pieces(hello_request(7, padding="x" * 1000, speculativeAuthenticate={"payload": b"secret"})))
    assert b"secret" not in it.to_server
    it.server(op_msg(hello_document(), 800, 7))
    assert document_of(it.to_client)["me"] == "127.0.0.1:40001"


def test_a_large_legacy_command_is_held() -> None:
    it = play()
    it.client(*in_pieces(op_query({"isMaster": 1, "padding": "x" * 1000}, 7)))
    assert it.state() == "REPLY"


@pytest.mark.parametrize("size", [16_800_000, 40_000_000])
def test_a_command_that_no_server_takes_is_answered_as_a_server_answers(size: int) -> None:
    it = play()
    message = command({"aggregate": "orders", "comment": b"x" * size}, 7)
    it.client(*in_pieces(message, 1_000_000), command({"count": "orders"}, 8))
    assert document_of(it.to_client)["code"] == 10334
    assert it.to_server == command({"count": "orders"}, 8)


def test_what_is_held_is_little_whatever_comes() -> None:
    it = Playbook()
    it.ready()
    message = insert(documents=[{"x": b"y" * 100_000}] * 200)
    held = 0
    for piece in in_pieces(message, 65_536):
        it.client(piece)
        upload = it.machine._turn.upload if it.machine._turn is not None else None
        held = max(held, sum(map(len, upload._held)) if upload is not None else 0)
    assert it.to_server == message
    assert held <= 3 * 128 * 1024


# --- cut anywhere ---------------------------------------------------------------------------------------------------

MESSAGES = {
    "insert": insert(),
    "body last": insert(last=True),
    "denied": insert(database="config"),
    "denied last": insert(last=True, database="config"),
    "malformed": op_msg_sections([body_section({"insert": "c", "$db": "d"}), b"\x01\xff\0\0\0" + bytes(900)], 7),
    "in the body": command({"update": "orders", "updates": [{"q": {}, "u": {"x": n}} for n in range(40)]}, 7),
    "held": command({"find": "orders", "filter": {"x": "y" * 900}}, 7),
}


def outcome(message: bytes, cuts: Iterable[int]) -> tuple[Any, ...]:
    """All that may not depend on how the bytes are cut."""
    it = play()
    edges = [0, *sorted(cuts), len(message)]
    it.client(*(message[a:b] for a, b in itertools.pairwise(edges) if a < b))
    commands = [
        (record.command, record.body, record.sequences, record.streamed and record.streamed.sha256, record.bytes_in)
        for record in it.bodies()
    ]
    finished = it.to_server if it.state() == "REPLY" else None
    # Whether a refusal costs the connection depends on what had been passed on by then.
    kept = [each for each in kinds(it) if each not in ("Upload", "UploadPart", "ConnectionClosed")]
    return commands, it.to_client, finished, kept


WHOLES = {name: outcome(message, []) for name, message in MESSAGES.items()}


@given(st.sampled_from(sorted(MESSAGES)), st.lists(st.integers(0, 4000), max_size=8))
def test_cuts_change_nothing(name: str, cuts: list[int]) -> None:
    assert outcome(MESSAGES[name], [cut for cut in cuts if cut < len(MESSAGES[name])]) == WHOLES[name]


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_one_byte_at_a_time(name: str) -> None:
    assert outcome(MESSAGES[name], range(1, len(MESSAGES[name]))) == WHOLES[name]


@settings(max_examples=300)
@given(st.sampled_from(sorted(MESSAGES)), st.integers(16, 3000), st.integers(0, 255), st.lists(st.integers(0, 3000)))
def test_damage_is_survived_and_nothing_runs_unrecorded(name: str, place: int, value: int, cuts: list[int]) -> None:
    message = bytearray(MESSAGES[name])
    message[place % len(message)] = value
    if place % len(message) < 16:
        return
    it = play()
    edges = [0, *sorted(cut for cut in cuts if cut < len(message)), len(message)]
    it.client(*(bytes(message[a:b]) for a, b in itertools.pairwise(edges) if a < b))
    assert it.state() in ("REQUEST", "REPLY", "DURABLE", "CLOSED")
    if it.state() == "REPLY":
        assert it.to_server == bytes(message)
        assert isinstance(it.bodies()[-1], audit.CommandIntent)
    else:
        assert len(it.to_server) < len(message)

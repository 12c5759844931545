"""How connections end, written as scripts: lost and lying servers, clients that go, sessions that end, full disks."""

from __future__ import annotations

import struct
from typing import Any

import bson
import pytest

from wardgate.proxy import actions as do
from wardgate.proxy.facts import Topology
from wardgate.proxy.states import TRANSITIONS, State, diagram
from wardgate.testing.playbook import (
    EXHAUST_ALLOWED,
    MEMBER,
    MORE_TO_COME,
    Playbook,
    command,
    document_of,
    hello_document,
    hello_request,
    op_msg,
    op_reply,
    reply,
)


@pytest.fixture
def play() -> Playbook:
    """A machine that has not started yet."""
    return Playbook()


@pytest.fixture
def warm() -> Playbook:
    """A machine whose client said hello and whose server connection is logged in."""
    play = Playbook()
    play.ready()
    return play


# --- a server that fails or lies --------------------------------------------------------------------------------------


def test_an_unreachable_server_is_told_in_a_document(play: Playbook) -> None:
    play.start()
    play.client(hello_request(1))
    assert play.event(play.machine.server_failed, "db1:27017 refused the connection") == [
        "<< #1 ok=0 code=6 held",
        "abort server",
        "record closed server_unreachable",
        "close client",
    ]
    assert "db1:27017 refused" in document_of(play.to_client)["errmsg"]


def test_a_failed_dial_is_told_to_a_request_that_comes_later(play: Playbook) -> None:
    play.start()
    assert play.event(play.machine.server_failed, "no route") == []
    assert play.client(command({"find": "orders"}, 1)) == [
        "record denied find server_unreachable code=6",
        "<< #1 ok=0 code=6 held",
        "abort server",
        "record closed server_unreachable",
        "close client",
    ]


def test_a_refused_login_is_code_18_and_a_sentence_for_the_command_that_waited(play: Playbook) -> None:
    play.start()
    play.event(play.machine.server_ready, MEMBER)
    play.client(hello_request(1))
    play.server(op_msg(hello_document(), 800, 1))
    play.client(command({"find": "orders"}, 2))
    assert play.event(play.machine.login_failed, "MongoDB refused user ro") == [
        "record denied find server_login code=18",
        "<< #2 ok=0 code=18 held",
        "abort server",
        "record closed login_failed",
        "close client",
    ]


def test_a_lost_server_closes_the_client_and_leaves_an_outcome(warm: Playbook) -> None:
    warm.client(command({"find": "orders"}, 7))
    assert warm.event(warm.machine.server_gone, "connection reset") == [
        "abort server",
        "record outcome none: connection reset",
        "record closed server_lost",
        "close client",
    ]


def test_an_idle_lost_server_closes_the_client_too(warm: Playbook) -> None:
    assert warm.event(warm.machine.server_gone, "eof") == ["abort server", "record closed server_lost", "close client"]


@pytest.mark.parametrize("wrong", [reply(8), op_reply({"ok": 1}, 9, 7)], ids=["responseTo", "opcode"])
def test_a_reply_to_something_else_ends_the_connection(warm: Playbook, wrong: bytes) -> None:
    warm.client(command({"find": "orders"}, 7))
    lines = warm.server(wrong)
    assert lines[0] == "record malformed from server"
    assert lines[-1] == "close client"
    assert warm.to_client == b""


def test_bytes_that_nothing_asked_for_end_the_connection(warm: Playbook) -> None:
    assert warm.server(reply(7))[0] == "record malformed from server"
    assert warm.machine.closed


def test_a_broken_reply_document_never_has_its_tail_released(warm: Playbook) -> None:
    warm.client(command({"find": "orders"}, 7))
    answer = bytearray(reply(7, cursor={"firstBatch": [{"a": 1}], "id": bson.Int64(0), "ns": "a.b"}))
    struct.pack_into("<i", answer, 21, 5)  # the document claims to be empty
    assert warm.server(bytes(answer))[0] == "record malformed from server"
    assert warm.to_client == b""


# --- a client that goes -----------------------------------------------------------------------------------------------


def test_a_client_that_goes_in_mid_command_aborts_the_server(warm: Playbook) -> None:
    warm.client(command({"aggregate": "orders", "pipeline": [], "cursor": {}}, 7))
    assert warm.event(warm.machine.client_gone) == [
        "abort server",
        "record outcome none: client_closed",
        "record closed client_closed",
        "close client",
    ]


def test_writes_without_reply_outlive_a_client_that_closes_at_once(warm: Playbook) -> None:
    write = {"insert": "orders", "documents": [{"a": 1}]}
    warm.client(command(write, 7, MORE_TO_COME) + command(write, 8, MORE_TO_COME) + command({"count": "orders"}, 9))
    assert warm.event(warm.machine.client_gone) == []
    assert warm.event(warm.machine.durable)[0] == ">> insert #7"
    assert warm.event(warm.machine.durable) == [
        ">> insert #8",
        "record outcome unacknowledged",
        "finish server",
        "record closed client_closed",
        "close client",
    ]


def test_an_abort_waits_for_nothing(warm: Playbook) -> None:
    warm.client(command({"insert": "orders", "documents": [{"a": 1}]}, 7, MORE_TO_COME))
    assert warm.event(warm.machine.client_gone, abrupt=True)[0] == "abort server"
    assert warm.machine.closed


# --- the session ends -------------------------------------------------------------------------------------------------


def test_a_waiting_command_is_told_why_the_session_ended(warm: Playbook) -> None:
    warm.client(command({"find": "orders"}, 7))
    assert warm.event(warm.machine.session_ending, "Your access expired.") == [
        "abort server",
        "record outcome none: Your access expired.",
        "<< #7 ok=0 code=13 held",
        "record closed session_ended",
        "close client",
    ]
    assert document_of(warm.to_client)["errmsg"] == "Your access expired."
    assert warm.server(reply(7)) == []


def test_an_idle_connection_is_just_closed(warm: Playbook) -> None:
    assert warm.event(warm.machine.session_ending, "Your access expired.") == [
        "abort server",
        "record closed session_ended",
        "close client",
    ]


def test_after_the_users_own_end_only_the_closing_applies(warm: Playbook) -> None:
    warm.client(command({"find": "orders"}, 7))
    warm.event(warm.machine.session_ending, None)
    assert warm.to_client == b""


def test_half_a_reply_can_not_be_turned_into_an_error(warm: Playbook) -> None:
    warm.client(command({"find": "orders"}, 7))
    answer = reply(7, cursor={"firstBatch": [{"x": "y" * 500}], "id": bson.Int64(0), "ns": "shop.orders"})
    warm.server(answer[:100])
    warm.event(warm.machine.session_ending, "Your access expired.")
    assert warm.to_client == answer[:100]


def test_an_error_continues_a_chain_where_one_was_begun(warm: Playbook) -> None:
    warm.work.saw_cursor(5, MEMBER, "shop", "orders")
    warm.client(command({"getMore": bson.Int64(5), "collection": "orders"}, 7, EXHAUST_ALLOWED))
    batch = {"nextBatch": [{"a": 1}], "id": bson.Int64(5), "ns": "shop.orders"}
    warm.server(reply(7, 901, MORE_TO_COME, cursor=batch))
    assert "<< #901 ok=0 code=13 held" in warm.event(warm.machine.session_ending, "Your access expired.")


def test_a_new_primary_closes_pinned_sockets_without_a_word(warm: Playbook) -> None:
    warm.client(command({"find": "orders"}, 7))
    assert warm.event(warm.machine.member_lost, "the primary changed") == [
        "abort server",
        "record outcome none: the primary changed",
        "record closed main_port_moved",
        "close client",
    ]
    assert warm.to_client == b""


def test_the_old_primary_may_answer_what_it_has_already(warm: Playbook) -> None:
    """Its own error has the labels by which drivers retry; a lost connection tells an updateMany nothing."""
    warm.client(command({"update": "orders"}, 7), command({"find": "orders"}, 8))
    assert warm.event(warm.machine.member_lost, "the primary changed", abrupt=False) == []
    refusal = reply(7, ok=0.0, code=11602, errorLabels=["RetryableWriteError"], errmsg="interrupted")
    assert warm.server(refusal) == [
        "record outcome ok=0 code=11602",
        "<< #7 ok=0 code=11602 held",
        "abort server",
        "record closed main_port_moved",
        "close client",
    ]
    assert document_of(warm.to_client)["errorLabels"] == ["RetryableWriteError"]
    assert b"orders" not in warm.to_server.partition(b"orders")[2], "what waited behind it went to the old primary"


def test_an_old_primary_that_hangs_is_left_in_the_end(warm: Playbook) -> None:
    warm.client(command({"find": "orders"}, 7))
    assert warm.event(warm.machine.member_lost, "the primary changed", abrupt=False) == []
    assert "close client" in warm.event(warm.machine.member_lost, "the primary changed")


LSID = {"id": bson.Binary(bytes(16), 4)}
WRITE = {"lsid": LSID, "txnNumber": bson.Int64(3)}


@pytest.mark.parametrize(
    ("document", "labels"),
    [
        ({"insert": "orders", "documents": [{}], **WRITE}, ["RetryableWriteError"]),
        ({"insert": "orders", "documents": [{}], **WRITE, "autocommit": False}, ["TransientTransactionError"]),
        ({"commitTransaction": 1, **WRITE, "autocommit": False}, ["RetryableWriteError"]),
    ],
)
def test_a_write_that_hangs_at_the_old_primary_is_told_that_it_may_be_repeated(
    warm: Playbook, document: dict[str, Any], labels: list[str]
) -> None:
    """Closing would do for PyMongo; Node's driver repeats only what the first of its lost connections carried."""
    if "autocommit" in document:
        warm.client(command({"find": "orders", **WRITE, "autocommit": False, "startTransaction": True}, 6))
        warm.server(reply(6))
        warm.to_client = b""
    warm.client(command(document, 7, database="admin" if "commitTransaction" in document else "shop"))
    assert warm.event(warm.machine.member_lost, "the primary changed") == [
        "abort server",
        "record outcome none: the primary changed",
        "<< #7 ok=0 code=11602 held",
        "record closed main_port_moved",
        "close client",
    ]
    told = document_of(warm.to_client)
    assert (told["errorLabels"], told["codeName"]) == (labels, "InterruptedDueToReplStateChange")


@pytest.mark.parametrize(
    "document",
    [
        {"find": "orders"},
        {"getMore": bson.Int64(5), "collection": "orders"},
        {"insert": "orders", "documents": [{}], "lsid": LSID},
    ],
)
def test_what_is_not_repeated_by_a_label_loses_its_connection(warm: Playbook, document: dict[str, Any]) -> None:
    """A change stream resumes after a lost connection, and after a document only with a label of the server's."""
    warm.work.saw_cursor(5, MEMBER, "shop", "orders")
    warm.client(command(document, 7))
    warm.event(warm.machine.member_lost, "the primary changed")
    assert warm.to_client == b""


def test_who_watches_the_old_primary_loses_it_at_once() -> None:
    monitor = Playbook()
    monitor.ready()
    monitor.client(hello_request(7, EXHAUST_ALLOWED, topologyVersion={"counter": 1}, maxAwaitTimeMS=10_000))
    script = monitor.event(monitor.machine.member_moved)
    assert script == ["abort server", "record closed main_port_moved", "close client"]
    assert monitor.to_client == b""
    assert monitor.event(monitor.machine.member_moved) == []


def test_who_works_at_the_old_primary_is_answered_by_it(warm: Playbook) -> None:
    """A driver that lost its monitor drops its connections by itself; until then the old primary has the word."""
    assert warm.event(warm.machine.member_moved) == []
    warm.client(command({"update": "orders"}, 7))
    assert b"orders" in warm.to_server
    assert warm.event(warm.machine.member_moved) == []
    refusal = reply(7, ok=0.0, code=10107, errorLabels=["RetryableWriteError"], errmsg="not primary")
    assert warm.server(refusal) == ["record outcome ok=0 code=10107", "<< #7 ok=0 code=10107 held"]


def test_what_is_left_idle_where_the_main_port_led_is_closed(warm: Playbook) -> None:
    script = warm.event(warm.machine.member_lost, "the primary changed", abrupt=False)
    assert script == ["abort server", "record closed main_port_moved", "close client"]
    assert warm.to_client == b""


def test_a_write_without_reply_is_not_lost_by_leaving(warm: Playbook) -> None:
    warm.client(command({"insert": "orders", "writeConcern": {"w": 0}}, 7, MORE_TO_COME))
    warm.event(warm.machine.durable)
    assert "finish server" in warm.event(warm.machine.member_lost, "the primary changed", abrupt=False)


FOLLOWS = Topology("replica_set", {MEMBER: "127.0.0.1:40001"}, follows_primary=True)


NO_PRIMARY = {"isWritablePrimary": False, "secondary": True}


def main_port() -> Playbook:
    """On the main port of a set; the server is dialled."""
    play = Playbook(main=True, topology=FOLLOWS)
    play.start()
    return play


def test_a_newcomer_that_meets_a_step_down_goes_to_the_next_primary() -> None:
    """To a driver a closed connection is an error; it waits for the answer to its hello."""
    play = main_port()
    play.event(play.machine.server_ready, MEMBER, logged_in=True)
    first = play.client(hello_request(1))
    assert play.server(op_msg(hello_document(**NO_PRIMARY), 801, 1)) == ["abort server", "connect"]
    assert (play.machine.state, play.to_client) == (State.SERVER, b"")
    play.clear()
    again = play.event(play.machine.server_ready, MEMBER)
    assert again == [line for line in first if not line.startswith("record")]
    play.server(op_msg(hello_document(), 802, 1))
    assert document_of(play.to_client)["isWritablePrimary"] is True
    assert "login" in play.client(command({"find": "orders"}, 2)), "the login was the other connection's"


def test_what_bears_nothing_of_the_client_yet_follows_the_primary() -> None:
    play = main_port()
    assert play.event(play.machine.member_moved) == []
    play.event(play.machine.server_ready, MEMBER)
    assert play.event(play.machine.member_moved) == ["abort server", "connect"]
    play.client(hello_request(1))
    assert play.machine.state is State.SERVER
    play.event(play.machine.server_ready, MEMBER)
    assert play.event(play.machine.member_moved) == ["abort server", "connect"], "while the hello is under way"
    assert play.machine.state is State.SERVER


def test_a_command_without_a_hello_goes_to_the_next_primary_too() -> None:
    play = main_port()
    play.event(play.machine.server_ready, MEMBER)
    play.client(command({"find": "orders"}, 1))
    assert play.machine.state is State.GREETING
    assert play.server(op_msg(hello_document(**NO_PRIMARY), 801, 1)) == ["abort server", "connect"]
    play.event(play.machine.server_ready, MEMBER)
    assert play.machine.state is State.GREETING


def test_a_member_that_is_called_primary_and_is_none_is_not_asked_for_ever() -> None:
    play = main_port()
    play.event(play.machine.server_ready, MEMBER)
    play.client(hello_request(1))
    dialled = 0
    while play.machine.state is State.REPLY:
        dialled += "connect" in play.server(op_msg(hello_document(**NO_PRIMARY), 801, 1))
        play.event(play.machine.server_ready, MEMBER)
    assert (play.machine.closed, dialled, play.to_client) == (True, 20, b"")


@pytest.mark.parametrize("flags", [0, EXHAUST_ALLOWED])
def test_the_main_port_never_shows_a_secondary(flags: int) -> None:
    """A driver that is pinned to it would choose that member for its one retry."""
    play = Playbook(main=True, topology=FOLLOWS)
    play.ready()
    play.client(hello_request(7, flags))
    script = play.server(op_msg(hello_document(**NO_PRIMARY), 801, 7))
    assert script == ["abort server", "record closed main_port_moved", "close client"]
    assert play.to_client == b""


@pytest.mark.parametrize(
    ("main", "topology"),
    [(False, FOLLOWS), (True, Topology("replica_set", {MEMBER: "127.0.0.1:40001"}))],
    ids=["a member's own port", "a resource that names one member (directConnection)"],
)
def test_elsewhere_a_secondary_is_shown(main: bool, topology: Topology) -> None:
    play = Playbook(main=main, topology=topology)
    play.ready()
    play.client(hello_request(7))
    assert play.server(op_msg(hello_document(isWritablePrimary=False, secondary=True), 801, 7)) == ["<< #7 ok=1"]


def test_the_main_port_passes_a_refused_hello_on() -> None:
    play = Playbook(main=True, topology=FOLLOWS)
    play.ready()
    play.client(hello_request(7))
    assert play.server(reply(7, ok=0.0, code=91, errmsg="shutting down")) == ["<< #7 ok=0 code=91"]


# --- recording fails --------------------------------------------------------------------------------------------------


def test_a_refused_record_refuses_the_command(warm: Playbook) -> None:
    warm.machine.client_data(command({"find": "orders"}, 7), 0.0)
    assert warm.event(warm.machine.recording_failed, "the spool is full") == [
        "abort server",
        "<< #7 ok=0 code=13",
        "close client",
    ]
    assert document_of(warm.to_client)["errmsg"] == "the spool is full"


def test_a_refused_denial_is_answered_all_the_same(warm: Playbook) -> None:
    warm.machine.client_data(command({"shutdown": 1}, 7, database="admin"), 0.0)
    assert "<< #7 ok=0 code=13" in warm.event(warm.machine.recording_failed, "the spool is full")


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_state_is_in_the_table_and_the_diagram() -> None:
    assert set(TRANSITIONS) == set(State)
    assert TRANSITIONS[State.CLOSED] == frozenset()
    for state in State:
        assert state.name in diagram()


def test_nothing_comes_out_of_a_closed_machine(warm: Playbook) -> None:
    warm.event(warm.machine.session_ending, None)
    machine = warm.machine
    inputs: list[list[do.Action]] = [
        machine.client_data(b"x", 0.0),
        machine.client_gone(0.0),
        machine.server_ready(MEMBER, 0.0),
        machine.server_failed("x", 0.0),
        machine.server_data(b"x", 0.0),
        machine.server_gone("x", 0.0),
        machine.logged_in(0.0),
        machine.login_failed("x", 0.0),
        machine.durable(0.0),
        machine.recording_failed("x", 0.0),
        machine.session_ending("x", 0.0),
        machine.member_lost("x", 0.0),
        machine.topology_changed(Topology("standalone"), 0.0),
    ]
    assert not any(inputs)

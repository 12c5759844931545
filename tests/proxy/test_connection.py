"""Dialogues with the machine, written as scripts; each names the rule of the design that it holds."""

from __future__ import annotations

import struct

import bson
import pytest
from bson import ObjectId

from wardgate.audit import records as audit
from wardgate.proxy.facts import Topology
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


# --- opening ----------------------------------------------------------------------------------------------------------


def test_the_clients_first_hello_is_the_servers_first_hello(play: Playbook) -> None:
    assert play.start() == ["record opened", "connect"]
    assert play.client(hello_request(1)) == ["record hello app"]
    assert play.state() == "SERVER"
    assert play.event(play.machine.server_ready, MEMBER) == [">> hello #1"]
    sent = document_of(play.to_server)
    assert sent["client"]["application"]["name"].startswith("wardgate:ann@example.com:ses_")
    assert sent["client"]["driver"]["name"] == "test"
    assert play.server(op_msg(hello_document(), 800, 1)) == ["<< #1 ok=1"]
    answer = document_of(play.to_client)
    assert answer["me"] == LISTENER
    assert answer["hosts"] == [LISTENER]  # db2 has no listener yet
    assert answer["setName"] == "rs0"
    assert play.state() == "REQUEST"


def test_an_op_query_hello_is_answered_in_its_own_dialect(play: Playbook) -> None:
    play.start()
    play.event(play.machine.server_ready, MEMBER)
    play.client(op_query({"isMaster": 1, "helloOk": True}, 5))
    assert play.server(op_reply(hello_document(), 801, 5)) == ["<< #5 ok=1"]
    assert document_of(play.to_client)["me"] == LISTENER


def test_a_second_hello_carries_no_client_metadata(warm: Playbook) -> None:
    warm.client(hello_request(9))
    assert "client" not in document_of(warm.to_server)


def test_a_refused_first_hello_ends_the_connection_because_attribution_is_uncertain(play: Playbook) -> None:
    play.start()
    play.event(play.machine.server_ready, MEMBER)
    play.client(hello_request(1))
    assert play.server(reply(1, ok=0.0, code=322, errmsg="no")) == [
        "<< #1 ok=0 code=322",
        "abort server",
        "record closed hello_refused",
        "close client",
    ]


def test_a_later_hello_may_fail(warm: Playbook) -> None:
    warm.client(hello_request(9))
    assert warm.server(reply(9, ok=0.0, code=91, errmsg="shutting down")) == ["<< #9 ok=0 code=91"]
    assert warm.state() == "REQUEST"


def test_what_would_relay_a_login_never_leaves_in_a_hello(play: Playbook) -> None:
    play.start()
    play.event(play.machine.server_ready, MEMBER)
    play.client(
        hello_request(
            1,
            saslSupportedMechs="admin.root",
            compression=["zlib"],
            speculativeAuthenticate={"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": b"x", "db": "admin"},
        )
    )
    assert not {"saslSupportedMechs", "speculativeAuthenticate", "compression"} & document_of(play.to_server).keys()
    play.server(op_msg(hello_document(saslSupportedMechs=["SCRAM-SHA-1"], compression=["zlib"]), 800, 1))
    answer = document_of(play.to_client)
    assert answer["saslSupportedMechs"] == ["SCRAM-SHA-256"]
    assert answer["compression"] == ["zlib"]  # ours: the server was not asked


def test_hello_waits_until_its_member_has_a_listener() -> None:
    play = Playbook(topology=Topology("replica_set", {}))
    play.start()
    play.event(play.machine.server_ready, MEMBER)
    assert play.client(hello_request(1)) == ["record hello app"]
    assert play.state() == "LISTENER"
    other = Topology("replica_set", {"db2:27017": "127.0.0.1:40002"})
    assert play.event(play.machine.topology_changed, other) == []
    mine = Topology("replica_set", {MEMBER: LISTENER})
    assert play.event(play.machine.topology_changed, mine) == [">> hello #1"]


def test_a_standalone_needs_no_listener_map() -> None:
    play = Playbook(topology=Topology("standalone", {}))
    play.start()
    play.event(play.machine.server_ready, MEMBER)
    assert play.client(hello_request(1)) == ["record hello app", ">> hello #1"]


def test_streamed_hellos_are_rewritten_by_the_newest_listeners(warm: Playbook) -> None:
    warm.client(hello_request(5, flags=EXHAUST_ALLOWED, topologyVersion={"counter": 1}, maxAwaitTimeMS=10_000))
    first = op_msg(hello_document(), 810, 5, MORE_TO_COME)
    assert warm.server(first) == ["<< #5 ok=1"]
    assert warm.state() == "REPLY"
    assert not warm.machine.busy
    both = {MEMBER: LISTENER, "db2:27017": "127.0.0.1:40002"}
    warm.event(warm.machine.topology_changed, Topology("replica_set", both))
    warm.clear()
    assert warm.server(op_msg(hello_document(), 811, 810, MORE_TO_COME)) == ["<< #810 ok=1"]
    assert document_of(warm.to_client)["hosts"] == [LISTENER, "127.0.0.1:40002"]
    assert warm.server(op_msg(hello_document(), 812, 811)) == ["<< #811 ok=1"]
    assert warm.state() == "REQUEST"


# --- commands ---------------------------------------------------------------------------------------------------------


def test_the_first_command_logs_in_and_ping_does_not(play: Playbook) -> None:
    play.start()
    play.event(play.machine.server_ready, MEMBER)
    play.client(hello_request(1))
    play.server(op_msg(hello_document(), 800, 1))
    assert play.client(command({"ping": 1}, 2)) == ["record intent ping", ">> ping #2"]
    assert play.server(reply(2)) == ["record outcome ok=1", "<< #2 ok=1 held"]
    assert play.client(command({"find": "orders"}, 3)) == ["login"]
    assert play.machine.busy
    assert play.event(play.machine.logged_in) == ["record intent find", ">> find #3"]


def test_a_warm_server_connection_is_logged_in_before_the_hello(play: Playbook) -> None:
    play.start()
    play.event(play.machine.server_ready, MEMBER, logged_in=True)
    play.client(hello_request(1))
    play.server(op_msg(hello_document(), 800, 1))
    assert play.client(command({"find": "orders"}, 3)) == ["record intent find", ">> find #3"]


def test_intent_precedes_the_request_and_outcome_the_replys_end(warm: Playbook) -> None:
    request = command({"find": "orders", "filter": {"a": 1}, "lsid": {"id": bson.Binary(b"u" * 16, 4)}}, 7)
    assert warm.client(request) == ["record intent find", ">> find #7"]
    assert warm.to_server == request
    warm.now += 0.002
    cursor = {"firstBatch": [{"a": 1}, {"a": 1}], "id": bson.Int64(77), "ns": "shop.orders"}
    answer = reply(7, cursor=cursor)
    assert warm.server(answer) == ["record outcome ok=1 documents=2", "<< #7 ok=1 held"]
    assert warm.to_client == answer
    intent, outcome = warm.records
    assert isinstance(intent, audit.CommandIntent)
    assert (intent.database, intent.collection, intent.effect) == ("shop", "orders", "read")
    assert (intent.client_app, intent.bytes_in, intent.request_id) == ("app", len(request), 7)
    assert bson.decode(intent.body)["filter"] == {"a": 1}
    assert isinstance(outcome, audit.CommandOutcome)
    assert outcome.bytes_out == len(answer)
    assert outcome.duration_us == pytest.approx(2000, abs=1)
    assert [each[1:] for each in warm.work.cursors] == [("shop", "orders", 77)]
    assert warm.work.logical_sessions == (b"u" * 16,)
    warm.client(command({"getMore": bson.Int64(77), "collection": "orders"}, 8))
    warm.server(reply(8, cursor={"nextBatch": [], "id": bson.Int64(0), "ns": "shop.orders"}))
    assert not warm.work.cursors


def test_a_reply_in_pieces_is_passed_on_and_its_last_piece_held(warm: Playbook) -> None:
    warm.client(command({"find": "orders"}, 7))
    answer = reply(7, cursor={"firstBatch": [{"x": "y" * 500}], "id": bson.Int64(0), "ns": "shop.orders"})
    assert warm.server(answer[:10], answer[10:200], answer[200:300]) == ["<< 200 bytes", "<< 100 bytes"]
    rest = answer[300:]
    assert warm.server(rest) == ["record outcome ok=1 documents=1", f"<< {len(rest)} bytes held"]
    assert warm.to_client == answer


def test_an_error_reply_passes_unchanged_and_is_recorded(warm: Playbook) -> None:
    warm.client(command({"insert": "orders", "documents": [{"_id": 1}]}, 7))
    answer = reply(7, ok=0.0, code=10107, errmsg="not primary", errorLabels=["RetryableWriteError"])
    assert warm.server(answer) == ["record outcome ok=0 code=10107", "<< #7 ok=0 code=10107 held"]
    assert warm.to_client == answer


def test_a_login_that_ran_out_is_no_business_of_the_client(warm: Playbook) -> None:
    warm.client(command({"find": "orders"}, 7))
    lines = warm.server(reply(7, ok=0.0, code=391, errmsg="reauthenticate"))
    assert lines == ["record outcome ok=0 code=391", "abort server", "record closed login_expired", "close client"]
    assert not warm.to_client
    assert warm.state() == "CLOSED"


def test_kind_1_sections_in_any_order_reach_the_record(warm: Playbook) -> None:
    sections = [
        sequence_section("documents", [{"a": 1}, {"a": 2}]),
        body_section({"insert": "orders", "$db": "shop"}),
    ]
    request = op_msg_sections(sections, 7)
    assert warm.client(request)[0] == "record intent insert"
    assert warm.to_server == request
    intent = warm.records[0]
    assert isinstance(intent, audit.CommandIntent)
    assert intent.sequences == (("documents", bson.encode({"a": 1}) + bson.encode({"a": 2})),)


def test_pipelined_requests_are_answered_in_order_one_at_a_time(warm: Playbook) -> None:
    requests = [command({"find": "orders"}, n) for n in (11, 12, 13)]
    assert warm.client(b"".join(requests)) == ["record intent find", ">> find #11"]
    for n in (11, 12):
        lines = warm.server(reply(n, n=0))
        assert lines == [
            "record outcome ok=1 documents=0",
            f"<< #{n} ok=1 held",
            "record intent find",
            f">> find #{n + 1}",
        ]
    assert len(warm.server(reply(13, n=0))) == 2


def test_a_client_that_sends_far_ahead_is_paused(warm: Playbook) -> None:
    warm.client(command({"find": "orders"}, 11))
    ahead = command({"insert": "orders", "documents": [{"x": "y" * 70_000}]}, 12)
    assert warm.client(ahead) == ["pause client"]
    assert warm.client(command({"find": "orders"}, 13)) == []
    warm.server(reply(11, n=0))
    warm.server(reply(12, n=1))
    assert warm.server(reply(13, n=0))[-1] == "resume client"


def test_a_command_before_any_hello_is_preceded_by_a_hello_of_ours(play: Playbook) -> None:
    play.start()
    play.event(play.machine.server_ready, MEMBER)
    assert play.client(command({"find": "orders"}, 3)) == [">> hello #1"]
    assert play.state() == "GREETING"
    name = document_of(play.to_server)["client"]["application"]["name"]
    assert name.startswith("wardgate:ann@example.com:ses_")
    assert play.server(op_msg(hello_document(), 800, 1)) == ["login"]
    assert play.event(play.machine.logged_in) == ["record intent find", ">> find #3"]
    play.server(reply(3, n=0))
    play.to_server = b""
    play.client(hello_request(4))
    assert "client" not in document_of(play.to_server)


@pytest.mark.parametrize(("kind", "told"), [("load_balanced", True), ("sharded", False), ("replica_set", False)])
def test_who_stands_behind_a_load_balancer_hears_of_it(kind: str, told: bool) -> None:
    play = Playbook(topology=Topology(kind, {MEMBER: LISTENER}))
    play.start()
    play.event(play.machine.server_ready, MEMBER)
    play.client(op_msg({"hello": 1, "loadBalanced": True, "$db": "admin"}, 1))
    assert ("loadBalanced" in document_of(play.to_server)) is told
    theirs = ObjectId()
    play.server(op_msg({"ok": 1.0, "msg": "isdbgrid", "serviceId": theirs}, 800, 1))
    assert document_of(play.to_client)["serviceId"] == theirs
    greeted = Playbook(topology=Topology(kind, {MEMBER: LISTENER}))
    greeted.start()
    greeted.event(greeted.machine.server_ready, MEMBER)
    greeted.client(command({"find": "orders"}, 3))
    assert ("loadBalanced" in document_of(greeted.to_server)) is told


# --- no reply, many replies -------------------------------------------------------------------------------------------


def test_an_unacknowledged_write_is_on_disk_before_it_is_forwarded(warm: Playbook) -> None:
    write = command({"insert": "orders", "documents": [{"a": 1}], "writeConcern": {"w": 0}}, 7, MORE_TO_COME)
    assert warm.client(write) == ["record intent insert", "sync"]
    assert warm.client(command({"count": "orders"}, 8)) == []
    assert warm.event(warm.machine.durable) == [
        ">> insert #7",
        "record outcome unacknowledged",
        "record intent count",
        ">> count #8",
    ]


def test_moretocome_gets_no_reply_bytes_whatever_happens(warm: Playbook) -> None:
    warm.client(command({"ping": 1}, 7, MORE_TO_COME))
    warm.event(warm.machine.durable)
    assert warm.client(command({"shutdown": 1}, 8, MORE_TO_COME, "admin")) == [
        "record denied shutdown server_command code=13"
    ]
    warm.client(op_msg({"logout": 1, "$db": "admin"}, 9, 0, MORE_TO_COME))
    warm.client(hello_request(10, flags=MORE_TO_COME))
    assert warm.to_client == b""
    assert warm.state() == "REQUEST"


def test_exhaust_replies_chain_and_each_has_its_outcome(warm: Playbook) -> None:
    warm.work.saw_cursor(5, MEMBER, "shop", "orders")
    warm.client(command({"getMore": bson.Int64(5), "collection": "orders"}, 7, EXHAUST_ALLOWED))
    batch = {"nextBatch": [{"a": 1}], "id": bson.Int64(5), "ns": "shop.orders"}
    assert warm.server(reply(7, 901, MORE_TO_COME, cursor=batch)) == [
        "record outcome ok=1 documents=1 more",
        "<< #7 ok=1 held",
    ]
    assert warm.server(reply(901, 902, MORE_TO_COME, cursor=batch))[0] == "record outcome ok=1 documents=1 more"
    last = {"nextBatch": [], "id": bson.Int64(0), "ns": "shop.orders"}
    assert warm.server(reply(902, 903, cursor=last))[0] == "record outcome ok=1 documents=0"
    assert warm.state() == "REQUEST"


def test_a_chain_that_was_not_allowed_is_a_broken_server(warm: Playbook) -> None:
    warm.client(command({"find": "orders"}, 7))
    assert warm.server(reply(7, 901, MORE_TO_COME, n=1)) == [
        "record malformed from server",
        "abort server",
        "record outcome none: a chain of replies came that the client did not allow",
        "record closed server_protocol_error",
        "close client",
    ]


# --- the client's own login -------------------------------------------------------------------------------------------


def test_no_login_command_ever_reaches_the_server(warm: Playbook) -> None:
    payload = b"\x00root\x00rootpw"
    warm.client(op_msg({"saslStart": 1, "mechanism": "PLAIN", "payload": payload, "$db": "$external"}, 7))
    warm.client(op_msg({"authenticate": 1, "mechanism": "MONGODB-X509", "$db": "$external"}, 8))
    warm.client(op_msg({"getnonce": 1, "$db": "admin"}, 9))
    assert warm.client(op_msg({"logout": 1, "$db": "admin"}, 10)) == ["<< #10 ok=1 held"]
    assert warm.to_server == b""
    assert warm.client(command({"find": "orders"}, 11)) == ["record intent find", ">> find #11"]
    warm.server(reply(11, n=0))
    warm.clear()
    warm.event(warm.machine.client_gone)
    closed = warm.records[-1]
    assert isinstance(closed, audit.ConnectionClosed)
    assert (closed.sasl, closed.hellos, closed.commands) == (4, 1, 2)


def test_with_local_auth_nothing_runs_before_the_password() -> None:
    play = Playbook(local_auth=True)
    play.start()
    play.event(play.machine.server_ready, MEMBER)
    play.client(hello_request(1))
    play.server(op_msg(hello_document(), 800, 1))
    assert play.client(command({"find": "orders"}, 2)) == [
        "record denied find local_auth code=13",
        "<< #2 ok=0 code=13 held",
    ]


def test_own_operations_are_learned_from_lists_of_operations(warm: Playbook) -> None:
    own, other = "wardgate:ann@example.com:ses_01k00000000000000000000000 app", "wardgate:bob@example.com:ses_x"
    rows = [{"appName": own, "opid": 4711}, {"appName": other, "opid": 4712}, {"opid": 4713}, {"appName": own}]
    assert warm.client(command({"killOp": 1, "op": 4711}, 7, database="admin"))[0].startswith("record denied killOp")
    warm.client(command({"currentOp": 1}, 8, database="admin"))
    answer = reply(8, inprog=rows)
    warm.server(answer[:50], answer[50:])
    stage = {"aggregate": 1, "pipeline": [{"$currentOp": {}}], "cursor": {}}
    warm.client(command(stage, 9, database="admin"))
    batch = [{"appName": own, "opid": "shard0:17"}]
    warm.server(reply(9, cursor={"firstBatch": batch, "id": bson.Int64(0), "ns": "admin.$cmd.aggregate"}))
    assert set(warm.work.view.operations) == {4711, "shard0:17"}
    assert warm.client(command({"killOp": 1, "op": 4711}, 10, database="admin"))[-1] == ">> killOp #10"
    warm.server(reply(10))
    assert warm.client(command({"killOp": 1, "op": 4712}, 11, database="admin"))[0].startswith("record denied killOp")


def test_a_list_of_operations_that_can_not_be_read_is_passed_on_and_recorded(warm: Playbook) -> None:
    deep: dict[str, object] = {}
    for _ in range(200):
        deep = {"d": deep}
    warm.client(command({"currentOp": 1}, 8, database="admin"))
    assert warm.server(reply(8, inprog=[{"appName": "x", "opid": 1, "deep": deep}]))[0] == "record outcome ok=1"


def test_a_server_can_not_fill_memory_with_its_answer_to_our_hello(play: Playbook) -> None:
    play.start()
    play.event(play.machine.server_ready, MEMBER)
    play.client(command({"find": "orders"}, 3))
    answer = op_msg({"ok": 1.0, "junk": "x" * 300_000}, 800, 1)
    assert play.server(answer[:100])[0] == "record malformed from server"


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_denied_command_is_recorded_answered_and_not_forwarded(warm: Playbook) -> None:
    lines = warm.client(command({"createUser": "eve", "pwd": "s3cret", "roles": []}, 7, database="admin"))
    assert lines == ["record denied createUser users_command code=13", "<< #7 ok=0 code=13 held"]
    assert warm.to_server == b""
    denied = warm.records[0]
    assert isinstance(denied, audit.Denied)
    assert b"s3cret" not in denied.body
    assert warm.client(command({"find": "orders"}, 8)) == ["record intent find", ">> find #8"]


def test_an_old_op_query_command_is_refused_with_mongods_own_code(warm: Playbook) -> None:
    assert warm.client(op_query({"listDatabases": 1}, 7)) == [
        "record malformed",
        "<< #7 ok=0 code=352 held",
    ]


def test_a_request_without_db_gets_an_error_and_the_connection_goes_on(warm: Playbook) -> None:
    assert warm.client(op_msg({"find": "orders"}, 7)) == ["record malformed", "<< #7 ok=0 code=40571 held"]
    assert warm.client(command({"find": "orders"}, 8))[-1] == ">> find #8"


@pytest.mark.parametrize(
    "raw",
    [
        op_msg({"ping": 1, "$db": "admin"}, 7, 0, 1 << 2),  # an unknown required flag
        op_msg({"ping": 1, "$db": "admin"}, 7, 0, 1),  # a checksum that is none
        struct.pack("<iiii", 26, 7, 0, 2012) + b"\x00" * 10,  # compression was never negotiated
        struct.pack("<iiii", 26, 7, 0, 4242) + b"\x00" * 10,
        struct.pack("<iiii", 48_000_001, 7, 0, 2013),
        struct.pack("<iiii", 15, 7, 0, 2013),
    ],
    ids=["flag", "checksum", "compressed", "opcode", "too long", "too short"],
)
def test_what_mongod_hangs_up_on_is_recorded_and_hung_up_on(warm: Playbook, raw: bytes) -> None:
    assert warm.client(raw) == [
        "record malformed",
        "abort server",
        "record closed protocol_error",
        "close client",
    ]
    assert warm.client(command({"find": "orders"}, 8)) == []

"""Data streams against a real MongoDB with TLS and SCRAM, with PyMongo and bare sockets as clients.

The acceptance cases of the wire design that need no tunnel and no second member; what a driver sees through us is
compared with what it sees directly wherever that is possible.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import bson
import gridfs
import pytest
from pymongo import MongoClient, WriteConcern, monitoring
from pymongo.cursor import CursorType
from pymongo.errors import AutoReconnect, BulkWriteError, OperationFailure, PyMongoError, ServerSelectionTimeoutError

from wardgate.audit import records as audit
from wardgate.policy.decide import Policy
from wardgate.testing.mongo import Login, MongoDeployment
from wardgate.testing.playbook import (
    EXHAUST_ALLOWED,
    MORE_TO_COME,
    body_section,
    command,
    document_of,
    op_msg,
    op_msg_sections,
    op_query,
    sequence_section,
)
from wardgate.wire.header import HEADER

Document = dict[str, Any]


@contextlib.contextmanager
def client_of(gateway: Any, **options: Any) -> Iterator[MongoClient[Document]]:
    """PyMongo with the printed URI only."""
    options.setdefault("serverSelectionTimeoutMS", 10_000)
    with MongoClient[Document](gateway.uri, **options) as client:
        yield client


class Bare:
    """A client that is only a socket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)

    def __enter__(self) -> Bare:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *messages: bytes) -> None:
        self.socket.sendall(b"".join(messages))

    def receive(self) -> bytes:
        """One whole message; empty at the end of the stream."""
        head = self._exactly(16)
        return head + self._exactly(HEADER.unpack(head)[0] - 16) if head else b""

    def ask(self, message: bytes) -> Document:
        """Send and read the answer's document."""
        self.send(message)
        return document_of(self.receive())

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                more = self.socket.recv(size - len(data))
            except ConnectionResetError:
                more = b""
            if not more:
                return b""
            data += more
        return data


def eventually(look: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


# --- a driver's everyday life -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mongod_standalone", "mongod_rs1"])
def test_crud_cursors_aggregation_and_gridfs(kind: str, request: pytest.FixtureRequest, gateway: Any) -> None:
    with gateway(request.getfixturevalue(kind)) as it, client_of(it) as client:
        database = client["pump_crud"]
        client.drop_database("pump_crud")
        orders = database.orders
        orders.insert_many([{"_id": n, "even": n % 2 == 0} for n in range(1000)])
        assert orders.count_documents({}) == 1000
        assert sum(1 for _ in orders.find({}, batch_size=100)) == 1000
        assert orders.update_many({"even": True}, {"$set": {"x": 1}}).modified_count == 500
        assert orders.update_one({"_id": -1}, {"$set": {"x": 1}}, upsert=True).upserted_id == -1
        assert orders.delete_one({"_id": -1}).deleted_count == 1
        assert orders.delete_one({"_id": 0}).deleted_count == 1
        grouped = list(orders.aggregate([{"$group": {"_id": "$even", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]))
        assert [each["n"] for each in grouped] == [500, 499]
        files = gridfs.GridFS(database)
        content = bytes(range(256)) * 20_000
        assert files.get(files.put(content)).read() == content
    names = [intent.command for intent, _ in it.commands()]
    assert {"insert", "aggregate", "find", "getMore", "update", "delete"} <= set(names)
    failed = {intent.command for intent, outcomes in it.commands() if [each.ok for each in outcomes] != [1.0]}
    assert failed == {"listIndexes"}  # GridFS asks for those of a collection that is not there yet
    finds = [outcomes[0].intent_seq for intent, outcomes in it.commands() if intent.command == "find"]
    getmores = [(intent.continues, outcomes[0]) for intent, outcomes in it.commands() if intent.command == "getMore"]
    of_first = [outcome.documents for opened_by, outcome in getmores if opened_by == finds[0]]
    assert of_first == [100] * 9 + [0]
    assert all(opened_by is not None for opened_by, _ in getmores)
    updates = [outcomes[0] for intent, outcomes in it.commands() if intent.command == "update"]
    assert (updates[0].documents, updates[0].modified, updates[0].upserted) == (500, 500, None)
    assert (updates[1].documents, updates[1].modified, updates[1].upserted) == (1, 0, 1)


def test_a_transaction_goes_on_from_another_socket_and_a_change_stream_sees_it(rs1: Any) -> None:
    with client_of(rs1) as client, client_of(rs1) as other:
        database = client["pump_txn"]
        client.drop_database("pump_txn")
        database.create_collection("orders")
        with database.orders.watch() as stream:
            with client.start_session() as session, session.start_transaction():
                database.orders.insert_one({"_id": 1}, session=session)
                assert other["pump_txn"].orders.count_documents({}) == 0
            assert stream.next()["fullDocument"] == {"_id": 1}
        with client.start_session() as session:
            session.start_transaction()
            database.orders.insert_one({"_id": 2}, session=session)
            session.abort_transaction()
        assert other["pump_txn"].orders.count_documents({}) == 1


def test_twenty_sockets_are_all_the_gateways_user(standalone: Any) -> None:
    with client_of(standalone, maxPoolSize=20) as client:
        seen: list[str] = []

        def look() -> None:
            client.admin.command("find", "system.version", filter={"$where": "sleep(100) || true"})
            users = client.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"]
            seen.append(users[0]["user"])

        threads = [threading.Thread(target=look) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [standalone.user.username] * 20


def test_the_person_is_named_in_current_op_with_the_clients_own_application(standalone: Any) -> None:
    with client_of(standalone, appname="nightly report") as client:
        name = client.admin.aggregate([{"$currentOp": {}}, {"$match": {"command.aggregate": 1}}]).next()["appName"]
    assert name.startswith("wardgate:ann@example.com:ses_01k00000000000000000000000")
    assert "nightly report" in name


# --- hello ------------------------------------------------------------------------------------------------------------

_MAY_DIFFER = {
    "hosts", "me", "primary", "passives", "arbiters", "tags", "compression", "saslSupportedMechs",
    "speculativeAuthenticate", "serviceId", "localTime", "connectionId", "$clusterTime", "operationTime", "lastWrite",
    "topologyVersion",
}  # fmt: skip


@pytest.mark.parametrize(
    ("first", "flags"),
    [
        (op_query({"isMaster": 1, "helloOk": True}, 5), 1),
        (op_query({"$query": {"ismaster": 1, "helloOk": True}}, 5), 1),
        (op_msg({"hello": 1, "helloOk": True, "$db": "admin"}, 5), 2013),
        (op_msg({"ismaster": 1, "helloOk": True, "$db": "admin"}, 5), 2013),
    ],
    ids=["OP_QUERY", "wrapped", "OP_MSG hello", "OP_MSG ismaster"],
)
def test_every_kind_of_first_message_is_answered_like_mongod(
    rs1: Any, mongod_rs1: MongoDeployment, first: bytes, flags: int
) -> None:
    with Bare(rs1.main_port) as bare:
        bare.send(first)
        answer = bare.receive()
    _, _, response_to, opcode = HEADER.unpack_from(answer)
    assert (response_to, opcode) == (5, flags)
    through = document_of(answer)
    assert through["helloOk"] is True
    with mongod_rs1.client() as direct:
        truth = direct.admin.command("hello" if b"\x10hello\x00" in first else "isMaster", helloOk=True)
    assert {k: v for k, v in through.items() if k not in _MAY_DIFFER} == {
        k: v for k, v in truth.items() if k not in _MAY_DIFFER
    }
    (member,) = rs1.ports.values()
    assert through["me"] == through["primary"] == f"127.0.0.1:{member}"
    assert through["hosts"] == [f"127.0.0.1:{member}"]


def test_hello_as_a_users_command_is_rewritten_and_rs_status_is_not(rs1: Any, mongod_rs1: MongoDeployment) -> None:
    (member,) = rs1.ports.values()
    with client_of(rs1) as client:
        assert client.admin.command("hello")["me"] == f"127.0.0.1:{member}"
        assert client.admin.command("replSetGetStatus")["members"][0]["name"] == mongod_rs1.members[0].address


class _Heartbeats(monitoring.ServerHeartbeatListener):
    def __init__(self) -> None:
        self.awaited = self.failures = 0

    def started(self, event: monitoring.ServerHeartbeatStartedEvent) -> None: ...

    def succeeded(self, event: monitoring.ServerHeartbeatSucceededEvent) -> None:
        self.awaited += event.awaited

    def failed(self, event: monitoring.ServerHeartbeatFailedEvent) -> None:
        self.failures += 1


def test_streamed_heartbeats_go_on_and_none_fails(rs1: Any) -> None:
    listener = _Heartbeats()
    with client_of(rs1, heartbeatFrequencyMS=500, event_listeners=[listener]) as client:
        client.admin.command("ping")
        eventually(lambda: listener.awaited >= 3)
    assert listener.failures == 0


def test_a_wrong_set_name_fails_with_the_drivers_own_text(rs1: Any) -> None:
    with (
        client_of(rs1, replicaSet="wrong", serverSelectionTimeoutMS=1500) as client,
        pytest.raises(ServerSelectionTimeoutError, match="wrong"),
    ):
        client.admin.command("ping")


# --- logging in as a client -------------------------------------------------------------------------------------------


def test_a_clients_logout_leaves_the_socket_alive_and_its_login_is_explained(
    standalone: Any, mongod_standalone: MongoDeployment
) -> None:
    with client_of(standalone, maxPoolSize=1) as client:
        client.admin.command("logout")
        assert client.pump.things.count_documents({}) >= 0
    root = mongod_standalone.root
    with (
        client_of(standalone, username=root.username, password=root.password) as client,
        pytest.raises(OperationFailure) as refused,
    ):
        client.admin.command("ping")
    assert refused.value.code == 18
    assert not any(isinstance(each, audit.CommandIntent) and each.command == "saslStart" for each in standalone.records)
    assert root.password not in repr(standalone.records)


# --- no reply, many replies -------------------------------------------------------------------------------------------


def test_a_thousand_unacknowledged_writes_are_ordered_and_recorded(standalone: Any) -> None:
    with client_of(standalone, maxPoolSize=1) as client:
        things = client.pump_w0.things
        things.drop()
        silent = things.with_options(write_concern=WriteConcern(w=0))
        for n in range(1000):
            silent.insert_one({"_id": n})
        assert things.count_documents({}) == 1000
    outcomes = [outcomes[0] for intent, outcomes in standalone.commands() if intent.command == "insert"]
    assert len(outcomes) == 1000
    assert all(each.unacknowledged and each.ok is None for each in outcomes)


def test_unacknowledged_writes_survive_a_client_that_closes_at_once(
    standalone: Any, mongod_standalone: MongoDeployment
) -> None:
    with mongod_standalone.client() as direct:
        direct.pump_w0.gone.drop()
        with Bare(standalone.main_port) as bare:
            for n in range(50):
                document = {"insert": "gone", "documents": [{"_id": n}], "writeConcern": {"w": 0}}
                bare.send(command(document, n, MORE_TO_COME, "pump_w0"))
        eventually(lambda: direct.pump_w0.gone.count_documents({}) == 50)


def test_ping_with_moretocome_does_not_stall_the_socket(standalone: Any) -> None:
    with Bare(standalone.main_port) as bare:
        bare.send(op_msg({"ping": 1, "$db": "admin"}, 1, 0, MORE_TO_COME))
        assert bare.ask(op_msg({"ping": 1, "$db": "admin"}, 2))["ok"] == 1.0


def test_an_exhaust_cursor_gives_every_document_and_an_outcome_for_each_batch(standalone: Any) -> None:
    with client_of(standalone) as client:
        big = client.pump_exhaust.big
        big.drop()
        big.insert_many([{"_id": n, "text": "x" * 10_000} for n in range(1000)])
        found = [each["_id"] for each in big.find({}, batch_size=100, cursor_type=CursorType.EXHAUST).sort("_id", 1)]
    assert found == list(range(1000))
    chained = [outcomes for intent, outcomes in standalone.commands() if intent.command == "getMore"]
    assert sum(each.documents or 0 for outcomes in chained for each in outcomes) == 900


def test_the_response_ids_of_a_chain_are_the_servers_own(standalone: Any, mongod_standalone: MongoDeployment) -> None:
    with mongod_standalone.client() as direct:
        direct.pump_exhaust.chain.drop()
        direct.pump_exhaust.chain.insert_many([{"_id": n} for n in range(30)])
    with Bare(standalone.main_port) as bare:
        first = bare.ask(command({"find": "chain", "batchSize": 5}, 1, 0, "pump_exhaust"))
        cursor = first["cursor"]["id"]
        get_more = {"getMore": bson.Int64(cursor), "collection": "chain", "batchSize": 5}
        bare.send(command(get_more, 2, EXHAUST_ALLOWED, "pump_exhaust"))
        expected, got = 2, 5
        while True:
            message = bare.receive()
            _, request_id, response_to, _ = HEADER.unpack_from(message)
            assert response_to == expected
            expected = request_id
            got += len(document_of(message)["cursor"]["nextBatch"])
            if not message[16] & MORE_TO_COME:
                break
    assert got == 30


def test_closing_in_mid_exhaust_ends_the_operation(standalone: Any, mongod_standalone: MongoDeployment) -> None:
    with mongod_standalone.client() as direct:
        direct.pump_exhaust.endless.drop()
        direct.pump_exhaust.endless.insert_many([{"text": "x" * 100_000} for _ in range(400)])
        with Bare(standalone.main_port) as bare:
            cursor = bare.ask(command({"find": "endless", "batchSize": 1}, 1, 0, "pump_exhaust"))["cursor"]["id"]
            get_more = {"getMore": bson.Int64(cursor), "collection": "endless", "batchSize": 2}
            bare.send(command(get_more, 2, EXHAUST_ALLOWED, "pump_exhaust"))
            bare.receive()
        query = [{"$currentOp": {"idleCursors": True}}, {"$match": {"cursor.cursorId": bson.Int64(cursor)}}]
        eventually(lambda: not list(direct.admin.aggregate([*query, {"$match": {"type": "op"}}])))
    eventually(lambda: not standalone.streams)


# --- order, shape, size -----------------------------------------------------------------------------------------------


def test_five_pipelined_commands_are_answered_in_order(standalone: Any, mongod_standalone: MongoDeployment) -> None:
    with mongod_standalone.client() as direct:
        direct.pump.one.drop()
        direct.pump.one.insert_one({"_id": 1})
    slow = command({"find": "one", "filter": {"$where": "sleep(300) || true"}}, 1, 0, "pump")
    with Bare(standalone.main_port) as bare:
        bare.send(slow, *(command({"ping": 1}, n) for n in (2, 3, 4, 5)))
        assert [HEADER.unpack_from(bare.receive())[2] for _ in range(5)] == [1, 2, 3, 4, 5]


def test_sections_in_any_order_and_two_of_them(standalone: Any) -> None:
    insert = body_section({"insert": "sections", "$db": "pump"})
    with Bare(standalone.main_port) as bare:
        bare.ask(command({"drop": "sections"}, 1, 0, "pump"))
        early = op_msg_sections([sequence_section("documents", [{"a": 1}, {"a": 2}]), insert], 2)
        assert bare.ask(early)["n"] == 2
    intents = [intent for intent, _ in standalone.commands() if intent.command == "insert"]
    assert [name for name, _ in intents[0].sequences] == ["documents"]


def test_a_checksum_is_taken_where_it_is_right_and_hung_up_on_where_it_is_not(standalone: Any) -> None:
    from google_crc32c import value as crc32c

    plain = op_msg({"ping": 1, "$db": "admin"}, 1)
    head = HEADER.pack(len(plain) + 4, 1, 0, 2013) + struct.pack("<I", 1) + plain[20:]
    with Bare(standalone.main_port) as bare:
        assert bare.ask(head + struct.pack("<I", crc32c(head)))["ok"] == 1.0
        bare.send(head + b"\x00\x00\x00\x00")
        assert bare.receive() == b""


@pytest.mark.parametrize(
    "bad",
    [
        op_msg({"ping": 1, "$db": "admin"}, 1, 0, 1 << 2),
        HEADER.pack(48_000_001, 1, 0, 2013),
        HEADER.pack(15, 1, 0, 2013),
        HEADER.pack(30, 1, 0, 2012) + b"\x00" * 14,
        HEADER.pack(30, 1, 0, 2002) + b"\x00" * 14,
    ],
    ids=["flag", "long", "short", "compressed", "OP_INSERT"],
)
def test_bad_bytes_end_only_their_own_connection(standalone: Any, bad: bytes) -> None:
    with Bare(standalone.main_port) as good, Bare(standalone.main_port) as bare:
        assert good.ask(op_msg({"ping": 1, "$db": "admin"}, 1))["ok"] == 1.0
        bare.send(bad)
        assert bare.receive() == b""
        assert good.ask(op_msg({"ping": 1, "$db": "admin"}, 2))["ok"] == 1.0
    assert any(isinstance(each, audit.Malformed) for each in standalone.records)


def test_messages_of_48_megabytes_pass(standalone: Any) -> None:
    with client_of(standalone) as client:
        large = client.pump_large.things
        large.drop()
        large.insert_many([{"_id": n, "data": b"x" * 15_900_000} for n in range(3)])
        assert [len(each["data"]) for each in large.find({})] == [15_900_000] * 3
        large.drop()


# --- what a client sees when things go wrong --------------------------------------------------------------------------


def test_a_killed_client_ends_its_operation(standalone: Any, mongod_standalone: MongoDeployment) -> None:
    running = [{"$currentOp": {}}, {"$match": {"appName": {"$regex": "^wardgate:"}, "command.find": "one"}}]
    with mongod_standalone.client() as direct:
        direct.pump.one.drop()
        direct.pump.one.insert_one({"_id": 1})
        with Bare(standalone.main_port) as bare:
            bare.send(command({"find": "one", "filter": {"$where": "sleep(30000) || true"}}, 1, 0, "pump"))
            eventually(lambda: bool(list(direct.admin.aggregate(running))))
        eventually(lambda: not list(direct.admin.aggregate(running)), 3)


def _errors(client: MongoClient[Document]) -> list[Any]:
    """Several failures, as the driver tells them."""
    database = client["pump_errors"]
    database.things.drop()
    database.things.insert_one({"_id": 1})
    failing = {"configureFailPoint": "failCommand", "mode": {"times": 1}}
    seen: list[Any] = []

    def told(error: PyMongoError) -> None:
        details = dict(getattr(error, "details", None) or {})
        for name in ("$clusterTime", "operationTime", "topologyVersion"):
            details.pop(name, None)
        labels = sorted(getattr(error, "_error_labels", ()))
        seen.append((type(error).__name__, getattr(error, "code", None), details, labels))

    for work in (
        lambda: database.things.insert_one({"_id": 1}),
        lambda: database.things.insert_many([{"_id": 1}, {"_id": 2}]),
        lambda: database.command("nonsense"),
        lambda: database.command("find", 5),
        lambda: database.command("collMod", "nothing here"),
        lambda: list(database.things.find({}, max_time_ms=1).where("sleep(100) || true")),
        lambda: database.command("getMore", bson.Int64(4711), collection="things"),
    ):
        with contextlib.suppress(BulkWriteError):
            try:
                work()
            except PyMongoError as error:
                told(error)
    for data in (
        {"failCommands": ["insert"], "errorCode": 112},
        {"failCommands": ["insert"], "errorCode": 10107, "errorLabels": ["RetryableWriteError", "Mine"]},
        {"failCommands": ["insert"], "writeConcernError": {"code": 64, "errmsg": "late"}},
    ):
        client.admin.command({**failing, "data": data})
        try:
            database.things.insert_one({})
        except PyMongoError as error:
            told(error)
        client.admin.command("configureFailPoint", "failCommand", mode="off")
    return seen


def test_errors_are_the_servers_own(rs1: Any, mongod_rs1: MongoDeployment) -> None:
    with client_of(rs1, retryWrites=False) as through, mongod_rs1.client(retryWrites=False) as direct:
        assert _errors(through) == _errors(direct)


def test_a_server_that_hangs_up_makes_the_driver_retry_once(rs1: Any) -> None:
    with client_of(rs1) as client:
        client.pump.retried.drop()
        data = {"failCommands": ["insert"], "closeConnection": True}
        client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=data)
        client.pump.retried.insert_one({"_id": 1})
        assert client.pump.retried.count_documents({}) == 1
    inserts = [outcomes[0] for intent, outcomes in rs1.commands() if intent.command == "insert"]
    assert [each.ok for each in inserts] == [None, 1.0]


def test_a_wrong_database_password_is_told_with_code_18(mongod_standalone: MongoDeployment, gateway: Any) -> None:
    with gateway(mongod_standalone, password="wrong") as it, client_of(it) as client:
        assert client.admin.command("ping")["ok"] == 1.0
        with pytest.raises(OperationFailure, match=mongod_standalone.root.username) as refused:
            client.pump.things.find_one()
    assert refused.value.code == 18


def test_policy_refuses_in_a_document_and_the_socket_goes_on(mongod_standalone: MongoDeployment, gateway: Any) -> None:
    with gateway(mongod_standalone, policy=Policy()) as it, client_of(it, maxPoolSize=1) as client:
        with pytest.raises(OperationFailure) as refused:
            client.admin.command("createUser", "eve", pwd="s3cret-of-eve", roles=[])
        assert refused.value.code == 13
        assert client.pump.things.count_documents({}) >= 0
    assert "s3cret-of-eve" not in repr(it.records)


def test_an_ended_session_tells_who_waits_and_closes_everything(standalone: Any) -> None:
    with Bare(standalone.main_port) as idle, Bare(standalone.main_port) as bare:
        idle.ask(op_msg({"ping": 1, "$db": "admin"}, 1))
        bare.ask(command({"insert": "one", "documents": [{"a": 1}]}, 1, 0, "pump_end"))
        bare.send(command({"find": "one", "filter": {"$where": "sleep(30000) || true"}}, 2, 0, "pump_end"))
        eventually(lambda: any(stream.busy for stream in standalone.streams))
        standalone.end("Your access expired at 12:00.")
        answer = document_of(bare.receive())
        assert (answer["ok"], answer["code"], answer["errmsg"]) == (0.0, 13, "Your access expired at 12:00.")
        assert bare.receive() == idle.receive() == b""
    eventually(lambda: not standalone.streams)
    assert [each.reason for each in standalone.records if isinstance(each, audit.ConnectionClosed)] == [
        "session_ended",
        "session_ended",
    ]


def test_a_recorder_that_refuses_refuses_the_command(standalone: Any) -> None:
    with Bare(standalone.main_port) as bare:
        bare.ask(op_msg({"ping": 1, "$db": "admin"}, 1))
        standalone.recorder.failure = "the spool is full"
        answer = bare.ask(command({"find": "one"}, 2, 0, "pump"))
        assert (answer["code"], answer["errmsg"]) == (13, "the spool is full")
        assert bare.receive() == b""
    eventually(lambda: standalone.failures == ["the spool is full"])


def test_a_reply_waits_for_the_disk(standalone: Any) -> None:
    with Bare(standalone.main_port) as bare:
        bare.ask(op_msg({"ping": 1, "$db": "admin"}, 1))
        standalone.call(standalone.recorder.hold)
        bare.send(op_msg({"ping": 1, "$db": "admin"}, 2))
        eventually(lambda: any(isinstance(each, audit.CommandOutcome) for each in standalone.records[-1:]))
        bare.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            bare.socket.recv(1)
        bare.socket.settimeout(20)
        standalone.call(standalone.recorder.release)
        assert document_of(bare.receive())["ok"] == 1.0


def test_a_restricted_user_sees_mongodbs_own_refusal(mongod_standalone: MongoDeployment, gateway: Any) -> None:
    user: Login = mongod_standalone.ro
    with gateway(mongod_standalone, user) as it, client_of(it) as client:
        with pytest.raises(OperationFailure) as refused:
            client.pump.things.insert_one({})
        assert refused.value.code == 13
        assert "not authorized" in str(refused.value)
        assert client.pump.things.find_one({"_id": "none"}) is None


def test_every_connection_gives_its_sockets_back(standalone: Any) -> None:
    with client_of(standalone, maxPoolSize=20) as client:
        client.pump.things.find_one()
        assert standalone.streams
    eventually(lambda: not standalone.streams)
    with contextlib.suppress(AutoReconnect), Bare(standalone.main_port):
        pass
    eventually(lambda: not standalone.streams)

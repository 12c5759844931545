"""Sessions have an end: by Ctrl+C, by expiry, by an administrator; and after it nothing opens."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.ports import accepts
from wardgate.testing.stack import Access, Stack

Client = MongoClient[dict[str, Any]]
QUICK: dict[str, Any] = {"serverSelectionTimeoutMS": 1_000}  # a client's own goodbye looks for a server so long


def _last(stack: Stack, session_id: str, wanted: str = "ended") -> dict[str, Any]:
    """The session once it has that status."""
    deadline = time.monotonic() + 15
    while (found := stack.session(session_id))["status"] != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _operations(mongod: MongoDeployment, session_id: str) -> list[dict[str, Any]]:
    with mongod.client() as client:
        pipeline = [{"$currentOp": {"allUsers": True}}, {"$match": {"appName": {"$regex": session_id}, "active": True}}]
        return [each for each in client.admin.aggregate(pipeline) if each.get("command", {}).get("find") == "slow"]


def test_ctrl_c_ends_it(stack: Stack, access: Any) -> None:
    opened: Access = access()
    with Client(opened.uri, **QUICK) as client:
        assert client.admin.command("ping")["ok"] == 1
        ended = opened.close()
        assert ended["reason"] == "client_closed"
        assert opened.process.returncode == 0
        assert not accepts(opened.port)
    session = _last(stack, opened.session_id)
    assert (session["status"], session["end_reason"]) == ("ended", "client_closed")


def test_an_expired_session_cuts_its_connections(stack: Stack, access: Any) -> None:
    opened: Access = access("rs", "rw", "5s")
    with Client(opened.uri, **QUICK, retryReads=False) as client:
        assert client.admin.command("ping")["ok"] == 1
        ended = opened.wait_event("ended", 20)
        assert ended["reason"] == "expired"
        with pytest.raises((ConnectionFailure, OperationFailure)):
            client.sessions.things.find_one()
    assert opened.process.wait(10) == 7
    assert _last(stack, opened.session_id)["end_reason"] == "expired"


def test_an_administrator_ends_it(stack: Stack, access: Any) -> None:
    opened: Access = access()
    with Client(opened.uri, **QUICK) as client:
        client.admin.command("ping")
        stack.wardgate.run("pam", "session", "terminate", opened.session_id)
        assert opened.wait_event("ended", 15)["reason"] == "terminated"
    assert opened.process.wait(10) == 7
    assert _last(stack, opened.session_id)["end_reason"] == "terminated"


def test_a_running_operation_dies_with_its_session(access: Any, mongod_rs1: MongoDeployment) -> None:
    with mongod_rs1.client() as client:
        client.sessions.slow.delete_many({})
        client.sessions.slow.insert_many({"_id": number} for number in range(50))
    opened: Access = access("rs", "ro")
    failed: list[Exception] = []

    def slow() -> None:
        with Client(opened.uri, retryReads=False) as client:
            try:
                list(client.sessions.slow.find({"$where": "sleep(1000) || true"}))
            except Exception as error:
                failed.append(error)

    worker = threading.Thread(target=slow)
    worker.start()
    _until(lambda: bool(_operations(mongod_rs1, opened.session_id)))
    opened.close()
    _until(lambda: not _operations(mongod_rs1, opened.session_id))
    worker.join(20)
    assert failed


def test_a_cursor_of_no_logical_session_dies_with_the_access_session(access: Any, mongod_rs1: MongoDeployment) -> None:
    """No driver opens one without being told to, and with noCursorTimeout it would stay for good."""
    with mongod_rs1.client() as direct:
        direct.sessions.many.delete_many({})
        direct.sessions.many.insert_many({"_id": number} for number in range(50))
        opened: Access = access()
        find = bson.encode({"find": "many", "batchSize": 2, "noCursorTimeout": True, "$db": "sessions"})
        with socket.create_connection(("127.0.0.1", opened.port), timeout=15) as client:
            client.sendall(struct.pack("<iiiiib", 21 + len(find), 1, 0, 2013, 0, 0) + find)
            head = client.recv(16, socket.MSG_WAITALL)
            answer = client.recv(struct.unpack_from("<i", head)[0] - 16, socket.MSG_WAITALL)
            cursor_id = bson.decode(answer[5:])["cursor"]["id"]

            def open_cursors() -> list[int]:
                found = direct.admin.aggregate([{"$currentOp": {"idleCursors": True, "allUsers": True}}])
                return [each["cursor"]["cursorId"] for each in found if each.get("type") == "idleCursor"]

            assert cursor_id in open_cursors()
            opened.close()
            _until(lambda: cursor_id not in open_cursors())


def _until(true: Any, timeout: float = 15) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.1)


def test_what_is_on_record(stack: Stack, access: Any) -> None:
    opened: Access = access("rs", "rw")
    with Client(opened.uri, appname="ledger") as client:
        things = client.sessions_record.things
        things.drop()
        things.insert_many([{"_id": 1}, {"_id": 2}])
        assert list(things.find({"_id": {"$gt": 0}}))
        with pytest.raises(OperationFailure):
            things.insert_one({"_id": 1})
        with pytest.raises(OperationFailure) as refused:
            client.admin.command("createUser", "backdoor", pwd="left-behind", roles=["root"])
        assert refused.value.code == 13
    opened.close()
    session = _last(stack, opened.session_id)
    records = {each["command"]: each for each in stack.logs(opened.session_id) if each["command"]}
    insert, find, denied = records["insert"], records["find"], records["createUser"]
    assert (find["effect"], find["ok"], find["documents"]) == ("read", 1, 2)
    assert find["body"]["filter"] == {"_id": {"$gt": {"$numberInt": "0"}}}
    assert find["client_app"].startswith("ledger")
    assert (insert["effect"], insert["database"], insert["collection"]) == ("write", "sessions_record", "things")
    assert (denied["kind"], denied["ok"], denied["code"]) == ("denied", 0, 13)
    assert denied["rule"]
    assert "left-behind" not in str(denied)
    inserts = [each for each in stack.logs(opened.session_id) if each["command"] == "insert"]
    assert [each["ok"] for each in inserts] == [1, 1]
    assert session["errors"] >= 1
    assert session["commands"] >= 5
    verification = stack.verify(opened.session_id)
    assert verification.json()["state"] == "verified"
    assert verification.status == 0


def test_an_open_session_is_open(stack: Stack, access: Any) -> None:
    opened: Access = access("rs", "ro")
    verification = stack.verify(opened.session_id)
    assert verification.json()["state"] == "open"
    assert verification.status == 8


def test_the_database_names_the_person(access: Any, mongod_rs1: MongoDeployment) -> None:
    opened: Access = access("rs", "ro")
    with Client(opened.uri, appname="ledger") as client, mongod_rs1.client() as root:
        client.admin.command("ping")
        list(client.sessions.things.find())
        operations = root.admin.aggregate([{"$currentOp": {"allUsers": True, "idleConnections": True}}])
        names = {each.get("appName") for each in operations}
    [name] = {each for each in names if each and opened.session_id in each}
    assert name.startswith(f"wardgate:admin@example.com:{opened.session_id}")
    assert "ledger" in name

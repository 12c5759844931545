"""The kill-off on a real set: this session's work dies, everybody else's goes on, and what is left is said."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from wardgate.gateway.mongo.ending import CursorRef, kill_session_work
from wardgate.gateway.mongo.login import Login
from wardgate.gateway.mongo.server import ServerConnection
from wardgate.secret import Secret
from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.ports import free_ports

TargetOf = Callable[..., Any]
LoginOf = Callable[..., Login]

OURS = "wardgate:ada@example.com:ses_ours"
THEIRS = "wardgate:bob@example.com:ses_theirs"
FOR_EVER = {"$where": "sleep(100000) || true"}


class Operation:
    """A find that runs for ever in a thread, until it is killed."""

    def __init__(self, client: Any, comment: str) -> None:
        self.code: int | None = None
        self._find = client.shop.orders.find(FOR_EVER, comment=comment)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            list(self._find)
        except OperationFailure as error:
            self.code = error.code

    def join(self) -> int | None:
        self._thread.join(30)
        return self.code

    @property
    def running(self) -> bool:
        return self._thread.is_alive()


def wait_until_it_runs(root: Any, comment: str) -> None:
    """Looks until the server says so."""
    filter_ = {"command.comment": comment, "active": True}
    while not list(root.admin.aggregate([{"$currentOp": {"allUsers": True}}, {"$match": filter_}])):
        pass


@pytest.fixture
def orders(mongod_rs1: MongoDeployment) -> Iterator[Any]:
    """A root client of the set, with a collection to work on."""
    with mongod_rs1.client() as root:
        root.shop.orders.insert_many([{"n": n} for n in range(100)])
        yield root
        root.drop_database("shop")


async def test_only_this_sessions_operations_die(
    target_of: TargetOf, login_of: LoginOf, mongod_rs1: MongoDeployment, orders: Any
) -> None:
    rw = mongod_rs1.rw
    with mongod_rs1.client(rw, appName=f"{OURS} mongosh") as ours, mongod_rs1.client(rw, appName=THEIRS) as theirs:
        mine, other = Operation(ours, "mine"), Operation(theirs, "other")
        await asyncio.to_thread(wait_until_it_runs, orders, "mine")
        await asyncio.to_thread(wait_until_it_runs, orders, "other")
        report = await kill_session_work(target_of(mongod_rs1), login_of(rw), OURS)
        assert report.complete
        assert report.killed == 1
        assert await asyncio.to_thread(mine.join) in {237, 11601, 11600, 2, 24}
        assert other.running
        report = await kill_session_work(target_of(mongod_rs1), login_of(rw), THEIRS)
        assert report.killed == 1
        assert await asyncio.to_thread(other.join) is not None


async def test_logical_sessions_die_with_their_cursors_and_transactions(
    target_of: TargetOf, login_of: LoginOf, mongod_rs1: MongoDeployment, orders: Any
) -> None:
    rw = mongod_rs1.rw
    with mongod_rs1.client(rw) as client, client.start_session() as session, client.start_session() as other:
        session.start_transaction()
        client.shop.orders.insert_one({"n": 1000}, session=session)
        kept = client.shop.orders.find({}, batch_size=2, session=other)
        next(kept)
        lsid = bytes(session.session_id["id"])
        report = await kill_session_work(target_of(mongod_rs1), login_of(rw), OURS, logical_sessions=[lsid, lsid])
        assert report.complete
        assert report.killed == 1
        with pytest.raises(OperationFailure) as caught:
            session.commit_transaction()
        assert caught.value.code == 251
        assert len(list(kept)) == 99


async def test_cursors_without_a_session(
    target_of: TargetOf, login_of: LoginOf, mongod_rs1: MongoDeployment, orders: Any
) -> None:
    rw, address = mongod_rs1.rw, mongod_rs1.members[0].address
    target = target_of(mongod_rs1)
    async with await ServerConnection.open(target, address, purpose="test", login=login_of(rw)) as connection:
        find = {"find": "orders", "batchSize": 1, "$db": "shop"}
        cursor_id = (await connection.command(find))["cursor"]["id"]
        cursors = [CursorRef(address, "shop", "orders", cursor_id), CursorRef("elsewhere:1", "shop", "orders", 1)]
        report = await kill_session_work(target, login_of(rw), OURS, cursors=cursors)
        assert report.killed == 1
        reply = await connection.command({"getMore": cursor_id, "collection": "orders", "$db": "shop"})
        assert reply["code"] == 43


async def test_a_user_without_any_role_can_still_end_its_own(
    target_of: TargetOf, login_of: LoginOf, mongod_standalone: MongoDeployment
) -> None:
    report = await kill_session_work(
        target_of(mongod_standalone), login_of(mongod_standalone.ro), OURS, logical_sessions=[bytes(16)]
    )
    assert report.complete


async def test_secondaries_are_visited_and_a_dead_member_is_reported(
    target_of: TargetOf, login_of: LoginOf, mongod_rs3: MongoDeployment
) -> None:
    (dead,) = free_ports(1)
    members = [member.address for member in mongod_rs3.members]
    report = await kill_session_work(
        target_of(mongod_rs3), login_of(mongod_rs3.ro), OURS, members=[*members, f"127.0.0.1:{dead}"]
    )
    assert [each.problem is None for each in report.members] == [True, True, True, False]
    assert not report.complete
    assert len(report.not_killed) == 1
    assert f"127.0.0.1:{dead}" in report.not_killed[0]


async def test_a_member_that_hangs_does_not_hold_up_the_end(
    target_of: TargetOf, login_of: LoginOf, mongod_rs3: MongoDeployment
) -> None:
    index = (await asyncio.to_thread(mongod_rs3.secondaries))[0]
    mongod_rs3.pause(index)
    try:
        report = await kill_session_work(target_of(mongod_rs3), login_of(mongod_rs3.ro), OURS, deadline=1.0)
    finally:
        mongod_rs3.resume(index)
    assert [each.address for each in report.members if each.problem] == [mongod_rs3.members[index].address]


async def test_what_can_not_be_killed_is_listed(
    target_of: TargetOf, login_of: LoginOf, start_server: Any, mongo_double: Callable[..., Any]
) -> None:
    def answer(command: dict[str, Any]) -> dict[str, Any]:
        if "aggregate" in command:
            assert command["pipeline"][0]["$currentOp"]["allUsers"] is False
            running = {"opid": 7, "op": "command", "ns": "shop.orders\x1b[2J", "secs_running": 3}
            return {"ok": 1, "cursor": {"firstBatch": [running, "nonsense", {"opid": {}}], "id": 0}}
        return {"ok": 1, "isWritablePrimary": True}

    class NoLogin(Login):
        async def run(self, exchange: Any) -> None:
            """This double has no passwords."""

    address = await start_server(mongo_double(answer))
    report = await kill_session_work(target_of(address), NoLogin("ro", Secret("x"), "admin"), OURS, deadline=0.5)
    assert report.killed == 1
    assert report.not_killed[0] == f"{address}: command on shop.orders [2J, 3 s"
    assert not report.complete


async def test_a_prefix_that_would_match_others_is_refused(
    target_of: TargetOf, login_of: LoginOf, mongod_standalone: MongoDeployment
) -> None:
    with pytest.raises(ValueError):
        await kill_session_work(target_of(mongod_standalone), login_of(mongod_standalone.ro), "")

"""Warm server connections before a real MongoDB: a client on one notices nothing but that it is quick."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from wardgate.audit import records as audit
from wardgate.testing.mongo import Login, MongoDeployment

Document = dict[str, Any]


def eventually(look: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


@contextlib.contextmanager
def client_of(gateway: Any, **options: Any) -> Iterator[MongoClient[Document]]:
    options.setdefault("serverSelectionTimeoutMS", 10_000)
    with MongoClient[Document](gateway.uri, directConnection=True, **options) as client:
        yield client


def statistics(gateway: Any) -> dict[str, int]:
    found: dict[str, int] = gateway.call(gateway.spares.statistics)
    return found


def warm_up(gateway: Any) -> None:
    """Two spares, logged in: what a driver's pool under load leads to."""
    address = next(iter(gateway.ports))
    gateway.call(lambda: gateway.spares.judge(address, commands=True))
    eventually(lambda: statistics(gateway)["logged_in"] == 2)


def test_a_client_on_a_spare_is_named_and_logged_in_like_any(
    standalone: Any, mongod_standalone: MongoDeployment
) -> None:
    warm_up(standalone)
    with client_of(standalone, appname="reports") as client:
        status = client.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"]
        assert [each["user"] for each in status] == [standalone.user.username]
        with mongod_standalone.client() as root:
            named = [
                each["appName"]
                for each in root.admin.aggregate([{"$currentOp": {"allUsers": True, "idleConnections": True}}])
                if each.get("appName", "").startswith("wardgate:")
            ]
        assert named
        assert all(each.endswith("reports") for each in named)
        assert client.spares.orders.insert_one({"_id": 1}).acknowledged
        client.drop_database("spares")
    assert statistics(standalone)["hits"] >= 1
    assert [each[0].command for each in standalone.commands()][:1] == ["connectionStatus"]


def test_the_first_connection_that_runs_commands_makes_the_next_one_quick(standalone: Any) -> None:
    with client_of(standalone) as client:
        client.admin.command("buildInfo")
    eventually(lambda: statistics(standalone)["ready"] == 2)


def test_a_server_that_was_restarted_meanwhile_is_not_noticed(mongod_own: MongoDeployment, gateway: Any) -> None:
    with gateway(mongod_own) as it:
        warm_up(it)
        mongod_own.stop(0)
        mongod_own.restart(0)
        eventually(lambda: it.monitor.primary is not None and statistics(it)["ready"] == 0)
        with client_of(it) as client:
            assert client.spares.orders.count_documents({}) == 0
        assert not [each for each in it.records if isinstance(each, audit.Denied)]


def test_after_a_change_of_the_password_connections_go_on_or_are_told(
    mongod_own: MongoDeployment, gateway: Any
) -> None:
    user = mongod_own.create_login(Login("rotated", "before"), ["readWriteAnyDatabase"])
    with gateway(mongod_own, user) as it:
        warm_up(it)
        with mongod_own.client() as root:
            root.admin.command("updateUser", user.username, pwd="after")
        told = []
        for _ in range(6):
            try:
                with client_of(it) as client:
                    client.spares.orders.count_documents({})
            except OperationFailure as error:
                told.append(error.code)
        assert set(told) == {18}
        eventually(lambda: statistics(it)["logged_in"] == 0)


def test_the_members_that_only_monitors_visit_have_none(mongod_rs3: MongoDeployment, gateway: Any) -> None:
    with gateway(mongod_rs3) as it:
        primary = it.monitor.primary
        with MongoClient[Document](it.uri, replicaSet=mongod_rs3.shape.set_name) as client:
            client.spares.orders.insert_one({})
            eventually(lambda: len(client.nodes) == 3)
            eventually(lambda: statistics(it)["ready"] == 2)
        used = it.call(lambda: {place.address for place in it.spares._places.values() if place.ready})
        assert used == {primary}


def test_the_end_of_the_session_leaves_no_connection_behind(mongod_own: MongoDeployment, gateway: Any) -> None:
    def count(user: str) -> int:
        with mongod_own.client() as root:
            everything = {"$currentOp": {"allUsers": True, "idleConnections": True}}
            return len(list(root.admin.aggregate([everything, {"$match": {"effectiveUsers.user": user}}])))

    user = mongod_own.create_login(Login("leaves", "pw"), ["readWriteAnyDatabase"])
    with gateway(mongod_own, user) as it:
        warm_up(it)
        assert count(user.username) == 2
        it.call(it.spares.close)
        eventually(lambda: count(user.username) == 0)


def test_every_spare_that_was_taken_by_one_that_left_is_gone(standalone: Any) -> None:
    """Connections come and go: nothing piles up."""
    for _ in range(5):
        with contextlib.suppress(PyMongoError), client_of(standalone) as client:
            client.admin.command("ping")
            client.admin.command("buildInfo")
    eventually(lambda: not standalone.streams)
    assert statistics(standalone)["ready"] <= 2

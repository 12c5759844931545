"""The database's own words name the person and the session, and what the driver said of itself is still there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from pymongo.driver_info import DriverInfo

from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.stack import Access

from .test_login_forms import Raw

Client = MongoClient[dict[str, Any]]
DATABASE = "attribution"
LONGEST = "x" * 127 + "y"  # 128 bytes: what drivers allow
CLIENT: dict[str, Any] = {
    "application": {"name": "ledger"},
    "driver": {"name": "nodejs|raw", "version": "7.9.0|1"},
    "os": {"type": "Linux", "name": "linux", "architecture": "x64", "version": "6.1"},
    "platform": "Node.js v24, LE",
}


@pytest.fixture(scope="module")
def profiled(mongod_rs1: MongoDeployment) -> Iterator[MongoDeployment]:
    """Everything in the database is profiled and logged as slow."""
    with mongod_rs1.client() as root:
        root[DATABASE].command("profile", 2, slowms=-1)
        yield mongod_rs1
        root[DATABASE].command("profile", 0, slowms=100)
        root.drop_database(DATABASE)


def name_of(opened: Access) -> str:
    return f"wardgate:admin@example.com:{opened.session_id}"


def _until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not appear"
        time.sleep(0.1)
    return found


def test_profiler_and_slow_log(access: Any, profiled: MongoDeployment) -> None:
    opened: Access = access("rs", "rw")
    with Client(opened.uri, appname="ledger") as client, profiled.client() as root:
        client[DATABASE].things.insert_one({"_id": opened.session_id})
        client[DATABASE].things.find_one({"_id": opened.session_id})
        wanted = {"appName": f"{name_of(opened)}|ledger"}
        rows = _until(lambda: list(root[DATABASE]["system.profile"].find(wanted)))
        assert {"insert", "query"} <= {row["op"] for row in rows}
        assert {row["user"] for row in rows} == {f"{profiled.rw.username}@admin"}

    def logged() -> list[dict[str, Any]]:
        process = profiled.members[0].process
        assert process is not None
        lines = [json.loads(line) for line in list(process.lines) if opened.session_id in line and "Slow query" in line]
        return [each["attr"] for each in lines if each["attr"].get("ns") == f"{DATABASE}.things"]

    assert {each["appName"] for each in _until(logged)} == {f"{name_of(opened)}|ledger"}


def connections(profiled: MongoDeployment, opened: Access) -> list[dict[str, Any]]:
    """What the database knows of this session's connections."""
    with profiled.client() as root:
        pipeline = [
            {"$currentOp": {"allUsers": True, "idleConnections": True}},
            {"$match": {"appName": {"$regex": opened.session_id}}},
        ]
        return list(root.admin.aggregate(pipeline))


def test_what_a_driver_says_of_itself_survives(access: Any, profiled: MongoDeployment) -> None:
    opened: Access = access("rs", "rw")
    with Client(opened.uri, driver=DriverInfo("framework", "1.2.3", "embedded")) as client:
        client[DATABASE].things.find_one()
        said = client.options.pool_options.metadata
        metadata = _until(lambda: [each.get("clientMetadata") for each in connections(profiled, opened)])
    for each in metadata:
        assert each["application"] == {"name": name_of(opened)}
        assert {key: each[key] for key in ("driver", "os", "platform")} == {
            key: dict(said[key]) if key != "platform" else said[key] for key in ("driver", "os", "platform")
        }


@pytest.mark.parametrize("own", [LONGEST, "é" * 64, "ledger|with|bars", None])
def test_any_name_that_a_driver_allows(access: Any, profiled: MongoDeployment, own: str | None) -> None:
    opened: Access = access("rs", "rw")
    with Client(opened.uri, appname=own) as client:
        client[DATABASE].things.find_one()
        names = {each["appName"] for each in connections(profiled, opened)}
    [name] = names
    assert len(name.encode()) <= 128
    prefix, bar, rest = name.partition("|")
    assert prefix == name_of(opened)
    assert (own or "").startswith(rest)
    assert bool(bar) == (own is not None)


@pytest.mark.parametrize("size", [1024, 512, 300])
def test_a_client_document_of_the_largest_size(access: Any, profiled: MongoDeployment, size: int) -> None:
    """mongod takes 1,024 bytes; with our words in it some of the client's must go, and the least useful do."""
    opened: Access = access("rs", "rw")
    room = size - len(bson.encode({**CLIENT, "env": {"name": "k8s", "fill": ""}}))
    document = {**CLIENT, "env": {"name": "k8s", "fill": "f" * room}}
    assert len(bson.encode(document)) == size
    with Raw(opened.port) as client:
        assert client.run({"hello": 1, "client": document})["ok"] == 1
        assert client.run({"find": "things"}, DATABASE)["ok"] == 1
        [metadata] = [each["clientMetadata"] for each in connections(profiled, opened) if "clientMetadata" in each]
    assert metadata["application"] == {"name": f"{name_of(opened)}|ledger"}
    assert {key: metadata[key] for key in ("driver", "os", "platform")} == {
        key: CLIENT[key] for key in ("driver", "os", "platform")
    }
    assert ("env" in metadata) == (size < 1024)


def test_every_connection_is_named_also_one_that_never_says_hello(access: Any, profiled: MongoDeployment) -> None:
    opened: Access = access("rs", "rw")
    with Raw(opened.port) as client:
        assert client.run({"find": "things"}, DATABASE)["ok"] == 1
        assert {each["appName"] for each in connections(profiled, opened)} == {name_of(opened)}

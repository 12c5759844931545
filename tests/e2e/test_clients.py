"""mongosh, PyMongo and the Node driver, given the printed URI only, see what they see directly."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import gridfs
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from wardgate.testing import servers
from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.stack import Access

CLIENTS = Path(__file__).parent / "clients"
RESOURCES = ["rs", "single"]


@pytest.fixture
def deployments(mongod_rs1: MongoDeployment, mongod_standalone: MongoDeployment) -> dict[str, MongoDeployment]:
    return {"rs": mongod_rs1, "single": mongod_standalone}


def _run(argv: list[str | Path], home: Path, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(home), **environment},
    )
    assert done.returncode == 0, done.stderr + done.stdout
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def _node(node: Path, uri: str, name: str, home: Path) -> dict[str, Any]:
    modules = servers.node_modules()
    if modules is None:
        pytest.skip("the Node driver was not found: run “make setup”")
    return _run([node, CLIENTS / "work.cjs", uri, name], home, NODE_PATH=str(modules))


def _mongosh(mongosh: Path, uri: str, name: str, home: Path, *options: str) -> dict[str, Any]:
    script = CLIENTS / "work.mongosh.js"
    return _run([mongosh, uri, *options, "--quiet", "--norc", "--eval", f"var name = '{name}'", "--file", script], home)


def _direct_for_shell(deployment: MongoDeployment) -> str:
    return deployment.uri(deployment.rw, member=0)


def _attempt(work: Any) -> Any:
    try:
        return work()
    except OperationFailure as error:
        return {"error": error.code}


def _pymongo(uri: str, name: str) -> dict[str, Any]:
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=20_000) as client:
        client.drop_database(name)
        things = client[name].things
        seen: dict[str, Any] = {
            "insert": len(things.insert_many({"_id": n, "n": n} for n in range(250)).inserted_ids),
            "batches": list(things.find({}, batch_size=40, sort={"_id": 1}))[-1]["n"],
            "update": things.update_many({"n": {"$lt": 10}}, {"$set": {"low": True}}).modified_count,
            "remove": things.delete_one({"_id": 249}).deleted_count,
            "sum": next(things.aggregate([{"$group": {"_id": None, "sum": {"$sum": "$n"}}}]))["sum"],
            "duplicate": _attempt(lambda: things.insert_one({"_id": 1})),
            "transaction": _attempt(lambda: _transaction(client, name)),
            "after": (things.find_one({"_id": 1}) or {})["n"],
            "change": _attempt(lambda: _change(things)),
        }
        bucket = gridfs.GridFSBucket(client[name], chunk_size_bytes=65_536)
        file_id = bucket.upload_from_stream("file", b"\7" * 1_000_000)
        seen["gridfs"] = len(bucket.open_download_stream(file_id).read())
        seen["kind"] = client.topology_description.topology_type_name
        return seen


def _transaction(client: MongoClient[dict[str, Any]], name: str) -> str:
    things = client[name].things
    with client.start_session() as session, session.start_transaction():
        things.update_one({"_id": 1}, {"$inc": {"n": 100}}, session=session)
        things.insert_one({"_id": 1000}, session=session)
    return "committed"


def _change(things: Any) -> str:
    with things.watch() as stream:
        things.insert_one({"_id": "watched"})
        key: str = next(stream)["documentKey"]["_id"]
        return key


@pytest.mark.parametrize("resource", RESOURCES)
def test_pymongo(access: Any, deployments: dict[str, MongoDeployment], resource: str) -> None:
    opened: Access = access(resource)
    deployment = deployments[resource]
    assert _pymongo(opened.uri, "clients_python") == _pymongo(deployment.uri(deployment.rw), "clients_python")


@pytest.mark.parametrize("resource", RESOURCES)
def test_node(access: Any, node: Path, deployments: dict[str, MongoDeployment], resource: str, tmp_path: Path) -> None:
    opened: Access = access(resource)
    deployment = deployments[resource]
    direct = _node(node, deployment.uri(deployment.rw), "clients_node", tmp_path)
    assert _node(node, opened.uri, "clients_node", tmp_path) == direct


@pytest.mark.parametrize("resource", RESOURCES)
def test_mongosh(
    access: Any, mongosh: Path, deployments: dict[str, MongoDeployment], resource: str, tmp_path: Path
) -> None:
    opened: Access = access(resource)
    direct = _mongosh(mongosh, _direct_for_shell(deployments[resource]), "clients_shell", tmp_path)
    assert _mongosh(mongosh, opened.uri, "clients_shell", tmp_path) == direct


def test_the_full_uri_of_a_replica_set(access: Any, node: Path, tmp_path: Path) -> None:
    opened: Access = access("rs")
    assert opened.replica_set_uri is not None
    assert "replicaSet=rs0" in opened.replica_set_uri
    assert "@" not in opened.replica_set_uri
    seen = _pymongo(opened.replica_set_uri, "clients_full")
    assert seen["kind"] == "ReplicaSetWithPrimary"
    assert _node(node, opened.replica_set_uri, "clients_full_node", tmp_path)["transaction"] == "committed"


def test_a_standalone_has_no_replica_set_uri(access: Any) -> None:
    opened: Access = access("single")
    assert opened.replica_set_uri is None
    assert "@" not in opened.uri


def test_node_with_a_user_and_an_empty_password(access: Any, node: Path, tmp_path: Path) -> None:
    opened: Access = access("rs")
    uri = opened.uri.replace("mongodb://", "mongodb://someone:@")
    assert _node(node, uri, "clients_login_node", tmp_path)["transaction"] == "committed"


def test_mongosh_with_a_user_and_an_empty_password(access: Any, mongosh: Path, tmp_path: Path) -> None:
    opened: Access = access("rs")
    seen = _mongosh(mongosh, opened.uri, "clients_login_shell", tmp_path, "--username", "someone", "--password", "")
    assert seen["transaction"] == "committed"


def test_an_unknown_password_gets_a_sentence(access: Any) -> None:
    opened: Access = access("rs")
    uri = opened.uri.replace("mongodb://", "mongodb://someone:guess@")
    with MongoClient[dict[str, Any]](uri) as client, pytest.raises(OperationFailure) as caught:
        client.admin.command("buildInfo")
    assert caught.value.code == 18
    assert "password" in str(caught.value)


def test_a_reader_cannot_write(access: Any) -> None:
    opened: Access = access("rs", "ro")
    with MongoClient[dict[str, Any]](opened.uri) as client:
        client.admin.command("ping")
        with pytest.raises(OperationFailure) as caught:
            client.clients_reader.things.insert_one({})
    assert caught.value.code == 13

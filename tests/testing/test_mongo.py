"""The deployments are what they claim to be: password and TLS needed, roles as named, faults recoverable."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from wardgate.testing.mongo import RS1, RS3, STANDALONE, MongoDeployment, MongoFactory, Shape


@pytest.mark.parametrize("shape", [STANDALONE, RS1], ids=["standalone", "rs1"])
def test_needs_tls_and_a_password(mongod: MongoFactory, shape: Shape) -> None:
    deployment = mongod(shape)
    with deployment.client(deployment.rw) as client:
        client.house.things.insert_one({"_id": shape.set_name or "standalone"})
    with deployment.client(deployment.ro) as client:
        assert client.house.things.find_one()
        with pytest.raises(OperationFailure, match="not authorized"):
            client.house.things.insert_one({})
    with (
        MongoClient[dict[str, Any]](deployment.uri()) as stranger,
        pytest.raises(OperationFailure, match="requires authentication"),
    ):
        stranger.house.things.find_one()
    plain = f"mongodb://{deployment.members[0].address}/?directConnection=true"
    with (
        MongoClient[dict[str, Any]](plain, serverSelectionTimeoutMS=500) as client,
        pytest.raises(ServerSelectionTimeoutError),
    ):
        client.admin.command("ping")


def test_without_tls_and_password(mongod: MongoFactory) -> None:
    deployment = mongod(replace(STANDALONE, tls=False, auth=False))
    with MongoClient[dict[str, Any]](deployment.connection_string) as client:
        assert client.admin.command("ping")["ok"] == 1


@pytest.mark.slow
def test_members_fail_and_come_back(mongod_rs3: MongoDeployment) -> None:
    first = mongod_rs3.primary()
    mongod_rs3.kill(first)
    second = mongod_rs3.primary()
    assert second != first
    mongod_rs3.restart(first)
    mongod_rs3.step_down()
    third = mongod_rs3.primary()
    assert third != second
    assert len(mongod_rs3.secondaries()) == 2


def test_a_standalone_has_one_member() -> None:
    with pytest.raises(ValueError, match="one member"):
        Shape(set_name=None, members=3)


def test_shapes_share_a_deployment_per_worker(mongod: MongoFactory) -> None:
    assert mongod(RS1) is mongod(RS1)
    assert RS3.members == 3

"""A session survives what carries it: relays, instances of a gateway, restarts, a network that stalls.

Every test has its own fleet: what it kills would take other tests' sessions along.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.ports import LOOPBACK, free_ports
from wardgate.testing.stack import Access, Stack

Client = MongoClient[dict[str, Any]]
RECONNECT_S = 40.0  # far more than it takes: what is tested is that it happens


class Writer:
    """Inserts numbers one after the other, as an application does; keeps what was acknowledged and what failed."""

    def __init__(self, uri: str, collection: str) -> None:
        self._uri = uri
        self._collection = collection
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged: list[int] = []
        self.errors: list[Exception] = []
        self.longest = 0.0

    def __enter__(self) -> Writer:
        self._thread.start()
        self.more(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with Client(self._uri) as client:
            collection = client.routes[self._collection]
            number = 0
            while not self._stop.is_set():
                started = time.monotonic()
                try:
                    collection.insert_one({"_id": number})
                    self.acknowledged.append(number)
                except Exception as error:
                    self.errors.append(error)
                self.longest = max(self.longest, time.monotonic() - started)
                number += 1

    def more(self, count: int = 20) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= wanted)


def wait_until(condition: Callable[[], bool], seconds: float = RECONNECT_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def stored(deployment: MongoDeployment, collection: str) -> list[int]:
    with deployment.client() as client:
        return sorted(each["_id"] for each in client.routes[collection].find())


def descriptors(pid: int) -> int:
    return sum(1 for each in Path(f"/proc/{pid}/fd").iterdir() if "socket" in os.readlink(each))


@pytest.fixture
def fleet(mongod_rs1: MongoDeployment) -> Iterator[Stack]:
    """A control plane without a relay, and a folder for what the test starts."""
    folder = Path(tempfile.mkdtemp(prefix="wardgate-routes-"))
    with mongod_rs1.client() as client:
        client.drop_database("routes")
    try:
        with Stack(folder) as stack:
            stack.init_server()
            stack.start_server(relay=False)
            stack.login()
            stack.create_project("shop")
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def add_resource(stack: Stack, deployment: MongoDeployment) -> None:
    stack.add_resource("rs", deployment)
    stack.add_account("rw", "rs", deployment.rw)


def pool(stack: Stack, deployment: MongoDeployment, *options: str) -> None:
    """One relay and two instances of the gateway `near-db`."""
    stack.start_relay("east")
    stack.start_gateway("near-db", stack.create_gateway("near-db"), *options)
    stack.start_gateway("near-db", stack.gateway_token("near-db"), *options, instance="two")
    add_resource(stack, deployment)


def instances(stack: Stack) -> dict[str, dict[str, Any]]:
    """The instances of the one gateway, by id."""
    [gateway] = stack.wardgate.run("gateway", "list", "--project-id", stack.project_id, "--json").json()
    return {each["id"]: each for each in gateway["instances"]}


def carrier(stack: Stack) -> str:
    """What we call the gateway process that has the session now: the one whose log told of it last."""
    at = {name: process.stderr().count("session opened") for name, process in stack.gateways.items()}
    return max(at, key=lambda name: at[name])


def reconnections(access: Access) -> list[dict[str, Any]]:
    return [event for event in access.events() if event["event"] == "reconnected"]


def wait_reconnected(access: Access, count: int = 1) -> dict[str, Any]:
    wait_until(lambda: len(reconnections(access)) >= count)
    return reconnections(access)[count - 1]


def settled(stack: Stack, session_id: str, *, state: str = "verified") -> dict[str, Any]:
    """What `session verify` says once it is no longer open."""
    answer: dict[str, Any] = {}

    def known() -> bool:
        answer.update(stack.verify(session_id).json())
        return bool(answer["state"] == state)

    wait_until(known, 90.0)
    return answer


def test_a_relay_that_dies_is_left_for_another(fleet: Stack, mongod_rs1: MongoDeployment) -> None:
    fleet.start_relay("east")
    fleet.start_relay("west")
    fleet.start_gateway("near-db", fleet.create_gateway("near-db"))
    add_resource(fleet, mongod_rs1)
    access = fleet.access("rs", "rw")
    with Writer(access.uri, "relay") as writer:
        dead = "east"
        fleet.relays[dead].kill()
        writer.more()
        if not reconnections(access):  # it was not the one that carried the session
            dead = "west"
            fleet.relays["west"].kill()
            fleet.start_relay("north")  # comes while the session runs, and is all that is left
            wait_reconnected(access)
        writer.more()
    assert writer.errors == []
    assert stored(mongod_rs1, "relay") == writer.acknowledged
    assert reconnections(access)[-1]["route"] != dead
    assert access.close()["reason"] == "client_closed"
    assert fleet.session(access.session_id)["commands"] >= len(writer.acknowledged)
    assert settled(fleet, access.session_id)["epochs"] == 1, "the same instance goes on with the same epoch"

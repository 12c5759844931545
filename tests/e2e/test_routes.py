"""A session survives what carries it: relays, instances of a gateway, restarts, a network that stalls.

Every test has its own fleet: what it kills would take other tests' sessions along.
"""

from __future__ import annotations

import contextlib
import json
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
from wardgate.testing.processes import Process
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


def sockets_of(pid: int) -> set[str]:
    """The inodes of a process's sockets; what is closed while one looks is left out."""
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(each.readlink()))
    return {each[8:-1] for each in found if each.startswith("socket:[")}


def descriptors(pid: int) -> int:
    return len(sockets_of(pid))


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


def carrier(stack: Stack, session_id: str, epoch: int = 1) -> str:
    """What we call the gateway process that was leased that epoch of the session, by its log."""

    def leased(line: str) -> bool:
        return "session leased" in line and session_id in line and f'"epoch": {epoch}' in line

    [found] = [name for name, each in stack.gateways.items() if any(map(leased, each.stderr().splitlines()))]
    return found


def identity(stack: Stack, known: str) -> str:
    """The instance id of a gateway process, from its folder."""
    found: str = json.loads((stack.folder / f"gw-{known}" / "identity.json").read_text())["instance_id"]
    return found


def connections_between(one: Process, other: Process) -> int:
    """TCP connections that both processes hold an end of."""

    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours, theirs = sockets_of(one.pid), sockets_of(other.pid)
    mine = {(row[1], row[2]) for row in rows if row[9] in ours and row[3] == "01"}
    others = {(row[2], row[1]) for row in rows if row[9] in theirs and row[3] == "01"}
    return len(mine & others)


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


def test_an_instance_that_dies_is_left_for_another_and_delivers_its_tail_when_it_is_back(
    fleet: Stack, mongod_rs1: MongoDeployment
) -> None:
    pool(fleet, mongod_rs1)
    access = fleet.access("rs", "rw")
    dead = carrier(fleet, access.session_id)
    with Writer(access.uri, "pool") as writer:
        fleet.gateways[dead].kill()
        wait_reconnected(access)
        writer.more()
        # It comes back, and must neither have the session nor disturb who has it.
        fleet.start_gateway("near-db", instance=dead.removeprefix("near-db").lstrip("-"))
        wait_until(lambda: [each["status"] for each in instances(fleet).values()] == ["online", "online"])
        writer.more()
    assert writer.errors == []
    assert stored(mongod_rs1, "pool") == writer.acknowledged
    assert len(reconnections(access)) == 1
    assert carrier(fleet, access.session_id, 2) != dead
    assert access.close()["reason"] == "client_closed"
    verified = settled(fleet, access.session_id)
    assert verified["epochs"] == 2
    written = [each["body"] for each in fleet.logs(access.session_id) if each.get("command") == "insert"]
    assert {each["documents"][0]["_id"]["$numberInt"] for each in written} >= {
        str(each) for each in writer.acknowledged
    }


def test_what_a_dead_instance_did_not_deliver_is_missed(fleet: Stack, mongod_rs1: MongoDeployment) -> None:
    pool(fleet, mongod_rs1)
    access = fleet.access("rs", "rw")
    dead = carrier(fleet, access.session_id)
    with Writer(access.uri, "tail") as writer:
        fleet.gateways[dead].kill()
        wait_reconnected(access)
        writer.more()
    access.close()
    wait_until(lambda: bool(fleet.session(access.session_id)["status"] == "ended"))
    assert fleet.verify(access.session_id).json()["state"] == "open", "its tail is still to come"
    fleet.start_gateway("near-db", instance=dead.removeprefix("near-db").lstrip("-"))
    assert settled(fleet, access.session_id)["epochs"] == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_restarted_gateway_is_only_a_delay(fleet: Stack, mongod_rs1: MongoDeployment, number: signal.Signals) -> None:
    """Idle drivers and busy ones: nothing fails, and what was opened before goes on at the same address."""
    fleet.start_relay("east")
    fleet.start_gateway("near-db", fleet.create_gateway("near-db"))
    add_resource(fleet, mongod_rs1)
    access = fleet.access("rs", "rw")
    with Client(access.uri) as idle, Writer(access.uri, "restart") as writer:
        idle.routes.idle.insert_one({"_id": "before"})
        fleet.gateways["near-db"].send(number)
        fleet.gateways["near-db"].wait(20)
        away = time.monotonic()
        fleet.start_gateway("near-db")
        wait_reconnected(access)
        away = time.monotonic() - away
        writer.more()
        assert idle.routes.idle.find_one({"_id": "before"}) is not None
        idle.routes.idle.insert_one({"_id": "after"})
    assert writer.errors == []
    assert stored(mongod_rs1, "restart") == writer.acknowledged
    assert access.close()["reason"] == "client_closed"
    assert settled(fleet, access.session_id)["epochs"] == 2


def test_a_direct_route_comes_first_and_a_relay_is_the_way_without_it(
    fleet: Stack, mongod_rs1: MongoDeployment
) -> None:
    port, relay_port = free_ports(2)
    fleet.start_relay("east", relay_port)
    direct = ("--listen", f"{LOOPBACK}:{port}")
    fleet.start_gateway("near-db", fleet.create_gateway("near-db"), *direct)
    add_resource(fleet, mongod_rs1)
    access = fleet.access("rs", "rw")
    with Writer(access.uri, "direct") as writer:
        fleet.relays["east"].kill()  # else it may be the first to know of the gateway that comes back
        fleet.gateways["near-db"].kill()
        fleet.start_gateway("near-db", None, *direct)
        assert wait_reconnected(access, 1)["route"] == "near-db"
        writer.more()
        fleet.start_relay("east", relay_port)
        fleet.gateways["near-db"].kill()
        fleet.start_gateway("near-db")
        assert wait_reconnected(access, 2)["route"] == "east"  # nothing else is there now
        writer.more()
    assert writer.errors == []
    assert stored(mongod_rs1, "direct") == writer.acknowledged
    assert access.close()["reason"] == "client_closed"


def test_one_instance_is_revoked_and_its_session_goes_on_at_the_other(
    fleet: Stack, mongod_rs1: MongoDeployment
) -> None:
    pool(fleet, mongod_rs1)
    access = fleet.access("rs", "rw")
    with Writer(access.uri, "revoked") as writer:
        cut = carrier(fleet, access.session_id)
        [instance_id] = [each["id"] for each in instances(fleet).values() if each["id"] == identity(fleet, cut)]
        revoke = ("gateway", "revoke", "near-db", "--project-id", fleet.project_id)
        fleet.wardgate.run(*revoke, "--instance", instance_id)
        assert fleet.gateways[cut].wait(20) == 4
        wait_reconnected(access)
        writer.more()
    assert writer.errors == []
    assert stored(mongod_rs1, "revoked") == writer.acknowledged
    assert instances(fleet)[instance_id]["status"] == "revoked"
    fleet.wardgate.run(*revoke)
    ended = access.wait_event("ended", RECONNECT_S)
    assert ended["reason"] in ("gateway_lost", "rights_lost")
    assert fleet.session(access.session_id)["end_reason"] == "gateway_lost"


def test_a_relay_that_stalls_is_left_and_nothing_is_left_open(fleet: Stack, mongod_rs1: MongoDeployment) -> None:
    """SIGSTOP: its kernel goes on taking and acknowledging bytes, so only silence tells."""
    for name in ("east", "west"):
        fleet.start_relay(name)
    gateway = fleet.start_gateway("near-db", fleet.create_gateway("near-db"))
    add_resource(fleet, mongod_rs1)
    idle = {name: descriptors(each.pid) for name, each in fleet.relays.items()}
    access = fleet.access("rs", "rw")
    with Writer(access.uri, "stalled") as writer:
        before = {each.pid: descriptors(each.pid) for each in (gateway, access.process)}
        stalled = "east"
        fleet.relays[stalled].send(signal.SIGSTOP)
        try:
            if not connections_between(fleet.relays[stalled], access.process):
                fleet.relays[stalled].send(signal.SIGCONT)
                stalled = "west"
                fleet.relays[stalled].send(signal.SIGSTOP)
            started = time.monotonic()
            assert wait_reconnected(access)["route"] != stalled
            found = time.monotonic() - started
            writer.more()
        finally:
            fleet.relays[stalled].send(signal.SIGCONT)
        writer.more()
        # A few sockets more or less are warm spares; what the stalled relay had must not pile up.
        wait_until(lambda: all(descriptors(pid) <= count + 4 for pid, count in before.items()))
    assert writer.errors == []
    assert stored(mongod_rs1, "stalled") == writer.acknowledged
    assert found < RECONNECT_S
    assert access.close()["reason"] == "client_closed"
    wait_until(lambda: all(descriptors(each.pid) <= idle[name] for name, each in fleet.relays.items()))

"""Elections and outages: what drivers do by themselves, they do through wardgate too. `make torture` is the long form.

The loads and the judge are those of torture/: retryable writes from several threads, transactions, cursors, a change
stream. Nothing here is judged by the clock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from torture import faults
from torture.elections import Line, outage
from torture.sockets import SLOW, operations, python, wait
from torture.tagged import TaggedLoad, check, profile, profiled, settle
from torture.world import ROUTES, World
from wardgate.testing import servers
from wardgate.testing.mongo import RS1, RS3, MongoDeployment, MongoFactory
from wardgate.testing.stack import Stack

Client = MongoClient[dict[str, Any]]
Worlds = Callable[[str, MongoDeployment], World]
# Elections within a second: the members look at each other four times as often as they would wait to stand.
QUICK = replace(RS3, election_ms=1_000)


@pytest.fixture(scope="module")
def worlds(stack: Stack) -> Iterator[Worlds]:
    """Resources of their own on the common stack, each opened once."""
    made: dict[str, World] = {}

    def world(name: str, deployment: MongoDeployment) -> World:
        if name not in made:
            stack.add_resource(name, deployment)
            stack.add_account("rw", name, deployment.rw)
            made[name] = World(stack.folder, deployment, stack=stack, resource=name)
        return made[name]

    yield world
    for each in made.values():
        if each.access is not None:
            each.access.process.stop()


@pytest.fixture
def three(worlds: Worlds, mongod: MongoFactory) -> World:
    return worlds("three", mongod(QUICK))


@pytest.fixture
def one(worlds: Worlds, mongod: MongoFactory) -> World:
    """A set of one that only these tests restart."""
    return worlds("one", mongod(replace(RS1, election_ms=1_000)))


def _judge(lines: list[Line]) -> None:
    assert not [f"{line.way}: {each}" for line in lines for each in (*line.wrong, *line.messages)]
    assert all(line.acknowledged > 20 and line.change_events > 5 for line in lines), lines


def _run(world: World, fault: faults.Fault, driver: str, folder: Path) -> None:
    ways = world.ways([driver], ROUTES)
    _judge(outage(world, fault, ways, folder, timed=False, writers=4, pause=0.05, before=0.5, after=1.0))


@pytest.mark.slow
def test_a_new_primary_by_vote(three: World, tmp_path: Path) -> None:
    """No acknowledged write is lost or doubled, the change stream has no gap, nobody sees an error of a new kind."""
    if servers.find(servers.NODE) is None or servers.node_modules() is None:
        pytest.skip("the Node driver was not found: run “make setup”")
    _run(three, faults.STEPDOWN, "node", tmp_path)


@pytest.mark.slow
def test_a_new_primary_because_the_old_one_was_killed(three: World, tmp_path: Path) -> None:
    _run(three, faults.KILL9, "pymongo", tmp_path)


def test_a_client_that_is_killed_takes_its_operation_along(one: World, tmp_path: Path) -> None:
    access = one.open()
    with one.deployment.client() as root:
        root.torture.things.update_one({"_id": 1}, {"$set": {"n": 1}}, upsert=True)
    with python("slow", tmp_path, SLOW, access.uri) as client:
        wait(lambda: operations(one, access.session_id, "$where"), 30)
        client.kill()
        wait(lambda: not operations(one, access.session_id, "$where"), 20)


def test_commands_that_wait_are_told_why_their_session_ends(stack: Stack, one: World) -> None:
    """The local proxy hears of the end only after its clients did: it drops them by it."""
    access = one.open()
    with one.deployment.client() as root:
        root.torture.things.update_one({"_id": 1}, {"$set": {"n": 1}}, upsert=True)
    told: list[str] = []

    def slow() -> None:
        with Client(access.uri, retryReads=False) as client:
            try:
                list(client.torture.things.find({"$where": "sleep(30000) || true"}))
            except PyMongoError as error:
                told.append(f"{getattr(error, 'code', None)} {error}")

    threads = [threading.Thread(target=slow) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait(lambda: len(operations(one, access.session_id, "$where")) == len(threads), 60)
    stack.wardgate.run("pam", "session", "terminate", access.session_id)
    for thread in threads:
        thread.join(30)
    assert len(told) == len(threads)
    assert all(each.startswith("13 wardgate: the access session was terminated") for each in told), told
    access.process.wait(15)
    wait(lambda: not operations(one, access.session_id), 15)


def test_a_killed_gateway_forgets_nothing_that_it_let_out(stack: Stack, one: World, tmp_path: Path) -> None:
    """What a client saw answered is on record with its outcome, and nothing ran that is not on record."""
    access = one.open()
    profile(one)
    with TaggedLoad(access.uri, "e2e", connections=8) as load:
        load.wait_answered(0.0)
        for _ in range(2):
            answered = len(load.answered)
            wait(lambda answered=answered: len(load.answered) > answered + 20, 30)  # type: ignore[misc]
            stack.gateways["near-db"].kill()
            killed = load.now()
            stack.start_gateway("near-db")
            load.wait_answered(killed)
    access.close()
    session, recorded, wrong = settle(one, access.session_id)
    assert wrong + check(load, recorded, profiled(one)) == []
    assert session["end_reason"] == "client_closed"
    assert len(load.answered) > 40

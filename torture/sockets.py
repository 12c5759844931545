"""Sockets and what hangs on them: clients that open hundreds, clients that are killed, sessions that end meanwhile."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from wardgate.testing.mongo import RS1, RS3
from wardgate.testing.processes import Process

from .world import World

Client = MongoClient[dict[str, Any]]
SOCKETS = 200
SPARES = 8  # warm connections that a session may keep besides
END_S = 5.0
# Clients as programs of their own, so that they can be killed. Each prints a line when it is where it should be.
MANY = """
import pymongo, sys, threading, time
clients = [pymongo.MongoClient(sys.argv[1], maxPoolSize=100, minPoolSize=100, appname=f"many{n}") for n in range(2)]
gate = threading.Barrier(200)
def work(n):
    gate.wait()
    clients[n % 2].torture.things.find_one({"$where": "sleep(500) || true"})
threads = [threading.Thread(target=work, args=(n,)) for n in range(200)]
for each in threads: each.start()
for each in threads: each.join()
print("open", flush=True)
time.sleep(600)
"""
SLOW = """
import pymongo, sys
things = pymongo.MongoClient(sys.argv[1], retryReads=False).torture.things
print("open", flush=True)
list(things.find({"$where": "sleep(30000) || true"}))
"""


def python(name: str, folder: Path, source: str, *arguments: str) -> Process:
    """A client as a process."""
    return Process(name, [sys.executable, "-c", source, *arguments], folder)


def wait(true: Callable[[], object], timeout: float, pause: float = 0.02) -> float:
    """Wait until it is true; how long that took, in seconds."""
    started = time.monotonic()
    while not true():
        if time.monotonic() - started > timeout:
            raise AssertionError(f"it did not come true within {timeout:.0f} s")
        time.sleep(pause)
    return time.monotonic() - started


def operations(world: World, session_id: str, text: str = "", *, idle: bool = False) -> list[dict[str, Any]]:
    """What is in the database under this session's name; with `idle`, connections too."""
    pipeline: list[dict[str, Any]] = [
        {"$currentOp": {"allUsers": True, "idleConnections": idle}},
        {"$match": {"appName": {"$regex": session_id}, **({} if idle else {"active": True})}},
    ]
    with world.deployment.client() as root:
        return [each for each in root.admin.aggregate(pipeline) if text in str(each.get("command"))]


def _some(world: World) -> None:
    with world.deployment.client() as root:
        root.torture.things.insert_one({"_id": 1})


def many_sockets(folder: Path, timed: bool) -> list[dict[str, Any]]:
    """200 client sockets, and then the client is gone: MongoDB must not keep what nobody holds (case 30)."""
    with World.up(folder, RS1) as world:
        _some(world)
        access = world.open()
        wrong = []
        with python("many", folder, MANY, access.uri) as client:
            client.wait_line(lambda line: line == "open", 120)
            wait(lambda: len(operations(world, access.session_id, idle=True)) >= SOCKETS, 60)
            most = len(operations(world, access.session_id, idle=True))
            client.kill()
            released = wait(lambda: not operations(world, access.session_id, idle=True), 30)
        if most > SOCKETS + SPARES:
            wrong.append(f"{SOCKETS} pooled client sockets made {most} connections at MongoDB")
        if timed and released > 1.0:
            wrong.append(f"{most} connections were released after {released:.1f} s")
        return [{"way": "200 sockets", "connections": most, "released after, s": round(released, 2), "wrong": wrong}]


def client_killed(folder: Path, timed: bool) -> list[dict[str, Any]]:
    """A client is killed in half a minute of JavaScript: its operation dies with it (case 14)."""
    with World.up(folder, RS1) as world:
        _some(world)
        rows = []
        for route, uri in (("main", world.open().uri), ("member", world.open().replica_set_uri or "")):
            with python(f"slow-{route}", folder, SLOW, uri) as client:
                wait(lambda: operations(world, world.open().session_id, "$where"), 30)
                client.kill()
                gone = wait(lambda: not operations(world, world.open().session_id, "$where"), 25)
            wrong = [f"the operation went on for {gone:.1f} s"] if timed and gone > 1.0 else []
            rows.append({"way": route, "operation gone after, s": round(gone, 2), "wrong": wrong})
        return rows


class _Busy:
    """A client with everything that a session's end must kill: operations, cursors, transactions, waiting commands."""

    def __init__(self, uri: str) -> None:
        self.client = Client(uri, retryReads=False, retryWrites=False, serverSelectionTimeoutMS=2_000)
        self.said: list[tuple[float, str]] = []  # when and what commands in flight were told
        things = self.client.torture.things
        self._cursor = self.client.torture.many.find({}, batch_size=2, no_cursor_timeout=True)
        next(self._cursor)
        self._session = self.client.start_session()
        self._session.start_transaction()
        things.insert_one({"open": True}, session=self._session)
        self.threads = [threading.Thread(target=self._slow, daemon=True) for _ in range(16)]
        for thread in self.threads:
            thread.start()

    def _slow(self) -> None:
        try:
            list(self.client.torture.things.find({"$where": "sleep(30000) || true"}))
        except OperationFailure as error:
            self.said.append((time.monotonic(), f"{error.code}: {error.details and error.details.get('errmsg')}"))
        except PyMongoError as error:
            self.said.append((time.monotonic(), type(error).__name__))


def _left(world: World, session_id: str) -> list[Any]:
    """Operations of the session, and open cursors and transactions in the whole deployment (it has no other user)."""
    with world.deployment.client() as root:
        status = root.admin.command("serverStatus")
        cursors = status["metrics"]["cursor"]["open"]["noTimeout"]
        transactions = status["transactions"]["currentOpen"]
    return [*operations(world, session_id), *["cursor"] * cursors, *["transaction"] * transactions]


def session_ended(folder: Path, timed: bool) -> list[dict[str, Any]]:
    """A session under load is terminated: waiting commands are told, all is closed and killed (case 29).

    Once with every member well, once with one that hangs: then the record says what could not be looked at.
    """
    with World.up(folder, RS3) as world:
        _some(world)
        with world.deployment.client() as root:
            root.torture.many.insert_many([{"_id": number} for number in range(100)])
        return [_end_one(world, hangs, timed) for hangs in (False, True)]


def _end_one(world: World, hangs: bool, timed: bool) -> dict[str, Any]:
    access = world.open()
    busy = _Busy(access.replica_set_uri or access.uri)
    wait(lambda: len(operations(world, access.session_id, "$where")) >= 16, 30)
    frozen = world.deployment.secondaries()[0] if hangs else None
    if frozen is not None:
        world.deployment.pause(frozen)
    try:
        started = time.monotonic()
        world.stack.wardgate.run("pam", "session", "terminate", access.session_id)
        access.wait_event("ended", 30)
        cut = time.monotonic() - started
        for thread in busy.threads:
            thread.join(10)
        told = [at - started for at, _ in busy.said]
        wait(lambda: not _left(world, access.session_id), 30, 0.1)
        clean = time.monotonic() - started
        wait(lambda: world.stack.session(access.session_id)["status"] == "ended", 30, 0.1)
        ended = time.monotonic() - started
    finally:
        if frozen is not None:
            world.deployment.resume(frozen)
    access.process.wait(10)
    closing = [each for each in _session_records(world, access.session_id) if "not_killed" in str(each)]
    words = {what for _, what in busy.said}
    wrong = [f"a waiting command was told “{each}”" for each in words if not each.startswith("13: wardgate:")]
    if len(busy.said) != len(busy.threads):
        wrong.append(f"{len(busy.threads) - len(busy.said)} commands still wait")
    if timed and ended > END_S + 1.0:
        wrong.append(f"the end took {ended:.1f} s")
    if timed and told and max(told) > 1.5:
        wrong.append(f"a waiting command was told after {max(told):.1f} s")
    return {
        "way": "a member hangs" if hangs else "all well",
        "commands told": len(busy.said),
        "told after, s": round(max(told, default=0.0), 2),
        "said `ended` after, s": round(cut, 2),
        "nothing left after, s": round(clean, 2),
        "session over after, s": round(ended, 2),
        "record": str(closing)[:200],
        "wrong": wrong,
    }


def _session_records(world: World, session_id: str) -> list[dict[str, Any]]:
    return [each for each in world.stack.logs(session_id) if each["kind"] == "session"]

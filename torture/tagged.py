"""Commands that bear a number, so that each can be found again: in its client's memory, in the record, in the profiler.

Sixteen threads send them through wardgate without a driver's retries, so one token is one command. `check` is the law
of the record: what a client saw answered is on record with its outcome, and nothing ran that is not on record.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from .world import World

DATABASE = "torture_tagged"
PROFILE_BYTES = 512 * 1024 * 1024
Client = MongoClient[dict[str, Any]]


class TaggedLoad:
    """The threads; a context manager that ends them."""

    def __init__(self, uri: str, seed: str, connections: int = 16) -> None:
        self.answered: dict[str, float] = {}  # token → when
        self.failed: Counter[str] = Counter()
        self._seed = seed
        self._stop = threading.Event()
        self._client = Client(
            uri, retryWrites=False, retryReads=False, maxPoolSize=connections, serverSelectionTimeoutMS=60_000
        )
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(connections)]

    def __enter__(self) -> TaggedLoad:
        for thread in self._threads:
            thread.start()
        return self

    @staticmethod
    def now() -> float:
        """The clock of `answered`."""
        return time.monotonic()

    def stop(self) -> None:
        """No new commands."""
        self._stop.set()

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join(90)
        self._client.close()

    def wait_answered(self, since: float, timeout: float = 60) -> None:
        """Until a command that was answered after `since` is there."""
        deadline = time.monotonic() + timeout
        while not any(each > since for each in list(self.answered.values())[-64:]):
            if time.monotonic() > deadline:
                raise AssertionError(f"no command was answered within {timeout:.0f} s: {dict(self.failed)}")
            time.sleep(0.05)

    def _run(self, number: int) -> None:
        dice = random.Random(f"{self._seed}/{number}")
        collection = self._client[DATABASE].things
        turn = 0
        while not self._stop.is_set():
            turn += 1
            token = f"t{number}-{turn}"
            try:
                self._command(collection, dice.randrange(4), token)
            except OperationFailure as error:
                self.failed[f"{error.code}: {str(error.details)[:120] if error.code == 13 else ''}"] += 1
                self.answered[token] = time.monotonic()
            except PyMongoError as error:
                self.failed[type(error).__name__] += 1
                self._stop.wait(0.05)
            else:
                self.answered[token] = time.monotonic()

    @staticmethod
    def _command(collection: Any, kind: int, token: str) -> None:
        if kind == 0:
            collection.insert_one({"_id": token}, comment=token)
        elif kind == 1:
            collection.find_one({"_id": token}, comment=token)
        elif kind == 2:
            list(collection.aggregate([{"$match": {"_id": token}}], comment=token))
        else:
            collection.find_one_and_update({"_id": "counter"}, {"$inc": {"n": 1}}, comment=token)


def profile(world: World) -> None:
    """Let MongoDB write down everything that runs on the database."""
    with world.deployment.client() as root:
        database = root[DATABASE]
        database.command("profile", 0)
        database.drop_collection("system.profile")
        database.create_collection("system.profile", capped=True, size=PROFILE_BYTES)
        database.things.update_one({"_id": "counter"}, {"$set": {"n": 0}}, upsert=True)
        database.command("profile", 2)


def profiled(world: World) -> Counter[str]:
    """How often each token ran, in MongoDB's own words."""
    found: Counter[str] = Counter()
    with world.deployment.client() as root:
        for each in root[DATABASE]["system.profile"].find({"command.comment": {"$exists": True}}, {"command": 1}):
            found[each["command"]["comment"]] += 1
    return found


@dataclass(slots=True)
class Recorded:
    """The control plane's record of a session, by token."""

    outcomes: dict[str, float | None] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    open: int = 0  # commands without an outcome
    rows: int = 0

    @classmethod
    def of(cls, lines: Iterable[dict[str, Any]]) -> Recorded:
        """From `session logs --json`."""
        found = cls()
        for line in lines:
            body = line.get("body")
            token = body.get("comment") if isinstance(body, dict) else None
            if line["kind"] != "command" or not isinstance(token, str):
                continue
            found.rows += 1
            if token in found.outcomes:
                found.twice.append(token)
            found.outcomes[token] = line["ok"]
            found.open += line["ok"] is None
        return found


def check(load: TaggedLoad, recorded: Recorded, ran: Counter[str]) -> list[str]:
    """What the record lacks: sentences."""
    wrong = []
    unknown = [token for token in load.answered if token not in recorded.outcomes]
    unfinished = [token for token in load.answered if recorded.outcomes.get(token, 1) is None]
    unseen = [token for token in ran if token.startswith("t") and token not in recorded.outcomes]
    if unknown:
        wrong.append(f"{len(unknown)} commands were answered and are not on record: {unknown[:5]}")
    if unfinished:
        wrong.append(f"{len(unfinished)} commands were answered and have no outcome: {unfinished[:5]}")
    if unseen:
        wrong.append(f"{len(unseen)} commands ran and are not on record: {unseen[:5]}")
    if recorded.twice:
        wrong.append(f"{len(recorded.twice)} commands are on record twice: {recorded.twice[:5]}")
    return wrong


def settle(world: World, session_id: str, timeout: float = 60) -> tuple[dict[str, Any], Recorded, list[str]]:
    """Wait until an ended session is delivered and sealed: the session, its record, and what verification found."""
    deadline = time.monotonic() + timeout
    while True:
        verification = world.stack.verify(session_id)
        state = json.loads(verification.out)["state"] if verification.out else verification.err
        if state not in ("open", "incomplete") or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    wrong = [] if state == "verified" else [f"the session is {state}: {verification.out.strip()}"]
    return world.stack.session(session_id), Recorded.of(world.stack.logs(session_id)), wrong

"""The load generator: one process, one client, PyMongo; load.cjs is the same with the Node driver.

    TORTURE_JOB='{"uri": …, "database": …, "way": …, "pause": 0.1, "writers": 8}' python -m torture.load

Eight writers take turns at the four kinds of retryable writes; beside them run what an application has besides. Each
operation is one line of JSON on standard output, told after its end: {"w": worker, "op": kind, "id": token, "a": begun,
"b": ended, "error"?: {kind, code, labels, message}}, times of CLOCK_MONOTONIC, so that lines of several processes
compare. SIGTERM stops the writers; then the change stream reads on to a last document, and the line {"done": true} ends
it. What it is not: a judge (judge.py).
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_preferences import ReadPreference

ROWS = 400  # of the collection that cursors walk through
LAST = "last"
CATCH_UP_S = 45.0  # how long the change stream may take to reach the last document

Client = MongoClient[dict[str, Any]]


def describe(error: PyMongoError) -> dict[str, Any]:
    """An error as an application sees it."""
    code = error.code if isinstance(error, OperationFailure) else None
    labels = [each for each in ("RetryableWriteError", "TransientTransactionError") if error.has_error_label(each)]
    if error.has_error_label("UnknownTransactionCommitResult"):
        labels.append("UnknownTransactionCommitResult")
    return {"kind": type(error).__name__, "code": code, "labels": labels, "message": str(error)[:300]}


class Load:
    """The workers of one client."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.pause: float = job["pause"]
        self.writers: int = job["writers"]
        self.others: bool = job.get("others", True)
        self.client: Client = MongoClient(job["uri"], appname=job["way"], **job.get("options", {}))
        self.database = self.client[job["database"]]
        self.stop = threading.Event()
        self.seen_last = threading.Event()
        self.streaming = threading.Event()
        self._told = threading.Lock()
        self._waiting: set[str] = set()

    def tell(self, line: dict[str, Any]) -> None:
        """One line."""
        with self._told:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()

    def operate(self, worker: str, op: str, token: str, work: Callable[[], Any]) -> bool:
        """Do one operation and tell how it ended."""
        line: dict[str, Any] = {"w": worker, "op": op, "id": token, "a": time.monotonic()}
        try:
            work()
        except PyMongoError as error:
            line["error"] = describe(error)
        line["b"] = time.monotonic()
        self.tell(line)
        if "error" not in line and worker in self._waiting:
            self._waiting.discard(worker)
            if not self._waiting:
                self.tell({"ready": True})
        return "error" not in line

    # --- retryable writes -----------------------------------------------------------------------------------------

    def insert(self, token: str) -> None:
        self.database.inserts.insert_one({"_id": token})

    def update(self, token: str) -> None:
        self.database.updates.update_one({"_id": token}, {"$inc": {"n": 1}}, upsert=True)

    def find_and_modify(self, token: str) -> None:
        self.database.updates.find_one_and_update({"_id": token}, {"$inc": {"n": 1}}, upsert=True)

    def transaction(self, token: str) -> None:
        def both(session: Any) -> None:
            self.database.left.insert_one({"_id": token}, session=session)
            self.database.right.insert_one({"_id": token}, session=session)

        with self.client.start_session() as session:
            session.with_transaction(both)

    def writer(self, number: int) -> None:
        """Round and round; each writer begins with another kind."""
        kinds: list[tuple[str, Callable[[str], None]]] = [
            ("insertOne", self.insert),
            ("updateOne", self.update),
            ("findAndModify", self.find_and_modify),
            ("withTransaction", self.transaction),
        ]
        worker = f"writer{number}"
        for turn in itertools.count():
            if self.stop.wait(self.pause):
                return
            op, work = kinds[(number + turn) % len(kinds)]
            token = f"{worker}-{turn}"
            self.operate(worker, op, token, lambda work=work, token=token: work(token))  # type: ignore[misc]

    # --- the rest of an application -------------------------------------------------------------------------------

    def again(self, worker: str, op: str, work: Callable[[str], Any], *, slower: float = 1.0) -> None:
        """One operation again and again."""
        for turn in itertools.count():
            if self.stop.wait(self.pause * slower):
                return
            token = f"{worker}-{turn}"
            self.operate(worker, op, token, lambda token=token: work(token))  # type: ignore[misc]

    def walk_cursor(self, token: str) -> None:
        """A cursor that is open for about two seconds."""
        seen = 0
        with self.database.rows.find({}, batch_size=20) as cursor:
            for _ in cursor:
                seen += 1
                if seen % 20 == 0 and self.stop.wait(0.1):
                    return
        if seen != ROWS:
            raise OperationFailure(f"a cursor gave {seen} of {ROWS} documents", code=-1)

    def bare_transaction(self, token: str) -> None:
        with self.client.start_session() as session, session.start_transaction():
            self.database.bare.insert_one({"_id": token, "side": 1}, session=session)
            time.sleep(0.05)
            self.database.bare.update_one({"_id": token}, {"$set": {"side": 2}}, session=session)

    def read_secondary(self, token: str) -> None:
        self.database.rows.with_options(read_preference=ReadPreference.SECONDARY_PREFERRED).find_one({"_id": 7})

    def watch(self) -> None:
        """Every insert as an event; an error that the driver does not hide is told, and the stream resumed."""
        resume: Any = None
        for turn in itertools.count():
            started = time.monotonic()
            try:
                with self.database.inserts.watch(resume_after=resume, max_await_time_ms=500) as stream:
                    self.streaming.set()
                    while not self.seen_last.is_set():
                        change = stream.try_next()
                        resume = stream.resume_token
                        if change is not None:
                            self._changed(change["documentKey"]["_id"], started)
                    return
            except PyMongoError as error:
                line = {"w": "watch", "op": "changeStream", "id": f"watch-{turn}", "a": started, "b": time.monotonic()}
                self.tell({**line, "error": describe(error)})
                if self.seen_last.wait(self.pause):
                    return

    def _changed(self, token: str, started: float) -> None:
        if token == LAST:
            self.seen_last.set()
        else:
            self.tell({"w": "watch", "op": "change", "id": token, "a": started, "b": time.monotonic()})

    # --- all of it ------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """What the workers read and update; the stream is open before the first insert."""
        self.database.rows.insert_many([{"_id": number} for number in range(ROWS)])
        for name in ("inserts", "updates", "left", "right", "bare"):
            self.database.create_collection(name)

    def workers(self) -> dict[str, Callable[[], None]]:
        """By name."""
        all_of_them: dict[str, Callable[[], None]] = {
            f"writer{number}": lambda number=number: self.writer(number)  # type: ignore[misc]
            for number in range(self.writers)
        }
        if not self.others:
            return all_of_them
        rows, database = self.database.rows, self.database
        return all_of_them | {
            "many": lambda: self.again(
                "many", "updateMany", lambda _: rows.update_many({}, {"$inc": {"n": 1}}), slower=5
            ),
            "cursor": lambda: self.again("cursor", "cursor", self.walk_cursor),
            "bare": lambda: self.again("bare", "transaction", self.bare_transaction),
            "secondary": lambda: self.again("secondary", "secondaryRead", self.read_secondary),
            "find": lambda: self.again("find", "find", lambda _: database.rows.find_one({"_id": 7})),
            "aggregate": lambda: self.again("aggregate", "aggregate", lambda _: list(rows.aggregate([{"$limit": 1}]))),
        }

    def run(self) -> None:
        """Until SIGTERM, and the end of the change stream."""
        self.prepare()
        threads: list[threading.Thread] = []
        watcher = threading.Thread(target=self.watch, daemon=True)
        if self.others:
            watcher.start()
            self.streaming.wait(30)
        workers = self.workers()
        self._waiting = set(workers)
        for name, work in workers.items():
            threads.append(threading.Thread(target=work, name=name, daemon=True))
            threads[-1].start()
        while not self.stop.wait(0.2):
            pass
        for thread in threads:
            thread.join(60)
        stuck = [thread.name for thread in threads if thread.is_alive()]
        if self.others:
            self.operate("last", "insertLast", LAST, lambda: self.insert(LAST))
            self.seen_last.wait(CATCH_UP_S)
        self.tell({"done": True, "stuck": stuck, "caught_up": self.seen_last.is_set() or not self.others})


def main() -> None:
    """Read the job, run it."""
    load = Load(json.loads(os.environ["TORTURE_JOB"]))
    signal.signal(signal.SIGTERM, lambda *_: load.stop.set())
    load.run()
    os._exit(0)  # a worker that hangs must not keep the process


if __name__ == "__main__":
    main()

"""What a row of PyMongo's list is made of: one function, written once, run with the sync and with the async client.

A row gets a Trial and returns what it saw, as JSON values; it says nothing of wardgate, because it is run directly as
well and the two must be equal. `await t(x)` waits where the client is async and passes through where it is not.

This package runs under PyMongo 3.13 to 4.20 and imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import bson
import pymongo
from pymongo import monitoring
from pymongo.errors import PyMongoError

# What differs from run to run, directly as well.
VOLATILE = frozenset(
    {"$clusterTime", "operationTime", "topologyVersion", "localTime", "connectionId", "lastWrite", "electionId"}
)
SELECTION_MS = 20_000


class AbsentError(Exception):
    """This version of the client does not have what the row is about."""


@dataclass(frozen=True)
class Row:
    """`needs`: what the deployment must be for the row: any, member (a mongod), set (transactions), replica, many."""

    name: str
    needs: str
    work: Callable[[Trial], Coroutine[Any, Any, Any]]


ROWS: list[Row] = []


def row(name: str, needs: str = "any") -> Callable[[Any], Any]:
    """Enter a function into the list."""

    def enter(work: Any) -> Any:
        ROWS.append(Row(name, needs, work))
        return work

    return enter


class Listener(monitoring.CommandListener):
    """Commands as the driver sent them, and the names of those that failed."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[str] = []

    def started(self, event: Any) -> None:
        """One was sent."""
        self.commands.append((event.command_name, dict(event.command)))

    def succeeded(self, event: Any) -> None:
        """Nobody asks."""

    def failed(self, event: Any) -> None:
        """One failed."""
        self.failures.append(event.command_name)

    def named(self, name: str) -> list[dict[str, Any]]:
        """The commands of that name."""
        return [command for each, command in self.commands if each == name]


class Trial:
    """A client on the URI under test, a database of the row's own, and a way round it all for fault injection."""

    def __init__(self, uri: str, admin_uri: str, database: str, *, is_async: bool) -> None:
        self.uri = uri
        self.admin_uri = admin_uri
        self.name = database
        self.is_async = is_async
        self._made: list[Any] = []
        self.client = self.make()
        self.db = self.client[database]
        self.things = self.db.things

    async def __call__(self, value: Any) -> Any:
        """The value, waited for if it must be."""
        return await value if inspect.isawaitable(value) else value

    def make(self, uri: str | None = None, **options: Any) -> Any:
        """Another client like the first, with options of its own."""
        options.setdefault("serverSelectionTimeoutMS", SELECTION_MS)
        if self.is_async and not hasattr(pymongo, "AsyncMongoClient"):
            raise AbsentError("no async client")
        kind = pymongo.AsyncMongoClient if self.is_async else pymongo.MongoClient
        client: Any = kind(uri or self.uri, **options)
        self._made.append(client)
        return client

    async def close(self) -> None:
        """Every client that was made."""
        for client in self._made:
            await self(client.close())

    async def all(self, cursor: Any) -> list[Any]:
        """Everything a cursor gives."""
        cursor = await self(cursor)
        return [each async for each in self.each(cursor)]

    async def each(self, cursor: Any) -> AsyncIterator[Any]:
        """A cursor, one by one."""
        if self.is_async:
            async for document in cursor:
                yield document
        else:
            for document in cursor:
                yield document

    async def slow(self, things: Any, milliseconds: int) -> int:
        """Read every document, each in its time: how a socket is kept busy."""
        return len(await self.all(things.find({"$where": f"sleep({milliseconds}) || true"})))

    @contextlib.asynccontextmanager
    async def within(self, manager: Any) -> AsyncIterator[Any]:
        """`with` or `async with`, as the client has it."""
        manager = await self(manager)
        if self.is_async:
            async with manager as value:
                yield value
        else:
            with manager as value:
                yield value

    async def parallel(self, number: int, work: Callable[[int], Coroutine[Any, Any, Any]]) -> list[Any]:
        """`work(0)` … at the same time: tasks for the async client, threads for the sync one."""
        if self.is_async:
            return list(await asyncio.gather(*(work(each) for each in range(number))))
        results: list[Any] = [None] * number

        def run(each: int) -> None:
            try:
                results[each] = asyncio.run(work(each))
            except PyMongoError as error:
                results[each] = fault(error)

        threads = [threading.Thread(target=run, args=(each,)) for each in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    async def caught(self, work: Any) -> Any:
        """What it gives, or its error as a value: for rows that are about errors."""
        try:
            return plain(await self(work() if callable(work) else work))
        except PyMongoError as error:
            return fault(error)
        except (TypeError, ValueError) as error:
            return {"error": type(error).__name__}

    @contextlib.contextmanager
    def root(self) -> Iterator[Any]:
        """Straight to the deployment as its superuser, whatever is under test."""
        client: Any = pymongo.MongoClient(self.admin_uri, serverSelectionTimeoutMS=SELECTION_MS)
        with client:
            yield client

    @contextlib.contextmanager
    def failing(self, times: int, **data: Any) -> Iterator[None]:
        """The server fails the named commands so many times."""
        with self.root() as root:
            point = {"configureFailPoint": "failCommand"}
            root.admin.command({**point, "mode": {"times": times}, "data": data})
            try:
                yield
            finally:
                root.admin.command({**point, "mode": "off"})


def has(thing: Any, name: str) -> Any:
    """An attribute that this version may not have."""
    found = getattr(thing, name, None)
    # An unknown attribute of a client, database or collection is a collection of that name.
    if found is None or type(found).__name__.endswith(("Collection", "Database")):
        raise AbsentError(f"no {name}")
    return found


def fault(error: BaseException) -> dict[str, Any]:
    """An error as its user sees it, without times."""
    details = getattr(error, "details", None)
    found: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(details, dict):
        found["details"] = plain({key: value for key, value in details.items() if key not in VOLATILE})
    else:
        found["message"] = str(error).partition(", Timeout:")[0].partition(" (configured timeouts")[0]
    if isinstance(error, PyMongoError):
        labels = ("TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError")
        found["labels"] = [label for label in labels if error.has_error_label(label)]
    return found


def scrub(text: str) -> str:
    """A text without the ids that are made anew for each command."""
    text = re.sub(r"cursor id \d+", "cursor id N", text)
    text = re.sub(r"txnNumber: \d+", "txnNumber: N", text)
    text = re.sub(r", \$clusterTime: .*?\} \}", "", text)
    text = re.sub(r"(Executor error during \w+( command)? :: caused by :: )", "", text)
    return re.sub(r'UUID\("[-0-9a-f]+"\)', "UUID", text)


def plain(value: Any) -> Any:
    """As JSON: what is random by nature becomes its type's name, bytes their length and hash."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items() if key not in VOLATILE}
    if isinstance(value, (list, tuple, set)):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return f"{len(value)} bytes {hashlib.sha256(value).hexdigest()[:16]}"
    if isinstance(value, (bson.ObjectId, bson.Timestamp)):
        return type(value).__name__
    if isinstance(value, str):
        return scrub(value)
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value) if isinstance(value, float) and value != value else value
    return f"{type(value).__name__} {value}"

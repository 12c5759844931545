"""What one node tells the others: hints, so that nobody waits for the next look at the tables.

A signal is delivered at once here, and by a row and a NOTIFY to the other nodes, which read the rows behind the last
one that they saw: NOTIFY wakes, it carries nothing, and a node that misses one reads them all the same a moment later.

Law: a signal is sent after the commit of what it tells of, and whatever it tells must be found by who never hears it: a
signal may be lost with the node that sent it. Nothing secret is in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from ...errors import WardgateError
from ...net import logs
from ..db import Database
from ..db.postgres import connector
from ..sources import Sources
from .model import SignalRow

Handler = Callable[[str, dict[str, Any]], None]

_CHANNEL: Final = "wardgate"
_LOOK_S: Final = 2.0  # how late a signal is where no NOTIFY gets through
_KEPT: Final = timedelta(minutes=2)
_QUEUED_MOST: Final = 10_000
_READ_MOST: Final = 1_000

_log = logs.get("control.cluster")


@dataclass(frozen=True, slots=True)
class _Signal:
    topic: str
    key: str
    body: Mapping[str, Any] = field(default_factory=dict)


class Signals:
    """Sending and hearing. On an embedded database there is nobody else, and `run` has nothing to do."""

    def __init__(self, database: Database, sources: Sources) -> None:
        self.node = sources.randomness(16).hex()
        self._database = database
        self._sources = sources
        self._handlers: dict[str, list[Handler]] = {}
        self._out: asyncio.Queue[_Signal] = asyncio.Queue(_QUEUED_MOST)
        self._news = asyncio.Event()
        self._seen: int | None = None

    def on(self, topic: str, handler: Handler) -> None:
        """Call `handler(key, body)` for every signal of the topic, our own too."""
        self._handlers.setdefault(topic, []).append(handler)

    def send(self, topic: str, key: str = "", body: Mapping[str, Any] | None = None) -> None:
        """Tell every node, this one at once. `body` is JSON."""
        signal = _Signal(topic, key, body or {})
        self._deliver(signal)
        if self._database.address is None:
            return
        try:
            self._out.put_nowait(signal)
        except asyncio.QueueFull:
            _log.error("signal dropped: the database takes none", topic=topic)

    async def run(self) -> None:
        """Carry signals to and from the other nodes; ends by cancellation, or by the database's failure."""
        if self._database.address is None:
            await asyncio.Event().wait()
        async with self._database.read() as session:
            if self._seen is None:
                self._seen = await session.scalar(select(func.max(SignalRow.id))) or 0
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._carry_out(), name="signals out")
            tasks.create_task(self._listen(), name="signals listen")
            tasks.create_task(self._take_in(), name="signals in")

    async def _carry_out(self) -> None:
        while True:
            batch = [await self._out.get()]
            while not self._out.empty() and len(batch) < _READ_MOST:
                batch.append(self._out.get_nowait())
            now = self._sources.now()
            async with self._database.write() as session:
                await session.execute(delete(SignalRow).where(SignalRow.sent_at < now - _KEPT))
                rows = [
                    {"node": self.node, "topic": each.topic, "key": each.key, "body": dict(each.body), "sent_at": now}
                    for each in batch
                ]
                await session.execute(insert(SignalRow), rows)
                await session.execute(text(f"NOTIFY {_CHANNEL}"))

    async def _listen(self) -> None:
        """A connection that does nothing else. Without it signals are late, not lost: so it is tried again for ever."""
        assert self._database.address is not None
        connect = connector(self._database.address)
        while True:
            connection = None
            with suppress(WardgateError):
                connection = await connect()
            if connection is not None:
                lost = asyncio.Event()
                try:
                    connection.add_termination_listener(lambda _connection, lost=lost: lost.set())
                    await connection.add_listener(_CHANNEL, lambda *_: self._news.set())
                    self._news.set()  # what came while nobody listened
                    await lost.wait()
                finally:
                    connection.terminate()
            await asyncio.sleep(_LOOK_S)

    async def _take_in(self) -> None:
        while True:
            self._news.clear()
            async with self._database.read() as session:
                rows = await self._behind(session)
            for row in rows:
                self._seen = row.id
                if row.node != self.node:
                    self._deliver(_Signal(row.topic, row.key, row.body))
            if len(rows) < _READ_MOST:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._news.wait()

    async def _behind(self, session: AsyncSession) -> list[SignalRow]:
        query = select(SignalRow).where(SignalRow.id > (self._seen or 0)).order_by(SignalRow.id).limit(_READ_MOST)
        return list(await session.scalars(query))

    def _deliver(self, signal: _Signal) -> None:
        for handler in self._handlers.get(signal.topic, ()):
            try:
                handler(signal.key, dict(signal.body))
            except Exception as error:  # of a newer node, say: others must still be heard
                _log.error("signal not understood", topic=signal.topic, error=type(error).__name__)

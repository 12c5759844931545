"""The kill-off: what a session still runs in MongoDB dies with it.

What it is: connections of the gateway's own to every member that holds data, logged in as the session's user; each
lists that user's operations, kills those whose application name says that they are this session's, kills its logical
sessions (and with them their cursors and transactions) and the cursors that have none, and looks again until nothing is
left or the time is up. What it is not: the closing of sockets, which kills most operations before this is through.

Law: it never touches what does not bear the session's application name, its logical sessions or its cursors, for other
people share the MongoDB user. It never raises and never takes longer than its deadline; what it could not kill, and
where it could not even look, is in the report, for that is a record too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson.binary import UUID_SUBTYPE, Binary
from bson.int64 import Int64

from .discovery import Description, Role
from .errors import MongoError, quoted
from .login import Login
from .server import ServerConnection, must
from .target import Target

LOOK_AGAIN = 0.1  # a killed operation needs a moment to notice
SESSIONS_AT_ONCE = 1_000
CURSORS_AT_ONCE = 1_000
OPERATIONS_MAX = 10_000  # of one listing; more means something is wrong, and the next round sees the rest
MARGIN = 0.1  # seconds kept back for the report itself


@dataclass(frozen=True, slots=True)
class CursorRef:
    """A cursor that belongs to no logical session."""

    member: str
    database: str
    collection: str
    cursor_id: int


@dataclass(frozen=True, slots=True)
class MemberReport:
    """What happened at one member. `problem` None and `left` empty: nothing of the session is there any more."""

    address: str
    operations_killed: int = 0
    sessions_killed: int = 0
    cursors_killed: int = 0
    left: tuple[str, ...] = ()
    problem: str | None = None

    def lines(self) -> list[str]:
        """What is left, and what went wrong."""
        return [f"{self.address}: {each}" for each in self.left] + ([self.problem] if self.problem is not None else [])


@dataclass(frozen=True, slots=True)
class KillReport:
    """All members."""

    members: tuple[MemberReport, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be left anywhere."""
        return not self.not_killed

    @property
    def killed(self) -> int:
        """Operations, logical sessions and cursors that were told to die, counted at each member."""
        return sum(each.operations_killed + each.sessions_killed + each.cursors_killed for each in self.members)

    @property
    def not_killed(self) -> tuple[str, ...]:
        """What is left or could not be looked at, a line each; for the closing record."""
        return tuple(line for member in self.members for line in member.lines())


async def kill_session_work(
    target: Target,
    login: Login,
    app_name_prefix: str,
    *,
    logical_sessions: Iterable[bytes] = (),
    cursors: Sequence[CursorRef] = (),
    members: Iterable[str] | None = None,
    deadline: float | None = None,
) -> KillReport:
    """Kill one session's operations, logical sessions and cursors on every member, within `deadline` seconds.

    `logical_sessions` are the 16-byte ids (`lsid.id`) that the session's clients used; `members` are the addresses to
    visit (the topology's; default: the seeds). Arbiters are skipped. Never raises but for cancellation.
    """
    if len(app_name_prefix) < 8:
        raise ValueError("a short prefix would match other people's operations")
    deadline = target.numbers.session_end if deadline is None else deadline
    until = asyncio.get_running_loop().time() + max(deadline - MARGIN, 0.0)
    addresses = list(dict.fromkeys(members if members is not None else target.seeds))
    ids = tuple(dict.fromkeys(logical_sessions))
    reapers = [
        _Reaper(
            target, login, address, app_name_prefix, ids, [each for each in cursors if each.member == address], until
        )
        for address in addresses
    ]
    return KillReport(tuple(await asyncio.gather(*(reaper.run() for reaper in reapers))))


@dataclass(slots=True)
class _Reaper:
    """One member's part."""

    target: Target
    login: Login
    address: str
    prefix: str
    lsids: tuple[bytes, ...]
    cursors: list[CursorRef]
    until: float
    _killed: set[str] = field(default_factory=set)
    _left: tuple[str, ...] = ()
    _sessions_killed: int = 0
    _cursors_killed: int = 0

    async def run(self) -> MemberReport:
        problem: str | None = None
        try:
            async with asyncio.timeout_at(self.until):
                problem = await self._visit()
        except TimeoutError:
            problem = f"{self.address}: the time was up."
        except MongoError as error:
            problem = error.message
        return MemberReport(
            self.address, len(self._killed), self._sessions_killed, self._cursors_killed, self._left, problem
        )

    async def _visit(self) -> str | None:
        async with await ServerConnection.open(self.target, self.address, purpose="session end") as connection:
            if Description.of(self.address, connection.hello).role is Role.ARBITER:
                return None
            await connection.log_in(self.login)
            problems = [
                await self._attempt(self._kill_sessions(connection)),
                await self._attempt(self._kill_cursors(connection)),
                await self._attempt(self._kill_operations(connection)),
            ]
        return next((each for each in problems if each is not None), None)

    @staticmethod
    async def _attempt(step: Coroutine[Any, Any, None]) -> str | None:
        """One step's failure must not keep the others from being tried, while the connection lives."""
        try:
            await step
        except MongoError as error:
            return error.message
        return None

    async def _kill_sessions(self, connection: ServerConnection) -> None:
        for start in range(0, len(self.lsids), SESSIONS_AT_ONCE):
            part = self.lsids[start : start + SESSIONS_AT_ONCE]
            ids = [{"id": Binary(each, UUID_SUBTYPE)} for each in part]
            must(await connection.command({"killSessions": ids}), f"{self.address}: killSessions")
            self._sessions_killed += len(part)

    async def _kill_cursors(self, connection: ServerConnection) -> None:
        by_namespace: dict[tuple[str, str], list[int]] = {}
        for each in self.cursors:
            by_namespace.setdefault((each.database, each.collection), []).append(each.cursor_id)
        for (database, collection), ids in by_namespace.items():
            for start in range(0, len(ids), CURSORS_AT_ONCE):
                part = [Int64(each) for each in ids[start : start + CURSORS_AT_ONCE]]
                command = {"killCursors": collection, "cursors": part, "$db": database}
                reply = must(await connection.command(command), f"{self.address}: killCursors")
                killed = reply.get("cursorsKilled")
                self._cursors_killed += len(killed) if isinstance(killed, list) else 0

    async def _kill_operations(self, connection: ServerConnection) -> None:
        while found := await self._operations(connection):
            self._left = tuple(found.values())
            for opid in found:
                must(await connection.command({"killOp": 1, "op": opid}), f"{self.address}: killOp")
                self._killed.add(str(opid))
            await asyncio.sleep(LOOK_AGAIN)
        self._left = ()

    async def _operations(self, connection: ServerConnection) -> dict[int | str, str]:
        """Operations of this session, by opid (a number; text at a mongos), each with a line for the report."""
        ours = {"$regex": "^" + re.escape(self.prefix)}
        pipeline: list[dict[str, Any]] = [
            {"$currentOp": {"allUsers": False, "idleConnections": False}},
            {"$match": {"$or": [{"appName": ours}, {"clientMetadata.application.name": ours}]}},
            {"$limit": OPERATIONS_MAX},
            {"$project": {"opid": 1, "op": 1, "ns": 1, "secs_running": 1}},
        ]
        command = {
            "aggregate": 1,
            "pipeline": pipeline,
            "cursor": {"batchSize": OPERATIONS_MAX},
            "$readPreference": {"mode": "primaryPreferred"},  # else a secondary refuses
        }
        reply = must(await connection.command(command), f"{self.address}: currentOp")
        cursor = reply.get("cursor")
        batch = cursor.get("firstBatch") if isinstance(cursor, Mapping) else None
        found: dict[int | str, str] = {}
        for operation in batch if isinstance(batch, list) else ():
            opid = operation.get("opid") if isinstance(operation, Mapping) else None
            if isinstance(opid, (int, str)):
                found[opid] = quoted(
                    f"{operation.get('op')} on {operation.get('ns')}, {operation.get('secs_running', 0)} s", 120
                )
        return found

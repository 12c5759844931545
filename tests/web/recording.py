"""Sessions with a record that looks like a person's work: made by the gateway's own chain writer, shipped as frames."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import bson

from wardgate.api.models import EndReason, SessionStatus, VerificationState
from wardgate.audit.codec import encode
from wardgate.audit.records import (
    CommandIntent,
    CommandOutcome,
    ConnectionClosed,
    ConnectionHello,
    ConnectionOpened,
    Denied,
    Record,
    SessionClosed,
    SessionOpened,
)
from wardgate.control.access.model import SessionRow
from wardgate.ids import Kind

from ..control.records.conftest import Epoch, Recorded
from .conftest import Web

WORK: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("find", "read", {"filter": {"status": "open", "total": {"$gt": 120.5}}, "limit": 50}),
    ("aggregate", "read", {"pipeline": [{"$match": {"region": "EU"}}, {"$group": {"_id": "$sku"}}], "cursor": {}}),
    ("update", "write", {"updates": [{"q": {"_id": 7}, "u": {"$set": {"status": "sent"}}, "multi": False}]}),
    ("insert", "write", {"documents": [{"_id": 1, "sku": "A-17", "quantity": bson.Int64(4)}]}),
    ("count", "read", {"query": {"status": "open"}}),
)
COLLECTIONS = ("orders", "customers", "invoices")


class Work:
    """One session, recorded as time goes on."""

    def __init__(self, recorded: Recorded, epoch: Epoch, begun_us: int) -> None:
        self.recorded = recorded
        self.epoch = epoch
        self.now_us = begun_us
        self._dice = random.Random(7)

    @property
    def id(self) -> str:
        return self.recorded.session_id

    def append(self, record: Record, after_us: int = 0) -> int:
        """Record it; its sequence number."""
        self.now_us += after_us
        seq = self.epoch.writer.seq + 1
        for document in encode(record, self.now_us, seq):
            self.epoch.frames.append(self.epoch.writer.append(document))
        return seq

    def command(self, collection: str | None = None, *, fails: bool = False, **body: Any) -> None:
        """Some command and its outcome."""
        name, effect, rest = self._dice.choice(WORK)
        where = collection or self._dice.choice(COLLECTIONS)
        raw = bson.encode({name: where, **rest, **body, "$db": "shop"})
        intent = CommandIntent(1, 7, "shop", where, name, effect, raw, len(raw) + 21, client_app="mongosh 2.12.0")
        seq = self.append(intent, self._dice.randrange(200_000, 9_000_000))
        took = int(self._dice.lognormvariate(7.5, 1.1))
        documents = self._dice.randrange(0, 60) if effect == "read" else 1
        error = "E11000 duplicate key error collection: shop.orders index: _id_" if fails else None
        modified = documents if name == "update" else None
        outcome = CommandOutcome(
            seq, 0.0 if fails else 1.0, 11000 if fails else None, None if fails else documents, 900, took,
            error=error, modified=modified,
        )  # fmt: skip
        self.append(outcome, took)

    async def ship(self) -> None:
        await self.epoch.ship()

    async def end(self, reason: EndReason = EndReason.CLIENT_CLOSED) -> None:
        """Close the record, and the session."""
        self.append(ConnectionClosed(1, "client_closed", 12, 1, 40, 40, 32_000, 410_000), 1_000_000)
        self.append(SessionClosed(reason.value), 1_000)
        await self.ship()
        async with self.recorded.control.services.database.write() as session:
            row = await session.get_one(SessionRow, self.id)
            row.status, row.end_reason, row.ended_at = SessionStatus.ENDED, reason, self.recorded.control.clock()
        await self.recorded.records.sweep()


async def open_session(
    web: Web,
    project_id: str,
    user: str = "maria.lindqvist@example.com",
    *,
    minutes: int = 34,
    reason: str | None = None,
) -> Work:
    """A live session that began `minutes` ago, with an open connection."""
    control = web.control
    begun = control.clock() - timedelta(minutes=minutes)
    session_id = control.services.sources.new_id(Kind.SESSION)
    async with control.services.database.write() as session:
        session.add(
            SessionRow(
                id=session_id,
                project_id=project_id,
                resource_id="res_one",
                resource="production-mongo",
                account_id="acc_one",
                account="readonly-user",
                user_id=f"usr_{user}",
                user=user,
                gateway_id="gw_one",
                gateway="near-db",
                reason=reason,
                client={"version": "0.1", "platform": "Linux 6.8", "hostname": "marias-laptop"},
                created_at=begun,
                started_at=begun,
                expires_at=begun + timedelta(hours=1),
                status=SessionStatus.ACTIVE,
                verification=VerificationState.OPEN,
            )
        )
    recorded = Recorded(control, session_id, project_id, control.services.settings.data_dir / "records" / session_id)
    work = Work(recorded, await recorded.lease(), int(begun.timestamp() * 1_000_000))
    work.append(SessionOpened(user, "production-mongo", "readonly-user", "near-db"))
    work.append(ConnectionOpened(1, "127.0.0.1:51812", "db1.internal:27017"), 300_000)
    work.append(ConnectionHello(1, "mongosh 2.12.0", "nodejs 7.8.0", "Node.js v24, Linux x64"), 2_000)
    return work


async def worked(web: Web, project_id: str, commands: int = 60, **more: Any) -> Work:
    """A live session in which some was done, a little of it in vain."""
    work = await open_session(web, project_id, **more)
    for number in range(commands):
        work.command(fails=number % 17 == 13)
    raw = bson.encode({"createUser": "mallory", "pwd": "", "roles": [], "$db": "admin"})
    work.append(Denied(1, 9, "admin", None, "createUser", "auth", raw, 90, "users_and_roles", 13), 400_000)
    await work.ship()
    return work

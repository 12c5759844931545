"""A session in the database, and gateways that record it with real frames."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import update

from wardgate import ids, sealing
from wardgate.api.audit import ExportFormat
from wardgate.api.machine import RecordsAck
from wardgate.api.models import EndReason, SessionStatus, Verification
from wardgate.audit.chain import ChainWriter, EpochHead, Link, tail_frame
from wardgate.audit.codec import encode
from wardgate.audit.records import Record
from wardgate.control.access.model import EpochRow, SessionRow
from wardgate.control.audit_log import Cause
from wardgate.control.identity.actor import Actor, Binding, Scope
from wardgate.control.identity.permissions import Role
from wardgate.control.projects.model import ProjectRow
from wardgate.control.records import RecordService, packing
from wardgate.control.records.keyring import Keyring
from wardgate.proof.seals import TrustedKeys

from ..conftest import Control

AT = 1_893_456_000_000_000  # 2030-01-01, the test clock's time


@dataclass
class Epoch:
    """One epoch as its gateway writes it. `frames` is all of it so far."""

    records: RecordService
    session_id: str
    number: int
    gateway: str
    writer: ChainWriter
    key: bytes
    frames: list[bytes] = field(default_factory=list)
    sent: int = 0

    def append(self, *added: Record) -> Epoch:
        for record in added:
            for document in encode(record, AT + self.writer.seq, self.writer.seq + 1):
                self.frames.append(self.writer.append(document))
        return self

    async def ship(self) -> RecordsAck:
        """Deliver what was not delivered yet."""
        body = b"".join(self.frames[self.sent :])
        ack = await self.records.ingest(self.gateway, body)
        self.sent = len(self.frames)
        return ack

    @property
    def link(self) -> Link:
        return Link(self.number, self.writer.seq, self.writer.hash)

    def tail(self) -> Epoch:
        self.frames.append(tail_frame(ids.to_bytes(self.session_id, ids.Kind.SESSION), self.link))
        return self


@dataclass(eq=False)
class Recorded:
    """One session of one project."""

    control: Control
    session_id: str
    project_id: str
    objects: Path

    @property
    def records(self) -> RecordService:
        return self.control.services.records

    async def lease(self, number: int = 1, gateway: str = "gw_one", previous: Link | None = None) -> Epoch:
        """Lease an epoch to a gateway, and its writer."""
        keys = self.control.services.keys
        key = os.urandom(32)
        sealed = sealing.seal(keys.audit_public_key, sealing.epoch_info(self.session_id, number), key)
        head = EpochHead(sealed, keys.audit_key_id, gateway, AT, previous)
        writer = ChainWriter(ids.to_bytes(self.session_id, ids.Kind.SESSION), number, key, head)
        async with self.control.services.database.write() as session:
            session.add(
                EpochRow(session_id=self.session_id, epoch=number, gateway_id=gateway, leased_at=self.control.clock())
            )
        return Epoch(self.records, self.session_id, number, gateway, writer, key, [writer.head_frame])

    async def end(self) -> None:
        """The session is over."""
        async with self.control.services.database.write() as session:
            await session.execute(
                update(SessionRow)
                .where(SessionRow.id == self.session_id)
                .values(status=SessionStatus.ENDED, ended_at=self.control.clock(), end_reason=EndReason.CLIENT_CLOSED)
            )

    async def export(self, form: ExportFormat) -> bytes:
        pieces = await self.records.export(self.actor(), self.session_id, form)
        return b"".join([piece async for piece in pieces])

    @property
    def published(self) -> TrustedKeys:
        """What somebody offline has: the keys that the control plane publishes."""
        return TrustedKeys("".join(key.certificate for key in self.records.keys().items).encode())

    def actor(self, role: Role = Role.ADMIN, scope: Scope | None = None, user_id: str = "usr_reader") -> Actor:
        binding = Binding(role, Scope() if scope is None else scope)
        return Actor(user_id, "reader@example.com", "s", Cause("reader@example.com"), (binding,))

    async def verify(self) -> Verification:
        return await self.records.verify(self.actor(), self.session_id)

    async def row(self) -> SessionRow:
        async with self.control.services.database.read() as session:
            found = await session.get(SessionRow, self.session_id)
        assert found is not None
        return found

    def stored(self, path: Path) -> bytes:
        """The frames in one of the store's files."""
        data = path.read_bytes()
        if not packing.is_packed(data):
            return data
        return packing.remake(data, Keyring(self.control.services.keys).epoch_key).data

    def files(self) -> list[Path]:
        return sorted(path for path in self.objects.rglob("*") if path.is_file())


@pytest.fixture
def make_session(control: Control, tmp_path: Path) -> Callable[..., Awaitable[Recorded]]:
    projects: dict[str, str] = {}

    async def make(account: str = "acc_one", project: str | None = None) -> Recorded:
        """A session on an account, in a project of its own or in one that others name too."""
        sources = control.services.sources
        session_id, project_id = sources.new_id(ids.Kind.SESSION), sources.new_id(ids.Kind.PROJECT)
        if project is not None:
            project_id = projects.setdefault(project, project_id)
        async with control.services.database.write() as session:
            if await session.get(ProjectRow, project_id) is None:
                session.add(ProjectRow(id=project_id, name=project_id[-10:], created_at=control.clock()))
            await session.flush()
            session.add(
                SessionRow(
                    id=session_id,
                    project_id=project_id,
                    resource_id="res_one",
                    resource="mongo",
                    account_id=account,
                    account="reader",
                    user_id="usr_ann",
                    user="ann@example.com",
                    gateway_id="gw_one",
                    gateway="near-db",
                    client={},
                    created_at=control.clock(),
                    expires_at=control.clock(),
                    status=SessionStatus.ACTIVE,
                )
            )
        return Recorded(control, session_id, project_id, tmp_path / "records" / session_id)

    return make


@pytest.fixture
async def recorded(make_session: Callable[..., Awaitable[Recorded]]) -> Recorded:
    return await make_session()

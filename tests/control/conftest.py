"""The real control plane on a real database, SQLite's and PostgreSQL's, spoken to through its real HTTP application.

`control` is one installation with its services; `admin` and `nobody` are HTTP clients of it, `login_as` makes more.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import secrets
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import select, text

from wardgate.control.audit_log import Cause
from wardgate.control.audit_log.model import AuditEvent
from wardgate.control.db import Database
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.passwords import Cost, PasswordHasher
from wardgate.control.identity.permissions import Role
from wardgate.control.outbound import Outbound
from wardgate.control.services import Services, install, open_services
from wardgate.control.settings import DoorSettings, Settings
from wardgate.control.sources import Sources
from wardgate.control.vault import MasterKey
from wardgate.secret import Secret
from wardgate.testing.postgres import PostgresCluster

from .machines import Machine
from .shared_app import app_of

ORIGIN = "http://127.0.0.1:8400"
ADMIN_EMAIL = "admin@example.com"
PASSWORD = "correct horse battery staple"


@dataclass
class Clock:
    """Time that stands still until a test moves it."""

    at: datetime = field(default_factory=lambda: datetime(2030, 1, 1, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **parts: float) -> None:
        self.at += timedelta(**parts)


@dataclass
class Control:
    """One installation."""

    services: Services
    app: FastAPI
    clock: Clock
    folder: Path
    url: str
    cluster: PostgresCluster | None  # None: SQLite
    drawn: list[bytes] = field(default_factory=list)  # every secret that was made at random

    def client(self, token: str | None = None, *, address: str = "192.0.2.1") -> httpx2.AsyncClient:
        """An HTTP client from `address`; with `token` as its login."""
        transport = httpx2.ASGITransport(app=self.app, client=(address, 50_000), raise_app_exceptions=False)
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx2.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)

    async def login(self, email: str, password: str = PASSWORD) -> httpx2.AsyncClient:
        """A client that is logged in."""
        tokens = await self.services.identity.login(email, Secret(password), Cause("test", address="192.0.2.1"))
        return self.client(tokens.access_token)

    async def execute(self, statement: str) -> None:
        """Change the database behind the services' back."""
        async with self.services.database.write() as session:
            await session.execute(text(statement))

    def sql(self, *statements: str) -> None:
        """The same as an intruder would do it, by another program; bytes are written x'…'."""
        if self.cluster is None:
            with contextlib.closing(sqlite3.connect(self.folder / "wardgate.db")) as connection, connection:
                for statement in statements:
                    connection.execute(statement)
            return
        spoken = [re.sub(r"\bx'([0-9a-f]*)'", r"'\\x\1'::bytea", statement) for statement in statements]
        self.cluster.sql("; ".join(spoken), self.url.rpartition("/")[2])

    def dump(self) -> bytes:
        """Everything that is in the database, as a thief of it has it."""
        if self.cluster is None:
            return b"".join(path.read_bytes() for path in self.folder.glob("wardgate.db*"))
        return self.cluster.dump(self.url.rpartition("/")[2])

    async def count(self, table: str) -> int:
        """How many rows `table` has."""
        async with self.services.database.read() as session:
            return int(await session.scalar(text(f"SELECT count(*) FROM {table}")) or 0)

    async def events(self) -> list[AuditEvent]:
        """The control plane's own audit log."""
        async with self.services.database.read() as session:
            return list(await session.scalars(select(AuditEvent).order_by(AuditEvent.seq)))

    async def user(self, email: str, *roles: tuple[Role, Scope]) -> httpx2.AsyncClient:
        """A new user with `roles`, logged in."""
        identity = self.services.identity
        user_id = await identity.create_user(Cause("test"), email, Secret(PASSWORD))
        for role, scope in roles:
            await identity.grant(Cause("test"), user_id, role, scope)
        return await self.login(email)


@pytest.fixture
def clock() -> Clock:
    return Clock()


_SECRET_BYTES = 20  # what is shorter is an id, a nonce or a salt


def _noting(drawn: list[bytes]) -> Callable[[int], bytes]:
    """A source of randomness that remembers what it gave out."""

    def draw(count: int) -> bytes:
        value = secrets.token_bytes(count)
        if count >= _SECRET_BYTES:
            drawn.append(value)
        return value

    return draw


def assert_nothing_in_clear(dump: bytes, values: Iterable[bytes]) -> None:
    """None of these is in `dump`: as it is, or in any of the forms in which tokens and keys are written."""
    lower = dump.lower()
    for value in values:
        forms = {
            "raw": value,
            "base64url": base64.urlsafe_b64encode(value).rstrip(b"="),
            "base64": base64.b64encode(value).rstrip(b"="),
        }
        folded = {"hexadecimal": value.hex().encode(), "base32": base64.b32encode(value).rstrip(b"=").lower()}
        found = [name for name, form in forms.items() if form in dump]
        found += [name for name, form in folded.items() if form in lower]
        assert not found, f"a secret of {len(value)} bytes stands in the database in clear: {', '.join(found)}"


@pytest.fixture
async def control(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, tabled_url: str
) -> AsyncIterator[Control]:
    database = Database(tabled_url)
    settings = Settings(tmp_path, ORIGIN, DoorSettings(hosts=frozenset({"127.0.0.1:8400", "localhost:8400"})))
    hasher = PasswordHasher(Cost(memory_kib=8, iterations=1))
    drawn: list[bytes] = []
    sources, master = Sources(now=clock, randomness=_noting(drawn)), MasterKey.of(bytes(range(32)))
    await install(
        database,
        master,
        organisation="test",
        admin_email=ADMIN_EMAIL,
        admin_password=Secret(PASSWORD),
        sources=sources,
        hasher=hasher,
    )
    outbound = Outbound(frozenset({"127.0.0.1", "localhost"}))  # for issuers that tests run
    services = await open_services(settings, database, [master], sources=sources, hasher=hasher, outbound=outbound)
    cluster = None if database.address is None else request.getfixturevalue("postgres")
    made = Control(services, app_of(services), clock, tmp_path, tabled_url, cluster, drawn)
    yield made
    await services.close()
    # Whatever the test did: what was drawn as a secret stands in no file of the database. PostgreSQL gets the same
    # bytes, and its dump is slow: tests/control/vault/test_at_rest.py looks into that.
    if cluster is None:
        assert_nothing_in_clear(made.dump(), [*drawn, PASSWORD.encode(), master.key.reveal()])


@pytest.fixture
async def nobody(control: Control) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a login."""
    async with control.client() as client:
        yield client


@pytest.fixture
async def admin(control: Control) -> AsyncIterator[httpx2.AsyncClient]:
    """The organisation's administrator."""
    async with await control.login(ADMIN_EMAIL) as client:
        yield client


@pytest.fixture
def login_as(control: Control) -> Callable[..., Awaitable[httpx2.AsyncClient]]:
    """`await login_as("ann@example.com", (Role.CONNECTOR, Scope(project_id)))`: a new user's client."""
    return control.user


@pytest.fixture
async def shop(admin: httpx2.AsyncClient) -> str:
    """A project's id."""
    created = await admin.post("/api/v1/projects", json={"name": "shop"})
    project_id: str = created.json()["id"]
    return project_id


@pytest.fixture
async def gateway(control: Control, admin: httpx2.AsyncClient, shop: str) -> AsyncIterator[Machine]:
    """The gateway `near-db` of the project, enrolled and online; it answers connection tests."""
    created = await admin.post(f"/api/v1/projects/{shop}/gateways", json={"name": "near-db"})
    machine = await Machine.join(control, created.json())
    serving = asyncio.create_task(machine.serve())
    while not control.services.hub.is_linked(machine.id):
        await asyncio.sleep(0)
    yield machine
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)

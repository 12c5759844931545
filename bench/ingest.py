"""What ingesting records costs the control plane: CPU time per command (intent, outcome, its row), by size of batch.

    .venv/bin/python -m bench.ingest [--commands N] [--rounds N] [--sizes 1,20,200,2000] [--folder DIR] [--profile FILE]

`service` is `RecordService.ingest` on a real database file; `route` is the whole HTTP application without its server,
so the signed assertion, the body and the middleware too. Frames are made before the clock starts. It counts CPU time
of the whole process (the database's thread too), so a busy machine disturbs it little; medians of `--rounds`.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import shutil
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time, time_ns
from typing import Any

import bson
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wardgate import ids, sealing
from wardgate.api import assertion
from wardgate.api.models import SessionStatus
from wardgate.audit.chain import ChainWriter, EpochHead
from wardgate.audit.codec import encode
from wardgate.audit.records import CommandIntent, CommandOutcome, Record
from wardgate.control.access.model import EpochRow, SessionRow
from wardgate.control.db import Base, Database
from wardgate.control.db.engine import sqlite_url
from wardgate.control.fleet.model import GatewayRow, InstanceRow
from wardgate.control.identity.passwords import Cost, PasswordHasher
from wardgate.control.projects.model import ProjectRow
from wardgate.control.services import Services, install, open_services
from wardgate.control.settings import DoorSettings, Settings
from wardgate.control.vault import MasterKey
from wardgate.control.web import create_app
from wardgate.net import logs
from wardgate.secret import Secret

_ORIGIN = "http://127.0.0.1:8400"
_PATH = "/api/v1/gateway/records"
_WARM_UP = 3  # batches that are not counted


def _command(connection: int, number: int) -> CommandIntent:
    body = bson.encode(
        {
            "find": "orders",
            "filter": {"customer": number, "status": "open"},
            "limit": 10,
            "lsid": {"id": bson.Binary(bytes(16), 4)},
            "$db": "shop",
        }
    )
    size = len(body) + 21
    return CommandIntent(connection, number, "shop", "orders", "find", "read", body, size, client_app="mongosh 2.12")


class _Gateway:
    """One session's epoch, framed as the spool frames it: commands of several connections, their outcomes between."""

    def __init__(self, services: Services, session_id: str, gateway_id: str) -> None:
        self.session_id = session_id
        key = os.urandom(32)
        sealed = sealing.seal(services.keys.audit_public_key, sealing.epoch_info(session_id, 1), key)
        head = EpochHead(sealed, services.keys.audit_key_id, gateway_id, time_ns() // 1000, None)
        self._chain = ChainWriter(ids.to_bytes(session_id, ids.Kind.SESSION), 1, key, head)
        self._number = 0

    def frame(self, record: Record) -> bytes:
        """The next frame."""
        (document,) = encode(record, time_ns() // 1000, self._chain.seq + 1)
        return self._chain.append(document)

    def batch(self, commands: int) -> bytes:
        """The next frames of `commands` commands, of which four are under way at any time."""
        frames = [self._chain.head_frame] if self._chain.seq == 0 else []
        open_: list[int] = []
        for _ in range(commands):
            self._number += 1
            frames.append(self.frame(_command(self._number % 4, self._number)))
            open_.append(self._chain.seq)
            if len(open_) == 4:
                frames.append(self.frame(CommandOutcome(open_.pop(0), 1.0, None, 10, 4000, 350)))
        frames += [self.frame(CommandOutcome(seq, 1.0, None, 10, 4000, 350)) for seq in open_]
        return b"".join(frames)


@dataclass
class _Control:
    services: Services
    app: Callable[..., Awaitable[None]]
    gateway_id: str
    key: ec.EllipticCurvePrivateKey

    async def session(self) -> _Gateway:
        """A session with its first epoch leased."""
        sources = self.services.sources
        session_id, project_id = sources.new_id(ids.Kind.SESSION), sources.new_id(ids.Kind.PROJECT)
        now = sources.now()
        async with self.services.database.write() as session:
            session.add(ProjectRow(id=project_id, name=project_id[-10:], created_at=now))
            await session.flush()
            session.add(
                SessionRow(
                    id=session_id,
                    project_id=project_id,
                    resource_id="res_one",
                    resource="mongo",
                    account_id="acc_one",
                    account="reader",
                    user_id="usr_ann",
                    user="ann@example.com",
                    gateway_id=self.gateway_id,
                    gateway="near-db",
                    client={},
                    created_at=now,
                    expires_at=now,
                    status=SessionStatus.ACTIVE,
                )
            )
            await session.flush()
            session.add(EpochRow(session_id=session_id, epoch=1, gateway_id=self.gateway_id, leased_at=now))
        return _Gateway(self.services, session_id, self.gateway_id)

    async def service(self, body: bytes) -> None:
        """Deliver to the service."""
        await self.services.records.ingest(self.gateway_id, body)

    async def route(self, body: bytes) -> None:
        """Deliver to the application; the signature that the gateway makes is counted as well (about 20 µs)."""
        header = assertion.sign(
            self.key,
            key_id=self.gateway_id,
            audience=_ORIGIN,
            method="POST",
            target=_PATH,
            body=body,
            now=self.services.sources.now().timestamp(),
            jti=os.urandom(assertion.JTI_BYTES),
        )
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": _PATH,
            "raw_path": _PATH.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"host", b"127.0.0.1:8400"),
                (b"authorization", header.encode()),
                (b"content-type", b"application/octet-stream"),
                (b"content-length", b"%d" % len(body)),
            ],
            "client": ("192.0.2.1", 50_000),
            "server": ("127.0.0.1", 8400),
            "state": {},
        }
        incoming = iter([{"type": "http.request", "body": body, "more_body": False}])
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return next(incoming, {"type": "http.disconnect"})

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self.app(scope, receive, send)
        if statuses != [200]:
            raise SystemExit(f"the route answered {statuses}")


async def open_control(folder: Path) -> _Control:
    """A control plane on a real database file in `folder`."""
    database = Database(sqlite_url(folder / "wardgate.db"))
    settings = Settings(folder, _ORIGIN, DoorSettings(hosts=frozenset({"127.0.0.1:8400"})))
    hasher, master = PasswordHasher(Cost(memory_kib=8, iterations=1)), MasterKey.of(os.urandom(32))
    await database.run(Base.metadata.create_all)
    await install(
        database,
        master,
        organisation="bench",
        admin_email="bench@example.com",
        admin_password=Secret("correct horse battery staple"),
        hasher=hasher,
    )
    services = await open_services(settings, database, [master], hasher=hasher)
    gateway_id = services.sources.new_id(ids.Kind.GATEWAY)
    project_id = services.sources.new_id(ids.Kind.PROJECT)
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    async with database.write() as session:
        session.add(ProjectRow(id=project_id, name="bench", created_at=services.sources.now()))
        await session.flush()
        session.add(
            GatewayRow(
                id=gateway_id,
                project_id=project_id,
                name="near-db",
                created_at=services.sources.now(),
            )
        )
        await session.flush()
        session.add(
            InstanceRow(id=gateway_id, gateway_id=gateway_id, created_at=services.sources.now(), public_key=public)
        )
    return _Control(services, create_app(services), gateway_id, key)


async def _measure(control: _Control, way: str, size: int, commands: int, profile: cProfile.Profile | None) -> float:
    """Microseconds of CPU for one command in batches of `size`."""
    deliver = control.service if way == "service" else control.route
    gateway = await control.session()
    count = max(1, commands // size)
    for _ in range(_WARM_UP):
        await deliver(gateway.batch(size))
    bodies = [gateway.batch(size) for _ in range(count)]
    if profile is not None:
        profile.enable()
    began = process_time()
    for body in bodies:
        await deliver(body)
    took = process_time() - began
    if profile is not None:
        profile.disable()
    return took / (count * size) * 1e6


async def _run(asked: argparse.Namespace, folder: Path) -> dict[tuple[str, int], list[float]]:
    control = await open_control(folder)
    profile = cProfile.Profile() if asked.profile else None
    await asyncio.sleep(2.5)  # what was signed before the guard's start is refused: let the clock's second pass
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(asked.rounds):
        for size in asked.sizes:
            for way in asked.ways:
                commands = min(asked.commands, max(200 * size, size))
                found.setdefault((way, size), []).append(await _measure(control, way, size, commands, profile))
    await control.services.close()
    if profile is not None:
        profile.dump_stats(asked.profile)
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=4000, help="for each figure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--sizes", type=lambda text: [int(part) for part in text.split(",")], default=[1, 20, 200, 2000]
    )
    parser.add_argument("--ways", type=lambda text: text.split(","), default=["service", "route"])
    parser.add_argument("--folder", type=Path, default=None, help="where to work")
    parser.add_argument("--profile", type=Path, default=None, help="write cProfile's figures of the loop there")
    asked = parser.parse_args()
    logs.configure("bench", level="warning")
    work = Path(tempfile.mkdtemp(prefix="wardgate-bench-", dir=asked.folder))
    try:
        found = uvloop.run(_run(asked, work))
    finally:
        shutil.rmtree(work)
    print("µs of CPU per command", *(f"{way:>9}" for way in asked.ways))
    for size in asked.sizes:
        print(
            f"batches of {size:<10}", *(f"{statistics.median(found[way, size]):9.1f}" for way in asked.ways), flush=True
        )


if __name__ == "__main__":
    main()

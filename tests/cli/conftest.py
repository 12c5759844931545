"""The command line as people run it: its own process, against a real control plane on a port, which can go away."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from wardgate.control.audit_log import Cause
from wardgate.control.db import Base, Database
from wardgate.control.db.engine import sqlite_url
from wardgate.control.identity.passwords import Cost, PasswordHasher
from wardgate.control.services import install, open_services
from wardgate.control.settings import DoorSettings, Settings
from wardgate.control.sources import Sources
from wardgate.control.vault import MasterKey
from wardgate.control.web import create_app
from wardgate.secret import Secret

from ..control.conftest import ADMIN_EMAIL, PASSWORD, Clock, Control
from ..control.records.conftest import make_session, recorded

__all__ = ["make_session", "recorded"]


@dataclass
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(eq=False)
class Live:
    """One installation on a port. `stop` and `start` are an outage."""

    control: Control
    port: int
    config: Path
    token: str = ""
    _server: uvicorn.Server | None = None
    _serving: asyncio.Task[None] | None = None
    _processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.setblocking(False)
        config = uvicorn.Config(
            self.control.app, lifespan="off", log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0)

    async def stop(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.should_exit = self._server.force_exit = True
            await self._serving
            self._server = self._serving = None

    async def begin(self, *arguments: str, piped: bool = False) -> asyncio.subprocess.Process:
        """Start a command."""
        environment = {
            **os.environ,
            "WARDGATE_CONFIG_DIR": str(self.config),
            "WARDGATE_DOMAIN": f"http://127.0.0.1:{self.port}",
            "WARDGATE_TOKEN": self.token,
            "COLUMNS": "200",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "wardgate", *arguments,
            stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=environment,
        )  # fmt: skip
        self._processes.append(process)
        return process

    async def run(self, *arguments: str, stdin: str | None = None) -> Ran:
        """Run a command to its end."""
        process = await self.begin(*arguments, piped=stdin is not None)
        out, err = await process.communicate(None if stdin is None else stdin.encode())
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def close(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        self.control.services.stopping.set()
        await self.stop()
        await self.control.services.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def live(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    monkeypatch.setenv("WARDGATE_PRIVATE_HOSTS", "localhost,127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = sqlite_url(tmp_path / "wardgate.db")
    database = Database(url)
    await database.run(Base.metadata.create_all)
    settings = Settings(
        tmp_path, f"http://127.0.0.1:{port}", DoorSettings(hosts=frozenset({f"127.0.0.1:{port}", "127.0.0.1:8400"}))
    )
    hasher = PasswordHasher(Cost(memory_kib=8, iterations=1))
    sources, master = Sources(now=clock), MasterKey.of(bytes(range(32)))
    await install(
        database, master, organisation="test", admin_email=ADMIN_EMAIL, admin_password=Secret(PASSWORD),
        sources=sources, hasher=hasher,
    )  # fmt: skip
    services = await open_services(settings, database, [master], sources=sources, hasher=hasher)
    found = Live(Control(services, create_app(services), clock, tmp_path, url, None), port, tmp_path / "config")
    tokens = await services.identity.login(ADMIN_EMAIL, Secret(PASSWORD), Cause("test", address="192.0.2.1"))
    found.token = tokens.access_token
    await found.start()
    yield found
    await found.close()


@pytest.fixture
def control(live: Live) -> Control:
    """What sessions are recorded in: the installation that the command line reaches."""
    return live.control

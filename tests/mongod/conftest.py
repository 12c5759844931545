"""A gateway in miniature: data streams over loopback TCP to a real MongoDB, on an event loop of their own thread.

What the local proxy, the tunnel and the spool do is left out: each accepted connection is a data stream whose preface
was read already, and records go to memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import uvloop

from wardgate.api.machine import MongoTarget
from wardgate.audit.records import CommandIntent, CommandOutcome, Record
from wardgate.gateway.mongo.login import Login
from wardgate.gateway.mongo.target import Target
from wardgate.gateway.mongo.topology import TopologyMonitor
from wardgate.gateway.spares import Spares
from wardgate.gateway.stream import DataStream, SessionLinks
from wardgate.policy.decide import Policy
from wardgate.proxy.facts import SessionRules
from wardgate.proxy.work import WorkLog
from wardgate.secret import Secret
from wardgate.testing.mongo import Login as MongoUser
from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.recorder import MemoryRecorder
from wardgate.tunnel.frames import Open, encode
from wardgate.wire.login import LoginKeys

T = TypeVar("T")
SESSION = "ses_01k00000000000000000000000"


class _Accepted(asyncio.Protocol):
    def __init__(self, gateway: Gateway, member: str | None) -> None:
        self._gateway = gateway
        self._member = member

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._gateway.accept(cast("asyncio.Transport", transport), self._member)


class Gateway:
    """Use as a context manager; `uri` leads to the main port, `ports` to each member's own."""

    def __init__(
        self,
        deployment: MongoDeployment,
        user: MongoUser | None = None,
        *,
        policy: Policy | None = None,
        session_password: str | None = None,
        password: str | None = None,
        options: dict[str, Any] | None = None,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
    ) -> None:
        self.deployment = deployment
        self.user = user or deployment.root
        self.recorder = MemoryRecorder()
        self.streams: set[DataStream] = set()
        self.ended: list[DataStream] = []
        self.failures: list[str] = []
        self.main_port = 0
        self.ports: dict[str, int] = {}
        self._policy = policy or Policy(allow_admin=True)
        self._options = options or {}
        self._session_password = Secret(session_password) if session_password is not None else None
        self._password = Secret(password if password is not None else self.user.password)
        self._count = 0
        self._servers: list[asyncio.Server] = []
        self._transports: list[asyncio.Transport] = []
        self._loop = new_loop()
        self._closing = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway", daemon=True)

    @property
    def uri(self) -> str:
        """What a person is given."""
        return f"mongodb://127.0.0.1:{self.main_port}/"

    @property
    def records(self) -> list[Record]:
        """Everything recorded so far."""
        return list(self.recorder.records)

    def commands(self) -> list[tuple[CommandIntent, list[CommandOutcome]]]:
        """Each intent with its outcomes."""
        found: dict[int, tuple[CommandIntent, list[CommandOutcome]]] = {}
        for seq, record in enumerate(self.records, 1):
            if isinstance(record, CommandIntent):
                found[seq] = (record, [])
            elif isinstance(record, CommandOutcome):
                found[record.intent_seq][1].append(record)
        return list(found.values())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the gateway's loop and wait."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def call(self, function: Callable[[], T]) -> T:
        """Call on the gateway's loop and wait."""

        async def calling() -> T:
            return function()

        return self.do(calling())

    def end(self, reason: str | None) -> None:
        """The session ends."""

        async def ending() -> None:
            for stream in list(self.streams):
                stream.end(reason)

        self.do(ending())

    def topology_changed(self) -> None:
        """As the session does it: every stream looks for itself."""
        for stream in list(self.streams):
            stream.topology_changed()

    def accept(self, transport: asyncio.Transport, member: str | None) -> None:
        """A local proxy's connection, as the tunnel would hand it over."""
        self._transports.append(transport)
        if self._closing:
            transport.abort()
            return
        self._count += 1
        preface = encode(Open(member=member, local=f"127.0.0.1:{self.main_port}"))
        links = self.links
        self.streams.add(DataStream(self._count, transport, preface, links, peer="127.0.0.1:1", on_end=self._end))

    def _end(self, stream: DataStream) -> None:
        self.streams.discard(stream)
        self.ended.append(stream)

    def __enter__(self) -> Gateway:
        self._thread.start()
        self.do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        self._sockets_before = _sockets()
        shape = self.deployment.shape
        target = Target.of(
            MongoTarget(
                hosts=[("127.0.0.1", member.port) for member in self.deployment.members],
                set_name=shape.set_name,
                tls=shape.tls,
                reject_unauthorized=True,
                ca_certificate=self.deployment.ca.pem if self.deployment.ca is not None else None,
                auth_database=self.user.auth_db,
                options=self._options,
            )
        )
        login = Login(self.user.username, self._password, self.user.auth_db)
        self.monitor = TopologyMonitor(target, login=login)
        self.monitor.start()
        self.spares = Spares(target, login)
        self.links = SessionLinks(
            session=SESSION,
            user="ann@example.com",
            recorder=self.recorder,
            rules=SessionRules(
                policy=self._policy,
                work=WorkLog(),
                login_keys=LoginKeys(os.urandom, self._session_password),
                random=os.urandom,
            ),
            target=target,
            monitor=self.monitor,
            login=login,
            spares=self.spares,
            on_recording_failed=self.failures.append,
        )
        self.main_port = await self._listen(None)
        with contextlib.suppress(Exception):  # an unreachable deployment is for the test to see
            await self.monitor.wait_primary(5)
        for member in self.monitor.topology.members:
            self.ports[member.address] = await self._listen(member.address)
        self.links.listeners = {address: f"127.0.0.1:{port}" for address, port in self.ports.items()}
        self.monitor.subscribe(self.spares.topology_changed)
        self.monitor.subscribe(lambda _: self.topology_changed())

    async def _listen(self, member: str | None) -> int:
        server = await self._loop.create_server(lambda: _Accepted(self, member), "127.0.0.1", 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _close(self) -> None:
        self._closing = True
        while any("_accept_connection" in repr(task.get_coro()) for task in asyncio.all_tasks()):
            await asyncio.sleep(0)  # a socket that asyncio is just taking is never closed if its server closes before
        for server in self._servers:
            server.close()
        for stream in list(self.streams):
            stream.abort()
        self.spares.close()
        await self.monitor.close()
        dials = asyncio.all_tasks() - {asyncio.current_task()}
        for task in dials:
            task.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        assert not [each for each in self._transports if not each.is_closing()]
        for transport in self._transports:
            transport.abort()
        await self._quiet()
        assert not self.streams

    async def _quiet(self) -> None:
        """Until every socket is closed: one that closes politely would outlive the loop and fail a later test."""
        selector = getattr(self._loop, "_selector", None)  # asyncio's loops only; of uvloop's the sockets are counted
        for _ in range(400):
            await asyncio.sleep(0.005)
            if selector is not None and len(selector.get_map()) <= 1:  # the loop's own self-pipe is left
                return
            if selector is None and _sockets() <= self._sockets_before:
                return


def _sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found += str(each.readlink()).startswith("socket:")
    return found


Gateways = Callable[..., contextlib.AbstractContextManager[Gateway]]


@pytest.fixture
def gateway() -> Gateways:
    """Makes a gateway before a deployment: `with gateway(deployment, user, policy=…) as it`."""
    return Gateway


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def standalone(request: pytest.FixtureRequest, mongod_standalone: MongoDeployment) -> Iterator[Gateway]:
    """Before a standalone with TLS and SCRAM, on both event loops."""
    with Gateway(mongod_standalone, new_loop=request.param) as gateway:
        yield gateway


@pytest.fixture
def rs1(mongod_rs1: MongoDeployment) -> Iterator[Gateway]:
    """Before a replica set of one member with TLS and SCRAM."""
    with Gateway(mongod_rs1) as gateway:
        yield gateway


@pytest.fixture
def mongod_own() -> Iterator[MongoDeployment]:
    """One that a test may hurt."""
    with MongoDeployment() as deployment:
        yield deployment

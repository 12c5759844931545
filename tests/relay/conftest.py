"""A whole tunnel in one event loop: relay, gateway door with an echo behind it, and diallers, on real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import pytest
import uvloop

from wardgate.api.machine import RelayAddress
from wardgate.api.models import Route
from wardgate.gateway.tunnel.listener import TunnelListener, TunnelStream
from wardgate.ids import Kind
from wardgate.net import fresh
from wardgate.net.machine import MachineIdentity
from wardgate.net.stream import Stream, StreamDialler
from wardgate.numbers import DEFAULT, Numbers
from wardgate.relay.server import RelayServer
from wardgate.testing.pki import Pki
from wardgate.tunnel.names import peer_certificate
from wardgate.tunnel.route import make_token, server_name

KEY = bytes(range(32))


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test runs on both loops: their TLS is not the same code."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Echo(asyncio.Protocol):
    """Sends back what it gets; remembers how it ended."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.received = bytearray()
        self.lost = asyncio.Event()
        self.error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass

    def data_received(self, data: bytes) -> None:
        self.received += data
        assert self.transport is not None
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.lost.set()


class Collector(asyncio.Protocol):
    """A client: keeps what comes back."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost = asyncio.Event()
        self.error: Exception | None = None
        self._wanted: tuple[int, asyncio.Future[None]] | None = None

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self._wanted is not None and len(self.received) >= self._wanted[0] and not self._wanted[1].done():
            self._wanted[1].set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.lost.set()
        if self._wanted is not None and not self._wanted[1].done():
            self._wanted[1].set_exception(exc or ConnectionResetError())

    async def until(self, size: int) -> bytes:
        if len(self.received) < size:
            self._wanted = (size, asyncio.get_running_loop().create_future())
            await self._wanted[1]
        return bytes(self.received)


@dataclass
class Lab:
    """The parts, and how to make more of them."""

    pki: Pki
    relay: RelayServer
    relay_address: RelayAddress
    door: TunnelListener
    gateway: MachineIdentity
    numbers: Numbers
    streams: list[TunnelStream] = field(default_factory=list)
    echoes: list[Echo] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    doors: list[TunnelListener] = field(default_factory=list)

    @property
    def gateway_id(self) -> str:
        return self.gateway.id

    async def another_instance(self) -> str:
        """A second instance of the gateway, connected, whose streams nobody reads; its tag."""
        identity = self.pki.machine("gateway", "near-db", self.gateway_id)
        door = TunnelListener(identity, authorise=lambda *_: None, handler=self.streams.append, numbers=self.numbers)
        self.doors.append(door)
        door.set_relays([self.relay_address])
        assert await door.wait_connected(5)
        return peer_certificate(identity.certificate).tag

    def sni(self, session_id: str, gateway_id: str | None = None, key: bytes = KEY, until: float | None = None) -> str:
        gateway_id = gateway_id or self.gateway_id
        expiry = int(until if until is not None else time.time() + 600)
        return server_name(make_token(key, session_id, gateway_id, expiry), gateway_id)

    def route(self, session_id: str, **changed: str) -> Route:
        facts = {"name": "r1", "address": self.relay_address.address, "sni": self.sni(session_id), **changed}
        return Route(kind="relay", **facts)

    def dialler(
        self,
        session_id: str,
        *,
        routes: list[Route] | None = None,
        gateway_id: str | None = None,
        certificate_gateway: str | None = None,
        not_after: datetime | None = None,
    ) -> StreamDialler:
        credentials = self.pki.session(session_id, certificate_gateway or self.gateway_id, not_after)
        return StreamDialler(
            routes or [self.route(session_id)],
            gateway_id or self.gateway_id,
            self.pki.trust["gateways"],
            credentials,
            self.numbers,
        )

    async def echo(self, stream: Stream, data: bytes) -> bytes:
        """What comes back for `data`; the stream stays open."""
        collector = Collector()
        transport = stream.switch(collector)
        transport.write(data)
        answer = await collector.until(len(data))
        transport.abort()
        return answer


def new_session() -> str:
    return fresh.new_id(Kind.SESSION)


@pytest.fixture
def session_id() -> str:
    return new_session()


LabMaker = Callable[..., Awaitable[Lab]]


@pytest.fixture
async def make_lab() -> AsyncIterator[LabMaker]:
    labs: list[Lab] = []

    async def make(numbers: Numbers = DEFAULT, *, connected: bool = True) -> Lab:
        pki = Pki.make()
        gateway, relay_identity = pki.machine("gateway", "near-db"), pki.machine("relay", "r1")
        relay = RelayServer(relay_identity.credentials, pki.trust["gateways"], KEY, numbers)
        address = RelayAddress(id=relay_identity.id, name="r1", address=relay.listen("127.0.0.1", 0))
        lab: Lab

        def handle(stream: TunnelStream) -> None:
            echo = Echo()
            lab.streams.append(stream)
            lab.echoes.append(echo)
            stream.switch(echo)

        def authorise(session: str, alpn: str, certificate: bytes) -> str | None:
            return lab.refuse.get(session)

        door = TunnelListener(gateway, authorise=authorise, handler=handle, numbers=numbers)
        lab = Lab(pki, relay, address, door, gateway, numbers)
        labs.append(lab)
        if connected:
            door.set_relays([address])
            assert await door.wait_connected(5)
        return lab

    yield make
    for lab in labs:
        for echo in lab.echoes:
            if echo.transport is not None:
                echo.transport.abort()
        for door in (lab.door, *lab.doors):
            await door.close()
        await lab.relay.close()


@pytest.fixture
async def lab(make_lab: LabMaker) -> Lab:
    return await make_lab()

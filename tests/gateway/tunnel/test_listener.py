"""The gateway's door on its direct route: the same questions as behind a relay, from anybody's address."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from wardgate.api.models import Route
from wardgate.gateway.tunnel.listener import TunnelListener, TunnelStream
from wardgate.ids import Kind
from wardgate.net import dial, fresh
from wardgate.net.machine import MachineIdentity
from wardgate.net.stream import StreamDialler, TunnelError
from wardgate.net.tls import client_context
from wardgate.numbers import DEFAULT, Numbers
from wardgate.testing.pki import Pki
from wardgate.tunnel import frames
from wardgate.tunnel.names import DATA_ALPN


@dataclass
class Door:
    pki: Pki
    gateway: MachineIdentity
    numbers: Numbers
    streams: asyncio.Queue[TunnelStream] = field(default_factory=asyncio.Queue)
    address: str = ""
    listener: TunnelListener | None = None

    async def open(self) -> None:
        self.listener = TunnelListener(
            self.gateway, authorise=lambda *_: None, handler=self.streams.put_nowait, numbers=self.numbers
        )
        self.address = await self.listener.listen("127.0.0.1", 0)

    def dialler(self, session_id: str) -> StreamDialler:
        route = Route(kind="direct", name="direct", address=self.address, sni="direct.example")
        credentials = self.pki.session(session_id, self.gateway.id)
        return StreamDialler([route], self.gateway.id, self.pki.trust["gateways"], credentials)

    def statistics(self) -> dict[str, Any]:
        assert self.listener is not None
        return self.listener.statistics()


@pytest.fixture
async def make_door() -> AsyncIterator[Any]:
    made = []

    async def make(numbers: Numbers = DEFAULT) -> Door:
        pki = Pki.make()
        door = Door(pki, pki.machine("gateway", "near-db"), numbers)
        await door.open()
        made.append(door)
        return door

    yield make
    for door in made:
        assert door.listener is not None
        while not door.streams.empty():
            door.streams.get_nowait().take()[0].abort()
        await door.listener.close()


class Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = bytearray()
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class Buffered(asyncio.BufferedProtocol):
    """As the data path is: reads into a small buffer of its own."""

    def __init__(self) -> None:
        self._buffer = bytearray(7)
        self.received = bytearray()
        self.lost = asyncio.Event()
        self.made = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made = True

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self._buffer[:nbytes]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("size", [10, 200_000])
@pytest.mark.parametrize("protocol", [Client, Buffered])
async def test_nothing_that_came_before_the_switch_is_lost(make_door: Any, size: int, protocol: Any) -> None:
    """The client speaks and leaves at once; the gateway looks at the stream only later."""
    door = await make_door()
    session = fresh.new_id(Kind.SESSION)
    transport = (await door.dialler(session).open(DATA_ALPN)).switch(Client())
    data = frames.encode(frames.Open(local="127.0.0.1:1")) + bytes(size)
    transport.write(data)
    stream = await door.streams.get()
    await asyncio.sleep(0.02)
    server = protocol()
    stream.switch(server)
    await until(lambda: len(server.received) == len(data))
    assert server.received == data
    transport.close()
    await server.lost.wait()


async def test_an_end_before_the_switch_is_told_after_it(make_door: Any) -> None:
    door = await make_door()
    transport = (await door.dialler(fresh.new_id(Kind.SESSION)).open(DATA_ALPN)).switch(Client())
    transport.write(b"last words")
    transport.close()
    stream = await door.streams.get()
    await until(lambda: stream.early.lost)
    server = Client()
    stream.switch(server)
    await server.lost.wait()
    assert server.received == b"last words"


async def test_a_stalled_handshake_is_cut_and_half_open_peers_are_capped(make_door: Any) -> None:
    door = await make_door(replace(DEFAULT, tls_handshake=0.4, half_open_per_address=2))
    stalled = []
    for _ in range(3):
        sock = await dial.connect(door.address, 5)
        sock.send(b"\x16\x03\x01")
        stalled.append(sock)
    await until(lambda: door.statistics()["refused"].get("too_many_half_open") == 1)
    assert door.statistics()["half_open"] == 2
    await until(lambda: door.statistics()["refused"].get("handshake_failed") == 2)
    assert door.statistics()["half_open"] == 0
    for sock in stalled:
        sock.close()


async def test_only_tls_1_3_is_spoken(make_door: Any) -> None:
    door = await make_door()
    credentials = door.pki.session(fresh.new_id(Kind.SESSION), door.gateway.id)
    context = client_context(credentials, door.pki.trust["gateways"], [DATA_ALPN])
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    host, port = dial.split_address(door.address)
    with pytest.raises(OSError):  # an alert or a cut; asyncio's servers mostly cut
        await asyncio.get_running_loop().create_connection(Client, host, port, ssl=context, server_hostname="x")


async def test_no_certificate_no_stream(make_door: Any) -> None:
    door = await make_door()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([DATA_ALPN])
    host, port = dial.split_address(door.address)
    client = Client()
    await asyncio.get_running_loop().create_connection(lambda: client, host, port, ssl=context, server_hostname="x")
    await client.lost.wait()
    assert door.streams.empty()


async def test_a_renewed_identity_is_presented(make_door: Any) -> None:
    door = await make_door()
    renewed = door.pki.machine("gateway", "near-db", door.gateway.id)
    door.listener.set_identity(renewed)
    stream = await door.dialler(fresh.new_id(Kind.SESSION)).open(DATA_ALPN)
    transport = stream.switch(Client())
    shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert shown == renewed.certificate
    transport.abort()


async def test_a_closed_door_is_closed(make_door: Any) -> None:
    door = await make_door()
    await door.listener.close()
    with pytest.raises(TunnelError):
        await door.dialler(fresh.new_id(Kind.SESSION)).open(DATA_ALPN)

"""What an attempt that failed says of its route, with sockets."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from wardgate.api.models import Route
from wardgate.net.stream import StreamDialler, TunnelError
from wardgate.testing.pki import Pki


async def _failed_through(pki: Pki, answer: bytes) -> tuple[str, list[str]]:
    """The code of the failure through a direct place that says `answer` to a ClientHello and hangs up; then the order
    of the ways once that place takes connections again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    gateway = pki.machine("gateway", "near-db")
    direct = Route(kind="direct", name="near-db", address=f"{host}:{port}", sni="direct.example")
    relay = Route(kind="relay", name="east", address="127.0.0.1:1", sni="relay.example")  # nothing listens there
    dialler = StreamDialler(
        [direct, relay], gateway.id, pki.trust["gateways"], pki.session("ses_" + "0" * 26, gateway.id)
    )
    async with server:
        with pytest.raises(TunnelError):
            await dialler.open("wardgate-ctl/1")
        with pytest.raises(TunnelError) as alone:
            await StreamDialler(
                [direct], gateway.id, pki.trust["gateways"], pki.session("ses_" + "0" * 26, gateway.id)
            ).open("wardgate-ctl/1")
    dialler.book.measured(direct, 0.001)
    dialler.book.measured(relay, 0.001)
    return alone.value.code, [route.name for route in dialler.book.order(monotonic())]


async def test_a_place_whose_process_died_under_a_handshake_is_back_when_it_takes_connections() -> None:
    assert await _failed_through(Pki.make(), b"") == ("gateway_unreachable", ["near-db", "east"])


async def test_a_place_that_answered_that_it_leads_nowhere_is_not_back_because_it_takes_connections() -> None:
    internal_error = bytes([21, 3, 3, 0, 2, 2, 80])  # a fatal TLS alert
    assert await _failed_through(Pki.make(), internal_error) == ("gateway_not_answering", ["east", "near-db"])

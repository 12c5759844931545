"""Dialling: which address is connected to, and what each kind of TLS trouble is called. On both event loops."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wardgate.gateway.mongo.connection import _interleaved, connect, dial, resolve
from wardgate.gateway.mongo.errors import Code, MongoError
from wardgate.gateway.mongo.names import Endpoint
from wardgate.testing.certificates import CertificateAuthority
from wardgate.testing.ports import free_ports

TargetOf = Callable[..., Any]
StartServer = Callable[..., Any]

CA = CertificateAuthority.create()
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class Lines(asyncio.Protocol):
    """What a data stream does: takes the transport first and the bytes later."""

    def __init__(self) -> None:
        self.made = asyncio.Event()
        self.received = asyncio.Queue[bytes]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.set()

    def data_received(self, data: bytes) -> None:
        self.received.put_nowait(data)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.transport.abort()


async def web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def code_of(target: Any, address: str) -> str:
    with pytest.raises(MongoError) as caught:
        await dial(target, address, Lines)
    assert str(caught.value)[-1] in ".?"
    assert caught.value.code in set(Code)
    return caught.value.code


@pytest.mark.parametrize("tls", [True, False])
async def test_the_protocol_can_be_switched(target_of: TargetOf, start_server: StartServer, tls: bool) -> None:
    address = await start_server(echo, pem=CA.issue() if tls else None)
    transport, first = await dial(target_of(address, tls=tls, ca_certificate=CA.pem), address, Lines)
    assert first.made.is_set()
    second = Lines()
    transport.set_protocol(second)
    transport.write(b"hello")
    assert await second.received.get() == b"hello"
    transport.abort()


@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        ({}, None),
        ({"names": ["localhost"]}, "tls_hostname"),
        ({"names": ["127.0.0.2"]}, "tls_hostname"),
        ({"not_before": LONG_AGO, "not_after": LONG_AGO + timedelta(days=9)}, "tls_expired"),
        ({"not_before": datetime.now(UTC) + timedelta(days=1)}, "tls_not_yet_valid"),
    ],
)
async def test_certificates(
    target_of: TargetOf, start_server: StartServer, certificate: dict[str, Any], code: str | None
) -> None:
    address = await start_server(echo, pem=CA.issue(**certificate))
    target = target_of(address, tls=True, ca_certificate=CA.pem)
    if code is not None:
        assert await code_of(target, address) == code
    unverified = target_of(address, tls=True, reject_unauthorized=False)
    for allowed in [unverified, *([target] if code is None else [])]:
        transport, _ = await dial(allowed, address, Lines)
        transport.abort()


async def test_untrusted_authorities(target_of: TargetOf, start_server: StartServer) -> None:
    address = await start_server(echo, pem=CA.issue())
    assert await code_of(target_of(address, tls=True), address) == "tls_untrusted"
    other = CertificateAuthority.create().pem
    assert await code_of(target_of(address, tls=True, ca_certificate=other), address) == "tls_untrusted"


async def test_names_are_checked_against_the_dialled_host(target_of: TargetOf, start_server: StartServer) -> None:
    address = await start_server(echo, pem=CA.issue(["localhost"]))
    named = f"localhost:{address.rpartition(':')[2]}"
    transport, _ = await dial(target_of(named, tls=True, ca_certificate=CA.pem), named, Lines)
    transport.abort()


@pytest.mark.parametrize(
    ("handler", "codes"),
    [
        (hang, {"tls_timeout"}),
        (slam, {"tls_failed"}),
        (web_server, {"tls_not_spoken"}),
    ],
)
async def test_what_is_no_tls(target_of: TargetOf, start_server: StartServer, handler: Any, codes: set[str]) -> None:
    address = await start_server(handler)
    assert await code_of(target_of(address, tls=True), address) in codes


async def test_old_tls_only(target_of: TargetOf, start_server: StartServer) -> None:
    async def tls_1_0_alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x15\x03\x01\x00\x02\x02\x46")  # alert: protocol_version

    address = await start_server(tls_1_0_alert)
    assert await code_of(target_of(address, tls=True), address) == "tls_failed"


async def test_client_certificate_demanded_in_the_handshake(target_of: TargetOf, start_server: StartServer) -> None:
    address = await start_server(echo, pem=CA.issue(), client_ca=CA.pem, newest=ssl.TLSVersion.TLSv1_2)
    assert await code_of(target_of(address, tls=True, ca_certificate=CA.pem), address) in {
        "tls_failed",
        "tls_client_certificate",
    }


async def test_nothing_listens(target_of: TargetOf) -> None:
    (port,) = free_ports(1)
    assert await code_of(target_of(f"127.0.0.1:{port}"), f"127.0.0.1:{port}") == "tcp_refused"


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("nowhere.invalid:1", "dns_failed"),
        (f"{'a' * 70}.invalid:1", "dns_failed"),
        ("169.254.169.254:80", "address_refused"),
        ("2852039166:80", "address_refused"),
        ("0xa9.0xfe.0xa9.0xfe:80", "address_refused"),
        ("[::ffff:169.254.169.254]:80", "address_refused"),
        ("0.0.0.0:27017", "address_refused"),
    ],
)
async def test_addresses_that_are_not_dialled(target_of: TargetOf, address: str, code: str) -> None:
    assert await code_of(target_of("127.0.0.1:1"), address) == code


async def test_a_name_that_leads_to_both_kinds_is_dialled_at_the_good_one(
    target_of: TargetOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 1)) for ip in ("169.254.169.254", "127.0.0.1")]

    loop = _Loop(getaddrinfo)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    monkeypatch.setattr(asyncio, "timeout", _NoTimeout)
    found = await resolve(target_of("127.0.0.1:1"), "rebinding.example:1")
    assert found == [Endpoint(socket.AF_INET, ("127.0.0.1", 1))]


class _Loop:
    """A loop with a resolver of the test's own; a real loop's attributes can't be replaced on uvloop."""

    def __init__(self, getaddrinfo: Any) -> None:
        self.getaddrinfo = getaddrinfo


class _NoTimeout:
    """asyncio.timeout asks for the loop that is replaced."""

    def __init__(self, _: float) -> None: ...

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


async def test_a_dead_address_beside_a_live_one(target_of: TargetOf, start_server: StartServer) -> None:
    address = await start_server(echo)
    live = int(address.rpartition(":")[2])
    (dead,) = free_ports(1)
    endpoints = [Endpoint(socket.AF_INET, ("127.0.0.1", port)) for port in (dead, live)]
    sock = await connect(target_of(address), address, endpoints)
    assert sock.getpeername()[1] == live
    sock.close()


async def test_a_silent_address_does_not_hold_up_a_live_one(target_of: TargetOf, start_server: StartServer) -> None:
    """A listener with a full backlog drops what comes, as a firewall does."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [_half_open(full.getsockname()) for _ in range(4)]
        address = await start_server(echo)
        endpoints = [Endpoint(socket.AF_INET, each) for each in (full.getsockname(), ("127.0.0.1", _port(address)))]
        sock = await connect(target_of(address), address, endpoints)
        assert sock.getpeername()[1] == _port(address)
        sock.close()
        with pytest.raises(MongoError) as caught:
            await connect(target_of(address), address, endpoints[:1])
        assert caught.value.code == "tcp_timeout"
        for each in waiting:
            each.close()


def _half_open(address: Any) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(address)
    return sock


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


async def test_families_take_turns() -> None:
    four = [Endpoint(socket.AF_INET, (f"10.0.0.{n}", 1)) for n in range(3)]
    six = [Endpoint(socket.AF_INET6, (f"fd00::{n}", 1, 0, 0)) for n in range(1)]
    assert _interleaved([*six, *four]) == [six[0], *four]
    assert _interleaved([*four, *six]) == [four[0], six[0], *four[1:]]


async def test_a_cancelled_dial_leaves_no_socket(target_of: TargetOf, start_server: StartServer) -> None:
    gone = asyncio.Event()
    arrived = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        arrived.set()
        try:
            await reader.read()
        finally:
            gone.set()

    address = await start_server(stall)
    attempt = asyncio.create_task(dial(target_of(address, tls=True), address, Lines))
    await arrived.wait()
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    await gone.wait()

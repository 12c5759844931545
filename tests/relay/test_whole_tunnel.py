"""Local proxy → relay → gateway over real sockets: what gets through, what does not, and what is said about it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wardgate.api.machine import RelayAddress
from wardgate.ids import Kind
from wardgate.net import dial, fresh
from wardgate.net.stream import Stream, StreamDialler, TunnelError, WarmStreams
from wardgate.net.tls import client_context
from wardgate.numbers import DEFAULT
from wardgate.tunnel import dialback, frames
from wardgate.tunnel.names import CONTROL_ALPN, DATA_ALPN, RELAY_ALPN, RELAY_NAME, peer_certificate


async def test_bytes_come_back_unchanged(lab: Any, session_id: str) -> None:
    data = os.urandom(3_000_000)
    stream = await lab.dialler(session_id).open(DATA_ALPN)
    assert await lab.echo(stream, data) == data
    accepted = lab.streams[0]
    assert (accepted.session_id, accepted.alpn) == (session_id, DATA_ALPN)
    assert accepted.not_after > datetime.now(UTC)


async def test_two_hundred_streams_at_once(lab: Any, session_id: str) -> None:
    dialler = lab.dialler(session_id)

    async def one(number: int) -> None:
        data = number.to_bytes(4, "big") * 5000
        assert await lab.echo(await dialler.open(DATA_ALPN), data) == data

    await asyncio.gather(*(one(number) for number in range(200)))
    assert len(lab.streams) == 200
    assert lab.relay.statistics()["refused"] == {}


async def test_the_relay_can_read_nothing(lab: Any, session_id: str) -> None:
    """All bytes of all connections at the relay's port, recorded by a double in its place."""
    recorded = bytearray()
    host, port = dial.split_address(lab.relay_address.address)

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(host, port)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                recorded.extend(data)
                target.write(data)
                await target.drain()
            target.close()

        await asyncio.gather(copy(reader, upstream_writer), copy(upstream_reader, writer), return_exceptions=True)

    double = await asyncio.start_server(record, "127.0.0.1", 0)
    address = double.sockets[0].getsockname()
    routes = [lab.route(session_id, address=f"127.0.0.1:{address[1]}")]
    secret = b"the quick brown fox " * 100
    stream = await lab.dialler(session_id, routes=routes).open(DATA_ALPN)
    assert await lab.echo(stream, secret) == secret
    double.close()
    assert len(recorded) > 4000
    assert b"quick brown" not in recorded
    assert session_id.encode() not in recorded


# --- certificates ---------------------------------------------------------------------------------------------------


async def refused(lab: Any, dialler: StreamDialler, alpn: str = DATA_ALPN) -> TunnelError:
    """Why a stream that seemed established was lost, as the local proxy would say it."""
    stream = await dialler.open(alpn)
    lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    class Waiting(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            if not lost.done():
                lost.set_result(exc)

    stream.switch(Waiting())
    return stream.why_lost(await lost)


async def test_an_expired_certificate_is_refused(lab: Any, session_id: str) -> None:
    dialler = lab.dialler(session_id, not_after=datetime.now(UTC) - timedelta(seconds=2))
    error = await refused(lab, dialler)
    assert error.code == "stream_refused"
    assert lab.streams == []
    assert lab.door.statistics()["refused"] == {"handshake_failed": 1}


async def test_a_certificate_for_another_gateway_is_refused(lab: Any, session_id: str) -> None:
    await refused(lab, lab.dialler(session_id, certificate_gateway=fresh.new_id(Kind.GATEWAY)))
    assert lab.streams == []
    assert lab.door.statistics()["refused"] == {"certificate_for_another_gateway": 1}


async def test_a_certificate_of_one_session_opens_no_other(lab: Any, session_id: str) -> None:
    """The route says one session, the certificate another: the certificate alone counts."""
    other = fresh.new_id(Kind.SESSION)
    lab.refuse[session_id] = "it has ended"
    dialler = lab.dialler(session_id, routes=[lab.route(other)])
    await refused(lab, dialler)
    assert lab.streams == []


async def test_a_gateways_certificate_is_no_clients(lab: Any, session_id: str) -> None:
    gateway = lab.pki.machine("gateway", "evil")
    dialler = StreamDialler([lab.route(session_id)], lab.gateway_id, lab.pki.trust["gateways"], gateway.credentials)
    await refused(lab, dialler)
    assert lab.streams == []
    assert lab.door.statistics()["refused"] == {"handshake_failed": 1}


async def test_another_cas_certificate_is_refused(make_lab: Any, session_id: str) -> None:
    lab, other = await make_lab(), await make_lab(connected=False)
    credentials = other.pki.session(session_id, lab.gateway_id)
    dialler = StreamDialler([lab.route(session_id)], lab.gateway_id, lab.pki.trust["gateways"], credentials)
    await refused(lab, dialler)
    assert lab.door.statistics()["refused"] == {"handshake_failed": 1}


async def test_an_unknown_purpose_is_refused(lab: Any, session_id: str) -> None:
    with pytest.raises(TunnelError) as caught:
        await lab.dialler(session_id).open("wardgate-raw/1")
    assert caught.value.code == "gateway_mismatch"
    assert lab.streams == []


async def test_an_unauthorised_control_stream_hears_why(lab: Any, session_id: str) -> None:
    lab.refuse[session_id] = "it has ended"
    reader = frames.FrameReader(frames.TO_CLIENT)
    done = asyncio.Event()

    class Control(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            reader.feed(data)

        def connection_lost(self, exc: Exception | None) -> None:
            done.set()

    (await lab.dialler(session_id).open(CONTROL_ALPN)).switch(Control())
    await done.wait()
    frame = reader.next_frame()
    assert isinstance(frame, frames.Refused)
    assert frame.code == "session_refused"
    assert "it has ended" in frame.message


async def test_the_gateway_must_be_the_one_that_was_named(lab: Any, session_id: str) -> None:
    with pytest.raises(TunnelError) as caught:
        await lab.dialler(session_id, gateway_id=fresh.new_id(Kind.GATEWAY)).open(DATA_ALPN)
    assert caught.value.code == "gateway_mismatch"


async def test_a_gateway_of_another_ca_is_not_trusted(make_lab: Any, session_id: str) -> None:
    lab, other = await make_lab(), await make_lab(connected=False)
    credentials = lab.pki.session(session_id, lab.gateway_id)
    dialler = StreamDialler([lab.route(session_id)], lab.gateway_id, other.pki.trust["gateways"], credentials)
    with pytest.raises(TunnelError) as caught:
        await dialler.open(DATA_ALPN)
    assert caught.value.code == "gateway_mismatch"


# --- routes ---------------------------------------------------------------------------------------------------------


async def opening_fails(lab: Any, session_id: str, **route: str) -> TunnelError:
    with pytest.raises(TunnelError) as caught:
        await lab.dialler(session_id, routes=[lab.route(session_id, **route)]).open(DATA_ALPN)
    return caught.value


async def test_a_forged_route_is_refused(lab: Any, session_id: str) -> None:
    error = await opening_fails(lab, session_id, sni=lab.sni(session_id, key=bytes(32)))
    assert error.code == "route_refused"
    assert lab.relay.refused == {"route_forged": 1}


async def test_an_expired_route_is_refused(lab: Any, session_id: str) -> None:
    error = await opening_fails(lab, session_id, sni=lab.sni(session_id, until=1.0))
    assert error.code == "route_refused"
    assert lab.relay.refused == {"route_expired": 1}


async def test_a_route_to_an_absent_gateway_says_so(lab: Any, session_id: str) -> None:
    error = await opening_fails(lab, session_id, sni=lab.sni(session_id, gateway_id=fresh.new_id(Kind.GATEWAY)))
    assert error.code == "gateway_not_connected"
    assert "r1" in error.message


async def test_another_name_leads_nowhere(lab: Any, session_id: str) -> None:
    error = await opening_fails(lab, session_id, sni="example.com")
    assert error.code == "gateway_not_connected"
    assert lab.relay.refused == {"no_route": 1}


async def test_an_unreachable_relay_is_named(lab: Any, session_id: str) -> None:
    error = await opening_fails(lab, session_id, address="127.0.0.1:1")
    assert error.code == "relay_unreachable"
    assert "r1" in error.message
    assert "127.0.0.1:1" in error.message


async def test_the_next_route_is_tried_and_then_preferred(lab: Any, session_id: str) -> None:
    dead = lab.route(session_id, name="dead", address="127.0.0.1:1")
    dialler = lab.dialler(session_id, routes=[dead, lab.route(session_id)])
    first = await dialler.open(DATA_ALPN)
    second = await dialler.open(DATA_ALPN)
    assert (first.route.name, second.route.name) == ("r1", "r1")
    first.abort()
    second.abort()


async def test_a_withdrawn_session_gets_no_more_streams(lab: Any, session_id: str) -> None:
    dialler = lab.dialler(session_id)
    up = await dialler.open(DATA_ALPN)
    lab.door.withdraw(session_id, int(datetime.now(UTC).timestamp()) + 600)
    await until(lambda: lab.relay.statistics()["withdrawn"] == 1)
    with pytest.raises(TunnelError) as caught:
        await dialler.open(DATA_ALPN)
    assert caught.value.code == "route_refused"
    assert up.usable
    other = fresh.new_id(Kind.SESSION)
    assert await lab.echo(await lab.dialler(other).open(DATA_ALPN), b"still there") == b"still there"


async def test_a_new_relay_learns_of_older_withdrawals(make_lab: Any, session_id: str) -> None:
    lab = await make_lab(connected=False)
    lab.door.withdraw(session_id, int(datetime.now(UTC).timestamp()) + 600)
    lab.door.set_relays([lab.relay_address])
    assert await lab.door.wait_connected(5)
    await until(lambda: lab.relay.statistics()["withdrawn"] == 1)


async def test_streams_of_one_token_are_capped(make_lab: Any, session_id: str) -> None:
    lab = await make_lab(replace(DEFAULT, route_streams_per_token=2))
    dialler = lab.dialler(session_id)
    up = [await dialler.open(DATA_ALPN), await dialler.open(DATA_ALPN)]
    with pytest.raises(TunnelError) as caught:
        await dialler.open(DATA_ALPN)
    assert caught.value.code == "relay_busy"
    for stream in up:
        stream.abort()
    await until(lambda: lab.relay.streams == 0)
    (await dialler.open(DATA_ALPN)).abort()


# --- gateways and dial-backs ----------------------------------------------------------------------------------------


async def until(condition: Any) -> None:
    """Wait for what other tasks of this loop bring about; the test's own timeout is the limit."""
    while not condition():
        await asyncio.sleep(0.005)


async def test_idle_dial_backs_are_kept_ready(lab: Any, session_id: str) -> None:
    await until(lambda: lab.relay.statistics()["waiting"] == DEFAULT.dial_back_idle)
    stream = await lab.dialler(session_id).open(DATA_ALPN)
    await until(lambda: lab.relay.statistics()["waiting"] == DEFAULT.dial_back_idle)
    stream.abort()


async def test_without_idle_ones_a_dial_back_is_asked_for(make_lab: Any, session_id: str) -> None:
    lab = await make_lab(replace(DEFAULT, dial_back_idle=0))
    assert await lab.echo(await lab.dialler(session_id).open(DATA_ALPN), b"hello") == b"hello"


async def test_a_dial_back_that_never_comes_is_told(make_lab: Any, session_id: str) -> None:
    lab = await make_lab(replace(DEFAULT, dial_back=0.2), connected=False)
    control = await control_of(lab, lab.pki.machine("gateway", "lazy", lab.gateway_id))
    control.write(frames.encode(frames.Register(idle=0)))
    await until(lambda: lab.relay.gateways == [lab.gateway_id])
    error = await opening_fails(lab, session_id)
    assert error.code == "gateway_not_answering"
    control.abort()


async def control_of(lab: Any, identity: Any, alpn: str = RELAY_ALPN) -> asyncio.Transport:
    """A control connection with a certificate of our choice, and nobody reading it."""
    context = client_context(identity.credentials, lab.pki.trust["relays"], [alpn])
    host, port = dial.split_address(lab.relay_address.address)
    transport, _ = await asyncio.get_running_loop().create_connection(
        Stopper, host, port, ssl=context, server_hostname=RELAY_NAME
    )
    return transport


class Stopper(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.received = bytearray()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


@pytest.mark.parametrize("kind", ["session", "relay"])
async def test_only_gateways_register(lab: Any, session_id: str, kind: str) -> None:
    identity = lab.pki.machine("gateway", "evil")
    if kind == "session":
        credentials = lab.pki.session(session_id, lab.gateway_id)
    else:
        credentials = lab.pki.machine("relay", "evil").credentials

    class Wrong:
        pass

    wrong = Wrong()
    wrong.credentials = credentials  # type: ignore[attr-defined]
    before = list(lab.relay.gateways)
    try:
        transport = await control_of(lab, wrong)
    except (ssl.SSLError, OSError):
        return
    protocol = transport.get_protocol()
    assert isinstance(protocol, Stopper)
    await protocol.lost.wait()
    assert lab.relay.gateways == before
    assert identity.id not in lab.relay.gateways


async def test_a_revoked_gateway_is_cut_and_stays_out(lab: Any, session_id: str) -> None:
    stream = await lab.dialler(session_id).open(DATA_ALPN)
    lab.relay.set_revoked([lab.gateway_id])
    await until(lambda: not stream.usable)
    assert lab.relay.gateways == []
    control = await control_of(lab, lab.pki.machine("gateway", "same", lab.gateway_id))
    protocol = control.get_protocol()
    assert isinstance(protocol, Stopper)
    await protocol.lost.wait()
    assert lab.relay.gateways == []
    assert (await opening_fails(lab, session_id)).code == "gateway_not_connected"


async def test_a_newer_control_connection_replaces_the_older(lab: Any) -> None:
    again = await control_of(lab, lab.gateway)
    again.write(frames.encode(frames.Register(idle=0)))
    await until(lambda: lab.door.statistics()["relays"][0]["losses"] == 1)
    again.abort()


async def test_a_stream_reaches_the_instance_that_it_names(lab: Any, session_id: str) -> None:
    first, second = peer_certificate(lab.gateway.certificate).tag, await lab.another_instance()
    dialler = lab.dialler(session_id)
    for wanted in (first, second, first, second):
        stream = await dialler.open(DATA_ALPN, instance=wanted)
        assert stream.instance == wanted
        stream.abort()
    # Without a name it is one of them, and always the same.
    anywhere = {(await dialler.open(DATA_ALPN)).instance for _ in range(3)}
    assert len(anywhere) == 1
    with pytest.raises(TunnelError) as refused:
        await dialler.open(DATA_ALPN, instance="f" * 32)
    assert refused.value.code == "gateway_not_connected"


async def test_an_instance_that_is_revoked_is_cut_and_the_other_serves(lab: Any, session_id: str) -> None:
    first, second = peer_certificate(lab.gateway.certificate).tag, await lab.another_instance()
    dialler = lab.dialler(session_id)
    stream, other = await dialler.open(DATA_ALPN, instance=first), await dialler.open(DATA_ALPN, instance=second)
    lab.relay.set_revoked([], [first])
    await until(lambda: not stream.usable)
    assert other.usable
    assert (await dialler.open(DATA_ALPN)).instance == second


async def test_who_reads_a_token_off_the_wire_can_keep_out_that_session_only(make_lab: Any) -> None:
    lab = await make_lab(replace(DEFAULT, half_open_per_address=3))
    victim, other = fresh.new_id(Kind.SESSION), fresh.new_id(Kind.SESSION)
    sni = lab.sni(victim)  # one token: it holds its expiry, and a second one might be another second's
    hello = client_hello_of(sni)
    host, port = dial.split_address(lab.relay_address.address)
    held = [socket.create_connection((host, port)) for _ in range(3)]
    try:
        for sock in held:
            sock.sendall(hello)  # and no more: the handshake waits for its deadline
        await until(lambda: lab.door.statistics()["half_open"] == 3)
        assert (await opening_fails(lab, victim, sni=sni)).code in ("gateway_unreachable", "stream_refused")
        assert lab.door.statistics()["refused"]["too_many_half_open"] == 1
        stream = await lab.dialler(other).open(DATA_ALPN)
        assert await lab.echo(stream, b"through") == b"through"
    finally:
        for sock in held:
            sock.close()


def client_hello_of(server_name: str) -> bytes:
    """The first flight of a TLS client that asks for `server_name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def test_a_route_that_is_silent_does_not_hold_up_the_next(lab: Any, session_id: str) -> None:
    """A relay that is stopped still has a kernel that takes connections: nothing answers on them."""
    with socket.create_server(("127.0.0.1", 0)) as stopped:
        silent = lab.route(session_id, name="stopped", address=f"127.0.0.1:{stopped.getsockname()[1]}")
        dialler = lab.dialler(session_id, routes=[silent, lab.route(session_id)])
        stream = await dialler.open(DATA_ALPN)
        assert stream.route.name == "r1"
        assert [route.name for route in dialler.book.order(time.monotonic())] == ["r1", "stopped"]
        assert await lab.echo(stream, b"through") == b"through"


async def test_the_gateway_refuses_another_relay(make_lab: Any) -> None:
    lab = await make_lab(connected=False)
    lab.door.set_relays([RelayAddress(id=fresh.new_id(Kind.RELAY), name="r1", address=lab.relay_address.address)])
    assert not await lab.door.wait_connected(0.5)


async def test_a_ticket_works_once(make_lab: Any) -> None:
    lab = await make_lab(connected=False)
    control = await control_of(lab, lab.pki.machine("gateway", "mine", lab.gateway_id))
    control.write(frames.encode(frames.Register(idle=1)))
    protocol = control.get_protocol()
    assert isinstance(protocol, Stopper)
    await until(lambda: len(protocol.received) > 4)
    reader = frames.FrameReader(frames.FROM_RELAY)
    reader.feed(protocol.received)
    frame = reader.next_frame()
    assert isinstance(frame, frames.Idle)
    ticket = bytes.fromhex(frame.tickets[0])
    first = await dial_back(lab, ticket)
    await until(lambda: lab.relay.statistics()["waiting"] == 1)
    second = await dial_back(lab, ticket)
    assert await ended(second)
    assert lab.relay.refused == {"ticket_unknown": 1}
    assert lab.relay.statistics()["waiting"] == 1
    first.close()
    await until(lambda: lab.relay.statistics()["waiting"] == 0)
    control.abort()


async def dial_back(lab: Any, ticket: bytes) -> Any:
    sock = await dial.connect(lab.relay_address.address, 5)
    await asyncio.get_running_loop().sock_sendall(sock, dialback.preface(ticket))
    return sock


async def ended(sock: Any) -> bool:
    """Whether the other side ends the connection (an end or a reset)."""
    try:
        return await asyncio.get_running_loop().sock_recv(sock, 1) == b""
    except ConnectionResetError:
        return True
    finally:
        sock.close()


async def test_a_made_up_ticket_is_refused(lab: Any) -> None:
    assert await ended(await dial_back(lab, bytes(16)))
    assert lab.relay.refused == {"ticket_unknown": 1}


# --- ends -----------------------------------------------------------------------------------------------------------


async def test_when_the_gateway_aborts_the_client_is_reset(lab: Any, session_id: str) -> None:
    stream = await lab.dialler(session_id).open(DATA_ALPN)
    await until(lambda: lab.echoes)
    lab.echoes[0].transport.abort()
    await until(lambda: not stream.usable)
    await until(lambda: lab.relay.streams == 0)


async def test_when_the_client_goes_the_gateway_knows(lab: Any, session_id: str) -> None:
    stream = await lab.dialler(session_id).open(DATA_ALPN)
    await until(lambda: lab.echoes)
    stream.abort()
    await lab.echoes[0].lost.wait()


async def test_a_killed_relay_cuts_its_streams_and_the_gateway_comes_back(make_lab: Any, session_id: str) -> None:
    lab = await make_lab()
    stream = await lab.dialler(session_id).open(DATA_ALPN)
    await lab.relay.close()
    await until(lambda: not stream.usable)
    assert (await opening_fails(lab, session_id)).code == "relay_unreachable"
    host, port = dial.split_address(lab.relay_address.address)
    lab.relay.listen(host, port)
    assert await lab.door.wait_connected(30)
    assert await lab.echo(await lab.dialler(session_id).open(DATA_ALPN), b"again") == b"again"


async def test_a_relay_that_is_not_named_any_more_is_left(lab: Any) -> None:
    lab.door.set_relays([])
    await until(lambda: lab.relay.gateways == [])
    assert lab.relay.statistics()["waiting"] == 0


async def test_closing_the_door_leaves_streams_that_are_up(lab: Any, session_id: str) -> None:
    stream = await lab.dialler(session_id).open(DATA_ALPN)
    await until(lambda: lab.echoes)
    await lab.door.close()
    assert await lab.echo(stream, b"still up") == b"still up"


# --- spares ---------------------------------------------------------------------------------------------------------


async def test_warm_streams_are_ready_before_they_are_needed(lab: Any, session_id: str) -> None:
    warm = WarmStreams(lab.dialler(session_id), DATA_ALPN, keep=2)
    warm.start()
    await until(lambda: warm.statistics()["ready"] == 2)
    stream = await warm.get()
    assert await lab.echo(stream, b"warm") == b"warm"
    assert warm.statistics()["hits"] == 1
    await until(lambda: warm.statistics()["ready"] == 2)
    await warm.close()
    await until(lambda: lab.relay.streams == 0)


async def test_a_spare_that_died_is_not_given_out(lab: Any, session_id: str) -> None:
    warm = WarmStreams(lab.dialler(session_id), DATA_ALPN, keep=1)
    warm.start()
    await until(lambda: warm.statistics()["ready"] == 1 and lab.echoes)
    lab.echoes[0].transport.abort()
    await lab.echoes[0].lost.wait()
    await until(lambda: lab.relay.streams == 0)
    stream: Stream = await warm.get()
    assert await lab.echo(stream, b"fresh") == b"fresh"
    await warm.close()


async def test_a_spare_that_grew_old_is_replaced(lab: Any, session_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardgate.net.stream._GROWN_OLD", 0.0)
    warm = WarmStreams(lab.dialler(session_id), DATA_ALPN, keep=1)
    warm.start()
    await until(lambda: warm.statistics()["ready"] == 1 and len(lab.echoes) == 1)
    lab.echoes[0].transport.abort()
    await until(lambda: len(lab.echoes) == 2 and warm.statistics()["ready"] == 1)
    await warm.close()

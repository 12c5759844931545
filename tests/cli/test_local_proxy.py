"""The local proxy against a gateway that the test plays, over plain socket pairs instead of TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wardgate.api.models import Session, SessionGrant, SessionStatus
from wardgate.cli.access.dialler import SessionOverError, Way
from wardgate.cli.access.link import End
from wardgate.cli.access.listeners import Doors, Listener, Loopback
from wardgate.cli.access.proxy import InterruptedBeforeReadyError, LocalProxy
from wardgate.cli.access.view import EndFacts, ReadyFacts
from wardgate.cli.exits import Exit, ExitError, exit_code_of_end
from wardgate.errors import WardgateError
from wardgate.numbers import DEFAULT
from wardgate.tunnel import frames

SET = frames.Topology(
    kind="replica_set",
    set_name="rs0",
    members=[
        frames.Member(address="db1.internal:27017", role="primary"),
        frames.Member(address="db2.internal:27017", role="secondary"),
        frames.Member(address="arb.internal:27017", role="arbiter"),
    ],
)
STANDALONE = frames.Topology(
    kind="standalone", members=[frames.Member(address="db1.internal:27017", role="standalone")]
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between two tries are for people."""
    monkeypatch.setattr("wardgate.cli.access.link._RETRY_SECONDS", 0.01)
    monkeypatch.setattr("wardgate.cli.access.link._RETRY_DATA_SECONDS", 0.01)


class GatewayEnd:
    """The gateway's end of one stream."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reader = frames.FrameReader(
            frames.Dialect(frames.Hello, frames.Alive, frames.Listeners, frames.Bye, frames.Open)
        )

    async def send(self, frame: frames.Frame) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, frames.encode(frame))

    async def receive(self) -> frames.Frame:
        while (frame := self._reader.next_frame()) is None:
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 65536), 5)
            assert data, "the local proxy hung up"
            self._reader.feed(data)
        return frame

    def leftover(self) -> bytes:
        return self._reader.leftover()


class Fresh:
    """A data stream that nobody has taken yet."""

    def __init__(self, transport: asyncio.Transport, way: Way) -> None:
        self.transport = transport
        self.way = way

    @property
    def usable(self) -> bool:
        return not self.transport.is_closing()

    def switch(self, protocol: asyncio.BaseProtocol) -> asyncio.Transport:
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        return self.transport

    def abort(self) -> None:
        self.transport.abort()


class Gateway:
    """A `Dialler` whose far ends the test picks up. `way` is where it leads."""

    def __init__(self) -> None:
        self.controls: asyncio.Queue[GatewayEnd] = asyncio.Queue()
        self.data: asyncio.Queue[GatewayEnd] = asyncio.Queue()
        self.refuse_control: WardgateError | None = None
        self.refuse_data: WardgateError | None = None
        self.over: SessionOverError | None = None
        self.way = Way("east", ("relay", "east:1"), "1" * 32)
        self.losses: list[tuple[Way, bool]] = []
        self.dialled = 0
        self.warm = False
        self._ends: list[GatewayEnd] = []

    async def open_control(self, protocol: asyncio.Protocol) -> Way:
        self.dialled += 1
        if self.refuse_control is not None:
            raise self.refuse_control
        await self._open(protocol, self.controls)
        return self.way

    async def open_data(self) -> Fresh:
        if self.refuse_data is not None:
            raise self.refuse_data
        return Fresh(await self._open(asyncio.Protocol(), self.data), self.way)

    async def why_over(self) -> None:
        if self.over is not None:
            raise self.over

    def lost(self, way: Way, *, silent: bool) -> None:
        self.losses.append((way, silent))

    async def _open(self, protocol: asyncio.Protocol, queue: asyncio.Queue[GatewayEnd]) -> asyncio.Transport:
        near, far = socket.socketpair()
        far.setblocking(False)
        end = GatewayEnd(far)
        self._ends.append(end)
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=near)
        queue.put_nowait(end)
        return transport

    def warm_up(self) -> None:
        self.warm = True

    async def close(self) -> None:
        for end in self._ends:
            end.sock.close()


class RecordingView:
    """Keeps what a person would be told."""

    def __init__(self) -> None:
        self.is_ready: asyncio.Future[ReadyFacts] = asyncio.get_running_loop().create_future()
        self.notices: list[str] = []
        self.changes: list[ReadyFacts] = []
        self.reconnections: asyncio.Queue[str] = asyncio.Queue()

    def ready(self, facts: ReadyFacts) -> None:
        self.is_ready.set_result(facts)

    def notice(self, level: str, message: str) -> None:
        self.notices.append(message)

    def reconnected(self, route: str) -> None:
        self.reconnections.put_nowait(route)

    def members_changed(self, facts: ReadyFacts) -> None:
        self.changes.append(facts)

    def connections(self, count: int) -> None:
        pass

    def ended(self, facts: EndFacts) -> None:
        pass

    def close(self) -> None:
        pass


class Scene:
    """A local proxy that runs, its gateway and its view."""

    def __init__(
        self, seconds: float = 3600, *, doors: Doors | None = None, local_auth: bool = False, **numbers: Any
    ) -> None:
        now = datetime.now(UTC)
        session = Session(
            id="ses_0000000001e0rv4csm6mv3ee1s",
            project_id="prj_1",
            resource="production-mongo",
            account="readonly-user",
            user="kim@example.com",
            status=SessionStatus.STARTING,
            gateway="near-db",
            created_at=now,
            expires_at=now + timedelta(seconds=seconds),
            local_auth=local_auth,
        )
        grant = SessionGrant(
            session=session,
            certificate="",
            gateway_id="gw_1",
            gateway_ca="",
            routes=[],
            granted_s=seconds,
            local_password="wgs_secret",
        )
        self.gateway = Gateway()
        self.view = RecordingView()
        doors = doors or Loopback()
        self.main: Listener = doors.main
        self.proxy = LocalProxy(grant, self.gateway, doors, self.view, replace(DEFAULT, **numbers))
        self.running = asyncio.create_task(self.proxy.run())

    async def control(self) -> GatewayEnd:
        """The next control stream, greeted."""
        control = await asyncio.wait_for(self.gateway.controls.get(), 5)
        assert isinstance(await control.receive(), frames.Hello)
        alive = await control.receive()
        assert isinstance(alive, frames.Alive)
        self.alive = alive.streams
        return control

    async def again(self, topology: frames.Topology) -> GatewayEnd:
        """Up to `ready` on the next control stream, after a loss."""
        control = await self.control()
        await control.send(topology)
        await control.receive()
        await control.send(frames.Ready())
        await asyncio.wait_for(self.view.reconnections.get(), 5)
        return control

    async def begin(self, topology: frames.Topology) -> tuple[GatewayEnd, frames.Listeners, ReadyFacts]:
        """Up to `ready`."""
        control = await self.control()
        await control.send(topology)
        listeners = await control.receive()
        assert isinstance(listeners, frames.Listeners)
        await control.send(frames.Ready())
        return control, listeners, await asyncio.wait_for(self.view.is_ready, 5)

    async def result(self) -> End:
        return await asyncio.wait_for(self.running, 5)


@contextlib.asynccontextmanager
async def scene(seconds: float = 3600, **changes: Any) -> AsyncIterator[Scene]:
    made = Scene(seconds, **changes)
    try:
        yield made
    finally:
        made.running.cancel()
        await asyncio.gather(made.running, return_exceptions=True)


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def test_every_member_gets_a_listener_and_the_uris_have_no_user() -> None:
    async with scene() as s:
        _, listeners, facts = await s.begin(SET)
        assert listeners.main == s.main.address == f"127.0.0.1:{facts.port}"
        assert set(listeners.members) == {member.address for member in SET.members}
        assert len({listeners.main, *listeners.members.values()}) == 4
        assert facts.uri == f"mongodb://{s.main.address}/"
        seeds = {listeners.members["db1.internal:27017"], listeners.members["db2.internal:27017"]}
        assert facts.replica_set_uri is not None
        assert facts.replica_set_uri.endswith("/?replicaSet=rs0")
        hosts = facts.replica_set_uri.removeprefix("mongodb://").partition("/")[0]
        assert set(hosts.split(",")) == seeds
        assert "@" not in facts.uri + facts.replica_set_uri
        assert s.gateway.warm


async def test_the_name_of_a_set_is_only_a_name() -> None:
    """A hostile database chooses it: it must bring no options into the URI and no controls onto the terminal."""
    name = "rs0&tls=false\x1b]0;x\x07'$(id)"
    async with scene() as s:
        _, _, facts = await s.begin(SET.model_copy(update={"set_name": name}))
        assert facts.replica_set_uri is not None
        assert facts.replica_set_uri.endswith("/?replicaSet=rs0%26tls%3Dfalse%1B%5D0%3Bx%07%27%24%28id%29")


async def test_a_standalone_needs_no_second_port() -> None:
    async with scene() as s:
        _, listeners, facts = await s.begin(STANDALONE)
        assert listeners.members == {}
        assert facts.replica_set_uri is None
        assert facts.members == [{"address": s.main.address, "role": "standalone", "member": "db1.internal:27017"}]


async def test_a_connection_says_where_it_came_in_and_then_carries_bytes() -> None:
    async with scene() as s:
        _, listeners, _ = await s.begin(SET)
        for member, address in [(None, listeners.main), *listeners.members.items()]:
            reader, writer = await _connect(address)
            data = await s.gateway.data.get()
            opening = await data.receive()
            assert isinstance(opening, frames.Open)
            assert (opening.member, opening.local) == (member, address)
            writer.write(b"to the server")
            loop = asyncio.get_running_loop()
            assert data.leftover() + await loop.sock_recv(data.sock, 100) == b"to the server"
            await loop.sock_sendall(data.sock, b"to the client")
            assert await reader.readexactly(13) == b"to the client"
            writer.close()


async def test_localhost_means_the_same_on_ipv6() -> None:
    async with scene() as s:
        _, _, facts = await s.begin(STANDALONE)
        if len(s.main.sockets) < 2:
            pytest.skip("this machine has no IPv6 loopback")
        _, writer = await asyncio.open_connection("::1", facts.port)
        data = await s.gateway.data.get()
        assert await data.receive() == frames.Open(member=None, local=s.main.address, stream=1)
        writer.close()


async def test_ctrl_c_says_bye_and_ends_as_asked() -> None:
    async with scene() as s:
        control, listeners, _ = await s.begin(STANDALONE)
        s.proxy.interrupt()
        assert isinstance(await control.receive(), frames.Bye)
        await control.send(frames.Ended(reason="client_closed"))
        assert await s.result() == End("client_closed")
        with pytest.raises(OSError):
            await _connect(listeners.main)


async def test_ctrl_c_does_not_wait_for_a_gateway_that_is_silent() -> None:
    async with scene() as s:
        await s.begin(STANDALONE)
        s.proxy.interrupt()
        assert await s.result() == End("client_closed", confirmed=False)


async def test_ctrl_c_before_ready_is_an_interruption() -> None:
    async with scene() as s:
        await s.control()
        s.proxy.interrupt()
        with pytest.raises(InterruptedBeforeReadyError):
            await s.result()


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("login_failed", Exit.FAILED),
        ("tcp_refused", Exit.FAILED),
        ("lease_refused", Exit.GATEWAY_UNREACHABLE),
        ("failed_to_start", Exit.GATEWAY_UNREACHABLE),
    ],
)
async def test_a_refusal_before_ready_is_the_commands_error(code: str, exit_code: Exit) -> None:
    async with scene() as s:
        control = await s.control()
        await control.send(frames.Refused(code=code, message="Why, in one sentence."))
        with pytest.raises(ExitError, match="Why, in one sentence") as refused:
            await s.result()
        assert refused.value.exit_code is exit_code


@pytest.mark.parametrize(
    ("reason", "code"), [("expired", 7), ("terminated", 7), ("audit_failed", 7), ("gateway_lost", 5)]
)
async def test_the_gateway_ends_the_session_and_its_connections(reason: str, code: int) -> None:
    async with scene() as s:
        control, listeners, _ = await s.begin(STANDALONE)
        reader, writer = await _connect(listeners.main)
        await (await s.gateway.data.get()).receive()
        await control.send(frames.Ended(reason=reason, message="Said by the gateway."))
        assert await s.result() == End(reason, "Said by the gateway.")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert exit_code_of_end(reason) == code


async def test_a_lost_control_stream_is_dialled_again_and_ports_stay() -> None:
    async with scene() as s:
        control, listeners, _ = await s.begin(SET)
        control.sock.close()
        again = await s.control()
        await again.send(SET)
        assert await again.receive() == listeners
        await again.send(frames.Ready())
        assert await asyncio.wait_for(s.view.reconnections.get(), 5) == "east"
        assert s.gateway.losses == [(s.gateway.way, False)]
        assert not s.running.done()


async def test_a_gateway_that_does_not_come_back_ends_the_session() -> None:
    """As long as its lease may live without being renewed."""
    async with scene(lease_renew=0.1) as s:
        control, _, _ = await s.begin(STANDALONE)
        s.gateway.refuse_control = WardgateError("gateway_unreachable", "No way there.")
        control.sock.close()
        assert (await s.result()).reason == "gateway_lost"


async def test_a_member_that_appears_gets_a_listener_and_the_others_keep_theirs() -> None:
    async with scene() as s:
        control, before, _ = await s.begin(SET)
        more = SET.model_copy(
            update={"members": [*SET.members, frames.Member(address="db3.internal:27017", role="secondary")]}
        )
        await control.send(more)
        after = await control.receive()
        assert isinstance(after, frames.Listeners)
        assert after.members.items() > before.members.items()
        _, writer = await _connect(after.members["db3.internal:27017"])
        data = await s.gateway.data.get()
        assert await data.receive() == frames.Open(
            member="db3.internal:27017", local=after.members["db3.internal:27017"], stream=1
        )
        writer.close()


async def test_one_connection_that_fails_ends_alone() -> None:
    async with scene(client_hold=0.1) as s:
        _, listeners, _ = await s.begin(STANDALONE)
        s.gateway.refuse_data = WardgateError("gateway_not_answering", "It did not answer.")
        reader, writer = await _connect(listeners.main)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        s.gateway.refuse_data = None
        _, writer = await _connect(listeners.main)
        assert isinstance(await (await s.gateway.data.get()).receive(), frames.Open)
        writer.close()
        assert s.view.notices == ["It did not answer."]
        assert not s.running.done()


async def test_garbage_on_the_control_stream_is_a_loss_not_a_crash() -> None:
    async with scene() as s:
        control, _, _ = await s.begin(STANDALONE)
        await asyncio.get_running_loop().sock_sendall(control.sock, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await s.control()
        assert not s.running.done()


async def test_a_silent_gateway_does_not_outlive_the_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardgate.cli.access.link._EXPIRY_GRACE", 0.0)
    async with scene(seconds=0.2) as s:
        await s.begin(STANDALONE)
        assert await s.result() == End("expired")


# --- lost and found ---------------------------------------------------------------------------------------------------


async def test_a_connection_that_comes_while_the_gateway_is_away_is_held_and_served() -> None:
    async with scene() as s:
        control, listeners, _ = await s.begin(STANDALONE)
        s.gateway.refuse_control = WardgateError("gateway_unreachable", "No way there.")
        control.sock.close()
        while s.gateway.dialled < 2:
            await asyncio.sleep(0)
        _, writer = await _connect(listeners.main)
        writer.write(b"hello")
        s.gateway.refuse_control = None
        await s.again(STANDALONE)
        data = await asyncio.wait_for(s.gateway.data.get(), 5)
        assert isinstance(await data.receive(), frames.Open)
        got = data.leftover() or await asyncio.get_running_loop().sock_recv(data.sock, 100)
        assert got == b"hello"
        writer.close()


async def test_a_connection_is_not_held_for_ever() -> None:
    async with scene(client_hold=0.05) as s:
        control, listeners, _ = await s.begin(STANDALONE)
        s.gateway.refuse_control = WardgateError("gateway_unreachable", "No way there.")
        control.sock.close()
        while s.gateway.dialled < 2:
            await asyncio.sleep(0)
        reader, writer = await _connect(listeners.main)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert not s.running.done()


async def test_streams_that_are_cut_at_once_are_not_dialled_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fresh, "usable", False)
    async with scene(client_hold=0.05) as s:
        _, listeners, _ = await s.begin(STANDALONE)
        reader, writer = await _connect(listeners.main)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        assert not s.gateway.data.empty()
        assert not s.running.done()


async def test_a_silent_gateway_is_lost_with_what_its_way_carried() -> None:
    async with scene(control_lost=0.2) as s:
        _, listeners, _ = await s.begin(STANDALONE)
        reader, writer = await _connect(listeners.main)
        await (await s.gateway.data.get()).receive()
        s.gateway.way = Way("west", ("relay", "west:1"), "1" * 32)
        assert await asyncio.wait_for(s.control(), 5)
        assert s.alive == []
        assert s.gateway.losses[0][1]
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_connections_outlive_a_control_stream_that_breaks_and_leads_to_the_same_instance() -> None:
    async with scene() as s:
        control, listeners, _ = await s.begin(STANDALONE)
        reader, writer = await _connect(listeners.main)
        data = await s.gateway.data.get()
        await data.receive()
        s.gateway.way = Way("west", ("relay", "west:1"), "1" * 32)
        control.sock.close()
        await s.again(STANDALONE)
        assert s.alive == [1]
        await asyncio.get_running_loop().sock_sendall(data.sock, b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()


async def test_connections_to_an_instance_that_lost_the_session_are_dropped() -> None:
    async with scene() as s:
        control, listeners, _ = await s.begin(STANDALONE)
        reader, writer = await _connect(listeners.main)
        await (await s.gateway.data.get()).receive()
        s.gateway.way = Way("east", ("relay", "east:1"), "2" * 32)
        control.sock.close()
        await s.control()
        assert s.alive == []
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_refusal_that_may_pass_is_tried_again() -> None:
    """A gateway that is being stopped, or whose database is away for a moment, ends no session."""
    async with scene() as s:
        control, _, _ = await s.begin(STANDALONE)
        control.sock.close()
        for code in ("gateway_stopping", "failed_to_start", "tcp_refused"):
            again = await s.control()
            await again.send(frames.Refused(code=code, message="Not now."))
            again.sock.close()
        await s.again(STANDALONE)


@pytest.mark.parametrize(("known", "reason"), [(True, "terminated"), (False, "gateway_lost")])
async def test_a_final_refusal_ends_the_session_for_the_reason_that_the_control_plane_has(
    known: bool, reason: str
) -> None:
    async with scene() as s:
        control, _, _ = await s.begin(STANDALONE)
        if known:
            s.gateway.over = SessionOverError("terminated", "Terminated by an administrator.")
        control.sock.close()
        again = await s.control()
        await again.send(frames.Refused(code="lease_refused", message="The session has ended."))
        assert (await s.result()).reason == reason


async def test_a_session_that_ended_while_the_gateway_was_away_ends_here_too() -> None:
    async with scene() as s:
        control, _, _ = await s.begin(STANDALONE)
        s.gateway.refuse_control = SessionOverError("client_lost", "It was gone for too long.")
        control.sock.close()
        assert await s.result() == End("client_lost", "It was gone for too long.")


async def test_an_instance_that_gives_the_session_up_holds_connections_from_then_on() -> None:
    async with scene() as s:
        control, listeners, _ = await s.begin(STANDALONE)
        await control.send(frames.Suspended())
        await control.send(STANDALONE)  # answered only after the frame before it was heard
        await control.receive()
        _, writer = await _connect(listeners.main)
        control.sock.close()
        await s.again(STANDALONE)
        assert isinstance(await (await asyncio.wait_for(s.gateway.data.get(), 5)).receive(), frames.Open)
        assert s.gateway.data.empty()
        writer.close()

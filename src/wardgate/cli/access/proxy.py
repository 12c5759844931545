"""One access session at the local proxy: a control stream, listeners, and a pump for each client connection.

The control stream says which members there are; each gets a listener, and the gateway is told its address. A client
connection that fails ends alone: only the control stream, the clock or the user end the session. What becomes of the
way to the gateway is `link`'s business; the listeners keep their ports meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time

from ...api.models import SessionGrant
from ...errors import WardgateError
from ...numbers import Numbers
from ...tunnel import frames
from .link import Dialler, End, Link
from .listeners import Doors, Listener
from .owner import Owner, owner_of_peer, owner_of_unix_peer
from .pump import Side, TunnelSide, join
from .uris import LocalLogin, uris_of
from .view import ReadyFacts, View

_BYE_SECONDS = 1.0  # how long the gateway may take to confirm a Ctrl+C
_FLUSH_SECONDS = 1.0  # what the last words for clients may take to reach them
_NOTICE_SECONDS = 10.0  # a client that retries in a loop must not flood the terminal


class InterruptedBeforeReadyError(Exception):
    """Ctrl+C before there was a session to end."""


class _Accepted(Side):
    """A client's connection to one listener; nothing of it is read until the tunnel is joined."""

    def __init__(self, proxy: LocalProxy, listener: Listener) -> None:
        super().__init__()
        self._proxy = proxy
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check whose connection it is, then serve it."""
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._proxy.accepted(self, self._listener)

    def connection_lost(self, error: Exception | None) -> None:
        """All that was for the client has been written, or never will be."""
        super().connection_lost(error)
        self._proxy.gone(self)


class LocalProxy:
    """Runs one granted session. The main door is there already, so that a port in use costs no session."""

    def __init__(self, grant: SessionGrant, dialler: Dialler, doors: Doors, view: View, numbers: Numbers) -> None:
        self._grant = grant
        self._view = view
        self._doors = doors
        self._main = doors.main
        self._members: dict[str, Listener] = {}
        self._link = Link(
            dialler, numbers, gateway=grant.session.gateway, expires_at=grant.session.expires_at, say=view.notice
        )
        self._topology: frames.Topology | None = None
        self._ready = False
        self._interrupt = asyncio.Event()
        self._clients: set[Side] = set()
        self._deserted = asyncio.Event()  # no client is connected
        self._deserted.set()
        self._open: set[Side] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._owner_told = False
        self._noticed_at = -_NOTICE_SECONDS
        self.connections = 0

    def interrupt(self) -> None:
        """The user wants out (Ctrl+C or SIGTERM)."""
        self._interrupt.set()

    async def run(self) -> End:
        """Until the session is over. Raises WardgateError if it never got ready, InterruptedBeforeReadyError."""
        following = asyncio.create_task(self._follow())
        interrupted = asyncio.create_task(self._interrupt.wait())
        try:
            await asyncio.wait({following, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                end = following.result()
                # The gateway has told clients that wait, and has closed their streams: let that reach them.
                await self._flush(_FLUSH_SECONDS if end.confirmed else 0.0)
                return end
            if not self._ready:
                self._link.send(frames.Bye())
                raise InterruptedBeforeReadyError
            return await self._say_bye(following)
        finally:
            following.cancel()
            interrupted.cancel()
            await asyncio.gather(following, interrupted, return_exceptions=True)
            await self._shut()

    async def _say_bye(self, following: asyncio.Task[End]) -> End:
        self._stop_listening()
        self._link.send(frames.Bye())
        await asyncio.wait({following}, timeout=_BYE_SECONDS)
        if following.done() and not following.exception() and following.result().reason == "client_closed":
            return following.result()
        return End("client_closed", confirmed=False)

    # --- control stream -------------------------------------------------------------------------------------------

    async def _follow(self) -> End:
        while True:
            frame = await self._link.next()
            match frame:
                case End():
                    return frame
                case frames.Topology():
                    await self._take(frame)
                case frames.Ready():
                    self._take_ready()
                case frames.Notice():
                    self._view.notice(frame.level, frame.message)

    # --- listeners ------------------------------------------------------------------------------------------------

    async def _take(self, topology: frames.Topology) -> None:
        before, self._topology = self._topology, topology
        split = topology.kind in ("replica_set", "sharded") and not self._doors.single
        wanted = {member.address for member in topology.members} if split else set()
        for address in sorted(wanted - self._members.keys()):
            listener = self._doors.open(address)
            self._members[address] = listener
            await self._listen(listener)
        if not self._main.servers:
            await self._listen(self._main)
        members = {address: listener.address for address, listener in self._members.items() if address in wanted}
        self._link.send(frames.Listeners(main=self._main.address, members=members, single=self._doors.single))
        if self._ready and before is not None:
            self._tell_change(before, topology)

    def _tell_change(self, before: frames.Topology, now: frames.Topology) -> None:
        """What a person would wonder about: who is primary, and whether there are other members."""
        if now.kind == "replica_set" and _primary(before) != _primary(now):
            primary = _primary(now)
            if primary is None:
                self._view.notice("warning", "The set has no primary now; what needs one waits for it.")
            else:
                listener = self._members.get(primary)
                where = f" ({listener.address})" if listener is not None else ""
                self._view.notice("info", f"The primary is {primary}{where} now.")
        if _uris_depend_on(before) != _uris_depend_on(now):
            self._view.members_changed(self._facts())

    async def _listen(self, listener: Listener) -> None:
        await listener.start(lambda: _Accepted(self, listener))

    def _take_ready(self) -> None:
        if self._ready:
            self._view.reconnected(self._link.way)
            return
        self._ready = True
        self._view.ready(self._facts())

    def _facts(self) -> ReadyFacts:
        session, topology = self._grant.session, self._topology
        assert topology is not None
        roles = {member.address: member.role for member in topology.members}
        seeds = {
            member: listener.address
            for member, listener in self._members.items()
            if roles.get(member, "arbiter") != "arbiter"
        }
        login = self._login()
        uris = uris_of(
            self._main.address,
            seeds,
            kind=topology.kind,
            set_name=topology.set_name,
            single=self._doors.single,
            login=login if session.local_auth else None,
        )
        return ReadyFacts(
            session_id=session.id,
            resource=session.resource,
            account=session.account,
            uri=uris.main,
            shown_uri=uris.shown,
            replica_set_uri=uris.set_uri,
            port=self._main.port,
            members=self._listed(topology),
            expires_at=session.expires_at,
            granted_s=self._grant.granted_s,
            login=login,
            local_auth=session.local_auth,
        )

    def _login(self) -> LocalLogin | None:
        password = self._grant.local_password
        return None if password is None else LocalLogin(self._grant.session.account, password)

    def _listed(self, topology: frames.Topology) -> list[dict[str, str]]:
        """Each member with the address that leads to it; where there is the main one only, what is behind that."""
        if self._members:
            return [
                {"address": self._members[each.address].address, "role": each.role, "member": each.address}
                for each in topology.members
                if each.address in self._members
            ]
        behind = [each for each in topology.members if each.role == "primary"] or topology.members
        return [{"address": self._main.address, "role": each.role, "member": each.address} for each in behind[:1]]

    # --- client connections ---------------------------------------------------------------------------------------

    def accepted(self, client: Side, listener: Listener) -> None:
        """A client connected: serve it if it is our own user's."""
        assert client.transport is not None
        if not self._is_ours(client.transport):
            client.transport.abort()
            return
        self.connections += 1
        self._clients.add(client)
        self._deserted.clear()
        task = asyncio.get_running_loop().create_task(self._serve(client, listener))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    def gone(self, client: Side) -> None:
        """A client's socket is closed."""
        self._clients.discard(client)
        if not self._clients:
            self._deserted.set()

    def _is_ours(self, transport: asyncio.Transport) -> bool:
        owner = _owner(transport)
        if owner is Owner.UNKNOWN and not self._owner_told:
            self._owner_told = True
            self._view.notice(
                "warning", "This system does not tell who connects: other users of this machine can use the open ports."
            )
        if owner is Owner.OTHERS:
            self._notice("A connection of another user of this machine was refused.")
        return owner in (Owner.OURS, Owner.UNKNOWN)

    async def _serve(self, client: Side, listener: Listener) -> None:
        assert client.transport is not None
        number = 0
        tunnel = TunnelSide(lambda up, down: self._closed(client, number))
        try:
            transport, number = await self._link.open_data(tunnel, lambda: _drop(client, tunnel))
        except WardgateError as error:
            client.transport.abort()
            self._notice(error.message)
            return
        self._open.add(client)
        self._view.connections(len(self._open))
        opening = frames.Open(member=listener.member, local=listener.address, stream=number)
        transport.write(frames.encode(opening))
        join(client, tunnel)

    def _closed(self, client: Side, number: int) -> None:
        self._link.closed(number)
        self._open.discard(client)
        self._view.connections(len(self._open))

    def _notice(self, message: str) -> None:
        now = time.monotonic()
        if now - self._noticed_at >= _NOTICE_SECONDS:
            self._noticed_at = now
            self._view.notice("warning", message)

    # --- the end --------------------------------------------------------------------------------------------------

    def _stop_listening(self) -> None:
        self._doors.close()

    async def _flush(self, seconds: float) -> None:
        """Take no more clients, and wait for those that are being closed."""
        self._stop_listening()
        try:
            async with asyncio.timeout(seconds):
                await self._deserted.wait()
        except TimeoutError:
            return

    async def _shut(self) -> None:
        self._stop_listening()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for client in tuple(self._clients):
            if client.transport is not None:
                client.transport.abort()
        await self._link.close()


def _drop(*sides: Side) -> None:
    for side in sides:
        if side.transport is not None:
            side.transport.abort()


def _owner(transport: asyncio.Transport) -> Owner:
    sock = transport.get_extra_info("socket")
    if sock.family == socket.AF_UNIX:
        with socket.socket(fileno=os.dup(sock.fileno())) as same:  # uvloop's own object has no getsockopt
            return owner_of_unix_peer(same)
    peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    return owner_of_peer(sock.family, peer[:2], local[:2]) if peer and local else Owner.OTHERS


def _primary(topology: frames.Topology) -> str | None:
    return next((member.address for member in topology.members if member.role == "primary"), None)


def _uris_depend_on(topology: frames.Topology) -> set[str]:
    return {member.address for member in topology.members if member.role != "arbiter"}

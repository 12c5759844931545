"""The pump: carries out, in order, what the connection machine asks, on two asyncio transports and a recorder.

It owns back-pressure (a side is not read while the other can't take more), the hold on reply tails until the disk has
their records, and the deadlines of closing. It knows no rule of MongoDB beyond the one message shape that the login
conversation needs; it decides nothing.

Law: one input to the machine at a time, its whole list before the next. A record that can't be appended stops the list
there and then: what stood behind it is never sent. The server connection is aborted, never closed politely, unless the
machine says that writes without reply are under way.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Final, NamedTuple, cast

import bson

from ..audit.recorder import Recorder, RecordingFailed
from ..audit.records import CommandIntent, Upload, UploadPart
from ..errors import WardgateError
from ..proxy import actions as do
from ..proxy.actions import Record, ToClient, ToServer
from ..proxy.connection import ProxyConnection
from ..wire.message import build_msg, parse_reply
from ..wire.reader import FramingError, MessageReader

# Above `_HIGH` buffered bytes towards one side the other side is not read: four full reads of a TLS transport.
_HIGH: Final = 1024 * 1024
_LOGIN_BYTES: Final = 64 * 1024  # no answer to a login step comes near it
_READ_BYTES: Final = 256 * 1024  # read at once; more is not faster
_SLOW: Final = 0.1  # how long a client whose session nears its spool quota is not read, per command


class Reached(NamedTuple):
    """Where the server connection leads, and whether somebody has logged in on it already."""

    member: str
    logged_in: bool = False


Connector = Callable[[Callable[[], asyncio.BaseProtocol]], Awaitable[Reached]]
Exchange = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]
LoginRun = Callable[[Exchange], Awaitable[None]]


class _Scratch(threading.local):
    """Where reads land. All connections of a loop share it: every read is copied out before the next one begins."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_READ_BYTES))


_scratch = _Scratch()


class _Side(asyncio.BufferedProtocol):
    """One transport and whether it is read and can be written to."""

    def __init__(self, pump: Pump) -> None:
        self.pump = pump
        self._view = _scratch.view
        self.transport: asyncio.Transport | None = None
        self.full = False  # its write buffer is above the mark
        self.paused = False

    def attach(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are transports, but no subclass
        self.transport.set_write_buffer_limits(high=_HIGH)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.attach(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def read(self, wanted: bool) -> None:
        """Read from this side, or do not."""
        if self.transport is None or wanted != self.paused or self.transport.is_closing():
            return
        self.paused = not wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        self.full = True
        self.pump.balance()

    def resume_writing(self) -> None:
        self.full = False
        self.pump.balance()


class _ClientSide(_Side):
    def buffer_updated(self, nbytes: int) -> None:
        self.pump.client_data(bytes(self._view[:nbytes]))

    def eof_received(self) -> bool:
        self.pump.client_gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.pump.client_gone()


class _ServerSide(_Side):
    """It is told to the pump only while it is the pump's: one that was exchanged for another is nobody's."""

    def buffer_updated(self, nbytes: int) -> None:
        if self.pump.leads_through(self):
            self.pump.server_data(bytes(self._view[:nbytes]))

    def eof_received(self) -> bool:
        if self.pump.leads_through(self):
            self.pump.server_gone("MongoDB closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.pump.leads_through(self):
            self.pump.server_gone(
                f"the connection to MongoDB was lost: {exc}" if exc else "MongoDB closed the connection"
            )


class Pump:
    """Runs one `ProxyConnection`.

    `connector(protocol_factory)` dials and answers with what it `Reached`; `login(exchange)` logs in through
    `exchange`, which sends one command document on the server connection and gives its reply; both raise WardgateError;
    `on_recording_failed(message)` is told once if a record was refused; `on_end()` is called once, when both sockets
    are given up.
    """

    def __init__(
        self,
        machine: ProxyConnection,
        recorder: Recorder,
        *,
        connector: Connector,
        login: LoginRun,
        login_timeout: float,
        close_timeout: float,
        on_recording_failed: Callable[[str], None],
        on_end: Callable[[], None],
    ) -> None:
        self.machine = machine
        self._recorder = recorder
        self._connector = connector
        self._run_login = login
        self._login_timeout = login_timeout
        self._close_timeout = close_timeout
        self._on_recording_failed = on_recording_failed
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._client = _ClientSide(self)
        self._server = _ServerSide(self)
        self._pending: deque[Callable[[], list[do.Action]]] = deque()
        self._running = False
        self._seq = -1  # newest record of this connection
        self._held: deque[tuple[int, bytes]] = deque()  # bytes for the client and the record they wait for
        self._held_bytes = 0
        self._machine_paused = False
        self._slowed = False
        self._to_proceed = False  # the machine waits for the server to take more
        self._closing = False
        self._ended = False
        self._recording_failed = False
        self._login: asyncio.Task[None] | None = None
        self._login_reader = MessageReader(_LOGIN_BYTES)
        self._login_reply: asyncio.Future[Mapping[str, Any]] | None = None
        self._login_request = 0
        self._close_timer: asyncio.TimerHandle | None = None
        self._dial: asyncio.Task[None] | None = None

    # --- inputs ---------------------------------------------------------------------------------------------------

    def start(self, transport: asyncio.Transport, leftover: bytes) -> None:
        """Take the client's connected transport over; `leftover` was read from it before."""
        self._client.attach(transport)
        transport.set_protocol(self._client)
        self.feed(self.machine.start)
        if leftover:
            self.client_data(leftover)
        if transport.is_closing():
            self.client_gone()

    def feed(self, step: Callable[[], list[do.Action]]) -> None:
        """Give the machine one more input (a bound method that returns its actions) and carry the answer out."""
        self._pending.append(step)
        if self._running:
            return
        self._running = True
        try:
            while self._pending:
                self._run(self._pending.popleft()())
        finally:
            self._running = False

    def client_data(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._running:
            self._pending.append(lambda: self.machine.client_data(data, monotonic()))
            return
        self._running = True
        try:
            self._run(self.machine.client_data(data, monotonic()))
            while self._pending:
                self._run(self._pending.popleft()())
        finally:
            self._running = False

    def server_data(self, data: bytes) -> None:
        """Bytes from the server: the login's while one is under way, else the machine's."""
        if self._login is not None:
            self._login_data(data)
            return
        if self._running:
            self._pending.append(lambda: self.machine.server_data(data, monotonic()))
            return
        self._running = True
        try:
            self._run(self.machine.server_data(data, monotonic()))
            while self._pending:
                self._run(self._pending.popleft()())
        finally:
            self._running = False

    def client_gone(self) -> None:
        """The client's socket ended."""
        if not self._ended:
            self.feed(lambda: self.machine.client_gone(monotonic()))
            if self.machine.closed:
                self._give_up()

    def leads_through(self, side: _ServerSide) -> bool:
        """Whether this is the server connection."""
        return side is self._server

    def server_gone(self, reason: str) -> None:
        """The server's socket ended."""
        if not self._ended:
            self._end_login()
            self.feed(lambda: self.machine.server_gone(reason, monotonic()))

    def abort(self) -> None:
        """Drop both sockets now, whatever is in flight; the machine still writes its last records."""
        self.feed(lambda: self.machine.client_gone(monotonic(), abrupt=True))
        self._give_up()

    # --- actions --------------------------------------------------------------------------------------------------

    def _run(self, actions: list[do.Action]) -> None:
        for action in actions:
            if isinstance(action, Record):
                if not self._record(action):
                    return
            elif isinstance(action, ToServer):
                if self._server.transport is not None:
                    self._server.transport.write(action.data)
            elif isinstance(action, ToClient):
                self._to_client(action.data, action.held)
            else:
                self._rarely(action)

    def _rarely(self, action: do.Action) -> None:
        match action:
            case do.ConnectServer():
                self._server = _ServerSide(self)  # the one before, if any, was aborted
                self._dial = self._loop.create_task(self._connect())
            case do.Login():
                self._login = self._loop.create_task(self._log_in())
            case do.AwaitDurable():
                self._await_durable()
            case do.Proceed():
                # Through the loop: a few kilobytes, compressed, may be 48 MB, and nobody else would be served.
                self._to_proceed = True
                self._loop.call_soon(self._proceed)
            case do.PauseClient():
                self._machine_paused = True
                self.balance()
            case do.ResumeClient():
                self._machine_paused = False
                self.balance()
            case do.AbortServer():
                self._drop_server()
            case do.FinishServer():
                if self._server.transport is not None:
                    self._server.transport.close()
            case do.CloseClient():
                self._close_client()
            case _:
                raise AssertionError(f"an action without a deed: {action}")

    def _record(self, action: Record) -> bool:
        if self._recording_failed:
            return True  # the session ends for it; what can't be written is not tried again
        try:
            self._seq = seq = self._recorder.append(action.record)
        except RecordingFailed as error:
            self._refuse(error.message)
            return False
        kind = type(action.record)
        if kind is CommandIntent or kind is Upload:
            self.machine.recorded(seq)
        if (kind is CommandIntent or kind is UploadPart) and self._recorder.slow():
            self._slow_down()
        return True

    def _refuse(self, message: str) -> None:
        """A record was not taken: nothing more is forwarded, and the session is told to end."""
        self._recording_failed = True
        self._held.clear()
        self._held_bytes = 0
        self._pending.appendleft(lambda: self.machine.recording_failed(message, monotonic()))
        self._loop.call_soon(self._close_all)
        self._loop.call_soon(self._on_recording_failed, message)

    # --- towards the client ---------------------------------------------------------------------------------------

    def _to_client(self, data: bytes, held: bool) -> None:
        client = self._client.transport
        if client is None or self._ended:
            return
        if not self._held and (not held or self._recording_failed or self._recorder.durable() >= self._seq):
            client.write(data)
            return
        waits_for = self._seq if held else -1
        self._held.append((waits_for, data))
        self._held_bytes += len(data)
        if held:
            self._recorder.when_durable(waits_for, self._release)
        if self._held_bytes > _HIGH:
            self.balance()

    def _release(self) -> None:
        if self._ended or not self._held:
            return
        durable, was = self._recorder.durable(), self._held_bytes
        client = self._client.transport
        while self._held and self._held[0][0] <= durable:
            data = self._held.popleft()[1]
            self._held_bytes -= len(data)
            if client is not None:
                client.write(data)
        if was > _HIGH:
            self.balance()
        if self._closing and not self._held:
            self._close_client()

    def _close_client(self) -> None:
        self._closing = True
        if self._close_timer is None:
            self._close_timer = self._loop.call_later(self._close_timeout, self._give_up)
        if not self._held and self._client.transport is not None:
            self._client.transport.close()

    def _close_all(self) -> None:
        """After a refused record: the list that was to close the sockets may have been cut short."""
        self._drop_server()
        self._close_client()

    def _give_up(self) -> None:
        """Both sockets are done with: drop what is left and say so, once."""
        if self._ended:
            return
        self._ended = True
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._held.clear()
        if self._client.transport is not None:
            self._client.transport.abort()
        finishing = self._server.transport is not None and self._server.transport.is_closing()
        if not finishing:
            self._drop_server()
        self._on_end()

    # --- towards the server ---------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        side = self._server
        try:
            reached = await self._connector(lambda: side)
        except (WardgateError, OSError) as error:
            message = error.message if isinstance(error, WardgateError) else f"MongoDB can't be reached: {error}"
            self.feed(lambda: self.machine.server_failed(message, monotonic()))
            return
        if self._ended or self.machine.closed:
            self._drop_server()
            return
        self.balance()
        self.feed(lambda: self.machine.server_ready(reached.member, monotonic(), logged_in=reached.logged_in))

    def _drop_server(self) -> None:
        self._end_login()
        if self._dial is not None and not self._dial.done() and self._dial is not asyncio.current_task():
            self._dial.cancel()
        if self._server.transport is not None:
            self._server.transport.abort()
            self._server.full = False  # it will never say so; the client may have the rest of a request to send
            self.balance()

    def _await_durable(self) -> None:
        if self._recorder.durable() >= self._seq:
            self._pending.append(lambda: self.machine.durable(monotonic()))
            return

        def go_on() -> None:
            # Through the loop: the sync may be done within `kick`, and whoever sends a thousand such requests at once
            # must not keep everybody else waiting for all of them.
            self._loop.call_soon(self.feed, lambda: self.machine.durable(monotonic()))

        self._recorder.when_durable(self._seq, go_on)
        self._recorder.kick()

    # --- login ----------------------------------------------------------------------------------------------------

    async def _log_in(self) -> None:
        try:
            async with asyncio.timeout(self._login_timeout):
                await self._run_login(self._exchange)
        except WardgateError as error:
            message = error.message
        except TimeoutError:
            message = f"MongoDB did not answer the login within {self._login_timeout:g} s."
        else:
            self._login = None
            self.feed(lambda: self.machine.logged_in(monotonic()))
            return
        self._login = None
        self.feed(lambda: self.machine.login_failed(message, monotonic()))

    async def _exchange(self, command: dict[str, Any]) -> Mapping[str, Any]:
        self._login_request += 1
        self._login_reply = self._loop.create_future()
        body = bson.encode(command)
        if self._server.transport is not None:
            self._server.transport.write(build_msg(body, self._login_request))
        return await self._login_reply

    def _login_data(self, data: bytes) -> None:
        waiting = self._login_reply
        if waiting is None or waiting.done():
            return
        try:
            message = self._login_reader.take(data)
            if message is None:
                return
            reply = parse_reply(message)
            if reply.response_to != self._login_request:
                raise WardgateError("login_hostile", "MongoDB answered the login with a reply to something else.")
            waiting.set_result(bson.decode(reply.body))
        except (FramingError, bson.errors.InvalidBSON) as error:
            waiting.set_exception(WardgateError("login_hostile", f"MongoDB's answer to the login is broken: {error}."))
        except WardgateError as error:
            waiting.set_exception(error)

    def _end_login(self) -> None:
        if self._login is not None:
            login, self._login = self._login, None
            if login is not asyncio.current_task():
                login.cancel()

    # --- back-pressure --------------------------------------------------------------------------------------------

    def balance(self) -> None:
        """Read each side only while the other can take more."""
        self._client.read(not (self._machine_paused or self._slowed or self._server.full))
        self._server.read(not (self._client.full or self._held_bytes > _HIGH))
        if self._to_proceed:
            self._proceed()

    def _proceed(self) -> None:
        """Let an upload go on, now or when the server takes more and the spool is not full."""
        if self._to_proceed and not (self._server.full or self._slowed):
            self._to_proceed = False
            self.feed(lambda: self.machine.proceed(monotonic()))

    def _slow_down(self) -> None:
        if not self._slowed:
            self._slowed = True
            self.balance()
            self._loop.call_later(_SLOW, self._speed_up)

    def _speed_up(self) -> None:
        self._slowed = False
        if not self._ended:
            self.balance()
            self._proceed()

    def statistics(self) -> dict[str, int]:
        """What is buffered where, in bytes."""
        client, server = self._client.transport, self._server.transport
        return {
            "held_bytes": self._held_bytes,
            "to_client_bytes": client.get_write_buffer_size() if client is not None and not self._ended else 0,
            "to_server_bytes": server.get_write_buffer_size() if server is not None and not self._ended else 0,
        }

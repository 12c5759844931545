"""The relay's sockets: accepting, looking at first bytes, ending control connections, splicing what is joined.

It carries out what the switchboard decides and keeps what only sockets have: the half-open peers, the watch over
waiting dial-backs, the splices. It knows nothing of the control plane.

Law: of a route nothing is consumed but what a refusal needs; of a dial-back exactly its head; nothing is answered to
bytes that are neither.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass

from ..net import dial, fresh, logs
from ..net.halfopen import HalfOpen
from ..net.peek import PeerGoneError, look, peek, wait
from ..net.splice import Holds, Splice
from ..net.tls import Credentials, server_context
from ..numbers import DEFAULT, Numbers
from ..tunnel import client_hello, dialback, frames
from ..tunnel.client_hello import ClientHello, Incomplete, Malformed
from ..tunnel.names import RELAY_ALPN, RELAY_NAME
from ..tunnel.route import Route, RouteRule, parse_server_name
from . import switchboard as do
from .control import GatewayControl
from .switchboard import Rule, Switchboard

_log = logs.get("relay")
_ACCEPT_AT_ONCE = 64
_ACCEPT_PAUSE = 0.5  # after the process has run out of descriptors
_TICK = 0.5
_SHUTDOWN = 1.0
# TLS alerts (RFC 8446, section 6): a route that is refused still hears why, in the only words its client understands.
_ALERTS: dict[Rule | RouteRule, int] = {
    Rule.GATEWAY_ABSENT: 112,  # unrecognized_name
    Rule.DIAL_BACK_LATE: 80,  # internal_error
    Rule.TOO_MANY_STREAMS: 90,  # user_canceled
}
_ACCESS_DENIED = 49


@dataclass(frozen=True, slots=True)
class DialBack:
    """A connection's first bytes: a gateway's ticket."""

    ticket: bytes


First = DialBack | ClientHello | Malformed


def judge(data: bytes, limit: int) -> First | int:
    """What a connection is, from its first bytes, or how many bytes it takes at least to know."""
    if data[0] == client_hello.HANDSHAKE:
        found = client_hello.parse(data, limit)
        return found.need if isinstance(found, Incomplete) else found
    if not dialback.MAGIC.startswith(data[: len(dialback.MAGIC)]):
        return Malformed("neither TLS nor a dial-back")
    ticket = dialback.parse_preface(data)
    return dialback.PREFACE_BYTES if ticket is None else DialBack(ticket)


class RelayServer:
    """Serves from `listen` to `close`. `gateway_ca` is the gateways intermediate (DER), `key` the relay's route key."""

    def __init__(self, credentials: Credentials, gateway_ca: bytes, key: bytes, numbers: Numbers = DEFAULT) -> None:
        self._numbers = numbers
        self._gateway_ca = gateway_ca
        self._board = Switchboard(
            key,
            streams_per_token=numbers.route_streams_per_token,
            dial_back=numbers.dial_back,
            new_ticket=fresh.new_ticket,
            alive=_is_silent,
        )
        self._holds = Holds()
        self._half_open = HalfOpen(numbers.half_open_total, numbers.half_open_per_address)
        self._splices: dict[Splice, tuple[Route, str]] = {}  # with the instance of the gateway
        self._watched: set[socket.socket] = set()
        self._controls: set[GatewayControl] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._carried = [0, 0]
        self.accepted = 0
        self.refused: Counter[str] = Counter()
        self.set_credentials(credentials)

    def set_credentials(self, credentials: Credentials) -> None:
        """Present this certificate from now on."""
        self._context = server_context(credentials, self._gateway_ca, [RELAY_ALPN])

    def set_key(self, key: bytes) -> None:
        """Judge routes by this key from now on."""
        self._board.key = key

    def set_revoked(self, gateway_ids: Iterable[str], instances: Iterable[str] = ()) -> None:
        """Exactly these gateways, and these instances (tags), may not connect; what they carry is cut."""
        self._run(self._board.revoke(gateway_ids, instances))
        for splice, (route, instance) in tuple(self._splices.items()):
            if self._board.is_revoked(route.gateway_id, instance):
                splice.abort()

    @property
    def gateways(self) -> list[str]:
        """Ids of the gateways that are connected."""
        return self._board.gateways

    @property
    def streams(self) -> int:
        """How many streams are joined."""
        return len(self._splices)

    def listen(self, host: str, port: int) -> str:
        """Begin to accept; answers with the bound address. WardgateError if the address can't be had."""
        self._listening = dial.listen(host, port)
        asyncio.get_running_loop().add_reader(self._listening.fileno(), self._acceptable)
        self._tick()
        bound = self._listening.getsockname()
        return dial.join_address(bound[0], bound[1])

    async def close(self) -> None:
        """Reset everything."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        if self._listening is not None:
            loop.remove_reader(self._listening.fileno())
            self._listening.close()
            self._listening = None
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for control in tuple(self._controls):
            control.abort()
        for splice in tuple(self._splices):
            splice.abort()
        await asyncio.sleep(0)  # aborted transports tell the board in the next turn of the loop
        self._holds.close()

    def statistics(self) -> dict[str, object]:
        """What is up, what was carried (bytes to gateways, bytes to clients) and what was refused, by rule."""
        up, down = self._carried
        for splice in self._splices:
            up += splice.carried[0]
            down += splice.carried[1]
        return {
            **self._board.statistics(),
            "accepted": self.accepted,
            "half_open": self._half_open.now,
            "bytes_up": up,
            "bytes_down": down,
            "refused": dict(self.refused),
        }

    # --- accepting ------------------------------------------------------------------------------------------------

    def _acceptable(self) -> None:
        assert self._listening is not None
        for _ in range(_ACCEPT_AT_ONCE):
            try:
                sock, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause_accepting(error)
                return
            dial.tune(sock)
            self.accepted += 1
            self._first_look(sock, str(address[0]))

    def _pause_accepting(self, error: OSError) -> None:
        """Out of descriptors: what is up goes on, what comes waits in the kernel."""
        assert self._listening is not None
        _log.error("can't accept", reason=error.strerror)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listening.fileno())
        loop.call_later(_ACCEPT_PAUSE, self._resume_accepting)

    def _resume_accepting(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().add_reader(self._listening.fileno(), self._acceptable)

    def _first_look(self, sock: socket.socket, address: str) -> None:
        """Mostly the first bytes are there at once, and nobody is half-open at all."""
        try:
            found: First | int = look(sock, self._numbers.client_hello_bytes, self._judge)
        except PeerGoneError:
            sock.close()
            return
        if not isinstance(found, int):
            self._dispatch(sock, address, found)
        elif self._half_open.enter(address):
            self._spawn(self._look_on(sock, address, found))
        else:
            self._count("too_many_half_open", address)
            _reset(sock)

    async def _look_on(self, sock: socket.socket, address: str, need: int) -> None:
        try:
            async with asyncio.timeout(self._numbers.client_hello):
                found: First = await wait(sock, self._numbers.client_hello_bytes, self._judge, need)
        except (PeerGoneError, OSError):  # TimeoutError is one of the latter
            self._count("first_bytes_late", address)
            _reset(sock)
            return
        except asyncio.CancelledError:
            _reset(sock)
            raise
        finally:
            self._half_open.leave(address)
        self._dispatch(sock, address, found)

    def _judge(self, data: bytes) -> First | int:
        return judge(data, self._numbers.client_hello_bytes)

    def _dispatch(self, sock: socket.socket, address: str, found: First) -> None:
        if isinstance(found, Malformed):
            self._count("malformed", address, why=found.why)
            _reset(sock)
        elif isinstance(found, DialBack):
            sock.recv(dialback.PREFACE_BYTES)
            self._run(self._board.dial_back(found.ticket, sock, time.monotonic()))
        elif found.server_name == RELAY_NAME:
            self._control(sock, address)
        else:
            name = parse_server_name(found.server_name or "")
            if name is None:
                self._count("no_route", address)
                _alert(sock, Rule.GATEWAY_ABSENT)
                return
            self._run(self._board.route(name, sock, time.time(), time.monotonic()))

    # --- control connections --------------------------------------------------------------------------------------

    def _control(self, sock: socket.socket, address: str) -> None:
        if self._half_open.enter(address):
            self._spawn(self._handshake(sock, address))
        else:
            self._count("too_many_half_open", address)
            _reset(sock)

    async def _handshake(self, sock: socket.socket, address: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: GatewayControl(self, self._numbers),
                sock,
                ssl=self._context,
                ssl_handshake_timeout=self._numbers.tls_handshake,
                ssl_shutdown_timeout=_SHUTDOWN,
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            self._count("handshake_failed", address, why=getattr(error, "reason", None) or type(error).__name__)
        finally:
            self._half_open.leave(address)

    def gateway_up(self, gateway_id: str, instance: str, control: GatewayControl) -> None:
        """See control.Board."""
        self._controls.add(control)
        self._run(self._board.attach(gateway_id, instance, control))

    def gateway_frame(self, gateway_id: str, control: GatewayControl, frame: frames.Frame) -> None:
        """See control.Board."""
        if isinstance(frame, frames.Register):
            _log.info("gateway connected", gateway=gateway_id, version=frame.version)
            self._run(self._board.register(gateway_id, control, frame.idle, time.monotonic()))
        elif isinstance(frame, frames.Withdraw):
            self._board.withdraw(gateway_id, control, frame.session, frame.until, time.time())

    def gateway_down(self, gateway_id: str, control: GatewayControl) -> None:
        """See control.Board."""
        self._controls.discard(control)
        _log.info("gateway disconnected", gateway=gateway_id)
        self._run(self._board.detach(gateway_id, control))

    # --- what the switchboard decides -----------------------------------------------------------------------------

    def _run(self, actions: list[do.Action]) -> None:
        for action in actions:
            match action:
                case do.Send(control, frame):
                    assert isinstance(control, GatewayControl)
                    control.send(frame)
                case do.Join(client, gateway, route, instance):
                    assert isinstance(client, socket.socket)
                    assert isinstance(gateway, socket.socket)
                    self._join(client, gateway, route, instance)
                case do.Watch(leg):
                    assert isinstance(leg, socket.socket)
                    self._watch(leg)
                case do.Refuse(leg, rule):
                    assert isinstance(leg, socket.socket)
                    self._count(rule.value, _peer(leg))
                    _alert(leg, rule)
                case do.Drop(leg, rule):
                    assert isinstance(leg, socket.socket)
                    if rule is not None:
                        self._count(rule.value, _peer(leg))
                    self._unwatch(leg)
                    _reset(leg)
                case do.Hang(control, rule):
                    assert isinstance(control, GatewayControl)
                    if rule is not None:
                        self._count(rule.value, "")
                    control.abort()

    def _join(self, client: socket.socket, gateway: socket.socket, route: Route, instance: str) -> None:
        self._unwatch(gateway)
        splice = Splice(client, gateway, self._holds)
        splice.done = lambda: self._ended(splice)
        self._splices[splice] = route, instance

    def _ended(self, splice: Splice) -> None:
        route, _ = self._splices.pop(splice)
        up, down = splice.carried
        self._carried[0] += up
        self._carried[1] += down
        self._board.ended(route)

    def _watch(self, leg: socket.socket) -> None:
        """A waiting dial-back that becomes readable has ended, or speaks before it is spoken to."""
        self._watched.add(leg)
        asyncio.get_running_loop().add_reader(
            leg.fileno(), lambda: self._run(self._board.leg_lost(leg, time.monotonic()))
        )

    def _unwatch(self, leg: socket.socket) -> None:
        if leg in self._watched:
            self._watched.discard(leg)
            asyncio.get_running_loop().remove_reader(leg.fileno())

    def _tick(self) -> None:
        self._run(self._board.expire(time.monotonic()))
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)

    def _count(self, rule: str, address: str, **facts: object) -> None:
        self.refused[rule] += 1
        _log.info("refused", rule=rule, peer=address, **facts)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_silent(leg: do.Leg) -> bool:
    assert isinstance(leg, socket.socket)
    try:
        return peek(leg, 1) is None
    except PeerGoneError:
        return False


def _peer(sock: socket.socket) -> str:
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return ""


def _reset(sock: socket.socket) -> None:
    dial.reset_on_close(sock)
    sock.close()


def _alert(sock: socket.socket, rule: Rule | RouteRule) -> None:
    """Answer the ClientHello with a fatal alert. The hello is taken first: unread bytes would turn it into a reset."""
    alert = bytes([0x15, 3, 3, 0, 2, 2, _ALERTS.get(rule, _ACCESS_DENIED)])
    try:
        sock.recv(client_hello.LIMIT)
        sock.send(alert)
    except OSError:
        pass
    sock.close()

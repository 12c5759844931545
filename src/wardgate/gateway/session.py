"""One access session at the gateway: from its lease to the one function that ends it.

    STARTING ── listeners known, control plane told ──► ACTIVE ──┐
        └────────────────────── end() ──────────────────────────►├─► ENDING ──► ENDED

Laws:
1. Everything that ends a session goes through `end`, which runs once. It stops new work, cuts every socket, kills what
   runs on in the database, closes the audit chain, and only then tells the control plane why.
2. A data stream is accepted only while the session is ACTIVE and a control stream lives.
3. Time is counted on the monotonic clock from the seconds that the control plane gave.
4. Credentials are wiped when the session ends; they are nowhere else.

What may not be here: sockets (data streams and dialling have them), HTTP (the registry has it).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from time import monotonic, time
from typing import Any

from .. import __version__
from ..api.machine import Lease, MaskRule
from ..api.models import EndReason
from ..audit import records
from ..audit.recorder import RecordingFailed
from ..command.masking import Masking, Redactor, Rule, RuleError
from ..errors import WardgateError
from ..net import logs
from ..numbers import Numbers
from ..policy.decide import Policy
from ..proxy.facts import SessionRules
from ..proxy.work import Claims, WorkLog
from ..secret import Secret
from ..tunnel import frames
from ..wire.hello import attribution
from ..wire.login import LoginKeys
from .control_stream import ControlStream
from .idleness import Idleness
from .mongo.discovery import Kind, Role, Topology
from .mongo.ending import CursorRef, KillReport, kill_session_work
from .mongo.errors import MongoError
from .mongo.login import Login
from .mongo.target import Target
from .mongo.topology import TopologyMonitor
from .spares import Spares
from .spool.epoch import EpochRecorder
from .stream import DataStream, SessionLinks

_log = logs.get("session")
_CUT_SECONDS = 1.0  # what a waiting command's sentence may take to reach its client

# What a client whose command waits is told; None: it hears nothing, because the user ended the session.
_SENTENCES: dict[EndReason, str | None] = {
    EndReason.CLIENT_CLOSED: None,
    EndReason.EXPIRED: "wardgate: the access session has expired; open a new one.",
    EndReason.TERMINATED: "wardgate: the access session was terminated.",
    EndReason.IDLE: "wardgate: the access session was idle for too long and has ended.",
    EndReason.CLIENT_LOST: "wardgate: the local proxy is gone, so the access session has ended.",
    EndReason.GATEWAY_LOST: "wardgate: the gateway has lost the control plane, so the access session has ended.",
    EndReason.RIGHTS_LOST: "wardgate: the right to this access was withdrawn.",
    EndReason.AUDIT_FAILED: "wardgate: the command could not be recorded, so the access session has ended.",
    EndReason.FAILED_TO_START: "wardgate: the access session could not start.",
}


class Phase(Enum):
    """How far a session has come."""

    STARTING = "starting"
    ACTIVE = "active"
    ENDING = "ending"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a session asks of its registry."""

    activated: Callable[[LiveSession], Awaitable[None]]
    withdraw: Callable[[str, int], None]
    ended: Callable[[LiveSession, EndReason, str | None], None]
    given_up: Callable[[LiveSession], None]


class LiveSession:
    """A leased session. Made by `Sessions.open`; belongs to the event loop."""

    def __init__(
        self,
        lease: Lease,
        gateway_id: str,
        target: Target,
        login: Login,
        local_password: Secret | None,
        recorder: EpochRecorder,
        redactor: Redactor,
        hooks: Hooks,
        numbers: Numbers,
        claims: Claims,
    ) -> None:
        self.id = lease.session_id
        self.epoch = lease.epoch
        self.phase = Phase.STARTING
        self._lease = lease
        self._gateway_id = gateway_id
        self._target = target
        self._login = login
        self._recorder = recorder
        self._hooks = hooks
        self._numbers = numbers
        self._spares = Spares(target, login)
        self._monitor = TopologyMonitor(target, login=login, on_change=self._topology_changed)
        self._rules = SessionRules(
            policy=Policy(allow_admin=lease.policy.allow_admin),
            work=WorkLog(claims),
            login_keys=LoginKeys(os.urandom, local_password),
            random=os.urandom,
            redactor=redactor,
            local_auth=lease.local_auth,  # without a password nobody gets in then, and that is right
        )
        self._control: ControlStream | None = None
        self._greeted: ControlStream | None = None  # the control stream that was told `ready`
        self._streams: set[DataStream] = set()
        self._emptied = asyncio.Event()
        self._numbered = 0
        self._ending: asyncio.Task[None] | None = None
        self.given_up = False  # only this epoch ends, the session goes on elsewhere or later
        self._tasks: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        # Runs while there is no control stream, also before the first: a lease that nobody comes for holds credentials.
        self._lost_timer: asyncio.TimerHandle | None = loop.call_later(
            numbers.client_lost, self.end_soon, EndReason.CLIENT_LOST
        )
        self._attached = False  # whether there has been a control stream
        self._expires_at = monotonic() + lease.expires_in_s
        self.certificate_until = self._expires_at + numbers.certificate_grace  # monotonic
        self._expiry = loop.call_later(lease.expires_in_s, self.end_soon, EndReason.EXPIRED)
        self._renewal = loop.call_later(lease.renew_by_s, self._not_renewed)
        self._idleness = Idleness(
            lease.policy.idle_timeout_s, lambda: self._streams, lambda: self.end_soon(EndReason.IDLE)
        )
        self._links = self._make_links()

    def _make_links(self) -> SessionLinks:
        return SessionLinks(
            session=self.id,
            user=self._lease.user,
            recorder=self._recorder,
            rules=self._rules,
            target=self._target,
            monitor=self._monitor,
            login=self._login,
            spares=self._spares,
            on_recording_failed=lambda reason: self.end_soon(EndReason.AUDIT_FAILED, reason),
        )

    # --- start ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Write the epoch's first record and find the deployment; MongoError, RecordingFailed."""
        lease = self._lease
        self._recorder.append(
            records.SessionOpened(
                user=lease.user,
                resource=lease.resource,
                account=lease.account,
                gateway=self._gateway_id,
                durability=lease.durability,
                version=__version__,
            )
        )
        if self._rules.redactor.rules is not None:
            self._note_masking()
        self._monitor.start()
        try:
            await self._monitor.wait_primary(self._numbers.tcp_connect)
        except MongoError:
            if all(member.role is Role.UNKNOWN for member in self._monitor.topology.members):
                raise  # nobody answers; a set without a primary is served, as drivers would

    def attach(self, control: ControlStream) -> None:
        """A control stream of the local proxy, at the start or after a loss; an older one gives way."""
        if self.ending:
            control.send(frames.Refused(code="session_refused", message="The session has ended."))
            control.close()
            return
        if self._control is not None:
            self._control.close()
            self._note("control_replaced")
        elif self._attached:
            self._note("control_reconnected")
        if self._lost_timer is not None:
            self._lost_timer.cancel()
            self._lost_timer = None
        self._attached = True
        self._control = control
        self._send_topology()

    # --- control stream -------------------------------------------------------------------------------------------

    def control_frame(self, stream: ControlStream, frame: frames.Frame) -> None:
        """What the local proxy says."""
        if stream is not self._control:
            return
        match frame:
            case frames.Listeners():
                self._links.listeners = {member.lower(): local for member, local in frame.members.items()}
                self._links.single = frame.main if frame.single else None
                self._tell_streams()
                if self._greeted is not stream:
                    self._greeted = stream
                    self._spawn(self._become_ready(stream))
            case frames.Alive():
                self._drop_all_but(frozenset(frame.streams))
            case frames.Bye():
                self.end_soon(EndReason.CLIENT_CLOSED)

    def control_lost(self, stream: ControlStream) -> None:
        """The local proxy is silent; it may come back within `client_lost` seconds."""
        if stream is not self._control:
            return
        self._control = None
        if self.phase in (Phase.ENDING, Phase.ENDED):
            return
        self._note("control_lost")
        self._lost_timer = asyncio.get_running_loop().call_later(
            self._numbers.client_lost, self.end_soon, EndReason.CLIENT_LOST
        )

    async def _become_ready(self, stream: ControlStream) -> None:
        if self.phase is Phase.STARTING:
            try:
                await self._hooks.activated(self)
            except WardgateError as error:
                stream.send(frames.Refused(code="session_refused", message=error.message))
                self.end_soon(EndReason.FAILED_TO_START, error.message)
                return
            if self.phase is not Phase.STARTING:
                return
            self.phase = Phase.ACTIVE
        stream.send(frames.Ready())

    def _send_topology(self) -> None:
        topology = self._monitor.topology
        if self._control is not None and topology.kind is not Kind.UNKNOWN:
            self._control.send(
                frames.Topology(
                    kind=topology.kind.value,
                    set_name=topology.set_name,
                    members=[frames.Member(address=each.address, role=each.role.value) for each in topology.members],
                )
            )

    # --- topology -------------------------------------------------------------------------------------------------

    def _topology_changed(self, topology: Topology) -> None:
        self._spares.topology_changed(topology)
        self._send_topology()
        self._tell_streams()

    def _tell_streams(self) -> None:
        for stream in tuple(self._streams):
            stream.topology_changed()

    # --- data streams ---------------------------------------------------------------------------------------------

    @property
    def ending(self) -> bool:
        """Whether its end has begun: from then on nothing of it is opened or attached."""
        return self._ending is not None

    @property
    def accepts(self) -> bool:
        """Whether a data stream may be opened now (law 2)."""
        return self.phase is Phase.ACTIVE and self._control is not None and not self.ending

    def accept(self, transport: asyncio.Transport, leftover: bytes) -> None:
        """Serve a data stream, or drop it."""
        if not self.accepts or len(self._streams) >= self._numbers.connections_per_session:
            transport.abort()
            return
        self._numbered += 1
        stream = DataStream(self._numbered, transport, leftover, self._links, on_end=self._stream_ended)
        self._streams.add(stream)

    def _drop_all_but(self, alive: frozenset[int]) -> None:
        """The local proxy is back and has named its streams: what came by a way that died is still open only here."""
        for stream in tuple(self._streams):
            if stream.number not in alive:
                stream.abort()

    def _stream_ended(self, stream: DataStream) -> None:
        self._streams.discard(stream)
        self._idleness.used(stream.last_command_at)
        if not self._streams:
            self._emptied.set()

    @property
    def connections(self) -> int:
        """Data streams that are open."""
        return len(self._streams)

    # --- lease ----------------------------------------------------------------------------------------------------

    def renewed(self, renew_by_s: float, expires_in_s: float) -> None:
        """The control plane confirmed the lease; an expiry can come nearer, never go away."""
        if self.phase in (Phase.ENDING, Phase.ENDED):
            return
        loop = asyncio.get_running_loop()
        self._renewal.cancel()
        self._renewal = loop.call_later(renew_by_s, self._not_renewed)
        expires_at = monotonic() + expires_in_s
        if expires_at < self._expires_at:
            self._expires_at = expires_at
            self._expiry.cancel()
            self._expiry = loop.call_later(expires_in_s, self.end_soon, EndReason.EXPIRED)

    @property
    def masking(self) -> str:
        """The digest of the masking rules in force."""
        rules = self._rules.redactor.rules
        return "" if rules is None else rules.digest

    def mask(self, rules: Sequence[MaskRule]) -> None:
        """The project's masking rules are these now; ones that can't be used here end the session."""
        if self.phase in (Phase.ENDING, Phase.ENDED):
            return
        try:
            self._rules.redactor.rules = compiled(rules)
        except RuleError as error:
            self.end_soon(EndReason.AUDIT_FAILED, f"The project's masking rules can't be used here: {error.message}")
            return
        self._note_masking()

    def _note_masking(self) -> None:
        rules = self._rules.redactor.rules
        said = "none" if rules is None else f"{rules.count} in force, {rules.digest}"
        self._note("masking_rules", said)

    def _not_renewed(self) -> None:
        self.end_soon(EndReason.GATEWAY_LOST, "The control plane did not renew the lease in time.")

    # --- the end --------------------------------------------------------------------------------------------------

    def end_soon(self, reason: EndReason, message: str | None = None) -> None:
        """Begin to end; from a timer, a callback or a frame."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(reason, message))

    async def end(self, reason: EndReason, message: str | None = None) -> None:
        """End, and wait until everything is closed."""
        self.end_soon(reason, message)
        assert self._ending is not None
        await asyncio.shield(self._ending)

    async def give_up(self, why: str, *, fenced: bool = False) -> None:
        """Cut all and close the chain, but leave the session to its next epoch; `fenced`: that one lives already.

        What a fenced epoch left in MongoDB is not looked for: by its application name, the newer epoch's work would be
        found too. Its operations die with their sockets.
        """
        if self._ending is None:
            self.given_up = True
            self._ending = asyncio.get_running_loop().create_task(self._end(None, why, kill=not fenced))
        await asyncio.shield(self._ending)

    async def _end(self, reason: EndReason | None, message: str | None, *, kill: bool = True) -> None:
        """The one end of a session (law 1). `reason` None: only this epoch ends."""
        until = monotonic() + self._numbers.session_end
        worked = kill and self.phase is Phase.ACTIVE
        self.phase = Phase.ENDING
        self._idleness.stop()
        for timer in (self._expiry, self._renewal, self._lost_timer):
            if timer is not None:
                timer.cancel()
        try:
            if reason is not None:
                self._hooks.withdraw(self.id, int(time() + self._lease.expires_in_s + self._numbers.certificate_grace))
            elif self._control is not None:
                self._control.send(frames.Suspended())
            await self._cut(reason)
            if reason is not None and self._control is not None:
                # Not earlier: the local proxy closes all by it, also what its clients are being told just now.
                self._control.send(frames.Ended(reason=reason.value, message=message))
            report = await self._kill(until - monotonic()) if worked else KillReport(())
            await self._close_chain(reason, message, report)
        finally:
            await self._release()
            _log.info("session ended", session=self.id, reason=reason.value if reason else message)
            if reason is not None:
                self._hooks.ended(self, reason, message)
            else:
                self._hooks.given_up(self)

    async def _release(self) -> None:
        """Credentials, tasks and the control stream; nothing of the session is left here."""
        self._login.wipe()
        self._rules.login_keys.wipe()
        self._rules.work.release()
        await self._monitor.close()
        for task in self._tasks:
            task.cancel()
        if self._control is not None:
            self._control.close()
            self._control = None
        self.phase = Phase.ENDED

    async def _cut(self, reason: EndReason | None) -> None:
        """Tell the commands that wait, then abort every socket."""
        self._spares.close()
        # Where the session goes on, a lost connection is what drivers retry; an error document is not.
        sentence = None if reason is None else _SENTENCES[reason]
        for stream in tuple(self._streams):
            stream.end(sentence)
        if self._streams:
            self._emptied.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CUT_SECONDS):
                    await self._emptied.wait()
        for stream in tuple(self._streams):
            stream.abort()

    async def _kill(self, seconds: float) -> KillReport:
        return await kill_session_work(
            self._target,
            self._login,
            attribution(self._lease.user, self.id),
            logical_sessions=self._rules.work.logical_sessions,
            cursors=[CursorRef(*each) for each in self._rules.work.cursors],
            members=[member.address for member in self._monitor.topology.members],
            deadline=max(seconds, 0.5),
        )

    async def _close_chain(self, reason: EndReason | None, message: str | None, report: KillReport) -> None:
        record = records.SessionClosed(
            reason=reason.value if reason is not None else "gateway_stopping",
            message=message or "",
            killed=report.killed,
            not_killed=report.not_killed,
        )
        try:
            self._recorder.append(record)
        except RecordingFailed as error:
            _log.error("closing record not written", session=self.id, message=error.message)
        await self._recorder.close()

    def _note(self, event: str, message: str = "") -> None:
        try:
            self._recorder.append(records.SessionNotice(event, message))
        except RecordingFailed as error:
            self.end_soon(EndReason.AUDIT_FAILED, error.message)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def statistics(self) -> dict[str, Any]:
        """For a look inside a running gateway."""
        return {
            "session": self.id,
            "epoch": self.epoch,
            "phase": self.phase.value,
            "control": self._control is not None,
            "connections": [stream.statistics() for stream in self._streams],
            "spares": self._spares.statistics(),
            "topology": self._monitor.topology.kind,
        }


def compiled(rules: Sequence[MaskRule]) -> Masking | None:
    """What masks by these rules; None for none. RuleError for one that this version can't use."""
    return Masking([Rule(rule.kind, rule.expression) for rule in rules]) if rules else None

"""The sessions that this gateway serves: opened by control streams, ended by anybody who may, listed in heartbeats.

A control stream for an unknown session asks for its lease; whether the certificate's session may be served is the
control plane's answer to that and nobody's guess. What the control plane could not be told at once (an end) is told
again after every heartbeat until it is taken.

Other instances of the gateway may serve the session before and after us. So an epoch can be given up without the
session being over: when another lease has taken over, when this instance stops, or when a session that has run can't go
on here.

Law: a session that has begun to end here never comes back here, unless the control plane says that our end of it did
not count. It hears of an end only when all of it is done, and would lease the session anew to a certificate that is
still good.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from .. import __version__
from ..api.machine import Head, HeartbeatAnswer, HeartbeatRequest, SessionOrder, SessionState
from ..api.machine import LiveSession as LiveSessionFacts
from ..api.models import EndReason
from ..api.problems import ProblemCode, ProblemError
from ..audit.chain import Link
from ..command.masking import Redactor
from ..errors import WardgateError
from ..net import logs
from ..net.machine import SignedClient
from ..numbers import Numbers
from ..proxy.work import Claims
from ..tunnel import frames
from .control_stream import ControlStream
from .leases import LeasedSession, fetch_lease
from .mongo.approach import approach
from .mongo.site import Site
from .session import Hooks, LiveSession, Phase, compiled
from .spool.spool import Spool
from .tunnel.listener import TunnelStream

_log = logs.get("sessions")
CONTROL_ALPN = "wardgate-ctl/1"
_EARLY_FRAMES = 16  # before the session is there a local proxy says hello, and pongs are not counted
_HAS_ENDED = "the session has ended"
# Why the control plane does not take our word on a session, for good.
_KNOWS_BETTER = frozenset({ProblemCode.NOT_FOUND, ProblemCode.SESSION_ENDED})
# A lease that was refused is final for the local proxy; an instance that was revoked is no reason for it to give up.
_PROBLEMS = {ProblemCode.LEASE_REFUSED: "lease_refused", ProblemCode.FORBIDDEN: "gateway_stopping"}


@dataclass(frozen=True, slots=True)
class _Report:
    """An end that the control plane does not know of yet."""

    session_id: str
    state: SessionState


class _Waiting:
    """The owner of a control stream whose session is still being opened."""

    def __init__(self) -> None:
        self.frames: list[frames.Frame] = []
        self.session: LiveSession | None = None
        self.lost = False

    def control_frame(self, stream: ControlStream, frame: frames.Frame) -> None:
        if self.session is not None:
            self.session.control_frame(stream, frame)
        elif len(self.frames) < _EARLY_FRAMES:
            self.frames.append(frame)
        else:
            self.lost = True
            stream.close()

    def control_lost(self, stream: ControlStream) -> None:
        self.lost = True
        if self.session is not None:
            self.session.control_lost(stream)


class Sessions:
    """All live sessions of one gateway process."""

    def __init__(
        self,
        client: SignedClient,
        spool: Spool,
        withdraw: Callable[[str, int], None],
        numbers: Numbers,
        advertise: str | None,
        site: Site,
    ) -> None:
        self._client = client
        self._spool = spool
        self._withdraw = withdraw
        self._numbers = numbers
        self._advertise = advertise
        self._site = site
        self._claims = Claims()
        self._live: dict[str, LiveSession] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._reports: dict[str, _Report] = {}
        self._over: dict[str, float] = {}  # ended here: until when (monotonic) a certificate of theirs may be shown
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    # --- the tunnel -----------------------------------------------------------------------------------------------

    def authorise(self, session_id: str, alpn: str, certificate: bytes) -> str | None:
        """Whether a stream with this certificate may be dispatched: None, or why not."""
        if alpn == CONTROL_ALPN:
            # Of what has not ended here the control plane decides, when the lease is asked for.
            return _HAS_ENDED if self._has_ended(session_id) else None
        if self._stopping:
            return "the gateway is being stopped"
        session = self._live.get(session_id)
        return None if session is not None and session.accepts else "the session is not active"

    def _has_ended(self, session_id: str) -> bool:
        session = self._live.get(session_id)
        return session_id in self._over or (session is not None and session.ending and not session.given_up)

    def handle(self, stream: TunnelStream) -> None:
        """A stream that was authorised."""
        transport, leftover = stream.take()
        if stream.alpn == CONTROL_ALPN:
            self._control(stream.session_id, transport, leftover)
            return
        session = self._live.get(stream.session_id)
        if session is None:
            transport.abort()
        else:
            session.accept(transport, leftover)

    def _control(self, session_id: str, transport: asyncio.Transport, leftover: bytes) -> None:
        owner = _Waiting()
        stream = ControlStream(
            transport,
            leftover,
            owner,
            ping_every=self._numbers.control_ping,
            lost_after=self._numbers.control_lost,
        )
        self._spawn(self._serve(session_id, stream, owner))

    async def _serve(self, session_id: str, stream: ControlStream, owner: _Waiting) -> None:
        """Bring the control stream and its session together."""
        try:
            session = await self._session(session_id)
        except WardgateError as error:
            stream.send(frames.Refused(code=_refusal_code(error), message=error.message))
            stream.close()
            return
        owner.session = session
        if owner.lost:
            return  # the session waits as long as for any lost control stream
        session.attach(stream)
        for frame in owner.frames:
            session.control_frame(stream, frame)

    async def _session(self, session_id: str) -> LiveSession:
        """The live session, opened if need be; two control streams at once open one."""
        if self._has_ended(session_id):
            raise WardgateError("session_refused", "The session has ended.")
        session = self._live.get(session_id)
        if self._stopping or (session is not None and session.given_up):
            raise WardgateError("gateway_stopping", "This instance of the gateway gives the session up: dial again.")
        if session is not None:
            return session
        opening = self._opening.get(session_id)
        if opening is None:
            opening = asyncio.get_running_loop().create_task(self._open(session_id))
            self._opening[session_id] = opening
            opening.add_done_callback(lambda _: self._opening.pop(session_id, None))
        await asyncio.shield(opening)
        session = self._live.get(session_id)
        if session is None:
            raise WardgateError("gateway_stopping", "The session was taken away while it was being opened: dial again.")
        return session

    async def _open(self, session_id: str) -> None:
        leased = await fetch_lease(self._client, session_id)
        session = await self._make(leased)
        self._live[session_id] = session
        _log.info("session leased", session=session_id, epoch=session.epoch)
        try:
            await session.start()
        except WardgateError as error:
            if leased.lease.active:
                await session.give_up("The session could not go on at this instance of the gateway.")
            else:
                session.end_soon(EndReason.FAILED_TO_START, error.message)
            raise

    async def _make(self, leased: LeasedSession) -> LiveSession:
        lease = leased.lease
        redactor = Redactor(compiled(lease.masking))  # before anything is opened: rules that can't be used end it here
        target, login = await approach(lease.target, leased.credentials, self._site, self._numbers)
        recorder = self._spool.open_epoch(
            lease.session_id,
            lease.epoch,
            audit_public_key=lease.audit_public_key,
            audit_key_id=lease.audit_key_id,
            gateway_id=self._client.identity.id,
            previous=_link(lease.previous_head),
            durability=lease.durability,
            on_failed=lambda reason: self._audit_failed(lease.session_id, reason),
        )
        hooks = Hooks(activated=self._activated, withdraw=self._withdraw, ended=self._ended, given_up=self._given_up)
        return LiveSession(
            lease,
            self._client.identity.id,
            target,
            login,
            leased.local_password,
            recorder,
            redactor,
            hooks,
            self._numbers,
            self._claims,
        )

    def _audit_failed(self, session_id: str, reason: str) -> None:
        session = self._live.get(session_id)
        if session is not None:
            session.end_soon(EndReason.AUDIT_FAILED, reason)

    # --- the control plane ----------------------------------------------------------------------------------------

    async def _activated(self, session: LiveSession) -> None:
        await self._client.send(
            "POST", f"/gateway/sessions/{session.id}/state", SessionState(epoch=session.epoch, status="active")
        )

    def _ended(self, session: LiveSession, reason: EndReason, message: str | None) -> None:
        if self._live.get(session.id) is session:
            del self._live[session.id]
        now = monotonic()
        self._over = {each: until for each, until in self._over.items() if until > now}
        self._over[session.id] = session.certificate_until
        state = SessionState(epoch=session.epoch, status="ended", end_reason=reason, message=message)
        self._reports[session.id] = _Report(session.id, state)
        self._spawn(self._deliver())

    def _given_up(self, session: LiveSession) -> None:
        """Only the epoch is over: the next lease of the session may be ours again."""
        if self._live.get(session.id) is session:
            del self._live[session.id]

    async def _deliver(self) -> None:
        """Tell the control plane the ends that it does not know of; what fails waits for the next heartbeat."""
        for report in tuple(self._reports.values()):
            try:
                await self._client.send("POST", f"/gateway/sessions/{report.session_id}/state", report.state)
            except ProblemError as error:
                _log.info("end not taken", session=report.session_id, code=error.code)
                if error.problem.code not in _KNOWS_BETTER:
                    continue
                # Ended already, or another epoch counts: whether the session may come back here is its word.
                self._over.pop(report.session_id, None)
            except WardgateError:
                return
            self._reports.pop(report.session_id, None)

    def heartbeat(self) -> HeartbeatRequest:
        """What is alive here."""
        live = [
            LiveSessionFacts(
                session_id=session.id, epoch=session.epoch, connections=session.connections, masking=session.masking
            )
            for session in self._live.values()
            if session.phase in (Phase.STARTING, Phase.ACTIVE)
        ]
        return HeartbeatRequest(
            version=__version__,
            sessions=live,
            advertise=self._advertise,
            host=socket.gethostname()[:255],
            spool_bytes=self._spool.backlog_bytes,
        )

    def answered(self, answer: HeartbeatAnswer) -> None:
        """What must die dies, what was renewed lives on."""
        for order in answer.end:
            self.end(order)
        for renewal in answer.renewed:
            session = self._live.get(renewal.session_id)
            if session is not None:
                session.renewed(renewal.renew_by_s, renewal.expires_in_s)
                if renewal.masking is not None:
                    session.mask(renewal.masking)
        if self._reports:
            self._spawn(self._deliver())

    def end(self, order: SessionOrder) -> None:
        """The control plane wants a session ended; an order for an older epoch is not for the one that lives now."""
        session = self._live.get(order.session_id)
        if session is None or order.epoch not in (None, session.epoch):
            return
        if order.fenced:
            self._spawn(session.give_up("Another lease of the session has taken over.", fenced=True))
        else:
            session.end_soon(order.reason, order.message)

    async def stop(self, *, revoked: bool = False) -> None:
        """This instance stops: its sessions go on elsewhere; or the gateway was revoked: they end."""
        self._stopping = True
        for task in tuple(self._opening.values()):
            task.cancel()
        sessions = tuple(self._live.values())
        if revoked:
            await asyncio.gather(*(each.end(EndReason.RIGHTS_LOST, "The gateway was revoked.") for each in sessions))
        else:
            await asyncio.gather(*(each.give_up("The gateway was stopped.") for each in sessions))
        for work in tuple(self._tasks):
            work.cancel()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def statistics(self) -> dict[str, Any]:
        """For a look inside a running gateway."""
        return {
            "sessions": [session.statistics() for session in self._live.values()],
            "opening": len(self._opening),
            "undelivered_ends": len(self._reports),
        }


def _link(head: Head | None) -> Link | None:
    return None if head is None else Link(head.epoch, head.seq, bytes.fromhex(head.hash))


def _refusal_code(error: WardgateError) -> str:
    """How a failed start is named to the local proxy: MongoDB's failures keep their code, ours get one of a few."""
    if isinstance(error, ProblemError):
        return _PROBLEMS.get(error.problem.code, "failed_to_start")
    return "failed_to_start" if error.code in ("unreachable", "seal_broken") else error.code

"""From a granted request to the end of its session: keys, loop, signals and the last word.

The private key is made here and lives in memory only; core dumps are switched off while it does. With a client, what
serves the session is a process of its own (see `job`).
"""

from __future__ import annotations

import asyncio
import platform
import resource
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from ... import __version__
from ...api.approvals import AccessRequestCreate
from ...api.models import (
    ClientFacts,
    EndReason,
    Route,
    Session,
    SessionGrant,
    SessionRequest,
    SessionRoutes,
    SessionStatus,
    VerificationState,
)
from ...api.problems import ProblemCode, ProblemError
from ...errors import WardgateError
from ...net import certs, loop
from ...numbers import DEFAULT
from .. import approval, mfa
from ..exits import Exit, exit_code_of_end
from ..forms import build, path
from ..settings import Settings
from .dialler import SessionOverError, TunnelDialler
from .link import End
from .listeners import Doors, Loopback, SocketFolder
from .proxy import InterruptedBeforeReadyError, LocalProxy
from .state import StateFile
from .view import BesideClient, EndFacts, Quiet, ReadyFacts, TerminalView, View, Views

if TYPE_CHECKING:
    from .client import Client

_ROUTES_SECONDS = 4.0
_SUMMARY_SECONDS = 1.5  # what the control plane may take to tell the counts; then the summary goes without


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for, checked. `client` is a program with its arguments, or nothing."""

    project_id: str
    resource: str
    account: str
    duration: timedelta
    duration_text: str
    port: int = 0
    reason: str | None = None
    local_auth: bool = False
    sockets: bool = False
    single: bool = False
    client: tuple[str, ...] = ()


class _Starter(Quiet):
    """The view that starts the client once the session is ready."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def ready(self, facts: ReadyFacts) -> None:
        self._client.start(facts)


def run_access(settings: Settings, wish: Wish, view: View) -> int:
    """Open the session, serve it, and return the exit code."""
    if wish.client:
        from . import job

        job.check(wish.client)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # First, so that a port in use opens no session.
    doors = SocketFolder(single=wish.single) if wish.sockets else Loopback(wish.port, single=wish.single)
    try:
        key = certs.make_key()
        grant = _request(settings, wish, key, view)
        for notice in grant.notices:
            view.notice("info", notice)
        serve = partial(_serve, settings, wish, grant, key, doors, view)
        if not wish.client:
            return serve(None)
        return job.run_in_front(wish.client, lambda line: serve(_client(wish, line)), doors.forget)
    finally:
        doors.close()


def _client(wish: Wish, line: socket.socket) -> Client:
    from .client import Client

    return Client(wish.client, line)


def _request(settings: Settings, wish: Wish, key: certs.PrivateKey, view: View) -> SessionGrant:
    body = build(
        SessionRequest,
        resource=wish.resource,
        account=wish.account,
        duration=wish.duration_text,
        reason=wish.reason,
        csr=certs.csr_to_pem(certs.make_csr(key)),
        local_auth=wish.local_auth,
        client=ClientFacts(
            version=__version__,
            platform=f"{platform.system()} {platform.machine()}"[:128],
            hostname=socket.gethostname()[:255],
        ),
    )
    may_ask = isinstance(view, TerminalView | BesideClient)
    with settings.api() as client:

        def send(challenge: str | None) -> SessionGrant:
            answered = body if challenge is None else body.model_copy(update={"mfa_challenge": challenge})
            return client.post(path("projects", wish.project_id, "sessions"), SessionGrant, answered)

        def request(reason: str) -> AccessRequestCreate:
            return build(
                AccessRequestCreate,
                resource=wish.resource,
                account=wish.account,
                duration=wish.duration_text,
                reason=reason,
            )

        return approval.asking(
            client,
            lambda: mfa.answering(client, send, may_ask=may_ask),
            wish.project_id,
            request,
            reason=wish.reason,
            may_ask=may_ask,
        )


def _serve(
    settings: Settings,
    wish: Wish,
    grant: SessionGrant,
    key: certs.PrivateKey,
    doors: Doors,
    view: View,
    client: Client | None,
) -> int:
    started = time.monotonic()
    state = _state(settings, wish, doors)
    state.begin(grant.session.id)
    if state.trouble is not None:
        view.notice("warning", state.trouble)
    views = Views(state, view) if client is None else Views(state, view, _Starter(client))
    try:
        end, connections = loop.run(_live(settings, grant, key, doors, views, client))
    except InterruptedBeforeReadyError:
        _abandon(settings, grant.session.id)
        return int(Exit.INTERRUPTED)
    except WardgateError:
        _abandon(settings, grant.session.id)
        raise
    finally:
        views.close()
    if not end.confirmed:
        _abandon(settings, grant.session.id)
    # Whoever runs a client has its output to look at: nothing to wait for.
    counted = _counted(settings, grant.session.id) if client is None else None
    view.ended(
        EndFacts(
            session_id=grant.session.id,
            reason=end.reason,
            message=end.message,
            duration_s=time.monotonic() - started,
            connections=connections,
            commands=None if counted is None else counted.commands,
            errors=None if counted is None else counted.errors,
            client_exit=None if client is None else client.exit_code,
        )
    )
    of_session = exit_code_of_end(end.reason)
    return of_session if client is None else client.outcome(of_session)


def _state(settings: Settings, wish: Wish, doors: Doors) -> StateFile:
    sockets = doors.folder if isinstance(doors, SocketFolder) else None
    return StateFile(settings.folder, settings.domain(), wish.project_id, sockets)


async def _live(
    settings: Settings, grant: SessionGrant, key: certs.PrivateKey, doors: Doors, view: View, client: Client | None
) -> tuple[End, int]:
    async def ask() -> Sequence[Route]:
        return await asyncio.to_thread(_routes, settings, grant.session.id)

    dialler = TunnelDialler(grant, key, DEFAULT, ask)
    proxy = LocalProxy(grant, dialler, doors, view, DEFAULT)
    if client is not None:
        await client.attach(proxy.interrupt)
    else:
        running = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                running.add_signal_handler(number, proxy.interrupt)
    end = await proxy.run()
    if client is not None and client.running:
        view.notice("warning", f"The session is over ({end.reason}); {client.name} is asked to end.")
        await client.end()
    return end, proxy.connections


def _routes(settings: Settings, session_id: str) -> Sequence[Route]:
    """The ways to the session's gateway as they are now; SessionOverError, or WardgateError where nobody can say."""
    with settings.api(timeout_s=_ROUTES_SECONDS) as client:
        try:
            return client.get(path("sessions", session_id, "routes"), SessionRoutes).routes
        except ProblemError as problem:
            if problem.problem.code is not ProblemCode.SESSION_ENDED:
                raise
            over = client.get(path("sessions", session_id), Session)
            reason = over.end_reason or EndReason.GATEWAY_LOST
            raise SessionOverError(reason.value, over.end_message or problem.message) from problem


def _abandon(settings: Settings, session_id: str) -> None:
    """Tell the control plane that nobody uses the session any more; it finds out by itself if this fails."""
    try:
        with settings.api(timeout_s=_SUMMARY_SECONDS) as client:
            client.call("POST", path("sessions", session_id, "abandon"))
    except WardgateError:
        return


def _counted(settings: Settings, session_id: str) -> Session | None:
    """The session once its whole record has arrived there; None if that takes longer than `_SUMMARY_SECONDS`."""
    until = time.monotonic() + _SUMMARY_SECONDS
    try:
        with settings.api(timeout_s=_SUMMARY_SECONDS) as client:
            while time.monotonic() < until:
                found = client.get(path("sessions", session_id), Session)
                if found.status is SessionStatus.ENDED and found.verification is not VerificationState.OPEN:
                    return found
                time.sleep(0.1)
    except WardgateError:
        pass
    return None

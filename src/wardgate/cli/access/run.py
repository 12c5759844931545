"""From a granted request to the end of its session: keys, loop, signals and the last word.

The private key is made here and lives in this process's memory only; core dumps are switched off while it does.
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

from ... import __version__
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
from .. import mfa
from ..exits import Exit, exit_code_of_end
from ..forms import path
from ..settings import Settings
from .dialler import SessionOverError, TunnelDialler
from .link import End
from .listeners import Listener, bind
from .proxy import InterruptedBeforeReadyError, LocalProxy
from .view import EndFacts, TerminalView, View

_ROUTES_SECONDS = 4.0
_SUMMARY_SECONDS = 1.5  # what the control plane may take to tell the counts; then the summary goes without


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for, checked."""

    project_id: str
    resource: str
    account: str
    duration: timedelta
    duration_text: str
    port: int
    reason: str | None


def run_access(settings: Settings, wish: Wish, view: View) -> int:
    """Open the session, serve it, and return the exit code."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main = bind(None, wish.port)  # first, so that a port in use opens no session
    try:
        key = certs.make_key()
        grant = _request(settings, wish, key, view)
        for notice in grant.notices:
            view.notice("info", notice)
        return _serve(settings, grant, key, main, view)
    finally:
        main.close()


def _request(settings: Settings, wish: Wish, key: certs.PrivateKey, view: View) -> SessionGrant:
    body = SessionRequest(
        resource=wish.resource,
        account=wish.account,
        duration=wish.duration_text,
        reason=wish.reason,
        csr=certs.csr_to_pem(certs.make_csr(key)),
        client=ClientFacts(
            version=__version__,
            platform=f"{platform.system()} {platform.machine()}"[:128],
            hostname=socket.gethostname()[:255],
        ),
    )
    with settings.api() as client:
        return mfa.answering(
            client,
            lambda challenge: client.post(
                path("projects", wish.project_id, "sessions"),
                SessionGrant,
                body if challenge is None else body.model_copy(update={"mfa_challenge": challenge}),
            ),
            may_ask=isinstance(view, TerminalView),
        )


def _serve(settings: Settings, grant: SessionGrant, key: certs.PrivateKey, main: Listener, view: View) -> int:
    started = time.monotonic()
    try:
        end, connections = loop.run(_live(settings, grant, key, main, view))
    except InterruptedBeforeReadyError:
        _abandon(settings, grant.session.id)
        return int(Exit.INTERRUPTED)
    except WardgateError:
        _abandon(settings, grant.session.id)
        raise
    finally:
        view.close()
    if not end.confirmed:
        _abandon(settings, grant.session.id)
    counted = _counted(settings, grant.session.id)
    view.ended(
        EndFacts(
            session_id=grant.session.id,
            reason=end.reason,
            message=end.message,
            duration_s=time.monotonic() - started,
            connections=connections,
            commands=None if counted is None else counted.commands,
            errors=None if counted is None else counted.errors,
        )
    )
    return exit_code_of_end(end.reason)


async def _live(
    settings: Settings, grant: SessionGrant, key: certs.PrivateKey, main: Listener, view: View
) -> tuple[End, int]:
    async def ask() -> Sequence[Route]:
        return await asyncio.to_thread(_routes, settings, grant.session.id)

    dialler = TunnelDialler(grant, key, DEFAULT, ask)
    proxy = LocalProxy(grant, dialler, main, view, DEFAULT)
    running = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        running.add_signal_handler(number, proxy.interrupt)
    end = await proxy.run()
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

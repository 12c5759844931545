"""What a person or a program sees of an access session while it lives.

Views of the same events: lines and a status line for a terminal, a few lines beside a client that has the terminal, one
JSON object a line for a program. The URI is what people came for, so it stands alone on its line, ready to be copied.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol, TextIO

from ... import durations
from ..output import count, safe, to_json
from .uris import LocalLogin

VARIABLE = "WARDGATE_URI"  # where a client finds its URI
_MEMBERS_CHANGED = "The members of the set changed: `wardgate pam db uri {} --replica-set` prints its URI."
_RECONNECTED = "Reconnected to the gateway through {}; the ports are the same."
_LEFT = "{} left; the session then ends by itself."
_WARN_AT = (timedelta(minutes=10), timedelta(minutes=1))


@dataclass(frozen=True, slots=True)
class ReadyFacts:
    """What is known once the gateway is ready."""

    session_id: str
    resource: str
    account: str
    uri: str
    shown_uri: str  # without the session password: for the arguments of a program
    replica_set_uri: str | None
    port: int | None  # None: Unix sockets
    members: list[dict[str, str]]
    expires_at: datetime
    granted_s: float
    login: LocalLogin | None = None  # what a client may log in with
    local_auth: bool = False  # and must


@dataclass(frozen=True, slots=True)
class EndFacts:
    """What is known at the end; counts are None where the control plane could not be asked."""

    session_id: str
    reason: str
    message: str | None
    duration_s: float
    connections: int
    commands: int | None
    errors: int | None
    client_exit: int | None = None


class View(Protocol):
    """What the local proxy tells."""

    def ready(self, facts: ReadyFacts) -> None: ...

    def members_changed(self, facts: ReadyFacts) -> None: ...

    def notice(self, level: str, message: str) -> None: ...

    def reconnected(self, route: str) -> None: ...

    def connections(self, number: int) -> None: ...

    def ended(self, facts: EndFacts) -> None: ...

    def close(self) -> None: ...


class Quiet:
    """A view of nothing: the base of those that tell a part."""

    def ready(self, facts: ReadyFacts) -> None:
        """The session can be used."""

    def members_changed(self, facts: ReadyFacts) -> None:
        """Members came or went: the full URI is another one."""

    def notice(self, level: str, message: str) -> None:
        """A sentence."""

    def reconnected(self, route: str) -> None:
        """The way to the gateway was lost and found."""

    def connections(self, number: int) -> None:
        """So many connections are open now."""

    def ended(self, facts: EndFacts) -> None:
        """It is over."""

    def close(self) -> None:
        """Nothing more will be told but the end."""


class Views:
    """Several views as one."""

    def __init__(self, *views: View) -> None:
        self._views = views

    def ready(self, facts: ReadyFacts) -> None:
        """To each."""
        for view in self._views:
            view.ready(facts)

    def members_changed(self, facts: ReadyFacts) -> None:
        """To each."""
        for view in self._views:
            view.members_changed(facts)

    def notice(self, level: str, message: str) -> None:
        """To each."""
        for view in self._views:
            view.notice(level, message)

    def reconnected(self, route: str) -> None:
        """To each."""
        for view in self._views:
            view.reconnected(route)

    def connections(self, number: int) -> None:
        """To each."""
        for view in self._views:
            view.connections(number)

    def ended(self, facts: EndFacts) -> None:
        """To each."""
        for view in self._views:
            view.ended(facts)

    def close(self) -> None:
        """Each."""
        for view in self._views:
            view.close()


class JsonView(Quiet):
    """One event a line, to standard output or to a file of events. Programs count connections for themselves."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def ready(self, facts: ReadyFacts) -> None:
        """`ready`, as docs/cli.md lists its keys."""
        self._event(
            "ready",
            session_id=facts.session_id,
            uri=facts.uri,
            replica_set_uri=facts.replica_set_uri,
            port=facts.port,
            members=facts.members,
            expires_at=rfc3339(facts.expires_at),
        )

    def notice(self, level: str, message: str) -> None:
        """`notice`."""
        self._event("notice", level=level, message=message)

    def reconnected(self, route: str) -> None:
        """`reconnected`, with the name of the route that the control stream takes now."""
        self._event("reconnected", route=route)

    def ended(self, facts: EndFacts) -> None:
        """`ended`."""
        self._event("ended", reason=facts.reason, message=facts.message, client_exit=facts.client_exit)

    def _event(self, event: str, **fields: Any) -> None:
        self._stream.write(to_json({"event": event, **fields}) + "\n")
        self._stream.flush()


class TerminalView:
    """Lines for a person; on a terminal a last line that counts the time down."""

    def __init__(self) -> None:
        dumb = os.environ.get("TERM") == "dumb"
        self._live = sys.stderr.isatty() and not dumb
        self._colour = sys.stdout.isatty() and not dumb and not os.environ.get("NO_COLOR")
        self._expires_at: datetime | None = None
        self._open = 0
        self._ticker: asyncio.TimerHandle | None = None
        self._warned: set[timedelta] = set()

    def ready(self, facts: ReadyFacts) -> None:
        """The URI, a mongosh line, the full URI, how long it lasts and how to end it."""
        self._expires_at = facts.expires_at
        self._say("")
        self._say(f"  {self._bold(facts.uri)}")
        self._say("")
        self._say(f"  mongosh    mongosh '{facts.uri}'")
        if facts.replica_set_uri is not None:
            self._say(f"  full set   {facts.replica_set_uri}")
        self._say(f"  session    {facts.session_id}: {safe(facts.account)} on {safe(facts.resource)}")
        self._say(f"  time       {_time(facts)}")
        if facts.login is not None and not facts.local_auth:
            self._say(f"  password   {facts.login.password} with any user name, where a tool insists on one")
        self._say("")
        if facts.local_auth:
            self._say("  Every client must log in with the password in the URI. Ctrl+C ends the session.")
        else:
            self._say("  No user name and no password are needed. Ctrl+C ends the session.")
        self._tick()

    def members_changed(self, facts: ReadyFacts) -> None:
        """Where to find the URI that is right now: what was printed scrolled away."""
        self.notice("info", _MEMBERS_CHANGED.format(facts.session_id))

    def notice(self, level: str, message: str) -> None:
        """A sentence, kept apart from the status line."""
        self._clear()
        _put(sys.stderr, f"{'warning' if level == 'warning' else 'note'}: {safe(message)}\n")
        self._draw()

    def reconnected(self, route: str) -> None:
        """The session goes on."""
        self.notice("info", _RECONNECTED.format(route))

    def connections(self, number: int) -> None:
        """Shown in the status line."""
        self._open = number
        self._draw()

    def ended(self, facts: EndFacts) -> None:
        """The summary."""
        self.close()
        counts = [count(facts.connections, "connection")]
        if facts.commands is not None:
            counts.append(count(facts.commands, "command"))
        if facts.errors:
            counts.append(count(facts.errors, "error"))
        length = durations.format(timedelta(seconds=round(facts.duration_s)))
        self._say("")
        self._say(f"  Session ended ({facts.reason}) after {length}: {', '.join(counts)}.")
        if facts.message:
            self._say(f"  {safe(facts.message)}")
        self._say(f"  wardgate pam session logs {facts.session_id}")

    def close(self) -> None:
        """Stop counting and leave a clean line."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self._clear()
        self._expires_at = None

    def _tick(self) -> None:
        self._warn()
        self._draw()
        self._ticker = asyncio.get_running_loop().call_later(1.0, self._tick)

    def _left(self) -> timedelta:
        assert self._expires_at is not None
        return max(timedelta(0), self._expires_at - datetime.now(UTC))

    def _warn(self) -> None:
        left = self._left()
        for mark in _WARN_AT:
            if mark not in self._warned and left <= mark:
                self._warned.add(mark)
                if left > mark - timedelta(seconds=5):  # not for a session that began below the mark
                    self.notice("warning", _LEFT.format(durations.format(mark)))

    def _draw(self) -> None:
        if not self._live or self._expires_at is None:
            return
        left = int(self._left().total_seconds())
        clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
        _put(sys.stderr, f"\r\x1b[2K  {clock} left · {count(self._open, 'connection')} open")

    def _clear(self) -> None:
        if self._live and self._expires_at is not None:
            _put(sys.stderr, "\r\x1b[2K")

    def _say(self, text: str) -> None:
        _put(sys.stdout, text + "\n")

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._colour else text


class BesideClient(Quiet):
    """For a person whose client has the terminal: few lines, on standard error, and nothing that moves."""

    def __init__(self, client: str) -> None:
        self._client = safe(client)
        # A client that edits its line has switched off what puts the cursor back to the left.
        self._end = "\r\n" if sys.stderr.isatty() else "\n"
        self._warnings: list[asyncio.TimerHandle] = []

    def ready(self, facts: ReadyFacts) -> None:
        """What the client is let loose on, and how long."""
        self._say(f"{safe(facts.account)} on {safe(facts.resource)} for {_time(facts)}: {facts.session_id}")
        if facts.local_auth and facts.login is not None:
            self._say(
                f"every connection must log in: {VARIABLE} has the whole URI; the password is {facts.login.password}"
            )
        left = facts.expires_at - datetime.now(UTC)
        loop = asyncio.get_running_loop()
        for mark in _WARN_AT:
            if left > mark:
                warn = partial(self.notice, "warning", _LEFT.format(durations.format(mark)))
                self._warnings.append(loop.call_later((left - mark).total_seconds(), warn))

    def notice(self, level: str, message: str) -> None:
        """A sentence, marked as ours."""
        self._say(f"{'warning' if level == 'warning' else 'note'}: {safe(message)}")

    def members_changed(self, facts: ReadyFacts) -> None:
        """As for anybody."""
        self.notice("info", _MEMBERS_CHANGED.format(facts.session_id))

    def reconnected(self, route: str) -> None:
        """The session goes on."""
        self.notice("info", _RECONNECTED.format(route))

    def ended(self, facts: EndFacts) -> None:
        """One line."""
        length = durations.format(timedelta(seconds=round(facts.duration_s)))
        self._say(f"session ended ({facts.reason}) after {length}: wardgate pam session logs {facts.session_id}")
        if facts.message:
            self._say(safe(facts.message))

    def close(self) -> None:
        """Warn no more."""
        for warning in self._warnings:
            warning.cancel()

    def _say(self, text: str) -> None:
        _put(sys.stderr, f"wardgate: {text}{self._end}")


def _put(stream: TextIO, text: str) -> None:
    """Write at once. A terminal that was closed hears nothing more, and that must not keep the session from its end."""
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _time(facts: ReadyFacts) -> str:
    until = facts.expires_at.astimezone()
    granted = durations.format(timedelta(seconds=facts.granted_s))
    return f"{granted}, until {until:%H:%M:%S}" + ("" if _today(until) else f" on {until:%d %B}")


def _today(moment: datetime) -> bool:
    return moment.date() == datetime.now(UTC).astimezone().date()


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

"""What a person or a program sees of an access session while it lives.

Two views of the same events: lines and a status line for a terminal, one JSON object a line for a program. The URI is
what people came for, so it stands alone on its line, ready to be copied.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from ... import durations
from ..output import count, print_json_line, safe

_WARN_AT = (timedelta(minutes=10), timedelta(minutes=1))


@dataclass(frozen=True, slots=True)
class ReadyFacts:
    """What is known once the gateway is ready."""

    session_id: str
    resource: str
    account: str
    uri: str
    replica_set_uri: str | None
    port: int
    members: list[dict[str, str]]
    expires_at: datetime
    granted_s: float


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


class View(Protocol):
    """What the local proxy tells."""

    def ready(self, facts: ReadyFacts) -> None: ...

    def notice(self, level: str, message: str) -> None: ...

    def reconnected(self, route: str) -> None: ...

    def connections(self, number: int) -> None: ...

    def ended(self, facts: EndFacts) -> None: ...

    def close(self) -> None: ...


class JsonView:
    """One event a line."""

    def ready(self, facts: ReadyFacts) -> None:
        """`ready`, as docs/cli.md lists its keys."""
        self._event(
            "ready",
            session_id=facts.session_id,
            uri=facts.uri,
            replica_set_uri=facts.replica_set_uri,
            port=facts.port,
            members=facts.members,
            expires_at=_rfc3339(facts.expires_at),
        )

    def notice(self, level: str, message: str) -> None:
        """`notice`."""
        self._event("notice", level=level, message=message)

    def reconnected(self, route: str) -> None:
        """`reconnected`, with the name of the route that the control stream takes now."""
        self._event("reconnected", route=route)

    def connections(self, number: int) -> None:
        """Programs count for themselves."""

    def ended(self, facts: EndFacts) -> None:
        """`ended`."""
        self._event("ended", reason=facts.reason, message=facts.message, client_exit=None)

    def close(self) -> None:
        """Nothing is drawn."""

    def _event(self, event: str, **fields: Any) -> None:
        print_json_line({"event": event, **fields})


class TerminalView:
    """Lines for a person; on a terminal a last line that counts the time down."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._colour = sys.stdout.isatty()
        self._expires_at: datetime | None = None
        self._open = 0
        self._ticker: asyncio.TimerHandle | None = None
        self._warned: set[timedelta] = set()

    def ready(self, facts: ReadyFacts) -> None:
        """The URI, a mongosh line, the full URI, how long it lasts and how to end it."""
        self._expires_at = facts.expires_at
        until = facts.expires_at.astimezone()
        granted = durations.format(timedelta(seconds=facts.granted_s))
        self._say("")
        self._say(f"  {self._bold(facts.uri)}")
        self._say("")
        self._say(f"  mongosh    mongosh '{facts.uri}'")
        if facts.replica_set_uri is not None:
            self._say(f"  full set   {facts.replica_set_uri}")
        self._say(f"  session    {facts.session_id}: {safe(facts.account)} on {safe(facts.resource)}")
        self._say(f"  time       {granted}, until {until:%H:%M:%S}" + ("" if _today(until) else f" on {until:%d %B}"))
        self._say("")
        self._say("  No user name and no password are needed. Ctrl+C ends the session.")
        self._tick()

    def notice(self, level: str, message: str) -> None:
        """A sentence, kept apart from the status line."""
        self._clear()
        sys.stderr.write(f"{'warning' if level == 'warning' else 'note'}: {safe(message)}\n")
        self._draw()

    def reconnected(self, route: str) -> None:
        """The session goes on."""
        self.notice("info", f"Reconnected to the gateway through {route}; the ports are the same.")

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
                    self.notice("warning", f"{durations.format(mark)} left; the session then ends by itself.")

    def _draw(self) -> None:
        if not self._live or self._expires_at is None:
            return
        left = int(self._left().total_seconds())
        clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
        sys.stderr.write(f"\r\x1b[2K  {clock} left · {count(self._open, 'connection')} open")
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._live and self._expires_at is not None:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()

    def _say(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._colour else text


def _today(moment: datetime) -> bool:
    return moment.date() == datetime.now(UTC).astimezone().date()


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

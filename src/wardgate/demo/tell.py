"""How the demo is told: lines for a person, one JSON event a line for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.status import Status


@dataclass(frozen=True, slots=True)
class Facts:
    """What a step has to show: one sentence, the same as values, and records where it is about them."""

    sentence: str
    values: dict[str, Any]
    records: Sequence[dict[str, Any]] = field(default=())


@dataclass(frozen=True, slots=True)
class Invitation:
    """Everything that a visitor can paste while the demo is up."""

    session_id: str
    uri: str
    mongosh: str
    wardgate: str
    domain: str
    email: str
    password_path: str
    config: str
    project_id: str
    resource: str
    accounts: tuple[str, ...]


class Teller(Protocol):
    """What the story says."""

    def begin(self, title: str) -> None: ...

    def done(self, name: str, title: str, facts: Facts, duration_ms: float) -> None: ...

    def invite(self, invitation: Invitation) -> None: ...

    def ended(self, session: dict[str, Any], reason: str, verification: dict[str, Any]) -> None: ...

    def failed(self, lines: Sequence[str]) -> None: ...

    def close(self) -> None: ...


class JsonTeller:
    """One event a line."""

    def begin(self, title: str) -> None:
        """Only what is done is an event."""

    def done(self, name: str, title: str, facts: Facts, duration_ms: float) -> None:
        """`step`, with what it found."""
        self._event("step", step=name, duration_ms=round(duration_ms, 1), **facts.values)

    def invite(self, invitation: Invitation) -> None:
        """`ready`: the session can be used until the demo is ended."""
        self._event(
            "ready",
            uri=invitation.uri,
            session_id=invitation.session_id,
            domain=invitation.domain,
            config_dir=invitation.config,
            project_id=invitation.project_id,
        )

    def ended(self, session: dict[str, Any], reason: str, verification: dict[str, Any]) -> None:
        """`ended`, with the session and what its record is worth."""
        self._event("ended", reason=reason, session=session, verification=verification)

    def failed(self, lines: Sequence[str]) -> None:
        """`failed`: what, and the end of the log."""
        self._event("failed", message=lines[0], log=list(lines[1:]))

    def close(self) -> None:
        """Nothing is drawn."""

    def _event(self, event: str, **values: Any) -> None:
        sys.stdout.write(json.dumps({"event": event, **values}, ensure_ascii=False) + "\n")
        sys.stdout.flush()


class TerminalTeller:
    """Lines for a person. Colour says state and nothing else."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, markup=True, emoji=False, soft_wrap=True)
        self._status: Status | None = None
        self._console.print("\n  [bold]wardgate[/] on this machine, against a real MongoDB\n")

    def begin(self, title: str) -> None:
        """A spinner while the step runs, on a terminal only."""
        self.close()
        if self._console.is_terminal:
            self._status = self._console.status(f"  {title}", spinner="dots", spinner_style="dim")
            self._status.start()

    def done(self, name: str, title: str, facts: Facts, duration_ms: float) -> None:
        """One line; the log of the session as a table below its own."""
        self.close()
        self._say(f"  [green]✓[/] {title:<14}{_plain(facts.sentence)} [dim]{duration_ms / 1_000:.1f} s[/]")
        if facts.records:
            self._table(facts.records)

    def invite(self, invitation: Invitation) -> None:
        """What to paste."""
        wardgate = _plain(invitation.wardgate)
        access = f"pam db access --resource {invitation.resource} --project-id {invitation.project_id} --duration 1h"
        self._say("\n  [bold]Work in it[/] (another terminal; no user name, no password)\n")
        self._say(f"    {_plain(invitation.mongosh)} '{invitation.uri}'")
        self._say("\n  [bold]Look at the record[/], signed in as the administrator\n")
        self._say(f"    export WARDGATE_DOMAIN={invitation.domain} WARDGATE_CONFIG_DIR={invitation.config}")
        self._say(f"    {wardgate} pam session logs {invitation.session_id}")
        self._say(f"    {wardgate} {access} --account {invitation.accounts[0]}")
        self._say("\n  [bold]Sign in yourself[/]\n")
        self._say(f"    {wardgate} login --email {invitation.email} --password-stdin < {invitation.password_path}")
        self._say("\n  Ctrl+C ends the session and removes everything.\n")

    def ended(self, session: dict[str, Any], reason: str, verification: dict[str, Any]) -> None:
        """The summary."""
        self.close()
        state = verification["state"]
        colour = {"verified": "green", "tampered": "red"}.get(state, "yellow")
        self._say(
            f"  [green]✓[/] {'ended':<14}{reason} after {session['duration_s'] or 0:.0f} s, "
            f"{_count(session['commands'], 'command')}, {_count(session['errors'], 'error')}"
        )
        self._say(f"  [green]✓[/] {'record':<14}[{colour}]{state}[/], {_count(verification['records'], 'record')}\n")

    def failed(self, lines: Sequence[str]) -> None:
        """What failed, and the last words of who failed."""
        self.close()
        self._say(f"  [red]✗[/] {_plain(lines[0])}")
        for line in lines[1:]:
            self._say(f"    [dim]{_plain(line)}[/]")

    def close(self) -> None:
        """Take the spinner away."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _table(self, records: Sequence[dict[str, Any]]) -> None:
        from rich.table import Table

        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
        for heading in ("", "effect", "command", "where", "documents", "time"):
            table.add_column(heading, justify="right" if heading in {"documents", "time"} else "left")
        for record in records:
            table.add_row("    ", *(_plain(cell) for cell in _cells(record)), style="red" if _denied(record) else "")
        self._console.print()
        self._console.print(table)
        self._console.print()

    def _say(self, text: str) -> None:
        self._console.print(text)


def _denied(record: dict[str, Any]) -> bool:
    return bool(record["kind"] == "denied")


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    where = ".".join(part for part in (record["database"], record["collection"]) if part)
    if _denied(record):
        return ("denied", record["command"] or "", where, "", f"rule {record['rule']}")
    documents = "" if record["documents"] is None else str(record["documents"])
    took = "" if record["duration_us"] is None else f"{record['duration_us'] / 1_000:.1f} ms"
    return (record["effect"] or "", record["command"] or "", where, documents, took)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _plain(text: str) -> str:
    """Text that rich takes as it stands."""
    return text.replace("[", r"\[")

"""`wardgate pam session …`: who reached what, and every command."""

from __future__ import annotations

import json
from collections.abc import Iterable

import click

from ...api.models import Record, Session, Verification, VerificationState
from .. import options
from ..exits import Exit
from ..forms import path
from ..output import count, exact, line, print_facts, print_json, print_json_line, print_table, safe, show, span, when
from ..settings import Settings

_BODY_WIDTH = 160


@click.command(name="list")
@options.project_id
@click.option("--limit", type=click.IntRange(1, 10_000), default=None, help="At most so many.")
@options.json_output
@options.settings
def list_(settings: Settings, project_id: str, limit: int | None, as_json: bool) -> None:
    """List a project's sessions, newest first."""
    sessions: list[Session] = []
    with settings.api() as client:
        for session in client.pages(path("projects", project_id, "sessions"), Session):
            if limit is not None and len(sessions) >= limit:
                break
            sessions.append(session)
    if as_json:
        print_json(sessions)
        return
    print_table(
        ("ID", "USER", "RESOURCE", "ACCOUNT", "STATUS", "ENDED BY", "STARTED", "DURATION", "COMMANDS", "ERRORS"),
        [
            (
                s.id,
                s.user,
                s.resource,
                s.account,
                s.status.value,
                s.end_reason.value if s.end_reason else "–",
                when(s.started_at or s.created_at),
                span(s.duration_s),
                str(s.commands),
                str(s.errors),
            )
            for s in sessions
        ],
        empty="No session yet: open one with `wardgate pam db access`.",
    )


@click.command(name="show")
@click.argument("session_id")
@options.json_output
@options.settings
def show_(settings: Settings, session_id: str, as_json: bool) -> None:
    """Show one session: who, what, when, for how long, and why it ended."""
    with settings.api() as client:
        found = client.get(path("sessions", session_id), Session)
    if as_json:
        print_json(found)
        return
    print_facts(
        [
            ("session", found.id),
            ("user", found.user),
            ("resource", found.resource),
            ("account", found.account),
            ("reason", found.reason),
            ("gateway", found.gateway),
            ("client", " ".join(filter(None, (found.client.hostname, found.client.platform))) or None),
            ("status", found.status.value),
            ("link", found.link),
            ("created", exact(found.created_at)),
            ("started", exact(found.started_at)),
            ("ended", exact(found.ended_at)),
            ("expires", exact(found.expires_at) if found.ended_at is None else None),
            ("duration", span(found.duration_s)),
            ("ended by", found.end_reason.value if found.end_reason else None),
            ("", found.end_message),
            ("commands", str(found.commands)),
            ("errors", str(found.errors)),
            ("record", found.verification.value),
        ]
    )


@click.command()
@click.argument("session_id")
@options.json_output
@options.settings
def logs(settings: Settings, session_id: str, as_json: bool) -> None:
    """Show every command of a session with its outcome; with --json one object a line."""
    with settings.api() as client:
        records = client.pages(path("sessions", session_id, "records"), Record, {"limit": 500})
        if as_json:
            for record in records:
                print_json_line(record)
        else:
            _print_records(records)


def _print_records(records: Iterable[Record]) -> None:
    from rich.text import Text

    for record in records:
        text = Text(f"{record.at:%H:%M:%S.%f}"[:-3] + "  ", style="dim")
        outcome, style = _outcome(record)
        text.append(f"{outcome:<10} ", style=style)
        text.append(safe(_subject(record)), style="bold")
        text.append("  " + safe(_detail(record)), style="default not bold")
        show(text)


def _outcome(record: Record) -> tuple[str, str]:
    if record.kind in ("connection", "session"):
        return "–", "dim"
    if record.kind == "denied":
        return "denied", "red"
    if record.ok:
        return "ok", "green"
    if record.unacknowledged:
        return "sent", "yellow"
    if record.ok is None:
        return "no reply", "yellow"
    return f"error {record.code}" if record.code else "error", "red"


def _subject(record: Record) -> str:
    if record.kind in ("connection", "session"):
        number = f" {record.connection}" if record.connection is not None else ""
        return f"{record.kind}{number} {record.event or ''}"
    namespace = ".".join(filter(None, (record.database, record.collection)))
    return f"{record.command or '?'} {namespace}"


def _detail(record: Record) -> str:
    if record.kind in ("connection", "session"):
        shown = ((key, value) for key, value in (record.details or {}).items() if value not in (None, "", [], 0))
        return " ".join(f"{key}={value}" for key, value in shown)
    facts = []
    if record.documents is not None:
        facts.append(count(record.documents, "document"))
    if record.duration_us is not None:
        facts.append(f"{record.duration_us / 1000:.1f} ms")
    if record.rule:
        facts.append(f"rule {record.rule}")
    if record.error:
        facts.append(record.error)
    body = "" if record.body is None else json.dumps(record.body, ensure_ascii=False)
    if len(body) > _BODY_WIDTH:
        body = body[: _BODY_WIDTH - 1] + "…"
    return "  ".join(filter(None, (", ".join(facts), body)))


@click.command()
@click.argument("session_id")
@options.json_output
@options.settings
def terminate(settings: Settings, session_id: str, as_json: bool) -> None:
    """End a session now: its connections are cut and its operations killed."""
    with settings.api() as client:
        ended = client.post(path("sessions", session_id, "terminate"), Session)
    if as_json:
        print_json(ended)
    else:
        line(f"Session {ended.id} is being ended." if ended.ended_at is None else f"Session {ended.id} is ended.")


_VERIFY_EXIT = {
    VerificationState.VERIFIED: Exit.OK,
    VerificationState.OPEN: Exit.STILL_OPEN,
    VerificationState.INCOMPLETE: Exit.FAILED,
    VerificationState.TAMPERED: Exit.FAILED,
}


@click.command()
@click.argument("session_id")
@options.json_output
@options.settings
def verify(settings: Settings, session_id: str, as_json: bool) -> int:
    """Check that a session's record is whole and unaltered: verified, open, incomplete or tampered."""
    with settings.api() as client:
        found = client.get(path("sessions", session_id, "verification"), Verification)
    if as_json:
        print_json(found)
    else:
        print_facts(
            [
                ("record", found.state.value),
                ("records", str(found.records)),
                ("epochs", str(found.epochs)),
                ("where", f"epoch {found.epoch}, record {found.seq}" if found.epoch is not None else None),
                ("", found.detail),
                ("head", found.head),
            ]
        )
    return int(_VERIFY_EXIT[found.state])

"""`wardgate pam session …`: who reached what, and every command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...api.audit import AuditKey, ExportFormat
from ...api.models import EndReason, Record, Session, Verification, VerificationState
from ...api.sessions import SessionState
from .. import options
from ..exits import Exit
from ..forms import moment, path
from ..output import count, exact, line, print_facts, print_json, print_json_line, print_list, safe, show, span, when
from ..settings import Settings

if TYPE_CHECKING:
    from rich.text import Text

    from ...api.client import ApiClient

_BODY_WIDTH = 160
_WAIT_S = 25.0  # below what proxies cut off
_VERIFY_S = 600.0  # a session of millions of records is read from its first to its last


@click.command(name="list")
@options.project_id
@click.option("--state", type=click.Choice([each.value for each in SessionState]), default=None, help="Only such.")
@click.option("--end-reason", type=click.Choice([each.value for each in EndReason]), default=None, help="Only such.")
@click.option("--user", metavar="EMAIL", default=None, help="Only this person's.")
@click.option("--resource", metavar="NAME", default=None, help="Only on this resource.")
@click.option("--account", metavar="NAME", default=None, help="Only on this account.")
@click.option(
    "--since", metavar="TIME", default=None, help="Begun then or later: 2026-11-23T08:00:00Z, or how long ago: 7d."
)
@click.option("--until", metavar="TIME", default=None, help="Begun before then.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=None, help="At most so many.")
@options.json_output
@options.settings
def list_(settings: Settings, project_id: str, limit: int | None, as_json: bool, **asked: str | None) -> None:
    """List a project's sessions, newest first."""
    query: dict[str, object] = {name: value for name, value in asked.items() if value is not None}
    for name in ("since", "until"):
        at = moment(asked[name])
        if at is not None:
            query[name] = at.isoformat()
    with settings.api() as client:
        sessions = list(islice(client.pages(path("projects", project_id, "sessions"), Session, query), limit))
    print_list(
        sessions,
        as_json,
        ("ID", "USER", "RESOURCE", "ACCOUNT", "STATUS", "ENDED BY", "STARTED", "DURATION", "COMMANDS", "ERRORS"),
        lambda s: (
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
        ),
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
            ("documents", f"{found.documents_read} read, {found.documents_changed} changed"),
            ("record", found.verification.value),
        ]
    )


@click.command()
@click.argument("session_id")
@click.option("--follow", "-f", is_flag=True, help="Go on until the session has ended and all of its record is here.")
@click.option("--namespace", metavar="DB[.COLLECTION]", default=None, help="Only in this database or collection.")
@click.option("--command", metavar="NAME", default=None, help="Only this command: find, update, …")
@click.option(
    "--effect", type=click.Choice(["read", "write", "admin", "code", "auth"]), default=None, help="Only such."
)
@click.option("--failed", is_flag=True, help="Only what MongoDB or wardgate refused.")
@options.json_output
@options.settings
def logs(settings: Settings, session_id: str, follow: bool, as_json: bool, **asked: Any) -> None:
    """Show every command of a session with its outcome; with --json one object a line."""
    database, _, collection = (asked.pop("namespace") or "").partition(".")
    wanted = {**asked, "database": database or None, "collection": collection or None}
    query = {"limit": 500, **{name: value for name, value in wanted.items() if value}}
    with settings.api() as client:
        found = _followed(client, session_id, query) if follow else client.pages(_records(session_id), Record, query)
        for record in found:
            if as_json:
                print_json_line(record)
            else:
                show(described(record))


def _records(session_id: str) -> str:
    return path("sessions", session_id, "records")


def _followed(client: ApiClient, session_id: str, asked: dict[str, Any]) -> Iterator[Record]:
    """What comes, until the session is over; an outage of the control plane is waited out."""
    from ..patience import Patience

    patience = Patience()
    query = {**asked, "wait_s": _WAIT_S}
    while True:
        page = patience(lambda: client.page(path("sessions", session_id, "tail"), Record, query))
        yield from page.items
        if page.next is None:
            return
        query["after"] = page.next


def described(record: Record) -> Text:
    """One line for people."""
    from rich.text import Text

    text = Text(f"{record.at:%H:%M:%S.%f}"[:-3] + "  ", style="dim")
    outcome, style = _outcome(record)
    text.append(f"{outcome:<10} ", style=style)
    text.append(safe(_subject(record)), style="bold")
    text.append("  " + safe(_detail(record)), style="default not bold")
    return text


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
@click.argument("session_id", required=False)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Check this exported bundle, without a control plane.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="With --bundle: the published keys (PEM), as `session keys` prints them.",
)
@options.json_output
@options.settings
def verify(settings: Settings, session_id: str | None, bundle: Path | None, key: Path | None, as_json: bool) -> int:
    """Check that a session's record is whole and unaltered: verified, open, incomplete or tampered."""
    if bundle is not None:
        if key is None:
            raise click.UsageError("--bundle needs --key: a bundle that brought its own key would prove nothing.")
        from ..bundles import verify_bundle

        found = verify_bundle(bundle, key, session_id)
    elif session_id is None or key is not None:
        raise click.UsageError("Give a session's id, or --bundle FILE and --key FILE.")
    else:
        with settings.api(timeout_s=_VERIFY_S) as client:
            found = client.get(path("sessions", session_id, "verification"), Verification)
    if as_json:
        print_json(found)
    else:
        print_facts(
            [
                ("session", found.session_id if bundle is not None else None),
                ("record", found.state.value),
                ("records", str(found.records)),
                ("epochs", str(found.epochs)),
                ("what", found.how.replace("_", " ") if found.how is not None else None),
                ("where", f"epoch {found.epoch}, record {found.seq}" if found.epoch is not None else None),
                ("", found.detail),
                ("head", found.head),
                ("sealed", exact(found.sealed_at)),
            ]
        )
    return int(_VERIFY_EXIT[found.state])


@click.command()
@options.json_output
@options.settings
def keys(settings: Settings, as_json: bool) -> None:
    """Print the public keys that records are sealed with (PEM): what `verify --bundle` needs. Keep them elsewhere."""
    with settings.api() as client:
        found = list(client.pages("/audit-keys", AuditKey))
    if as_json:
        print_json(found)
    else:
        sys.stdout.write("".join(each.certificate for each in found))


@click.command()
@click.argument("session_id")
@click.option(
    "--format",
    "form",
    type=click.Choice([each.value for each in ExportFormat]),
    default=ExportFormat.JSONL.value,
    show_default=True,
    help="bundle: proof, for `verify --bundle`. jsonl: every record. mongosh: a script that does again what succeeded. "
    "csv: facts without bodies.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file (0600); without it, standard output."
)
@options.json_output
@options.settings
def export(settings: Settings, session_id: str, form: str, output: Path | None, as_json: bool) -> None:
    """Write a session's record into a file. That you did is an event of the audit log."""
    if output is None and form == ExportFormat.BUNDLE.value and sys.stdout.isatty():
        raise click.UsageError("A bundle is no text: give --output FILE.")
    from ..files import saved

    with settings.api(timeout_s=_VERIFY_S) as client:
        address = path("sessions", session_id, "export")
        with client.download(address, {"format": form}) as pieces:
            if output is None:
                for piece in pieces:
                    sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
                return
            size = saved(output, pieces)
    if as_json:
        print_json_line({"session_id": session_id, "format": form, "path": str(output), "bytes": size})
    else:
        line(f"{output}: {size} bytes.", stderr=True)

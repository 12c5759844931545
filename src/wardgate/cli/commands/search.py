"""`wardgate pam search`: who touched what, over all sessions that one may read."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import click

from ...api.audit import RecordHit, RecordQuery
from .. import options
from ..exits import Exit, ExitError
from ..forms import build, moment
from ..output import print_json_line, safe, show
from .session import described

_PAGE = 200


@click.command()
@click.argument("text", required=False)
@click.option("--project-id", metavar="PRJ", help="Only in this project; default: wherever you may read records.")
@click.option("--since", metavar="TIME", help="From then on: 2026-11-23T08:00:00Z, or how long ago: 7d, 2h30m.")
@click.option("--until", metavar="TIME", help="Before then.")
@click.option("--user", help="What this person did: e-mail address or id.")
@click.option("--resource", help="On this resource: name or id.")
@click.option("--account", help="As this account: name or id.")
@click.option("--session", "session_id", metavar="SES", help="In this session.")
@click.option("--namespace", metavar="DB[.COLLECTION]", help="In this database or collection.")
@click.option("--id", "id_", metavar="VALUE", help='Commands that name this `_id`: 5, abc or \'{"$oid": "…"}\'.')
@click.option("--command", metavar="NAME", help="This command: find, update, …")
@click.option("--effect", type=click.Choice(["read", "write", "admin", "code", "auth"]), help="What they can do.")
@click.option("--kind", type=click.Choice(["command", "denied", "connection", "session"]), help="Only such lines.")
@click.option("--failed", is_flag=True, help="Only what MongoDB or wardgate refused.")
@click.option("--code", type=int, help="Only with this error code.")
@click.option("--min-duration", metavar="D", help="Only what took that long: 500ms, 2s, 1m.")
@click.option("--min-documents", type=click.IntRange(min=0), help="Only what returned or changed so many.")
@click.option("--bodies", is_flag=True, help="Show bodies.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many.")
@options.json_output
@options.settings
def search(settings: Any, limit: int, as_json: bool, **given: Any) -> None:
    """Find lines of all sessions, newest first. TEXT is looked for in bodies: give a time, a namespace or a person with
    it, since bodies are decrypted one by one."""
    asked = _query(given)
    with settings.api(timeout_s=120.0) as client:
        hits: Iterable[RecordHit] = client.search("/records/search", RecordHit, asked, min(limit, _PAGE))
        for hit in islice(hits, limit):
            if as_json:
                print_json_line(hit)
            else:
                _print(hit)


def _query(given: dict[str, Any]) -> RecordQuery:
    database, _, collection = (given.pop("namespace") or "").partition(".")
    slowest = given.pop("min_duration")
    fields = {
        **given,
        "id": given.pop("id_", None),
        "since": moment(given["since"]),
        "until": moment(given["until"]),
        "database": database or None,
        "collection": collection or None,
        "min_duration_ms": None if slowest is None else _milliseconds(slowest),
        "bodies": given["bodies"] or given["text"] is not None,
    }
    fields.pop("id_", None)
    return build(RecordQuery, **{name: value for name, value in fields.items() if value is not None})


def _milliseconds(text: str) -> int:
    number, unit = (text[:-2], 1) if text.endswith("ms") else (text[:-1], {"s": 1_000, "m": 60_000}.get(text[-1:], 0))
    if not (number.isascii() and number.isdecimal() and unit):
        raise ExitError("invalid_duration", f"“{text}” is no duration: give 500ms, 2s or 1m.", Exit.USAGE)
    return int(number) * unit


def _print(hit: RecordHit) -> None:
    from rich.text import Text

    text = Text(f"{hit.record.at:%Y-%m-%d} ", style="dim")
    text.append_text(described(hit.record))
    text.append("  " + safe(f"{hit.user} {hit.resource}/{hit.account} {hit.session_id}"), style="dim")
    show(text)

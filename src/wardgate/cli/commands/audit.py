"""`wardgate audit …`: the control plane's own log of who did what."""

from __future__ import annotations

import json
from itertools import islice

import click

from ...api.journal import AuditEntry, JournalVerification
from .. import options
from ..exits import Exit
from ..output import count, line, print_facts, print_json, print_list, when
from ..settings import Settings


@click.command(name="list")
@click.option("--project-id", metavar="PRJ", help="In this project only.")
@click.option("--by", metavar="WHO", help="Of this actor: e-mail address, `gateway NAME`, or id.")
@click.option("--event", metavar="NAME", help="Of this kind, as `user.created`, or as `user` for all of them.")
@click.option("--target", metavar="ID", help="On the thing with this id.")
@click.option("--address", metavar="ADDRESS", help="From this address.")
@click.option("--client", metavar="TEXT", help="By a program that calls itself so, or in part so, as `Firefox`.")
@click.option("--since", metavar="TIME", help="From then on, as 2026-11-23T22:00:00Z.")
@click.option("--until", metavar="TIME", help="Before then.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The most events.")
@options.json_output
@options.settings
def list_(
    settings: Settings,
    project_id: str | None,
    by: str | None,
    event: str | None,
    target: str | None,
    address: str | None,
    client: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List what was done in the control plane, newest first."""
    filters = {
        "project_id": project_id, "by": by, "event": event, "target": target, "address": address, "client": client,
        "since": since, "until": until,
    }  # fmt: skip
    asked = {name: value for name, value in filters.items() if value is not None} | {"limit": min(limit, 1_000)}
    with settings.api() as api:
        entries = list(islice(api.pages("/audit-events", AuditEntry, asked), limit))
    print_list(
        entries,
        as_json,
        ("TIME", "WHO", "EVENT", "TARGET", "FROM", "CLIENT", "DETAILS"),
        lambda e: (when(e.at), e.actor, e.event, e.target or "–", e.address or "–", e.client or "–", _details(e)),
        empty="Nothing was found.",
    )


def _details(entry: AuditEntry) -> str:
    return " ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in entry.details.items()
        if value is not None
    )


@click.command()
@options.json_output
@options.settings
def verify(settings: Settings, as_json: bool) -> int:
    """Check that the control plane's log is whole: exit status 1 if it is not."""
    with settings.api() as client:
        found = client.get("/audit-events/verification", JournalVerification)
    if as_json:
        print_json(found)
    else:
        state = "verified" if found.ok else f"broken at event {found.first_broken}"
        print_facts([("state", state), ("events", str(found.events)), ("head", found.head)])
        if not found.ok:
            line(f"Of {count(found.events, 'event')}, those from {found.first_broken} on prove nothing.", stderr=True)
    return int(Exit.OK if found.ok else Exit.FAILED)

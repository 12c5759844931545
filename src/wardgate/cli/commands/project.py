"""`wardgate project create|list|records`."""

from __future__ import annotations

import click

from ...api.audit import RecordSettings, RecordSettingsUpdate
from ...api.models import Project, ProjectCreate
from .. import options
from ..forms import build, path
from ..output import count, line, print_facts, print_json, print_list, when
from ..settings import Settings


@click.command()
@click.argument("name")
@options.json_output
@options.settings
def create(settings: Settings, name: str, as_json: bool) -> None:
    """Make a project called NAME."""
    with settings.api() as client:
        project = client.post("/projects", Project, build(ProjectCreate, name=name))
    if as_json:
        print_json(project)
    else:
        line(f"Project {project.name} is {project.id}.")


@click.command(name="list")
@options.json_output
@options.settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the projects that you can see."""
    with settings.api() as client:
        projects = list(client.pages("/projects", Project))
    print_list(
        projects,
        as_json,
        ("NAME", "ID", "CREATED"),
        lambda project: (project.name, project.id, when(project.created_at)),
        empty="No project yet: make one with `wardgate project create NAME`.",
    )


@click.command()
@click.argument("project_id", metavar="PRJ")
@click.option("--durability", type=click.Choice(["strict", "process"]), help="strict: on disk before a reply ends.")
@click.option("--retention", metavar="DAYS", help="Delete records so long after their session's end: 365, or forever.")
@click.option("--legal-hold/--no-legal-hold", default=None, help="While it stands, nothing is deleted.")
@options.json_output
@options.settings
def records(
    settings: Settings,
    project_id: str,
    durability: str | None,
    retention: str | None,
    legal_hold: bool | None,
    as_json: bool,
) -> None:
    """Show, or with options change, how a project's records are made and how long they are kept."""
    changes: dict[str, object] = {}
    if durability is not None:
        changes["durability"] = durability
    if retention is not None:
        changes["retention_days"] = None if retention == "forever" else retention
    if legal_hold is not None:
        changes["legal_hold"] = legal_hold
    place = path("projects", project_id, "record-settings")
    with settings.api() as client:
        if changes:
            found = client.patch(place, RecordSettings, build(RecordSettingsUpdate, **changes))
        else:
            found = client.get(place, RecordSettings)
    if as_json:
        print_json(found)
        return
    days = found.retention_days
    print_facts(
        [
            ("durability", found.durability),
            ("kept", "for ever" if days is None else f"{count(days, 'day')} after the session's end"),
            ("legal hold", "stands: nothing is deleted" if found.legal_hold else "none"),
        ]
    )

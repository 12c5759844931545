"""`wardgate project create|list`."""

from __future__ import annotations

import click

from ...api.models import Project, ProjectCreate
from .. import options
from ..forms import build
from ..output import line, print_json, print_table, when
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
    if as_json:
        print_json(projects)
        return
    print_table(
        ("NAME", "ID", "CREATED"),
        [(project.name, project.id, when(project.created_at)) for project in projects],
        empty="No project yet: make one with `wardgate project create NAME`.",
    )

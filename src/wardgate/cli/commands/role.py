"""`wardgate role …`: who may do what, where, and until when."""

from __future__ import annotations

import click

from ...api.client import ApiClient
from ...api.models import Account, Resource
from ...api.people import Binding, BindingCreate
from .. import options
from ..exits import Exit, ExitError
from ..forms import build, path
from ..output import line, print_json, print_list, when
from ..settings import Settings


def _place(function: options.Command) -> options.Command:
    """`--project-id`, `--resource` and `--account`: where."""
    function = click.option("--account", help="At this account of the resource only.")(function)
    function = click.option("--resource", help="At this resource of the project only.")(function)
    return click.option("--project-id", metavar="PRJ", help="In this project.")(function)


def _holder(function: options.Command) -> options.Command:
    """`--user`, `--group` and `--service`: whose."""
    function = click.option("--service", help="A service: name or id.")(function)
    function = click.option("--group", help="A group: name or id.")(function)
    return click.option("--user", help="A user: e-mail address or id.")(function)


def _scope(client: ApiClient, project_id: str | None, resource: str | None, account: str | None) -> str | None:
    """The id of the place that the options name; None without any."""
    if (account is not None and resource is None) or (resource is not None and project_id is None):
        raise ExitError("place_incomplete", "--account needs --resource, and that needs --project-id.", Exit.USAGE)
    if project_id is None or resource is None:
        return project_id
    place = ["projects", project_id, "resources", resource]
    if account is None:
        return client.get(path(*place), Resource).id
    return client.get(path(*place, "accounts", account), Account).id


@click.command()
@click.argument("role", type=click.Choice(["admin", "auditor", "connector"]))
@_holder
@_place
@click.option("--organisation", is_flag=True, help="Everywhere.")
@click.option("--duration", metavar="D", help="Until then, as 30d; without it, until it is revoked.")
@options.json_output
@options.settings
def grant(
    settings: Settings,
    role: str,
    user: str | None,
    group: str | None,
    service: str | None,
    project_id: str | None,
    resource: str | None,
    account: str | None,
    organisation: bool,
    duration: str | None,
    as_json: bool,
) -> None:
    """Give ROLE to a user, group or service: admin administers, connector opens sessions, auditor reads them."""
    if [user, group, service].count(None) != 2:
        raise ExitError("holder_missing", "Say whom: with one of --user, --group and --service.", Exit.USAGE)
    if organisation == (project_id is not None):
        raise ExitError("place_missing", "Say where: with --project-id, or with --organisation.", Exit.USAGE)
    with settings.api() as client:
        scope = _scope(client, project_id, resource, account) or "organisation"
        body = build(BindingCreate, user=user, group=group, service=service, role=role, scope=scope, duration=duration)
        made = client.post("/bindings", Binding, body)
    if as_json:
        print_json(made)
        return
    until = "" if made.expires_at is None else f", for {duration}"
    line(f"{made.holder} is {made.role} at {made.scope}{until} ({made.id}).")


@click.command(name="list")
@_holder
@_place
@options.json_output
@options.settings
def list_(
    settings: Settings,
    user: str | None,
    group: str | None,
    service: str | None,
    project_id: str | None,
    resource: str | None,
    account: str | None,
    as_json: bool,
) -> None:
    """List who has which role; with a place, the roles bound exactly there."""
    with settings.api() as client:
        scope = _scope(client, project_id, resource, account)
        named = {"user": user, "group": group, "service": service, "scope": scope}
        asked = {name: value for name, value in named.items() if value is not None}
        bindings = list(client.pages("/bindings", Binding, asked))
    print_list(
        bindings,
        as_json,
        ("WHO", "KIND", "ROLE", "PLACE", "GRANTED", "ENDS", "ID"),
        lambda b: (b.holder, b.kind, b.role, b.scope, when(b.created_at), when(b.expires_at), b.id),
        empty="No role is bound there: give one with `wardgate role grant`.",
    )


@click.command()
@click.argument("binding")
@options.settings
def revoke(settings: Settings, binding: str) -> None:
    """Take the role BINDING (its id, from `role list`) back; sessions that stood on it end."""
    with settings.api() as client:
        client.call("DELETE", path("bindings", binding))
    line(f"Binding {binding} is revoked.")

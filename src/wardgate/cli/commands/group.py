"""`wardgate group …`: users who hold roles together."""

from __future__ import annotations

import click

from ...api.models import RoleBinding
from ...api.people import Group, GroupCreate, GroupDetails, GroupUpdate
from .. import options
from ..forms import build, path
from ..output import exact, line, print_facts, print_json, print_list, when
from ..settings import Settings


@click.command()
@click.argument("name")
@click.option("--description", default="", help="What it is for.")
@options.json_output
@options.settings
def create(settings: Settings, name: str, description: str, as_json: bool) -> None:
    """Make the group NAME, without members and roles."""
    body = build(GroupCreate, name=name, description=description)
    with settings.api() as client:
        made = client.post("/groups", GroupDetails, body)
    if as_json:
        print_json(made)
        return
    line(f"Group {made.name} is made, without members and roles. Go on with:")
    line(f"  wardgate group add {made.name} ann@example.com")
    line(f"  wardgate role grant connector --group {made.name} --project-id …")


@click.command(name="list")
@options.json_output
@options.settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the groups and their roles."""
    with settings.api() as client:
        groups = list(client.pages("/groups", Group))
    print_list(
        groups,
        as_json,
        ("NAME", "MEMBERS", "ROLES", "SINCE", "ID"),
        lambda group: (group.name, str(group.members), roles(group.roles), when(group.created_at), group.id),
        empty="No group: make one with `wardgate group create NAME`.",
    )


def roles(held: list[RoleBinding]) -> str:
    """Roles in one line."""
    return ", ".join(f"{binding.role} ({binding.scope})" for binding in held) or "–"


@click.command()
@click.argument("group")
@options.json_output
@options.settings
def show(settings: Settings, group: str, as_json: bool) -> None:
    """Show GROUP, given by name or id, and who is in it."""
    with settings.api() as client:
        found = client.get(path("groups", group), GroupDetails)
    _print(found, as_json)


def _print(group: GroupDetails, as_json: bool) -> None:
    if as_json:
        print_json(group)
        return
    print_facts(
        [
            ("group", group.name),
            ("id", group.id),
            ("description", group.description or "–"),
            ("since", exact(group.created_at)),
            ("roles", roles(group.roles)),
            *[("member", f"{member.user} (by {member.source or 'hand'})") for member in group.users],
        ]
    )


@click.command()
@click.argument("group")
@click.argument("users", nargs=-1, required=True)
@options.json_output
@options.settings
def add(settings: Settings, group: str, users: tuple[str, ...], as_json: bool) -> None:
    """Put USERS (e-mail addresses or ids) into GROUP: they hold its roles from now on."""
    _members(settings, "PUT", group, users, as_json)


@click.command()
@click.argument("group")
@click.argument("users", nargs=-1, required=True)
@options.json_output
@options.settings
def drop(settings: Settings, group: str, users: tuple[str, ...], as_json: bool) -> None:
    """Take USERS (e-mail addresses or ids) out of GROUP; their sessions that stood on its roles end."""
    _members(settings, "DELETE", group, users, as_json)


def _members(settings: Settings, method: str, group: str, users: tuple[str, ...], as_json: bool) -> None:
    with settings.api() as client:
        for user in users:
            client.call(method, path("groups", group, "members", user))
        found = client.get(path("groups", group), GroupDetails)
    _print(found, as_json)


@click.command()
@click.argument("group")
@click.argument("name")
@options.json_output
@options.settings
def rename(settings: Settings, group: str, name: str, as_json: bool) -> None:
    """Call GROUP (name or id) NAME from now on."""
    with settings.api() as client:
        changed = client.patch(path("groups", group), GroupDetails, build(GroupUpdate, name=name))
    _print(changed, as_json)


@click.command()
@click.argument("group")
@options.settings
def remove(settings: Settings, group: str) -> None:
    """Remove GROUP (name or id); sessions that stood on its roles end."""
    with settings.api() as client:
        client.call("DELETE", path("groups", group))
    line(f"Group {group} is removed.")

"""`wardgate pam resource …`: the resource form on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...api.models import Resource, ResourceCreate, ResourceUpdate, TestResult
from .. import options
from ..exits import Exit, ExitError
from ..forms import build, path
from ..hops import print_test, tell_saved
from ..output import exact, line, print_facts, print_json, print_list, when
from ..settings import Settings


def _read_ca(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ExitError(
            "invalid_ca_file", f"The CA certificate {file} can't be read: give a PEM file.", Exit.USAGE
        ) from error


@click.command()
@click.argument("name")
@options.project_id
@click.option("--gateway", required=True, help="The gateway that reaches it.")
@click.option("--connection-string", required=True, help="mongodb://host:port,…/?options, or mongodb+srv://name.")
@click.option("--database", default="admin", show_default=True, help="The authentication database.")
@click.option("--ca-certificate", type=click.Path(path_type=Path, dir_okay=False), help="PEM file of the CA.")
@click.option("--no-ssl", is_flag=True, help="Speak to MongoDB in clear.")
@click.option("--no-reject-unauthorized", is_flag=True, help="Accept any certificate.")
@options.no_test
@options.json_output
@options.settings
def add(
    settings: Settings,
    project_id: str,
    name: str,
    gateway: str,
    connection_string: str,
    database: str,
    ca_certificate: Path | None,
    no_ssl: bool,
    no_reject_unauthorized: bool,
    no_test: bool,
    as_json: bool,
) -> None:
    """Add the MongoDB deployment NAME; nothing is saved unless its connection test passes."""
    body = build(
        ResourceCreate,
        name=name,
        gateway=gateway,
        connection_string=connection_string,
        database=database,
        ssl=not no_ssl,
        reject_unauthorized=not no_reject_unauthorized,
        ca_certificate=_read_ca(ca_certificate),
    )
    with settings.api() as client:
        saved = client.post(path("projects", project_id, "resources"), Resource, body, {"no_test": no_test})
    tell_saved(saved, as_json, f"Resource {saved.name} is saved.")


@click.command(name="list")
@options.project_id
@options.json_output
@options.settings
def list_(settings: Settings, project_id: str, as_json: bool) -> None:
    """List a project's resources."""
    with settings.api() as client:
        resources = list(client.pages(path("projects", project_id, "resources"), Resource))
    print_list(
        resources,
        as_json,
        ("NAME", "GATEWAY", "CONNECTION STRING", "TESTED"),
        lambda r: (r.name, r.gateway, r.connection_string, when(r.tested_at)),
        empty="No resource yet: add one with `wardgate pam resource add NAME`.",
    )


@click.command()
@click.argument("name")
@options.project_id
@options.json_output
@options.settings
def show(settings: Settings, project_id: str, name: str, as_json: bool) -> None:
    """Show the resource NAME."""
    with settings.api() as client:
        found = client.get(path("projects", project_id, "resources", name), Resource)
    if as_json:
        print_json(found)
        return
    print_facts(
        [
            ("name", found.name),
            ("id", found.id),
            ("gateway", found.gateway),
            ("connection string", found.connection_string),
            ("database", found.database),
            ("TLS", _tls_words(found)),
            ("CA certificate", "its own" if found.ca_certificate else "the system's"),
            ("tested", exact(found.tested_at) or "never"),
        ]
    )
    if found.test is not None:
        print_test(found.test)


def _tls_words(resource: Resource) -> str:
    if not resource.ssl:
        return "off"
    return "on, certificate verified" if resource.reject_unauthorized else "on, any certificate accepted"


@click.command()
@click.argument("name")
@options.project_id
@click.option("--gateway", help="The gateway that reaches it.")
@click.option("--connection-string", help="mongodb://host:port,…/?options, or mongodb+srv://name.")
@click.option("--database", help="The authentication database.")
@click.option("--ca-certificate", type=click.Path(path_type=Path, dir_okay=False), help="PEM file of the CA.")
@click.option("--no-ca-certificate", is_flag=True, help="Go back to the system's authorities.")
@click.option("--ssl/--no-ssl", default=None, help="Speak TLS to MongoDB, or in clear.")
@click.option("--reject-unauthorized/--no-reject-unauthorized", default=None, help="Verify the certificate, or not.")
@options.no_test
@options.json_output
@options.settings
def update(
    settings: Settings,
    project_id: str,
    name: str,
    ca_certificate: Path | None,
    no_ca_certificate: bool,
    no_test: bool,
    as_json: bool,
    **fields: Any,
) -> None:
    """Change the resource NAME; nothing is saved unless its connection test passes."""
    changes = {field: value for field, value in fields.items() if value is not None}
    if ca_certificate is not None or no_ca_certificate:
        changes["ca_certificate"] = _read_ca(ca_certificate)
    if not changes:
        raise ExitError(
            "nothing_to_change", "Say what to change; see `wardgate pam resource update --help`.", Exit.USAGE
        )
    body = build(ResourceUpdate, **changes)
    with settings.api() as client:
        saved = client.patch(path("projects", project_id, "resources", name), Resource, body, {"no_test": no_test})
    tell_saved(saved, as_json, f"Resource {saved.name} is changed.")


@click.command()
@click.argument("name")
@options.project_id
@options.settings
def remove(settings: Settings, project_id: str, name: str) -> None:
    """Remove the resource NAME and its accounts; the records of its sessions stay."""
    with settings.api() as client:
        client.call("DELETE", path("projects", project_id, "resources", name))
    line(f"Resource {name} is removed.")


@click.command()
@click.argument("name")
@options.project_id
@click.option("--account", help="Test the login of this account too.")
@options.json_output
@options.settings
def test(settings: Settings, project_id: str, name: str, account: str | None, as_json: bool) -> int:
    """Test every hop to the resource NAME through its gateway, and say which one fails."""
    place = ["projects", project_id, "resources", name, *(["accounts", account] if account else []), "test"]
    with settings.api() as client:
        result = client.post(path(*place), TestResult)
    if as_json:
        print_json(result)
    else:
        print_test(result)
    return int(Exit.OK if result.ok else Exit.FAILED)

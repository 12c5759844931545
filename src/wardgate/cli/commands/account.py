"""`wardgate pam account …`: the account form on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from ...api.models import Account, AccountCreate, AccountUpdate, Mechanism
from .. import options
from ..exits import Exit, ExitError
from ..forms import build, path
from ..hops import tell_saved
from ..output import exact, line, print_facts, print_json, print_list, when
from ..settings import Settings


def resource(function: options.Command) -> options.Command:
    """`--resource`, given as `resource`."""
    return click.option("--resource", required=True, help="The resource that it is a user of.")(function)


_MECHANISMS = click.Choice([each.value for each in Mechanism])
_LIMITS = ("max_duration", "idle_timeout", "max_sessions")  # `none` takes them away
_WITHOUT_PASSWORD = frozenset({Mechanism.X509, Mechanism.OIDC})


def client_certificate(function: options.Command) -> options.Command:
    """`--client-certificate`, given as `client_certificate`."""
    return click.option(
        "--client-certificate",
        type=click.Path(path_type=Path, dir_okay=False),
        help="PEM file with a client certificate and its private key.",
    )(function)


def _read_certificate(file: Path) -> SecretStr:
    try:
        return SecretStr(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ExitError(
            "invalid_certificate_file", f"The client certificate {file} can't be read: give a PEM file.", Exit.USAGE
        ) from error


@click.command()
@click.argument("name")
@options.project_id
@resource
@click.option("--mechanism", type=_MECHANISMS, default="auto", show_default=True, help="How it logs in; auto is SCRAM.")
@click.option("--username", default="", help="The MongoDB user; with MONGODB-AWS the access key's id.")
@click.option("--password-stdin", is_flag=True, help="Read its password from standard input.")
@client_certificate
@click.option("--description", default="", help="What it is for.")
@click.option("--require-mfa", is_flag=True, help="Ask for MFA at every access.")
@click.option("--require-reason", is_flag=True, help="Ask for a reason at every access.")
@click.option("--require-approval", is_flag=True, help="Ask for somebody's approval before access.")
@click.option("--allow-admin", is_flag=True, help="Allow what the default policy refuses: users, roles, shutdown, …")
@click.option("--max-duration", metavar="D", help="The longest session, as 8h.")
@click.option(
    "--idle-timeout", metavar="D", default="30m", show_default=True, help="End unused sessions; `none`: never."
)
@click.option("--max-sessions", type=click.IntRange(1, 10_000), help="The most live sessions, of all users.")
@options.no_test
@options.json_output
@options.settings
def add(
    settings: Settings,
    project_id: str,
    resource: str,
    name: str,
    password_stdin: bool,
    client_certificate: Path | None,
    no_test: bool,
    as_json: bool,
    **fields: Any,
) -> None:
    """Add the MongoDB user NAME; nothing is saved unless its login works.

    MONGODB-X509 takes no user and no password but --client-certificate, MONGODB-OIDC none of them: the gateway has the
    token.
    """
    if client_certificate is not None:
        fields["client_certificate"] = _read_certificate(client_certificate)
    if password_stdin or fields["mechanism"] not in _WITHOUT_PASSWORD:
        fields["password"] = options.password(password_stdin, "MongoDB password")
    if fields["idle_timeout"] == "none":
        fields["idle_timeout"] = None
    body = build(AccountCreate, name=name, **fields)
    with settings.api() as client:
        saved = client.post(
            path("projects", project_id, "resources", resource, "accounts"), Account, body, {"no_test": no_test}
        )
    tell_saved(saved, as_json, f"Account {saved.name} on {saved.resource} is saved.")


@click.command(name="list")
@options.project_id
@resource
@options.json_output
@options.settings
def list_(settings: Settings, project_id: str, resource: str, as_json: bool) -> None:
    """List a resource's accounts."""
    with settings.api() as client:
        accounts = list(client.pages(path("projects", project_id, "resources", resource, "accounts"), Account))
    print_list(
        accounts,
        as_json,
        ("NAME", "USERNAME", "MECHANISM", "ASKS FOR", "MAXIMUM", "TESTED", "DESCRIPTION"),
        lambda a: (
            *(a.name, a.username, a.mechanism.value, _asks_for(a)),
            *(a.max_duration or "–", when(a.tested_at), a.description),
        ),
        empty=f"No account yet: add one with `wardgate pam account add NAME --resource {resource}`.",
    )


def _asks_for(account: Account) -> str:
    asks = {"approval": account.require_approval, "MFA": account.require_mfa, "reason": account.require_reason}
    asked = [word for word, wanted in asks.items() if wanted]
    if account.needs_password:
        asked.append("its certificate again" if account.mechanism is Mechanism.X509 else "its password again")
    return ", ".join(asked) or "–"


@click.command()
@click.argument("name")
@options.project_id
@resource
@options.json_output
@options.settings
def show(settings: Settings, project_id: str, resource: str, name: str, as_json: bool) -> None:
    """Show the account NAME; its password is never shown."""
    with settings.api() as client:
        found = client.get(path("projects", project_id, "resources", resource, "accounts", name), Account)
    if as_json:
        print_json(found)
        return
    print_facts(
        [
            ("name", found.name),
            ("id", found.id),
            ("resource", found.resource),
            ("description", found.description or None),
            ("username", found.username or None),
            ("mechanism", found.mechanism.value),
            ("client certificate", _until(found)),
            ("asks for", _asks_for(found)),
            ("maximum duration", found.max_duration or "none"),
            ("ends unused", f"after {found.idle_timeout}" if found.idle_timeout else "never"),
            ("most sessions", None if found.max_sessions is None else str(found.max_sessions)),
            ("administration", "allowed" if found.allow_admin else "refused"),
            ("tested", exact(found.tested_at) or "never"),
        ]
    )


def _until(account: Account) -> str | None:
    expires = account.certificate_expires_at
    return None if expires is None else f"expires {exact(expires)}"


@click.command()
@click.argument("name")
@options.project_id
@resource
@click.option("--mechanism", type=_MECHANISMS, help="How it logs in; the password has to be given again.")
@click.option("--username", help="The MongoDB user; with MONGODB-AWS the access key's id.")
@click.option("--password-stdin", is_flag=True, help="Read a new password from standard input.")
@client_certificate
@click.option("--no-client-certificate", is_flag=True, help="Take its client certificate away.")
@click.option("--description", help="What it is for.")
@click.option("--require-mfa/--no-require-mfa", default=None, help="Ask for MFA at every access.")
@click.option("--require-reason/--no-require-reason", default=None, help="Ask for a reason at every access.")
@click.option(
    "--require-approval/--no-require-approval", default=None, help="Ask for somebody's approval before access."
)
@click.option("--allow-admin/--no-allow-admin", default=None, help="Allow what the default policy refuses.")
@click.option("--max-duration", metavar="D", help="The longest session, as 8h; `none` for no limit.")
@click.option("--idle-timeout", metavar="D", help="End unused sessions after that, as 30m; `none`: never.")
@click.option("--max-sessions", metavar="N", help="The most live sessions, of all users; `none` for no limit.")
@options.no_test
@options.json_output
@options.settings
def update(
    settings: Settings,
    project_id: str,
    resource: str,
    name: str,
    password_stdin: bool,
    client_certificate: Path | None,
    no_client_certificate: bool,
    no_test: bool,
    as_json: bool,
    **fields: Any,
) -> None:
    """Change the account NAME."""
    changes = {field: value for field, value in fields.items() if value is not None}
    changes |= {limit: None for limit in _LIMITS if changes.get(limit) == "none"}
    if password_stdin:
        changes["password"] = options.password_from_stdin()
    if client_certificate is not None or no_client_certificate:
        changes["client_certificate"] = None if client_certificate is None else _read_certificate(client_certificate)
    if not changes:
        raise ExitError(
            "nothing_to_change", "Say what to change; see `wardgate pam account update --help`.", Exit.USAGE
        )
    place = path("projects", project_id, "resources", resource, "accounts", name)
    with settings.api() as client:
        saved = client.patch(place, Account, build(AccountUpdate, **changes), {"no_test": no_test})
    tell_saved(saved, as_json, f"Account {saved.name} on {saved.resource} is changed.")


@click.command()
@click.argument("name")
@options.project_id
@resource
@options.settings
def remove(settings: Settings, project_id: str, resource: str, name: str) -> None:
    """Remove the account NAME; the records of its sessions stay."""
    with settings.api() as client:
        client.call("DELETE", path("projects", project_id, "resources", resource, "accounts", name))
    line(f"Account {name} on {resource} is removed.")

"""`wardgate user …`: the people who may log in."""

from __future__ import annotations

import click
from pydantic import SecretStr

from ...api.people import Invitation, PasswordChange, PasswordReset, UserCreate, UserDetails
from .. import options
from ..exits import Exit, ExitError
from ..forms import build, path
from ..output import exact, line, print_facts, print_json, print_list, when
from ..settings import Settings


@click.command()
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@options.json_output
@options.settings
def create(settings: Settings, email: str, password_stdin: bool, as_json: bool) -> None:
    """Make the user EMAIL, who has no role yet."""
    body = build(UserCreate, email=email, password=_new_password(password_stdin))
    with settings.api() as client:
        made = client.post("/users", UserDetails, body)
    if as_json:
        print_json(made)
        return
    line(f"User {made.email} is made, without any role yet. Give one with:")
    line(f"  wardgate role grant connector --user {made.email} --project-id …")


@click.command()
@click.argument("email")
@options.json_output
@options.settings
def invite(settings: Settings, email: str, as_json: bool) -> None:
    """Invite EMAIL: a mail goes out with a link to choose a password. Said again before they did, another goes out."""
    with settings.api() as client:
        made = client.post("/users/invitations", UserDetails, build(Invitation, email=email))
    if as_json:
        print_json(made)
        return
    line(f"User {made.email} is invited, without any role yet. Give one with:")
    line(f"  wardgate role grant connector --user {made.email} --project-id …")


@click.command()
@click.argument("user")
@options.settings
def send_password_link(settings: Settings, user: str) -> None:
    """Mail USER (e-mail address or id) a link with which they set a new password."""
    with settings.api() as client:
        client.call("POST", path("users", user, "password-link"))
    line(f"A mail is on its way to {user}.")


def _new_password(from_stdin: bool) -> SecretStr:
    return options.password(from_stdin, "New password", twice=True)


@click.command(name="list")
@options.json_output
@options.settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the users and their roles."""
    with settings.api() as client:
        users = list(client.pages("/users", UserDetails))
    print_list(
        users,
        as_json,
        ("E-MAIL", "STATUS", "ROLES", "SINCE", "ID"),
        lambda user: (user.email, user.status, _roles(user), when(user.created_at), user.id),
        empty="No user: make one with `wardgate user create EMAIL`.",
    )


def _roles(user: UserDetails) -> str:
    return ", ".join(f"{binding.role} ({binding.scope})" for binding in user.roles) or "–"


@click.command()
@click.argument("user")
@options.json_output
@options.settings
def show(settings: Settings, user: str, as_json: bool) -> None:
    """Show USER, given by e-mail address or id."""
    with settings.api() as client:
        found = client.get(path("users", user), UserDetails)
    if as_json:
        print_json(found)
        return
    print_facts(
        [
            ("e-mail", found.email),
            ("id", found.id),
            ("status", found.status),
            ("roles", _roles(found)),
            ("since", exact(found.created_at)),
            ("disabled", exact(found.disabled_at)),
        ]
    )


@click.command()
@click.argument("user", required=False)
@click.option("--password-stdin", is_flag=True, help="Read the new password from standard input; needs USER.")
@options.settings
def password(settings: Settings, user: str | None, password_stdin: bool) -> None:
    """Change your own password, or give USER (e-mail address or id) a new one; the other sign-ins end."""
    if user is None:
        if password_stdin or not options.on_terminal():
            raise ExitError(
                "no_terminal", "Your own password is changed on a terminal, which asks for the old one.", Exit.USAGE
            )
        current = options.password_from_terminal("Current password")
        change = build(PasswordChange, current_password=current, new_password=_new_password(False))
        with settings.api() as client:
            client.call("POST", "/auth/password", change)
        line("Your password is changed; your other sign-ins have ended.")
        return
    reset = build(PasswordReset, password=_new_password(password_stdin))
    with settings.api() as client:
        client.call("POST", path("users", user, "password"), reset)
    line(f"User {user} has a new password; their sign-ins have ended.")


@click.command()
@click.argument("user")
@options.json_output
@options.settings
def disable(settings: Settings, user: str, as_json: bool) -> None:
    """Keep USER (e-mail address or id) out; their sign-ins and sessions end."""
    _turn(settings, user, "disable", as_json, "is disabled; their sign-ins and sessions end.")


@click.command()
@click.argument("user")
@options.json_output
@options.settings
def enable(settings: Settings, user: str, as_json: bool) -> None:
    """Let the disabled USER (e-mail address or id) in again, with the roles that they had."""
    _turn(settings, user, "enable", as_json, "may log in again.")


def _turn(settings: Settings, user: str, verb: str, as_json: bool, done: str) -> None:
    with settings.api() as client:
        changed = client.post(path("users", user, verb), UserDetails)
    if as_json:
        print_json(changed)
    else:
        line(f"User {changed.email} {done}")


@click.command()
@click.argument("user")
@options.settings
def remove(settings: Settings, user: str) -> None:
    """Remove USER (e-mail address or id); their sessions end, their records stay."""
    with settings.api() as client:
        client.call("DELETE", path("users", user))
    line(f"User {user} is removed.")

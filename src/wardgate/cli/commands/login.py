"""`wardgate login`, `logout` and `whoami`."""

from __future__ import annotations

import os

import click

from ...api.journal import SignIn, SignInUpdate
from ...api.models import User
from ...errors import WardgateError
from .. import options, sign_in
from ..exits import Exit, ExitError
from ..forms import build, path
from ..output import line, print_facts, print_json, print_list, when
from ..settings import Settings, not_logged_in

_KINDS = {"browser": "browser", "command_line": "command line"}


@click.command()
@click.option("--email", help="Log in with a password, as this e-mail address.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--device", "by_code", is_flag=True, help="Show a code to type into a browser on another machine.")
@options.json_output
@options.settings
def login(settings: Settings, email: str | None, password_stdin: bool, by_code: bool, as_json: bool) -> None:
    """Log in to a control plane; the login is kept in a file that only you can read.

    Opens your browser, where you sign in with what your organisation uses and let this device in. Without a browser,
    or with --device, it shows a code that you type into a browser elsewhere. --email asks for a password instead.
    """
    domain = settings.domain()
    user = _user(settings, domain, email, password_stdin, by_code)
    if as_json:
        print_json(user)
    else:
        line(f"Logged in to {domain} as {user.email}.")


def _user(settings: Settings, domain: str, email: str | None, password_stdin: bool, by_code: bool) -> User:
    if by_code and (email is not None or password_stdin):
        raise ExitError("device_and_password", "--device takes no password: leave --email out.", Exit.USAGE)
    if password_stdin and email is None:
        raise ExitError("email_needed", "--password-stdin needs --email.", Exit.USAGE)
    if by_code:
        return sign_in.by_code(settings, domain)
    if not password_stdin and not options.on_terminal():
        raise ExitError(
            "no_terminal",
            "There is no terminal to ask on: use --email with --password-stdin, or --device.",
            Exit.NOT_LOGGED_IN,
        )
    if email is None:
        return sign_in.on_terminal(settings, domain)
    password = options.password_from_stdin() if password_stdin else options.password_from_terminal("Password")
    return sign_in.with_password(settings, domain, email, password)


@click.command()
@options.settings
def logout(settings: Settings) -> None:
    """Revoke this login at the control plane and forget it here."""
    domain = settings.domain()
    if settings.logins().get(domain) is None:
        raise not_logged_in(domain)
    try:
        with settings.api() as client:
            client.call("POST", "/auth/logout")
    except WardgateError as error:
        if error.code not in ("not_logged_in", "unreachable"):
            raise
        if error.code == "unreachable":
            line(f"{domain} can't be reached, so the login was not revoked there; it is forgotten here.", stderr=True)
    settings.logins().remove(domain)
    line(f"Logged out of {domain}.")


@click.command()
@options.json_output
@options.settings
def whoami(settings: Settings, as_json: bool) -> None:
    """Show who you are at the control plane, and with which roles."""
    with settings.api() as client:
        user = client.get("/auth/whoami", User)
    if as_json:
        print_json(user)
        return
    print_facts(
        [
            ("user", user.email),
            ("domain", settings.domain()),
            ("login", "WARDGATE_TOKEN" if os.environ.get("WARDGATE_TOKEN") else "stored"),
            ("roles", ", ".join(f"{binding.role} ({binding.scope})" for binding in user.roles) or "none"),
        ]
    )


@click.command(name="list")
@click.option("--user", help="Of this user (e-mail address or id) instead of yours; for administrators.")
@options.json_output
@options.settings
def devices(settings: Settings, user: str | None, as_json: bool) -> None:
    """List the devices that are signed in as you, the newest use first."""
    with settings.api() as client:
        found = list(client.pages(_devices_of(user), SignIn))
    print_list(
        found,
        as_json,
        ("ID", "NAME", "KIND", "SIGNED IN", "BY", "USED", "FROM", ""),
        lambda d: (
            d.id,
            d.name or "–",
            _KINDS[d.kind],
            when(d.created_at),
            f"{d.method}, second factor" if d.second_factor else d.method,
            when(d.used_at or d.refreshed_at),
            d.address or "–",
            "this one" if d.current else "",
        ),
        empty="No device is signed in.",
    )


@click.command(name="rename")
@click.argument("device")
@click.argument("name")
@options.settings
def rename_device(settings: Settings, device: str, name: str) -> None:
    """Call DEVICE (its id, from the list) NAME."""
    with settings.api() as client:
        client.patch(path("auth", "sign-ins", device), SignIn, build(SignInUpdate, name=name))
    line(f"Device {device} is called {name} now.")


@click.command(name="revoke")
@click.argument("device", required=False)
@click.option("--others", is_flag=True, help="All your devices but this one.")
@click.option("--user", help="A device of this user (e-mail address or id); for administrators.")
@options.settings
def revoke_device(settings: Settings, device: str | None, others: bool, user: str | None) -> None:
    """Sign DEVICE (its id, from the list) out; the sessions that it has open end."""
    if (device is None) is not others or (others and user is not None):
        raise ExitError("which_device", "Name one device, or use --others for all of yours but this one.", Exit.USAGE)
    with settings.api() as client:
        client.call("DELETE", _devices_of(user) + ("" if device is None else path(device)))
    line("Your other devices are signed out." if device is None else f"Device {device} is signed out.")


def _devices_of(user: str | None) -> str:
    return path("auth", "sign-ins") if user is None else path("users", user, "sign-ins")

"""`wardgate login`, `logout` and `whoami`."""

from __future__ import annotations

import os
import time

import click
from pydantic import SecretStr

from ...api.client import ApiClient, NoLogin, UnreachableError
from ...api.journal import SignIn
from ...api.models import LoginRequest, Tokens, User
from ...api.problems import ProblemCode, ProblemError
from ...errors import WardgateError
from .. import mfa, options
from ..exits import Exit, ExitError
from ..forms import path
from ..logins import StoredLogin
from ..output import line, print_facts, print_json, print_list, when
from ..settings import Settings, not_logged_in

_STARTING_SECONDS = 10.0


@click.command()
@click.option("--email", help="Your e-mail address.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@options.json_output
@options.settings
def login(settings: Settings, email: str | None, password_stdin: bool, as_json: bool) -> None:
    """Log in to a control plane; the login is kept in a file that only you can read."""
    domain = settings.domain()
    if not password_stdin and not options.on_terminal():
        raise ExitError(
            "no_terminal", "There is no terminal to ask on: use --email with --password-stdin.", Exit.NOT_LOGGED_IN
        )
    if email is None:
        if password_stdin:
            raise ExitError("email_needed", "--password-stdin needs --email.", Exit.USAGE)
        email = click.prompt("E-mail", err=True)
    password = options.password_from_stdin() if password_stdin else options.password_from_terminal("Password")
    user = log_in(settings, domain, email, password)
    if as_json:
        print_json(user)
    else:
        line(f"Logged in to {domain} as {user.email}.")


def log_in(settings: Settings, domain: str, email: str, password: SecretStr) -> User:
    """Make a login and keep it."""
    body = LoginRequest(email=email, password=password)
    with ApiClient(domain, NoLogin(), ca_file=settings.ca_file) as client:
        try:
            tokens = _patiently(client, body)
        except ProblemError as error:
            tokens = _with_second_factor(client, body, error)
    settings.logins().put(domain, StoredLogin.of(tokens))
    return tokens.user


def _with_second_factor(client: ApiClient, body: LoginRequest, error: ProblemError) -> Tokens:
    """Answer what the login was asked for, on a terminal; `error` otherwise."""
    challenge = mfa.challenge_in(error)
    if challenge is None or not options.on_terminal():
        raise error
    while True:
        answered = body.model_copy(update={"challenge_id": challenge.challenge_id, "code": mfa.ask(challenge)})
        try:
            return client.post("/auth/login", Tokens, answered)
        except ProblemError as wrong:
            if wrong.problem.code is not ProblemCode.MFA_CODE_WRONG or not wrong.problem.context.get("attempts_left"):
                raise
            line(wrong.message, stderr=True)


def _patiently(client: ApiClient, body: LoginRequest) -> Tokens:
    """Log in, waiting for a control plane on this machine that is only just being started (as in the tour)."""
    until = time.monotonic() + (_STARTING_SECONDS if client.is_local else 0.0)
    while True:
        try:
            return client.post("/auth/login", Tokens, body)
        except UnreachableError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.2)


def log_in_on_terminal(settings: Settings, domain: str) -> None:
    """Ask for e-mail and password and log in; for a command that found no login."""
    line(f"You are not logged in to {domain}.", stderr=True)
    email = click.prompt("E-mail", err=True)
    log_in(settings, domain, email, options.password_from_terminal("Password"))


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
@options.json_output
@options.settings
def devices(settings: Settings, as_json: bool) -> None:
    """List the devices that are signed in as you, the newest use first."""
    with settings.api() as client:
        found = list(client.pages("/auth/sign-ins", SignIn))
    print_list(
        found,
        as_json,
        ("ID", "SIGNED IN", "USED", "FROM", ""),
        lambda d: (d.id, when(d.created_at), when(d.refreshed_at), d.address or "–", "this one" if d.current else ""),
        empty="No device is signed in.",
    )


@click.command(name="revoke")
@click.argument("device")
@options.settings
def revoke_device(settings: Settings, device: str) -> None:
    """Sign DEVICE (its id, from the list) out."""
    with settings.api() as client:
        client.call("DELETE", path("auth", "sign-ins", device))
    line(f"Device {device} is signed out.")

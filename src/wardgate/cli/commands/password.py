"""`wardgate password …`: for who has forgotten theirs, and for who was invited."""

from __future__ import annotations

import click
from pydantic import SecretStr

from ...api.client import ApiClient, NoLogin
from ...api.people import PasswordForgotten, PasswordLink
from .. import options
from ..exits import Exit, ExitError
from ..forms import build
from ..output import line
from ..settings import Settings


@click.command()
@click.argument("email")
@options.settings
def forgot(settings: Settings, email: str) -> None:
    """Have a link sent to EMAIL with which its owner sets a new password."""
    with _client(settings) as client:
        client.call("POST", "/auth/password-link", build(PasswordForgotten, email=email))
    line("If somebody signs in with that address and a password, a mail is on its way. Go on with the link in it, or:")
    line("  wardgate password set")


@click.command(name="set")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read two lines: the code, then the password.")
@options.settings
def set_(settings: Settings, from_stdin: bool) -> None:
    """Set your password with the code of a mail: of an invitation, or because you forgot yours."""
    if from_stdin:
        code, _, password = options.password_from_stdin().get_secret_value().partition("\n")
    elif options.on_terminal():
        code = click.prompt("Code of the mail (wgl1_…)", hide_input=True, err=True)
        password = options.password_from_terminal("New password", twice=True).get_secret_value()
    else:
        raise ExitError("no_terminal", "There is no terminal to ask on: use --stdin.", Exit.USAGE)
    body = build(PasswordLink, token=SecretStr(code.strip()), password=SecretStr(password))
    with _client(settings) as client:
        client.call("POST", "/auth/password-link/redeem", body)
    line("Your password is set, and you are signed out everywhere. Go on with wardgate login.")


def _client(settings: Settings) -> ApiClient:
    return ApiClient(settings.domain(), NoLogin(), ca_file=settings.ca_file)

"""`wardgate pam db access`: open a session and listen for MongoDB clients on loopback."""

from __future__ import annotations

import click

from ... import durations
from .. import options
from ..access.run import Wish, run_access
from ..access.view import JsonView, TerminalView, View
from ..exits import Exit, ExitError
from ..settings import Settings, not_logged_in
from .login import log_in_on_terminal


@click.command(context_settings={"ignore_unknown_options": False})
@click.option("--resource", required=True, help="The resource to reach.")
@click.option("--account", required=True, help="The account to reach it as.")
@options.project_id
@click.option("--duration", required=True, metavar="D", help="How long, as 30m, 2h30m or 1d.")
@click.option("--port", type=click.IntRange(1, 65_535), default=None, help="The main port; by default a free one.")
@click.option("--reason", help="Why, where the account asks for it.")
@click.argument("client", nargs=-1, type=click.UNPROCESSED)
@options.json_output
@options.settings
def access(
    settings: Settings,
    resource: str,
    account: str,
    project_id: str,
    duration: str,
    port: int | None,
    reason: str | None,
    client: tuple[str, ...],
    as_json: bool,
) -> int:
    """Open a session on ACCOUNT of RESOURCE and listen on loopback.

    Any MongoDB client connects to the printed URI without a user name and a password. Every command is recorded.
    Ctrl+C ends the session.
    """
    if client:
        raise ExitError(
            "client_not_supported",
            "Words after the options are not understood: this version runs no client by itself; start it beside this.",
            Exit.USAGE,
        )
    wish = Wish(project_id, resource, account, durations.parse(duration), duration, port or 0, reason)
    if not settings.is_logged_in():
        if as_json or not options.on_terminal():
            raise not_logged_in(settings.domain())
        log_in_on_terminal(settings, settings.domain())
    view: View = JsonView() if as_json else TerminalView()
    return run_access(settings, wish, view)

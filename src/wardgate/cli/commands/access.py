"""`wardgate pam db access`: open a session and listen for MongoDB clients on loopback, or run one of them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import click

from ... import durations
from .. import options, sign_in
from ..access.run import Wish, run_access
from ..access.view import BesideClient, JsonView, TerminalView, View
from ..exits import Exit, ExitError
from ..output import line
from ..settings import Settings, not_logged_in

_CLIENT = "client"
_INHERITED = ("/dev/fd/", "/dev/stdout", "/dev/stderr")  # links by nature; nobody else can place one there


class _WithClient(click.Command):
    """What stands behind `--` is a client and its arguments, word for word; before it there are options only."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Cut the client off first, so that no word of it is read as ours."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[_CLIENT] = tuple(args[at + 1 :])
            args = args[:at]
            if not ctx.meta[_CLIENT]:
                raise click.UsageError("After -- there is no client: name one, as in `-- mongosh {uri}`.", ctx)
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """`[-- CLIENT ARGS…]` is no argument to click."""
        return [*super().collect_usage_pieces(ctx), "[-- CLIENT ARGS…]"]


@click.command(cls=_WithClient)
@click.option("--resource", required=True, help="The resource to reach.")
@click.option("--account", required=True, help="The account to reach it as.")
@options.project_id
@click.option("--duration", required=True, metavar="D", help="How long, as 30m, 2h30m or 1d.")
@click.option("--port", type=click.IntRange(1, 65_535), default=None, help="The main port; by default a free one.")
@click.option("--single-port", is_flag=True, help="Open the main port only; a replica set is shown as one member.")
@click.option("--socket", is_flag=True, help="Open Unix sockets that only you can reach, in place of ports.")
@click.option("--local-auth", is_flag=True, help="Require a password of this session, which is in the URI.")
@click.option("--reason", help="Why, where the account asks for it.")
@click.option(
    "--events",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --json: write the events to FILE, which only you can read. Needed where a client has the output.",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="")
@options.json_output
@options.settings
@click.pass_context
def access(
    ctx: click.Context,
    settings: Settings,
    resource: str,
    account: str,
    project_id: str,
    duration: str,
    port: int | None,
    single_port: bool,
    socket: bool,
    local_auth: bool,
    reason: str | None,
    events: Path | None,
    words: tuple[str, ...],
    as_json: bool,
) -> int:
    """Open a session on ACCOUNT of RESOURCE and listen on loopback.

    Any MongoDB client connects to the printed URI without a user name and a password. Every command is recorded.
    Ctrl+C ends the session.

    With `-- CLIENT ARGS` the client is run on this terminal, with the URI in place of {uri} in its arguments and in
    WARDGATE_URI, and the session ends with it: `-- mongosh {uri}`.
    """
    client: tuple[str, ...] = ctx.meta.get(_CLIENT, ())
    _check_words(words)
    if socket and port is not None:
        raise ExitError("port_and_socket", "--socket opens no port: leave --port or --socket out.", Exit.USAGE)
    if events is not None and not as_json:
        raise ExitError("events_without_json", "--events FILE takes what --json prints: give --json too.", Exit.USAGE)
    if as_json and client and events is None:
        message = "With --json and a client, say where the events go: --events FILE. The client has standard output."
        raise ExitError("events_needed", message, Exit.USAGE)
    wish = Wish(
        project_id=project_id,
        resource=resource,
        account=account,
        duration=durations.parse(duration),
        duration_text=duration,
        port=port or 0,
        reason=reason,
        local_auth=local_auth,
        sockets=socket,
        single=single_port,
        client=client,
    )
    if not settings.is_logged_in():
        if as_json or not options.on_terminal():
            raise not_logged_in(settings.domain())
        line(f"You are not logged in to {settings.domain()}.", stderr=True)
        sign_in.on_terminal(settings, settings.domain())
    with _view(events, as_json, client) as view:
        return run_access(settings, wish, view)


def _check_words(words: tuple[str, ...]) -> None:
    if words:
        raise ExitError(
            "client_without_dashes",
            f"“{words[0]}” is no option: put -- before a client to run, as in `-- mongosh {{uri}}`.",
            Exit.USAGE,
        )


@contextlib.contextmanager
def _view(events: Path | None, as_json: bool, client: tuple[str, ...]) -> Iterator[View]:
    if events is not None:
        with _private_file(events) as file:
            yield JsonView(file)
    elif as_json:
        yield JsonView()
    elif client:
        yield BesideClient(Path(client[0]).name)
    else:
        yield TerminalView()


def _private_file(path: Path) -> TextIO:
    """A new file, or one of ours emptied, that nobody else can read: a URI in it may hold a password."""
    inherited = os.fspath(path).startswith(_INHERITED)
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if inherited else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags, 0o600)
        facts = os.fstat(descriptor)
        is_file = stat.S_ISREG(facts.st_mode)
        # A pipe that somebody else has put there would be read by them; one that we were given is our caller's choice.
        if facts.st_uid != os.geteuid() and (is_file or (stat.S_ISFIFO(facts.st_mode) and not inherited)):
            raise PermissionError(errno.EPERM, "it is somebody else's")
        if is_file:
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
    except OSError as error:
        raise ExitError("events_file", f"{path} can't be written: {error.strerror}.", Exit.FAILED) from error
    return os.fdopen(descriptor, "w", encoding="utf-8")

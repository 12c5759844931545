"""Command groups that import a command only when it is run.

A table names each command's place and its one-line help, so that `wardgate --help` imports no program and a missing
extra is one sentence, not a traceback. The programs (server, relay, gateway, demo) stand in such tables by dotted name:
this is the one seam by which the console script starts them, and why no room needs to import another program.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from .exits import Exit, ExitError

if TYPE_CHECKING:
    from click import Group
else:
    try:
        from rich_click import RichGroup as Group
    except ModuleNotFoundError:  # installed for a program alone, as wardgate[relay]: plain help will do there
        from click import Group


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command lives: `module:attribute`, or `module:group#command`; `extra` is what must be installed."""

    target: str
    help: str
    extra: str = "cli"


class LazyGroup(Group):
    """A group whose commands are imported when they are resolved, not when they are listed."""

    def __init__(self, name: str, table: dict[str, Place], *, help: str) -> None:  # noqa: A002 - click's word
        super().__init__(name=name, help=help, no_args_is_help=True)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the table's order, which is the order in which one needs them."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A stand-in with the help line, for listing; `resolve_command` gets the real one."""
        place = self._table.get(cmd_name)
        return None if place is None else click.Command(cmd_name, help=place.help)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begin with, imported."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        if name is None or stand_in is None:
            return name, stand_in, rest
        return name, load(self._table[name]), rest


def load(place: Place) -> click.Command:
    """Import the command at `place`; ExitError where its extra is not installed."""
    module_name, _, attribute = place.target.partition(":")
    attribute, _, member = attribute.partition("#")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == "wardgate":
            raise
        raise ExitError(
            "extra_missing",
            f"This command needs more than is installed: pip install 'wardgate[{place.extra}]'.",
            Exit.FAILED,
        ) from error
    command = getattr(module, attribute)
    if member:
        command = command.commands[member]
    if not isinstance(command, click.Command):
        raise TypeError(f"{place.target} is no command")
    return command

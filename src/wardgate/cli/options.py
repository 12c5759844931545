"""Options that many commands share, declared once so that they read and behave alike."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from .exits import Exit, ExitError
from .settings import Settings

Command = Callable[..., Any]


def settings(function: Command) -> Command:
    """`--domain` and `--ca-file`, given to the command as `settings`."""

    @click.option("--domain", metavar="URL", help="The control plane (or WARDGATE_DOMAIN).")
    @click.option(
        "--ca-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Trust this private CA for HTTPS too (or WARDGATE_CA_FILE).",
    )
    @functools.wraps(function)
    def wrapper(*args: Any, domain: str | None, ca_file: Path | None, **kwargs: Any) -> Any:
        return function(*args, settings=Settings(domain, ca_file), **kwargs)

    return wrapper


def json_output(function: Command) -> Command:
    """`--json`, given as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON; an error is a problem document.")(function)


def project_id(function: Command) -> Command:
    """`--project-id`, given as `project_id`."""
    return click.option("--project-id", required=True, metavar="PRJ", help="The project's id (prj_…).")(function)


def no_test(function: Command) -> Command:
    """`--no-test`, given as `no_test`."""
    return click.option("--no-test", is_flag=True, help="Save without the connection test.")(function)


def password_from_stdin() -> SecretStr:
    """The password on standard input: exactly one final newline is dropped, all else is kept, empty is refused."""
    raw = sys.stdin.buffer.read(8192)
    raw = raw[:-1] if raw.endswith(b"\n") else raw
    if not raw:
        raise ExitError("empty_password", "The password on standard input is empty.", Exit.USAGE)
    try:
        return SecretStr(raw.decode())
    except UnicodeDecodeError as error:
        raise ExitError("invalid_password", "The password on standard input is not UTF-8 text.", Exit.USAGE) from error


def password_from_terminal(prompt: str, *, twice: bool = False) -> SecretStr:
    """Ask on the terminal, without an echo; `twice` where nobody but the person knows it yet."""
    return SecretStr(click.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True))


def password(from_stdin: bool, prompt: str, *, twice: bool = False) -> SecretStr:
    """The password as `--password-stdin` says; ExitError `no_terminal` where nobody can be asked."""
    if from_stdin:
        return password_from_stdin()
    if not on_terminal():
        raise ExitError("no_terminal", "There is no terminal to ask on: use --password-stdin.", Exit.USAGE)
    return password_from_terminal(prompt, twice=twice)


def on_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def terminal_needed(message: str) -> None:
    """ExitError that says `message` where there is no terminal to ask on."""
    if not on_terminal():
        raise ExitError("no_terminal", message, Exit.USAGE)

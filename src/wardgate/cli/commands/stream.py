"""`wardgate stream …`: sending the record and the audit log to where an organisation collects such things."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ...api.streams import Stream, StreamCreate, StreamSecret, StreamTest, StreamUpdate
from .. import options
from ..exits import Exit, ExitError
from ..forms import build, path
from ..output import count, exact, line, print_facts, print_json, print_list, span, when
from ..settings import Settings

_PLACE = click.option("--project-id", metavar="PRJ", help="A project's stream; without it the organisation's.")
_COMMANDS = "What sessions do."
_EVENTS = "The control plane's audit log."
_BODIES = "Send commands with their (masked) bodies."
_CA = click.option(
    "--ca-certificate",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="PEM file: trust this authority for it in place of the system's.",
)
_HEADER = click.option(
    "--header-env",
    "header_envs",
    multiple=True,
    metavar="NAME=VARIABLE",
    help="Send this header with the value of an environment variable, as Authorization=SIEM_TOKEN. May be repeated.",
)


@click.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(["syslog", "webhook", "otlp"]), required=True, help="How lines are sent.")
@click.option(
    "--url", required=True, help="https://… (webhook, otlp); syslog+tls://host:6514, syslog+tcp://, syslog+udp://."
)
@click.option("--commands/--no-commands", default=True, show_default=True, help=_COMMANDS)
@click.option("--events/--no-events", default=True, show_default=True, help=_EVENTS)
@click.option("--bodies/--no-bodies", default=False, show_default=True, help=_BODIES)
@_CA
@_HEADER
@_PLACE
@options.json_output
@options.settings
def add(
    settings: Settings,
    name: str,
    kind: str,
    url: str,
    commands: bool,
    events: bool,
    bodies: bool,
    ca_certificate: Path | None,
    header_envs: tuple[str, ...],
    project_id: str | None,
    as_json: bool,
) -> None:
    """Make a stream called NAME. It begins with what happens from now on.

    A webhook's signing key (whsec_…, see standardwebhooks.com) is printed this once.
    """
    form = build(
        StreamCreate,
        name=name,
        kind=kind,
        url=url,
        commands=commands,
        events=events,
        bodies=bodies,
        ca_certificate=_pem(ca_certificate),
        headers=_headers(header_envs),
    )
    with settings.api() as client:
        made = client.post(path(*_place(project_id)), StreamSecret, form)
    _print_secret(made, as_json, f"Stream {made.stream.name} is {made.stream.id}. Try it: wardgate stream test {name}")


@click.command(name="list")
@_PLACE
@options.json_output
@options.settings
def list_(settings: Settings, project_id: str | None, as_json: bool) -> None:
    """List the streams of the organisation, or of a project, and how they go."""
    with settings.api() as client:
        streams = list(client.pages(path(*_place(project_id)), Stream))
    print_list(
        streams,
        as_json,
        ("NAME", "KIND", "STATE", "SENT", "LAST", "BEHIND", "URL"),
        lambda each: (
            each.name,
            each.kind.value,
            each.status.state.value,
            str(each.status.sent),
            when(each.status.sent_at),
            _behind(each),
            each.url,
        ),
        empty="No stream yet: make one with `wardgate stream add NAME --kind … --url …`.",
    )


@click.command()
@click.argument("name")
@_PLACE
@options.json_output
@options.settings
def show(settings: Settings, name: str, project_id: str | None, as_json: bool) -> None:
    """Show how the stream NAME is set, how far it has come, and what went wrong last."""
    with settings.api() as client:
        found = client.get(path(*_place(project_id), name), Stream)
    _print(found, as_json)


@click.command()
@click.argument("name")
@click.option("--url", help="Lead it elsewhere; its headers are dropped unless they are given again.")
@click.option("--commands/--no-commands", default=None, help=_COMMANDS)
@click.option("--events/--no-events", default=None, help=_EVENTS)
@click.option("--bodies/--no-bodies", default=None, help=_BODIES)
@click.option("--pause/--resume", "paused", default=None, help="A paused stream keeps its place and sends nothing.")
@_CA
@click.option("--system-ca", is_flag=True, help="Trust the system's authorities again.")
@_HEADER
@_PLACE
@options.json_output
@options.settings
def update(
    settings: Settings,
    name: str,
    ca_certificate: Path | None,
    system_ca: bool,
    header_envs: tuple[str, ...],
    project_id: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Change the stream NAME. It goes on from where it is."""
    changes = {field: value for field, value in given.items() if value is not None}
    if ca_certificate is not None or system_ca:
        changes["ca_certificate"] = None if system_ca else _pem(ca_certificate)
    if header_envs:
        changes["headers"] = _headers(header_envs)
    if not changes:
        raise click.UsageError("Say what to change.")
    with settings.api() as client:
        found = client.patch(path(*_place(project_id), name), Stream, build(StreamUpdate, **changes))
    _print(found, as_json)


@click.command()
@click.argument("name")
@_PLACE
@options.json_output
@options.settings
def secret(settings: Settings, name: str, project_id: str | None, as_json: bool) -> None:
    """Make a new signing key for the webhook NAME; the old one is used no more."""
    with settings.api() as client:
        made = client.post(path(*_place(project_id), name, "secret"), StreamSecret)
    _print_secret(made, as_json, f"Stream {made.stream.name} has a new signing key.")


@click.command()
@click.argument("name")
@_PLACE
@options.json_output
@options.settings
def test(settings: Settings, name: str, project_id: str | None, as_json: bool) -> int:
    """Send a test line to the receiver of the stream NAME, and say what became of it."""
    with settings.api() as client:
        found = client.post(path(*_place(project_id), name, "test"), StreamTest)
    if as_json:
        print_json(found)
    else:
        line(f"{found.message} ({found.duration_ms} ms)")
    return int(Exit.OK if found.ok else Exit.FAILED)


@click.command()
@click.argument("name")
@_PLACE
@options.settings
def remove(settings: Settings, name: str, project_id: str | None) -> None:
    """Forget the stream NAME; what it has not sent is not sent any more."""
    with settings.api() as client:
        client.call("DELETE", path(*_place(project_id), name))
    line(f"Stream {name} is removed.")


def _place(project_id: str | None) -> tuple[str, ...]:
    return ("streams",) if project_id is None else ("projects", project_id, "streams")


def _pem(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        raise ExitError("unreadable_file", f"{file} can't be read as PEM.", Exit.USAGE) from None


def _headers(given: tuple[str, ...]) -> dict[str, str]:
    """Values come from the environment: what stands in arguments, everybody on the machine can read."""
    found = {}
    for each in given:
        name, _, variable = each.partition("=")
        value = os.environ.get(variable)
        if not name or not variable or value is None:
            raise click.UsageError("--header-env: write NAME=VARIABLE, with a variable that is set.")
        found[name] = value
    return found


def _print_secret(made: StreamSecret, as_json: bool, text: str) -> None:
    if as_json:
        print_json(made)
        return
    line(text)
    if made.secret is not None:
        line(f"Its signing key, shown this once: {made.secret}")


def _behind(stream: Stream) -> str:
    status = stream.status
    if not status.events_behind and not status.sessions_behind:
        return "–"
    parts = [(status.events_behind, "event"), (status.sessions_behind, "session")]
    return ", ".join(count(number, noun) for number, noun in parts if number) + f", {span(status.lag_s)}"


def _print(stream: Stream, as_json: bool) -> None:
    if as_json:
        print_json(stream)
        return
    status = stream.status
    sent = [name for name, wanted in (("commands", stream.commands), ("events", stream.events)) if wanted]
    print_facts(
        [
            ("name", stream.name),
            ("id", stream.id),
            ("of", stream.project_id or "the organisation"),
            ("kind", stream.kind.value),
            ("url", stream.url),
            ("sends", (" and ".join(sent) or "nothing") + (", with bodies" if stream.bodies else "")),
            ("headers", ", ".join(stream.header_names) or None),
            ("authority", "its own" if stream.ca_certificate else None),
            ("state", status.state.value),
            ("sent", count(status.sent, "line") + (f", last {when(status.sent_at)}" if status.sent_at else "")),
            ("behind", _behind(stream)),
            ("failing since", exact(status.failing_since)),
            ("last error", status.last_error),
            ("at", exact(status.last_error_at)),
            ("next try", when(status.next_try_at) if status.next_try_at else None),
        ]
    )

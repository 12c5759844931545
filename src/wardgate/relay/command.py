"""`wardgate relay run`."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import click

from ..net import logs, loop
from ..net.dial import split_address
from ..net.machine import token_from
from .app import Ready, RelaySettings, run_relay


@click.group("relay")
def cli() -> None:
    """Run a relay."""


@cli.command("run")
@click.option("--listen", required=True, metavar="HOST:PORT", help="Address to listen on.")
@click.option("--advertise", metavar="HOST:PORT", help="Address that gateways and local proxies dial, if another.")
@click.option("--name", help="The relay's name, as it was created.")
@click.option("--token", help="Enrolment token; better given by file or environment.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File with the enrolment token.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the relay's identity.",
)
@click.option("--domain", help="Address of the control plane, if not the one in the token.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="CA of the control plane's HTTPS certificate (PEM).")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON.")
def run(
    listen: str,
    advertise: str | None,
    name: str | None,
    token: str | None,
    token_file: Path | None,
    data_dir: Path,
    domain: str | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Join local proxies and gateways until SIGTERM.

    The first time, an enrolment token from `wardgate relay create` is needed (--token-file, WARDGATE_ENROLMENT_TOKEN or
    --token); afterwards the identity in --data-dir is.
    """
    logs.configure("relay", json=as_json)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the route key is in memory
    settings = RelaySettings(
        listen=split_address(listen),
        advertise=advertise,
        name=name,
        token=token_from(token, token_file),
        data_dir=data_dir,
        domain=domain,
        ca_file=ca_file,
    )
    loop.run(run_relay(settings, lambda ready: _announce(ready, as_json)))


def _announce(ready: Ready, as_json: bool) -> None:
    if ready.notice:
        click.echo(f"note: {ready.notice}", err=True)
    if as_json:
        facts = {"event": "ready", "id": ready.id, "name": ready.name, "address": ready.address}
        click.echo(json.dumps({**facts, "advertised": ready.advertised}))
    else:
        click.echo(f"Relay {ready.name} is ready at {ready.advertised}.")
    sys.stdout.flush()

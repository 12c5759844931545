"""`wardgate gateway run`."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import click

from ..errors import WardgateError
from ..net import logs, loop
from ..net.machine import MachineIdentity, token_from


@click.group()
def cli() -> None:
    """The gateway."""


@cli.command()
@click.option("--name", help="The gateway's name, as it was created.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), required=True, help="Its folder.")
@click.option("--token", help="The enrolment token, needed once; --token-file keeps it out of the process list.")
@click.option("--token-file", type=click.Path(path_type=Path, dir_okay=False), help="A file with the token.")
@click.option("--domain", metavar="URL", help="The control plane, where it is not the one in the token.")
@click.option("--ca-file", type=click.Path(path_type=Path, dir_okay=False), help="Trust this private CA for HTTPS too.")
@click.option("--listen", metavar="HOST:PORT", help="Accept people directly, without a relay.")
@click.option("--advertise", metavar="HOST:PORT", help="How people reach --listen.")
@click.option("--json", "as_json", is_flag=True, help="Print the ready line, and log, as JSON.")
def run(
    name: str | None,
    data_dir: Path,
    token: str | None,
    token_file: Path | None,
    domain: str | None,
    ca_file: Path | None,
    listen: str | None,
    advertise: str | None,
    as_json: bool,
) -> None:
    """Run a gateway: it dials out, logs in to MongoDB and records every command.

    The enrolment token is needed the first time only; WARDGATE_ENROLMENT_TOKEN works too.
    """
    from .app import GatewayConfig, run_gateway
    from .mongo.site import Site

    logs.configure("gateway", json=as_json)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # leases are in memory
    address = None if listen is None else split_listen(listen)
    if address is not None and advertise is None:
        if address[0] in ("", "0.0.0.0", "::"):  # noqa: S104 - it is compared, not bound
            raise WardgateError("advertise_needed", "--listen on every address needs --advertise: how people reach it.")
        advertise = listen
    config = GatewayConfig(
        data_dir=data_dir,
        name=name,
        token=token_from(token, token_file),
        domain=domain,
        ca_file=ca_file,
        listen=address,
        advertise=advertise,
        site=Site.of(os.environ),
    )

    def ready(identity: MachineIdentity, notice: str | None) -> None:
        if notice:
            click.echo(f"note: {notice}", err=True)
        if as_json:
            fields = {"event": "ready", "id": identity.id, "name": identity.name, "domain": identity.domain}
            sys.stdout.write(json.dumps(fields) + "\n")
        else:
            sys.stdout.write(f"Gateway {identity.name} is ready at {identity.domain}.\n")
        sys.stdout.flush()

    loop.run(run_gateway(config, ready))


def split_listen(text: str) -> tuple[str, int]:
    """HOST:PORT, IPv6 in brackets; WardgateError `invalid_address`."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65_535 or not host:
        raise WardgateError("invalid_address", f"“{text[:100]}” is no address to listen on: write HOST:PORT.")
    return host.removeprefix("[").removesuffix("]"), int(port)

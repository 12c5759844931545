"""`wardgate gateway` and `wardgate relay`: create, list, revoke, and tokens for further instances of a gateway."""

from __future__ import annotations

import click

from ...api.models import Gateway, GatewayCreate, GatewayCreated, GatewayInstance, Relay, RelayCreate, RelayCreated
from .. import options
from ..forms import build, path
from ..output import line, print_json, print_list, print_table, when
from ..settings import Settings


@click.command(name="create")
@click.argument("name")
@options.project_id
@options.json_output
@options.settings
def gateway_create(settings: Settings, project_id: str, name: str, as_json: bool) -> None:
    """Make a gateway called NAME; the enrolment token is shown this once."""
    with settings.api() as client:
        created = client.post(path("projects", project_id, "gateways"), GatewayCreated, build(GatewayCreate, name=name))
    if as_json:
        print_json(created)
        return
    line(f"Gateway {created.name} is {created.id}. Run this beside the database (the token works once, for an hour):")
    line(f"  wardgate gateway run --name {created.name} --token {created.token} --data-dir ./{created.name}")


@click.command(name="token")
@click.argument("name")
@options.project_id
@options.json_output
@options.settings
def gateway_token(settings: Settings, project_id: str, name: str, as_json: bool) -> None:
    """Make an enrolment token for a further instance of the gateway NAME; it is shown this once.

    Instances of one gateway serve the same sessions: where one is lost, sessions go on at another.
    """
    with settings.api() as client:
        created = client.post(path("projects", project_id, "gateways", name, "tokens"), GatewayCreated)
    if as_json:
        print_json(created)
        return
    line("Run this on another machine beside the database (the token works once, for an hour):")
    line(f"  wardgate gateway run --name {created.name} --token {created.token} --data-dir ./{created.name}")


@click.command(name="list")
@options.project_id
@options.json_output
@options.settings
def gateway_list(settings: Settings, project_id: str, as_json: bool) -> None:
    """List a project's gateways with their instances."""
    with settings.api() as client:
        gateways = list(client.pages(path("projects", project_id, "gateways"), Gateway))
    if as_json:
        print_json(gateways)
        return
    print_table(
        ("NAME", "STATUS", "SEEN", "VERSION", "SESSIONS", "ID"),
        [row for gateway in gateways for row in _rows(gateway)],
        empty="No gateway yet: make one with `wardgate gateway create NAME`.",
    )


def _rows(gateway: Gateway) -> list[tuple[str, ...]]:
    """The gateway, and below it its instances where there are several."""
    rows = [_row(gateway.name, gateway)]
    if len(gateway.instances) > 1:
        rows += [_row(f"  {each.host or 'unnamed'}", each) for each in gateway.instances]
    return rows


def _row(name: str, of: Gateway | GatewayInstance) -> tuple[str, ...]:
    return name, of.status, when(of.last_seen_at), of.version or "–", str(of.sessions), of.id


@click.command(name="revoke")
@click.argument("name")
@click.option("--instance", metavar="ID", help="Only this instance, as `gateway list` shows it.")
@options.project_id
@options.json_output
@options.settings
def gateway_revoke(settings: Settings, project_id: str, name: str, instance: str | None, as_json: bool) -> None:
    """Cut the gateway NAME off: its certificates are refused and its sessions end.

    With --instance only that one is cut off, and its sessions go on at the others.
    """
    where = ("projects", project_id, "gateways", name)
    with settings.api() as client:
        if instance is None:
            revoked = client.post(path(*where, "revoke"), Gateway)
        else:
            revoked = client.post(path(*where, "instances", instance, "revoke"), Gateway)
    if as_json:
        print_json(revoked)
    elif instance is None:
        line(f"Gateway {revoked.name} is revoked; its sessions are ended.")
    else:
        line(f"The instance {instance} of the gateway {revoked.name} is revoked.")


@click.command(name="create")
@click.argument("name")
@options.json_output
@options.settings
def relay_create(settings: Settings, name: str, as_json: bool) -> None:
    """Make a relay called NAME; the enrolment token is shown this once."""
    with settings.api() as client:
        created = client.post("/relays", RelayCreated, build(RelayCreate, name=name))
    if as_json:
        print_json(created)
        return
    line(f"Relay {created.name} is {created.id}. Run this where people and gateways reach it (the token works once):")
    line(
        f"  wardgate relay run --name {created.name} --token {created.token} --data-dir ./{created.name} "
        "--listen 0.0.0.0:8443 --advertise relay.example.com:8443"
    )


@click.command(name="list")
@options.json_output
@options.settings
def relay_list(settings: Settings, as_json: bool) -> None:
    """List the relays."""
    with settings.api() as client:
        relays = list(client.pages("/relays", Relay))
    print_list(
        relays,
        as_json,
        ("NAME", "STATUS", "ADDRESS", "SEEN", "VERSION", "ID"),
        lambda r: (r.name, r.status, r.address or "–", when(r.last_seen_at), r.version or "–", r.id),
        empty="No relay yet: make one with `wardgate relay create NAME`, or give `server run` a --relay-listen.",
    )


@click.command(name="revoke")
@click.argument("name")
@options.json_output
@options.settings
def relay_revoke(settings: Settings, name: str, as_json: bool) -> None:
    """Cut the relay NAME off."""
    with settings.api() as client:
        revoked = client.post(path("relays", name, "revoke"), Relay)
    if as_json:
        print_json(revoked)
    else:
        line(f"Relay {revoked.name} is revoked.")

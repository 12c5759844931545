"""`wardgate service …`: programs that act for themselves, as in CI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from ...api.client import ApiClient, NoLogin
from ...api.workloads import (
    SecretCreate,
    SecretCreated,
    Service,
    ServiceCreate,
    ServiceDetails,
    ServiceToken,
    ServiceTokenRequest,
    ServiceUpdate,
    Trust,
    TrustCreate,
)
from .. import options
from ..exits import Exit, ExitError
from ..forms import build, path
from ..output import exact, line, print_facts, print_json, print_list, when
from ..settings import Settings
from .group import roles

_SCOPES = click.Choice(["administer", "audit", "connect"])
_scope = click.option(
    "--scope", "scopes", multiple=True, type=_SCOPES, help="What its tokens may be used for; several times."
)
_network = click.option(
    "--network", "networks", multiple=True, metavar="CIDR", help="From where it may act; several times."
)


@click.command()
@click.argument("name")
@click.option("--description", default="", help="What it is for.")
@_scope
@_network
@click.option("--duration", metavar="D", help="Until then, as 90d; without it, until it is removed.")
@options.json_output
@options.settings
def create(
    settings: Settings,
    name: str,
    description: str,
    scopes: tuple[str, ...],
    networks: tuple[str, ...],
    duration: str | None,
    as_json: bool,
) -> None:
    """Make the service NAME, without credentials and roles. Its tokens may connect unless --scope says otherwise."""
    more: dict[str, Any] = {"scopes": list(scopes)} if scopes else {}
    body = build(ServiceCreate, name=name, description=description, networks=list(networks), duration=duration, **more)
    with settings.api() as client:
        made = client.post("/services", ServiceDetails, body)
    if as_json:
        print_json(made)
        return
    line(f"Service {made.name} is made, without any role yet. Go on with:")
    line(f"  wardgate role grant connector --service {made.name} --project-id …")
    line(f"  wardgate service secret create {made.name}")


@click.command(name="list")
@options.json_output
@options.settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the services and their roles."""
    with settings.api() as client:
        services = list(client.pages("/services", Service))
    print_list(
        services,
        as_json,
        ("NAME", "STATUS", "SCOPES", "ROLES", "ENDS", "ID"),
        lambda s: (s.name, s.status, " ".join(s.scopes), roles(s.roles), when(s.expires_at), s.id),
        empty="No service: make one with `wardgate service create NAME`.",
    )


@click.command()
@click.argument("service")
@options.json_output
@options.settings
def show(settings: Settings, service: str, as_json: bool) -> None:
    """Show SERVICE, given by name or id, and what it proves itself with."""
    with settings.api() as client:
        _print(client.get(path("services", service), ServiceDetails), as_json)


def _print(service: ServiceDetails, as_json: bool) -> None:
    if as_json:
        print_json(service)
        return
    print_facts(
        [
            ("service", service.name),
            ("id", service.id),
            ("status", service.status),
            ("description", service.description or "–"),
            ("scopes", " ".join(service.scopes)),
            ("networks", " ".join(service.networks) or "any"),
            ("since", exact(service.created_at)),
            ("ends", exact(service.expires_at)),
            ("roles", roles(service.roles)),
            *[
                ("secret", f"{secret.id}, ends {when(secret.expires_at)}, used {when(secret.used_at)}")
                for secret in service.secrets
            ],
            *[("trust", _trust(trust)) for trust in service.trusts],
        ]
    )


def _trust(trust: Trust) -> str:
    conditions = ", ".join(f"{claim}={pattern}" for claim, pattern in trust.conditions.items())
    return f"{trust.id}, {trust.issuer} for {trust.audience}, where {conditions}, used {when(trust.used_at)}"


@click.command()
@click.argument("service")
@click.option("--name", help="A new name.")
@click.option("--description", help="What it is for.")
@_scope
@_network
@click.option("--any-network", is_flag=True, help="It may act from anywhere.")
@click.option("--duration", metavar="D", help="It ends so long from now, as 90d.")
@click.option("--no-end", is_flag=True, help="It lasts until it is removed.")
@options.json_output
@options.settings
def update(
    settings: Settings,
    service: str,
    scopes: tuple[str, ...],
    networks: tuple[str, ...],
    any_network: bool,
    duration: str | None,
    no_end: bool,
    as_json: bool,
    **given: str | None,
) -> None:
    """Change SERVICE (name or id); what it loses ends at once. --scope and --network replace what was there."""
    if (any_network and networks) or (no_end and duration is not None):
        raise ExitError("contradiction", "--any-network or --network, and --no-end or --duration.", Exit.USAGE)
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if scopes:
        changes["scopes"] = list(scopes)
    if networks or any_network:
        changes["networks"] = list(networks)
    if duration is not None or no_end:
        changes["duration"] = duration
    if not changes:
        raise ExitError("nothing_to_change", "Say what is to change: see --help.", Exit.USAGE)
    with settings.api() as client:
        _print(client.patch(path("services", service), ServiceDetails, build(ServiceUpdate, **changes)), as_json)


@click.command()
@click.argument("service")
@options.json_output
@options.settings
def disable(settings: Settings, service: str, as_json: bool) -> None:
    """Keep SERVICE (name or id) out; its tokens and sessions end."""
    with settings.api() as client:
        _print(client.post(path("services", service, "disable"), ServiceDetails), as_json)


@click.command()
@click.argument("service")
@options.json_output
@options.settings
def enable(settings: Settings, service: str, as_json: bool) -> None:
    """Let the disabled SERVICE (name or id) in again, with the roles and credentials that it had."""
    with settings.api() as client:
        _print(client.post(path("services", service, "enable"), ServiceDetails), as_json)


@click.command()
@click.argument("service")
@options.settings
def remove(settings: Settings, service: str) -> None:
    """Remove SERVICE (name or id); its sessions end, their records stay."""
    with settings.api() as client:
        client.call("DELETE", path("services", service))
    line(f"Service {service} is removed.")


# --- credentials ---------------------------------------------------------------------------------------------------


@click.command()
@click.argument("service")
@click.option("--duration", metavar="D", help="Until then, as 90d; without it, until it is revoked.")
@click.option("--retire-others", metavar="D", help="For a rotation: its other secrets end so long from now, as 24h.")
@options.json_output
@options.settings
def secret_create(
    settings: Settings, service: str, duration: str | None, retire_others: str | None, as_json: bool
) -> None:
    """Make a client secret for SERVICE (name or id). It is shown this once: put it where the program finds it."""
    body = build(SecretCreate, duration=duration, retire_others=retire_others)
    with settings.api() as client:
        made = client.post(path("services", service, "secrets"), SecretCreated, body)
    if as_json:
        print_json(made)
        return
    line(f"The secret {made.id}, which is shown this once (set it as WARDGATE_TOKEN where the program runs):")
    line(made.secret)


@click.command()
@click.argument("service")
@click.argument("secret")
@options.settings
def secret_revoke(settings: Settings, service: str, secret: str) -> None:
    """Take the secret SECRET (its id) of SERVICE back; its tokens and the sessions that stood on it end."""
    with settings.api() as client:
        client.call("DELETE", path("services", service, "secrets", secret))
    line(f"Secret {secret} is revoked.")


@click.command()
@click.argument("service")
@click.option("--issuer", required=True, metavar="URL", help="As it stands in the tokens' `iss`.")
@click.option("--audience", help="As it stands in their `aud`; without it, this control plane's address.")
@click.option(
    "--claim", "claims", multiple=True, metavar="NAME=VALUE", help="What must be in them; * is any text; several times."
)
@options.json_output
@options.settings
def trust_add(
    settings: Settings, service: str, issuer: str, audience: str | None, claims: tuple[str, ...], as_json: bool
) -> None:
    """Take the signed tokens of an issuer (of GitHub, GitLab, Kubernetes, …) as SERVICE's, under conditions."""
    conditions = {}
    for claim in claims:
        name, equals, value = claim.partition("=")
        if not equals or name in conditions:
            raise ExitError("invalid_claim", f"--claim {claim[:80]}: write NAME=VALUE, each name once.", Exit.USAGE)
        conditions[name] = value
    body = build(TrustCreate, issuer=issuer, audience=audience, conditions=conditions)
    with settings.api() as client:
        made = client.post(path("services", service, "trusts"), Trust, body)
    if as_json:
        print_json(made)
    else:
        line(f"{service} trusts {_trust(made)}.")


@click.command()
@click.argument("service")
@click.argument("trust")
@options.settings
def trust_remove(settings: Settings, service: str, trust: str) -> None:
    """Take no more tokens for the trust TRUST (its id) of SERVICE; sessions that stood on them end."""
    with settings.api() as client:
        client.call("DELETE", path("services", service, "trusts", trust))
    line(f"Trust {trust} is removed.")


@click.command()
@click.argument("service", required=False)
@click.option("--secret-stdin", is_flag=True, help="Read a client secret from standard input.")
@click.option(
    "--workload-token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True, allow_dash=True),
    help="A file with a signed workload token (“-”: standard input); needs SERVICE.",
)
@_scope
@options.json_output
@options.settings
def token(
    settings: Settings,
    service: str | None,
    secret_stdin: bool,
    workload_token_file: Path | None,
    scopes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Exchange a client secret or a signed workload token for a token of SERVICE that lasts an hour; print that."""
    if secret_stdin == (workload_token_file is not None):
        raise ExitError("credential_missing", "Give --secret-stdin or --workload-token-file.", Exit.USAGE)
    shown = _read(workload_token_file)
    name = "secret" if secret_stdin else "workload_token"
    body = build(ServiceTokenRequest, service=service, scopes=list(scopes) or None, **{name: shown})
    with ApiClient(settings.domain(), NoLogin(), ca_file=settings.ca_file) as client:
        made = client.post("/auth/service-token", ServiceToken, body)
    if as_json:
        print_json(made)
    else:
        line(made.access_token)


def _read(file: Path | None) -> SecretStr:
    if file is None or str(file) == "-":
        return SecretStr(options.password_from_stdin().get_secret_value().strip())
    try:
        return SecretStr(file.read_text().strip())
    except (OSError, UnicodeDecodeError):
        raise ExitError("unreadable_token", f"{file} can't be read.", Exit.USAGE) from None

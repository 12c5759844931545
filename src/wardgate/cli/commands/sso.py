"""`wardgate sso …`: single sign-on for people, by providers of OpenID Connect."""

from __future__ import annotations

from typing import Any

import click

from ...api.sso import (
    GroupMapping,
    SsoPolicy,
    SsoPolicyUpdate,
    SsoProvider,
    SsoProviderCreate,
    SsoProviderUpdate,
    SsoTest,
)
from .. import options
from ..exits import Exit, ExitError
from ..forms import build, path
from ..output import exact, line, print_facts, print_json, print_list
from ..settings import Settings

_NONE = "none"


def _provider_options(function: Any) -> Any:
    """What can be said of a provider, new or not."""
    for option in reversed(
        (
            click.option("--client-id", help="As the provider knows wardgate."),
            click.option("--client-secret-stdin", is_flag=True, help="Read the client secret from standard input."),
            click.option(
                "--email-domain", "domains", multiple=True, help="Whose addresses it vouches for; repeatable."
            ),
            click.option("--label", help="What the sign-in page calls it."),
            click.option("--scope", "scopes", multiple=True, help="What to ask for; repeatable, with openid."),
            click.option("--groups-claim", help="Where the provider says somebody's groups."),
            click.option(
                "--map", "maps", multiple=True, metavar="VALUE=GROUP", help="Whoever has VALUE is in GROUP; repeatable."
            ),
            click.option(
                "--create-users/--no-create-users", default=None, help="Whoever comes first time becomes a user."
            ),
            click.option("--trust-mfa/--no-trust-mfa", default=None, help="A second factor shown there counts here."),
            click.option("--lifetime", metavar="D", help="The longest sign-in, as 12h; none: as long as it is used."),
            click.option("--no-test", is_flag=True, help="Save without asking the issuer."),
        )
    ):
        function = option(function)
    return function


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """The form's fields that were given."""
    fields = {
        "client_id": given["client_id"],
        "label": given["label"],
        "groups_claim": given["groups_claim"],
        "create_users": given["create_users"],
        "trust_mfa": given["trust_mfa"],
        "domains": list(given["domains"]) or None,
        "scopes": list(given["scopes"]) or None,
        "mappings": [_mapping(each) for each in given["maps"]] or None,
    }
    kept = {name: value for name, value in fields.items() if value is not None}
    if given["lifetime"] is not None:
        kept["lifetime"] = None if given["lifetime"] == _NONE else given["lifetime"]
    if given["client_secret_stdin"]:
        kept["client_secret"] = options.password_from_stdin()
    return kept


def _mapping(text: str) -> GroupMapping:
    value, equals, group = text.rpartition("=")
    if not equals:
        raise ExitError("invalid_mapping", f"“{text}” is no mapping: write VALUE=GROUP.", Exit.USAGE)
    return build(GroupMapping, value=value, group=group)


@click.command()
@click.argument("name")
@click.option("--issuer", required=True, metavar="URL", help="As the provider's discovery document writes it.")
@_provider_options
@options.json_output
@options.settings
def add(settings: Settings, name: str, issuer: str, as_json: bool, **given: Any) -> None:
    """Add the provider NAME; its issuer is asked first."""
    body = build(SsoProviderCreate, name=name, issuer=issuer, **_fields(given))
    with settings.api() as client:
        made = client.post("/sso/providers", SsoProvider, body, {"no_test": given["no_test"]})
    _print(made, as_json)
    if not as_json:
        line(f"Register the redirect URI {made.redirect_uri} at the provider.", stderr=True)


@click.command(name="list")
@options.json_output
@options.settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the providers."""
    with settings.api() as client:
        found = list(client.pages("/sso/providers", SsoProvider))
    print_list(
        found,
        as_json,
        ("NAME", "ISSUER", "E-MAIL DOMAINS", "STATUS"),
        lambda p: (p.name, p.issuer, ", ".join(p.domains), "active" if p.enabled else "disabled"),
        empty="There is no provider: add one with wardgate sso add.",
    )


@click.command()
@click.argument("name")
@options.json_output
@options.settings
def show(settings: Settings, name: str, as_json: bool) -> None:
    """Show the provider NAME."""
    with settings.api() as client:
        _print(client.get(path("sso", "providers", name), SsoProvider), as_json)


@click.command()
@click.argument("name")
@click.option("--issuer", metavar="URL", help="Another issuer; needs the client secret again.")
@_provider_options
@click.option("--no-map", is_flag=True, help="Take all mappings away.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether it can be signed in with.")
@options.json_output
@options.settings
def update(
    settings: Settings, name: str, issuer: str | None, no_map: bool, enabled: bool | None, as_json: bool, **given: Any
) -> None:
    """Change the provider NAME; what is given replaces what was."""
    fields = _fields(given)
    if no_map:
        fields["mappings"] = []
    fields |= {key: value for key, value in (("issuer", issuer), ("enabled", enabled)) if value is not None}
    if not fields:
        raise ExitError("nothing_to_change", "Say what to change.", Exit.USAGE)
    with settings.api() as client:
        body, params = build(SsoProviderUpdate, **fields), {"no_test": given["no_test"]}
        _print(client.patch(path("sso", "providers", name), SsoProvider, body, params), as_json)


@click.command()
@click.argument("name")
@options.settings
def remove(settings: Settings, name: str) -> None:
    """Take the provider NAME away; whoever signed in by it is signed out."""
    with settings.api() as client:
        client.call("DELETE", path("sso", "providers", name))
    line(f"The provider {name} is removed.")


@click.command()
@click.argument("name")
@options.json_output
@options.settings
def test(settings: Settings, name: str, as_json: bool) -> int:
    """Ask the provider NAME what it is, and say what is missing."""
    with settings.api() as client:
        result = client.post(path("sso", "providers", name, "test"), SsoTest)
    if as_json:
        print_json(result)
    else:
        print_facts([(check.what.replace("_", " "), f"{_word(check.ok)}: {check.message}") for check in result.checks])
    return int(Exit.OK if result.ok else Exit.FAILED)


@click.command()
@click.option("--passwords-off/--passwords-on", default=None, help="Whether passwords open sign-ins at their domains.")
@options.json_output
@options.settings
def policy(settings: Settings, passwords_off: bool | None, as_json: bool) -> None:
    """Show the organisation's rule on passwords, or change it."""
    with settings.api() as client:
        if passwords_off is None:
            rule = client.get("/sso/policy", SsoPolicy)
        else:
            rule = client.put("/sso/policy", SsoPolicy, SsoPolicyUpdate(passwords_off=passwords_off))
    if as_json:
        print_json(rule)
    else:
        print_facts([("passwords", "off at the providers' domains" if rule.passwords_off else "on for everybody")])


def _word(ok: bool) -> str:
    return "ok" if ok else "failed"


def _print(provider: SsoProvider, as_json: bool) -> None:
    if as_json:
        print_json(provider)
        return
    print_facts(
        [
            ("name", provider.name),
            ("id", provider.id),
            ("label", provider.label),
            ("status", "active" if provider.enabled else "disabled"),
            ("issuer", provider.issuer),
            ("client id", provider.client_id),
            ("client secret", "kept" if provider.has_secret else "none"),
            ("redirect URI", provider.redirect_uri),
            ("e-mail domains", ", ".join(provider.domains)),
            ("scopes", " ".join(provider.scopes)),
            ("groups claim", provider.groups_claim),
            ("mappings", ", ".join(f"{each.value} → {each.group}" for each in provider.mappings) or "none"),
            ("new users", "are made" if provider.create_users else "are refused"),
            ("second factor", "trusted" if provider.trust_mfa else "asked here"),
            ("longest sign-in", provider.lifetime or "as long as it is used"),
            ("created", exact(provider.created_at)),
        ]
    )

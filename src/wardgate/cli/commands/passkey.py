"""`wardgate mfa passkey …`: one's own passkeys and security keys."""

from __future__ import annotations

import click

from ...api.client import ApiClient
from ...api.mfa import (
    FactorChange,
    MfaKind,
    MfaMethod,
    MfaStatus,
    PasskeyAdded,
    PasskeyAddition,
    PasskeyCreation,
    PasskeyRename,
)
from ...api.problems import ProblemCode, ProblemError
from .. import browser, mfa, options, security_key
from ..exits import Exit, ExitError
from ..forms import build, path
from ..output import line, print_json, print_list, when
from ..settings import Settings


@click.command()
@click.option("--name", default="security key", show_default=True, help="What to call it.")
@options.json_output
@options.settings
def add(settings: Settings, name: str, as_json: bool) -> None:
    """Set a security key up that is plugged in; without one, open the page where passkeys are set up."""
    options.terminal_needed("Passkeys are set up on a terminal, or on the control plane's own page.")
    with settings.api() as client:
        site = client.get("/mfa", MfaStatus).passkeys_at
        device = security_key.find()
        if device is None:
            _show_page(site)
            return
        wanted = mfa.set_up(client, FactorChange.ADD_PASSKEY)
        begun = client.post("/mfa/passkeys/options", PasskeyCreation, wanted)
        made = mfa.key_of(device, client.domain).create(begun.options)
        added = client.post("/mfa/passkeys", PasskeyAdded, PasskeyAddition(id=begun.id, name=name, credential=made))
    if as_json:
        print_json(added)
        return
    line(f"Your passkey {added.method.name} is set up.", stderr=True)
    mfa.show_recovery_codes(added.recovery_codes)


def _show_page(site: str | None) -> None:
    if site is None:
        raise ProblemError(
            ProblemCode.MFA_UNAVAILABLE,
            "Passkeys belong to a host name, and this control plane is known by an IP address only.",
        )
    page = f"{site}/factors"
    if browser.open_page(page):
        line(f"Your browser opens the page where passkeys are set up. If it does not: {page}", stderr=True)
    else:
        line(f"Set your passkey up on this page, in a browser: {page}", stderr=True)


@click.command(name="list")
@options.json_output
@options.settings
def list_(settings: Settings, as_json: bool) -> None:
    """List your passkeys and security keys."""
    with settings.api() as client:
        found = _passkeys(client)
    print_list(
        found,
        as_json,
        ("NAME", "ID", "SET UP", "USED", ""),
        lambda p: (p.name or "", p.id, when(p.created_at), when(p.last_used_at), _remark(p)),
        empty="You have no passkey: wardgate mfa passkey add.",
    )


def _passkeys(client: ApiClient) -> list[MfaMethod]:
    return [each for each in client.get("/mfa", MfaStatus).methods if each.kind is MfaKind.PASSKEY]


def _remark(method: MfaMethod) -> str:
    if method.clone_suspected_at is not None:
        return f"there may be a copy of it ({when(method.clone_suspected_at)}): take it away"
    return "synced" if method.synced else ""


@click.command()
@click.argument("passkey")
@options.settings
def remove(settings: Settings, passkey: str) -> None:
    """Take PASSKEY (its name or id) away."""
    options.terminal_needed("Second factors are changed on a terminal: there is none to ask on.")
    with settings.api() as client:
        found = _find(client, passkey)
        proof = mfa.prove(client, FactorChange.REMOVE, found.id)
        client.call("POST", path("mfa", "methods", found.id, "remove"), proof)
    line(f"Your passkey {found.name} is taken away.")


@click.command()
@click.argument("passkey")
@click.argument("name")
@options.settings
def rename(settings: Settings, passkey: str, name: str) -> None:
    """Call PASSKEY (its name or id) NAME."""
    with settings.api() as client:
        found = _find(client, passkey)
        named = client.patch(path("mfa", "passkeys", found.id), MfaMethod, build(PasskeyRename, name=name))
    line(f"Your passkey is called {named.name} now.")


def _find(client: ApiClient, passkey: str) -> MfaMethod:
    found = [each for each in _passkeys(client) if passkey in (each.id, each.name)]
    if not found:
        raise ExitError(
            "no_such_passkey", f"You have no passkey {passkey[:80]}: see wardgate mfa passkey list.", Exit.REFUSED
        )
    return found[0]

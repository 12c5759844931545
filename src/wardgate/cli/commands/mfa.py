"""`wardgate mfa …`: one's own second factor, and the organisation's rule."""

from __future__ import annotations

import sys

import click
from pydantic import SecretStr

from ...api.client import ApiClient
from ...api.mfa import (
    CodeRequest,
    MfaPolicy,
    MfaPolicyUpdate,
    MfaStatus,
    RecoveryCodes,
    SetUpRequest,
    TotpEnrolment,
)
from .. import options
from ..exits import Exit, ExitError
from ..forms import build, path
from ..output import exact, line, print_facts, print_json, when
from ..settings import Settings

_KIND_WORDS = {"totp": "an authenticator app", "email": "a code by e-mail"}


def _terminal() -> None:
    if not options.on_terminal():
        raise ExitError("no_terminal", "Second factors are changed on a terminal: there is none to ask on.", Exit.USAGE)


def _code(text: str) -> SecretStr:
    typed: str = click.prompt(text, hide_input=True, err=True)
    return SecretStr(typed)


@click.command()
@options.json_output
@options.settings
def status(settings: Settings, as_json: bool) -> None:
    """Show what you are asked for where a second factor is needed."""
    with settings.api() as client:
        found = client.get("/mfa", MfaStatus)
    if as_json:
        print_json(found)
        return
    print_facts(
        [
            (
                "asks for",
                _KIND_WORDS[found.kind.value] if found.kind else "nothing is available: run wardgate mfa totp",
            ),
            ("recovery codes", f"{found.recovery_codes_left} left" if found.methods else None),
            (
                "organisation",
                f"insists on {_KIND_WORDS[found.enforced.value]}" if found.enforced else "leaves it to you",
            ),
            ("at sign-in", "yes" if found.at_sign_in else "no"),
        ]
    )
    for method in found.methods:
        line(f"{method.kind.value}  {method.id}  set up {exact(method.created_at)}, used {when(method.last_used_at)}")


@click.command()
@options.settings
def totp(settings: Settings) -> None:
    """Set an authenticator app up, in place of the present one if there is one."""
    _terminal()
    with settings.api() as client:
        has_one = bool(client.get("/mfa", MfaStatus).methods)
        password = options.password_from_terminal("Password")
        present = _code("Code from the present app, or a recovery code") if has_one else None
        begun = client.post("/mfa/totp", TotpEnrolment, build(SetUpRequest, password=password, code=present))
        _show_qr(begun.uri)
        line(f"Scan this with your authenticator app, or type the secret in: {_grouped(begun.secret)}", stderr=True)
        body = build(CodeRequest, code=_code("The code that the app shows now"))
        made = client.post(path("mfa", "totp", begun.id, "confirm"), RecoveryCodes, body)
    line("Your authenticator app is set up.", stderr=True)
    _show_codes(made)


def _show_qr(uri: str) -> None:
    import segno

    segno.make(uri, error="m").terminal(sys.stderr, compact=True)


def _grouped(secret: str) -> str:
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))


def _show_codes(made: RecoveryCodes) -> None:
    line(
        "Keep these recovery codes where your phone is not; each works once, and the older ones are void:", stderr=True
    )
    for code in made.codes:
        line(code)


@click.command(name="recovery-codes")
@options.settings
def recovery_codes(settings: Settings) -> None:
    """Make new recovery codes; the older ones are void."""
    _terminal()
    body = build(CodeRequest, code=_code("Code from your authenticator app, or a recovery code"))
    with settings.api() as client:
        _show_codes(client.post("/mfa/recovery-codes", RecoveryCodes, body))


@click.command()
@options.settings
def remove(settings: Settings) -> None:
    """Take your authenticator app away."""
    _terminal()
    with settings.api() as client:
        for method in client.get("/mfa", MfaStatus).methods:
            body = build(CodeRequest, code=_code("Code from your authenticator app, or a recovery code"))
            client.call("POST", path("mfa", "methods", method.id, "remove"), body)
            line("Your authenticator app is taken away.")
            return
    line("You have no authenticator app.")


@click.command()
@click.option("--enforce", type=click.Choice(["totp", "email", "none"]), help="The kind that everybody must use.")
@click.option("--at-sign-in/--no-at-sign-in", default=None, help="Ask for it at every sign-in, or at access only.")
@options.json_output
@options.settings
def policy(settings: Settings, enforce: str | None, at_sign_in: bool | None, as_json: bool) -> None:
    """Show the organisation's rule on second factors, or change it."""
    with settings.api() as client:
        rule = client.get("/mfa/policy", MfaPolicy)
        if enforce is not None or at_sign_in is not None:
            rule = _changed(client, rule, enforce, at_sign_in)
    if as_json:
        print_json(rule)
        return
    print_facts(
        [
            ("kind", f"{_KIND_WORDS[rule.enforced.value]} for everybody" if rule.enforced else "everybody's own"),
            ("at sign-in", "yes" if rule.at_sign_in else "no; only where an account asks for it"),
        ]
    )


def _changed(client: ApiClient, rule: MfaPolicy, enforce: str | None, at_sign_in: bool | None) -> MfaPolicy:
    wanted = build(
        MfaPolicyUpdate,
        enforced=rule.enforced if enforce is None else None if enforce == "none" else enforce,
        at_sign_in=rule.at_sign_in if at_sign_in is None else at_sign_in,
    )
    return client.put("/mfa/policy", MfaPolicy, wanted)


@click.command(name="reset-mfa")
@click.argument("user")
@options.settings
def reset(settings: Settings, user: str) -> None:
    """Take all second factors of USER (e-mail address or id) away: the phone is lost, and the recovery codes too."""
    with settings.api() as client:
        client.call("POST", path("users", user, "mfa", "reset"))
    line(f"User {user} has no second factor any more.")

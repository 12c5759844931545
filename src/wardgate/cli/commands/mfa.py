"""`wardgate mfa …`: one's own second factor, and the organisation's rule."""

from __future__ import annotations

import sys

import click

from ...api.client import ApiClient
from ...api.mfa import (
    CodeRequest,
    FactorChange,
    MfaKind,
    MfaPolicy,
    MfaPolicyUpdate,
    MfaStatus,
    RecoveryCodes,
    TotpEnrolment,
)
from .. import mfa, options
from ..forms import build, path
from ..output import exact, line, print_facts, print_json, when
from ..settings import Settings

_KIND_WORDS = {
    "email": "a code by e-mail",
    "passkey": "a passkey or security key",
    "totp": "an authenticator app",
}
_NO_TERMINAL = "Second factors are changed on a terminal: there is none to ask on."


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
                _KIND_WORDS[found.kind.value]
                if found.kind
                else "nothing is available: run wardgate mfa passkey add, or wardgate mfa totp",
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
        what = method.kind.value if method.name is None else f"{method.kind.value} {method.name}"
        line(f"{what}  {method.id}  set up {exact(method.created_at)}, used {when(method.last_used_at)}")


@click.command()
@options.settings
def totp(settings: Settings) -> None:
    """Set an authenticator app up, in place of the present one if there is one."""
    options.terminal_needed(_NO_TERMINAL)
    with settings.api() as client:
        begun = client.post("/mfa/totp", TotpEnrolment, mfa.set_up(client, FactorChange.ADD_TOTP))
        _show_qr(begun.uri)
        line(f"Scan this with your authenticator app, or type the secret in: {_grouped(begun.secret)}", stderr=True)
        body = build(CodeRequest, code=mfa.hidden("The code that the app shows now"))
        made = client.post(path("mfa", "totp", begun.id, "confirm"), RecoveryCodes, body)
    line("Your authenticator app is set up.", stderr=True)
    mfa.show_recovery_codes(made.codes)


def _show_qr(uri: str) -> None:
    import segno

    segno.make(uri, error="m").terminal(sys.stderr, compact=True)


def _grouped(secret: str) -> str:
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))


@click.command(name="recovery-codes")
@options.settings
def recovery_codes(settings: Settings) -> None:
    """Make new recovery codes; the older ones are void."""
    options.terminal_needed(_NO_TERMINAL)
    with settings.api() as client:
        proof = mfa.prove(client, FactorChange.RECOVERY_CODES)
        mfa.show_recovery_codes(client.post("/mfa/recovery-codes", RecoveryCodes, proof).codes)


@click.command()
@options.settings
def remove(settings: Settings) -> None:
    """Take your authenticator app away."""
    options.terminal_needed(_NO_TERMINAL)
    with settings.api() as client:
        for method in client.get("/mfa", MfaStatus).methods:
            if method.kind is MfaKind.TOTP:
                proof = mfa.prove(client, FactorChange.REMOVE, method.id)
                client.call("POST", path("mfa", "methods", method.id, "remove"), proof)
                line("Your authenticator app is taken away.")
                return
    line("You have no authenticator app.")


@click.command()
@click.option(
    "--enforce", type=click.Choice(["passkey", "totp", "email", "none"]), help="The kind that everybody must use."
)
@click.option("--at-sign-in/--no-at-sign-in", default=None, help="Ask for it at every sign-in, or at access only.")
@click.option(
    "--user-verification/--no-user-verification",
    default=None,
    help="Have passkeys check who you are (PIN, fingerprint) as a second factor too.",
)
@options.json_output
@options.settings
def policy(
    settings: Settings, enforce: str | None, at_sign_in: bool | None, user_verification: bool | None, as_json: bool
) -> None:
    """Show the organisation's rule on second factors, or change it."""
    with settings.api() as client:
        rule = client.get("/mfa/policy", MfaPolicy)
        if (enforce, at_sign_in, user_verification) != (None, None, None):
            rule = _changed(client, rule, enforce, at_sign_in, user_verification)
    if as_json:
        print_json(rule)
        return
    print_facts(
        [
            ("kind", f"{_KIND_WORDS[rule.enforced.value]} for everybody" if rule.enforced else "everybody's own"),
            ("at sign-in", "yes" if rule.at_sign_in else "no; only where an account asks for it"),
            ("passkeys", "check who you are (PIN, fingerprint)" if rule.user_verification else "need a touch"),
        ]
    )


def _changed(
    client: ApiClient, rule: MfaPolicy, enforce: str | None, at_sign_in: bool | None, user_verification: bool | None
) -> MfaPolicy:
    wanted = build(
        MfaPolicyUpdate,
        enforced=rule.enforced if enforce is None else None if enforce == "none" else enforce,
        at_sign_in=rule.at_sign_in if at_sign_in is None else at_sign_in,
        user_verification=user_verification,
    )
    return client.put("/mfa/policy", MfaPolicy, wanted)


@click.command(name="reset-mfa")
@click.argument("user")
@options.settings
def reset(settings: Settings, user: str) -> None:
    """Take all second factors of USER (e-mail address or id) away: the devices are lost, and the recovery codes too."""
    with settings.api() as client:
        client.call("POST", path("users", user, "mfa", "reset"))
    line(f"User {user} has no second factor any more.")

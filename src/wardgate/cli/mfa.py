"""Answering a challenge for a second factor: on the terminal, with a security key, or in the browser.

A request that needs one is refused with `mfa_required` and a challenge; the person answers it, and the same request is
sent again with the challenge in it. Programs (`--json`, no terminal) get the problem as it is.

A passkey is asked for where it is: at a security key that is plugged in, else in the browser, on a page that shows what
it is for and the same four characters. This waits for the answer there, at most as long as the challenge is good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
from pydantic import SecretStr, ValidationError

from ..api.client import ApiClient, UnreachableError
from ..api.mfa import (
    ChallengeAnswer,
    ChallengeState,
    ChangeRequest,
    FactorChange,
    MfaChallenge,
    MfaKind,
    MfaQuestion,
    MfaStatus,
    Proof,
    SetUpRequest,
)
from ..api.problems import ProblemCode, ProblemError
from ..api.webauthn import PasskeyAssertion
from ..errors import WardgateError
from . import browser, options, security_key
from .forms import build, path
from .output import line

if TYPE_CHECKING:
    from fido2.ctap import CtapDevice

Answer = TypeVar("Answer")
_POLL_S = 1.0
_LONGEST_S = 300.0


def answering(client: ApiClient, send: Callable[[str | None], Answer], *, may_ask: bool) -> Answer:
    """`send(None)`; where that asks for a second factor, ask the person and `send` the met challenge's id."""
    try:
        return send(None)
    except ProblemError as error:
        challenge = challenge_in(error)
        if challenge is None or not may_ask or not options.on_terminal():
            raise
    meet(client, challenge)
    return send(challenge.challenge_id)


def challenge_in(error: ProblemError) -> MfaChallenge | None:
    """The challenge that a problem asks to meet; None where it brings none that this version understands."""
    if error.problem.code is not ProblemCode.MFA_REQUIRED:
        return None
    try:
        return MfaChallenge.model_validate(error.problem.context)
    except ValidationError:
        return None


def ask(challenge: MfaChallenge) -> SecretStr:
    """The code, from the person."""
    left = max(0, int(_seconds_left(challenge))) // 60
    return hidden(f"Code from {_source(challenge)} (challenge {challenge.short_code}, {left + 1} min)")


def hidden(text: str) -> SecretStr:
    """Something secret, typed on the terminal."""
    typed: str = click.prompt(text, hide_input=True, err=True)
    return SecretStr(typed)


def _source(challenge: MfaChallenge) -> str:
    if challenge.kind is MfaKind.EMAIL:
        return "the mail that was just sent to you"
    if MfaKind.TOTP in (challenge.kind, *challenge.alternatives):
        return "your authenticator app"
    return "your list of recovery codes"


def meet(client: ApiClient, challenge: MfaChallenge) -> None:
    """Have it answered; the ProblemError that ends the challenge otherwise."""
    if challenge.kind is not MfaKind.PASSKEY:
        _by_code(client, challenge)
        return
    signed = by_security_key(client.domain, challenge)
    if signed is not None:
        _verify(client, challenge, ChallengeAnswer(passkey=signed))
    else:
        _in_browser(client, challenge)


def _verify(client: ApiClient, challenge: MfaChallenge, answer: ChallengeAnswer) -> None:
    client.call("POST", path("mfa", "challenges", challenge.challenge_id, "verify"), answer)


def _by_code(client: ApiClient, challenge: MfaChallenge, code: SecretStr | None = None) -> None:
    """Until a code is right; `code` is one that was typed already."""
    while True:
        try:
            _verify(client, challenge, build(ChallengeAnswer, code=code or ask(challenge)))
        except ProblemError as error:
            if not may_try_again(error):
                raise
            line(error.message, stderr=True)
            code = None
        else:
            return


def may_try_again(error: ProblemError) -> bool:
    """Whether that was a wrong answer to a challenge that takes another."""
    return error.problem.code is ProblemCode.MFA_CODE_WRONG and bool(error.problem.context.get("attempts_left"))


# --- passkeys ---------------------------------------------------------------------------------------------------------


def by_security_key(domain: str, challenge: MfaChallenge) -> PasskeyAssertion | None:
    """What a security key that is plugged in answers; None where there is none that fits."""
    device = None if challenge.passkey is None else security_key.find()
    if device is None or challenge.passkey is None:
        return None
    line(f"This needs your security key (challenge {challenge.short_code}).", stderr=True)
    try:
        return key_of(device, domain).get(challenge.passkey)
    except WardgateError as error:
        line(error.message, stderr=True)
        return None


def key_of(device: CtapDevice, domain: str) -> security_key.SecurityKey:
    """The key, with this terminal for what it has to say and to ask."""

    def say(text: str) -> None:
        line(text, stderr=True)

    return security_key.SecurityKey(device, domain, say, lambda: hidden("PIN of your security key").get_secret_value())


def _in_browser(client: ApiClient, challenge: MfaChallenge) -> None:
    """Wait for the answer on the page; where no browser opens, a code is taken in its place."""
    url = challenge.approve_url
    if url is not None and browser.open_page(url):
        line(f"Your browser opens to approve this. The page shows the code {challenge.short_code}.", stderr=True)
        line(f"If it does not open: {url}", stderr=True)
    else:
        if url is not None:
            line(f"Approve this with your passkey in a browser: {url}", stderr=True)
            line(f"The page shows the code {challenge.short_code}. Press Enter once you are there.", stderr=True)
        typed = click.prompt(f"Or a code from {_source(challenge)}", default="", hide_input=True, err=True)
        if typed:
            _by_code(client, challenge, SecretStr(typed))
            return
    line("Waiting for your answer there; Ctrl+C gives up.", stderr=True)
    wait(client, challenge)


def wait(client: ApiClient, challenge: MfaChallenge, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Until it is met elsewhere; ProblemError `mfa_challenge_over` where it never will be."""
    place = path("mfa", "challenges", challenge.challenge_id)
    until = time.monotonic() + min(_LONGEST_S, max(0.0, _seconds_left(challenge)))
    while time.monotonic() < until:
        try:
            state = client.get(place, MfaQuestion).state
        except UnreachableError:
            state = ChallengeState.OPEN  # it may be back in a moment
        if state is ChallengeState.MET:
            return
        if state is not ChallengeState.OPEN:
            raise _over(state)
        sleep(_POLL_S)
    raise _over(ChallengeState.OVER)


def _over(state: ChallengeState) -> ProblemError:
    if state is ChallengeState.REFUSED:
        return ProblemError(ProblemCode.MFA_CHALLENGE_OVER, "It was refused in the browser.")
    return ProblemError(
        ProblemCode.MFA_CHALLENGE_OVER,
        "Nobody approved it in time, or its kind of second factor is no longer allowed: try again.",
    )


def _seconds_left(challenge: MfaChallenge) -> float:
    return (challenge.expires_at - datetime.now(UTC)).total_seconds()


# --- changes of one's own factors -------------------------------------------------------------------------------------


def prove(client: ApiClient, change: FactorChange, method: str | None = None) -> Proof:
    """What a change of one's own factors needs: nothing yet, a code, or a challenge that a passkey met."""
    kinds = {each.kind for each in client.get("/mfa", MfaStatus).methods}
    if not kinds:
        return Proof()
    if MfaKind.PASSKEY not in kinds:
        return build(Proof, code=hidden("Code from your present authenticator app, or a recovery code"))
    body = ChangeRequest(change=change, method=method)
    challenge = client.post("/mfa/challenges", MfaChallenge, body)
    meet(client, challenge)
    return Proof(challenge_id=challenge.challenge_id)


def set_up(client: ApiClient, change: FactorChange) -> SetUpRequest:
    """What setting a factor up needs: the proof, and the password of those who have one."""
    proof = prove(client, change)
    given: dict[str, Any] = {"code": proof.code, "challenge_id": proof.challenge_id}
    if client.get("/mfa", MfaStatus).has_password:
        given["password"] = options.password_from_terminal("Password")
    return build(SetUpRequest, **{name: value for name, value in given.items() if value is not None})


def show_recovery_codes(codes: Sequence[str]) -> None:
    """Print new recovery codes, if there are any: the codes to standard output, what they are beside it."""
    if not codes:
        return
    line("Keep these recovery codes where your devices are not; each works once, and older ones are void:", stderr=True)
    for code in codes:
        line(code)

"""Answering a challenge for a second factor on the terminal.

A request that needs one is refused with `mfa_required` and a challenge; the person answers it, and the same request is
sent again with the challenge in it. Programs (`--json`, no terminal) get the problem as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import click
from pydantic import SecretStr, ValidationError

from ..api.client import ApiClient
from ..api.mfa import CodeRequest, MfaChallenge, MfaKind
from ..api.problems import ProblemCode, ProblemError
from . import options
from .forms import build, path
from .output import line

Answer = TypeVar("Answer")


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
    left = max(0, int((challenge.expires_at - datetime.now(UTC)).total_seconds()) // 60)
    source = "your authenticator app" if challenge.kind is MfaKind.TOTP else "the mail that was just sent to you"
    text = f"Code from {source} (challenge {challenge.short_code}, {left + 1} min)"
    typed: str = click.prompt(text, hide_input=True, err=True)
    return SecretStr(typed)


def meet(client: ApiClient, challenge: MfaChallenge) -> None:
    """Ask until the code is right; the ProblemError that ends the challenge otherwise."""
    while True:
        try:
            place = path("mfa", "challenges", challenge.challenge_id, "verify")
            client.call("POST", place, build(CodeRequest, code=ask(challenge)))
        except ProblemError as error:
            if error.problem.code is not ProblemCode.MFA_CODE_WRONG or not error.problem.context.get("attempts_left"):
                raise
            line(error.message, stderr=True)
        else:
            return

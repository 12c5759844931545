"""Signing this device in: with a password, through the browser on this machine, or by a code for a browser elsewhere.

What is typed into a terminal is a password and its second factor; everything else (single sign-on, passkeys) happens on
the control plane's own pages, and this device gets its tokens for what it proves: the verifier of its challenge
(RFC 7636), or its device code (RFC 8628).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import SecretStr

from ..api.client import ApiClient, NoLogin, UnreachableError
from ..api.devices import (
    BrowserRequest,
    BrowserRequestCreate,
    BrowserTokenRequest,
    DeviceRequest,
    DeviceRequestCreate,
    DeviceTokenRequest,
)
from ..api.models import LoginRequest, Tokens, User
from ..api.problems import ProblemCode, ProblemError
from ..errors import WardgateError
from . import browser, mfa, options
from .exits import Exit, ExitError
from .forms import path
from .logins import StoredLogin
from .loopback import Listener
from .output import line
from .settings import Settings

Answer = TypeVar("Answer")
Sleep = Callable[[float], None]

_STARTING_SECONDS = 10.0
_LONGEST_WAIT_S = 1_800.0
_MOST_S_BETWEEN = 60.0


def device_name() -> str:
    """What this device calls itself."""
    return socket.gethostname()[:64]


def with_password(settings: Settings, domain: str, email: str, password: SecretStr) -> User:
    """Make a login of a password, and of a second factor where one is asked for, and keep it."""
    body = LoginRequest(email=email, password=password, device=device_name())
    with _client(settings, domain) as client:
        try:
            tokens = _patiently(client, lambda: client.post("/auth/login", Tokens, body))
        except ProblemError as error:
            tokens = _with_second_factor(client, body, error)
    return _keep(settings, domain, tokens)


def on_terminal(settings: Settings, domain: str) -> User:
    """Make a login in the way that this machine offers: its browser, else a code for a browser elsewhere."""
    return in_browser(settings, domain) if browser.can_open() else by_code(settings, domain)


def in_browser(settings: Settings, domain: str) -> User:
    """Make a login by the browser on this machine, and keep it. ProblemError or ExitError if nobody lets it in."""
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    with Listener() as listener, _client(settings, domain) as client:
        body = BrowserRequestCreate(
            code_challenge=challenge,
            code_challenge_method="S256",
            redirect_uri=listener.redirect_uri,
            state=listener.state,
            device=device_name(),
        )
        asked = _patiently(client, lambda: client.post("/auth/browser-requests", BrowserRequest, body))
        _show_page(asked)
        arrival = listener.wait((asked.expires_at - datetime.now(UTC)).total_seconds())
        if arrival is None:
            raise ExitError("sign_in_timeout", "Nobody signed in within ten minutes: try again.", Exit.NOT_LOGGED_IN)
        if arrival.code is None:
            arrival.tell("Not signed in", "This device was turned away. You can close this page.")
            raise _turned_away()
        redeem = BrowserTokenRequest(
            code=SecretStr(arrival.code), code_verifier=SecretStr(verifier), redirect_uri=listener.redirect_uri
        )
        try:
            tokens = client.post(path("auth", "browser-requests", asked.request_id, "token"), Tokens, redeem)
            user = _keep(settings, domain, tokens)
        except WardgateError:
            arrival.tell("Not signed in", "Your terminal says why. You can close this page.")
            raise
        arrival.tell("Signed in", f"Your terminal is signed in as {user.email}. You can close this page.")
    return user


def _show_page(asked: BrowserRequest) -> None:
    opened = browser.open_page(asked.url)
    if opened:
        line(f"Your browser opens to sign you in. The page shows the code {asked.short_code}.", stderr=True)
        line(f"If it does not open: {asked.url}", stderr=True)
    else:
        line(f"Open this page in a browser on this machine: {asked.url}", stderr=True)
        line(f"It shows the code {asked.short_code}. Is the browser elsewhere? Use --device.", stderr=True)


def by_code(settings: Settings, domain: str, *, sleep: Sleep = time.sleep) -> User:
    """Make a login by a code that is typed into a browser elsewhere, and keep it. ProblemError if nobody lets it in."""
    with _client(settings, domain) as client:
        body = DeviceRequestCreate(device=device_name())
        asked = _patiently(client, lambda: client.post("/auth/device-requests", DeviceRequest, body))
        line("To sign this device in, open this page in any browser:", stderr=True)
        line(f"    {asked.verification_uri}", stderr=True)
        line("and type in the code", stderr=True)
        line(f"    {asked.user_code}", stderr=True)
        tokens = _poll(client, asked, sleep)
    return _keep(settings, domain, tokens)


def _poll(client: ApiClient, asked: DeviceRequest, sleep: Sleep) -> Tokens:
    """Ask until somebody has decided, as often as the control plane says (RFC 8628, section 3.5)."""
    body, interval, waited = DeviceTokenRequest(device_code=SecretStr(asked.device_code)), float(asked.interval), 0.0
    while waited < _LONGEST_WAIT_S:
        sleep(interval)
        waited += interval
        try:
            return client.post("/auth/device-requests/token", Tokens, body)
        except UnreachableError:
            interval = min(interval * 2, _MOST_S_BETWEEN)
        except ProblemError as error:
            if error.problem.code not in (ProblemCode.AUTHORIZATION_PENDING, ProblemCode.SLOW_DOWN):
                raise
            said = error.problem.context.get("interval")
            interval = float(said) if isinstance(said, int) and 0 < said <= _MOST_S_BETWEEN else interval
    raise ExitError("sign_in_timeout", "Nobody let this device in: try again.", Exit.NOT_LOGGED_IN)


def _client(settings: Settings, domain: str) -> ApiClient:
    return ApiClient(domain, NoLogin(), ca_file=settings.ca_file)


def _keep(settings: Settings, domain: str, tokens: Tokens) -> User:
    settings.logins().put(domain, StoredLogin.of(tokens))
    return tokens.user


def _with_second_factor(client: ApiClient, body: LoginRequest, error: ProblemError) -> Tokens:
    """Answer what the login was asked for, on a terminal; `error` otherwise."""
    challenge = mfa.challenge_in(error)
    if challenge is None or not options.on_terminal():
        raise error
    signed = mfa.by_security_key(client.domain, challenge)
    while True:
        answer = {"code": mfa.ask(challenge)} if signed is None else {"passkey": signed}
        answered = body.model_copy(update={"challenge_id": challenge.challenge_id, **answer})
        try:
            return client.post("/auth/login", Tokens, answered)
        except ProblemError as wrong:
            if not mfa.may_try_again(wrong):
                raise
            line(wrong.message, stderr=True)
            signed = None


def _patiently(client: ApiClient, send: Callable[[], Answer]) -> Answer:
    """`send`, waiting for a control plane on this machine that is only just being started (as in the tour)."""
    until = time.monotonic() + (_STARTING_SECONDS if client.is_local else 0.0)
    while True:
        try:
            return send()
        except UnreachableError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.2)


def _turned_away() -> ExitError:
    return ExitError("access_denied", "This device was turned away in the browser.", Exit.REFUSED)

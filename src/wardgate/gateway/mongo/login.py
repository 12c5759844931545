"""Logging in to MongoDB, by whatever mechanism the account has, on whatever connection the caller has.

What it is: the credentials of one lease. `conversation` starts one login, a machine of command documents in and out
(`conversation.py`). What it is not: a connection; the caller's `exchange` sends one command and returns its reply, so
the same login runs on a client's data stream, a warm spare and the gateway's own connections.

No hello is sent: on a data stream the first hello must be the client's. So SCRAM's mechanism is learned instead: from
the topology monitor's hello (`learn`), else by trying SCRAM-SHA-256 and, where the server refuses it before any proof
was given, SCRAM-SHA-1. What worked is remembered for the lease.

Law: a password leaves this room as a SCRAM proof or an AWS signature only, and in clear (PLAIN, an OIDC token) only
towards a server whose certificate was verified: a target without verified TLS never gets such a login made for it.
`wipe` ends the login for good.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ...api.machine import Credentials
from ...api.models import Mechanism
from ...numbers import DEFAULT, Numbers
from ...scram import aws, bearer
from ...scram.client import NONCE_BYTES, KeyCache, ScramClient
from ...scram.primitives import Mechanism as ScramMechanism
from ...scram.sasl import SaslClient
from ...secret import Secret
from .conversation import API_VERSION_REQUIRED, Conversation
from .errors import Code, MongoError
from .site import Site
from .target import Target

__all__ = ["API_VERSION_REQUIRED", "EXTERNAL", "Exchange", "Login"]

Exchange = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]

EXTERNAL = "$external"  # where users live whom something other than MongoDB vouches for
_PREFERENCE = (Mechanism.SCRAM_SHA_256, Mechanism.SCRAM_SHA_1)
_WITH_PASSWORD = frozenset({*_PREFERENCE, Mechanism.AUTO, Mechanism.PLAIN, Mechanism.AWS})
_EXTERNAL = frozenset({Mechanism.X509, Mechanism.PLAIN, Mechanism.AWS, Mechanism.OIDC})
# In these the server proves nothing, and what it gets opens the real database.
_VERIFIED_TLS = frozenset({Mechanism.PLAIN, Mechanism.AWS, Mechanism.OIDC})


def _nonce() -> bytes:
    return secrets.token_urlsafe(NONCE_BYTES).encode()


def _now() -> datetime:
    return datetime.now(UTC)


class Login:
    """One MongoDB user for as long as a lease lives. `token` gives the gateway's OIDC token; raises MongoError."""

    def __init__(
        self,
        username: str,
        password: Secret,
        auth_database: str,
        mechanism: Mechanism | str = Mechanism.AUTO,
        *,
        token: Callable[[], str] | None = None,
        numbers: Numbers = DEFAULT,
    ) -> None:
        chosen = Mechanism(mechanism)
        self.username = username
        self.auth_database = EXTERNAL if chosen in _EXTERNAL else auth_database
        self.keys = KeyCache()
        self.api_version: str | None = None
        self._password = password
        self._token = token
        self._numbers = numbers
        self._mechanisms: tuple[Mechanism, ...] = _PREFERENCE if chosen is Mechanism.AUTO else (chosen,)
        self._settled = chosen is not Mechanism.AUTO
        self._wiped = False

    @classmethod
    def of(cls, credentials: Credentials, target: Target, site: Site | None = None) -> Login:
        """From a lease's credentials. Raises MongoError where they must not be used for this target."""
        mechanism, site = credentials.mechanism, site or Site()
        if mechanism in _VERIFIED_TLS and not target.verified:
            raise MongoError(
                Code.LOGIN_NEEDS_TLS,
                f"{mechanism.value} is for verified TLS only: switch on SSL and Reject Unauthorized for the resource.",
            )
        if mechanism is Mechanism.OIDC:
            site.check_oidc_hosts(target.names_dialled)
        return cls(
            credentials.username,
            Secret(credentials.password),
            target.auth_database,
            mechanism,
            token=site.oidc_token,
            numbers=target.numbers,
        )

    def __repr__(self) -> str:
        return f"Login({self.username!r}, {self.auth_database!r})"

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """What will be tried, in order."""
        return self._mechanisms

    @property
    def name_for_hello(self) -> str | None:
        """The value of hello's `saslSupportedMechs`, or None when nothing is left to learn."""
        return None if self._settled else f"{self.auth_database}.{self.username}"

    def learn(self, mechanisms: object) -> None:
        """Take a server's `saslSupportedMechs`. A server that names none of ours is not believed: we still try."""
        if self._settled or not isinstance(mechanisms, list):
            return
        usable = tuple(each for each in _PREFERENCE if each.value in mechanisms)
        if usable:
            self._mechanisms, self._settled = usable[:1], True

    def worked(self, mechanism: Mechanism) -> None:
        """Remember a mechanism that logged in."""
        self._mechanisms, self._settled = (mechanism,), True

    def conversation(self, nonce: Callable[[], bytes] = _nonce) -> Conversation:
        """A new attempt. Raises MongoError(login_failed) after `wipe`."""
        return Conversation(self, nonce)

    async def run(self, exchange: Exchange) -> None:
        """Log in over `exchange`; the caller sets the deadline. Raises MongoError, and whatever `exchange` raises."""
        conversation = self.conversation()
        command = conversation.next(None)
        while command is not None:
            reply = await exchange(command)
            if conversation.derives(reply):  # PBKDF2 releases the GIL: other connections go on meanwhile
                command = await asyncio.to_thread(conversation.next, reply)
            else:
                command = conversation.next(reply)

    def client(self, mechanism: Mechanism, nonce: bytes) -> SaslClient | None:
        """The SASL side of one attempt; None with X.509, which has none. Raises MongoError, ScramError."""
        if self._wiped or (mechanism in _WITH_PASSWORD and not self._password):
            raise MongoError(Code.LOGIN_FAILED, "The credentials of this session are gone: it has ended.")
        match mechanism:
            case Mechanism.X509:
                return None
            case Mechanism.PLAIN:
                return bearer.plain(self.username, self._password.reveal_text())
            case Mechanism.OIDC:
                return bearer.oidc(self._oidc_token())
            case Mechanism.AWS:
                random = secrets.token_bytes(aws.NONCE_BYTES)
                return aws.AwsClient(self.username, self._password.reveal_text(), random, _now)
            case _:
                return self._scram(ScramMechanism(mechanism.value), nonce)

    def _scram(self, mechanism: ScramMechanism, nonce: bytes) -> ScramClient:
        numbers = self._numbers
        return ScramClient(
            mechanism,
            self.username,
            self._password.reveal_text(),
            nonce,
            self.keys,
            iterations_min=numbers.scram_iterations_min,
            iterations_max=numbers.scram_iterations_max,
        )

    def _oidc_token(self) -> str:
        if self._token is None:
            raise MongoError(Code.LOGIN_TOKEN, "This gateway has no OIDC token to log in with.")
        return self._token()

    def wipe(self) -> None:
        """Overwrite password and keys; every later attempt fails."""
        self._wiped = True
        self._password.wipe()
        self.keys.wipe()

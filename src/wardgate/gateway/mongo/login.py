"""Logging in to MongoDB with SCRAM, on whatever connection the caller has.

What it is: the credentials of one lease (`Login`) and one run of saslStart/saslContinue (`Conversation`), which is a
machine of command documents in and out. What it is not: a connection; the caller's `exchange` sends one command and
returns its reply, so the same login runs on a client's data stream, a warm spare and the gateway's own connections.

No hello is sent: on a data stream the first hello must be the client's. So the mechanism is learned instead: from the
topology monitor's hello (`learn`), else by trying SCRAM-SHA-256 and, where the server refuses it before any proof was
given, SCRAM-SHA-1. What worked is remembered for the lease.

Law: the password leaves this room as a SCRAM proof only; `wipe` ends the login for good.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ...api.machine import Credentials
from ...numbers import DEFAULT, Numbers
from ...scram.client import NONCE_BYTES, KeyCache, ScramClient
from ...scram.primitives import Mechanism, ScramError
from ...secret import Secret
from .errors import Code, MongoError, quoted

Exchange = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]

BAD_VALUE = 2
AUTHENTICATION_FAILED = 18
MECHANISM_UNAVAILABLE = 334
API_VERSION_REQUIRED = 498870
_OTHER_MECHANISM = frozenset({BAD_VALUE, AUTHENTICATION_FAILED, MECHANISM_UNAVAILABLE})
_PREFERENCE = (Mechanism.SHA_256, Mechanism.SHA_1)


def _nonce() -> bytes:
    return secrets.token_urlsafe(NONCE_BYTES).encode()


class Login:
    """One MongoDB user for as long as a lease lives."""

    def __init__(
        self,
        username: str,
        password: Secret,
        auth_database: str,
        mechanism: str = "DEFAULT",
        *,
        numbers: Numbers = DEFAULT,
    ) -> None:
        self.username = username
        self.auth_database = auth_database
        self.keys = KeyCache()
        self.api_version: str | None = None
        self._password = password
        self._numbers = numbers
        self._mechanisms: tuple[Mechanism, ...] = _PREFERENCE if mechanism == "DEFAULT" else (Mechanism(mechanism),)
        self._settled = mechanism != "DEFAULT"

    @classmethod
    def of(cls, credentials: Credentials, auth_database: str, numbers: Numbers = DEFAULT) -> Login:
        """From a lease's credentials."""
        password = Secret(credentials.password)
        return cls(credentials.username, password, auth_database, credentials.mechanism, numbers=numbers)

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

    def client(self, mechanism: Mechanism, nonce: bytes) -> ScramClient:
        """The SCRAM side of one attempt."""
        if not self._password:
            raise MongoError(Code.LOGIN_FAILED, "The credentials of this session are gone: it has ended.")
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

    def wipe(self) -> None:
        """Overwrite password and keys; every later attempt fails."""
        self._password.wipe()
        self.keys.wipe()


class Conversation:
    """One login as a machine: `next(None)` gives the first command, `next(reply)` the following one, None the end."""

    def __init__(self, login: Login, nonce: Callable[[], bytes]) -> None:
        self._login = login
        self._nonce = nonce
        self._left = list(login.mechanisms)
        self._mechanism = self._left.pop(0)
        self._scram: ScramClient | None = None
        self._started = False  # the server has answered saslStart of this mechanism
        self._finishing = False

    def next(self, reply: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The next command, or None once both sides are proved. Raises MongoError."""
        try:
            return self._start() if reply is None else self._answer(reply)
        except ScramError as error:
            raise _translated(error) from error

    def derives(self, reply: Mapping[str, Any]) -> bool:
        """Whether `next(reply)` runs PBKDF2, which is worth a thread."""
        payload = reply.get("payload")
        return self._scram is not None and isinstance(payload, bytes) and self._scram.derives(payload)

    def _start(self) -> dict[str, Any]:
        self._scram = self._login.client(self._mechanism, self._nonce())
        command: dict[str, Any] = {
            "saslStart": 1,
            "mechanism": self._mechanism.value,
            "payload": self._scram.start(),
            "options": {"skipEmptyExchange": True},
        }
        return self._complete(command)

    def _answer(self, reply: Mapping[str, Any]) -> dict[str, Any] | None:
        if reply.get("ok") != 1:
            return self._refused(reply)
        assert self._scram is not None
        payload = reply.get("payload")
        if not isinstance(payload, bytes):
            raise MongoError(Code.LOGIN_HOSTILE, "The server's login reply has no payload.")
        self._started = True
        done = reply.get("done") is True
        if not self._finishing:
            answer = self._scram.step(payload)
            if answer is not None:
                if done:
                    raise MongoError(Code.LOGIN_HOSTILE, "The server ended the login before it proved itself.")
                return self._continue(reply, answer)
            if not done:  # a server without skipEmptyExchange wants one empty round more
                self._finishing = True
                return self._continue(reply, b"")
        if not done:
            raise MongoError(Code.LOGIN_HOSTILE, "The server goes on with a login that is over.")
        self._login.worked(self._mechanism)
        return None

    def _continue(self, reply: Mapping[str, Any], payload: bytes) -> dict[str, Any]:
        return self._complete({"saslContinue": 1, "conversationId": reply.get("conversationId", 1), "payload": payload})

    def _complete(self, command: dict[str, Any]) -> dict[str, Any]:
        if self._login.api_version is not None:
            command["apiVersion"] = self._login.api_version
        command["$db"] = self._login.auth_database
        return command

    def _refused(self, reply: Mapping[str, Any]) -> dict[str, Any]:
        code = reply.get("code")
        if not self._started:
            if code == API_VERSION_REQUIRED and self._login.api_version is None:
                self._login.api_version = "1"
                return self._start()
            if code in _OTHER_MECHANISM and self._left:
                self._mechanism = self._left.pop(0)
                return self._start()
        login = self._login
        if code == AUTHENTICATION_FAILED:
            raise MongoError(
                Code.LOGIN_FAILED,
                f"MongoDB refused user {quoted(login.username)} of database {quoted(login.auth_database)} (code 18): "
                "the password is wrong, or there is no such user in that authentication database.",
            )
        if code in (BAD_VALUE, MECHANISM_UNAVAILABLE):
            raise MongoError(
                Code.LOGIN_MECHANISM,
                f"The server takes no {self._mechanism.value} logins: {quoted(reply.get('errmsg'))}.",
            )
        raise MongoError(
            Code.LOGIN_FAILED,
            f"MongoDB refused the login of user {quoted(login.username)}: {quoted(reply.get('errmsg'))} (code {code}).",
        )


def _translated(error: ScramError) -> MongoError:
    if error.code == "scram_password":
        return MongoError(Code.PASSWORD_UNUSABLE, error.message)
    return MongoError(Code.LOGIN_HOSTILE, error.message)

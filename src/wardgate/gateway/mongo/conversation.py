"""One login as a machine: `next(None)` gives the first command, `next(reply)` the following one, None the end.

It carries a SASL machine's payloads in saslStart and saslContinue (X.509 has no payload, only the command
`authenticate`), goes on to the next mechanism where the server refuses one before any proof was given, and says in one
sentence what a refusal means.

Law: a login is over when the server says `done` and the machine has nothing left to say, never by one of them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ...api.models import Mechanism
from ...scram.primitives import ScramError
from ...scram.sasl import SaslClient
from .errors import Code, MongoError, quoted

BAD_VALUE = 2
USER_NOT_FOUND = 11  # of `authenticate`
AUTHENTICATION_FAILED = 18
MECHANISM_UNAVAILABLE = 334
API_VERSION_REQUIRED = 498870
_OTHER_MECHANISM = frozenset({BAD_VALUE, AUTHENTICATION_FAILED, MECHANISM_UNAVAILABLE})
_SCRAM = frozenset({Mechanism.SCRAM_SHA_1, Mechanism.SCRAM_SHA_256})
_OURS = {
    "scram_password": Code.PASSWORD_UNUSABLE,
    "plain_impossible": Code.PASSWORD_UNUSABLE,
    "oidc_token": Code.LOGIN_TOKEN,
}


class Account(Protocol):
    """What a conversation needs of the login that it is for."""

    username: str
    auth_database: str
    api_version: str | None

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """What to try, in order."""

    def client(self, mechanism: Mechanism, nonce: bytes) -> SaslClient | None:
        """The SASL machine for a mechanism; None where it has none."""

    def worked(self, mechanism: Mechanism) -> None:
        """It logged in."""


class Conversation:
    """One attempt of a `Login`."""

    def __init__(self, login: Account, nonce: Callable[[], bytes]) -> None:
        self._login = login
        self._nonce = nonce
        self._left = list(login.mechanisms)
        self._mechanism = self._left.pop(0)
        self._sasl: SaslClient | None = None
        self._started = False  # the server has answered saslStart of this mechanism
        self._finishing = False

    def next(self, reply: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The next command, or None once the login is done. Raises MongoError."""
        try:
            return self._start() if reply is None else self._answer(reply)
        except ScramError as error:
            raise MongoError(_OURS.get(error.code, Code.LOGIN_HOSTILE), error.message) from error

    def derives(self, reply: Mapping[str, Any]) -> bool:
        """Whether `next(reply)` runs PBKDF2, which is worth a thread."""
        payload = reply.get("payload")
        return self._sasl is not None and isinstance(payload, bytes) and self._sasl.derives(payload)

    def _start(self) -> dict[str, Any]:
        self._sasl = self._login.client(self._mechanism, self._nonce())
        if self._sasl is None:
            return self._complete({"authenticate": 1, "mechanism": self._mechanism.value})
        command: dict[str, Any] = {
            "saslStart": 1,
            "mechanism": self._mechanism.value,
            "payload": self._sasl.start(),
        }
        if self._mechanism in _SCRAM:
            command["options"] = {"skipEmptyExchange": True}
        return self._complete(command)

    def _answer(self, reply: Mapping[str, Any]) -> dict[str, Any] | None:
        if reply.get("ok") != 1:
            return self._refused(reply)
        if self._sasl is None:
            self._login.worked(self._mechanism)
            return None
        payload = reply.get("payload")
        if not isinstance(payload, bytes):
            raise MongoError(Code.LOGIN_HOSTILE, "The server's login reply has no payload.")
        self._started = True
        done = reply.get("done") is True
        if not self._finishing:
            answer = self._sasl.step(payload)
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

    # --- refusals -------------------------------------------------------------------------------------------------

    def _refused(self, reply: Mapping[str, Any]) -> dict[str, Any]:
        code = reply.get("code")
        if not self._started:
            if code == API_VERSION_REQUIRED and self._login.api_version is None:
                self._login.api_version = "1"
                return self._start()
            if code in _OTHER_MECHANISM and self._left:
                self._mechanism = self._left.pop(0)
                return self._start()
        if code in (AUTHENTICATION_FAILED, USER_NOT_FOUND):
            raise MongoError(Code.LOGIN_FAILED, f"MongoDB refused {self._who()} (code {code}): {self._why()}")
        if code in (BAD_VALUE, MECHANISM_UNAVAILABLE):
            raise MongoError(
                Code.LOGIN_MECHANISM,
                f"The server takes no {self._mechanism.value} logins: {quoted(reply.get('errmsg'))}.",
            )
        raise MongoError(
            Code.LOGIN_FAILED,
            f"MongoDB refused the login of {self._who()}: {quoted(reply.get('errmsg'))} (code {code}).",
        )

    def _who(self) -> str:
        login = self._login
        match self._mechanism:
            case Mechanism.X509:
                return "the client certificate"
            case Mechanism.OIDC:
                return "the gateway's OIDC token"
            case Mechanism.AWS:
                return f"the AWS access key {quoted(login.username)}"
            case _:
                return f"user {quoted(login.username)} of database {quoted(login.auth_database)}"

    def _why(self) -> str:
        match self._mechanism:
            case Mechanism.X509:
                return "is its subject a user of $external, and its authority in the server's net.tls.CAFile?"
            case Mechanism.OIDC:
                return "is it expired, or meant for another audience, or is its subject no user there?"
            case Mechanism.AWS:
                return "the secret access key is wrong, or the ARN of its identity is no user of $external there."
            case _:
                return "the password is wrong, or there is no such user in that authentication database."

"""The login that a client may try although it needs none: a SASL server that lets in whom it can.

The server connection is authenticated by the gateway; nothing of a client's login is ever forwarded. PLAIN and X.509
always succeed. SCRAM proves the server to the client too, so it can succeed only with a password that both know: the
empty one, or the session password. Anything else is code 18 and a sentence that says what to do.

With `required` (local authentication), only the session password counts, over SCRAM or PLAIN, and until it was given
`allows` refuses every other command.

Law: sans-IO. Nonces and salts come from the `random` that is passed in; no command of this file goes to a server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..secret import Secret

LOGIN_COMMANDS: Final = frozenset({"authenticate", "getnonce", "logout", "saslContinue", "saslStart"})


@dataclass(frozen=True, slots=True)
class LoginAnswer:
    """`document` (raw BSON) answers the client. `finished` marks the end of an attempt, `succeeded` how it ended."""

    document: bytes
    mechanism: str | None = None
    finished: bool = False
    succeeded: bool = False


class LoginKeys:
    """Passwords that are accepted, and the SCRAM keys made from them: one per session, shared by its connections."""

    def __init__(self, random: Callable[[int], bytes], session_password: Secret | None = None) -> None: ...

    def wipe(self) -> None:
        """Forget passwords and keys."""


class LoginEmulation:
    """The login conversation of one client connection."""

    def __init__(self, keys: LoginKeys, random: Callable[[int], bytes], *, required: bool = False) -> None: ...

    @property
    def open(self) -> bool:
        """Whether commands may pass: always, unless a login is required and has not succeeded."""
        raise NotImplementedError

    def allows(self, name: str) -> bool:
        """Whether the command `name` may pass now (hello, ping, buildInfo and the login itself always may)."""
        raise NotImplementedError

    def answer(self, name: str, body: bytes) -> LoginAnswer:
        """Answer a command of LOGIN_COMMANDS whose document is `body`. Never raises for what the client sent."""
        raise NotImplementedError


def is_login(name: str) -> bool:
    """Whether a command belongs to this file and must never be forwarded."""
    return name in LOGIN_COMMANDS

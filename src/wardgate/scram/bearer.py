"""PLAIN (RFC 4616) and MONGODB-OIDC: mechanisms of one message, which is the secret itself.

Whoever gets the message can log in with it, and the server proves nothing. That it goes over verified TLS only is the
caller's duty; these machines can't see the transport.
"""

from __future__ import annotations

import re

import bson

from .primitives import ScramError

_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
TOKEN_BYTES = 16 * 1024  # a server's own limit on the whole payload is of this order


class OneMessage:
    """A login that is over when the server takes its first message."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def start(self) -> bytes:
        """The payload of saslStart."""
        return self._payload

    def derives(self, payload: bytes) -> bool:
        """Never."""
        return False

    def step(self, payload: bytes) -> bytes | None:
        """Nothing is left to say."""
        return None


def plain(username: str, password: str) -> OneMessage:
    """PLAIN without an authorisation identity. Raises ScramError for what the message can't hold."""
    if "\0" in username or "\0" in password or not username or not password:
        raise ScramError("plain_impossible", "PLAIN takes no empty name or password, and none with a zero byte.")
    return OneMessage(b"\0".join((b"", username.encode(), password.encode())))


def oidc(token: str) -> OneMessage:
    """MONGODB-OIDC with a token that is there already (no human is asked). Raises ScramError if it is no JWT."""
    if len(token) > TOKEN_BYTES or not _JWT.fullmatch(token):
        raise ScramError("oidc_token", "The OIDC token is no JSON Web Token.")
    return OneMessage(bson.encode({"jwt": token}))

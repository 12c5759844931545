"""MONGODB-AWS: a login by a request to AWS that we sign and the server sends.

We sign `sts:GetCallerIdentity` (Signature Version 4) over the server's nonce; the server asks AWS who signed it. The
secret access key never leaves. What it is: the driver authentication specification's two messages and the signature.
What it is not: a client of AWS.

Law: the host that the server names is signed only if it is a plain host name, and a nonce only if it continues ours.
Nothing proves the server, so this too is for verified TLS only, by the caller.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime

import bson
from bson.errors import BSONError

from .primitives import ScramError

NONCE_BYTES = 32
PAYLOAD_BYTES = 4_096
BODY = b"Action=GetCallerIdentity&Version=2011-06-15"
DEFAULT_REGION = "us-east-1"
_GLOBAL_HOST = "sts.amazonaws.com"
_CONTENT_TYPE = "application/x-www-form-urlencoded"
_GS2_NO_BINDING = ord("n")
_HOST = re.compile(r"(?=.{1,255}\Z)[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_ALGORITHM = "AWS4-HMAC-SHA256"


def region_of(host: str) -> str:
    """The region in an STS host's name. Raises ScramError for what is no host."""
    if not _HOST.fullmatch(host):
        raise ScramError("aws_host", "The server names an STS host that is none.")
    labels = host.split(".")
    return DEFAULT_REGION if host == _GLOBAL_HOST or len(labels) == 1 else labels[1]


def authorization(
    access_key: str, secret_key: str, token: str | None, host: str, server_nonce: bytes, now: datetime
) -> str:
    """The Authorization header of the request that the server will send."""
    at = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "content-length": str(len(BODY)),
        "content-type": _CONTENT_TYPE,
        "host": host,
        "x-amz-date": at,
        "x-mongodb-gs2-cb-flag": "n",
        "x-mongodb-server-nonce": base64.b64encode(server_nonce).decode(),
    }
    if token is not None:
        headers["x-amz-security-token"] = token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join(("POST", "/", "", lines, names, hashlib.sha256(BODY).hexdigest()))
    scope = f"{at[:8]}/{region_of(host)}/sts/aws4_request"
    to_sign = "\n".join((_ALGORITHM, at, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = ("AWS4" + secret_key).encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return f"{_ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"


class AwsClient:
    """One login. `nonce` is 32 random bytes, `now` gives the time when the request is signed."""

    def __init__(
        self,
        access_key: str,
        secret_key: str,
        nonce: bytes,
        now: Callable[[], datetime],
        *,
        token: str | None = None,
    ) -> None:
        if len(nonce) != NONCE_BYTES:
            raise ValueError("a MONGODB-AWS nonce has 32 bytes")
        self._access_key = access_key
        self._secret_key = secret_key
        self._token = token
        self._nonce = nonce
        self._now = now
        self._answered = False

    def start(self) -> bytes:
        """The payload of saslStart: our nonce, and that the channel is not bound."""
        return bson.encode({"r": self._nonce, "p": _GS2_NO_BINDING})

    def derives(self, payload: bytes) -> bool:
        """Never: a few HMACs."""
        return False

    def step(self, payload: bytes) -> bytes | None:
        """The signed request for the server's nonce and host; after that nothing is left to say."""
        if self._answered:
            return None
        self._answered = True
        nonce, host = self._challenge(payload)
        now = self._now()
        signed = authorization(self._access_key, self._secret_key, self._token, host, nonce, now)
        answer = {"a": signed, "d": now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")}
        return bson.encode(answer if self._token is None else {**answer, "t": self._token})

    def _challenge(self, payload: bytes) -> tuple[bytes, str]:
        if len(payload) > PAYLOAD_BYTES:
            raise ScramError("aws_malformed", "The server's MONGODB-AWS challenge is too long.")
        try:
            challenge = bson.decode(payload)
        except (BSONError, ValueError, OverflowError, RecursionError) as error:
            raise ScramError("aws_malformed", "The server's MONGODB-AWS challenge is malformed.") from error
        nonce, host = challenge.get("s"), challenge.get("h")
        if not isinstance(nonce, bytes) or not isinstance(host, str):
            raise ScramError("aws_malformed", "The server's MONGODB-AWS challenge is malformed.")
        if len(nonce) != 2 * NONCE_BYTES or not hmac.compare_digest(nonce[:NONCE_BYTES], self._nonce):
            raise ScramError("aws_nonce", "The server's nonce does not continue ours: somebody may be between.")
        region_of(host)
        return bytes(nonce), host

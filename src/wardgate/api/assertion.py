"""Signed assertions: how a gateway or relay says who it is, for one request.

`Authorization: WGA1 <base64url(claims)>.<base64url(signature)>`. The claims bind the key id, the control plane's
canonical URL, the method, path with query, the body's SHA-256, a life of at most sixty seconds and a 128-bit number
that is accepted once. The signature is ECDSA P-256 with SHA-256 over `wardgate assertion v1\\0` ‖ the encoded claims,
by the key that was enrolled.

Law: nothing here remembers or reads a clock; `verify` judges one request by what it is given. That a number is
accepted only once, and that the key is known and not revoked, is the caller's part (`Claims.jti`, `key_id_of`).
Every refusal is the same error: a forger learns nothing, and the true reason goes to the caller's log as `reason`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from ..errors import WardgateError

SCHEME = "WGA1"
LIFETIME = 60
SKEW = 30
JTI_BYTES = 16
_CONTEXT = b"wardgate assertion v1\x00"
_LONGEST = 4096  # characters of a header; ours are under 900
_FIELDS = frozenset({"kid", "aud", "m", "p", "b", "iat", "exp", "jti"})


class SignatureRefusedError(WardgateError):
    """The request is not from whom it says, or not now. `reason` is for the log of the refusing side."""

    def __init__(self, reason: str) -> None:
        super().__init__("not_logged_in", "The request's signature was refused.")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified assertion says. Times are Unix seconds."""

    key_id: str
    audience: str
    method: str
    target: str
    body_sha256: str
    issued_at: int
    expires_at: int
    jti: str


def sign(
    key: ec.EllipticCurvePrivateKey,
    *,
    key_id: str,
    audience: str,
    method: str,
    target: str,
    body: bytes,
    now: float,
    jti: bytes,
) -> str:
    """The header's value. `target` is path and query as sent, `now` Unix seconds, `jti` 16 random bytes."""
    if len(jti) != JTI_BYTES:
        raise ValueError("an assertion takes exactly 16 random bytes")
    claims = {
        "kid": key_id,
        "aud": audience,
        "m": method,
        "p": target,
        "b": hashlib.sha256(body).hexdigest(),
        "iat": int(now),
        "exp": int(now) + LIFETIME,
        "jti": jti.hex(),
    }
    head = _encode(json.dumps(claims, separators=(",", ":")).encode())
    signature = key.sign(_CONTEXT + head, ec.ECDSA(SHA256()))
    return f"{SCHEME} {head.decode()}.{_encode(signature).decode()}"


def key_id_of(header: str) -> str:
    """Whose key the header names; not verified, only for looking the key up."""
    claims, _, _ = _parse(header)
    return claims.key_id


def verify(
    header: str,
    public_key: ec.EllipticCurvePublicKey,
    *,
    audience: str,
    method: str,
    target: str,
    body: bytes,
    now: float,
) -> Claims:
    """The claims, when they are signed by `public_key`, about exactly this request, and of this minute."""
    claims = verify_head(header, public_key, audience=audience, method=method, target=target, now=now)
    verify_body(claims, body)
    return claims


def verify_head(
    header: str, public_key: ec.EllipticCurvePublicKey, *, audience: str, method: str, target: str, now: float
) -> Claims:
    """All of `verify` but the body, so that a stranger's body need not be read; `verify_body` must follow."""
    claims, head, signature = _parse(header)
    try:
        public_key.verify(signature, _CONTEXT + head, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise SignatureRefusedError("signature") from error
    if not hmac.compare_digest(claims.audience.encode(), audience.encode()):
        raise SignatureRefusedError("audience")
    if claims.method != method or claims.target != target:
        raise SignatureRefusedError("method or path")
    if not 0 < claims.expires_at - claims.issued_at <= LIFETIME:
        raise SignatureRefusedError("lifetime")
    if not claims.issued_at - SKEW <= now < claims.expires_at + SKEW:
        raise SignatureRefusedError("time")
    return claims


def verify_body(claims: Claims, body: bytes) -> None:
    """The body is the one that was signed, else SignatureRefusedError."""
    if not hmac.compare_digest(claims.body_sha256, hashlib.sha256(body).hexdigest()):
        raise SignatureRefusedError("body")


def _parse(header: str) -> tuple[Claims, bytes, bytes]:
    """(claims, encoded claims as signed, signature); the claims are unverified."""
    scheme, _, value = header.partition(" ")
    head, dot, signature = value.partition(".")
    if scheme != SCHEME or not dot or len(header) > _LONGEST or not value.isascii():
        raise SignatureRefusedError("format")
    try:
        document = json.loads(_decode(head), object_pairs_hook=_unique)
        claims = _claims(document)
        return claims, head.encode(), _decode(signature)
    except (ValueError, RecursionError) as error:
        raise SignatureRefusedError("format") from error


def _claims(document: Any) -> Claims:
    if not isinstance(document, dict) or document.keys() != _FIELDS:
        raise ValueError("fields")
    issued, expires = document["iat"], document["exp"]
    texts = [document[name] for name in ("kid", "aud", "m", "p", "b", "jti")]
    if type(issued) is not int or type(expires) is not int or not all(isinstance(text, str) for text in texts):
        raise ValueError("types")
    key_id, audience, method, target, body, jti = texts
    if len(body) != 64 or len(jti) != 2 * JTI_BYTES or not all(char in "0123456789abcdef" for char in body + jti):
        raise ValueError("hex")
    return Claims(key_id, audience, method, target, body, issued, expires, jti)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("duplicate fields")
    return document


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(text: str) -> bytes:
    """Unpadded base64url, in the one spelling that `_encode` gives."""
    try:
        raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if _encode(raw).decode() != text:
        raise ValueError("not canonical base64url")
    return raw

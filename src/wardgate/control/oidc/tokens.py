"""Judging one signed token (JWT, RFC 7519): pure, the keys and the time are arguments.

It knows nothing of the network (`issuers`) and nothing of users. Laws: the algorithm must be one of four with public
keys, so `none` and every HMAC are refused before a key is looked at, and it must fit the type of the key that the token
names; the issuer, the audience and the end are required and compared exactly; a header or a set of claims in which a
name stands twice is refused, and so is a `crit` header, because we implement no extension.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from ...errors import WardgateError

Key = RSAKey | ECKey | OKPKey
LONGEST: Final = 16 * 1024
ALGORITHMS: Final = frozenset({"RS256", "PS256", "ES256", "EdDSA"})
_FITS: Final = {"RS256": "RSA", "PS256": "RSA", "ES256": "P-256", "EdDSA": "Ed25519"}
_LEAST_RSA_BITS: Final = 2048
_MOST_KEYS: Final = 100
_LEEWAY: Final = timedelta(seconds=60)
_LONGEST_LIFE: Final = timedelta(days=2)  # a token of a year is a password


class TokenRefusedError(WardgateError):
    """The token is not good for what was asked; the message says why, for the log of whoever runs the issuer."""

    def __init__(self, why: str, *, unknown_key: bool = False) -> None:
        super().__init__("token_refused", f"The token is refused: {why}.")
        self.unknown_key = unknown_key


@dataclass(frozen=True, slots=True)
class Expected:
    """What the token must say. `nonce` is compared where given; `authorized_party` is who must be in `azp` where the
    token is for several audiences."""

    issuer: str
    audience: str
    nonce: str | None = None
    authorized_party: str | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token that holds says."""

    values: Mapping[str, Any]
    expires_at: datetime

    @property
    def subject(self) -> str:
        """`sub`; empty where there is none."""
        return self.text("sub") or ""

    def text(self, name: str) -> str | None:
        """The claim if it is text."""
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def texts(self, name: str) -> tuple[str, ...]:
        """The claim if it is text or a list; only the text in it."""
        value = self.values.get(name)
        found = value if isinstance(value, list) else [value]
        return tuple(each for each in found if isinstance(each, str))


def usable_keys(document: Mapping[str, Any]) -> list[Key]:
    """The public keys of a JWK set that may sign tokens. Others in it are no error: sets hold keys of many uses."""
    listed = document.get("keys")
    found = []
    for each in listed[:_MOST_KEYS] if isinstance(listed, list) else []:
        key = _key(each)
        if key is not None:
            found.append(key)
    return found


def check(token: str, keys: Sequence[Key], expected: Expected, now: datetime) -> Claims:
    """The token's claims. TokenRefusedError; with `unknown_key` where a newer set of keys might have its key."""
    header, payload = _parts(token)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefusedError("its algorithm is not RS256, PS256, ES256 or EdDSA")
    if "crit" in header or header.get("b64") is False:
        raise TokenRefusedError("it asks for an extension")
    _verify(token, _choose(keys, header, algorithm), algorithm)
    return _judge(payload, expected, now)


def issuer_of(token: str) -> str | None:
    """The issuer that the token names, which nobody has verified: good for choosing whose keys to look at."""
    try:
        issuer = _parts(token)[1].get("iss")
    except TokenRefusedError:
        return None
    return issuer if isinstance(issuer, str) else None


# --- the signature -------------------------------------------------------------------------------------------------


class _OnlyOurs(JWSRegistry):
    """The library's registry with our list, which has EdDSA without the warning about its newer name."""

    max_header_length = LONGEST

    def get_alg(self, name: str) -> Any:
        """The algorithm of a listed name."""
        if name not in ALGORITHMS:
            raise TokenRefusedError("its algorithm is not listed")
        return self.algorithms[name]


_REGISTRY: Final = _OnlyOurs(algorithms=ALGORITHMS, strict_check_header=False)


def _verify(token: str, candidates: Sequence[Key], algorithm: str) -> None:
    for key in candidates:
        try:
            jws.deserialize_compact(token, key, algorithms=[algorithm], registry=_REGISTRY)
        except (JoseError, ValueError, TypeError):
            continue
        return
    raise TokenRefusedError("its signature is not right")


def _choose(keys: Sequence[Key], header: Mapping[str, Any], algorithm: str) -> list[Key]:
    """The keys that the token may be signed with: those of its `kid`, else all of the right type."""
    fitting = [key for key in keys if _kind(key) == _FITS[algorithm] and key.get("alg") in (None, algorithm)]
    kid = header.get("kid")
    if kid is not None:
        fitting = [key for key in fitting if key.get("kid") == kid]
    if not fitting:
        raise TokenRefusedError("the issuer has no such key", unknown_key=True)
    return fitting


def _key(value: Any) -> Key | None:
    if not isinstance(value, dict) or value.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if value.get("use") not in (None, "sig") or "d" in value:
        return None
    try:
        key = JWKRegistry.import_key(value)
        fits = isinstance(key, RSAKey | ECKey | OKPKey) and _kind(key) in _FITS.values()
    except (JoseError, ValueError, TypeError, KeyError, binascii.Error):
        return None
    return key if fits and isinstance(key, RSAKey | ECKey | OKPKey) else None


def _kind(key: Key) -> str:
    """As in `_FITS`; another word for a key that no listed algorithm takes."""
    if isinstance(key, RSAKey):
        return "RSA" if key.public_key.key_size >= _LEAST_RSA_BITS else "RSA, short"
    return str(key.get("crv"))


# --- the claims ----------------------------------------------------------------------------------------------------


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if len(token) > LONGEST or not token.isascii() or token.count(".") != 2:
        raise TokenRefusedError("it is no signed token")
    header, payload, _ = token.split(".")
    return _object(header), _object(payload)


def _object(part: str) -> dict[str, Any]:
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        value = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise TokenRefusedError("it is no signed token") from None
    if not isinstance(value, dict):
        raise TokenRefusedError("it is no signed token")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _judge(claims: dict[str, Any], expected: Expected, now: datetime) -> Claims:
    if claims.get("iss") != expected.issuer:
        raise TokenRefusedError("it is from another issuer")
    audiences = claims.get("aud")
    audiences = [audiences] if isinstance(audiences, str) else audiences
    if not isinstance(audiences, list) or expected.audience not in audiences:
        raise TokenRefusedError("it is for another audience")
    _judge_parties(claims, audiences, expected)
    ends = _time(claims, "exp")
    begins, issued = _time(claims, "nbf"), _time(claims, "iat")
    if ends is None:
        raise TokenRefusedError("it never ends")
    if ends + _LEEWAY <= now:
        raise TokenRefusedError("it has expired")
    if any(at is not None and at - _LEEWAY > now for at in (begins, issued)):
        raise TokenRefusedError("it is not good yet")
    if ends - (issued or now) > _LONGEST_LIFE:
        raise TokenRefusedError(f"it is good for longer than {_LONGEST_LIFE.days} days")
    return Claims(claims, ends)


def _judge_parties(claims: Mapping[str, Any], audiences: list[Any], expected: Expected) -> None:
    """The nonce, and OpenID Connect Core 3.1.3.7 on who the token was made for."""
    if expected.nonce is not None:
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not compare_digest(nonce.encode(), expected.nonce.encode()):
            raise TokenRefusedError("its nonce is not the one that was asked with")
    if expected.authorized_party is not None:
        party = claims.get("azp")
        if (party is not None or len(audiences) > 1) and party != expected.authorized_party:
            raise TokenRefusedError("it was made for another party")


def _time(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        raise TokenRefusedError(f"its {name} is no time")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise TokenRefusedError(f"its {name} is no time") from None

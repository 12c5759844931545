"""Route tokens: what a stream must show a relay before the relay does anything for it.

A token is the lower-case, unpadded base32 of session (16 bytes) ‖ expiry (uint32, big-endian, Unix seconds) ‖
HMAC-SHA-256(relay key, "route1" ‖ session ‖ gateway ‖ expiry)[:16], with session and gateway as the 16 bytes of their
ids: 58 characters, one DNS label. It travels in SNI, in clear.

Between token and gateway the SNI may name one instance of the gateway (`names.instance_tag`): the streams of a session
belong where its control stream is. It is a wish and not signed; every instance judges a stream by its certificate.

It is not a proof of access: it opens nothing but a dial-back, and the gateway trusts the certificate alone. Law: the
relay needs nothing but its own key and the time to judge one, and "no" is a value that names its rule.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .. import ids
from ..ids import Kind
from .names import DOMAIN, gateway_label, gateway_of_label, is_instance_tag

TOKEN_CHARACTERS: Final = 58
KEY_BYTES: Final = 32
_CONTEXT = b"route1"
_RAW_BYTES = 16 + 4 + 16
_PADDING = "=" * 6
_SUFFIX = f".{DOMAIN}"


class RouteRule(StrEnum):
    """Why a relay refuses a route."""

    EXPIRED = "route_expired"
    FORGED = "route_forged"
    MALFORMED = "route_malformed"


@dataclass(frozen=True, slots=True)
class Route:
    """A route that the relay's own key vouches for."""

    session_id: str
    gateway_id: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class ServerName:
    """An SNI in the form of a route; nothing in it is verified. `instance` is a tag, None for any."""

    token: str
    gateway_id: str
    instance: str | None = None


def make_token(key: bytes, session_id: str, gateway_id: str, expires_at: int) -> str:
    """The token under `key` (32 bytes) for one session and gateway until `expires_at` (Unix seconds)."""
    if len(key) != KEY_BYTES:
        raise ValueError("a relay key has 32 bytes")
    session = ids.to_bytes(session_id, Kind.SESSION)
    expiry = expires_at.to_bytes(4, "big")
    raw = session + expiry + _mac(key, session, gateway_id, expiry)
    return base64.b32encode(raw).decode().rstrip("=").lower()


def check_token(key: bytes, name: ServerName, now: float) -> Route | RouteRule:
    """The route in `name` if `key` vouches for it at `now` (Unix seconds), else the rule that it breaks."""
    raw = _decode(name.token)
    if raw is None:
        return RouteRule.MALFORMED
    session, expiry, mac = raw[:16], raw[16:20], raw[20:]
    if not hmac.compare_digest(mac, _mac(key, session, name.gateway_id, expiry)):
        return RouteRule.FORGED
    expires_at = int.from_bytes(expiry, "big")
    if now >= expires_at:
        return RouteRule.EXPIRED
    return Route(ids.from_bytes(Kind.SESSION, session), name.gateway_id, expires_at)


def server_name(token: str, gateway_id: str) -> str:
    """The SNI of a stream: `<token>.<gateway>.wardgate.internal`."""
    return f"{token}.{gateway_label(gateway_id)}{_SUFFIX}"


def to_instance(sni: str, instance: str) -> str:
    """The SNI of a stream that wants this one instance: `<token>.<instance>.<gateway>.wardgate.internal`."""
    token, _, rest = sni.partition(".")
    return f"{token}.{instance}.{rest}"


def parse_server_name(sni: str) -> ServerName | None:
    """The parts of an SNI in the form of a route, or None. The token is not judged here."""
    if not sni.endswith(_SUFFIX):
        return None
    token, _, label = sni.removesuffix(_SUFFIX).partition(".")
    wish, dot, rest = label.partition(".")
    instance = None
    if dot:
        if not is_instance_tag(wish):
            return None
        instance, label = wish, rest
    gateway_id = gateway_of_label(label)
    if gateway_id is None or len(token) != TOKEN_CHARACTERS:
        return None
    return ServerName(token, gateway_id, instance)


def _mac(key: bytes, session: bytes, gateway_id: str, expiry: bytes) -> bytes:
    message = _CONTEXT + session + ids.to_bytes(gateway_id, Kind.GATEWAY) + expiry
    return hmac.new(key, message, hashlib.sha256).digest()[:16]


def _decode(token: str) -> bytes | None:
    """The 36 bytes, or None. Only the canonical spelling counts, so that one token is one string."""
    try:
        raw = base64.b32decode(token.upper() + _PADDING)
    except (binascii.Error, ValueError):
        return None
    if len(raw) != _RAW_BYTES or base64.b32encode(raw).decode().rstrip("=").lower() != token:
        return None
    return raw

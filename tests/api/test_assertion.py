"""api.assertion: an assertion is good for one request of one minute by one key."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from wardgate.api import assertion
from wardgate.api.assertion import Claims, SignatureRefusedError

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = 1_700_000_000.5
REQUEST: dict[str, Any] = {
    "audience": "https://wardgate.example.com",
    "method": "POST",
    "target": "/api/v1/gateway/leases?x=1",
    "body": b'{"a": 1}',
}


def sign(**changes: Any) -> str:
    return assertion.sign(KEY, **{"key_id": "gw_1", "now": NOW, "jti": bytes(16), **REQUEST, **changes})


def verify(header: str, now: float = NOW, **changes: Any) -> Claims:
    return assertion.verify(header, KEY.public_key(), now=now, **{**REQUEST, **changes})


def test_round_trip() -> None:
    claims = verify(sign())
    assert claims.key_id == assertion.key_id_of(sign()) == "gw_1"
    assert claims.expires_at - claims.issued_at == 60
    assert claims.jti == "00" * 16


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"audience": "https://other.example.com"}, "audience"),
        ({"method": "GET"}, "method or path"),
        ({"target": "/api/v1/gateway/leases?x=2"}, "method or path"),
        ({"target": "/api/v1/gateway/leases"}, "method or path"),
        ({"body": b'{"a": 2}'}, "body"),
        ({"now": NOW + 91}, "time"),
        ({"now": NOW - 32}, "time"),
    ],
)
def test_about_another_request_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(SignatureRefusedError) as caught:
        verify(sign(), **change)
    assert caught.value.reason == reason
    assert str(caught.value) == "The request's signature was refused."


def test_clocks_may_differ_by_half_a_minute() -> None:
    verify(sign(), now=NOW + 89)
    verify(sign(), now=NOW - 29)


def test_another_key_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(SignatureRefusedError):
        assertion.verify(sign(), other, now=NOW, **REQUEST)


def resigned(changes: dict[str, Any], raw: bytes | None = None) -> str:
    """An assertion with other claims, rightly signed: what a faulty gateway could send."""
    head = sign().split(" ")[1].split(".")[0]
    claims = {**json.loads(base64.urlsafe_b64decode(head + "==")), **changes}
    encoded = base64.urlsafe_b64encode(raw if raw is not None else json.dumps(claims).encode()).rstrip(b"=")
    signature = KEY.sign(assertion._CONTEXT + encoded, ec.ECDSA(SHA256()))
    return f"WGA1 {encoded.decode()}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(NOW) + 3600},
        {"exp": int(NOW)},
        {"iat": True},
        {"jti": "zz" * 16},
        {"jti": "00"},
        {"more": 1},
        {"b": 5},
    ],
)
def test_claims_of_another_shape_are_refused(changes: dict[str, Any]) -> None:
    verify(resigned({}))
    with pytest.raises(SignatureRefusedError):
        verify(resigned(changes))


@pytest.mark.parametrize("raw", [b"[]", b"{", b'{"kid":"a","kid":"b"}', b"[" * 2000, b"\xff"])
def test_claims_that_are_none_are_refused(raw: bytes) -> None:
    with pytest.raises(SignatureRefusedError):
        verify(resigned({}, raw))


@pytest.mark.parametrize(
    "header", ["", "Bearer x", "WGA1", "WGA1 x", "WGA1 x.y", "WGA1 .", "WGA1 é.é", "WGA1 " + "a" * 9000]
)
def test_headers_that_are_none_are_refused(header: str) -> None:
    with pytest.raises(SignatureRefusedError, match="refused"):
        verify(header)


@settings(max_examples=200)
@given(position=st.integers(min_value=0), char=st.characters(codec="ascii", categories=("L", "N", "P")))
def test_one_changed_character_is_refused(position: int, char: str) -> None:
    header = sign()
    at = position % len(header)
    changed = header[:at] + char + header[at + 1 :]
    if changed != header:
        with pytest.raises(SignatureRefusedError):
            verify(changed)

"""Codes: the vectors of RFC 6238, drift, replay, and what people do to codes when they copy them."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.control.mfa import codes

RFC_SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("at", "code"),  # RFC 6238, appendix B, the last six digits
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_vectors_of_the_standard(at: int, code: str) -> None:
    assert codes.totp_step(RFC_SECRET, code, at, 0) == at // 30


@pytest.mark.parametrize(("late", "good"), [(-61, False), (-30, True), (0, True), (30, True), (61, False)])
def test_a_clock_may_be_off_by_one_step(late: int, good: bool) -> None:
    assert (codes.totp_step(RFC_SECRET, "081804", 1111111109 + late, 0) is not None) == good


def test_a_step_counts_once() -> None:
    step = codes.totp_step(RFC_SECRET, "081804", 1111111109, 0)
    assert step is not None
    assert codes.totp_step(RFC_SECRET, "081804", 1111111109, step) is None
    assert codes.totp_step(RFC_SECRET, "081804", 1111111109, step - 1) == step


@given(st.text(max_size=20))
def test_nonsense_is_no_code(text: str) -> None:
    assert codes.totp_step(RFC_SECRET, text, 10_000_000_000, 10_000_000_000) is None


def test_the_uri_is_what_apps_read() -> None:
    uri = urlsplit(codes.totp_uri(RFC_SECRET, "ward gate", "ann+db@example.com"))
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/ward%20gate:ann%2Bdb@example.com")
    query = parse_qs(uri.query)
    assert query == {"secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"], "issuer": ["ward gate"]}


@given(st.binary(min_size=8, max_size=8))
def test_a_mailed_code_has_eight_digits(randomness: bytes) -> None:
    code = codes.email_code(randomness)
    assert len(code) == 8
    assert code.isdigit()


@given(st.binary(min_size=10, max_size=10))
def test_recovery_codes_survive_copying(randomness: bytes) -> None:
    code = codes.recovery_code(randomness)
    assert len(code) == 19
    kept = codes.hash_of(code, "usr_1")
    for typed in (code.lower(), code.replace("-", " "), f" {code} ", code.replace("-", "")):
        assert codes.hash_of(typed, "usr_1") == kept
    assert codes.hash_of(code, "usr_2") != kept


def test_recovery_codes_keep_all_their_bits() -> None:
    made = {
        codes.recovery_code(bytes([0] * place + [1 << bit] + [0] * (9 - place)))
        for place in range(10)
        for bit in range(8)
    }
    assert len(made) == 80

"""api.urls: one spelling of the control plane's address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.api.urls import canonical, is_loopback
from wardgate.errors import WardgateError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://wardgate.example.com", "https://wardgate.example.com"),
        ("HTTPS://Wardgate.Example.com:443/", "https://wardgate.example.com"),
        ("wardgate.example.com", "https://wardgate.example.com"),
        ("wardgate.example.com:8443", "https://wardgate.example.com:8443"),
        ("http://127.0.0.1:8400", "http://127.0.0.1:8400"),
        ("http://localhost:80/", "http://localhost"),
        ("http://[::1]:8400", "http://[::1]:8400"),
    ],
)
def test_canonical(text: str, expected: str) -> None:
    assert canonical(text) == expected
    assert canonical(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://x",
        "https://",
        "https://a/b",
        "https://a?x",
        "https://a#x",
        "https://u:p@a",
        "http://a b",
        "https://a:x",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(WardgateError, match="not the address"):
        canonical(text)


def test_plain_http_to_another_machine_is_refused_without_repeating_a_password() -> None:
    with pytest.raises(WardgateError, match="plain http") as caught:
        canonical("http://example.com")
    assert caught.value.code == "invalid_domain"
    with pytest.raises(WardgateError) as caught:
        canonical("https://user:hunter2@example.com")
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_refusal(text: str) -> None:
    try:
        once = canonical(text)
    except WardgateError:
        return
    assert canonical(once) == once


def test_loopback() -> None:
    assert is_loopback("127.9.9.9")
    assert is_loopback("a.localhost")
    assert not is_loopback("10.0.0.1")
    assert not is_loopback("localhost.example.com")

"""Which flags of `server run` go together, and what they mean for names and addresses."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from wardgate.control.db.address import AddressError
from wardgate.control.options import Address, RunOptions, UsageError, parse_address, password_from
from wardgate.errors import WardgateError

CERT, KEY = Path("cert.pem"), Path("key.pem")
TLS = {"tls_cert": CERT, "tls_key": KEY}
URL = {"public_url": "https://wardgate.example"}


def check(**flags: Any) -> RunOptions:
    defaults: dict[str, Any] = {
        "data_dir": Path("wg"),
        "listen": "127.0.0.1:8400",
        "relay_listen": None,
        "relay_advertise": None,
        "public_url": None,
        "tls_cert": None,
        "tls_key": None,
        "behind_proxy": (),
        "master_key_file": None,
    }
    return RunOptions.check(**{**defaults, **flags})


@pytest.mark.parametrize(
    ("flags", "url"),
    [
        ({}, "http://127.0.0.1:8400"),
        ({"listen": "localhost:8400"}, "http://localhost:8400"),
        ({"listen": "[::1]:8400"}, "http://[::1]:8400"),
        ({"listen": "10.0.0.5:8400", **TLS}, "https://10.0.0.5:8400"),
        ({"listen": "10.0.0.5:443", **TLS}, "https://10.0.0.5:8400"),
        ({"listen": "0.0.0.0:8400", **TLS, **URL}, "https://wardgate.example"),
        ({"listen": "10.0.0.5:8400", "behind_proxy": ("10.0.0.0/8",), **URL}, "https://wardgate.example"),
        ({"public_url": "HTTPS://Wardgate.Example:443/"}, "https://wardgate.example"),
    ],
)
def test_what_goes_together(flags: dict[str, Any], url: str) -> None:
    assert check(**flags).url(8400) == url


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"listen": "0.0.0.0:8400"}, "--tls-cert"),
        ({"listen": "10.0.0.5:8400"}, "--behind-proxy"),
        ({"listen": "wardgate.example:8400"}, "--tls-cert"),
        ({"listen": "0.0.0.0:8400", **TLS}, "--public-url"),
        ({"listen": "[::]:8400", **TLS}, "--public-url"),
        ({"listen": "10.0.0.5:8400", "behind_proxy": ("10.0.0.0/8",)}, "--public-url"),
        ({"tls_cert": CERT}, "go together"),
        ({"tls_key": KEY}, "go together"),
        ({"behind_proxy": ("10.0.0.0/33",)}, "no network"),
        ({"behind_proxy": ("proxy.example",)}, "no network"),
        ({"listen": "8400"}, "HOST:PORT"),
        ({"listen": "::1:8400"}, "HOST:PORT"),
        ({"listen": "127.0.0.1:99999"}, "HOST:PORT"),
        ({"relay_advertise": "relay.example:8443"}, "--relay-listen"),
        ({"relay_listen": "0.0.0.0:8443"}, "--relay-advertise"),
        ({"relay_listen": "127.0.0.1:0"}, "port of its own"),
        ({"relay_listen": "0.0.0.0:8443", "relay_advertise": "relay.example"}, "--relay-advertise"),
    ],
)
def test_what_does_not(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        check(**flags)
    assert refused.value.exit_code == 2


def test_a_database_url_that_leads_nowhere() -> None:
    with pytest.raises(AddressError, match="database URL") as refused:
        check(database_url="postgresql://")
    assert refused.value.exit_code == 2


def test_plain_http_is_no_public_url_of_another_machine() -> None:
    with pytest.raises(WardgateError, match="loopback only"):
        check(public_url="http://wardgate.example")


def test_the_relay_is_dialled_at_what_it_advertises() -> None:
    assert check(relay_listen="127.0.0.1:8443").relay_advertise == "127.0.0.1:8443"
    assert (
        check(relay_listen="0.0.0.0:8443", relay_advertise="relay.example:443").relay_advertise == "relay.example:443"
    )


def test_the_names_that_are_served() -> None:
    assert check().door(8400).hosts == {"127.0.0.1:8400", "localhost:8400", "[::1]:8400"}
    assert not check().door(8400).proxied_only
    behind = check(listen="10.0.0.5:8400", behind_proxy=("10.0.0.0/8",), **URL).door(8400)
    assert behind.hosts == {"wardgate.example", "10.0.0.5:8400"}
    assert behind.https
    assert behind.proxied_only
    assert "wardgate.example" in check(listen="0.0.0.0:8400", **TLS, **URL).door(8400).hosts


def test_addresses() -> None:
    assert parse_address("[::1]:80", "--listen") == Address("::1", 80)
    assert str(Address("::1", 80)) == "[::1]:80"
    assert Address("::", 1).is_unspecified
    assert not Address("localhost", 1).is_unspecified


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"pw\n", b"pw"),
        (b"pw", b"pw"),
        (b"pw\n\n", b"pw\n"),
        (b" p\r\n", b" p\r"),
        (b"\n\n", b"\n"),
        ("ü".encode(), "ü".encode()),
    ],
)
def test_exactly_one_final_newline_is_dropped(given: bytes, kept: bytes) -> None:
    assert password_from(io.BytesIO(given)).reveal() == kept


@pytest.mark.parametrize("given", [b"", b"\n", b"x" * 1025, b"\xff\xfe"])
def test_a_password_that_can_not_be_one_is_refused(given: bytes) -> None:
    with pytest.raises(UsageError):
        password_from(io.BytesIO(given))

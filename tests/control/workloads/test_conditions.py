"""What claims must be and where requests may come from, as rules that hypothesis tries to break."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.api.problems import ProblemError
from wardgate.control.identity.permissions import Permission, ServiceScope, within
from wardgate.control.workloads.conditions import (
    check_conditions,
    comes_from,
    matches,
    networks_text,
    scopes_of,
    unmet,
)


@given(st.text(max_size=50))
def test_text_without_stars_matches_itself_only(text: str) -> None:
    pattern = text.replace("*", "")
    assert matches(pattern, pattern)
    assert not matches(pattern, pattern + "x")
    assert not matches(pattern, "x" + pattern)


@given(st.lists(st.text("ab.[]?+\n", max_size=4), min_size=2, max_size=4), st.lists(st.text("ab*.\n", max_size=4)))
def test_a_star_is_any_text_and_nothing_else_is_special(parts: list[str], between: list[str]) -> None:
    fill = [*between, "", "", "", ""]
    text = parts[0] + "".join(fill[i] + part for i, part in enumerate(parts[1:]))
    assert matches("*".join(parts), text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("repo:acme/shop:*", "repo:acme/shop-evil:ref:refs/heads/main"),
        ("repo:acme/*", "xrepo:acme/shop"),
        ("main", "main\n"),
        ("main", "Main"),
        ("a.c", "abc"),
        ("a*", "a" * 5_000),
    ],
)
def test_near_misses(pattern: str, text: str) -> None:
    assert not matches(pattern, text)


@pytest.mark.parametrize(
    ("value", "pattern", "met"),
    [
        ("main", "main", True),
        (["dev", "main"], "main", True),
        (True, "true", True),
        (7, "7", True),
        (7.0, "7", False),
        (None, "None", False),
        ({"main": "main"}, "main", False),
        ([["main"]], "main", False),
        ("", "*a", False),
    ],
)
def test_claims(value: Any, pattern: str, met: bool) -> None:
    assert (unmet({"ref": pattern}, {"ref": value}) is None) == met
    assert unmet({"other": pattern}, {"ref": value}) == "other"


@pytest.mark.parametrize(
    "conditions", [{"sub": "*"}, {"sub": "***"}, {"sub": ""}, {"iss": "a"}, {"sub": "a*b*c*d*e*f"}]
)
def test_conditions_that_can_not_be_meant(conditions: dict[str, str]) -> None:
    with pytest.raises(ProblemError):
        check_conditions(conditions)


@given(st.ip_addresses(), st.integers(0, 32))
def test_networks_are_what_the_library_says(ip: Any, bits: int) -> None:
    network = ipaddress.ip_network((ip, bits), strict=False)
    text = networks_text([str(network)])
    assert comes_from(text, str(ip)) == (ip.version == 4 or ip.ipv4_mapped is None)
    assert comes_from("", str(ip))
    outside, four = ipaddress.ip_network("192.0.2.0/24"), ip if ip.version == 4 else ip.ipv4_mapped
    assert comes_from(str(outside), str(ip)) == (four is not None and four in outside)


def test_an_address_that_is_mapped_or_unknown() -> None:
    assert not comes_from("::/0", "::ffff:192.0.2.7"), "a mapped address is the IPv4 one, however it was written"
    assert comes_from("192.0.2.0/24", "::ffff:192.0.2.7")
    assert not comes_from("192.0.2.0/24", "::ffff:192.0.3.7")
    for nowhere in (None, "unknown", "testclient", ""):
        assert not comes_from("192.0.2.0/24", nowhere)


@pytest.mark.parametrize("text", ["192.0.2.1/24", "everywhere", "", "192.0.2.0/33", "192.0.2.0/24 10.0.0.0/8"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ProblemError):
        networks_text([text])


def test_scopes_only_take_away() -> None:
    assert scopes_of("audit connect", "connect") == {ServiceScope.CONNECT}
    assert scopes_of("audit", "connect") == frozenset()
    assert within(frozenset()) == frozenset()
    assert Permission.ACCOUNT_OWN_SESSION_CREATE in within(frozenset({ServiceScope.CONNECT}))
    assert Permission.ACCOUNT_RECORD_READ not in within(frozenset({ServiceScope.CONNECT}))
    assert within(frozenset({ServiceScope.AUDIT})) < within(frozenset({ServiceScope.ADMINISTER}))

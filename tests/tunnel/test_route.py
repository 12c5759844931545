from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate import ids
from wardgate.ids import Kind
from wardgate.tunnel.route import (
    Route,
    RouteRule,
    ServerName,
    check_token,
    make_token,
    parse_server_name,
    server_name,
    to_instance,
)

VECTORS = json.loads((Path(__file__).parent / "vectors/route.json").read_text())["vectors"]
KEY = bytes(range(32))
SESSION = VECTORS[0]["session"]
GATEWAY = VECTORS[0]["gateway"]
OTHER = VECTORS[1]["gateway"]


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors(vector: dict[str, Any]) -> None:
    key = bytes.fromhex(vector["key"])
    token = make_token(key, vector["session"], vector["gateway"], vector["expires_at"])
    assert token == vector["token"]
    assert server_name(token, vector["gateway"]) == vector["sni"]
    name = parse_server_name(vector["sni"])
    assert name == ServerName(token, vector["gateway"])
    route = Route(vector["session"], vector["gateway"], vector["expires_at"])
    assert check_token(key, name, vector["expires_at"] - 1) == route


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), st.integers(1, (1 << 32) - 1))
def test_a_token_is_a_dns_label_and_says_what_it_was_made_from(session: bytes, gateway: bytes, expiry: int) -> None:
    session_id, gateway_id = ids.from_bytes(Kind.SESSION, session), ids.from_bytes(Kind.GATEWAY, gateway)
    token = make_token(KEY, session_id, gateway_id, expiry)
    assert len(token) == 58
    assert token.isalnum()
    assert check_token(KEY, ServerName(token, gateway_id), expiry - 1) == Route(session_id, gateway_id, expiry)


def test_refusals_name_their_rule() -> None:
    token = make_token(KEY, SESSION, GATEWAY, 1000)
    assert check_token(KEY, ServerName(token, GATEWAY), 1000) is RouteRule.EXPIRED
    assert check_token(bytes(32), ServerName(token, GATEWAY), 0) is RouteRule.FORGED
    assert check_token(KEY, ServerName(token, OTHER), 0) is RouteRule.FORGED
    assert check_token(KEY, ServerName(token.upper(), GATEWAY), 0) is RouteRule.MALFORMED
    assert check_token(KEY, ServerName("1" * 58, GATEWAY), 0) is RouteRule.MALFORMED
    assert check_token(KEY, ServerName("é" * 58, GATEWAY), 0) is RouteRule.MALFORMED


@given(st.integers(0, 57), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_any_changed_character_is_refused(at: int, char: str) -> None:
    token = make_token(KEY, SESSION, GATEWAY, 1000)
    changed = token[:at] + char + token[at + 1 :]
    found = check_token(KEY, ServerName(changed, GATEWAY), 0)
    assert (changed == token) == isinstance(found, Route)


@pytest.mark.parametrize(
    "sni",
    [
        "",
        "relay.wardgate.internal",
        f"{'a' * 58}.wardgate.internal",
        f"{'a' * 57}.gw-01k30fzvg0e008000000001jqy.wardgate.internal",
        f"{'a' * 58}.gw-01k30fzvg0e008000000001jqy.wardgate.internal.",
        f"{'a' * 58}.x.gw-01k30fzvg0e008000000001jqy.wardgate.internal",
        f"{'a' * 58}.GW-01k30fzvg0e008000000001jqy.wardgate.internal",
        f"{'a' * 58}.gw-01k30fzvg0e008000000001jqy.evil.internal",
    ],
)
def test_other_server_names_are_no_routes(sni: str) -> None:
    assert parse_server_name(sni) is None


def test_a_key_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        make_token(b"short", SESSION, GATEWAY, 1)


def test_a_stream_may_wish_for_one_instance() -> None:
    token = make_token(KEY, ids.make(Kind.SESSION, 1, bytes(10)), GATEWAY, 2000)
    tag = "0123456789abcdef" * 2
    sni = to_instance(server_name(token, GATEWAY), tag)
    assert len(sni) < 256
    assert parse_server_name(sni) == ServerName(token, GATEWAY, tag)
    assert parse_server_name(sni.replace(tag, tag[:-1] + "G")) is None
    assert parse_server_name(sni.replace(tag, f"{tag}.{tag}")) is None

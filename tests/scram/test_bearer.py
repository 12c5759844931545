"""PLAIN and MONGODB-OIDC: one message, or none."""

from __future__ import annotations

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.scram.bearer import oidc, plain
from wardgate.scram.primitives import ScramError

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=50)


@given(TEXT, TEXT)
def test_plain_is_rfc_4616(username: str, password: str) -> None:
    client = plain(username, password)
    assert client.start().split(b"\0") == [b"", username.encode(), password.encode()]
    assert not client.derives(b"")
    assert client.step(b"") is None


@pytest.mark.parametrize(("username", "password"), [("", "p"), ("u", ""), ("u\0v", "p"), ("u", "p\0q")])
def test_what_plain_can_not_hold(username: str, password: str) -> None:
    with pytest.raises(ScramError) as caught:
        plain(username, password)
    assert caught.value.code == "plain_impossible"


def test_a_token_is_sent_as_it_is() -> None:
    assert bson.decode(oidc("aGVh.Ym9k-_.c2ln").start()) == {"jwt": "aGVh.Ym9k-_.c2ln"}


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c.d", "a b.c.d", "a.b.c\n", "a" * 20_000 + ".b.c"])
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(ScramError) as caught:
        oidc(token)
    assert caught.value.code == "oidc_token"
    assert "aaaa" not in str(caught.value)

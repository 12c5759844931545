"""Which signed tokens hold, and everything that has been tried elsewhere to make others pass."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.control.oidc.tokens import Claims, Expected, TokenRefusedError, check, usable_keys
from wardgate.testing.issuer import encoded, make_key, sign

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ISSUER, AUDIENCE = "https://issuer.example.com", "wardgate"
KEYS = {name: make_key(name, name) for name in ("RS256", "PS256", "ES256", "EdDSA")}
PUBLISHED = usable_keys({"keys": [key.as_dict(private=False) for key in KEYS.values()]})
EXPECTED = Expected(ISSUER, AUDIENCE)


def claims(**changes: Any) -> dict[str, Any]:
    at = int(NOW.timestamp())
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ci", "iat": at - 10, "exp": at + 300, **changes}
    return {name: value for name, value in made.items() if value is not None}


def judged(token: str, expected: Expected = EXPECTED) -> Claims:
    return check(token, PUBLISHED, expected, NOW)


def refusal(token: str, expected: Expected = EXPECTED) -> str:
    with pytest.raises(TokenRefusedError) as caught:
        judged(token, expected)
    return caught.value.message


@pytest.mark.parametrize("algorithm", sorted(KEYS))
def test_what_is_signed_rightly_holds(algorithm: str) -> None:
    found = judged(sign(claims(groups=["dev", 7]), KEYS[algorithm], algorithm=algorithm, kid=algorithm))
    assert (found.subject, found.texts("groups"), found.text("groups")) == ("ci", ("dev",), None)
    assert found.expires_at == NOW + timedelta(seconds=300)


def test_a_token_without_a_kid_is_tried_with_the_keys_of_its_kind() -> None:
    assert judged(sign(claims(), KEYS["PS256"], algorithm="PS256")).subject == "ci"


def test_none_is_no_algorithm() -> None:
    for alg in ("none", "None", "NONE", "", None, ["RS256"]):
        header = encoded(json.dumps({"alg": alg, "typ": "JWT"}).encode())
        body = encoded(json.dumps(claims()).encode())
        for signature in ("", encoded(b"x" * 32)):
            assert "algorithm" in refusal(f"{header}.{body}.{signature}")


def test_a_public_key_is_no_hmac_secret() -> None:
    """The classic confusion: HS256 keyed with the published key."""
    header = encoded(json.dumps({"alg": "HS256", "kid": "RS256"}).encode())
    signed = f"{header}.{encoded(json.dumps(claims()).encode())}"
    for secret in (KEYS["RS256"].as_pem(private=False), KEYS["RS256"].as_der(private=False)):
        assert "algorithm" in refusal(f"{signed}.{encoded(hmac.digest(secret, signed.encode(), 'sha256'))}")


@pytest.mark.parametrize(("signed", "said"), [("RS256", "PS256"), ("PS256", "RS256"), ("ES256", "EdDSA")])
def test_another_algorithm_than_the_one_it_was_signed_with(signed: str, said: str) -> None:
    header, body, signature = sign(claims(), KEYS[signed], algorithm=signed, kid=signed).split(".")
    changed = encoded(json.dumps({"alg": said, "kid": said}).encode())
    assert "signature" in refusal(f"{changed}.{body}.{signature}")
    assert header


def test_a_key_for_one_algorithm_verifies_no_other() -> None:
    only = {**KEYS["RS256"].as_dict(private=False), "alg": "RS256"}
    token = sign(claims(), KEYS["RS256"], algorithm="PS256", kid="RS256")
    with pytest.raises(TokenRefusedError) as caught:
        check(token, usable_keys({"keys": [only]}), EXPECTED, NOW)
    assert caught.value.unknown_key


def test_a_key_in_the_token_is_not_looked_at() -> None:
    stranger = make_key("RS256", "stranger")
    token = sign(claims(), stranger, kid="stranger", jwk=stranger.as_dict(private=False))
    assert "no such key" in refusal(token)


def test_a_changed_body_or_signature() -> None:
    header, body, signature = sign(claims(), KEYS["ES256"], algorithm="ES256", kid="ES256").split(".")
    other = encoded(json.dumps(claims(sub="root")).encode())
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[7] ^= 1
    for token in (f"{header}.{other}.{signature}", f"{header}.{body}.{encoded(bytes(raw))}", f"{header}.{body}."):
        assert "signature" in refusal(token)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "https://evil.example.com"}, "another issuer"),
        ({"iss": ISSUER + "/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"iss": [ISSUER]}, "another issuer"),
        ({"aud": "other"}, "another audience"),
        ({"aud": ["other"]}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": {"wardgate": 1}}, "another audience"),
        ({"exp": None}, "never ends"),
        ({"exp": int(NOW.timestamp()) - 61}, "expired"),
        ({"exp": "4102444800"}, "no time"),
        ({"exp": True}, "no time"),
        ({"exp": 1e300}, "no time"),
        ({"exp": int(NOW.timestamp()) + 86_400 * 365}, "longer than 2 days"),
        ({"iat": None, "exp": int(NOW.timestamp()) + 86_400 * 365}, "longer than 2 days"),
        ({"nbf": int(NOW.timestamp()) + 61}, "not good yet"),
        ({"iat": int(NOW.timestamp()) + 61}, "not good yet"),
    ],
)
def test_claims_that_do_not_fit(changes: dict[str, Any], why: str) -> None:
    assert why in refusal(sign(claims(**changes), KEYS["ES256"], algorithm="ES256", kid="ES256"))


def test_clocks_may_differ_by_a_minute() -> None:
    at = int(NOW.timestamp())
    for changes in ({"exp": at - 59}, {"iat": at + 59, "nbf": at + 59}):
        judged(sign(claims(**changes), KEYS["ES256"], algorithm="ES256", kid="ES256"))


@pytest.mark.parametrize("nonce", [None, "other", 7, ""])
def test_a_replayed_or_missing_nonce(nonce: Any) -> None:
    token = sign(claims(nonce=nonce), KEYS["ES256"], algorithm="ES256", kid="ES256")
    assert "nonce" in refusal(token, Expected(ISSUER, AUDIENCE, nonce="asked"))


def test_who_it_was_made_for() -> None:
    expected = Expected(ISSUER, AUDIENCE, authorized_party=AUDIENCE)

    def token(**changes: Any) -> str:
        return sign(claims(**changes), KEYS["ES256"], algorithm="ES256", kid="ES256")

    judged(token(), expected)
    judged(token(aud=[AUDIENCE, "other"], azp=AUDIENCE), expected)
    assert "another party" in refusal(token(azp="other"), expected)
    assert "another party" in refusal(token(aud=[AUDIENCE, "other"]), expected)


def test_a_name_that_stands_twice() -> None:
    key = KEYS["EdDSA"]
    for header, body in (
        (b'{"alg":"EdDSA","kid":"EdDSA","alg":"EdDSA"}', json.dumps(claims()).encode()),
        (b'{"alg":"EdDSA","kid":"EdDSA"}', json.dumps(claims())[:-1].encode() + b',"sub":"root"}'),
    ):
        signed = f"{encoded(header)}.{encoded(body)}"
        token = f"{signed}.{encoded(key.private_key.sign(signed.encode()))}"  # type: ignore[union-attr,call-arg]
        assert "no signed token" in refusal(token)


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"crit": []}, {"b64": False}])
def test_extensions(header: dict[str, Any]) -> None:
    head = {"alg": "EdDSA", "kid": "EdDSA", **header}
    signed = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(claims()).encode())}"
    signature = KEYS["EdDSA"].private_key.sign(signed.encode())  # type: ignore[union-attr,call-arg]
    assert "extension" in refusal(f"{signed}.{encoded(signature)}")


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}"))
def test_rubbish_is_refused_and_nothing_else(token: str) -> None:
    refusal(token)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["keys", "kty", "n", "crv", "x"]), inner)
        ),
        max_leaves=12,
    ).filter(lambda value: isinstance(value, dict))
)
def test_any_document_of_keys_is_read(document: dict[str, Any]) -> None:
    assert usable_keys(document) == []


@pytest.mark.filterwarnings("ignore")
def test_keys_that_may_not_sign() -> None:
    rsa = KEYS["RS256"].as_dict(private=False)
    assert usable_keys({"keys": [{**rsa, "use": "enc"}]}) == []
    assert usable_keys({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}) == []
    assert usable_keys({"keys": [KEYS["RS256"].as_dict(private=True)]}) == []  # its owner has lost it
    assert usable_keys({"keys": [make_key("ES256", "a").as_dict(private=False) | {"crv": "P-384"}]}) == []
    assert len(usable_keys({"keys": [rsa, {"kty": "new"}, None]})) == 1

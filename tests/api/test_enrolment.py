"""api.enrolment: the token's format, and proofs that neither side can be fooled by."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from wardgate.api import enrolment
from wardgate.api.enrolment import EnrolmentToken
from wardgate.api.machine import EnrolAnswer
from wardgate.errors import WardgateError
from wardgate.secret import Secret


def certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
) -> bytes:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(issuer_key, SHA256())
        .public_bytes(Encoding.DER)
    )


ROOT_KEY, CA_KEY, KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
ROOT = certificate("root", ROOT_KEY, "root", ROOT_KEY)
CA = certificate("gateways", CA_KEY, "root", ROOT_KEY)
LEAF = certificate("gw", KEY, "gateways", CA_KEY)
TOKEN = EnrolmentToken("https://wg.example.com", hashlib.sha256(ROOT).hexdigest(), "tok_1", Secret(b"s" * 32))


def answer(**changes: object) -> EnrolAnswer:
    """A right answer with `changes`, and the proof made over it."""
    trust = dict.fromkeys(("gateways", "relays", "sessions"), CA)
    fields = {"id": "gw_1", "name": "near-db", "project_id": "prj_1", "certificate": LEAF, "intermediate": CA}
    made = EnrolAnswer.model_validate({**fields, "root": ROOT, "trust": trust, "proof": b"", **changes})
    made.proof = enrolment.answer_proof(TOKEN.secret, made)
    return made


@given(secret=st.binary(min_size=32, max_size=32))
def test_token_round_trip(secret: bytes) -> None:
    token = EnrolmentToken("http://127.0.0.1:8400", "ab" * 32, "tok_1", Secret(secret))
    text = token.encode()
    assert text.startswith("wge1_")
    assert enrolment.decode(f" {text}\n") == token
    assert "redacted" in repr(token)


@given(st.text(max_size=80))
def test_text_that_is_no_token_is_refused_without_repeating_it(text: str) -> None:
    for candidate in (text, enrolment.PREFIX + text):
        with pytest.raises(WardgateError) as caught:
            enrolment.decode(candidate)
        assert caught.value.code == "invalid_token"


def test_a_token_cut_short_is_refused() -> None:
    text = TOKEN.encode()
    for length in range(len(text)):
        with pytest.raises(WardgateError, match="not an enrolment token"):
            enrolment.decode(text[:length])


def test_a_token_for_a_plain_http_address_elsewhere_is_refused() -> None:
    text = EnrolmentToken("http://elsewhere.example.com", "ab" * 32, "tok_1", Secret(b"s" * 32)).encode()
    with pytest.raises(WardgateError):
        enrolment.decode(text)


def test_csr_proof() -> None:
    proof = enrolment.csr_proof(TOKEN.secret, b"csr")
    assert enrolment.csr_proof_holds(TOKEN.secret, b"csr", proof)
    assert not enrolment.csr_proof_holds(TOKEN.secret, b"other", proof)
    assert not enrolment.csr_proof_holds(Secret(b"x" * 32), b"csr", proof)


def test_a_right_answer_is_taken() -> None:
    enrolment.check_answer(TOKEN, answer(), KEY.public_key())


@pytest.mark.parametrize("field", ["id", "name", "project_id", "certificate", "intermediate", "root", "trust"])
def test_any_changed_field_breaks_the_proof(field: str) -> None:
    made = answer()
    other: object = {**made.trust, "relays": LEAF} if field == "trust" else b"x" if field == "root" else "x"
    if field in ("certificate", "intermediate"):
        other = ROOT
    setattr(made, field, other)
    with pytest.raises(WardgateError, match="proof"):
        enrolment.check_answer(TOKEN, made, KEY.public_key())


def test_a_root_that_is_not_the_tokens_is_refused() -> None:
    other_root = certificate("root", ROOT_KEY, "root", ROOT_KEY)
    with pytest.raises(WardgateError, match="root certificate"):
        enrolment.check_answer(TOKEN, answer(root=other_root), KEY.public_key())


@pytest.mark.parametrize(
    "changes",
    [
        {"intermediate": LEAF},
        {"certificate": b"junk"},
        {"certificate": certificate("gw", KEY, "gateways", KEY)},
        {"trust": {"gateways": CA, "relays": CA, "sessions": LEAF}},
    ],
)
def test_certificates_that_are_no_chain_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(WardgateError, match="chain"):
        enrolment.check_answer(TOKEN, answer(**changes), KEY.public_key())


def test_a_missing_intermediate_or_another_key_is_refused() -> None:
    with pytest.raises(WardgateError, match="lacks"):
        enrolment.check_answer(TOKEN, answer(trust={"gateways": CA}), KEY.public_key())
    with pytest.raises(WardgateError, match="another key"):
        enrolment.check_answer(TOKEN, answer(), CA_KEY.public_key())

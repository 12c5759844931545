"""Certificates of the installed CA, checked with `cryptography`'s own verifier."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from wardgate import sealing
from wardgate.errors import WardgateError
from wardgate.net import certs

GATEWAY = "gw_" + "0" * 26
SESSION = "ses_" + "0" * 26


def uris(der: bytes) -> list[str]:
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


async def test_the_root_signs_three_intermediates_and_each_its_leaves(control: Any) -> None:
    ca, key = control.services.ca, certs.make_key().public_key()
    root = x509.load_der_x509_certificate(ca.root_der)
    expires_at = control.clock() + timedelta(hours=1)
    leaves = {
        "sessions": ca.issue_session(key, SESSION, GATEWAY, expires_at),
        "gateways": ca.issue_gateway(key, GATEWAY),
        "relays": ca.issue_relay(key, "rly_" + "0" * 26),
    }
    assert ca.intermediates.keys() == leaves.keys()
    for name, leaf in leaves.items():
        intermediate = x509.load_der_x509_certificate(ca.intermediates[name])
        intermediate.verify_directly_issued_by(root)
        x509.load_der_x509_certificate(leaf).verify_directly_issued_by(intermediate)
        assert len(uris(leaf)) == 1


async def test_a_session_certificate_ends_a_minute_after_its_session(control: Any) -> None:
    expires_at = control.clock() + timedelta(hours=1)
    leaf = x509.load_der_x509_certificate(
        control.services.ca.issue_session(certs.make_key().public_key(), SESSION, GATEWAY, expires_at)
    )
    assert leaf.not_valid_after_utc == expires_at + timedelta(seconds=60)
    assert leaf.not_valid_before_utc == control.clock() - timedelta(minutes=5)


async def test_heads_are_signed_by_a_key_that_the_root_vouches_for(control: Any) -> None:
    keys = control.services.keys
    key_id, signature = keys.sign_head(b"head")
    assert keys.verify_head(key_id, signature, b"head")
    assert not keys.verify_head(key_id, signature, b"another")
    assert not keys.verify_head("unknown", signature, b"head")
    certificate = x509.load_der_x509_certificate(keys.head_certificate(key_id))
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(control.services.ca.root_der))
    public_key = certificate.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)


async def test_epoch_keys_open_what_was_sealed_to_the_public_half(control: Any) -> None:

    keys = control.services.keys
    blob = sealing.seal(keys.audit_public_key, b"purpose", b"epoch key")
    assert sealing.open_(keys.audit_private(keys.audit_key_id).reveal(), b"purpose", blob) == b"epoch key"
    with pytest.raises(WardgateError, match="not ours"):
        keys.audit_private("0" * 32)


async def test_private_keys_are_sealed_in_the_database(control: Any) -> None:
    everything = control.dump()
    assert b"PRIVATE KEY" not in everything
    keys = control.services.keys
    assert keys.audit_private(keys.audit_key_id).reveal() not in everything
    assert bytes(range(32)) not in everything

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from wardgate.net import certs
from wardgate.tunnel import names

GATEWAY = "gw_01j00000000000000000000000"
SESSION = "ses_01j00000000000000000000000"
RELAY = "rly_01j00000000000000000000000"


@pytest.mark.parametrize(
    "identity",
    [names.SessionIdentity(SESSION, GATEWAY), names.GatewayIdentity(GATEWAY), names.RelayIdentity(RELAY)],
)
def test_a_uri_says_what_it_was_made_from(identity: names.Identity) -> None:
    assert names.parse_uri(identity.uri) == identity


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "wardgate:",
        "wardgate:gateway/",
        f"wardgate:gateway/{GATEWAY}/",
        f"wardgate:gateway/{GATEWAY.upper()}",
        f"wardgate:gateway/{RELAY}",
        f"wardgate:relay/{GATEWAY}",
        f"WARDGATE:gateway/{GATEWAY}",
        f"wardgate:session/{SESSION}",
        f"wardgate:session/{SESSION}/gateway/{RELAY}",
        f"wardgate:session/{SESSION}/gateway/{GATEWAY}/x",
        f"https://gateway/{GATEWAY}",
    ],
)
def test_any_other_uri_names_nobody(uri: str) -> None:
    with pytest.raises(names.IdentityError):
        names.parse_uri(uri)


def test_a_gateway_label_is_its_id() -> None:
    assert names.gateway_label(GATEWAY) == "gw-01j00000000000000000000000"
    assert names.gateway_of_label("gw-01j00000000000000000000000") == GATEWAY
    assert names.gateway_of_label(GATEWAY) is None
    assert names.gateway_of_label("gw--1j00000000000000000000000") is None


def _certificate(*uris: str) -> bytes:
    key = certs.make_key()
    now = datetime.now(UTC)
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(hours=1))
    if uris:
        general = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=True)
    return certs.to_der(builder.sign(key, hashes.SHA256()))


def test_a_certificate_names_exactly_one() -> None:
    uri = names.GatewayIdentity(GATEWAY).uri
    assert names.peer_identity(_certificate(uri)) == names.GatewayIdentity(GATEWAY)
    for wrong in (_certificate(), _certificate(uri, uri), _certificate(uri, "https://x/"), b"", b"\x30\x03junk"):
        with pytest.raises(names.IdentityError):
            names.peer_identity(wrong)

"""control.resources.authorities: only certificates of authorities, that are valid now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from wardgate.api.problems import ProblemError
from wardgate.control.resources.authorities import check

NOW = datetime.now(UTC)
CA = trustme.CA()
PEM = CA.cert_pem.bytes().decode()


def certificate(*, ca: bool | None, start: timedelta, end: timedelta, name: str = "Our CA") -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW + start)
        .not_valid_after(NOW + end)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


DAY = timedelta(days=1)


def test_several_certificates_with_comments_are_taken() -> None:
    other = certificate(ca=True, start=-DAY, end=DAY)
    kept = check(f"# ours\n{PEM}\nsubject=/CN=x\n{other}trailing\n", NOW)
    assert kept.count("BEGIN CERTIFICATE") == 2
    assert "ours" not in kept
    assert len(x509.load_pem_x509_certificates(kept.encode())) == 2
    assert check(kept, NOW) == kept


@pytest.mark.parametrize(
    ("pem", "sentence"),
    [
        ("", "holds no PEM certificate"),
        ("not a certificate", "holds no PEM certificate"),
        (PEM.replace("-----END CERTIFICATE-----", ""), "holds no PEM certificate"),
        (PEM + CA.private_key_pem.bytes().decode(), "holds a private key"),
        (PEM.replace("CERTIFICATE", "PUBLIC KEY"), "Block 1 is not a certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "Certificate 1 cannot be read"),
        (PEM + certificate(ca=False, start=-DAY, end=DAY), "Certificate 2 (Our CA) is not an authority's"),
        (certificate(ca=None, start=-DAY, end=DAY), "is not an authority's"),
        (certificate(ca=True, start=-2 * DAY, end=-DAY), "expired on"),
        (certificate(ca=True, start=DAY, end=2 * DAY), "is not valid before"),
        (certificate(ca=False, start=-DAY, end=DAY, name="a\x1b[31mb"), "(a[31mb)"),
        (PEM * 201, "at most 200"),
    ],
)
def test_what_is_no_authority_is_refused(pem: str, sentence: str) -> None:
    with pytest.raises(ProblemError) as caught:
        check(pem, NOW)
    assert sentence in str(caught.value)
    assert "PRIVATE KEY-----" not in str(caught.value)
    assert [error.field for error in caught.value.problem.errors] == ["ca_certificate"]

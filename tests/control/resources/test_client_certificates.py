"""control.resources.client_certificates: a certificate with its own key, in one order, or one sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wardgate.api.problems import ProblemError
from wardgate.control.resources.client_certificates import check
from wardgate.testing.certificates import CertificateAuthority

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROOT = CertificateAuthority.create("Our root")
PEM = ROOT.issue_client("reader").decode()
KEY, CERTIFICATE = PEM[: PEM.index("-----BEGIN CERTIFICATE")], PEM[PEM.index("-----BEGIN CERTIFICATE") :]


def make(
    subject: str = "reader",
    issuer: tuple[Any, x509.Certificate] | None = None,
    *,
    ca: bool = False,
    key: Any = None,
    purposes: list[Any] | None = None,
    empty: bool = False,
) -> tuple[Any, x509.Certificate]:
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([] if empty else [x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer[1].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    signer = key if issuer is None else issuer[0]
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return key, builder.sign(signer, algorithm)


def pem_of(*parts: Any, password: bytes | None = None, old: bool = False) -> str:
    texts: list[bytes] = []
    for part in parts:
        if isinstance(part, x509.Certificate):
            texts.append(part.public_bytes(serialization.Encoding.PEM))
        else:
            how = serialization.PrivateFormat.TraditionalOpenSSL if old else serialization.PrivateFormat.PKCS8
            lock: Any = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
            texts.append(part.private_bytes(serialization.Encoding.PEM, how, lock))
    return b"".join(texts).decode()


def refusal(pem: str) -> str:
    with pytest.raises(ProblemError) as caught:
        check(pem, NOW)
    assert [error.field for error in caught.value.problem.errors] == ["client_certificate"]
    assert caught.value.__cause__ is None
    detail = str(caught.value)
    assert "-----" not in detail
    return detail


def test_a_certificate_and_its_key() -> None:
    found = check(f"# ours\n{CERTIFICATE}\nBag Attributes\n{KEY}trailing", NOW)
    assert found.subject == "CN=reader,O=wardgate test clients"
    assert found.expires_at > NOW + 29 * DAY
    assert found.pem.startswith("-----BEGIN PRIVATE KEY-----")
    assert "ours" not in found.pem
    assert "PRIVATE KEY" not in repr(found)
    assert check(found.pem, NOW) == found


def test_a_chain_in_any_order_is_put_in_one() -> None:
    root = make("Root", ca=True)
    middle = make("Middle", root, ca=True)
    key, leaf = make("reader", middle)
    found = check(pem_of(root[1], leaf, key, middle[1]), NOW)
    names = [each.subject.rfc4514_string() for each in x509.load_pem_x509_certificates(found.pem.encode())]
    assert names == ["CN=reader", "CN=Middle", "CN=Root"]


RSA = rsa.generate_private_key(65537, 2048)
P384 = ec.generate_private_key(ec.SECP384R1())


@pytest.mark.parametrize(
    ("key", "old"),
    [(RSA, False), (RSA, True), (P384, False), (P384, True), (ed25519.Ed25519PrivateKey.generate(), False)],
)
def test_kinds_of_keys(key: Any, old: bool) -> None:
    _, leaf = make(key=key)
    assert check(pem_of(leaf, key, old=old), NOW).subject == "CN=reader"


def test_subjects_as_mongod_writes_them() -> None:
    key, leaf = make('Zoë, "the" reader+1')
    assert check(pem_of(key, leaf), NOW).subject == r"CN=Zo\C3\AB\, \"the\" reader\+1"


def test_what_is_refused() -> None:
    root = make("Root", ca=True)
    key, leaf = make("reader", root)
    stranger = make("Stranger", ca=True)
    cases = [
        ("", "holds no certificate"),
        ("nonsense", "holds no certificate"),
        (KEY, "holds no certificate"),
        (CERTIFICATE, "holds no private key"),
        (PEM + KEY, "holds 2 private keys"),
        (PEM + CERTIFICATE, "holds its certificate twice"),
        (CERTIFICATE + pem_of(stranger[0]), "belongs to its private key"),
        (PEM + pem_of(stranger[1]), "has nothing to do with"),
        (pem_of(key, leaf, root[1], stranger[1]), "“CN=Stranger”"),
        (pem_of(*root), "authority's certificate"),
        (pem_of(key, leaf, password=b"geheim"), "encrypted"),
        (pem_of(key, leaf, password=b"geheim", old=True), "encrypted"),
        (pem_of(*make(purposes=[ExtendedKeyUsageOID.SERVER_AUTH])), "clientAuth"),
        (pem_of(*make(empty=True)), "no subject"),
        (pem_of(*make(key=rsa.generate_private_key(65537, 1024))), "at least 2048"),
        (KEY.replace("M", "N") + CERTIFICATE, "private key cannot be read"),
        (KEY + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "Certificate 1 cannot be read"),
        (pem_of(dsa.generate_private_key(1024)) + CERTIFICATE, "TLS clients don't use"),
    ]
    for pem, sentence in cases:
        assert sentence in refusal(pem), sentence


def test_certificates_that_are_not_valid_now() -> None:
    late = ROOT.issue_client("late", not_before=NOW - 2 * DAY, not_after=NOW - DAY).decode()
    assert "expired on" in refusal(late)
    early = ROOT.issue_client("early", not_before=NOW + DAY, not_after=NOW + 2 * DAY).decode()
    assert "is not valid before" in refusal(early)


def test_a_chain_that_is_too_long() -> None:
    link = make("0", ca=True)
    chain = [link[1]]
    for number in range(1, 9):
        link = make(str(number), link, ca=number < 8)
        chain.append(link[1])
    assert "at most 8" in refusal(pem_of(link[0], *chain))


def test_server_certificates_without_a_purpose_are_taken() -> None:
    assert check(pem_of(*make(purposes=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])), NOW).subject == "CN=reader"
    assert check(ROOT.issue().decode(), NOW).subject == "CN=localhost"

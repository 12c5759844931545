"""The client certificate field: one certificate that clients show, its private key, and what leads to its authority.

Checked when it is entered, because a mistake here would only show as an alert in somebody's TLS handshake. What is
kept is in one order, key, certificate, chain, and holds nothing else that was pasted along. Law: no sentence repeats a
byte of the key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ...api.problems import FieldError, ProblemCode, ProblemError

LONGEST_CHAIN = 8
RSA_BITS_MIN = 2048
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_ENCRYPTED = ("ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED")

E = TypeVar("E", bound=x509.ExtensionType)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What was understood. `subject` is as MongoDB names its X.509 users: RFC 4514, beyond ASCII in escapes."""

    pem: str = field(repr=False)
    subject: str
    expires_at: datetime


def check(pem: str, now: datetime) -> ClientCertificate:
    """ProblemError `invalid_request` with one sentence if `pem` can't log anybody in."""
    if any(mark in pem for mark in _ENCRYPTED):
        _refuse("Its private key is encrypted: decrypt it first (openssl pkey), it is sealed when it is stored.")
    blocks = [(match[1], match[0]) for match in _BLOCK.finditer(pem)]
    keys = [text for kind, text in blocks if kind.endswith("PRIVATE KEY")]
    certificates = [_certificate(text, n) for n, text in enumerate((t for k, t in blocks if k == "CERTIFICATE"), 1)]
    if not certificates:
        _refuse("It holds no certificate: it needs the certificate and its private key, both as PEM.")
    if len(keys) != 1:
        _refuse("It holds no private key." if not keys else f"It holds {len(keys)} private keys; one is needed.")
    key = _key(keys[0])
    leaf, *rest = _ordered(certificates, key)
    _check_leaf(leaf, now)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (leaf, *rest))
    return ClientCertificate((private + public).decode(), _subject(leaf), leaf.not_valid_after_utc)


def _certificate(pem: str, number: int) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        _ = certificate.extensions, certificate.subject, certificate.issuer
    except (ValueError, x509.DuplicateExtension):
        _refuse(f"Certificate {number} cannot be read.")
    return certificate


def _key(pem: str) -> Key:
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except Exception:  # ValueError, TypeError, UnsupportedAlgorithm: nothing of the key may come out with them
        _refuse("Its private key cannot be read.")
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        _refuse("Its private key is of a kind that TLS clients don't use: RSA, ECDSA or Ed25519 is needed.")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < RSA_BITS_MIN:
        _refuse(f"Its RSA key has {key.key_size} bits; at least {RSA_BITS_MIN} are accepted.")
    return key


def _ordered(certificates: list[x509.Certificate], key: Key) -> list[x509.Certificate]:
    """The key's own certificate first, then each by the one that signed it; a stray one is refused."""
    public = _spki(key.public_key())
    own = [each for each in certificates if _spki(each.public_key()) == public]
    if len(own) != 1:
        _refuse("No certificate in it belongs to its private key." if not own else "It holds its certificate twice.")
    chain, left = own, [each for each in certificates if each is not own[0]]
    while left:
        issuer = next((each for each in left if _signed(chain[-1], each)), None)
        if issuer is None:
            _refuse(f"The certificate of {_shown(left[0])} has nothing to do with that of {_shown(chain[0])}: drop it.")
        chain.append(issuer)
        left.remove(issuer)
    if len(chain) > LONGEST_CHAIN:
        _refuse(f"It holds {len(chain)} certificates; at most {LONGEST_CHAIN} are accepted.")
    return chain


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def _check_leaf(leaf: x509.Certificate, now: datetime) -> None:
    if leaf.not_valid_after_utc <= now:
        _refuse(f"It expired on {leaf.not_valid_after_utc:%Y-%m-%d}.")
    if leaf.not_valid_before_utc > now:
        _refuse(f"It is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}.")
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        _refuse("It is an authority's certificate: whoever has its key can be anybody. Enter one that it issued.")
    purposes = _extension(leaf, x509.ExtendedKeyUsage)
    if purposes is not None and not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(
        purposes
    ):
        _refuse("It is not made for clients: its extended key usage lacks clientAuth.")
    if not list(leaf.subject):
        _refuse("It has no subject, which is how MongoDB names its user.")


def _extension(leaf: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return leaf.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _spki(key: object) -> bytes:
    encode = key.public_bytes  # type: ignore[attr-defined]
    encoded: bytes = encode(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _subject(certificate: x509.Certificate) -> str:
    named = certificate.subject.rfc4514_string()
    return "".join(c if c.isascii() else "".join(f"\\{byte:02X}" for byte in c.encode()) for c in named)


def _shown(certificate: x509.Certificate) -> str:
    text = "".join(c if c.isprintable() else "?" for c in certificate.subject.rfc4514_string())[:100]
    return f"“{text or 'no subject'}”"


def _refuse(what: str) -> NoReturn:
    detail = f"The client certificate was refused. {what}"
    error = FieldError(field="client_certificate", message=detail)
    # From nothing: an exception of the parser could hold bytes of the key.
    raise ProblemError(ProblemCode.INVALID_REQUEST, detail, errors=[error]) from None

"""Building keys, signing requests and certificates of wardgate's own CA.

One root signs three intermediates (gateways, relays, sessions); each signs the leaves of its kind only. All keys are
P-256. From a signing request only the public key is taken: what a certificate says is decided here, by the profile and
its arguments. notBefore is back-dated, so that a clock that is a little slow refuses nobody.

This file stores nothing and decides nothing about who may get a certificate. Law: a leaf bears exactly one URI, and
every profile states usage, extended usage and both key identifiers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import WardgateError
from ..tunnel import names
from ..tunnel.names import GatewayIdentity, Identity, RelayIdentity, SessionIdentity

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey

BACKDATE = timedelta(seconds=300)
ROOT_YEARS = 20
INTERMEDIATE_YEARS = 10
_YEAR = timedelta(days=365)
_SERVER = ExtendedKeyUsageOID.SERVER_AUTH
_CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
# Ours (X.667): a key that seals audit heads speaks no TLS.
_AUDIT = x509.ObjectIdentifier("2.25.166316388639431436593472886885752520209")
_AUDIT_URI = "wardgate:audit"


class Intermediate(StrEnum):
    """The intermediates of the CA, by the kind of leaf they sign."""

    GATEWAYS = "gateways"
    RELAYS = "relays"
    SESSIONS = "sessions"


class CsrError(WardgateError):
    """A signing request that is not one, or is not for a P-256 key."""

    def __init__(self) -> None:
        super().__init__(
            "invalid_csr", "The certificate signing request is not valid: it must be signed by a P-256 key."
        )


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that signs, with its key."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)


def make_key() -> PrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: PrivateKey) -> bytes:
    """PKCS #8, not encrypted: for 0600 files, the vault and private memory only."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_from_pem(pem: bytes) -> PrivateKey:
    """The P-256 key in `pem`; ValueError if it holds anything else."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("not a P-256 private key")
    return key


def make_csr(key: PrivateKey) -> bytes:
    """A signing request (DER) for `key`. Its subject says nothing, because nobody reads it."""
    subject = _name("wardgate")
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.DER)


def csr_to_pem(csr: bytes) -> str:
    """A signing request (DER) as PEM, which is how people's clients send theirs."""
    return x509.load_der_x509_csr(csr).public_bytes(serialization.Encoding.PEM).decode()


def csr_public_key(csr: bytes) -> PublicKey:
    """The public key of a signing request (DER or PEM), whose own signature is checked; CsrError otherwise."""
    try:
        is_pem = csr.lstrip().startswith(b"-----")
        request = x509.load_pem_x509_csr(csr) if is_pem else x509.load_der_x509_csr(csr)
        key = request.public_key()
        valid = request.is_signature_valid
    except Exception as error:  # the parser and its back end raise many kinds; each means the same here
        raise CsrError from error
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CsrError
    return key


def public_key_der(key: PublicKey) -> bytes:
    """A public key's SubjectPublicKeyInfo, DER."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def to_der(certificate: x509.Certificate) -> bytes:
    """A certificate's DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def to_pem(*certificates: x509.Certificate | bytes) -> bytes:
    """Certificates (or their DER) as PEM, in the order given: a chain begins with its leaf."""
    loaded = (x509.load_der_x509_certificate(one) if isinstance(one, bytes) else one for one in certificates)
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in loaded)


def make_root(key: PrivateKey, now: datetime) -> x509.Certificate:
    """The root, which signs intermediates only."""
    name = _name("wardgate root CA")
    builder = _builder(name, name, key.public_key(), now, now + _YEAR * ROOT_YEARS)
    return _ca(builder, path_length=1).sign(key, hashes.SHA256())


def make_intermediate(root: Authority, kind: Intermediate, public_key: PublicKey, now: datetime) -> x509.Certificate:
    """An intermediate, which signs leaves of one kind only."""
    subject = _name(f"wardgate {kind.value} CA")
    usage = [_CLIENT] if kind is Intermediate.SESSIONS else [_SERVER, _CLIENT]
    builder = _builder(subject, root.certificate.subject, public_key, now, now + _YEAR * INTERMEDIATE_YEARS)
    builder = _ca(builder, path_length=0).add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    return builder.add_extension(_issuer_key(root), critical=False).sign(root.key, hashes.SHA256())


def issue_session(
    issuer: Authority, public_key: PublicKey, identity: SessionIdentity, now: datetime, not_after: datetime
) -> x509.Certificate:
    """A session's client certificate. It ends with the session; the caller adds the grace."""
    return _leaf(issuer, public_key, identity, None, now, not_after)


def issue_gateway(
    issuer: Authority, public_key: PublicKey, gateway_id: str, now: datetime, not_after: datetime
) -> x509.Certificate:
    """A gateway's certificate: server towards local proxies, client towards relays."""
    dns = names.gateway_dns_name(gateway_id)
    return _leaf(issuer, public_key, GatewayIdentity(gateway_id), dns, now, not_after)


def issue_relay(
    issuer: Authority, public_key: PublicKey, relay_id: str, now: datetime, not_after: datetime
) -> x509.Certificate:
    """A relay's certificate: server towards gateways."""
    return _leaf(issuer, public_key, RelayIdentity(relay_id), names.RELAY_NAME, now, not_after)


def issue_audit(root: Authority, public_key: PublicKey, now: datetime) -> x509.Certificate:
    """The root's word for a key that seals audit heads; as long-lived as an intermediate, since it signs no other."""
    issuer = root.certificate.subject
    builder = _builder(_name("wardgate audit"), issuer, public_key, now, now + _YEAR * INTERMEDIATE_YEARS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(ca=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([_AUDIT]), critical=True)
    uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_AUDIT_URI)])
    builder = builder.add_extension(uri, critical=False)
    return builder.add_extension(_issuer_key(root), critical=False).sign(root.key, hashes.SHA256())


def _leaf(
    issuer: Authority,
    public_key: PublicKey,
    identity: Identity,
    dns: str | None,
    now: datetime,
    not_after: datetime,
) -> x509.Certificate:
    subject = _name("wardgate")
    general: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    usage = [_CLIENT]
    if dns is not None:
        general.append(x509.DNSName(dns))
        usage.append(_SERVER)
    builder = _builder(subject, issuer.certificate.subject, public_key, now, not_after)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(ca=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    return builder.add_extension(_issuer_key(issuer), critical=False).sign(issuer.key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: PublicKey, now: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before((now - BACKDATE).astimezone(UTC)).not_valid_after(not_after.astimezone(UTC))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)


def _ca(builder: x509.CertificateBuilder, path_length: int) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    return builder.add_extension(_usage(ca=True), critical=True)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_key(issuer: Authority) -> x509.AuthorityKeyIdentifier:
    extension = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(extension.value)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

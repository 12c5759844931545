"""Seals: the control plane's signed word on the heads of a session's chains, and who may have signed it.

A seal is genuine where a key that the reader trusts signed it: a key itself (in a certificate or alone), or one that
the trusted root certified for exactly this purpose.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .breaks import Break, ChainBroken, Link

PURPOSE: Final = b"wardgate seal v1\n"
AUDIT_URI: Final = "wardgate:audit"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNATURE: Final = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, slots=True)
class StoredSeal:
    """A seal; `genuine` says whether the signature is a trusted key's."""

    statement: bytes
    genuine: bool


@dataclass(frozen=True, slots=True)
class SealFacts:
    """What a genuine seal says."""

    session_id: str
    heads: tuple[Link, ...]
    final: bool
    sealed_at: datetime


def read_seal(seal: StoredSeal, session_id: str) -> SealFacts:
    """What it says; ChainBroken `bad_seal` if it is not genuine or not about this session."""
    try:
        facts = _parse(seal.statement)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ChainBroken(Break.BAD_SEAL, 0, 0, "a seal can't be read") from error
    epoch, seq = (facts.heads[-1].epoch, facts.heads[-1].seq) if facts.heads else (0, 0)
    if not seal.genuine:
        raise ChainBroken(Break.BAD_SEAL, epoch, seq, "a seal is not genuine: its signature is not the control plane's")
    if facts.session_id != session_id:
        raise ChainBroken(Break.BAD_SEAL, epoch, seq, "a seal is another session's")
    return facts


def _parse(statement: bytes) -> SealFacts:
    if not statement.startswith(PURPOSE):
        raise ValueError("not a seal")
    body = json.loads(statement[len(PURPOSE) :])
    heads = [Link(int(head["epoch"]), int(head["seq"]), bytes.fromhex(head["hash"])) for head in body["heads"]]
    at = _EPOCH + timedelta(microseconds=int(body["sealed_at_us"]))
    return SealFacts(str(body["session"]), tuple(sorted(heads)), body["final"] is True, at)


class TrustedKeys:
    """The keys that a reader was given: PEM blocks of certificates and public keys, in any number."""

    def __init__(self, pem: bytes) -> None:
        """ValueError if `pem` holds nothing that could have signed a seal."""
        self._keys: list[ec.EllipticCurvePublicKey] = []
        self._roots: list[x509.Certificate] = []
        for block in _blocks(pem):
            self._add(block)
        if not self._keys and not self._roots:
            raise ValueError("it holds no key or certificate")

    def _add(self, block: bytes) -> None:
        if b"BEGIN CERTIFICATE" not in block:
            self._keys.append(_p256(serialization.load_pem_public_key(block)))
            return
        certificate = x509.load_pem_x509_certificate(block)
        if _is_root(certificate):
            self._roots.append(certificate)
        elif _is_for_audit(certificate):
            self._keys.append(_p256(certificate.public_key()))
        else:
            raise ValueError("a certificate in it is neither wardgate's root nor one of its audit keys")

    def genuine(self, statement: bytes, signature: bytes, certificate: bytes | None) -> bool:
        """Whether a trusted key signed `statement`. `certificate` (PEM) comes with the seal and is not trusted."""
        keys = [*self._keys, *self._vouched(certificate)]
        return any(_signed(key, statement, signature) for key in keys)

    def _vouched(self, pem: bytes | None) -> Iterable[ec.EllipticCurvePublicKey]:
        if pem is None:
            return
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            key = certificate.public_key()
        except ValueError:
            return
        if not isinstance(key, ec.EllipticCurvePublicKey) or not _is_for_audit(certificate):
            return
        for root in self._roots:
            try:
                certificate.verify_directly_issued_by(root)
            except (ValueError, TypeError, InvalidSignature):
                continue
            yield key


def _blocks(pem: bytes) -> Sequence[bytes]:
    end = b"-----END "
    parts = pem.split(b"-----BEGIN ")[1:]
    return [b"-----BEGIN " + part for part in parts if end in part]


def _p256(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("a key in it is not of the kind that signs seals")
    return key


def _is_root(certificate: x509.Certificate) -> bool:
    return _is_authority(certificate) and certificate.issuer == certificate.subject


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _is_for_audit(certificate: x509.Certificate) -> bool:
    """Certified to seal audit heads, and nothing else: a gateway's key must never vouch for a record."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return not _is_authority(certificate) and uris == [AUDIT_URI]


def _signed(key: ec.EllipticCurvePublicKey, statement: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, statement, _SIGNATURE)
    except InvalidSignature:
        return False
    return True

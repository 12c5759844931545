"""The keys of the audit trail: one pair that epochs are sealed to (HPKE), one that signs the heads of chains.

The signing key has a certificate of the root, so that an exported bundle can be checked by whoever knows the root's
fingerprint and nothing else. Law: an old key is retired, never deleted: what was recorded under it must stay readable
and verifiable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ... import sealing
from ...errors import WardgateError
from ...net import certs
from ...net.certs import Authority
from ...secret import Secret
from ..sources import Sources
from .model import AuditKeyRow
from .vault import Vault

_TABLE = AuditKeyRow.__tablename__
_SIGNATURE = ec.ECDSA(hashes.SHA256())


class Purpose(StrEnum):
    """What a key of the trail is for."""

    EPOCHS = "epochs"
    HEADS = "heads"


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """The keys in memory. `audit_key_id` and `audit_public_key` (X25519, raw) go into leases."""

    audit_key_id: str
    audit_public_key: bytes
    head_key_id: str
    _epoch_keys: Mapping[str, Secret]
    _head_key: ec.EllipticCurvePrivateKey
    _head_certificates: Mapping[str, bytes]

    def audit_private(self, key_id: str) -> Secret:
        """The private half of an epoch-sealing key, raw; WardgateError `unknown_audit_key`."""
        key = self._epoch_keys.get(key_id)
        if key is None:
            raise WardgateError("unknown_audit_key", f"The records name an audit key {key_id[:64]} that is not ours.")
        return key

    def sign_head(self, head: bytes) -> tuple[str, bytes]:
        """(id of the key, its signature over `head`: ECDSA P-256 with SHA-256, DER)."""
        return self.head_key_id, self._head_key.sign(head, _SIGNATURE)

    def head_certificate(self, key_id: str) -> bytes:
        """The root's certificate for a head-signing key, DER; WardgateError `unknown_audit_key`."""
        found = self._head_certificates.get(key_id)
        if found is None:
            raise WardgateError("unknown_audit_key", f"The seal names a signing key {key_id[:64]} that is not ours.")
        return found

    def head_certificates(self) -> Mapping[str, bytes]:
        """The certificates of every key that signs or has signed heads, DER, by the key's id; oldest first."""
        return dict(self._head_certificates)

    def verify_head(self, key_id: str, signature: bytes, head: bytes) -> bool:
        """Whether `signature` is ours over `head`."""
        certificate = self._head_certificates.get(key_id)
        if certificate is None:
            return False
        public_key = x509.load_der_x509_certificate(certificate).public_key()
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        try:
            public_key.verify(signature, head, _SIGNATURE)
        except InvalidSignature:
            return False
        return True


async def create_keys(session: AsyncSession, vault: Vault, sources: Sources, root: Authority) -> None:
    """Make both pairs for a new installation."""
    private, public = sealing.generate()
    await _keep(session, vault, sources, Purpose.EPOCHS, private, public, None)
    key = certs.make_key()
    certificate = certs.to_der(certs.issue_audit(root, key.public_key(), sources.now()))
    public_der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    await _keep(session, vault, sources, Purpose.HEADS, certs.key_to_pem(key), public_der, certificate)


async def load_keys(session: AsyncSession, vault: Vault) -> AuditKeys:
    """Every key of the trail, the retired ones for reading."""
    rows = list(await session.scalars(select(AuditKeyRow).order_by(AuditKeyRow.created_at)))
    current = {row.purpose: row for row in rows if row.retired_at is None}
    if current.keys() != {purpose.value for purpose in Purpose}:
        raise WardgateError("no_audit_keys", "The database holds no audit keys: run wardgate server init.")
    epochs = {}
    for row in rows:
        if row.purpose == Purpose.EPOCHS:
            epochs[row.id] = await vault.open(session, None, _TABLE, row.id, "sealed_key", row.sealed_key)
    head = current[Purpose.HEADS.value]
    head_pem = await vault.open(session, None, _TABLE, head.id, "sealed_key", head.sealed_key)
    return AuditKeys(
        audit_key_id=current[Purpose.EPOCHS.value].id,
        audit_public_key=current[Purpose.EPOCHS.value].public_key,
        head_key_id=head.id,
        _epoch_keys=epochs,
        _head_key=certs.key_from_pem(head_pem.reveal()),
        _head_certificates={row.id: row.certificate for row in rows if row.certificate is not None},
    )


async def _keep(
    session: AsyncSession,
    vault: Vault,
    sources: Sources,
    purpose: Purpose,
    private: bytes,
    public: bytes,
    certificate: bytes | None,
) -> None:
    key_id = sources.randomness(16).hex()
    session.add(
        AuditKeyRow(
            id=key_id,
            purpose=purpose.value,
            public_key=public,
            certificate=certificate,
            sealed_key=await vault.seal(session, None, _TABLE, key_id, "sealed_key", private),
            created_at=sources.now(),
        )
    )
    await session.flush()

"""The certificate authority: one root, and an intermediate each for gateways, relays and sessions.

The root signs the intermediates (and the key that seals audit heads) when an installation is made and is not loaded
afterwards; the intermediates' keys are in memory while the control plane runs. Law: what a certificate says is decided
by who asks for it here; from a signing request only the public key is taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ...errors import WardgateError
from ...net import certs
from ...net.certs import Authority, Intermediate, PublicKey
from ...numbers import Numbers
from ...tunnel.names import SessionIdentity
from ..sources import Sources
from .model import AuthorityRow
from .vault import Vault

ROOT = "root"
_TABLE = AuthorityRow.__tablename__


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """Issues leaves. Everything that is handed out is DER."""

    root_der: bytes
    intermediates: Mapping[str, bytes]
    _signers: Mapping[Intermediate, Authority]
    _sources: Sources
    _numbers: Numbers

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the root: what enrolment tokens carry."""
        return hashlib.sha256(self.root_der).digest()

    def issue_session(self, public_key: PublicKey, session_id: str, gateway_id: str, expires_at: datetime) -> bytes:
        """The client certificate of one session, good until a grace after `expires_at`."""
        not_after = expires_at + timedelta(seconds=self._numbers.certificate_grace)
        identity = SessionIdentity(session_id, gateway_id)
        issuer = self._signers[Intermediate.SESSIONS]
        return certs.to_der(certs.issue_session(issuer, public_key, identity, self._sources.now(), not_after))

    def issue_gateway(self, public_key: PublicKey, gateway_id: str) -> bytes:
        """A gateway's certificate."""
        issuer = self._signers[Intermediate.GATEWAYS]
        return certs.to_der(certs.issue_gateway(issuer, public_key, gateway_id, *self._lifetime()))

    def issue_relay(self, public_key: PublicKey, relay_id: str) -> bytes:
        """A relay's certificate."""
        issuer = self._signers[Intermediate.RELAYS]
        return certs.to_der(certs.issue_relay(issuer, public_key, relay_id, *self._lifetime()))

    def _lifetime(self) -> tuple[datetime, datetime]:
        now = self._sources.now()
        return now, now + timedelta(seconds=self._numbers.gateway_certificate)


async def create_authorities(session: AsyncSession, vault: Vault, sources: Sources) -> Authority:
    """Make the root and the intermediates; answers the root, for what else it signs while it is in memory."""
    now = sources.now()
    key = certs.make_key()
    root = Authority(certs.make_root(key, now), key)
    await _keep(session, vault, sources, ROOT, root)
    for kind in Intermediate:
        key = certs.make_key()
        certificate = certs.make_intermediate(root, kind, key.public_key(), now)
        await _keep(session, vault, sources, kind.value, Authority(certificate, key))
    return root


async def load_authorities(
    session: AsyncSession, vault: Vault, sources: Sources, numbers: Numbers
) -> CertificateAuthority:
    """The CA of this installation, without the root's key."""
    rows = {row.name: row for row in await session.scalars(select(AuthorityRow))}
    if rows.keys() != {ROOT, *(kind.value for kind in Intermediate)}:
        raise WardgateError("no_authorities", "The database holds no certificate authority: run wardgate server init.")
    signers = {}
    for kind in Intermediate:
        row = rows[kind.value]
        pem = await vault.open(session, None, _TABLE, row.name, "sealed_key", row.sealed_key)
        signers[kind] = Authority(x509.load_der_x509_certificate(row.certificate), certs.key_from_pem(pem.reveal()))
    intermediates = {kind.value: rows[kind.value].certificate for kind in Intermediate}
    return CertificateAuthority(rows[ROOT].certificate, intermediates, signers, sources, numbers)


async def _keep(session: AsyncSession, vault: Vault, sources: Sources, name: str, authority: Authority) -> None:
    pem = certs.key_to_pem(authority.key)
    session.add(
        AuthorityRow(
            name=name,
            certificate=certs.to_der(authority.certificate),
            sealed_key=await vault.seal(session, None, _TABLE, name, "sealed_key", pem),
            created_at=sources.now(),
        )
    )
    await session.flush()

"""Joining: tokens are issued, proved and used up here, and certificates renewed.

Law: a token works once and for an hour; its secret is never sent, it is proved; whoever fails learns nothing but that
the token was refused. A certificate is only ever for the key whose signing request was proved, and a machine keeps its
key: relays know a revoked instance by its key, so one that could change it would have certificates that nobody knows.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy.ext.asyncio import AsyncSession

from ...api import enrolment
from ...api.machine import EnrolAnswer, EnrolRequest, RenewAnswer
from ...api.problems import ProblemCode, ProblemError
from ...errors import WardgateError
from ...ids import Kind
from ...net import certs
from ...numbers import Numbers
from ...secret import Secret
from ..audit_log import AuditLog, Cause, Event
from ..db import Database
from ..sources import Sources
from ..vault import CertificateAuthority, Vault
from . import store
from .guard import Caller
from .model import EnrolmentTokenRow, GatewayRow, InstanceRow, RelayRow

_TABLE = EnrolmentTokenRow.__tablename__
_SECRET_BYTES = 32


class Enrolment:
    """Issues and takes enrolment tokens."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        numbers: Numbers,
        vault: Vault,
        ca: CertificateAuthority,
        public_url: str,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._numbers = numbers
        self._vault = vault
        self._ca = ca
        self._public_url = public_url

    async def issue(self, session: AsyncSession, machine_id: str) -> tuple[str, EnrolmentTokenRow]:
        """A token for a machine, in the caller's `write()` block: its text, to be shown once, and its row."""
        secret = self._sources.randomness(_SECRET_BYTES)
        token_id = self._sources.new_id(Kind.TOKEN)
        row = EnrolmentTokenRow(
            id=token_id,
            machine_id=machine_id,
            sealed_secret=await self._vault.seal(session, None, _TABLE, token_id, "sealed_secret", secret),
            expires_at=self._sources.now() + timedelta(seconds=self._numbers.enrolment_token),
        )
        session.add(row)
        await session.flush()
        token = enrolment.EnrolmentToken(self._public_url, self._ca.fingerprint.hex(), token_id, Secret(secret))
        return token.encode(), row

    async def enrol(self, request: EnrolRequest, cause: Cause) -> EnrolAnswer:
        """Make the bearer of a token a member of the fleet; ProblemError `enrolment_refused`."""
        try:
            key = certs.csr_public_key(request.csr)
        except WardgateError as error:
            raise _refused() from error
        async with self._database.read() as session:  # nobody holds the one writer without a proof
            token, secret = await self._proved(session, request)
        async with self._database.write() as session:
            if not await store.use_token(session, token.id, self._sources.now()):
                raise _refused()
            joined = await self._joining(session, token, request)
            is_gateway = isinstance(joined, GatewayRow)
            issue = self._ca.issue_gateway if is_gateway else self._ca.issue_relay
            row = self._new_instance(session, joined) if isinstance(joined, GatewayRow) else joined
            row.public_key = _spki(key)
            row.enrolled_at = self._sources.now()
            row.version = request.version or None
            row.certificate_expires_at = self._certificate_end()
            await session.flush()
            answer = EnrolAnswer(
                id=joined.id,
                name=joined.name,
                instance_id=row.id if is_gateway else None,
                project_id=joined.project_id if isinstance(joined, GatewayRow) else None,
                certificate=issue(key, joined.id),
                intermediate=self._ca.intermediates["gateways" if is_gateway else "relays"],
                root=self._ca.root_der,
                trust=dict(self._ca.intermediates),
                proof=b"",
            )
            event = Event.GATEWAY_ENROLLED if is_gateway else Event.RELAY_ENROLLED
            details = {"name": joined.name, "instance": row.id} if is_gateway else {"name": joined.name}
            await self._audit_log.append(
                session, cause, event, joined.id, project_id=answer.project_id, details=details
            )
        return answer.model_copy(update={"proof": enrolment.answer_proof(secret, answer)})

    def _new_instance(self, session: AsyncSession, gateway: GatewayRow) -> InstanceRow:
        row = InstanceRow(
            id=self._sources.new_id(Kind.INSTANCE), gateway_id=gateway.id, created_at=self._sources.now(), host=""
        )
        session.add(row)
        return row

    async def _proved(self, session: AsyncSession, request: EnrolRequest) -> tuple[EnrolmentTokenRow, Secret]:
        token = await session.get(EnrolmentTokenRow, request.token_id)
        if token is None:
            raise _refused()
        secret = await self._vault.open(session, None, _TABLE, token.id, "sealed_secret", token.sealed_secret)
        if not enrolment.csr_proof_holds(secret, request.csr, request.proof):
            raise _refused()
        return token, secret

    async def _joining(
        self, session: AsyncSession, token: EnrolmentTokenRow, request: EnrolRequest
    ) -> GatewayRow | RelayRow:
        """The machine that the token is for, if that is what the newcomer wants to be."""
        row = await store.joins(session, token.machine_id)
        wanted = GatewayRow if request.kind == "gateway" else RelayRow
        if not isinstance(row, wanted) or row.revoked_at is not None:
            raise _refused()
        if request.name is not None and request.name != row.name:
            raise ProblemError(
                ProblemCode.ENROLMENT_REFUSED, f"This token is for the {request.kind} {row.name}, not {request.name}."
            )
        return row

    async def renew(self, caller: Caller, csr: bytes) -> RenewAnswer:
        """A new certificate for an enrolled machine, for the key it has."""
        try:
            key = certs.csr_public_key(csr)
        except WardgateError as error:
            raise ProblemError(ProblemCode.INVALID_REQUEST, error.message) from error
        async with self._database.write() as session:
            row = await store.machine(session, caller.instance_id)
            assert row is not None
            if row.public_key != _spki(key):
                raise ProblemError(
                    ProblemCode.INVALID_REQUEST, "A certificate is renewed for the same key; another key enrols anew."
                )
            is_gateway = isinstance(row, InstanceRow)
            issue = self._ca.issue_gateway if is_gateway else self._ca.issue_relay
            row.certificate_expires_at = self._certificate_end()
            event = Event.GATEWAY_RENEWED if is_gateway else Event.RELAY_RENEWED
            details = {"name": caller.name, "instance": caller.instance_id} if is_gateway else {"name": caller.name}
            await self._audit_log.append(
                session, caller.cause, event, caller.id, project_id=caller.project_id, details=details
            )
        return RenewAnswer(
            certificate=issue(key, caller.id),
            intermediate=self._ca.intermediates["gateways" if is_gateway else "relays"],
        )

    def _certificate_end(self) -> datetime:
        return self._sources.now() + timedelta(seconds=self._numbers.gateway_certificate)


def _spki(key: certs.PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _refused() -> ProblemError:
    return ProblemError(
        ProblemCode.ENROLMENT_REFUSED,
        "The enrolment token is not valid any more, or never was: it works once and for an hour. Make a new one.",
    )

"""What gateways ask and say: leases, states, heartbeats.

Law: credentials of a session leave the vault here, sealed to the key in a signed request, for a live session that is
assigned to the very gateway that asks. Every lease is a new epoch and fences the one before, which may be another
instance's: only the newest epoch's word counts, and only from the instance that it was leased to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ... import sealing
from ...api.machine import (
    HeartbeatAnswer,
    Lease,
    LeaseRequest,
    LeaseSecrets,
    LiveSession,
    MaskRule,
    Policy,
    SessionOrder,
    SessionRenewal,
    SessionState,
)
from ...api.models import EndReason, SessionStatus
from ...api.problems import ProblemCode, ProblemError
from ...command.masking import Rule, digest_of
from ...numbers import Numbers
from ..audit_log import Cause
from ..audit_log.log import SYSTEM
from ..db import Database
from ..fleet.sealed import seal_answer
from ..identity.permissions import Permission
from ..resources.facts import AccountFacts
from ..sources import Sources
from ..vault import AuditKeys
from . import store
from .lifecycle import Lifecycle, order_for
from .model import EpochRow, SessionRow
from .passwords import SessionPasswords
from .ports import Approvals, Catalogue, DurabilityOf, Heads, MaskingOf, People
from .states import LIVE

_CANT_MASK = "The project has masking rules, and the gateway's version can't mask: upgrade the gateway."
_RENEW_EVERY = timedelta(seconds=60)  # a lease's deadline is written at most this often


class GatewayAccess:
    """Access for gateways. `heads` answers with the last frame of a session that is durable here."""

    def __init__(
        self,
        database: Database,
        sources: Sources,
        numbers: Numbers,
        keys: AuditKeys,
        catalogue: Catalogue,
        people: People,
        lifecycle: Lifecycle,
        heads: Heads,
        passwords: SessionPasswords,
        approvals: Approvals,
        durability: DurabilityOf,
        masking: MaskingOf,
    ) -> None:
        self._database = database
        self._sources = sources
        self._numbers = numbers
        self._keys = keys
        self._catalogue = catalogue
        self._people = people
        self._lifecycle = lifecycle
        self._heads = heads
        self._passwords = passwords
        self._approvals = approvals
        self._durability = durability
        self._masking = masking

    # --- leases ---------------------------------------------------------------------------------------------------

    async def lease(self, gateway_id: str, instance_id: str, request: LeaseRequest) -> Lease:
        """A new epoch of a session; ProblemError `lease_refused` with one sentence why not."""
        async with self._database.write() as session:
            row = await self._leasable(session, gateway_id, request.session_id)
            account = await self._still_allowed(session, row)
            target, credentials = await self._catalogue.open_account(session, row.account_id)
            password = await self._passwords.open(session, row)
            secrets = LeaseSecrets(
                credentials=credentials, local_password=None if password is None else password.reveal_text()
            )
            sealed = seal_answer(
                request.public_key, sealing.lease_info(row.id, gateway_id), secrets.model_dump_json().encode()
            )
            now = self._sources.now()
            older = row.instance_id, _fence(row.id, row.epoch) if row.epoch else None
            row.epoch += 1
            row.instance_id = instance_id
            row.linked = True
            row.renew_by = now + timedelta(seconds=self._numbers.lease_renew)
            session.add(
                EpochRow(
                    session_id=row.id,
                    epoch=row.epoch,
                    gateway_id=gateway_id,
                    instance_id=instance_id,
                    leased_at=now,
                )
            )
            await session.flush()
            head = await self._heads(session, row.id)
            durability = await self._durability(session, row.project_id)
            masking = await self._masking(session, row.project_id)
            if masking and not request.masks:
                raise _refused(_CANT_MASK)
        if older[1] is not None:
            self._lifecycle.fence(row, older[0], older[1])
        return Lease(
            session_id=row.id,
            project_id=row.project_id,
            epoch=row.epoch,
            user=row.user,
            user_id=row.user_id,
            resource=row.resource,
            account=row.account,
            expires_in_s=(row.expires_at - now).total_seconds(),
            renew_by_s=self._numbers.lease_renew,
            active=row.status is SessionStatus.ACTIVE,
            target=target,
            policy=Policy(
                allow_admin=account.allow_admin,
                idle_timeout_s=None if account.idle_timeout is None else account.idle_timeout.total_seconds(),
            ),
            local_auth=row.local_auth,
            audit_key_id=self._keys.audit_key_id,
            audit_public_key=self._keys.audit_public_key,
            durability=durability,
            masking=masking,
            previous_head=head,
            sealed=sealed,
        )

    async def _leasable(self, session: AsyncSession, gateway_id: str, session_id: str) -> SessionRow:
        row = await store.by_id(session, session_id)
        if row is None or row.gateway_id != gateway_id:
            raise _refused("There is no such session for this gateway.")
        if row.status not in LIVE or row.wanted_end is not None:
            raise _refused("The session has ended.")
        if row.expires_at <= self._sources.now():
            raise _refused("The session has expired.")
        return row

    async def _still_allowed(self, session: AsyncSession, row: SessionRow) -> AccountFacts:
        """Rights are looked at again, because credentials are about to leave: much may have changed since the grant."""
        account = await self._catalogue.account_facts_by_id(session, row.account_id)
        if account is None or account.gateway_id != row.gateway_id:
            raise _refused("The account of the session is no longer what it was when the session was granted.")
        if account.needs_password:
            raise _refused("The account has changed since the session was granted: open a new one.")
        if not await self.has_right(session, row, account):
            raise _refused("The right to this account was withdrawn.")
        return account

    async def has_right(self, session: AsyncSession, row: SessionRow, account: AccountFacts) -> bool:
        """Whether whose session it is may still connect to its account, with no more proof than the session had."""
        if account.require_mfa and not row.mfa:
            return False
        if account.require_approval and row.grant_id is None:
            return False
        if row.grant_id is not None and not await self._approvals.still_granted(session, row.grant_id):
            return False
        bindings = await self._people.bindings_of(session, row.user_id, sign_in_id=row.sign_in_id, address=row.address)
        permission = Permission.ACCOUNT_OWN_SESSION_CREATE
        return any(binding.permits(permission) and binding.scope.covers(account.scope) for binding in bindings)

    # --- states ---------------------------------------------------------------------------------------------------

    async def report(
        self, gateway_id: str, instance_id: str, session_id: str, state: SessionState, cause: Cause
    ) -> None:
        """The gateway's word on a session; ProblemError `session_ended` where it counts no longer."""
        async with self._database.write() as session:
            row = await store.by_id(session, session_id)
            if row is None or row.gateway_id != gateway_id:
                raise ProblemError(ProblemCode.NOT_FOUND, "There is no such session for this gateway.")
            if state.status == "ended" and row.status is SessionStatus.ENDED:
                return
            if state.epoch != row.epoch or not _holds(instance_id, row) or row.status not in LIVE:
                raise ProblemError(
                    ProblemCode.SESSION_ENDED, "Another epoch of the session counts now, or it has ended."
                )
            if state.status == "active":
                if row.wanted_end is not None:
                    raise ProblemError(ProblemCode.SESSION_ENDED, row.wanted_message or "The session is to end.")
                await self._lifecycle.activate(session, row, cause)
            else:
                reason = state.end_reason or EndReason.GATEWAY_LOST
                await self._lifecycle.end(session, row, _end_reason(row, reason), state.message, cause)

    async def revoked(self, gateway_id: str, name: str) -> None:
        """The gateway was cut off: its sessions are over, whatever it says from now on."""
        async with self._database.write() as session:
            rows = await store.live(session, gateway_id)
            for row in rows:
                message = f"The gateway {name} was revoked."
                await self._lifecycle.end(session, row, EndReason.GATEWAY_LOST, message, SYSTEM)
        for row in rows:
            self._lifecycle.push(row)

    # --- heartbeats -----------------------------------------------------------------------------------------------

    async def heartbeat(self, gateway_id: str, instance_id: str, listed: Sequence[LiveSession]) -> HeartbeatAnswer:
        """Which of the listed sessions must die and which live on; the lists of relays are the fleet's to add."""
        now = self._sources.now()
        epochs = {each.session_id: each.epoch for each in listed}
        async with self._database.read() as session:
            live = await store.live(session, gateway_id)
            rows = {row.id: row for row in live if row.id in epochs or _holds(instance_id, row)}
            for session_id in epochs.keys() - rows.keys():
                row = await store.by_id(session, session_id)
                if row is not None and row.gateway_id == gateway_id:
                    rows[session_id] = row
            projects = {row.project_id for row in rows.values() if row.status in LIVE}
            masking = {project_id: await self._masking(session, project_id) for project_id in projects}
        orders, renewed = self._judge(instance_id, epochs, rows, now)
        orders += self._bring_masking({each.session_id: each.masking for each in listed}, rows, masking, renewed)
        own = {session_id: row for session_id, row in rows.items() if _holds(instance_id, row)}
        await self._write_changes(epochs, own, [each.session_id for each in renewed], now)
        return HeartbeatAnswer(end=orders, renewed=renewed)

    def _judge(
        self, instance_id: str, epochs: dict[str, int], rows: dict[str, SessionRow], now: datetime
    ) -> tuple[list[SessionOrder], list[SessionRenewal]]:
        orders, renewed = [], []
        for session_id, epoch in epochs.items():
            row = rows.get(session_id)
            order = _unknown(session_id) if row is None else order_for(row)
            if row is not None and row.status in LIVE and (epoch != row.epoch or not _holds(instance_id, row)):
                order = _fence(session_id, epoch)
            if order is not None:
                orders.append(order)
            elif row is not None:
                left = max(0.0, (row.expires_at - now).total_seconds())
                renewed.append(
                    SessionRenewal(session_id=session_id, renew_by_s=self._numbers.lease_renew, expires_in_s=left)
                )
        return orders, renewed

    @staticmethod
    def _bring_masking(
        held: Mapping[str, str | None],
        rows: Mapping[str, SessionRow],
        masking: Mapping[str, list[MaskRule]],
        renewed: list[SessionRenewal],
    ) -> list[SessionOrder]:
        """Give each renewed session the rules that it does not have; what can't mask has to end."""
        orders = []
        for renewal in tuple(renewed):
            digest, rules = held[renewal.session_id], masking[rows[renewal.session_id].project_id]
            if digest is None and rules:
                renewed.remove(renewal)
                orders.append(_unmasked(renewal.session_id))
            elif digest is not None and digest != digest_of(Rule(rule.kind, rule.expression) for rule in rules):
                renewal.masking = rules
        return orders

    async def _write_changes(
        self, epochs: dict[str, int], rows: dict[str, SessionRow], renewed: list[str], now: datetime
    ) -> None:
        """Deadlines that are due to be pushed, and links that came or went; most heartbeats write nothing."""
        renew_by = now + timedelta(seconds=self._numbers.lease_renew)
        due = [each for each in renewed if (rows[each].renew_by or now) <= renew_by - _RENEW_EVERY]
        turned = [
            row.id
            for row in rows.values()
            if row.status is SessionStatus.ACTIVE and row.linked != (epochs.get(row.id) == row.epoch)
        ]
        # To be ended, and the gateway does not serve it (any more): a restart lost the order, or its report is to come.
        gone = [row.id for row in rows.values() if row.wanted_end is not None and row.id not in epochs]
        if not due and not turned and not gone:
            return
        async with self._database.write() as session:
            await store.renew(session, due, renew_by)
            for session_id in turned:
                row = await store.by_id(session, session_id)
                if row is not None:
                    row.linked = epochs.get(session_id) == row.epoch
            for session_id in gone:
                row = await store.by_id(session, session_id)
                if row is not None and row.status in LIVE and row.wanted_end is not None:
                    await self._lifecycle.end(session, row, row.wanted_end, row.wanted_message, SYSTEM)


def _end_reason(row: SessionRow, told: EndReason) -> EndReason:
    """What was wanted here is why it ended, whatever the gateway made of it in the meantime."""
    if row.wanted_end is not None:
        return row.wanted_end
    if row.status is SessionStatus.ACTIVE and told is EndReason.FAILED_TO_START:
        return EndReason.GATEWAY_LOST
    return told


def _holds(instance_id: str, row: SessionRow) -> bool:
    """Whether the newest epoch is this instance's; one that was leased before there were instances is anybody's."""
    return row.instance_id in (None, instance_id)


def _fence(session_id: str, epoch: int) -> SessionOrder:
    message = "Another lease has taken over."
    return SessionOrder(session_id=session_id, epoch=epoch, fenced=True, reason=EndReason.GATEWAY_LOST, message=message)


def _unmasked(session_id: str) -> SessionOrder:
    return SessionOrder(session_id=session_id, reason=EndReason.TERMINATED, message=_CANT_MASK)


def _unknown(session_id: str) -> SessionOrder:
    return SessionOrder(
        session_id=session_id, reason=EndReason.TERMINATED, message="The control plane does not know this session."
    )


def _refused(sentence: str) -> ProblemError:
    return ProblemError(ProblemCode.LEASE_REFUSED, sentence)

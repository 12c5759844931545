"""Setting passkeys up, and calling them something else.

Law: who may is `changes`' to say, when it begins; what comes back is good once, within five minutes, for the sign-in
that began. The same passkey is nobody's twice. With the first factor come recovery codes, shown once.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.mfa import (
    FactorChange,
    MfaMethod,
    PasskeyAdded,
    PasskeyAddition,
    PasskeyCreation,
    SetUpRequest,
)
from ...api.problems import ProblemCode, ProblemError
from ...secret import Secret
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, not_found
from ..identity.sign_ins import clean_name
from ..sources import Sources
from . import recovery, store
from .changes import Changes, needs_proof
from .model import PasskeyQuestionRow, PasskeyRow
from .passkeys import Passkeys, describe, known
from .verification import GOOD_FOR, Verification, binding_of
from .webauthn import BadAnswerError, NewPasskey, RelyingParty

_MOST = 20  # a person's keys, phones and computers; each is sent to the browser at every question


class PasskeyEnrolment:
    """One's own passkeys, coming and being named."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        passkeys: Passkeys,
        changes: Changes,
        verification: Verification,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._passkeys = passkeys
        self._changes = changes
        self._verification = verification

    async def begin(self, actor: Actor, body: SetUpRequest) -> PasskeyCreation:
        """What the browser is asked to make. ProblemError `mfa_unavailable`, `conflict`, or what `Changes` raises."""
        party = self._party()
        password = None if body.password is None else Secret(body.password.get_secret_value())
        await self._changes.must_be_themselves(actor, password)
        proved = await self._changes.must_be_proved(actor, body, FactorChange.ADD_PASSKEY)
        question = PasskeyQuestionRow(
            id=f"pkq_{self._sources.randomness(16).hex()}",
            user_id=actor.user_id,
            sign_in_id=actor.sign_in_id,
            expires_at=self._sources.now() + GOOD_FOR,
        )
        async with self._database.write() as session:
            if not proved and await self._verification.own_kinds(session, actor.user_id):
                raise needs_proof()  # the first one was set up just now
            rows = await store.passkeys(session, actor.user_id)
            if len(rows) >= _MOST:
                raise ProblemError(ProblemCode.CONFLICT, f"You have {_MOST} passkeys: take one away first.")
            session.add(question)
            await session.flush()
            verified = (await store.policy(session)).user_verification
        options = party.creation(
            _challenge(question.id, actor), actor.user_id.encode(), actor.email, known(rows), verified=verified
        )
        return PasskeyCreation(id=question.id, options=options)

    async def finish(self, actor: Actor, body: PasskeyAddition) -> PasskeyAdded:
        """Keep what was made. ProblemError `mfa_challenge_over`, `mfa_code_wrong`, `conflict` or `invalid_request`."""
        party, name, now = self._party(), _name(body.name), self._sources.now()
        added: PasskeyAdded | None = None
        async with self._database.write() as session:
            taken = await store.take_question(session, body.id, now, user_id=actor.user_id, sign_in_id=actor.sign_in_id)
            if not taken:
                raise ProblemError(
                    ProblemCode.MFA_CHALLENGE_OVER, "That was begun too long ago, or in another sign-in: begin again."
                )
            verified = (await store.policy(session)).user_verification
            try:
                made = party.made(_challenge(body.id, actor), body.credential, verified=verified)
            except BadAnswerError:
                made = None
            if made is not None:
                added = await self._keep(session, actor, party, made, name)
        if added is None:  # after the commit: raised inside, it would undo that the question is used up
            raise ProblemError(
                ProblemCode.MFA_CODE_WRONG,
                "What your browser or security key made is no passkey for this control plane"
                + (", or it did not check who you are (PIN or fingerprint), which is asked for here" * verified)
                + ": begin again.",
            )
        return added

    async def _keep(
        self, session: AsyncSession, actor: Actor, party: RelyingParty, made: NewPasskey, name: str
    ) -> PasskeyAdded:
        await self._must_be_new(session, actor, made, name)
        is_first = not await self._verification.own_kinds(session, actor.user_id)
        row = PasskeyRow(
            id=f"pky_{self._sources.randomness(16).hex()}",
            user_id=actor.user_id,
            name=name,
            rp_id=party.site.rp_id,
            credential_id=made.credential_id,
            credential=made.credential,
            counter=made.counter,
            synced=made.synced,
            transports=made.transports,
            created_at=self._sources.now(),
        )
        session.add(row)
        await session.flush()
        details = {"kind": "passkey", "id": row.id, "name": name, "synced": made.synced}
        await self._audit_log.append(session, actor.cause, Event.MFA_METHOD_ADDED, actor.user_id, details=details)
        codes = await recovery.make(session, self._sources, self._audit_log, actor) if is_first else []
        return PasskeyAdded(method=describe(row), recovery_codes=codes)

    async def _must_be_new(self, session: AsyncSession, actor: Actor, made: NewPasskey, name: str) -> None:
        if await store.passkey_by_credential(session, made.credential_id) is not None:
            raise ProblemError(ProblemCode.CONFLICT, "That passkey is set up here already.")
        rows = await store.passkeys(session, actor.user_id)
        if any(row.name == name for row in rows):
            raise ProblemError(ProblemCode.CONFLICT, f"You have a passkey named {name}: give another name.")
        if len(rows) >= _MOST:
            raise ProblemError(ProblemCode.CONFLICT, f"You have {_MOST} passkeys: take one away first.")

    async def rename(self, actor: Actor, passkey_id: str, name: str) -> MfaMethod:
        """Call one of the actor's passkeys something else; ProblemError `not_found`, `conflict`, `invalid_request`."""
        wanted = _name(name)
        async with self._database.write() as session:
            row = await store.passkey(session, actor.user_id, passkey_id)
            if row is None:
                raise not_found(f"passkey {passkey_id[:64]} of yours")
            others = [each for each in await store.passkeys(session, actor.user_id) if each.id != row.id]
            if any(each.name == wanted for each in others):
                raise ProblemError(ProblemCode.CONFLICT, f"You have a passkey named {wanted}: give another name.")
            details = {"id": row.id, "before": row.name, "after": wanted}
            row.name = wanted
            await session.flush()
            await self._audit_log.append(session, actor.cause, Event.MFA_METHOD_RENAMED, actor.user_id, details=details)
            return describe(row)

    def _party(self) -> RelyingParty:
        if self._passkeys.party is None:
            raise no_site()
        return self._passkeys.party


def no_site() -> ProblemError:
    """The answer where the control plane has no host name."""
    return ProblemError(
        ProblemCode.MFA_UNAVAILABLE,
        "Passkeys belong to a host name, and this control plane is known by an IP address only: whoever runs it must "
        "give --public-url with a name.",
    )


def _challenge(question_id: str, actor: Actor) -> bytes:
    return binding_of("passkey-made", question_id, actor.user_id)


def _name(text: str) -> str:
    name = clean_name(text)
    if not name:
        raise ProblemError(ProblemCode.INVALID_REQUEST, "A passkey's name has at least one visible character.")
    return name

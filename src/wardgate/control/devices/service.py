"""Devices that ask to be let in, and letting them in.

Laws:
1. Who lets a device in has shown a moment ago who they are, at the device in front of them, with a second factor where
   the organisation asks for one at sign-ins: a stolen token makes no second one, and no way is a side door.
2. What the device proves is what it had at the beginning: the verifier of its challenge, or its device code. A one-time
   code is good once, for a minute, for that request and redirect address; the right code with a wrong proof ends the
   request, and a second use ends the sign-in that came of the first.
3. A device is signed in when it asks for its tokens, not when it is approved: by then its user must still stand, and so
   must the sign-in that approved it.
4. The page shows what the device says of itself, where it asked from, and the code that the device shows.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from urllib.parse import urlencode

from cryptography.hazmat.primitives.constant_time import bytes_eq
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.devices import (
    BrowserRequest,
    BrowserRequestCreate,
    BrowserTokenRequest,
    DeviceDecision,
    DeviceRequest,
    DeviceRequestCreate,
    PendingDevice,
)
from ...api.models import Tokens
from ...api.problems import ProblemCode, ProblemError
from ...secret import Secret
from ..audit_log import AuditLog, Cause, Event
from ..db import Database
from ..identity import store as identities
from ..identity.actor import Actor, not_found
from ..identity.limits import TokenBuckets, network_of
from ..identity.model import DeviceKind, SignInRow, UserRow
from ..identity.sign_ins import Device, Proof, SignInService, clean_name, hash_of
from ..mfa.codes import short_code
from ..mfa.sign_in import SignInFactor
from ..sources import Sources
from . import codes, store
from .model import DeviceRequestRow, Flow, Status

_WAITS = timedelta(minutes=10)
_CODE_LASTS = timedelta(seconds=60)
_INTERVAL_S, _SLOWER_S, _SLOWEST_S = 5, 5, 60
_TOLERANCE = timedelta(seconds=1)  # of a poll that the network brought early
_MOST_WAITING = 10_000


class DeviceService:
    """Asking, deciding, and asking for the tokens."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        sign_ins: SignInService,
        factor: SignInFactor,
        site: str,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._sign_ins = sign_ins
        self._factor = factor
        self._site = site  # where the pages are
        self._beginning = TokenBuckets(burst=20, per_second=1 / 10)
        self._guessing = TokenBuckets(burst=10, per_second=1 / 30)

    # --- a device asks --------------------------------------------------------------------------------------------

    async def begin_browser(self, body: BrowserRequestCreate, cause: Cause) -> BrowserRequest:
        """A device with a browser asks. ProblemError `rate_limited`."""
        row = self._row(Flow.BROWSER, body.device, cause)
        row.challenge, row.redirect_uri, row.state = body.code_challenge, body.redirect_uri, body.state
        await self._add(row, cause)
        return BrowserRequest(
            request_id=row.id,
            url=f"{self._site}/authorize/{row.id}",
            short_code=short_code(row.id),
            expires_at=row.expires_at,
        )

    async def begin_code(self, body: DeviceRequestCreate, cause: Cause) -> DeviceRequest:
        """A device without a browser asks. ProblemError `rate_limited`."""
        row = self._row(Flow.CODE, body.device, cause)
        device_code = f"wgd1_{self._random()}"
        row.secret_hash = hash_of(device_code.encode())
        row.user_code = codes.user_code(self._sources.randomness(codes.RANDOM_BYTES))
        await self._add(row, cause)
        return DeviceRequest(
            device_code=device_code,
            user_code=codes.shown(row.user_code),
            verification_uri=f"{self._site}/device",
            expires_at=row.expires_at,
            interval=row.interval_s,
        )

    def _row(self, flow: Flow, name: str, cause: Cause) -> DeviceRequestRow:
        now = self._sources.now()
        return DeviceRequestRow(
            id=f"dvr_{self._sources.randomness(16).hex()}",
            flow=flow,
            status=Status.WAITING,
            name=clean_name(name),
            address=cause.address,
            created_at=now,
            expires_at=now + _WAITS,
            interval_s=_INTERVAL_S,
        )

    async def _add(self, row: DeviceRequestRow, cause: Cause) -> None:
        _ration(
            self._beginning, network_of(cause.address or "unknown"), row.created_at, "sign-ins were begun from here"
        )
        async with self._database.write() as session:
            if await store.waiting(session, row.created_at) >= _MOST_WAITING:
                raise ProblemError(
                    ProblemCode.RATE_LIMITED,
                    "Too many devices wait to be signed in: try again in ten minutes.",
                    context={"retry_after_s": int(_WAITS.total_seconds())},
                )
            if row.user_code is not None:
                while await store.by_user_code(session, row.user_code) is not None:
                    row.user_code = codes.user_code(self._sources.randomness(codes.RANDOM_BYTES))
            session.add(row)

    # --- a person decides -----------------------------------------------------------------------------------------

    async def describe(self, actor: Actor, code: str) -> PendingDevice:
        """The device that waits under a request's id or a user code. ProblemError `not_found` or `rate_limited`."""
        async with self._database.read() as session:
            row = await self._waiting(session, actor, code)
        return PendingDevice(
            code=short_code(row.id) if row.user_code is None else codes.shown(row.user_code),
            flow=row.flow.value,
            returns_to=None if row.redirect_uri is None else row.redirect_uri.removesuffix("/callback"),
            name=row.name,
            address=row.address,
            same_address=row.address is not None and row.address == actor.cause.address,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )

    async def approve(self, actor: Actor, code: str) -> DeviceDecision:
        """Let the device in as the actor. ProblemError `not_found`, `rate_limited` or `fresh_sign_in_required`."""
        async with self._database.write() as session:
            row = await self._waiting(session, actor, code, lock=True)
            sign_in = await self._fresh(session, actor)
            row.status, row.decided_at = Status.APPROVED, self._sources.now()
            row.user_id, row.approved_by = actor.user_id, sign_in.id
            one_time = None
            if row.flow is Flow.BROWSER:
                one_time = f"wgc1_{self._random()}"
                row.secret_hash, row.expires_at = hash_of(one_time.encode()), row.decided_at + _CODE_LASTS
            await self._note(session, actor, Event.DEVICE_APPROVED, row)
        return DeviceDecision(redirect=None if one_time is None else _redirect(row, code=one_time))

    async def must_be_fresh(self, actor: Actor) -> None:
        """ProblemError `fresh_sign_in_required` where the actor could let nobody in as they are signed in now."""
        async with self._database.read() as session:
            await self._fresh(session, actor)

    async def _fresh(self, session: AsyncSession, actor: Actor) -> SignInRow:
        asked = await self._factor.is_asked(session)
        return await self._sign_ins.must_be_fresh(session, actor, second_factor=asked)

    async def deny(self, actor: Actor, code: str) -> DeviceDecision:
        """Turn the device away. ProblemError `not_found` or `rate_limited`."""
        async with self._database.write() as session:
            row = await self._waiting(session, actor, code, lock=True)
            row.status, row.decided_at = Status.DENIED, self._sources.now()
            await self._note(session, actor, Event.DEVICE_DENIED, row)
        return DeviceDecision(redirect=_redirect(row, error="access_denied") if row.flow is Flow.BROWSER else None)

    async def _waiting(self, session: AsyncSession, actor: Actor, code: str, *, lock: bool = False) -> DeviceRequestRow:
        now = self._sources.now()
        _ration(self._guessing, actor.user_id, now, "codes that no device shows")
        user_code = codes.typed(code)
        if code.startswith("dvr_"):
            row = await store.by_id(session, code, lock=lock)
        else:
            row = None if user_code is None else await store.by_user_code(session, user_code, lock=lock)
        if row is None or row.status is not Status.WAITING or row.expires_at <= now:
            raise not_found("device that waits under that code: it was decided on or has expired")
        self._guessing.give_back(actor.user_id)
        return row

    async def _note(self, session: AsyncSession, actor: Actor, event: Event, row: DeviceRequestRow) -> None:
        details = {"flow": row.flow.value, "name": row.name, "address": row.address}
        await self._audit_log.append(session, actor.cause, event, actor.user_id, details=details)

    # --- the device asks for its tokens ---------------------------------------------------------------------------

    async def redeem_browser(self, request_id: str, body: BrowserTokenRequest, cause: Cause) -> Tokens:
        """Tokens for a one-time code. ProblemError `access_denied`."""
        proof = _Presented(body)
        async with self._database.write() as session:
            row = await store.by_id(session, request_id, lock=True)
            if row is None or row.flow is not Flow.BROWSER or not proof.is_code_of(row):
                raise _denied()
            if row.status is Status.USED:
                await self._end_what_came_of(session, row, cause)
            elif row.status is Status.APPROVED and row.expires_at > self._sources.now():
                if proof.is_of_who_asked(row):
                    return await self._sign_in(session, row, cause)
                row.status = Status.BURNT
        raise _denied()  # after the commit: raised inside, it would undo what was just ended

    async def redeem_code(self, device_code: Secret, cause: Cause) -> Tokens:
        """Tokens once somebody let the device in.

        ProblemError `authorization_pending`, `slow_down`, `access_denied` or `expired_token`.
        """
        async with self._database.write() as session:
            row = await store.by_secret(session, hash_of(device_code.reveal()))
            if row is None or row.flow is not Flow.CODE:
                raise _expired()
            if row.status in (Status.DENIED, Status.BURNT):
                raise _denied()
            now = self._sources.now()
            if row.status is Status.USED or row.expires_at <= now:
                raise _expired()
            early = row.polled_at is not None and now - row.polled_at < timedelta(seconds=row.interval_s) - _TOLERANCE
            row.polled_at = now
            if row.status is Status.APPROVED and not early:
                return await self._sign_in(session, row, cause)
            if early:
                row.interval_s = min(row.interval_s + _SLOWER_S, _SLOWEST_S)
            interval = row.interval_s
        raise _slow_down(interval) if early else _pending(interval)

    async def _sign_in(self, session: AsyncSession, row: DeviceRequestRow, cause: Cause) -> Tokens:
        by = await self._sign_ins.standing(session, row.approved_by or "")
        user = await identities.user_by_id(session, row.user_id or "", lock=True)
        if by is None or user is None or user.disabled_at is not None:
            raise _denied()
        proof = _proof_of(by, user)
        device = Device(DeviceKind.COMMAND_LINE, row.name)
        tokens, row.sign_in_id = await self._sign_ins.open(session, user, cause, proof, device)
        row.status = Status.USED
        return tokens

    async def _end_what_came_of(self, session: AsyncSession, row: DeviceRequestRow, cause: Cause) -> None:
        """A code that comes twice was stolen: one of the two is a thief (RFC 6749 section 4.1.2)."""
        if row.sign_in_id is None or await self._sign_ins.standing(session, row.sign_in_id) is None:
            return
        await identities.revoke_sign_in(session, row.sign_in_id, self._sources.now())
        details = {"sign_in": row.sign_in_id}
        await self._audit_log.append(session, cause, Event.USER_TOKEN_REUSED, row.user_id, details=details)

    async def sweep(self) -> None:
        """Forget what is over; run now and then. Used codes are kept for a while: a second use must be noticed."""
        async with self._database.write() as session:
            await store.delete_old(session, self._sources.now() - timedelta(days=1))

    def _random(self) -> str:
        return base64.urlsafe_b64encode(self._sources.randomness(32)).rstrip(b"=").decode()


class _Presented:
    """What a device presents with a one-time code."""

    def __init__(self, body: BrowserTokenRequest) -> None:
        self._code_hash = hash_of(body.code.get_secret_value().encode())
        self._challenge = codes.challenge_of(body.code_verifier.get_secret_value().encode())
        self._redirect_uri = body.redirect_uri

    def is_code_of(self, row: DeviceRequestRow) -> bool:
        return row.secret_hash is not None and bytes_eq(row.secret_hash, self._code_hash)

    def is_of_who_asked(self, row: DeviceRequestRow) -> bool:
        challenge = (row.challenge or "").encode()
        return bytes_eq(challenge, self._challenge.encode()) and row.redirect_uri == self._redirect_uri


def _proof_of(by: SignInRow, user: UserRow) -> Proof:
    """The proof of the sign-in that approved, which was by the same person."""
    assert by.user_id == user.id
    return Proof(by.method, by.second_factor, ends_at=by.proof_ends_at, approved_by=by.id)


def _redirect(row: DeviceRequestRow, **facts: str) -> str:
    return f"{row.redirect_uri}?{urlencode({**facts, 'state': row.state or ''})}"


def _ration(buckets: TokenBuckets, key: str, now: datetime, what: str) -> None:
    wait = buckets.take(key, now.timestamp())
    if wait > 0:
        seconds = max(1, round(wait))
        raise ProblemError(
            ProblemCode.RATE_LIMITED,
            f"Too many {what}: wait {seconds} s and try again.",
            context={"retry_after_s": seconds},
        )


def _denied() -> ProblemError:
    return ProblemError(ProblemCode.ACCESS_DENIED, "This device was not let in: begin again with wardgate login.")


def _expired() -> ProblemError:
    return ProblemError(
        ProblemCode.EXPIRED_TOKEN, "That code has expired or was used: begin again with wardgate login."
    )


def _pending(interval: int) -> ProblemError:
    return ProblemError(
        ProblemCode.AUTHORIZATION_PENDING,
        f"Nobody has let this device in yet: ask again in {interval} s.",
        context={"interval": interval},
    )


def _slow_down(interval: int) -> ProblemError:
    return ProblemError(
        ProblemCode.SLOW_DOWN, f"Asked too soon: ask every {interval} s from now on.", context={"interval": interval}
    )

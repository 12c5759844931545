"""Signing in by a provider: to it, back, and in (OpenID Connect, authorization code with PKCE, state and nonce).

Law: every provider has a redirect address of its own, and an answer must come to that of the provider which was asked
(and say its name where it has one, RFC 9207): no provider's answer is ever brought to another's token endpoint. What
comes of it is the first half of a sign-in, as a password is: the organisation's second factor is asked for after it,
unless the provider is trusted to have asked. Why somebody was refused is an event.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote_plus

from cryptography.hazmat.primitives.constant_time import bytes_eq
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.problems import ProblemCode, ProblemError
from ...errors import WardgateError
from ..audit_log import AuditLog, Cause, Event
from ..db import Database
from ..identity.limits import TokenBuckets, network_of
from ..identity.model import Method
from ..identity.service import HalfSignedIn, mark_of
from ..oidc import Claims, Expected, Issuers, TokenRefusedError
from ..outbound import Outbound
from ..sources import Sources
from ..vault import Vault
from . import store
from .attempts import RANDOM_BYTES, Answer, Going, Keys, hash_of, random_text, refused, url_to
from .discovery import Provider, metadata_of
from .model import SsoAttemptRow, SsoProviderRow
from .people import People
from .providers import CALLBACK

_WAITS: Final = timedelta(minutes=10)
_MOST_WAITING: Final = 10_000
_SKEW: Final = timedelta(minutes=1)
_LONGEST_CODE: Final = 4_096
_TWO_FACTORS: Final = "mfa"  # RFC 8176; its other words name one factor each


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider on the sign-in page."""

    id: str
    label: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """Who came back, and where they wanted to go."""

    half: HalfSignedIn
    email: str
    wanted: str


class SsoService:
    """Beginning and finishing it."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        vault: Vault,
        issuers: Issuers,
        outbound: Outbound,
        people: People,
        site: str,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._vault = vault
        self._issuers = issuers
        self._outbound = outbound
        self._people = people
        self._site = site
        self._beginning = TokenBuckets(burst=20, per_second=1 / 10)

    async def offers(self) -> list[Offer]:
        """What the sign-in page offers."""
        async with self._database.read() as session:
            return [Offer(row.id, row.label or row.name) for row in await store.providers(session, only_enabled=True)]

    # --- going ----------------------------------------------------------------------------------------------------

    async def begin(self, provider_id: str, wanted: str, cause: Cause, *, anew: bool = False) -> Going:
        """Send a browser to a provider; `anew`: have it ask there even who is signed in there.

        ProblemError `not_found`, `rate_limited` or `sso_unavailable`.
        """
        now = self._sources.now()
        wait = self._beginning.take(network_of(cause.address or "unknown"), now.timestamp())
        if wait > 0:
            raise _too_many(max(1, round(wait)))
        async with self._database.read() as session:
            row = await self._enabled(session, provider_id)
        found = await self._metadata(row)
        if found.authorization is None:
            raise _unavailable(row)
        state, cookie = (random_text(self._sources.randomness(RANDOM_BYTES)) for _ in range(2))
        keys = Keys.of(cookie, state)
        async with self._database.write() as session:
            if await store.open_attempts(session, now) >= _MOST_WAITING:
                raise _too_many(int(_WAITS.total_seconds()))
            session.add(
                SsoAttemptRow(
                    state_hash=hash_of(state),
                    cookie_hash=hash_of(cookie),
                    provider_id=row.id,
                    wanted=wanted,
                    anew=anew,
                    created_at=now,
                    expires_at=now + _WAITS,
                )
            )
        facts = {
            "response_type": "code",
            "client_id": row.client_id,
            "redirect_uri": self._site + CALLBACK.format(row.id),
            "scope": row.scopes,
            "state": state,
            "nonce": keys.nonce,
            "code_challenge": keys.challenge,
            "code_challenge_method": "S256",
            **({"prompt": "login", "max_age": "0"} if anew else {}),
        }
        return Going(url_to(found.authorization, facts), cookie)

    # --- coming back ----------------------------------------------------------------------------------------------

    async def finish(self, provider_id: str, query: Mapping[str, list[str]], cookie: str, cause: Cause) -> Arrived:
        """Judge what a browser brings back. ProblemError `sso_refused`, `sso_unavailable` or `not_found`."""
        try:
            return await self._finish(provider_id, query, cookie, cause)
        except ProblemError as error:
            if error.problem.code is ProblemCode.SSO_REFUSED:
                async with self._database.write() as session:
                    details = {"provider": provider_id[:64], "why": error.message}
                    await self._audit_log.append(session, cause, Event.SSO_REFUSED, details=details)
            raise

    async def _finish(self, provider_id: str, query: Mapping[str, list[str]], cookie: str, cause: Cause) -> Arrived:
        answer = Answer.of(query)
        attempt, row = await self._take(provider_id, answer, cookie)
        found = await self._metadata(row)
        answer.must_be_of(row.issuer, says_issuer=found.says_issuer)
        if answer.error is not None or not answer.code or len(answer.code) > _LONGEST_CODE:
            raise refused("the provider did not sign you in")
        claims = await self._exchange(row, found, answer.code, Keys.of(cookie, answer.state))
        if attempt.anew:
            _must_be_anew(claims, attempt.created_at)
        return await self._arrive(row, claims, attempt.wanted, cause)

    async def _take(self, provider_id: str, answer: Answer, cookie: str) -> tuple[SsoAttemptRow, SsoProviderRow]:
        """The attempt that this answer is to, used up by it."""
        now = self._sources.now()
        async with self._database.write() as session:
            attempt = await store.attempt(session, hash_of(answer.state))
            ours = attempt is not None and bytes_eq(attempt.cookie_hash, hash_of(cookie))
            # Who has not the browser's cookie ends nothing: its owner's answer may be on its way.
            if attempt is None or not ours or attempt.used_at is not None or attempt.expires_at <= now:
                raise refused("the answer belongs to no sign-in that this browser began a moment ago")
            attempt.used_at = now
            row = await self._enabled(session, attempt.provider_id)
        if attempt.provider_id != provider_id:
            raise refused("the answer came to another provider's address")
        return attempt, row

    async def _arrive(self, row: SsoProviderRow, claims: Claims, wanted: str, cause: Cause) -> Arrived:
        now = self._sources.now()
        async with self._database.write() as session:
            row = await self._enabled(session, row.id)  # as it is after the provider took its time
            user, left = await self._people.user_of(session, row, claims, cause)
            half = HalfSignedIn(
                user.id,
                mark_of(user),
                method=Method.SSO,
                second_factor=row.trust_mfa and _TWO_FACTORS in claims.texts("amr"),
                ends_at=None if row.lifetime_s is None else now + timedelta(seconds=row.lifetime_s),
            )
        if left:
            self._people.rights_lost()
        return Arrived(half, user.email, wanted)

    # --- the provider ---------------------------------------------------------------------------------------------

    async def _exchange(self, row: SsoProviderRow, found: Provider, code: str, keys: Keys) -> Claims:
        """The claims of the ID token that a code stands for."""
        if found.token is None:
            raise _unavailable(row)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._site + CALLBACK.format(row.id),
            "client_id": row.client_id,
            "code_verifier": keys.verifier,
        }
        headers = await self._authentication(row, found, form)
        try:
            answer = await self._outbound.post_form(found.token, form, headers=headers)
            if answer.status != 200:
                raise refused("the provider did not take the code that it gave")
            said = answer.json()
        except WardgateError as error:
            raise _told(row, error) from None
        token = said.get("id_token")
        if not isinstance(token, str):
            raise refused("the provider gave no ID token")
        expected = Expected(issuer=row.issuer, audience=row.client_id, nonce=keys.nonce, authorized_party=row.client_id)
        try:
            claims = await self._issuers.verify(token, expected)
        except TokenRefusedError as error:
            raise refused(f"the provider's ID token does not hold ({error.message.rstrip('.')})") from None
        except WardgateError as error:
            raise _told(row, error) from None
        return await self._with_userinfo(row, found, claims, said.get("access_token"))

    async def _authentication(self, row: SsoProviderRow, found: Provider, form: dict[str, str]) -> dict[str, str]:
        """How the client shows that it is itself: in the header, or in the form where nothing else is taken."""
        if row.sealed_client_secret is None:
            return {}
        async with self._database.read() as session:
            place = (row.__tablename__, row.id, "sealed_client_secret")
            secret = (await self._vault.open(session, None, *place, row.sealed_client_secret)).reveal_text()
        if found.posts_secret:
            form["client_secret"] = secret
            return {}
        pair = f"{quote_plus(row.client_id)}:{quote_plus(secret)}"  # RFC 6749, section 2.3.1
        return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    async def _with_userinfo(self, row: SsoProviderRow, found: Provider, claims: Claims, access: Any) -> Claims:
        """What the ID token leaves out, from the userinfo endpoint; it must be of the same subject."""
        missing = "email" not in claims.values or row.groups_claim not in claims.values
        if not missing or found.userinfo is None or not isinstance(access, str) or not access.isascii():
            return claims
        headers = {"authorization": f"Bearer {access}"}
        try:
            answer = await self._outbound.request("GET", found.userinfo, headers=headers)
            said = answer.json() if answer.status == 200 else {}
        except WardgateError as error:
            raise _told(row, error) from None
        if not said:
            return claims
        if said.get("sub") != claims.subject:
            raise refused("the provider's answers are of two people")
        return Claims({**said, **claims.values}, claims.expires_at)

    async def _metadata(self, row: SsoProviderRow) -> Provider:
        try:
            return await metadata_of(self._issuers, row.issuer)
        except WardgateError as error:
            raise _told(row, error) from None

    async def _enabled(self, session: AsyncSession, provider_id: str) -> SsoProviderRow:
        row = await session.get(SsoProviderRow, provider_id)
        if row is None or not row.enabled:
            raise ProblemError(ProblemCode.NOT_FOUND, "There is no such way to sign in, or not any more.")
        return row

    async def sweep(self) -> None:
        """Forget attempts that are over; run now and then."""
        async with self._database.write() as session:
            await store.delete_old_attempts(session, self._sources.now() - _WAITS)


def _must_be_anew(claims: Claims, asked_at: datetime) -> None:
    """Who was to show anew who they are did so after they were asked (OpenID Connect Core, `max_age`)."""
    at = claims.values.get("auth_time")
    seconds = at if isinstance(at, int) and 0 <= at < 1 << 40 else 0
    if datetime.fromtimestamp(seconds, UTC) < asked_at - _SKEW:
        raise refused("the provider did not ask you anew who you are")


def _told(row: SsoProviderRow, error: WardgateError) -> ProblemError:
    """A refusal stays one; what the network did is for the log and the administrator's test to say."""
    return error if isinstance(error, ProblemError) else _unavailable(row)


def _unavailable(row: SsoProviderRow) -> ProblemError:
    shown = row.label or row.name
    return ProblemError(
        ProblemCode.SSO_UNAVAILABLE,
        f"{shown} can't be asked at the moment: try again. wardgate sso test {row.name} tells an administrator why.",
    )


def _too_many(seconds: int) -> ProblemError:
    return ProblemError(
        ProblemCode.RATE_LIMITED,
        f"Too many sign-ins were begun: wait {seconds} s and try again.",
        context={"retry_after_s": seconds},
    )

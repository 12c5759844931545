"""What access needs of its neighbours, in its own words.

Fleet and resources lie below and are used as services; records lie above, so what they know (the acknowledged head)
comes through a port that the wiring fills.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.machine import Credentials, Head, MaskRule, MongoTarget, SessionOrder
from ...api.mfa import AccessFacts
from ...api.models import Route
from ..approvals.grants import Grant
from ..identity.actor import Binding
from ..mfa.verification import Who
from ..resources.facts import AccountFacts


class Catalogue(Protocol):
    """Resources and accounts."""

    async def account_facts(
        self, session: AsyncSession, project_id: str, resource: str, account: str
    ) -> AccountFacts | None:
        """The account of that name on the resource of that name."""

    async def account_facts_by_id(self, session: AsyncSession, account_id: str) -> AccountFacts | None:
        """The account as it is now, None if it is gone."""

    async def open_account(self, session: AsyncSession, account_id: str) -> tuple[MongoTarget, Credentials]:
        """The deployment, and the credentials unsealed; for a lease only."""


class Fleet(Protocol):
    """Gateways and relays."""

    async def gateway_online(self, gateway_id: str, *, wait: bool = False) -> bool:
        """Whether the gateway is online; with `wait`, after giving one that is just starting a few seconds."""

    async def routes(
        self, session: AsyncSession, gateway_id: str, session_id: str, expires_at: datetime
    ) -> list[Route]:
        """The ways to the gateway that work now, each with its route token."""

    def order_end(self, gateway_id: str, order: SessionOrder) -> None:
        """Tell the gateway now, if its link is up; its next heartbeat is answered likewise."""

    def fence(self, gateway_id: str, instance_id: str | None, order: SessionOrder) -> None:
        """Tell the instance that had a session, likewise."""


class Factor(Protocol):
    """Multi-factor authentication."""

    async def require(
        self, who: Who, binding: bytes, challenge_id: str | None, *, what: str, access: AccessFacts
    ) -> None:
        """Return where that challenge was met and is unused; else ask, by raising `mfa_required`."""

    async def consume(self, session: AsyncSession, who: Who, challenge_id: str, binding: bytes) -> None:
        """Use a met challenge up; ProblemError `mfa_challenge_over` if it is not met."""


class Approvals(Protocol):
    """Access requests and their grants."""

    async def grant_for(self, user_id: str, account: AccountFacts) -> Grant:
        """The grant that lets a user in now; ProblemError `approval_required`."""

    async def still_granted(self, session: AsyncSession, request_id: str) -> bool:
        """Whether that grant still stands."""


class People(Protocol):
    """Users and services."""

    async def bindings_of(
        self, session: AsyncSession, identity_id: str, *, sign_in_id: str | None, address: str | None
    ) -> tuple[Binding, ...]:
        """The bindings that a user or service has now; none for one that is gone or disabled, was signed out where it
        opened the session, or may not act with that credential or from that address any more."""


# Records: the last frame of a session that is durable here, None before the first.
Heads: TypeAlias = Callable[[AsyncSession, str], Awaitable[Head | None]]
# How the records of a project's sessions are made durable.
DurabilityOf: TypeAlias = Callable[[AsyncSession, str], Awaitable[Literal["strict", "process"]]]
# What the records of a project's sessions do not show.
MaskingOf: TypeAlias = Callable[[AsyncSession, str], Awaitable[list[MaskRule]]]

"""The gates of a session, in their one fixed order: role, approval, password, reason, MFA, gateway.

Identity is the first gate, passed before a service is called. Each gate is a function that lets pass, or raises a
problem with a stable code that says what to do. Law: a gate for what is not built yet refuses, it never passes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from ...api.mfa import AccessFacts
from ...api.problems import ProblemCode, ProblemError
from ...net import certs
from ..approvals.grants import Grant
from ..identity.actor import Actor
from ..identity.permissions import Permission
from ..mfa.changes import who
from ..mfa.verification import binding_of
from ..resources.facts import AccountFacts
from .ports import Approvals, Factor, Fleet


@dataclass(slots=True, kw_only=True)
class Wish:
    """Who wants in, where, why and for how long. `grant` is found by the gate that asks for it."""

    actor: Actor
    account: AccountFacts
    wanted: timedelta
    key: certs.PublicKey
    reason: str | None
    hostname: str | None = None
    challenge_id: str | None = None
    fleet: Fleet
    factor: Factor
    approvals: Approvals
    grant: Grant | None = None

    @property
    def longest(self) -> timedelta:
        """The longest session that the account and the grant allow, if that is shorter than what is wanted."""
        limits = [self.wanted, self.account.max_duration, None if self.grant is None else self.grant.longest]
        return min(limit for limit in limits if limit is not None)

    @property
    def binding(self) -> bytes:
        """What a second factor is good for: this account, so long, for that reason, and the certificate's key."""
        seconds = str(self.longest.total_seconds())
        key = certs.public_key_der(self.key)
        return binding_of("access", self.account.account_id, seconds, key, self.reason or "")

    @property
    def shown(self) -> AccessFacts:
        """What the person who is asked for a second factor gets to see."""
        return AccessFacts(
            project_id=self.account.project_id,
            resource=self.account.resource,
            account=self.account.account,
            duration_s=self.longest.total_seconds(),
            reason=self.reason,
            hostname=self.hostname,
            address=self.actor.cause.address,
        )


async def role(wish: Wish) -> None:
    """The actor holds a role that connects, at the account or above it."""
    account = wish.account
    what = f"account {account.account} on a resource {account.resource}"
    wish.actor.require(Permission.ACCOUNT_OWN_SESSION_CREATE, account.scope, what=what)


async def approval(wish: Wish) -> None:
    """Where the account asks for an approval: somebody else gave one, and its window is open."""
    if wish.account.require_approval:
        wish.grant = await wish.approvals.grant_for(wish.actor.user_id, wish.account)


async def password(wish: Wish) -> None:
    """The account's password was entered after its resource last changed where it leads."""
    if wish.account.needs_password:
        raise ProblemError(
            ProblemCode.ACCOUNT_NEEDS_PASSWORD,
            f"The resource {wish.account.resource} was changed: an administrator must enter the password of the "
            f"account {wish.account.account} again before it can be used.",
        )


async def reason(wish: Wish) -> None:
    """The account asks for a reason and one was given."""
    if wish.account.require_reason and not (wish.reason or "").strip():
        raise ProblemError(
            ProblemCode.REASON_REQUIRED,
            f"The account {wish.account.account} asks for a reason: say why with --reason.",
        )


async def mfa(wish: Wish) -> None:
    """Where the account asks for a second factor: one was shown for exactly this access, and is not used up."""
    if wish.account.require_mfa and wish.actor.is_service:
        raise ProblemError(
            ProblemCode.MFA_REQUIRED,
            f"The account {wish.account.account} asks for a second factor, which a service has none of: use an account "
            "that does not.",
        )
    if wish.account.require_mfa:
        what = f"Access to {wish.account.account} on {wish.account.resource}"
        await wish.factor.require(who(wish.actor), wish.binding, wish.challenge_id, what=what, access=wish.shown)


async def gateway_online(wish: Wish) -> None:
    """The gateway that reaches the resource is there."""
    if not await wish.fleet.gateway_online(wish.account.gateway_id, wait=True):
        raise ProblemError(
            ProblemCode.GATEWAY_OFFLINE,
            f"The gateway {wish.account.gateway}, which reaches {wish.account.resource}, is offline: start it, or ask "
            "whoever runs it.",
        )


GATES: tuple[Callable[[Wish], Awaitable[None]], ...] = (
    role,
    approval,
    password,
    reason,
    mfa,
    gateway_online,
)


async def pass_all(wish: Wish) -> None:
    """Every gate in its order; the first that is not met raises."""
    for gate in GATES:
        await gate(wish)

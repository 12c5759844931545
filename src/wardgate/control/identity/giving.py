"""Whether somebody may hand authority on.

Law: nobody gives what they don't administer, and nobody gives for longer than they have it, or an administrator for an
hour would be one for ever. That holds for every way of handing on: binding a role, putting somebody into a group that
has roles, and making a credential of a service that has some.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ...api.problems import ProblemCode, ProblemError
from .actor import Actor, Binding, Scope
from .permissions import Permission

_GIVE = Permission.ACCOUNT_BINDING_CREATE


def must_be_able_to_give(actor: Actor, scope: Scope, until: datetime | None, *, what: str = "this") -> None:
    """ProblemError `not_found` or `forbidden` unless the actor may bind roles at `scope` until then (None: always)."""
    actor.require(_GIVE, scope, what=what)
    ends = [b.expires_at for b in actor.bindings if b.permits(_GIVE) and b.scope.covers(scope)]
    if None in ends:
        return
    latest = max(end for end in ends if end is not None)
    if until is None or until > latest:
        raise ProblemError(
            ProblemCode.FORBIDDEN,
            f"Your own role there ends at {latest:%Y-%m-%d %H:%M} UTC: give nothing that lasts longer (--duration).",
        )


def must_be_able_to_give_all(actor: Actor, held: Iterable[Binding], until: datetime | None = None) -> None:
    """The same for every one of the roles that somebody would get, until `until` at the latest."""
    for binding in held:
        ends = [end for end in (binding.expires_at, until) if end is not None]
        must_be_able_to_give(actor, binding.scope, min(ends, default=None), what=f"place {binding.scope}")

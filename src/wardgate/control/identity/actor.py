"""An authenticated identity and the pure question of what it may do where.

Law: authority comes from bindings alone. A binding at a place permits at that place and everything below it; a place
that no binding covers or lies in is invisible, which looks the same as missing (404), while a visible place where the
permission is lacking is refused (403).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ...api.problems import ProblemCode, ProblemError
from ...ids import Kind, is_id
from ..audit_log import Cause
from .permissions import ROLE_PERMISSIONS, SELF, SERVICE_SELF, Permission, Role


@dataclass(frozen=True, slots=True)
class Scope:
    """A place: the organisation (all None), a project, a resource in it, or an account on that.

    A place names its parents too, so covering is a comparison and needs no query.
    """

    project_id: str | None = None
    resource_id: str | None = None
    account_id: str | None = None

    def covers(self, other: Scope) -> bool:
        """Whether `other` is this place or lies below it."""
        return (
            self.project_id in (None, other.project_id)
            and self.resource_id in (None, other.resource_id)
            and self.account_id in (None, other.account_id)
        )

    def __str__(self) -> str:
        return self.account_id or self.resource_id or self.project_id or "organisation"


ORGANISATION = Scope()


@dataclass(frozen=True, slots=True)
class Binding:
    """One role at one place. `group` is the name of the group that gives it; of a service's role, `only` is what its
    scopes leave."""

    role: Role
    scope: Scope
    expires_at: datetime | None = None
    group: str | None = None
    only: frozenset[Permission] | None = None

    def permits(self, permission: Permission) -> bool:
        """Whether the role holds `permission`, wherever that is."""
        return permission in ROLE_PERMISSIONS[self.role] and (self.only is None or permission in self.only)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts in this request: a user, or a service, which has its name in place of an e-mail address.

    `bindings` are those in force now; `sign_in_id` names the login that they came with, of a service the client secret
    or the trust that its token was given for.
    """

    user_id: str
    email: str
    sign_in_id: str
    cause: Cause
    bindings: tuple[Binding, ...] = field(default=())

    @property
    def is_service(self) -> bool:
        """Whether it is no person."""
        return is_id(self.user_id, Kind.SERVICE)

    def _may_by_being(self, permission: Permission) -> bool:
        return permission in (SERVICE_SELF if self.is_service else SELF)

    def may(self, permission: Permission, scope: Scope) -> bool:
        """Whether the actor has `permission` at `scope`."""
        if self._may_by_being(permission):
            return True
        return any(b.permits(permission) and b.scope.covers(scope) for b in self.bindings)

    def may_within(self, permission: Permission, scope: Scope) -> bool:
        """Whether the actor has `permission` at `scope` or somewhere below it."""
        if self._may_by_being(permission):
            return True
        return any(b.permits(permission) and (b.scope.covers(scope) or scope.covers(b.scope)) for b in self.bindings)

    def sees(self, scope: Scope) -> bool:
        """Whether any binding covers `scope` or lies below it."""
        return any(b.scope.covers(scope) or scope.covers(b.scope) for b in self.bindings)

    def require(self, permission: Permission, scope: Scope, *, what: str = "this") -> None:
        """Raise `not_found` where the actor sees nothing, `forbidden` where it lacks `permission`."""
        if self.may(permission, scope):
            return
        raise refusal(permission, visible=self.sees(scope), what=what)


def refusal(permission: Permission, *, visible: bool, what: str) -> ProblemError:
    """The problem for a missing permission. `what` completes “There is no …”."""
    if not visible:
        return not_found(what)
    return ProblemError(
        ProblemCode.FORBIDDEN,
        f"You may not do that here: it needs the permission {permission.value}, which none of your roles gives.",
        context={"permission": permission.value},
    )


def not_found(what: str) -> ProblemError:
    """The one sentence for what does not exist and for what the actor may not see."""
    return ProblemError(ProblemCode.NOT_FOUND, f"There is no {what}, or you may not see it.")

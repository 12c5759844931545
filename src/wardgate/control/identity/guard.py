"""How a route says what it needs.

    actor: Annotated[Actor, Depends(requires(Permission.PROJECT_GATEWAY_CREATE))]

The declaration authenticates the bearer token and checks the permission at the project in the path (`project_id`), at
the organisation where the path has none. With `within=True` it lets pass whoever has the permission anywhere below that
place, and the service then checks the exact resource or account with `actor.require`.

Law: a route that declares nothing has no authority and fails a test; so do machine routes, which declare with their own
dependency that has the same `permission` attribute.
"""

from __future__ import annotations

from typing import Final, Protocol

from fastapi import Request

from ...api.problems import ProblemCode, ProblemError
from ..audit_log import Cause
from .actor import Actor, Scope, refusal
from .permissions import Permission

_MOST_OF_A_CLIENT: Final = 200  # characters: browsers need about 120


class Authenticator(Protocol):
    """What the guard needs of identity's service."""

    async def authenticate(self, token: str, cause: Cause) -> Actor:
        """The actor that `token` stands for; ProblemError `not_logged_in` if it stands for nobody."""


class requires:  # noqa: N801 - reads as a word at the route
    """The permission declaration of one route, a FastAPI dependency that gives the Actor."""

    def __init__(self, permission: Permission, *, within: bool = False) -> None:
        self.permission = permission
        self.within = within

    async def __call__(self, request: Request) -> Actor:
        """Authenticate and authorise this request."""
        actor = await self.identify(request)
        project_id = request.path_params.get("project_id")
        scope = Scope(project_id=project_id)
        allowed = actor.may_within if self.within else actor.may
        if not allowed(self.permission, scope):
            visible = project_id is None or actor.sees(scope)
            raise refusal(self.permission, visible=visible, what=f"project {project_id}")
        request.scope["wardgate.actor"] = actor.email
        return actor

    async def identify(self, request: Request) -> Actor:
        """Whose bearer token that is. Pages, which take a cookie, declare with a kind of `requires` of their own."""
        authenticator: Authenticator = request.app.state.authenticator
        return await authenticator.authenticate(bearer_token(request), cause_of(request))


def bearer_token(request: Request) -> str:
    """The token of the Authorization header; ProblemError `not_logged_in` without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ProblemError(ProblemCode.NOT_LOGGED_IN, "This needs a login: run wardgate login, or set WARDGATE_TOKEN.")
    return token.strip()


def cause_of(request: Request, *, actor: str = "nobody", actor_id: str | None = None) -> Cause:
    """Where the request comes from, for the audit log; the address is the one that `web` worked out."""
    return Cause(
        actor=actor,
        actor_id=actor_id,
        address=request.scope.get("wardgate.address"),
        request_id=request.scope.get("wardgate.request_id"),
        client=client_of(request),
    )


def client_of(request: Request) -> str | None:
    """What the program that asks calls itself: printable ASCII, and short, whatever it sent."""
    said = request.headers.get("user-agent", "").strip()[:_MOST_OF_A_CLIENT]
    return "".join(sign if " " <= sign <= "~" else "?" for sign in said) or None

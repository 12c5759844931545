"""Looking at the routes themselves: which there are, and what each declares.

Law: every route declares one permission, by a dependency that has a `permission`; those in PUBLIC and
PUBLIC_PAGES are the whole list of exceptions. The first may only shrink; the second grows only by pages before sign-in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from ..identity.permissions import Permission

API = "/api/"
PUBLIC: Final = frozenset(
    {
        ("GET", "/api/v1/health"),
        ("POST", "/api/v1/auth/browser-requests"),  # opens nothing until somebody who is signed in approves it
        ("POST", "/api/v1/auth/browser-requests/{request_id}/token"),  # proves code and verifier inside
        ("POST", "/api/v1/auth/device-requests"),  # opens nothing until somebody who is signed in approves it
        ("POST", "/api/v1/auth/device-requests/token"),  # proves a device code inside
        ("POST", "/api/v1/auth/login"),
        ("POST", "/api/v1/auth/passkey/options"),
        ("POST", "/api/v1/auth/passkey/verify"),  # proves a passkey inside
        ("POST", "/api/v1/auth/password-link"),  # answers everybody alike
        ("POST", "/api/v1/auth/password-link/redeem"),  # proves a token inside
        ("POST", "/api/v1/auth/refresh"),
        ("POST", "/api/v1/auth/service-token"),  # proves a secret or a signed token inside
        ("POST", "/api/v1/enrol"),  # proves an enrolment token inside
    }
)
# Pages for people who are not signed in; what they may do, they prove inside.
PUBLIC_PAGES: Final = frozenset(
    {
        ("GET", "/password"),
        ("POST", "/password"),
        ("GET", "/password/forgotten"),
        ("POST", "/password/forgotten"),
        ("GET", "/sign-in"),
        ("POST", "/sign-in"),
        ("POST", "/sign-in/passkey"),
        ("POST", "/sign-in/passkey/options"),
        ("GET", "/sign-in/sso/{provider}"),
        ("GET", "/sign-in/sso/{provider}/callback"),  # proves state, cookie and the provider's token inside
        ("GET", "/set-up"),
        ("POST", "/set-up"),
    }
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method at one address, and the permission that it declares."""

    method: str
    path: str
    name: str
    permission: Permission | None

    @property
    def is_page(self) -> bool:
        """Whether it answers with HTML, to who has a cookie."""
        return not self.path.startswith(API)


def endpoints(app: FastAPI) -> Iterator[Endpoint]:
    """Every endpoint, pages among them. ValueError if one declares more than one permission."""
    for route in iter_route_contexts(app.routes):
        if not isinstance(route.original_route, APIRoute):
            continue
        path, found = str(route.path), set(_permissions(route.dependant))
        if len(found) > 1:
            raise ValueError(f"{path} declares more than one permission")
        for method in sorted(route.methods or ()):
            yield Endpoint(method, path, str(route.name), next(iter(found), None))


def _permissions(dependant: Dependant) -> Iterator[Permission]:
    for dependency in dependant.dependencies:
        permission = getattr(dependency.call, "permission", None)
        if isinstance(permission, Permission):
            yield permission
        yield from _permissions(dependency)

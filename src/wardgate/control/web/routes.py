"""Looking at the routes themselves: which there are, and what each declares.

Law: every route declares one permission, by a dependency that has a `permission`; those in PUBLIC are the whole list of
exceptions, and it may only shrink.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from ..identity.permissions import Permission

PUBLIC: Final = frozenset({
    ("GET", "/api/v1/health"),
    ("POST", "/api/v1/auth/login"),
    ("POST", "/api/v1/auth/refresh"),
    ("POST", "/api/v1/enrol"),  # proves an enrolment token inside
})


def iter_api_routes(app: FastAPI) -> Iterator[tuple[str, APIRoute]]:
    """Every API route with its full path."""
    for route in app.routes:
        if isinstance(route, APIRoute):
            yield route.path, route


def declared_permission(route: APIRoute) -> Permission | None:
    """What the route declares, or None."""
    found = set(_permissions(route.dependant))
    if len(found) > 1:
        raise ValueError(f"{route.path} declares more than one permission")
    return found.pop() if found else None


def _permissions(dependant: Dependant) -> Iterator[Permission]:
    for dependency in dependant.dependencies:
        permission = getattr(dependency.call, "permission", None)
        if isinstance(permission, Permission):
            yield permission
        yield from _permissions(dependency)

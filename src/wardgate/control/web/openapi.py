"""The contract document at `/api/openapi.json`.

The framework writes it from the routes. Three things are put right here: failures are problem documents and nothing
else, each operation says which permission it needs, and operation ids are the names of the functions, so that
generated clients read well.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ...api.problems import Problem
from ..identity.permissions import MACHINE
from .failures import MEDIA_TYPE
from .routes import Endpoint, endpoints

_PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}


def install(app: FastAPI) -> None:
    """Replace the generator of the document; it runs once, at the first request for it."""

    def generate() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = generate  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    document["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "An access token."},
        "assertion": {"type": "http", "scheme": "WGA1", "description": "A gateway's or relay's signed assertion."},
    }
    for endpoint in endpoints(app):
        if endpoint.is_page:
            continue
        _complete(document["paths"][endpoint.path][endpoint.method.lower()], endpoint)
    return document


def _complete(operation: dict[str, Any], endpoint: Endpoint) -> None:
    operation["operationId"] = endpoint.name
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)
    responses["default"] = {"description": "A problem document.", "content": {MEDIA_TYPE: {"schema": _PROBLEM_REF}}}
    if endpoint.permission is not None:
        machine = endpoint.permission in MACHINE
        operation["x-permission"] = endpoint.permission.value
        operation["security"] = [{"assertion" if machine else "token": []}]

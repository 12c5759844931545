"""The features on HTTP: composition, problem documents, the OpenAPI document and what guards every request."""

from .app import create_app

__all__ = ["create_app"]

"""Whether this process can serve: for load balancers and for people with curl."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text

from ..db import Database


class Health(BaseModel):
    """It answers, and so does its database. No version: nobody has logged in."""

    status: Literal["ok"] = "ok"


def build(database: Database) -> APIRouter:
    """The route `/health`."""
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def health() -> Health:
        """Whether the control plane and its database answer."""
        async with database.read() as session:
            await session.execute(text("SELECT 1"))
        return Health()

    return router

"""The vault over HTTP: the state of its master keys, and their rotation. No key goes in or out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from ...api.vault import VaultState
from ..identity import Actor, Permission, requires
from .service import RotationService


def build(rotation: RotationService) -> APIRouter:
    """The routes below `/vault`."""
    router = APIRouter(prefix="/vault", tags=["vault"])

    @router.get("", dependencies=[Depends(requires(Permission.ORGANISATION_VAULT_READ))])
    async def read_vault() -> VaultState:
        """Which master keys there are, what each of them has sealed, and which nodes have them."""
        return await rotation.state()

    @router.post("/rotate")
    async def rotate_master_key(
        actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_VAULT_ROTATE))],
    ) -> VaultState:
        """Seal everything with the newest master key, which every node must have already."""
        return await rotation.rotate(actor)

    return router

"""Bodies of the API that are about the vault's master keys: their ids and counts, never a key."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class MasterKeyState(BaseModel):
    """One master key."""

    id: str = Field(description="A hash of the key, which tells nothing of it.")
    available: bool = Field(description="Whether the node that answers has it.")
    sealed: int = Field(description="How many keys of projects it has sealed.")


class VaultNode(BaseModel):
    """A node of the control plane that runs now."""

    host: str
    started_at: datetime
    keys: list[str] = Field(description="Ids of the master keys that it has.")


class VaultState(BaseModel):
    """The vault as it is now."""

    current: str = Field(description="Id of the master key that seals.")
    newest: str = Field(description="Id of the newest key where this node's keys come from.")
    rotating: bool = Field(description="Whether something is still sealed by an older one.")
    keys: list[MasterKeyState]
    nodes: list[VaultNode]

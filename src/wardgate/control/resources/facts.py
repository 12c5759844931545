"""An account as other features see it: where it is, what it asks for, and which gateway reaches it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..identity.actor import Scope


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """An account as access sees it, with its resource and the gateway that reaches it."""

    project_id: str
    resource_id: str
    resource: str
    account_id: str
    account: str
    gateway_id: str
    gateway: str
    require_mfa: bool
    require_reason: bool
    require_approval: bool
    allow_admin: bool
    needs_password: bool
    max_duration: timedelta | None
    idle_timeout: timedelta | None
    max_sessions: int | None

    @property
    def scope(self) -> Scope:
        """Where it is."""
        return Scope(self.project_id, self.resource_id, self.account_id)

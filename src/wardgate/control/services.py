"""The wiring: every service of the control plane, built once, in the order of the features.

Law: dependencies are arguments; a service knows the others it was given and looks nothing up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ..numbers import DEFAULT, Numbers
from .audit_log import AuditLog
from .db import Database
from .identity.passwords import PasswordHasher
from .identity.service import IdentityService
from .projects import ProjectService
from .settings import Settings
from .sources import Sources


@dataclass(slots=True)
class Services:
    """What `create_app` composes and `server run` keeps running."""

    settings: Settings
    numbers: Numbers
    sources: Sources
    database: Database
    audit_log: AuditLog
    identity: IdentityService
    projects: ProjectService
    # Set when the program stops: endless answers (the control link) watch it and end themselves.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def close(self) -> None:
        """Let everything go."""
        self.stopping.set()
        await self.database.close()


async def open_services(
    settings: Settings,
    database: Database,
    *,
    numbers: Numbers = DEFAULT,
    sources: Sources | None = None,
    hasher: PasswordHasher | None = None,
) -> Services:
    """Build every service over an open, migrated `database`."""
    sources = sources or Sources()
    audit_log = AuditLog(sources)
    identity = IdentityService(database, audit_log, sources, numbers, hasher or PasswordHasher())
    projects = ProjectService(database, audit_log, sources)
    return Services(settings, numbers, sources, database, audit_log, identity, projects)

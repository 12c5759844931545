"""The control plane's own audit log: what administrators and users did, append-only and hash-chained."""

from .events import Event
from .log import AuditLog, Cause

__all__ = ["AuditLog", "Cause", "Event"]

"""The control plane's own audit log as people read it; `audit_log` writes it."""

from .service import JournalService

__all__ = ["JournalService"]

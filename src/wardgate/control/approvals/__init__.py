"""Access requests: somebody asks, somebody else decides, and a grant opens one account for a while."""

from .service import ApprovalService

__all__ = ["ApprovalService"]

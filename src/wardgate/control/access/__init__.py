"""Access: who may open a session on which account, the sessions, and the leases under which gateways serve them."""

from .service import AccessService

__all__ = ["AccessService"]

"""Access: who may open a session on which account, the sessions, and the leases under which gateways serve them."""

from .gateways import GatewayAccess
from .lifecycle import Lifecycle
from .passwords import SessionPasswords
from .places import RecordPlace, SessionDirectory
from .service import AccessService
from .sweep import Sweep

__all__ = [
    "AccessService",
    "GatewayAccess",
    "Lifecycle",
    "RecordPlace",
    "SessionDirectory",
    "SessionPasswords",
    "Sweep",
]

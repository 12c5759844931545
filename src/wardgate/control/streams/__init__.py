"""Stream-outs: lines of the record and of the audit log, sent to where an organisation collects such things."""

from .pump import Deliveries
from .service import StreamService

__all__ = ["Deliveries", "StreamService"]

"""Records: what gateways delivered, checked on arrival, kept as it came, read and verified."""

from .heads import latest_head
from .objects import ObjectFolder, ObjectStore
from .service import RecordService

__all__ = ["ObjectFolder", "ObjectStore", "RecordService", "latest_head"]

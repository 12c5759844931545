"""Records: what gateways delivered, checked on arrival, kept as it came, read and verified."""

from .bucket import Bucket
from .heads import latest_head
from .objects import Layered, ObjectFolder, ObjectStore
from .service import RecordService

__all__ = ["Bucket", "Layered", "ObjectFolder", "ObjectStore", "RecordService", "latest_head"]

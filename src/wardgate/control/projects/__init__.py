"""Projects: the spaces that gateways, resources and sessions belong to. Also the worked example of a feature."""

from .keeping import RecordKeeping
from .masking import MaskingRules
from .service import ProjectService

__all__ = ["MaskingRules", "ProjectService", "RecordKeeping"]

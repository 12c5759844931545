"""Multi-factor authentication: second factors, the challenges that ask for them, and the organisation's rule."""

from .service import MfaService
from .verification import Verification

__all__ = ["MfaService", "Verification"]

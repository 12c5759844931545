"""Single sign-on for people: providers of OpenID Connect, whom they vouch for, and signing in by one."""

from .providers import ProviderService
from .service import SsoService

__all__ = ["ProviderService", "SsoService"]

"""Resources and their accounts: the two forms, what they refuse, and the credentials that nobody gets to see again."""

from .accounts import AccountService
from .catalogue import ResourceCatalogue
from .service import ResourceService

__all__ = ["AccountService", "ResourceCatalogue", "ResourceService"]

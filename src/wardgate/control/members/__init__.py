"""Members: who has which role where. Above resources, because a role may be bound to one of their accounts."""

from .service import BindingService

__all__ = ["BindingService"]

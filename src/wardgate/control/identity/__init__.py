"""Who somebody is and what they may do."""

from .actor import Actor, Binding, Scope
from .guard import requires
from .permissions import Permission, Role

__all__ = ["Actor", "Binding", "Permission", "Role", "Scope", "requires"]

"""Several nodes of one control plane: how they wake each other, share out the jobs, and know of each other."""

from .leases import JobLeases
from .nodes import Nodes
from .signals import Signals

__all__ = ["JobLeases", "Nodes", "Signals"]

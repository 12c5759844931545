"""The fleet: gateways and relays, how they join, prove who they are, report, and are cut off."""

from .enrolment import Enrolment
from .guard import Caller, MachineGuard, operates
from .link import LinkHub
from .probes import ConnectionTests
from .service import FleetService

__all__ = ["Caller", "ConnectionTests", "Enrolment", "FleetService", "LinkHub", "MachineGuard", "operates"]

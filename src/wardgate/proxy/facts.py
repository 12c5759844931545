"""What the machine is told about the world around one connection. Values; who changes them hands in new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..command.masking import Redactor
from ..policy.decide import Policy
from ..wire.faults import LoginFaults
from ..wire.login import LoginKeys
from .work import WorkLog


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """One client connection: its number in the session, whose it is, and where it came in.

    `peer` is the client's address at the local proxy, `local` the loopback address it connected to, `member` the
    member behind that listener; None is the main port.
    """

    connection: int
    session: str
    user: str
    peer: str
    local: str
    member: str | None


@dataclass(frozen=True, slots=True)
class SessionRules:
    """What all connections of an access session share.

    `random(n)` gives n random bytes. With `local_auth` the session password is required of every client. `faults` are
    what a fail point of this session does to its logins.
    `redactor` masks what is recorded, by rules that may change while the session lives.
    """

    policy: Policy
    work: WorkLog
    login_keys: LoginKeys
    random: Callable[[int], bytes]
    local_auth: bool = False
    faults: LoginFaults = field(default_factory=LoginFaults)
    redactor: Redactor = field(default_factory=Redactor)


@dataclass(frozen=True, slots=True)
class Topology:
    """The deployment's kind (`standalone`, `replica_set`, `sharded`, `load_balanced`) and each member's listener.

    `listeners` maps a member's ``host:port``, in lower case, to the loopback address that leads to it. With `single`,
    the main port's address, there is no other: a replica set is shown as a set of one member there. With
    `follows_primary` the main port leads to the primary, and whatever says that it is none is not shown there.
    """

    kind: str
    listeners: Mapping[str, str] = field(default_factory=dict)
    single: str | None = None
    follows_primary: bool = False

    @property
    def client_bytes(self) -> int:
        """How long a hello's `client` document may get: a mongod takes 1,024 bytes, a mongos 512."""
        return 1024 if self.kind in ("replica_set", "standalone") else 512

    @property
    def balanced(self) -> bool:
        """Whether the server stands behind a load balancer, which its clients must say that they know."""
        return self.kind == "load_balanced"

    def shows(self, member: str) -> bool:
        """Whether a hello of `member` can be rewritten so that its own address is in it."""
        return self.kind != "replica_set" or self.single is not None or member in self.listeners

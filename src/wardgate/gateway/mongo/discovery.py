"""Which members there are and which of them is the primary: the driver specification's rules, as a pure machine.

What it is: hellos in (as `Description`), one `Topology` out (Server Discovery and Monitoring, MongoDB specification).
What it is not: a monitor; nothing here dials, waits or knows the time.

Law:
1. An older primary never replaces a newer one: (electionId, setVersion) only goes up, with the order of the two as
   the server's wire version demands.
2. There is at most one primary.
3. In a replica set the members are those that the set names, not those that we were told to dial; a seed that goes by
   another name disappears once the primary has spoken.
4. The list never becomes empty, so a mistake is reported and looked at again, not forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any

from bson import ObjectId

from .errors import quoted
from .target import ADDRESSES_MAX, join_address, split_address

_WIRE_6_0 = 17  # from here on electionId is compared before setVersion


class Kind(StrEnum):
    """What a deployment is; the values are those of the tunnel's topology frame."""

    LOAD_BALANCED = "load_balanced"
    REPLICA_SET = "replica_set"
    SHARDED = "sharded"
    STANDALONE = "standalone"
    UNKNOWN = "unknown"


class Role(StrEnum):
    """What a member is; the values are those of the tunnel's topology frame."""

    ARBITER = "arbiter"
    MONGOS = "mongos"
    OTHER = "other"
    PRIMARY = "primary"
    SECONDARY = "secondary"
    STANDALONE = "standalone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Member:
    """One member by its address (`host:port`, lower-cased)."""

    address: str
    role: Role


@dataclass(frozen=True, slots=True)
class Topology:
    """What is known of a deployment at one moment.

    `primary` is where the main port leads: the primary of a set, the standalone, the load balancer, or one mongos, the
    same one for as long as it lives, because cursors and transactions live in one mongos. None while there is none.
    `problem` says in one sentence what contradicts the resource's settings.
    """

    kind: Kind
    set_name: str | None = None
    members: tuple[Member, ...] = ()
    primary: str | None = None
    problem: str | None = None

    def role(self, address: str) -> Role | None:
        """The role of a member, None where it is none."""
        return next((member.role for member in self.members if member.address == address), None)


@dataclass(frozen=True, slots=True)
class Description:
    """One member's own words, or (role UNKNOWN) why there are none."""

    address: str
    role: Role = Role.UNKNOWN
    set_name: str | None = None
    me: str | None = None
    hosts: tuple[str, ...] = ()
    set_version: int | None = None
    election_id: bytes | None = None
    max_wire_version: int = 0
    error: str | None = None
    code: str | None = None  # the error's, where it is one of `errors.Code`

    @classmethod
    def unknown(cls, address: str, error: str | None = None, code: str | None = None) -> Description:
        """Not reached, or not believed."""
        return cls(address, error=error, code=code)

    @classmethod
    def of(cls, address: str, hello: Mapping[str, Any]) -> Description:
        """Read a hello reply. Its addresses are hostile: what is none is left out, and there are at most 64."""
        if hello.get("ok") != 1:
            return cls.unknown(address, f"hello was refused: {quoted(hello.get('errmsg'))}")
        named = (hello.get(key) for key in ("hosts", "passives", "arbiters"))
        hosts = _addresses(each for group in named if isinstance(group, list) for each in group)
        me, set_name = hello.get("me"), hello.get("setName")
        set_version, election_id = hello.get("setVersion"), hello.get("electionId")
        wire = hello.get("maxWireVersion")
        return cls(
            address,
            role=_role(hello),
            set_name=set_name if isinstance(set_name, str) else None,
            me=next(iter(_addresses([me])), None),
            hosts=hosts,
            set_version=set_version if isinstance(set_version, int) else None,
            election_id=election_id.binary if isinstance(election_id, ObjectId) else None,
            max_wire_version=wire if isinstance(wire, int) else 0,
        )


class _Mode(Enum):
    """The specification's TopologyType, where it is not told by the members' roles."""

    UNKNOWN = auto()
    SINGLE = auto()
    SHARDED = auto()
    SET = auto()
    BALANCED = auto()


class Discovery:
    """Feed it descriptions; read `topology` and `addresses` (those to watch)."""

    def __init__(
        self, seeds: Iterable[str], *, set_name: str | None = None, direct: bool = False, load_balanced: bool = False
    ) -> None:
        self._members = {address: Description.unknown(address) for address in seeds}
        if not self._members:
            raise ValueError("a deployment has at least one seed")
        self._seed_count = len(self._members)
        self._set_name = set_name
        self._newest: tuple[bytes | None, int | None] = (None, None)  # electionId, setVersion
        self._main: str | None = None
        self._problems: dict[str, str] = {}
        self._mode = _Mode.UNKNOWN
        if load_balanced:
            self._mode = _Mode.BALANCED
        elif direct:
            self._mode = _Mode.SINGLE
        elif set_name is not None:
            self._mode = _Mode.SET

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address to watch."""
        return () if self._mode is _Mode.BALANCED else tuple(self._members)

    @property
    def descriptions(self) -> tuple[Description, ...]:
        """The latest word of each."""
        return tuple(self._members.values())

    @property
    def topology(self) -> Topology:
        """As of now."""
        if self._mode is _Mode.BALANCED:
            members = tuple(Member(address, Role.MONGOS) for address in self._members)
            return Topology(Kind.LOAD_BALANCED, None, members, members[0].address)
        self._main = self._choose_main()
        return Topology(
            kind=self._kind(),
            set_name=self._set_name,
            members=tuple(Member(each.address, each.role) for each in self._members.values()),
            primary=self._main,
            problem=next(iter(self._problems.values()), None),
        )

    def update(self, told: Description) -> Topology:
        """Take one description in; returns the topology after it. One of an address that is gone is ignored."""
        if told.address not in self._members or self._mode is _Mode.BALANCED:
            return self.topology
        self._problems.pop(told.address, None)
        self._members[told.address] = told
        if told.role is not Role.UNKNOWN:
            self._place(told)
        return self.topology

    @property
    def follows_seeds(self) -> bool:
        """Whether the members are those that we were told to dial: a set names its own, a mongos knows no others."""
        return self._mode in (_Mode.SHARDED, _Mode.UNKNOWN)

    def reseed(self, seeds: Iterable[str]) -> Topology:
        """The seeds are these now (Polling SRV Records for mongos Discovery, MongoDB specification)."""
        wanted = tuple(seeds)
        if self.follows_seeds and wanted:
            self._seed_count = len(wanted)
            self._add(wanted)
            for address in [each for each in self._members if each not in wanted]:
                self._drop(address)
        return self.topology

    # --- the specification's table -------------------------------------------------------------------------------

    def _place(self, told: Description) -> None:
        if self._mode is _Mode.SINGLE:
            if self._set_name is not None and told.set_name != self._set_name:
                self._reject(told, self._wrong_set(told))
            elif told.set_name is not None:
                self._set_name = told.set_name
            return
        if self._mode is _Mode.UNKNOWN:
            self._decide_mode(told)
        elif self._mode is _Mode.SHARDED and told.role is not Role.MONGOS:
            self._reject(told, f"{told.address} is no mongos, unlike the resource's other hosts")
        if self._mode is _Mode.SET:
            self._place_in_set(told)

    def _decide_mode(self, told: Description) -> None:
        if told.role is Role.MONGOS:
            self._mode = _Mode.SHARDED
            for other in list(self._members.values()):
                if other.role not in (Role.MONGOS, Role.UNKNOWN):
                    self._reject(other, f"{other.address} is no mongos, unlike the resource's other hosts")
        elif told.role is Role.STANDALONE:
            if self._seed_count == 1:
                self._mode = _Mode.SINGLE
            else:
                self._reject(told, f"{told.address} is a standalone, so it must be the resource's only host")
        elif told.set_name is not None:
            self._mode = _Mode.SET

    def _place_in_set(self, told: Description) -> None:
        if told.set_name is None:
            if told.role is not Role.OTHER:  # a member that has not heard of its set yet is no contradiction
                self._reject(told, self._wrong_set(told))
        elif self._set_name is not None and told.set_name != self._set_name:
            self._reject(told, self._wrong_set(told))
        elif told.role is Role.PRIMARY:
            self._take_primary(told)
        else:
            self._set_name = told.set_name
            if self._primary() is None:
                self._add(told.hosts)
            if told.me is not None and told.me != told.address:
                self._drop(told.address)

    def _take_primary(self, told: Description) -> None:
        self._set_name = told.set_name
        if self._is_stale(told):
            self._members[told.address] = Description.unknown(told.address, "it believes it is primary, and is not")
            return
        for other in list(self._members.values()):
            if other.role is Role.PRIMARY and other.address != told.address:
                self._members[other.address] = Description.unknown(other.address, "another member became primary")
        self._add(told.hosts)
        for address in list(self._members):
            if told.hosts and address not in told.hosts:
                self._drop(address)

    def _is_stale(self, told: Description) -> bool:
        """Also remembers the newest election seen."""
        election, version = self._newest
        if told.max_wire_version >= _WIRE_6_0:
            mine, newest = _ordered(told.election_id, told.set_version), _ordered(election, version)
            if newest > mine:
                return True
            self._newest = (told.election_id, told.set_version)
            return False
        if told.set_version is not None and told.election_id is not None:
            if None not in self._newest and (version or 0, election or b"") > (told.set_version, told.election_id):
                return True
            election = told.election_id
        if told.set_version is not None and (version is None or told.set_version > version):
            version = told.set_version
        self._newest = (election, version)
        return False

    # --- the list ------------------------------------------------------------------------------------------------

    def _add(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            if len(self._members) < ADDRESSES_MAX:
                self._members.setdefault(address, Description.unknown(address))

    def _drop(self, address: str) -> None:
        if len(self._members) > 1:
            self._members.pop(address, None)
            self._problems.pop(address, None)

    def _reject(self, told: Description, problem: str) -> None:
        """It answers, but not as what it should be: it is no member, and that is said."""
        self._members[told.address] = Description.unknown(told.address, problem)
        self._problems[told.address] = f"{problem}."

    def _primary(self) -> str | None:
        return next((each.address for each in self._members.values() if each.role is Role.PRIMARY), None)

    def _choose_main(self) -> str | None:
        wanted = {_Mode.SET: (Role.PRIMARY,), _Mode.SHARDED: (Role.MONGOS,)}.get(
            self._mode, (Role.PRIMARY, Role.STANDALONE, Role.MONGOS, Role.SECONDARY)
        )
        usable = [each.address for each in self._members.values() if each.role in wanted]
        return self._main if self._main in usable else next(iter(usable), None)

    def _kind(self) -> Kind:
        if self._mode is _Mode.SET:
            return Kind.REPLICA_SET
        if self._mode is _Mode.SHARDED:
            return Kind.SHARDED
        roles = {each.role for each in self._members.values()}
        if Role.MONGOS in roles:
            return Kind.SHARDED
        if roles & {Role.PRIMARY, Role.SECONDARY, Role.ARBITER, Role.OTHER}:
            return Kind.REPLICA_SET
        return Kind.STANDALONE if Role.STANDALONE in roles else self._kind_before()

    def _kind_before(self) -> Kind:
        """A standalone that does not answer for a moment is still one."""
        if self._mode is not _Mode.SINGLE:
            return Kind.UNKNOWN
        return Kind.REPLICA_SET if self._set_name is not None else Kind.STANDALONE

    def _wrong_set(self, told: Description) -> str:
        if told.set_name is None:
            return f"{told.address} is no member of a replica set, but the resource names {quoted(self._set_name, 80)}"
        return (
            f"{told.address} belongs to replica set {quoted(told.set_name, 80)}, "
            f"but the resource names {quoted(self._set_name, 80)}"
        )


def _ordered(election: bytes | None, version: int | None) -> tuple[bool, bytes, bool, int]:
    """An order in which "none" is before everything."""
    return (election is not None, election or b"", version is not None, version or 0)


def _addresses(values: Iterable[object]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for value in values:
        if isinstance(value, str) and len(found) < ADDRESSES_MAX:
            try:
                found[join_address(*split_address(value))] = None
            except ValueError:
                continue
    return tuple(found)


def _role(hello: Mapping[str, Any]) -> Role:
    if hello.get("msg") == "isdbgrid":
        return Role.MONGOS
    if "setName" not in hello:
        return Role.OTHER if hello.get("isreplicaset") is True else Role.STANDALONE
    if hello.get("hidden") is True:
        return Role.OTHER
    if hello.get("isWritablePrimary") is True or hello.get("ismaster") is True:
        return Role.PRIMARY
    if hello.get("secondary") is True:
        return Role.SECONDARY
    return Role.ARBITER if hello.get("arbiterOnly") is True else Role.OTHER

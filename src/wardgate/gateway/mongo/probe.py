"""The connection test: every hop to every member, in order, and which one fails.

What it is: the same name resolution, dialling, TLS and login that sessions use, taken one step at a time with a clock
in hand. What it is not: a monitor; it looks once (and waits a little for an election). It never raises for a fault of
the database: a fault is a hop that is not ok.

A result is `ok` when a session would work: the topology contradicts nothing, there is a primary that can be reached,
and nothing but plain unreachability (`dns_failed`, `tcp_…`) was found at any other member. One dead seed of three is
shown and tolerated; a wrong certificate or a refused password anywhere is not.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ...api.models import Hop, HopKind, TestResult
from .connection import client_certificate_refused, connect, resolve
from .discovery import Description, Discovery, Kind, Role, Topology
from .errors import Code, MongoError, quoted
from .login import Login
from .server import ServerConnection
from .target import Target

T = TypeVar("T")
ELECTION_WAIT = 5.0  # how long a set without a primary is looked at again
ELECTION_POLL = 0.5
_SHARE = 0.8  # of the whole test's time; the rest is for fetching the credentials and for reporting
PLAIN_PROBE = 2.0  # for the second look that tells "no TLS" from "cut"
_TOLERATED = frozenset({Code.DNS_FAILED, Code.TCP_REFUSED, Code.TCP_TIMEOUT, Code.TCP_UNREACHABLE})
LAG_WAIT, LAG_POLL = 3.0, 0.25  # a secondary may not have heard yet of a user that the primary knows
_NO_LOGIN = frozenset({Role.ARBITER, Role.OTHER, Role.UNKNOWN})  # they hold no users, or do not serve yet
_UNPLACED = frozenset({Role.OTHER, Role.UNKNOWN})  # it does not say where it belongs, or nothing at all
_MAYBE_NOT_TLS = frozenset({Code.TLS_FAILED, Code.TLS_TIMEOUT})


async def test(target: Target, login: Login | None) -> TestResult:
    """Test a deployment; the login hop only where a login is given. Done before `numbers.connection_test` is up."""
    probe = Probe(target, login)
    seconds = target.numbers.connection_test * _SHARE
    try:
        async with asyncio.timeout(seconds):
            await probe.run()
    except TimeoutError:
        late = MongoError(Code.SERVER_SILENT, f"The test was not done within {seconds:g} s and was given up.")
        probe.failed(HopKind.TOPOLOGY, target.seeds[0], late, seconds)
    return probe.result()


@dataclass(slots=True)
class Probe:
    """One run. Members are tested side by side; hops are reported member by member, in the order of the hops."""

    target: Target
    login: Login | None
    _hops: dict[str, list[Hop]] = field(default_factory=dict)
    _told: dict[str, Description] = field(default_factory=dict)  # by address, also of those that proved no members
    _connections: dict[str, ServerConnection] = field(default_factory=dict)
    _discovery: Discovery = field(init=False)

    def __post_init__(self) -> None:
        target = self.target
        self._discovery = Discovery(target.seeds, set_name=target.set_name, direct=target.direct)

    async def run(self) -> None:
        """Seeds first, then the members that they name, then the logins, then the verdict over all."""
        try:
            with self._timed() as elapsed:
                await self._test_all(self.target.seeds)
                while new := [each for each in self._discovery.addresses if each not in self._hops]:
                    await self._test_all(new)
                topology = await self._after_election()
                duration = elapsed()
            if self.login is not None and topology.problem is None:
                await self._log_in_everywhere(self.login, topology.primary)
            self._judge(topology, duration)
        finally:
            for connection in self._connections.values():
                connection.abort()

    def result(self) -> TestResult:
        """What was found so far."""
        hops = [hop for member in self._hops.values() for hop in member]
        fatal = [hop for hop in hops if not hop.ok and hop.code not in _TOLERATED]
        judged = any(hop.hop is HopKind.TOPOLOGY and hop.ok for hop in hops)
        return TestResult(ok=judged and not fatal, hops=hops)

    def failed(self, kind: HopKind, address: str, error: MongoError, duration: float) -> None:
        """Note a hop that failed."""
        self._hops.setdefault(address, []).append(_failed(kind, address, error, duration))

    # --- one member ----------------------------------------------------------------------------------------------

    async def _test_all(self, addresses: tuple[str, ...] | list[str]) -> None:
        for address in addresses:
            self._hops[address] = []
        await asyncio.gather(*(self._test_member(address) for address in addresses))

    async def _test_member(self, address: str) -> None:
        try:
            endpoints = await self._hop(HopKind.DNS, address, lambda: resolve(self.target, address), _resolved)
            sock = await self._hop(HopKind.TCP, address, lambda: connect(self.target, address, endpoints), "connected")
            connection = await self._secure(address, lambda: ServerConnection.over(self.target, address, sock))
        except MongoError as error:
            self._discovery.update(Description.unknown(address, error.message))
            return
        self._connections[address] = connection
        await self._greet(connection)

    async def _secure(self, address: str, dial: Callable[[], Awaitable[ServerConnection]]) -> ServerConnection:
        if self.target.tls is None:
            return await dial()
        done = "verified" if self.target.verified else "encrypted, certificate not checked"

        async def step() -> ServerConnection:
            try:
                return await dial()
            except MongoError as error:
                if error.code in _MAYBE_NOT_TLS and await self._answers_with(address, None):
                    raise _not_tls(address) from error
                raise

        return await self._hop(HopKind.TLS, address, step, done)

    async def _greet(self, connection: ServerConnection) -> None:
        address = connection.address
        with self._timed() as elapsed:
            try:
                hello = await connection.handshake("connection test", self.login)
                if self.target.load_balanced and "serviceId" not in hello:
                    raise MongoError(
                        Code.TOPOLOGY_MEMBER,
                        f"{quoted(address)} is not behind a load balancer: drop loadBalanced=true.",
                    )
            except MongoError as error:
                refined = await self._refined(address, error)
                # A certificate that the server wants from us is asked for after the handshake (TLS 1.3).
                kind = HopKind.TLS if refined.code.startswith("tls_") else HopKind.TOPOLOGY
                self.failed(kind, address, refined, elapsed())
                description = Description.unknown(address, refined.message)
            else:
                description = Description.of(address, hello)
        self._told[address] = description
        self._discovery.update(description)

    async def _refined(self, address: str, error: MongoError) -> MongoError:
        """A server that hangs up on plain bytes may want TLS, one that does so after TLS a certificate."""
        if error.code not in (Code.SERVER_CLOSED, Code.SERVER_SILENT):
            return error
        if self.target.tls is not None:
            return self._hung_up_after_tls(address) if error.code == Code.SERVER_CLOSED else error
        if not await self._answers_with(address, _unverified()):
            return error
        return MongoError(
            Code.TLS_REQUIRED, f"{quoted(address)} takes TLS connections only: turn SSL on for this resource."
        )

    def _hung_up_after_tls(self, address: str) -> MongoError:
        """mongod judges certificates after the handshake and says nothing; in TLS 1.3 an alert gets lost likewise."""
        if self.target.shows_certificate:
            return client_certificate_refused(address)
        return MongoError(
            Code.TLS_CLIENT_CERTIFICATE,
            f"{quoted(address)} hung up right after the TLS handshake, as servers do that demand a client certificate: "
            "give the account one (until then save the resource untested), or set "
            "net.tls.allowConnectionsWithoutCertificates at the server.",
        )

    async def _answers_with(self, address: str, tls: ssl.SSLContext | None) -> bool:
        """Whether the member says hello with the other kind of transport. No credentials are used."""
        other = replace(self.target, tls=tls)
        try:
            async with await ServerConnection.open(other, address, purpose="connection test", timeout=PLAIN_PROBE):
                return True
        except MongoError:
            return False

    # --- logins ---------------------------------------------------------------------------------------------------

    async def _log_in_everywhere(self, login: Login, primary: str | None) -> None:
        """The primary first: its refusal is the truth, and asking the others would only fill their logs."""
        usable = [address for address, told in self._told.items() if told.role not in _NO_LOGIN]
        if primary in usable and not await self._log_in(login, primary, patience=0.0):
            return
        patience = LAG_WAIT if primary in usable else 0.0
        await asyncio.gather(*(self._log_in(login, each, patience) for each in usable if each != primary))

    async def _log_in(self, login: Login, address: str, patience: float) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + patience

        async def step() -> None:
            while True:
                try:
                    return await self._log_in_once(login, self._connections[address])
                except MongoError as error:
                    if error.code != Code.LOGIN_FAILED or loop.time() >= until:
                        raise
                await asyncio.sleep(LAG_POLL)
                self._connections[address].abort()
                self._connections[address] = await ServerConnection.open(
                    self.target, address, purpose="connection test"
                )

        done = f"user {quoted(login.username)} of database {quoted(login.auth_database)}"
        try:
            await self._hop(HopKind.LOGIN, address, step, done)
        except MongoError:
            return False
        return True

    async def _log_in_once(self, login: Login, connection: ServerConnection) -> None:
        try:
            async with asyncio.timeout(self.target.numbers.server_login):
                await connection.log_in(login)
        except TimeoutError as error:
            raise MongoError(Code.SERVER_SILENT, f"{connection.address} did not finish the login in time.") from error

    # --- all of them ----------------------------------------------------------------------------------------------

    async def _after_election(self) -> Topology:
        """The topology; where a set has no primary, it gets a few seconds to elect one."""
        loop = asyncio.get_running_loop()
        until = loop.time() + ELECTION_WAIT
        while True:
            topology = self._discovery.topology
            electing = any(member.role in (Role.SECONDARY, Role.OTHER) for member in topology.members)
            if topology.primary is not None or topology.problem or not electing or loop.time() >= until:
                return topology
            await asyncio.sleep(ELECTION_POLL)
            await asyncio.gather(*(self._look_again(each) for each in self._discovery.addresses))

    async def _look_again(self, address: str) -> None:
        try:
            async with await ServerConnection.open(self.target, address, purpose="connection test") as connection:
                self._discovery.update(Description.of(address, connection.hello))
        except MongoError as error:
            self._discovery.update(Description.unknown(address, error.message))

    def _judge(self, topology: Topology, duration: float) -> None:
        if self.target.load_balanced:
            topology = replace(topology, kind=Kind.LOAD_BALANCED)
        name = quoted(topology.set_name or self.target.seeds[0], 80)
        error = self._contradiction(topology)
        if error is not None:
            if error.code != Code.TOPOLOGY_NO_PRIMARY or not any(each.error for each in self._discovery.descriptions):
                self.failed(HopKind.TOPOLOGY, name, error, duration)  # else the hops before it have said why
            return
        hop = Hop(hop=HopKind.TOPOLOGY, target=name, ok=True, message=_summary(topology), duration_ms=_ms(duration))
        self._hops.setdefault(f"topology of {name}", []).append(hop)

    def _stranger(self, topology: Topology) -> str | None:
        """A host of the resource that is a server of another deployment. The set's own list has dropped it where the
        set answered first; what is said of it must not depend on that."""
        if topology.kind is not Kind.REPLICA_SET:
            return None
        seeds = (self._told[each] for each in self.target.seeds if each in self._told)
        return next((e.address for e in seeds if e.role not in _UNPLACED and e.set_name != topology.set_name), None)

    def _contradiction(self, topology: Topology) -> MongoError | None:
        if topology.problem is not None:
            return MongoError(Code.TOPOLOGY_SET_NAME, topology.problem)
        stranger = self._stranger(topology)
        if stranger is not None:
            return MongoError(
                Code.TOPOLOGY_SET_NAME,
                f"{quoted(stranger)} does not belong to the replica set {quoted(topology.set_name, 80)}, unlike the "
                "resource's other hosts: name the hosts of one deployment.",
            )
        if topology.primary is not None:
            return None
        unreached = [member.address for member in topology.members if member.role is Role.UNKNOWN]
        strangers = [address for address in unreached if address not in self.target.seeds]
        if strangers:
            return MongoError(
                Code.TOPOLOGY_MEMBER,
                f"The replica set names its members {quoted(', '.join(strangers))}, which the gateway can't use: make "
                "these names reachable from the gateway, or add directConnection=true to stay on the one host.",
            )
        if len(unreached) == len(topology.members):
            return MongoError(
                Code.TOPOLOGY_NO_PRIMARY, "No member could be reached, so nothing is known of the deployment."
            )
        return MongoError(
            Code.TOPOLOGY_NO_PRIMARY, f"No primary was found within {ELECTION_WAIT:g} s: is a majority of the set up?"
        )

    # --- clock and notes ------------------------------------------------------------------------------------------

    async def _hop(
        self, kind: HopKind, address: str, step: Callable[[], Awaitable[T]], done: str | Callable[[T], str]
    ) -> T:
        with self._timed() as elapsed:
            try:
                result = await step()
            except MongoError as error:
                self.failed(kind, address, error, elapsed())
                raise
            message = done if isinstance(done, str) else done(result)
            hop = Hop(hop=kind, target=address, ok=True, message=message, duration_ms=_ms(elapsed()))
            self._hops[address].append(hop)
            return result

    @contextmanager
    def _timed(self) -> Iterator[Callable[[], float]]:
        started = time.perf_counter()
        yield lambda: time.perf_counter() - started


def _resolved(endpoints: Sequence[object]) -> str:
    return "resolved" if len(endpoints) == 1 else f"resolved to {len(endpoints)} addresses"


def _failed(kind: HopKind, address: str, error: MongoError, duration: float) -> Hop:
    return Hop(hop=kind, target=address, ok=False, code=error.code, message=error.message, duration_ms=_ms(duration))


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def _not_tls(address: str) -> MongoError:
    return MongoError(
        Code.TLS_NOT_SPOKEN,
        f"{quoted(address)} answers without TLS only: turn SSL off for this resource, or TLS on at the server.",
    )


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _summary(topology: Topology) -> str:
    count = len(topology.members)
    match topology.kind:
        case Kind.REPLICA_SET:
            members = "one member" if count == 1 else f"{count} members"
            return f"replica set {quoted(topology.set_name, 80)}, {members}, primary {topology.primary}"
        case Kind.SHARDED:
            return f"sharded cluster through {'one mongos' if count == 1 else f'{count} mongos'}"
        case Kind.LOAD_BALANCED:
            return "behind a load balancer"
        case _:
            return "standalone"

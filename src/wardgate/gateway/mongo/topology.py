"""Watching a deployment: one connection per member, no login, a change is seen within milliseconds.

Members with `topologyVersion` (MongoDB 4.4 and newer) are asked with an awaited hello, which they answer at once when
something changes; older ones are polled. An awaited hello is short (a second), because only a missing answer shows a
member that hangs with its sockets open. The rules are those of `discovery`; this file only asks and tells.

Law: listeners get every change once, in order, as an immutable `Topology`, from the event loop and never from inside a
call of theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Self

from .discovery import Description, Discovery, Role, Topology
from .errors import LASTING, LATE, Code, MongoError
from .login import Login
from .server import ServerConnection
from .target import SeedSource, Target

Listener = Callable[[Topology], None]

POLL = 0.5  # between hellos to members that can't await
AWAIT = 1.0  # how long a member may hold an awaited hello
PROBE_TIMEOUT = 2.0  # beyond that, a member that does not answer is lost
# A mongos that is merely late is not lost before drivers would lose it (connectTimeoutMS + heartbeatFrequencyMS): what
# it holds of cursors and transactions no other mongos has. One that refuses connections is lost at once.
MONGOS_PATIENCE = 20.0
RETRY_FIRST, RETRY_MAX = 0.1, 2.0  # after a failure, doubling
RETRY_WANTED = 0.25  # at most, while there is no primary: somebody may wait for exactly this member
RESCAN_SOON = 10.0  # after a look-up of seeds that failed


class TopologyMonitor:
    """Start it with `start` or `async with`; it watches until `close`."""

    def __init__(
        self,
        target: Target,
        *,
        login: Login | None = None,
        on_change: Listener | None = None,
        poll: float = POLL,
        await_seconds: float = AWAIT,
        probe_timeout: float = PROBE_TIMEOUT,
        mongos_patience: float = MONGOS_PATIENCE,
    ) -> None:
        """`login` is not used to log in: it only learns its mechanism from the members' hellos."""
        self._target = target
        self._login = login
        self._poll = poll
        self._await_ms = int(await_seconds * 1000)
        self._probe_timeout = probe_timeout
        self._mongos_patience = mongos_patience
        self._late: dict[str, tuple[float, str]] = {}  # mongos: since when, and the latest sentence about it
        self._discovery = Discovery(
            target.seeds, set_name=target.set_name, direct=target.direct, load_balanced=target.load_balanced
        )
        self._topology = self._discovery.topology
        self._listeners: list[Listener] = [on_change] if on_change is not None else []
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._hurry: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._rescan: asyncio.Task[None] | None = None
        self._running = False

    @property
    def topology(self) -> Topology:
        """The latest."""
        return self._topology

    @property
    def primary(self) -> str | None:
        """Where the main port leads now."""
        return self._topology.primary

    def errors(self) -> dict[str, str]:
        """Why members are not reached, by address."""
        lost = {each.address: each.error for each in self._discovery.descriptions if each.error is not None}
        return {address: sentence for address, (_, sentence) in self._late.items()} | lost

    def statistics(self) -> dict[str, Any]:
        """For looking inside a running gateway."""
        return {"kind": self._topology.kind, "watched": sorted(self._watches), "errors": self.errors()}

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on every change from now on; returns what unsubscribes it."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return unsubscribe

    def start(self) -> None:
        """Begin to watch. Needs a running loop."""
        self._running = True
        self._follow()
        if self._target.source is not None:
            self._rescan = asyncio.create_task(self._look_up_again(self._target.source), name="topology seeds")

    async def close(self) -> None:
        """Stop watching; no listener is called any more."""
        self._running = False
        self._listeners.clear()
        for address in list(self._watches):
            self._stop(address)
        if self._rescan is not None:
            self._rescan.cancel()
            self._stopping.add(self._rescan)
        await asyncio.gather(*self._stopping, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def hurry(self, address: str | None = None) -> None:
        """Somebody saw a member fail: look at it (or at all) now, not when its turn comes."""
        for each, event in self._hurry.items():
            if address in (None, each):
                event.set()

    async def wait_for(self, accept: Callable[[Topology], bool], timeout: float) -> Topology:
        """The first topology that `accept` takes, the current one included. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while not accept(self._topology):
                self._changed.clear()
                await self._changed.wait()
            return self._topology

    async def wait_primary(self, timeout: float) -> str:
        """The address of the primary, once there is one.

        It does not wait where waiting is no use, so that a client gets the reason before it gives up by itself. Raises
        MongoError(topology_no_primary, topology_set_name, tls_…, …).
        """
        try:
            topology = await self.wait_for(lambda seen: seen.primary is not None or self._is_hopeless(), timeout)
        except TimeoutError as error:
            raise self._no_primary() from error
        if topology.primary is None:
            raise self._no_primary()
        return topology.primary

    def _is_hopeless(self) -> bool:
        """Whether what is wrong needs a person: everybody was looked at, nobody is there, and not for being down."""
        if self._topology.problem is not None:
            return True
        descriptions = self._discovery.descriptions
        nobody = all(each.role is Role.UNKNOWN and each.error is not None for each in descriptions)
        return nobody and any(each.code in LASTING for each in descriptions)

    def _no_primary(self) -> MongoError:
        if self._topology.problem is not None:
            return MongoError(Code.TOPOLOGY_SET_NAME, self._topology.problem)
        lasting = [each for each in self._discovery.descriptions if each.code in LASTING]
        if lasting and self._is_hopeless():
            assert lasting[0].code is not None
            return MongoError(lasting[0].code, lasting[0].error or "")
        reasons = " ".join(self.errors().values())
        if reasons:
            return MongoError(Code.TOPOLOGY_NO_PRIMARY, f"There is no primary to talk to. {reasons}")
        return MongoError(Code.TOPOLOGY_NO_PRIMARY, "There is no primary: the replica set has elected none yet.")

    # --- watching -------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """One watch per address, no more and no fewer."""
        wanted = set(self._discovery.addresses)
        for address in [each for each in self._watches if each not in wanted]:
            self._stop(address)
        for address in wanted - self._watches.keys():
            self._hurry[address] = asyncio.Event()
            self._watches[address] = asyncio.create_task(self._watch(address), name=f"topology {address}")

    def _stop(self, address: str) -> None:
        watch = self._watches.pop(address)
        self._hurry.pop(address, None)
        self._late.pop(address, None)
        self._stopping.add(watch)
        watch.add_done_callback(self._stopping.discard)
        watch.cancel()

    def _tell(self, description: Description) -> None:
        self._late.pop(description.address, None)
        if self._running:
            self._take(self._discovery.update(description))

    def _failed(self, address: str, error: MongoError, *, answered: bool = False) -> None:
        """A look at a member failed; `answered`: on a connection on which it had answered, so a dial says more."""
        late = error.code in LATE or (answered and error.code == Code.SERVER_CLOSED)
        if late and self._topology.role(address) is Role.MONGOS:
            now = asyncio.get_running_loop().time()
            since, _ = self._late.get(address, (now, ""))
            if now - since < self._mongos_patience:
                self._late[address] = since, error.message
                return
        self._tell(Description.unknown(address, error.message, error.code))

    def _take(self, topology: Topology) -> None:
        self._follow()
        if topology != self._topology:
            self._topology = topology
            loop = asyncio.get_running_loop()
            for listener in self._listeners:
                loop.call_soon(listener, topology)
        # After the listeners: who waits for a topology finds that they know it. A failure that changes none wakes too.
        self._changed.set()

    async def _look_up_again(self, source: SeedSource) -> None:
        """While the members are the seeds: ask DNS for them again and again. A failure changes nothing."""
        pause = source.pause
        while True:
            await asyncio.sleep(pause)
            if not self._discovery.follows_seeds:
                continue
            try:
                seeds, pause = await source.again(self._discovery.addresses, self._target.numbers.tcp_connect)
            except MongoError:
                pause = RESCAN_SOON
            else:
                self._take(self._discovery.reseed(seeds))

    async def _watch(self, address: str) -> None:
        pause = RETRY_FIRST
        while True:
            try:
                async with await ServerConnection.open(
                    self._target, address, purpose="monitor", learner=self._login, timeout=self._dial_timeout
                ) as connection:
                    await self._listen(connection)
            except MongoError as error:
                self._failed(address, error)
            except Exception as error:  # a bug of ours must not leave an old topology standing as the truth
                self._tell(Description.unknown(address, "the gateway could not watch it"))
                asyncio.get_running_loop().call_exception_handler({"message": "topology watch", "exception": error})
            else:
                pause = RETRY_FIRST  # it answered before it failed: look again at once, as drivers do
            await self._sleep(address, pause if self._topology.primary is not None else min(pause, RETRY_WANTED))
            pause = min(pause * 2, RETRY_MAX)

    @property
    def _dial_timeout(self) -> float:
        numbers = self._target.numbers
        return numbers.tcp_connect + numbers.tls_handshake + self._probe_timeout

    async def _listen(self, connection: ServerConnection) -> None:
        """Hello after hello, until one fails, which is told."""
        address, hello = connection.address, connection.hello
        try:
            while True:
                description = Description.of(address, hello)
                self._tell(description)
                if hello.get("ok") != 1:
                    return
                hello = await self._next_hello(connection, hello.get("topologyVersion"))
        except MongoError as error:
            self._failed(address, error, answered=True)

    async def _next_hello(self, connection: ServerConnection, version: object) -> dict[str, Any]:
        if not isinstance(version, dict):
            await self._sleep(connection.address, self._poll)
            return await connection.command({connection.hello_command: 1}, timeout=self._probe_timeout)
        command = {"hello": 1, "topologyVersion": version, "maxAwaitTimeMS": self._await_ms}
        return await connection.command(command, timeout=self._await_ms / 1000 + self._probe_timeout)

    async def _sleep(self, address: str, seconds: float) -> None:
        hurry = self._hurry.get(address)
        if hurry is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await hurry.wait()
        hurry.clear()

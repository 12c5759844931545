"""The gateway program: joins, listens through relays, serves sessions, records, ships, and stops cleanly.

Order of a start: folder, identity, spool (what a crash left is recovered before anything new is written), tunnel, first
heartbeat, ready. Order of a stop: no new streams, sessions suspended, spool shipped as far as a few seconds allow.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from ..api.machine import HeartbeatAnswer, LinkEvent, RecordsAck
from ..api.problems import ProblemCode, ProblemError
from ..errors import WardgateError
from ..net import folder, logs
from ..net.beat import Heartbeat, keep_certificate
from ..net.machine import MachineIdentity, SignedClient, load_or_enrol
from ..numbers import DEFAULT, Numbers
from . import link
from .mongo.site import Site
from .probes import Probes
from .registry import Sessions
from .spool.shipper import Shipper
from .spool.spool import Spool
from .tunnel.listener import TunnelListener

_log = logs.get("gateway")
_CONNECT_SECONDS = 5.0  # for the relays, so that "ready" means that people can come
_SIGNATURE_SECONDS = 60.0  # the skew between two clocks that is put up with, twice
_SHIP_SECONDS = 5.0  # what is not shipped by then is shipped after the next start


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """What the command line says."""

    data_dir: Path
    name: str | None
    token: str | None
    domain: str | None = None
    ca_file: Path | None = None
    listen: tuple[str, int] | None = None
    advertise: str | None = None
    site: Site = field(default_factory=Site)
    numbers: Numbers = DEFAULT


class Gateway:
    """One running gateway."""

    def __init__(self, config: GatewayConfig, client: SignedClient, spool: Spool) -> None:
        numbers = config.numbers
        self._config = config
        self._client = client
        self._spool = spool
        self._sessions = Sessions(client, spool, self._withdraw, numbers, config.advertise, config.site)
        self._tunnel = TunnelListener(
            client.identity, authorise=self._sessions.authorise, handler=self._sessions.handle, numbers=numbers
        )
        self._probes = Probes(client, config.site, numbers)
        self._shipper = Shipper(spool, self._post_records)
        self._beat = Heartbeat(
            client,
            "/gateway/heartbeat",
            HeartbeatAnswer,
            interval=numbers.heartbeat,
            compose=self._sessions.heartbeat,
            apply=self._answered,
            failed=self._refused,
        )
        self._stop = asyncio.Event()
        self._failure: WardgateError | None = None  # why it stops unasked
        self._revoked = False  # with all its instances, so that its sessions end

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until `stop` is called; WardgateError if it ends for another reason, as revocation or a bug of ours."""
        # Before the answer that names the relays: who looks for us finds the direct route as early as any other.
        if self._config.listen is not None:
            await self._tunnel.listen(*self._config.listen)
        await self._first_beat()
        tasks = [
            asyncio.create_task(self._beat.run()),
            asyncio.create_task(link.follow(self._client, self._event, self._beat.soon)),
            asyncio.create_task(keep_certificate(self._client, self._config.data_dir, self._renewed)),
        ]
        for task in tasks:
            task.add_done_callback(self._ended_unasked)
        self._shipper.start()
        await self._tunnel.wait_connected(_CONNECT_SECONDS)
        ready()
        await self._stop.wait()
        await self._shut(tasks)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop cleanly."""
        self._stop.set()

    async def _first_beat(self) -> None:
        """Be known as online before anybody is told that we are ready; a control plane that is away is waited for.

        One that has just started takes no signature from before its start, and our clock may lag behind its own, so
        for a while a refused signature is no reason to give up either.
        """
        patience = monotonic() + _SIGNATURE_SECONDS
        while not self._stop.is_set():
            try:
                await self._beat.beat()
            except ProblemError as error:
                unsure = error.problem.code is ProblemCode.NOT_LOGGED_IN and monotonic() < patience
                if error.problem.status < 500 and not unsure:
                    raise
                await asyncio.sleep(1.0)
            except WardgateError as error:
                _log.warning("waiting for the control plane", message=error.message)
                await asyncio.sleep(1.0)
            else:
                return

    async def _shut(self, tasks: list[asyncio.Task[None]]) -> None:
        await self._sessions.stop(revoked=self._revoked)
        await self._tunnel.close()
        await self._probes.stop()
        await self._shipper.flush(_SHIP_SECONDS)
        await self._shipper.close()
        for task in tasks:
            task.remove_done_callback(self._ended_unasked)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- the control plane's word ---------------------------------------------------------------------------------

    async def _answered(self, answer: HeartbeatAnswer) -> None:
        self._sessions.answered(answer)
        self._tunnel.set_relays(answer.relays)

    async def _refused(self, error: WardgateError) -> None:
        """A refusal of our identity is final: the gateway was revoked."""
        if isinstance(error, ProblemError) and error.problem.code is ProblemCode.FORBIDDEN:
            _log.error("the control plane has revoked this gateway", message=error.message)
            self._revoked = error.problem.context.get("revoked") != "instance"
            self._fail(WardgateError("machine_revoked", error.message))

    def _event(self, event: LinkEvent) -> None:
        if event.end is not None:
            self._sessions.end(event.end)
        if event.test is not None:
            self._probes.order(event.test)
        if event.relays is not None:
            self._tunnel.set_relays(event.relays)

    async def _post_records(self, session_id: str, epoch: int, body: bytes) -> RecordsAck:
        return await self._client.request("POST", "/gateway/records", RecordsAck, body)

    def _withdraw(self, session_id: str, until: int) -> None:
        self._tunnel.withdraw(session_id, until)

    def _renewed(self, identity: MachineIdentity) -> None:
        self._tunnel.set_identity(identity)

    def _ended_unasked(self, task: asyncio.Task[None]) -> None:
        """None of our loops ends by itself; one that does is a bug, and running on half would hide it."""
        if not task.cancelled():
            _log.error("a loop of the gateway ended", error=repr(task.exception()))
            self._fail(WardgateError("internal", "The gateway failed inside and stopped: its log says where."))

    def _fail(self, error: WardgateError) -> None:
        self._failure = self._failure or error
        self._stop.set()


async def run_gateway(config: GatewayConfig, ready: Callable[[MachineIdentity, str | None], None]) -> None:
    """Run a gateway until SIGTERM or SIGINT; `ready` gets the identity and a notice for the operator."""
    with folder.claim(config.data_dir):
        joined = await load_or_enrol(
            config.data_dir,
            "gateway",
            name=config.name,
            token=config.token,
            domain=config.domain,
            ca_file=config.ca_file,
        )
        client = SignedClient(joined.identity, ca_file=config.ca_file)
        spool = await Spool.open(config.data_dir / "spool", config.numbers)
        try:
            gateway = Gateway(config, client, spool)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, gateway.stop)
            await gateway.run(lambda: ready(joined.identity, joined.notice))
        finally:
            await spool.close()
            await client.close()

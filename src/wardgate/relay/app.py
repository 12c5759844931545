"""The relay program: joins the control plane, gets its route key, serves, and keeps its certificate fresh.

Once it serves it needs the control plane only to learn of revoked gateways: routes are judged offline. The relay of
`server run --relay-listen` is this same program, as a child process.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from .. import __version__, sealing
from ..api.client import UnreachableError
from ..api.machine import RelayConfig, RelayConfigRequest, RelayHeartbeatAnswer, RelayHeartbeatRequest
from ..api.problems import ProblemCode, ProblemError
from ..errors import WardgateError
from ..net import dial, folder, logs
from ..net.beat import Heartbeat, keep_certificate
from ..net.machine import Joined, MachineIdentity, SignedClient, load_or_enrol
from ..numbers import DEFAULT, Numbers
from .server import RelayServer

_log = logs.get("relay")
_PATIENCE = 30.0  # for the first word from a control plane that may be starting, too
_RETRY = 0.5


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """What the command line says."""

    listen: tuple[str, int]
    data_dir: Path
    advertise: str | None = None
    name: str | None = None
    token: str | None = field(default=None, repr=False)
    domain: str | None = None
    ca_file: Path | None = None
    numbers: Numbers = DEFAULT


@dataclass(frozen=True, slots=True)
class Ready:
    """What the operator is told once streams can come. `address` is bound, `advertised` is what others dial."""

    id: str
    name: str
    address: str
    advertised: str
    notice: str | None


async def run_relay(settings: RelaySettings, ready: Callable[[Ready], None]) -> None:
    """Serve until SIGTERM or SIGINT. WardgateError if it can't start, and when it is revoked."""
    check_advertised(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with folder.claim(settings.data_dir):
        starting = asyncio.create_task(_start(settings, ready))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        stopping.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        if not starting.cancelled():
            starting.result()


def check_advertised(settings: RelaySettings) -> None:
    """Refuse an address that nobody could dial; WardgateError `invalid_address`."""
    if settings.advertise is not None:
        dial.split_address(settings.advertise)
    elif settings.listen[0] in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        raise WardgateError(
            "invalid_address", "Listening on every address needs --advertise: the address that others are to dial."
        )


async def _start(settings: RelaySettings, ready: Callable[[Ready], None]) -> None:
    """Join and serve until cancelled; WardgateError once the control plane refuses us."""
    joined = await _join(settings)
    client = SignedClient(joined.identity, ca_file=settings.ca_file)
    try:
        server = await _server(client, settings)
        try:
            await _serve(settings, joined, client, server, ready)
        finally:
            await server.close()
    finally:
        await client.close()


async def _serve(
    settings: RelaySettings,
    joined: Joined,
    client: SignedClient,
    server: RelayServer,
    ready: Callable[[Ready], None],
) -> None:
    address = server.listen(*settings.listen)
    advertised = settings.advertise or address

    async def refused(error: WardgateError) -> None:
        if isinstance(error, ProblemError) and error.problem.code is ProblemCode.FORBIDDEN:
            _log.error("the control plane has revoked this relay", message=error.message)
            raise WardgateError("machine_revoked", error.message)

    async def answered(answer: RelayHeartbeatAnswer) -> None:
        server.set_revoked(answer.revoked, answer.revoked_instances)

    def renewed(identity: MachineIdentity) -> None:
        server.set_credentials(identity.credentials)

    beat = Heartbeat(
        client,
        "/relay/heartbeat",
        RelayHeartbeatAnswer,
        interval=settings.numbers.heartbeat,
        compose=lambda: RelayHeartbeatRequest(
            version=__version__, address=advertised, gateways=server.gateways, streams=server.streams
        ),
        apply=answered,
        failed=refused,
    )
    await _first(beat.beat)
    ready(Ready(client.identity.id, client.identity.name, address, advertised, joined.notice))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(beat.run())
            tasks.create_task(keep_certificate(client, settings.data_dir, renewed))
    except* WardgateError as failed:
        failure = failed.exceptions[0]
    raise failure  # neither ends by itself


async def _join(settings: RelaySettings) -> Joined:
    found: list[Joined] = []

    async def attempt() -> None:
        found.append(
            await load_or_enrol(
                settings.data_dir,
                "relay",
                name=settings.name,
                token=settings.token,
                domain=settings.domain,
                ca_file=settings.ca_file,
            )
        )

    await _first(attempt)
    return found[0]


async def _server(client: SignedClient, settings: RelaySettings) -> RelayServer:
    """A server with the route key, which is sealed to a key made for this one request."""
    private, public = sealing.generate()
    answers: list[RelayConfig] = []

    async def attempt() -> None:
        request = RelayConfigRequest(public_key=public)
        answers.append(await client.request("POST", "/relay/config", RelayConfig, request))

    await _first(attempt)
    identity = client.identity
    key = sealing.open_(private, sealing.relay_key_info(identity.id), answers[0].sealed_key)
    return RelayServer(identity.credentials, answers[0].gateway_ca, key, settings.numbers)


async def _first(attempt: Callable[[], Awaitable[None]]) -> None:
    """Try until the control plane is reached; give up after `_PATIENCE`. A refusal is final at once."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _PATIENCE
    while True:
        try:
            await attempt()
        except UnreachableError as error:
            if loop.time() >= until:
                raise
            _log.info("waiting for the control plane", reason=error.message)
            await asyncio.sleep(_RETRY)
        else:
            return

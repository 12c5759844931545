"""The relay of `server run --relay-listen`: a child process that gets nothing of ours.

It reads bytes from anybody, so it runs without the data folder, the master key and their environment, in a temporary
folder of its own, and joins by an enrolment token like any other relay. Law: it ends when we end, however we end; when
it dies, it is started again, slower each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from ..errors import WardgateError
from ..net import logs
from .options import Address

_READY_SECONDS = 20.0
_STOP_SECONDS = 3.0
_BACK_OFF = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_PR_SET_PDEATHSIG = 1
_PROGRAM: Final = (sys.executable, "-I", "-c", "from wardgate.cli.main import main; main()")
# What a program needs of the environment to run at all; everything else stays with us.
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
_IDENTITY = "identity.json"

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_log = logs.get("control.relay")


class RelayTokens(Protocol):
    """Who issues the embedded relay's enrolment token: the fleet."""

    async def embedded_relay_token(self, address: str) -> tuple[str, str]:
        """A fresh one, for the relay that is dialled at `address` (`host:port`)."""


class EmbeddedRelay:
    """Started once, then kept running."""

    def __init__(
        self,
        tokens: RelayTokens,
        listen: Address,
        advertise: str,
        *,
        ca_file: str | None = None,
        as_json: bool = False,
        program: Sequence[str] = _PROGRAM,
        back_off: Sequence[float] = _BACK_OFF,
    ) -> None:
        self._tokens = tokens
        self._listen = listen
        self._name = ""
        self._advertise = advertise
        self._ca_file = ca_file
        self._as_json = as_json
        self._program = program
        self._back_off = back_off
        self._folder = Path(tempfile.mkdtemp(prefix="wardgate-relay-"))
        self._child: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready; WardgateError if it doesn't get there."""
        _check_free(self._listen)
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep(), name="embedded relay")

    async def stop(self) -> None:
        """End it and take its folder away."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _keep(self) -> None:
        failures = 0
        while True:
            assert self._child is not None
            status = await self._child.wait()
            pause = self._back_off[min(failures, len(self._back_off) - 1)]
            _log.error("the embedded relay ended; starting it again", status=status, in_s=pause)
            await asyncio.sleep(pause)
            try:
                await self._spawn()
                failures = 0
            except Exception as error:  # whatever is wrong now may be right later
                failures += 1
                _log.error("the embedded relay did not start", error=str(error) or type(error).__name__)
                await self._end()

    async def _spawn(self) -> None:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        if not (self._folder / _IDENTITY).exists():
            self._name, token = await self._tokens.embedded_relay_token(self._advertise)
            environment["WARDGATE_ENROLMENT_TOKEN"] = token
        self._child = await asyncio.create_subprocess_exec(
            *(*self._program, "relay", "run", "--name", self._name),
            *("--listen", str(self._listen), "--advertise", self._advertise, "--data-dir", str(self._folder)),
            *(() if self._ca_file is None else ("--ca-file", self._ca_file)),
            *(("--json",) if self._as_json else ()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            cwd=self._folder,
            start_new_session=True,  # a terminal's Ctrl+C is for us; we end it in our order
            preexec_fn=_die_with(os.getpid()),
        )
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._ready(self._child)
        except TimeoutError:
            raise WardgateError("relay_failed", "The embedded relay did not become ready in time.") from None

    async def _ready(self, child: asyncio.subprocess.Process) -> None:
        """Its first line on standard output says that it is ready; it says no other."""
        assert child.stdout is not None
        if not await child.stdout.readline():
            status = await child.wait()
            raise WardgateError(
                "relay_failed", f"The embedded relay ended with exit status {status} before it was ready."
            )

    async def _end(self) -> None:
        child = self._child
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


def _die_with(parent: int) -> Callable[[], None]:
    """For the child, before its program starts: the kernel ends it when we die by a signal that nobody can catch."""

    def prepare() -> None:
        if _libc is None:
            return
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # died in between
            os._exit(1)

    return prepare


def _check_free(address: Address) -> None:
    """WardgateError `port_in_use`: said here, where the flag has its name."""
    try:
        family, kind, protocol, _, bound = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(bound)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise WardgateError(
                "port_in_use", f"--relay-listen {address}: another program has that port already."
            ) from None
        raise WardgateError("listen_failed", f"--relay-listen {address}: {error.strerror or error}.") from None

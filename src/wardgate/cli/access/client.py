"""The client as the local proxy sees it: to be started once the session is ready, and ended when it is over.

The process in front (`job`) has the client and the terminal; this is the other end of its line. What is said there is
little: start, end; started, exited, failed, interrupted.

Law: `over` is called whenever there is nothing left to serve the session for: the client ended or never began, the user
wants out, or the process in front is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from ..exits import Exit, ExitError
from .view import ReadyFacts

_GRACE_SECONDS: Final = 2.0  # a client whose connections were closed may end by itself, and say why


class Client(asyncio.Protocol):
    """One client program. Made before the event loop; `attach` once it runs."""

    def __init__(self, words: Sequence[str], line: socket.socket) -> None:
        self.name = Path(words[0]).name
        self.exit_code: int | None = None  # as a shell tells it: 128+n for a signal
        self.running = False
        self.asked = False  # whether the user wanted the session ended while it ran
        self._line = line
        self._front = os.getppid()
        self._failed: str | None = None
        self._process: int | None = None
        self._own_group = False
        self._transport: asyncio.Transport | None = None
        self._heard = b""
        self._over: Callable[[], None] = lambda: None
        self._ended = asyncio.Event()

    async def attach(self, over: Callable[[], None]) -> None:
        """Begin to listen to the process in front."""
        self._over = over
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=self._line)

    def start(self, facts: ReadyFacts) -> None:
        """The session is ready."""
        self.running = True
        self._say(start=facts.uri, shown=facts.shown_uri)

    async def end(self, *, grace: float = _GRACE_SECONDS) -> None:
        """Have it end, and wait until it has: at once where it runs no more."""
        if not self.running:
            return
        self._say(end=grace)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._front, signal.SIGCONT)  # it may be stopped, as a job of the user's shell
        await self._ended.wait()

    def outcome(self, of_session: int) -> int:
        """The exit status: the client's own if the session ended because it did; ExitError if it never began."""
        if self._failed is not None:
            raise ExitError("client_failed", self._failed, Exit.FAILED)
        if of_session == Exit.OK and self.exit_code is not None and not self.asked:
            return self.exit_code
        return of_session

    # --- the process in front -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass

    def data_received(self, data: bytes) -> None:
        """Whole lines are heeded."""
        self._heard += data
        while b"\n" in self._heard:
            line, _, self._heard = self._heard.partition(b"\n")
            self._heed(json.loads(line))

    def connection_lost(self, error: Exception | None) -> None:
        """The process in front is gone: killed, since it would have waited for us. Its client must not stay."""
        self._transport = None
        if self.running and self._process is not None:
            for number in (signal.SIGTERM, signal.SIGCONT):  # it may be stopped, and would never hear of it
                with contextlib.suppress(OSError):
                    (os.killpg if self._own_group else os.kill)(self._process, number)
        self.asked = True
        self._is_over()

    def _heed(self, said: dict[str, Any]) -> None:
        if "started" in said:
            self._process, self._own_group = said["started"], said["group"]
        elif "exited" in said:
            self.exit_code = said["exited"]
            self._is_over()
        elif "failed" in said:
            self._failed = said["failed"]
            self._is_over()
        elif "interrupt" in said and self.running:
            self.asked = True
            self._say(end=0.0)  # and the session when it has ended, so that it can say goodbye
        elif "interrupt" in said:
            self._over()

    def _is_over(self) -> None:
        self.running = False
        self._ended.set()
        self._over()

    def _say(self, **said: Any) -> None:
        if self._transport is not None:
            self._transport.write(json.dumps(said).encode() + b"\n")

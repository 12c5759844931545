"""A program on a terminal of its own, as a person sits before it: keys go in, the screen comes out.

The program is the leader of a session whose controlling terminal is a new pseudo-terminal, so that Ctrl+C and Ctrl+Z
are signals there, foreground and background process groups exist, and `isatty` is true.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import WardgateError

CTRL_C = "\x03"
CTRL_D = "\x04"
CTRL_Z = "\x1a"
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07")


class TerminalError(WardgateError):
    """The screen did not show what it should; the message ends with what it shows."""


class Terminal:
    """One program. `screen` is everything that came out, without the sequences that colour it or move the cursor."""

    def __init__(self, argv: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path | None = None) -> None:
        self._master, slave = os.openpty()
        words = [str(part) for part in argv]
        if cwd is not None:
            words = ["sh", "-c", 'cd "$0" && exec "$@"', str(cwd), *words]
        path = shutil.which(words[0]) or words[0]
        try:
            # Who opens a terminal as the leader of a session that has none gets it for the session.
            self.pid = os.posix_spawn(
                path,
                words,
                {"TERM": "xterm", **env},
                setsid=True,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.ttyname(slave), os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                ],
                setsigdef=(signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ),
            )
        finally:
            os.close(slave)
        self._raw = b""
        self._seen = 0
        self._status: int | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def screen(self) -> str:
        """All of it so far."""
        return _ESCAPES.sub(b"", self._raw).decode(errors="replace").replace("\r", "")

    def type(self, keys: str) -> None:
        """Press keys; Enter is a line break."""
        os.write(self._master, keys.replace("\n", "\r").encode())

    def expect(self, pattern: str, timeout: float = 30.0) -> re.Match[str]:
        """The next place on the screen, after the one expected before, that `pattern` matches; TerminalError."""
        deadline = time.monotonic() + timeout
        while True:
            found = re.compile(pattern).search(self.screen, self._seen)
            if found is not None:
                self._seen = found.end()
                return found
            if not self._read(deadline):
                raise TerminalError("not_shown", f"“{pattern}” did not appear. The screen:\n{self.screen}")

    def hang_up(self) -> None:
        """Close the terminal, as a window is closed."""
        os.close(self._master)
        self._master = -1

    def foreground(self) -> int:
        """The process group that has the terminal."""
        return os.tcgetpgrp(self._master)

    def wait(self, timeout: float = 30.0) -> int:
        """Its exit status, as a shell tells it."""
        deadline = time.monotonic() + timeout
        while self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self._status = code if code >= 0 else 128 - code
            elif time.monotonic() > deadline:
                raise TerminalError("still_runs", f"The program still runs. The screen:\n{self.screen}")
            else:
                self._read(min(deadline, time.monotonic() + 0.05))
        while self._read(time.monotonic()):
            pass
        return self._status

    def close(self) -> None:
        """End it, however it stands."""
        if self._status is None:
            os.kill(self.pid, signal.SIGTERM)
            os.kill(self.pid, signal.SIGCONT)
            try:
                self.wait(10)
            except TerminalError:
                os.kill(self.pid, signal.SIGKILL)
                self.wait(10)
        if self._master >= 0:
            os.close(self._master)

    def _read(self, deadline: float) -> bool:
        """Take what comes before `deadline`; False if nothing does, or nothing ever will."""
        if self._master < 0:
            time.sleep(max(0.0, deadline - time.monotonic()))
            return False
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._master, 65_536) if ready else b""
        except OSError:
            data = b""  # everybody closed the terminal
        self._raw += data
        return bool(data)

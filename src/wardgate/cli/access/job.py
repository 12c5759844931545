"""A client as a job of the terminal: started by one process, while another one serves the session.

The process that the user started stays in front: it starts the client, has it in the foreground, and waits for it as a
shell does, so that Ctrl+C is the client's own and Ctrl+Z suspends the client and gives the user's shell the terminal.
The local proxy runs in a process of its own, forked before any loop or thread is there: it must serve (and answer the
gateway's pings) while the job is stopped. The two speak in JSON lines over a socket pair; what is to happen is the
local proxy's decision, what the terminal does is decided here.

Laws:
1. The client has a process group of its own wherever it can have the foreground, or where there is no terminal. In the
   middle of a pipeline it stays in ours, because the terminal belongs to the whole pipeline.
2. Whoever of the three goes first: the client does not outlive the session, nor the session the client.
3. Our exit status is the local proxy's; it knows why the session ended.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from ..exits import Exit, ExitError
from ..output import safe
from .view import VARIABLE

PLACE: Final = "{uri}"
# What opens a control plane, a gateway or a vault is not for a MongoDB client.
_WITHHELD: Final = (
    "WARDGATE_DATABASE_URL",
    "WARDGATE_ENROLMENT_TOKEN",
    "WARDGATE_MASTER_KEY",
    "WARDGATE_SMTP_URL",
    "WARDGATE_TOKEN",
)
_INSIST_SECONDS: Final = 5.0  # from SIGTERM to SIGKILL
_ORPHAN_GRACE: Final = 1.0  # for a client whose local proxy died
_SIGNALS: Final = (signal.SIGCHLD, signal.SIGCONT, signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def check(words: Sequence[str]) -> None:
    """Whether there is such a program; ExitError `client_not_found`, before anything is opened for it."""
    if shutil.which(words[0]) is None:
        raise ExitError(
            "client_not_found", f"There is no program {safe(words[0])} here: check its name or PATH.", Exit.FAILED
        )


def environment(uri: str) -> dict[str, str]:
    """Ours, with the URI and without what is not the client's."""
    kept = {name: value for name, value in os.environ.items() if name not in _WITHHELD}
    return {**kept, VARIABLE: uri}


def run_in_front(words: Sequence[str], serve: Callable[[socket.socket], int], give_up: Callable[[], None]) -> int:
    """Fork: `serve(line)` runs in the new process, and its result is both processes' own.

    `give_up` lets go, in this one, of what only the other may hold (listening sockets).
    """
    front, back = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        front.close()
        _go_back()
        return serve(back)
    back.close()
    give_up()
    with front:
        return Front(words, front, pid).run()


def _go_back() -> None:
    """In the new process: away from the terminal's signals, from the client's input and output, and from stopping."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a note to the terminal must not stop us
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the process in front is asked, and tells us
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


class Front:
    """The process in front."""

    def __init__(self, words: Sequence[str], line: socket.socket, proxy: int) -> None:
        self._words = words
        self._line = line
        self._proxy = proxy
        self._client: int | None = None
        self._heard = b""
        self._terminal = _foreground_terminal()
        self._modes: list[Any] | None = None
        self._own_group = self._terminal is not None or not _has_terminal()
        self._lent = False  # the client has the terminal
        self._deadlines: list[tuple[float, signal.Signals]] = []
        self._status: int | None = None  # of the local proxy

    def run(self) -> int:
        """Until the local proxy has ended; its exit status."""
        self._line.setblocking(False)
        with _wakeups() as signals, selectors.DefaultSelector() as waiting:
            waiting.register(self._line, selectors.EVENT_READ)
            waiting.register(signals, selectors.EVENT_READ)
            self._reap()
            while self._status is None or self._client is not None:
                for key, _ in waiting.select(self._until_next()):
                    if key.fileobj is not self._line:
                        for number in signals.recv(256):
                            self._signalled(signal.Signals(number))
                    elif not self._listen():
                        waiting.unregister(self._line)
                self._insist()
        return self._status

    # --- the local proxy ------------------------------------------------------------------------------------------

    def _listen(self) -> bool:
        """Read what the local proxy says; False once it says no more."""
        try:
            data = self._line.recv(65_536)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._end(_ORPHAN_GRACE)
            return False
        self._heard += data
        while b"\n" in self._heard:
            line, _, self._heard = self._heard.partition(b"\n")
            self._heed(json.loads(line))
        return True

    def _heed(self, wish: Mapping[str, Any]) -> None:
        if "start" in wish:
            self._start(wish["start"], wish["shown"])
        elif "end" in wish:
            self._end(wish["end"])

    def _say(self, **said: Any) -> None:
        with contextlib.suppress(OSError):
            self._line.send(json.dumps(said).encode() + b"\n")

    # --- the client -----------------------------------------------------------------------------------------------

    def _start(self, uri: str, shown: str) -> None:
        argv = [word.replace(PLACE, shown) for word in self._words]
        group: dict[str, Any] = {"setpgroup": 0} if self._own_group else {}
        if self._terminal is not None:
            with contextlib.suppress(termios.error):  # it may have been closed meanwhile
                self._modes = termios.tcgetattr(self._terminal)
        try:
            self._client = os.posix_spawnp(
                argv[0],
                argv,
                environment(uri),
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores them; a client need not
                **group,
            )
        except OSError as error:
            self._say(failed=f"{safe(argv[0])} could not be started: {os.strerror(error.errno or 0)}.")
            return
        self._say(started=self._client, group=self._own_group)
        self._lend()

    def _end(self, grace: float) -> None:
        """Have it end: SIGTERM after `grace` seconds, SIGKILL where that is not enough."""
        if self._client is not None and not self._deadlines:
            now = time.monotonic()
            self._deadlines = [(now + grace, signal.SIGTERM), (now + grace + _INSIST_SECONDS, signal.SIGKILL)]
            self._insist()

    def _insist(self) -> None:
        while self._deadlines and self._deadlines[0][0] <= time.monotonic():
            _, number = self._deadlines.pop(0)
            self._send(number)
            self._send(signal.SIGCONT)  # it may be stopped, and would never hear of it

    def _until_next(self) -> float | None:
        return max(0.0, self._deadlines[0][0] - time.monotonic()) if self._deadlines else None

    def _send(self, number: signal.Signals) -> None:
        if self._client is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                (os.killpg if self._own_group else os.kill)(self._client, number)

    # --- signals --------------------------------------------------------------------------------------------------

    def _signalled(self, number: signal.Signals) -> None:
        if number is signal.SIGCHLD:
            self._reap()
        elif number is signal.SIGCONT:
            self._continue()
        elif number is signal.SIGINT and self._client is not None:
            # The client's own. In our group it has had it already; from elsewhere than the terminal it is passed on.
            if self._own_group:
                self._send(number)
        else:
            self._say(interrupt=True)

    def _reap(self) -> None:
        """Who of our children ended, and whether the client was stopped."""
        found, status = _wait(self._proxy, os.WNOHANG) if self._status is None else (0, 0)
        if found:
            self._status = os.waitstatus_to_exitcode(status)
            if self._status < 0:
                self._status = int(Exit.FAILED)
                sys.stderr.write("error: The local proxy was killed, and the session is over.\n")
            self._end(_ORPHAN_GRACE)
        if self._client is None:
            return
        found, status = _wait(self._client, os.WNOHANG | os.WUNTRACED)
        if not found:
            return
        if os.WIFSTOPPED(status):
            self._stopped()
        else:
            self._exited(os.waitstatus_to_exitcode(status))

    def _exited(self, code: int) -> None:
        self._client = None
        self._deadlines.clear()
        self._take_back(reset=code < 0)
        self._say(exited=code if code >= 0 else 128 - code)
        # Whoever reads our output need not wait for the session's end.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)

    def _stopped(self) -> None:
        """Ctrl+Z: take the terminal back, and stop as a job of the user's shell, if there is one."""
        self._listen()  # it may be about to be ended, and who is stopped would never hear of it
        if not self._own_group or self._deadlines:
            return
        self._take_back(reset=False)
        os.kill(os.getpid(), signal.SIGTSTP)  # ignored by the system in a group that no shell looks after
        self._listen()
        if not self._deadlines:
            self._continue()

    def _continue(self) -> None:
        if self._client is None:
            return
        self._lend()
        if self._own_group:
            self._send(signal.SIGCONT)

    # --- the terminal ---------------------------------------------------------------------------------------------

    def _lend(self) -> None:
        """The foreground for the client, if it is ours to give: not while the job is in the background."""
        if self._terminal is None or self._client is None:
            return
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(self._terminal) != os.getpgrp():
                return
            _set_foreground(self._terminal, self._client)
            self._lent = True
        self._send(signal.SIGCONT)  # it may have tried to read before it was allowed to

    def _take_back(self, *, reset: bool) -> None:
        """The foreground for ourselves; `reset` after a client that could not leave the terminal as it found it."""
        if self._terminal is None or not self._lent:
            return
        self._lent = False
        with contextlib.suppress(OSError, termios.error):
            _set_foreground(self._terminal, os.getpgrp())
            if reset and self._modes is not None:
                termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._modes)


def _wait(pid: int, options: int) -> tuple[int, int]:
    try:
        return os.waitpid(pid, options)
    except ChildProcessError:
        return pid, 0


def _foreground_terminal() -> int | None:
    """Standard input, if a person sits at both ends of us and we are in the foreground there."""
    try:
        if os.isatty(0) and os.isatty(1) and os.tcgetpgrp(0) == os.getpgrp():
            return 0
    except OSError as error:
        if error.errno != errno.ENOTTY:
            raise
    return None


def _has_terminal() -> bool:
    """Whether there is a terminal whose keys send us signals."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _set_foreground(terminal: int, group: int) -> None:
    """tcsetpgrp, also from the background."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTTOU,))
    try:
        os.tcsetpgrp(terminal, group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _wakeups() -> Iterator[socket.socket]:
    """A socket from which the numbers of signals are read, one byte each."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    kept = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()  # as nohup wants it
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS if number not in kept}
    woken = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()

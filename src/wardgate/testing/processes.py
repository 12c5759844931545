"""Child processes with a log, a wait for the line that says “ready”, and an end that leaves no orphan.

Every child is ended by its own pid. Where the system can (Linux with util-linux' setpriv), the kernel also ends it when
we die by a signal that nobody can catch.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

from ..errors import WardgateError


class ProcessFailedError(WardgateError):
    """A child ended or stayed silent where it should not have; the message ends with the tail of its log."""


class Process:
    """One child process. Standard output is kept as lines (and in `name.out`), standard error goes to `name.log`."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: bytes | None = None,
    ) -> None:
        """Start it. `env` is the whole environment (None: ours); `stdin` is fed and closed (None: empty)."""
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.argv = [str(part) for part in argv]
        self.out_path = folder / f"{name}.out"
        self.log_path = folder / f"{name}.log"
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._closed = False
        with self.log_path.open("ab") as log:
            self._child = start_child(
                self.argv,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=None if env is None else dict(env),
                cwd=cwd,
            )
        if stdin is not None and self._child.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self._child.stdin as pipe:
                pipe.write(stdin)
        assert self._child.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._child.stdout,), name=f"{name}-out", daemon=True)
        self._reader.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe, self.out_path.open("ab") as copy:
            for raw in pipe:
                copy.write(raw)
                copy.flush()
                with self._changed:
                    self.lines.append(raw.decode(errors="replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._child.poll()

    def stderr(self) -> str:
        """What it has written to standard error so far."""
        return self.log_path.read_text(errors="replace")

    def wait_line(self, wanted: Callable[[str], bool], timeout: float, *, after: int = 0) -> str:
        """The first line of standard output from index `after` on that is `wanted`; ProcessFailedError otherwise."""
        deadline = time.monotonic() + timeout
        seen = after
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    if wanted(line):
                        return line
                seen = max(seen, len(self.lines))
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    break
                self._changed.wait(left)
        raise self.failure("ended too early" if self._closed else f"did not answer within {timeout:.0f} s")

    def failure(self, what: str) -> ProcessFailedError:
        """An error that says `what` happened and shows the end of the child's log."""
        status = "" if self.returncode is None else f" (exit status {self.returncode})"
        tail = "\n".join(self.stderr().splitlines()[-15:])
        return ProcessFailedError("process_failed", f"{self.name} {what}{status}:\n{tail}")

    def wait(self, timeout: float) -> int:
        """Its exit status; ProcessFailedError if it still runs after `timeout` seconds."""
        try:
            status = self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.failure(f"still runs after {timeout:.0f} s") from None
        self._reader.join(timeout)
        return status

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended already."""
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(number)

    def interrupt(self) -> None:
        """What Ctrl+C does."""
        self.send(signal.SIGINT)

    def kill(self) -> None:
        """End it at once (kill -9) and reap it."""
        self.send(signal.SIGKILL)
        self.wait(10)

    def stop(self, timeout: float = 10.0) -> int:
        """Ask it to end (SIGTERM), insist after `timeout` seconds, reap it; its exit status."""
        if self._child.poll() is None:
            self.send(signal.SIGTERM)
            try:
                self._child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.send(signal.SIGKILL)
        return self.wait(10)


_held = 0
_pending = False


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """A signal handler: KeyboardInterrupt, but never between a child's birth and our knowing its pid."""
    global _pending
    if _held:
        _pending = True
    else:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    global _held, _pending
    _held += 1
    try:
        yield
    finally:
        _held -= 1
        if not _held and _pending:
            _pending = False
            raise KeyboardInterrupt


def start_child(argv: Sequence[str | Path], **options: Any) -> subprocess.Popen[bytes]:
    """Start a child that ends when we do; if we are interrupted meanwhile, it has ended when this raises.

    It gets a session of its own: the terminal's Ctrl+C is for us alone, and we end our children in our order.
    """
    child: subprocess.Popen[bytes] | None = None
    try:
        with _interrupts_held():
            child = subprocess.Popen([*_dying_with_us(), *argv], start_new_session=True, **options)
    except KeyboardInterrupt:
        if child is not None:
            child.kill()
            child.communicate()
        raise
    return child


def run_child(argv: Sequence[str | Path], stdin: bytes, timeout: float, **options: Any) -> tuple[int, bytes, bytes]:
    """Run a child to its end: exit status, standard output, standard error. However this ends, the child has ended."""
    pipe = subprocess.PIPE
    with start_child(argv, stdin=pipe, stdout=pipe, stderr=pipe, **options) as child:
        try:
            out, err = child.communicate(stdin, timeout)
        except BaseException:
            child.kill()
            child.wait()
            raise
    return child.returncode, out, err


def _dying_with_us() -> list[str]:
    """The wrapper that has the kernel end a child with us; it execs, so the pid stays the child's.

    The signal is sent when the *thread* that started the child ends, so only the main thread may ask for it.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "KILL", "--"]

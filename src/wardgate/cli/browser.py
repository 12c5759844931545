"""Opening a page in the person's browser.

Law: only a browser with a window of its own, never one that would take this terminal; the browser is not waited for,
outlives us, and gets no token of ours in its environment. The address comes from a control plane: nothing but `https://`
(or `http://` on loopback) reaches the command that opens it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

from ..api.domain import canonical
from ..errors import WardgateError

_OPENERS = ("xdg-open", "wslview", "x-www-browser", "sensible-browser")
_FAILS_WITHIN_S = 2.0  # a command that opens nothing ends at once; a browser may stay


def can_open() -> bool:
    """Whether there is a browser to try."""
    return _command("https://wardgate.invalid") is not None


def open_page(url: str, *, patience: float = _FAILS_WITHIN_S) -> bool:
    """Open `url`; whether a browser took it, as far as one can tell within `patience` seconds."""
    command = _command(url)
    if command is None or not _is_page(url):
        return False
    environment = {name: value for name, value in os.environ.items() if name != "WARDGATE_TOKEN"}
    try:
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
        )
    except OSError:
        return False
    try:
        return started.wait(patience) == 0
    except subprocess.TimeoutExpired:
        started.returncode = 0  # it is a browser and stays: nobody waits for it
        return True


def _command(url: str) -> list[str] | None:
    chosen = os.environ.get("BROWSER", "").split(os.pathsep)[0]
    if chosen:
        words = shlex.split(chosen)
        return [word.replace("%s", url) for word in words] if "%s" in chosen else [*words, url]
    if sys.platform == "darwin":
        return ["open", url]
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return None
    opener = next(filter(None, map(shutil.which, _OPENERS)), None)
    return None if opener is None else [opener, url]


def _is_page(url: str) -> bool:
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0]
    if not separator or not url.isprintable() or " " in url:
        return False
    try:
        canonical(f"{scheme}://{host}")
    except WardgateError:
        return False
    return True

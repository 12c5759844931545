"""Fail points that name a command of the client's own login, carried out here because that command ends here.

`failCommand` of a server with test commands makes commands fail on purpose; test suites aim it at `saslStart` and its
kin as well. The server takes such a fail point and keeps it, but a login never reaches it (see `login`), so what the
server would have done to the login is done by the gateway: the connection closes, or the error is answered.

A fail point that names other commands beside counts those as well, where they go to the server (`passed`), as the
server counts them: both use up the same number of times.

What it is not: a switch of ours. It counts only what the server itself took, so a server without test commands has none
of it, and it holds for one access session. A delay and a probability are not imitated.

Law: bad input changes nothing, and nothing here raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..rawbson import walk
from ..rawbson.walk import BsonError
from .login import LOGIN_COMMANDS

REASON: Final = "Failing command via 'failCommand' failpoint"  # mongod's own words
_FAIL_COMMAND: Final = "failCommand"
_CODE_MAX: Final = 2**31 - 1

_Field = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one command: the connection closes, or this error is answered."""

    closes: bool
    code: int = 0
    labels: tuple[str, ...] = ()


class LoginFaults:
    """The fail point of one access session, as far as it is about logins."""

    __slots__ = ("_app_name", "_commands", "_fault", "_left", "_others", "_skip")

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._commands: frozenset[str] = frozenset()
        self._others: frozenset[str] = frozenset()  # that the server fails by the same fail point
        self._fault = Fault(closes=False)
        self._left: int | None = 0  # how often it still happens; None: always
        self._skip = 0
        self._app_name: str | None = None

    def configured(self, body: bytes) -> None:
        """The server took this configureFailPoint."""
        try:
            fields = walk.top_level(body)
            if _text(body, fields.get(b"configureFailPoint")) == _FAIL_COMMAND:
                self._clear()
                self._set(body, fields)
        except (BsonError, UnicodeDecodeError):
            self._clear()

    def _set(self, body: bytes, fields: dict[bytes, _Field]) -> None:
        data = fields.get(b"data")
        if data is None or data[0] != walk.DOCUMENT:
            return
        inner = walk.top_level(body, data[1], data[2])
        codes = inner.get(b"errorCode")
        code = None if codes is None else walk.integer(body, codes[0], codes[1])
        closes = _true(body, inner.get(b"closeConnection"))
        if not closes and not (code and 0 < code <= _CODE_MAX):
            return
        self._left, self._skip = _mode(body, fields.get(b"mode"))
        named = frozenset(_texts(body, inner.get(b"failCommands")))
        self._commands = named & LOGIN_COMMANDS
        self._others = named - LOGIN_COMMANDS if self._commands else frozenset()
        self._app_name = _text(body, inner.get(b"appName"))
        self._fault = Fault(closes, code or 0, tuple(_texts(body, inner.get(b"errorLabels"))))

    def strike(self, name: str, app_name: str | None) -> Fault | None:
        """What happens to the login command `name` of a client that calls itself `app_name`; it counts as one time."""
        return self._fault if name in self._commands and self._counts(app_name) else None

    def passed(self, name: str, app_name: str | None) -> None:
        """The command `name` goes to the server, which counts it if it is one of the fail point's."""
        if name in self._others:
            self._counts(app_name)

    def _counts(self, app_name: str | None) -> bool:
        """One of its commands came: whether it fails."""
        if self._left == 0:
            return False
        if self._app_name is not None and self._app_name != (app_name or ""):
            return False
        if self._skip:
            self._skip -= 1
            return False
        if self._left is not None:
            self._left -= 1
        return True


def _mode(body: bytes, mode: _Field | None) -> tuple[int | None, int]:
    """(how often, after how many), of a fail point's mode; what is not understood happens never."""
    if mode is not None and mode[0] == walk.DOCUMENT:
        times, skip = (walk.find(body, name, mode[1], mode[2]) for name in (b"times", b"skip"))
        if times is not None:
            return max(walk.integer(body, times[0], times[1]) or 0, 0), 0
        if skip is not None:
            return None, max(walk.integer(body, skip[0], skip[1]) or 0, 0)
        return 0, 0
    return (None if _text(body, mode) == "alwaysOn" else 0), 0


def _text(body: bytes, value: _Field | None) -> str | None:
    return None if value is None or value[0] != walk.STRING else walk.text(body, value[1], value[2])


def _texts(body: bytes, value: _Field | None) -> list[str]:
    if value is None or value[0] != walk.ARRAY:
        return []
    found = walk.elements(body, value[1], value[2])
    return [walk.text(body, start, stop) for kind, _, start, stop in found if kind == walk.STRING]


def _true(body: bytes, value: _Field | None) -> bool:
    return value is not None and walk.number(body, value[0], value[1]) not in (None, 0)

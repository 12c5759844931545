"""A value that must never be printed.

`Secret` shows itself as redacted in every way of printing, formatting, pickling and comparing with a plain string, so
that a password that strays into a log call, an f-string or a traceback stays unread. Only `reveal()` gives it out, and
`reveal` is easy to search for.
"""

from __future__ import annotations

import hmac
from typing import NoReturn

REDACTED = "<redacted>"


class Secret:
    """Bytes that print as ``<redacted>``; text is kept as its UTF-8 bytes."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | str) -> None:
        self._value = bytearray(value.encode() if isinstance(value, str) else value)

    def reveal(self) -> bytes:
        """The value. Callers keep it no longer than the call that needs it."""
        return bytes(self._value)

    def reveal_text(self) -> str:
        """The value as text; raises UnicodeDecodeError where it is none."""
        return self._value.decode()

    def wipe(self) -> None:
        """Overwrite the value in memory. Copies that `reveal` gave out are beyond reach: hygiene, not proof."""
        for i in range(len(self._value)):
            self._value[i] = 0
        self._value.clear()

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> NoReturn:
        raise TypeError("a Secret is not hashable: a hash of it would be a fingerprint")

    def __repr__(self) -> str:
        return f"Secret({REDACTED})"

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return REDACTED

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")

"""Reading a TLS ClientHello (RFC 8446, section 4.1.2) without consuming it: server name and ALPN, nothing else.

`parse` takes what has been received so far, from the first byte of the connection, and says what it found, how many
bytes it takes at least to find out, or that this will never be a ClientHello. It keeps nothing between calls, because
its caller peeks: the bytes stay in the socket for whoever ends the TLS.

It does not judge versions, ciphers or anything that the TLS library will judge. Law: every length is checked against
what encloses it before it is used; nothing beyond `limit` bytes is ever asked for; a ClientHello that two readers could
read differently (a repeated extension, two names, bytes after its end) is malformed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LIMIT: Final = 16 * 1024
HANDSHAKE: Final = 0x16  # the first byte of every TLS connection
_RECORD_HEADER = 5
_HANDSHAKE_HEADER = 4
_MOST_RECORDS = 64  # a peer that cuts finer makes us work, and no TLS library does
_LONGEST_RECORD = 1 << 14
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_ALPN = 16
_HOST_NAME = 0


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a relay routes by. `size` is the number of bytes that the records take."""

    server_name: str | None
    alpn: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Incomplete:
    """More bytes are needed: at least `need` in all, counted from the first."""

    need: int


@dataclass(frozen=True, slots=True)
class Malformed:
    """No ClientHello that we read, and why (for counting, not for the peer)."""

    why: str


class _BadError(Exception):
    pass


def parse(data: bytes, limit: int = LIMIT) -> ClientHello | Incomplete | Malformed:
    """What the first bytes of a connection say; see the module's law."""
    try:
        collected = _collect(data, limit)
        if isinstance(collected, Incomplete):
            return collected
        body, size = collected
        name, alpn = _hello(body)
        return ClientHello(name, alpn, size)
    except _BadError as error:
        return Malformed(str(error))


def _collect(data: bytes, limit: int) -> tuple[bytes, int] | Incomplete:
    """The handshake message's body, out of as many records as it takes, and where they end."""
    message = bytearray()
    at = 0
    for _ in range(_MOST_RECORDS):
        if at + _RECORD_HEADER > limit:
            raise _BadError("too long")
        header = data[at : at + _RECORD_HEADER]
        _check_header(header)
        if len(header) < _RECORD_HEADER:
            return Incomplete(at + _RECORD_HEADER)
        end = at + _RECORD_HEADER + int.from_bytes(header[3:5], "big")
        if end > limit:
            raise _BadError("too long")
        message += data[at + _RECORD_HEADER : end]
        total = _message_length(message, limit)
        if len(data) < end:
            return Incomplete(end)
        at = end
        if total is not None and len(message) >= total:
            if len(message) > total:
                raise _BadError("bytes after the ClientHello")
            return bytes(message[_HANDSHAKE_HEADER:]), at
    raise _BadError("too many records")


def _check_header(header: bytes) -> None:
    """Refuse what can't become a handshake record, as early as its bytes show it."""
    if header[:1] and header[0] != HANDSHAKE:
        raise _BadError("not a handshake record")
    if header[1:2] and header[1] != 3:
        raise _BadError("not TLS")
    if len(header) == _RECORD_HEADER and not 0 < int.from_bytes(header[3:5], "big") <= _LONGEST_RECORD:
        raise _BadError("bad record length")


def _message_length(message: bytearray, limit: int) -> int | None:
    """Length of the whole handshake message with its header, None while that header is not whole."""
    if message and message[0] != _CLIENT_HELLO:
        raise _BadError("not a ClientHello")
    if len(message) < _HANDSHAKE_HEADER:
        return None
    total = _HANDSHAKE_HEADER + int.from_bytes(message[1:4], "big")
    if total > limit:
        raise _BadError("too long")
    return total


class _Cursor:
    """Reads length-prefixed fields and refuses to leave its bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise _BadError("a length beyond its field")
        part = self._data[self._at : end]
        self._at = end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def field(self, length_size: int) -> bytes:
        return self.take(self.number(length_size))

    def end(self) -> None:
        if self:
            raise _BadError("bytes after a field's end")


def _hello(body: bytes) -> tuple[str | None, tuple[str, ...]]:
    cursor = _Cursor(body)
    cursor.take(2 + 32)  # legacy_version, random
    if len(cursor.field(1)) > 32:
        raise _BadError("bad session id")
    suites = cursor.field(2)
    if len(suites) < 2 or len(suites) % 2:
        raise _BadError("bad cipher suites")
    if not cursor.field(1):
        raise _BadError("bad compression methods")
    extensions = _extensions(cursor.field(2)) if cursor else {}
    cursor.end()
    name = _server_name(extensions[_SERVER_NAME]) if _SERVER_NAME in extensions else None
    alpn = _protocols(extensions[_ALPN]) if _ALPN in extensions else ()
    return name, alpn


def _extensions(data: bytes) -> dict[int, bytes]:
    cursor = _Cursor(data)
    found: dict[int, bytes] = {}
    while cursor:
        kind = cursor.number(2)
        if kind in found:
            raise _BadError("a repeated extension")
        found[kind] = cursor.field(2)
    return found


def _server_name(data: bytes) -> str:
    outer = _Cursor(data)
    names = _Cursor(outer.field(2))
    outer.end()
    if names.number(1) != _HOST_NAME:
        raise _BadError("a server name of an unknown type")
    name = names.field(2)
    names.end()
    if not 0 < len(name) <= 255 or not name.isascii() or b"\0" in name:
        raise _BadError("bad server name")
    return name.decode("ascii")


def _protocols(data: bytes) -> tuple[str, ...]:
    outer = _Cursor(data)
    listed = _Cursor(outer.field(2))
    outer.end()
    protocols = []
    while listed:
        protocol = listed.field(1)
        if not protocol:
            raise _BadError("an empty protocol name")
        protocols.append(protocol.decode("latin-1"))
    if not protocols:
        raise _BadError("no protocol names")
    return tuple(protocols)

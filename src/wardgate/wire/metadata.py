"""The `client` document of a handshake: what a driver says of itself, and our attribution in it.

The application's name becomes ``wardgate:<user>:<session>|<the client's own>``, so that currentOp, the slow log and the
profiler name the person, and so that a session's operations can be found and killed by that prefix.

Law: the document that goes to a server always bears the attribution and is always one that a server takes: with driver
and os, and within its limit. A document that a server refuses would leave a connection that nobody can attribute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..rawbson import build, walk
from ..rawbson.walk import BsonError

APP_NAME_BYTES: Final = 128  # mongod answers 184 above
_SEPARATOR: Final = "|"
_ATTRIBUTION_BYTES: Final = 100  # leaves some of the client's own name visible
_SHOWN: Final = 256  # characters of what is only displayed
_TEXT_BYTES: Final = 64  # of a driver's name and version, where the document is too long
_OURS: Final = "wardgate"

_Parts = dict[bytes, tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """For display: never trusted, at most 256 characters each."""

    app: str | None
    driver: str | None
    platform: str | None


def attribution(user: str, session_id: str) -> str:
    """``wardgate:<user>:<session>``, the user part cut so that the rest fits: the prefix of all application names."""
    clean = "".join(c if c.isprintable() and c != _SEPARATOR else "?" for c in user)
    room = _ATTRIBUTION_BYTES - len(f"{_OURS}::{session_id}".encode())
    return f"{_OURS}:{_cut(clean, room)}:{session_id}"


def read(document: bytes) -> ClientFacts:
    """What a client document says. Anything odd in it is None."""
    try:
        parts = _parts(document)
        name, version = (_inner_text(parts, b"driver", field) for field in (b"name", b"version"))
        driver = None if name is None else f"{name} {version or ''}".strip()
        return ClientFacts(_inner_text(parts, b"application", b"name"), driver, _text(parts.get(b"platform")))
    except BsonError:
        return ClientFacts(None, None, None)


def app_name(attribution: str, own: str | None) -> str:
    """The application's name as a server sees it: the attribution, and after it the client's own as far as it fits."""
    return _cut(f"{attribution}{_SEPARATOR}{own}", APP_NAME_BYTES) if own else attribution


def element(document: bytes | None, attribution: str, limit: int) -> bytes:
    """The whole `client` element to send in place of a client's own document (None: it sent none)."""
    try:
        parts = _parts(document) if document is not None else {}
    except BsonError:
        parts = {}
    own = _inner_text(parts, b"application", b"name")
    _set(parts, b"application", build.string(b"name", app_name(attribution, own)), first=True)
    if _inner_text(parts, b"driver", b"name") is None or _inner_text(parts, b"driver", b"version") is None:
        _set(parts, b"driver", build.string(b"name", "unknown"), build.string(b"version", "unknown"))
    if _inner_text(parts, b"os", b"type") is None:
        _set(parts, b"os", build.string(b"type", "unknown"))
    return build.element(walk.DOCUMENT, b"client", _fitted(parts, limit))


def _fitted(parts: _Parts, limit: int) -> bytes:
    """Leave out the least useful until it fits, in the order of the handshake specification."""
    document = _document(parts)
    if len(document) > limit:
        parts.pop(b"env", None)
        document = _document(parts)
    if len(document) > limit:
        _set(parts, b"os", build.string(b"type", _cut(_inner_text(parts, b"os", b"type") or "", _TEXT_BYTES)))
        document = _document(parts)
    if len(document) > limit:
        for name in [name for name in parts if name not in (b"application", b"driver", b"os")]:
            del parts[name]
        document = _document(parts)
    if len(document) > limit:
        fields = ((name, _inner_text(parts, b"driver", name) or "") for name in (b"name", b"version"))
        _set(parts, b"driver", *(build.string(name, _cut(text, _TEXT_BYTES)) for name, text in fields))
        document = _document(parts)
    return document


def _parts(document: bytes) -> _Parts:
    """name → (type, value), in order; of a repeated name the first."""
    parts: _Parts = {}
    for kind, name, start, stop in walk.elements(document):
        parts.setdefault(name, (kind, document[start:stop]))
    return parts


def _document(parts: _Parts) -> bytes:
    return build.document(build.element(kind, name, value) for name, (kind, value) in parts.items())


def _set(parts: _Parts, name: bytes, *fields: bytes, first: bool = False) -> None:
    value = (walk.DOCUMENT, build.document(fields))
    if first and name not in parts:
        others = list(parts.items())
        parts.clear()
        parts[name] = value
        parts.update(others)
    else:
        parts[name] = value


def _text(part: tuple[int, bytes] | None) -> str | None:
    if part is None or part[0] != walk.STRING:
        return None
    try:
        return walk.text(part[1], 0, len(part[1]))[:_SHOWN]
    except BsonError:
        return None


def _inner_text(parts: _Parts, name: bytes, field: bytes) -> str | None:
    part = parts.get(name)
    if part is None or part[0] != walk.DOCUMENT:
        return None
    try:
        return _text(_parts(part[1]).get(field))
    except BsonError:
        return None


def _cut(text: str, size: int) -> str:
    """At most `size` bytes of UTF-8, cut between characters."""
    return text.encode()[: max(0, size)].decode("utf-8", "ignore")

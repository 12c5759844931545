"""A fail point as the server gets it: what it says of names and logins means the client's, and ours are others.

A fail point with ``data.appName`` hits the connections whose handshake said exactly that. Our handshake puts the
attribution before the client's name (`metadata`), so the fail point must ask for the same, or it hits nothing. A
client's login never reaches the server: what is to fail in it fails here (`faults`), and at the server the same names
would hit the gateway's own login, which no client can see.

Law: only these two things change; a command of any other shape goes on as it came.
"""

from __future__ import annotations

from typing import Final

from ..rawbson import build, walk
from ..rawbson.walk import BsonError
from . import metadata
from .header import build_msg
from .login import LOGIN_COMMANDS
from .message import CHECKSUM_PRESENT, Request

COMMAND: Final = "configureFailPoint"
_DATA: Final = b"data"
_APP_NAME: Final = b"appName"
_FAIL_COMMANDS: Final = b"failCommands"


def attributed(request: Request, attribution: str) -> bytes:
    """The message to forward for a configureFailPoint: as it came, but for ``data.appName`` and the logins in
    ``data.failCommands``."""
    if request.legacy or request.sequences:
        return request.raw
    try:
        data = walk.find(request.body, _DATA)
        if data is None or data[0] != walk.DOCUMENT:
            return request.raw
        inner = request.body[data[1] : data[2]]
        replaced = _without_logins(_named(inner, attribution))
    except BsonError:
        return request.raw
    if replaced is inner:
        return request.raw
    body = _with(request.body, _DATA, build.element(walk.DOCUMENT, _DATA, replaced))
    return build_msg(body, request.request_id, request.response_to, request.flags & ~CHECKSUM_PRESENT)


def _named(data: bytes, attribution: str) -> bytes:
    name = walk.find(data, _APP_NAME)
    if name is None or name[0] != walk.STRING:
        return data
    full = metadata.app_name(attribution, walk.text(data, name[1], name[2]))
    return _with(data, _APP_NAME, build.string(_APP_NAME, full))


def _without_logins(data: bytes) -> bytes:
    named = walk.find(data, _FAIL_COMMANDS)
    if named is None or named[0] != walk.ARRAY:
        return data
    elements = list(walk.elements(data, named[1], named[2]))
    if any(kind != walk.STRING for kind, _, _, _ in elements):
        return data
    names = [walk.text(data, start, stop) for _, _, start, stop in elements]
    kept = [each for each in names if each not in LOGIN_COMMANDS]
    return data if kept == names else _with(data, _FAIL_COMMANDS, build.strings(_FAIL_COMMANDS, kept))


def _with(document: bytes, name: bytes, element: bytes) -> bytes:
    """The document with `element` in the place of the one called `name`."""
    return build.document(
        element if key == name else build.element(kind, key, document[start:stop])
        for kind, key, start, stop in walk.elements(document)
    )

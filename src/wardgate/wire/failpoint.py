"""The `appName` of a fail point: test tools name their own connections by it, and ours bear another name at the server.

A fail point with ``data.appName`` hits the connections whose handshake said exactly that. Our handshake puts the
attribution before the client's name (`metadata`), so the fail point must ask for the same, or it hits nothing.

Law: only this one string changes; a command of any other shape goes on as it came.
"""

from __future__ import annotations

from typing import Final

from ..rawbson import build, walk
from ..rawbson.walk import BsonError
from . import metadata
from .header import build_msg
from .message import CHECKSUM_PRESENT, Request

COMMAND: Final = "configureFailPoint"
_DATA: Final = b"data"
_APP_NAME: Final = b"appName"


def attributed(request: Request, attribution: str) -> bytes:
    """The message to forward for a configureFailPoint: as it came, but for the name in ``data.appName``."""
    if request.legacy or request.sequences:
        return request.raw
    try:
        data = walk.find(request.body, _DATA)
        if data is None or data[0] != walk.DOCUMENT:
            return request.raw
        inner = request.body[data[1] : data[2]]
        name = walk.find(inner, _APP_NAME)
        if name is None or name[0] != walk.STRING:
            return request.raw
        full = metadata.app_name(attribution, walk.text(inner, name[1], name[2]))
    except BsonError:
        return request.raw
    replaced = _with(inner, _APP_NAME, build.string(_APP_NAME, full))
    body = _with(request.body, _DATA, build.element(walk.DOCUMENT, _DATA, replaced))
    return build_msg(body, request.request_id, request.response_to, request.flags & ~CHECKSUM_PRESENT)


def _with(document: bytes, name: bytes, element: bytes) -> bytes:
    """The document with `element` in the place of the one called `name`."""
    return build.document(
        element if key == name else build.element(kind, key, document[start:stop])
        for kind, key, start, stop in walk.elements(document)
    )

"""What stands in a record in place of a value that is not shown: a string that names the type which it had.

Law: a placeholder tells nothing of the value but its BSON type, and stands where the value stood.
"""

from __future__ import annotations

from typing import Final

from ..rawbson import build, walk

MASK: Final = "$wardgateMasked"

_TYPE_NAMES: Final = {
    walk.STRING: "string", walk.BINARY: "binData", walk.DOCUMENT: "object", walk.ARRAY: "array", walk.INT32: "int",
    walk.INT64: "long", walk.DOUBLE: "double", walk.NULL: "null", walk.BOOLEAN: "bool", walk.DECIMAL128: "decimal",
    walk.OBJECT_ID: "objectId", walk.DATETIME: "date", walk.TIMESTAMP: "timestamp", walk.REGEX: "regex",
    walk.CODE: "javascript", walk.CODE_WITH_SCOPE: "javascriptWithScope", walk.SYMBOL: "symbol",
}  # fmt: skip
TEXT: Final = f"{MASK}:string"  # in place of a text that is no BSON


def placeholder(kind: int, name: bytes) -> bytes:
    """The element in place of one of that type and name."""
    return build.string(name, f"{MASK}:{_TYPE_NAMES.get(kind, 'value')}")


def withheld(body: bytes, why: str) -> bytes:
    """A command's name, its value and its database; nothing else of it but why."""
    parts: list[bytes] = []
    for kind, name, start, stop in walk.elements(body):
        if not parts and kind in (walk.STRING, walk.INT32, walk.DOUBLE):
            parts.append(build.element(kind, name, body[start:stop]))
        elif not parts:
            parts.append(placeholder(kind, name))
        elif name == b"$db":
            parts.append(build.element(kind, name, body[start:stop]))
    parts.append(build.string(MASK.encode(), f"the command's content is withheld: {why}"))
    return build.document(parts)

"""What a command's fields say that its name does not: namespaces, code, pipelines, cursors, sessions.

Law: reading too much into a document is allowed, too little is not. Where a structure is not what MongoDB documents,
the command is marked as running code or refused, never waved through.

Traits that policy asks for: ``by_uuid`` (a collection named by its UUID, so that its name is unknown), ``credentials``
(usersInfo that shows them), ``profile_read`` (the level is only asked for).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ..rawbson import walk
from ..rawbson.walk import BsonError
from ..wire.errors import MongoCode, RemoteProtocolError
from ..wire.message import Request
from .catalogue import Effect, Entry, Place

Fields: TypeAlias = dict[bytes, tuple[int, int, int]]

BY_UUID: Final = "by_uuid"
CREDENTIALS: Final = "credentials"
PROFILE_READ: Final = "profile_read"

# Operators that run JavaScript. As a key, anywhere in a query or an expression.
_CODE_KEYS: Final = (b"$where", b"$function", b"$accumulator")
# One of these keys, anywhere in bytes. One pass over them: three searches cost three times as much of a large insert.
CODE_HINT: Final = re.compile(rb"\$(?:" + b"|".join(key[1:] for key in _CODE_KEYS) + rb")\0")
# Elements that are looked at in search of such keys; a longer search counts as found. 20,000 take about 6 ms.
_SEARCH: Final = 20_000
_STAGES_MAX: Final = 1_000  # mongod's own limit of a pipeline's length
_STORED_CODE: Final = "system.js"
_UUID_SUBTYPES: Final = frozenset({3, 4})


@dataclass(slots=True)
class Findings:
    """Collected while a command is examined; inside this room only."""

    database: str
    collection: str | None = None
    effect: Effect | None = None
    namespaces: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    cursor_ids: list[int] = field(default_factory=list)
    logical_sessions: list[bytes | None] = field(default_factory=list)
    op: int | str | None = None
    traits: set[str] = field(default_factory=set)

    def touch(self, namespace: str, *, written: bool = False) -> None:
        """A namespace is read, or may be changed."""
        self.namespaces.append(namespace)
        if written:
            self.written.append(namespace)

    def at_least(self, effect: Effect) -> None:
        """Raise the effect; code outweighs write."""
        if self.effect is None or effect is Effect.CODE:
            self.effect = effect


def refused(code: str, message: str, mongo_code: MongoCode) -> RemoteProtocolError:
    """An answerable refusal."""
    return RemoteProtocolError(code, message, mongo_code)


def examine(
    entry: Entry, request: Request | None, raw: bytes, fields: Fields, found: Findings, hinted: bool = False
) -> None:
    """Fill `found` from a command's fields. `request` is None for a command inside explain; `hinted` is `parse`'s."""
    writes = entry.effect is Effect.WRITE
    _place(entry, raw, fields, found, writes)
    special = _SPECIAL.get(entry.name)
    if special is not None:
        special(raw, fields, found)
    if entry.name == "bulkWrite" and request is not None:
        _bulk_sections(request, found)
    # What insert carries is data, whatever its keys are called, unless it goes where functions are stored.
    if entry.name == "insert":
        runs_code = found.collection == _STORED_CODE
    else:
        runs_code = hinted or _has_code(request, raw, fields) or (writes and found.collection == _STORED_CODE)
    if runs_code:
        found.at_least(Effect.CODE)


def _place(entry: Entry, raw: bytes, fields: Fields, found: Findings, writes: bool) -> None:
    place = entry.place
    if place is Place.DATABASE:
        # Of the commands on a whole database only this one writes to it; bulkWrite's and a transaction's are elsewhere.
        found.touch(found.database, written=entry.name == "dropDatabase")
        return
    value = fields.get(b"collection") if place is Place.CURSOR else fields[next(iter(fields))]
    if value is None or value[0] not in (walk.STRING, walk.SYMBOL):
        if value is not None and value[0] == walk.BINARY:
            found.traits.add(BY_UUID)
        found.touch(found.database, written=writes)
        return
    name = walk.text(raw, value[1], value[2])
    if "\0" in name:
        raise refused("bad_namespace", "A collection's name has a zero byte.", MongoCode.INVALID_NAMESPACE)
    if place is Place.FULL:
        found.touch(name, written=writes)
    else:
        found.collection = name
        found.touch(f"{found.database}.{name}", written=writes)


def _has_code(request: Request | None, raw: bytes, fields: Fields) -> bool:
    """Whether a key of the command runs JavaScript. The search over plain bytes comes first: it is nearly free."""
    if CODE_HINT.search(raw) is None:
        return False
    left = _SEARCH
    try:
        for kind, start, stop in fields.values():
            if kind in (walk.DOCUMENT, walk.ARRAY):
                left = _search(raw, start, stop, left)
        for sequence in request.sequences if request is not None else ():
            pos = sequence.start
            while pos < sequence.end:
                stop = walk.document_end(raw, pos, sequence.end)
                left = _search(raw, pos, stop, left)
                pos = stop
    except (_FoundError, BsonError):
        return True
    return False


class _FoundError(Exception):
    """Inside this file only: the search ended with a find, or with no patience left."""


def _search(raw: bytes, start: int, stop: int, left: int) -> int:
    """Look for a key that runs code, at any depth; returns what is left of the patience."""
    stack = [(start, stop)]
    while stack:
        for kind, name, value, value_stop in walk.elements(raw, *stack.pop()):
            left -= 1
            if name in _CODE_KEYS or left < 0:
                raise _FoundError
            if kind in (walk.DOCUMENT, walk.ARRAY):
                stack.append((value, value_stop))
    return left


def _items(raw: bytes, value: tuple[int, int, int] | None, *kinds: int) -> Iterator[tuple[int, int, int]]:
    """An array's values; of other types than `kinds` they are refused, and so is a value that is no array."""
    if value is None:
        return
    if value[0] != walk.ARRAY:
        raise refused("bad_type", "A field that must be an array is none.", MongoCode.TYPE_MISMATCH)
    for kind, _, start, stop in walk.elements(raw, value[1], value[2]):
        if kind not in kinds:
            raise refused("bad_type", "An array has a value of a type that does not belong there.",
                          MongoCode.TYPE_MISMATCH)  # fmt: skip
        yield kind, start, stop


def _string(raw: bytes, value: tuple[int, int, int] | None) -> str | None:
    if value is None or value[0] not in (walk.STRING, walk.SYMBOL):
        return None
    return walk.text(raw, value[1], value[2])


def _target(raw: bytes, value: tuple[int, int, int], found: Findings, *names: bytes) -> str | None:
    """A collection given as a string or as ``{db, coll}`` (the collection under one of `names`)."""
    if value[0] == walk.DOCUMENT:
        fields = walk.fields(raw, value[1], value[2])
        collection = next((_string(raw, fields[name]) for name in names if name in fields), None)
        database = _string(raw, fields.get(b"db")) or found.database
        return None if collection is None else f"{database}.{collection}"
    collection = _string(raw, value)
    return None if collection is None else f"{found.database}.{collection}"


# --- pipelines


def _pipeline_of(raw: bytes, fields: Fields, found: Findings) -> None:
    value = fields.get(b"pipeline")
    if value is not None:
        _pipeline(raw, value, found)


def _pipeline(raw: bytes, value: tuple[int, int, int], found: Findings) -> None:
    todo = [value]
    while todo:
        for _, start, stop in _items(raw, todo.pop(), walk.DOCUMENT):
            todo.extend(_stage(raw, start, stop, found))
            if len(found.stages) > _STAGES_MAX:
                raise refused("long_pipeline", f"A pipeline has more than {_STAGES_MAX} stages.", MongoCode.BAD_VALUE)


def _stage(raw: bytes, start: int, stop: int, found: Findings) -> Iterator[tuple[int, int, int]]:
    """Note one stage; gives the pipelines inside it."""
    for kind, name, value, value_stop in walk.elements(raw, start, stop):
        found.stages.append(name.decode("utf-8", "backslashreplace"))
        whole = (kind, value, value_stop)
        if name in (b"$out", b"$merge"):
            _output(raw, name, whole, found)
        elif name in (b"$lookup", b"$graphLookup"):
            if kind == walk.DOCUMENT:
                inner = walk.fields(raw, value, value_stop)
                if b"from" in inner:
                    _source(raw, inner[b"from"], found)
                yield from (inner[key] for key in (b"pipeline",) if key in inner)
        elif name == b"$unionWith":
            _source(raw, whole, found)
            if kind == walk.DOCUMENT:
                inner = walk.fields(raw, value, value_stop)
                yield from (inner[key] for key in (b"pipeline",) if key in inner)
        elif name == b"$facet" and kind == walk.DOCUMENT:
            yield from walk.fields(raw, value, value_stop).values()


def _source(raw: bytes, value: tuple[int, int, int], found: Findings) -> None:
    namespace = _target(raw, value, found, b"coll")
    if namespace is not None:
        found.touch(namespace)


def _output(raw: bytes, name: bytes, value: tuple[int, int, int], found: Findings) -> None:
    found.at_least(Effect.WRITE)
    if name == b"$merge" and value[0] == walk.DOCUMENT:
        into = walk.fields(raw, value[1], value[2]).get(b"into")
        namespace = None if into is None else _target(raw, into, found, b"coll")
    else:
        namespace = _target(raw, value, found, b"coll")
    found.touch(namespace or found.database, written=True)


# --- single commands


def _view(raw: bytes, fields: Fields, found: Findings) -> None:
    source = _string(raw, fields.get(b"viewOn"))
    if source is not None:
        found.touch(f"{found.database}.{source}")
    _pipeline_of(raw, fields, found)


def _map_reduce(raw: bytes, fields: Fields, found: Findings) -> None:
    out = fields.get(b"out")
    if out is None:
        return
    namespace = _target(raw, out, found, b"replace", b"merge", b"reduce")
    if namespace is not None:
        found.touch(namespace, written=True)


def _rename(raw: bytes, fields: Fields, found: Findings) -> None:
    target = _string(raw, fields.get(b"to"))
    if target is not None:
        found.touch(target, written=True)


def _clone(raw: bytes, fields: Fields, found: Findings) -> None:
    target = _string(raw, fields.get(b"toCollection"))
    if target is not None:
        found.touch(f"{found.database}.{target}", written=True)


def _get_more(raw: bytes, fields: Fields, found: Findings) -> None:
    kind, start, _ = fields[b"getMore"]
    cursor = walk.integer(raw, kind, start)
    if cursor is not None:
        found.cursor_ids.append(cursor)


def _kill_cursors(raw: bytes, fields: Fields, found: Findings) -> None:
    for kind, start, _ in _items(raw, fields.get(b"cursors"), walk.INT64, walk.INT32, walk.DOUBLE):
        cursor = walk.integer(raw, kind, start)
        if cursor is not None:
            found.cursor_ids.append(cursor)


def _sessions(raw: bytes, fields: Fields, found: Findings) -> None:
    for _, start, stop in _items(raw, next(iter(fields.values())), walk.DOCUMENT):
        found.logical_sessions.append(session_uuid(raw, start, stop))


def session_uuid(raw: bytes, start: int, stop: int) -> bytes | None:
    """The 16 bytes of the UUID in a logical session's document; None where there is none."""
    value = walk.fields(raw, start, stop).get(b"id")
    if value is None or value[0] != walk.BINARY or value[2] - value[1] != 21 or raw[value[1] + 4] not in _UUID_SUBTYPES:
        return None
    return raw[value[1] + 5 : value[2]]


def _kill_op(raw: bytes, fields: Fields, found: Findings) -> None:
    value = fields.get(b"op")
    if value is not None:
        text = _string(raw, value)
        found.op = text if text is not None else walk.integer(raw, value[0], value[1])


def _users_info(raw: bytes, fields: Fields, found: Findings) -> None:
    value = fields.get(b"showCredentials")
    if value is not None and walk.number(raw, value[0], value[1]) != 0:
        found.traits.add(CREDENTIALS)


def _profile(raw: bytes, fields: Fields, found: Findings) -> None:
    kind, start, _ = fields[b"profile"]
    changes = any(name in fields for name in (b"slowms", b"sampleRate", b"filter"))
    if walk.integer(raw, kind, start) == -1 and not changes:
        found.traits.add(PROFILE_READ)


def _bulk(raw: bytes, fields: Fields, found: Findings) -> None:
    for _, start, stop in _items(raw, fields.get(b"nsInfo"), walk.DOCUMENT):
        _bulk_namespace(raw, start, stop, found)


def _bulk_sections(request: Request, found: Findings) -> None:
    for sequence in request.sequences:
        pos = sequence.start
        while sequence.identifier == "nsInfo" and pos < sequence.end:
            stop = walk.document_end(request.raw, pos, sequence.end)
            walk.validate(request.raw, pos, stop)
            _bulk_namespace(request.raw, pos, stop, found)
            pos = stop


def _bulk_namespace(raw: bytes, start: int, stop: int, found: Findings) -> None:
    namespace = _string(raw, walk.fields(raw, start, stop).get(b"ns"))
    if namespace is None:
        raise refused("bad_namespace", "An entry of nsInfo has no namespace.", MongoCode.INVALID_NAMESPACE)
    found.touch(namespace, written=True)


_SPECIAL: Final = {
    "aggregate": _pipeline_of,
    "bulkWrite": _bulk,
    "cloneCollectionAsCapped": _clone,
    "collMod": _view,
    "create": _view,
    "endSessions": _sessions,
    "getMore": _get_more,
    "killCursors": _kill_cursors,
    "killOp": _kill_op,
    "killSessions": _sessions,
    "mapReduce": _map_reduce,
    "mapreduce": _map_reduce,
    "profile": _profile,
    "renameCollection": _rename,
    "usersInfo": _users_info,
}

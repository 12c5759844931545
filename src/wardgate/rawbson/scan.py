"""What a reply says, read while it passes.

A scanner sees one reply document in pieces, keeps a few dozen bytes of it at a time, and in the end knows the facts
that an outcome record needs. Everything else it steps over by length: a batch costs one step per document, not one per
field.

It is no validator: what lies between the facts is MongoDB's business and the driver's. Law: never raises for what the
bytes are. A document whose lengths do not add up has `malformed` set, and stays so.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

from . import walk
from .walk import value_length

ERRMSG_BYTES: Final = 1_024  # of an error text; the rest is not kept
_HEAD_BYTES: Final = 2 * ERRMSG_BYTES  # no element that must be whole to be understood is longer
_NUMBERS: Final = frozenset({walk.DOUBLE, walk.INT32, walk.INT64, walk.BOOLEAN})

_INT32: Final = struct.Struct("<i").unpack_from
# An array element that is a document, by the number of digits of its key: type, the zero behind the key, length.
_STEPS: Final = tuple(struct.Struct(f"<B{digits}xBi").unpack_from for digits in range(11))
_POWERS: Final = tuple(10**digits for digits in range(11))


class ReplyFacts(NamedTuple):
    """`ok` is None where the reply has none. `batch` counts the documents of firstBatch or nextBatch."""

    ok: float | None = None
    code: int | None = None
    code_name: str | None = None
    errmsg: str | None = None
    n: int | None = None
    n_modified: int | None = None
    cursor_id: int | None = None
    batch: int | None = None
    upserted: int | None = None
    write_errors: int = 0
    write_error_code: int | None = None  # of the first write error
    write_concern_code: int | None = None
    malformed: str | None = None

    @property
    def documents(self) -> int | None:
        """Documents that this reply returned, else the number it says it changed."""
        return self.batch if self.batch is not None else self.n


# Where in the reply a scanner stands. Plain numbers: an enum's look-up would cost more than the step that it names.
_TOP, _CURSOR, _BATCH, _WRITE_ERRORS, _WRITE_ERROR, _WRITE_CONCERN, _LAST_ERROR, _UPSERTED = range(8)

# Places of the facts in ReplyFacts.
_FACTS: Final = {name: place for place, name in enumerate(ReplyFacts._fields)}
_EMPTY: Final = list(ReplyFacts())
_OK, _MALFORMED = _FACTS["ok"], _FACTS["malformed"]
# Arrays whose elements are counted, and the fact that the count is.
_COUNTED: Final = {_BATCH: _FACTS["batch"], _WRITE_ERRORS: _FACTS["write_errors"], _UPSERTED: _FACTS["upserted"]}
_PLAIN: Final = frozenset({_BATCH, _UPSERTED})  # of these nothing but the number is wanted
_TEXTS: Final = frozenset({_FACTS["code_name"], _FACTS["errmsg"]})
_OPENS: Final = 100  # a wanted value that is _OPENS or more opens the level (wanted - _OPENS)

_WANTED: Final[tuple[dict[bytes, int], ...]] = (
    {
        b"ok": _OK,
        b"cursor": _OPENS + _CURSOR,
        b"n": _FACTS["n"],
        b"nModified": _FACTS["n_modified"],
        b"code": _FACTS["code"],
        b"codeName": _FACTS["code_name"],
        b"errmsg": _FACTS["errmsg"],
        b"upserted": _OPENS + _UPSERTED,
        b"writeErrors": _OPENS + _WRITE_ERRORS,
        b"writeConcernError": _OPENS + _WRITE_CONCERN,
        b"lastErrorObject": _OPENS + _LAST_ERROR,  # findAndModify's only count
    },
    {b"firstBatch": _OPENS + _BATCH, b"nextBatch": _OPENS + _BATCH, b"id": _FACTS["cursor_id"]},
    {},
    {b"0": _OPENS + _WRITE_ERROR},
    {b"code": _FACTS["write_error_code"]},
    {b"code": _FACTS["write_concern_code"]},
    {b"n": _FACTS["n"]},
    {},
)


class ReplyScanner:
    """Scans one reply document that comes in pieces of any size."""

    __slots__ = ("_base", "_count", "_done", "_facts", "_last", "_level", "_outer", "_skip", "_tail")

    def __init__(self) -> None:
        self._facts: list[Any] = _EMPTY.copy()
        self._tail = b""  # bytes of an element's head that is not whole yet
        self._base = 0  # offset in the document of the first byte of the buffer that is walked
        self._skip = 0  # bytes still to come that belong to a value which is stepped over
        self._level = _TOP
        self._last = -1  # offset of the closing zero of the level under way; -1: the length is not known yet
        self._outer: list[tuple[int, int, int]] = []
        self._count = 0  # elements seen in the array under way
        self._done = False

    @property
    def malformed(self) -> str | None:
        """What is wrong with the bytes so far."""
        reason: str | None = self._facts[_MALFORMED]
        return reason

    def feed(self, piece: bytes) -> None:
        """The next bytes of the document."""
        size = len(piece)
        if self._skip >= size:
            self._skip -= size
            self._base += size
            return
        if self._facts[_MALFORMED] is not None:
            return
        if self._tail:
            piece = self._tail + piece
            self._tail = b""
        start = self._skip
        self._skip = 0
        self._advance(piece, start, len(piece))

    def feed_range(self, data: bytes, start: int, end: int) -> None:
        """`feed` of a whole document that stands in data[start:end], uncopied. Once, and instead of `feed`."""
        self._advance(data, start, end)

    def finish(self) -> ReplyFacts:
        """The facts, once every byte was fed; a document that is not whole is malformed."""
        if not self._done:
            self._fail("the reply ends within its document")
        return ReplyFacts._make(self._facts)

    def _fail(self, reason: str) -> None:
        if self._facts[_MALFORMED] is None:
            self._facts[_MALFORMED] = reason

    def _advance(self, data: bytes, pos: int, limit: int) -> None:
        """Walk data[pos:limit] as far as it goes, then remember where it stopped."""
        if self._last < 0:
            if limit - pos < 4:
                self._tail = data[pos:limit]
                return
            length = _INT32(data, pos)[0]
            if length < walk.MIN_DOCUMENT:
                self._fail("the reply's length is impossible")
                return
            self._last = length - 1
            self._base = -pos  # the document begins at offset 0, wherever it stands in the first buffer
            pos += 4
        pos = self._walk(data, pos, limit)
        if pos >= limit:
            self._skip = pos - limit
            self._base += limit
        else:
            self._tail = data[pos:limit]
            self._base += pos

    def _walk(self, data: bytes, pos: int, limit: int) -> int:
        """Walk on; returns where more bytes are needed (pos < limit: an element's head is cut there)."""
        base = self._base
        find = data.find
        while pos < limit:
            level = self._level
            last = self._last - base
            if pos >= last:
                if pos > last or data[pos] or self._done:
                    self._fail("a document's elements do not fill it")
                    return limit
                pos += 1
                self._close(level)
                continue
            if level in _PLAIN or (level == _WRITE_ERRORS and self._count):
                pos = self._count_documents(data, pos)
                if pos >= last or pos >= limit:
                    continue
            wanted_here = _WANTED[level]
            while pos < last:  # the elements of one level
                name_end = find(0, pos + 1, last)
                value = name_end + 1
                if name_end < 0 or value > limit:
                    return self._short(pos, limit, last)
                stop = value_length(data, data[pos], value, limit)
                if stop < 0:
                    return self._short(pos, limit, last)
                stop += value
                if stop > last:
                    self._fail("a value does not fit into its document")
                    return limit
                wanted = wanted_here.get(data[pos + 1 : name_end])
                if wanted is None:
                    self._count += 1
                    pos = stop
                    if level in _COUNTED or pos >= limit:
                        break
                    continue
                pos = self._take(data, pos, value, stop, limit, wanted)
                if self._level != level or pos >= limit:
                    break
                if pos < value:
                    return self._short(pos, limit, last)
        return pos

    def _short(self, pos: int, limit: int, last: int) -> int:
        """An element's head is cut at `limit`: wait for more, unless no more can help."""
        if limit >= last or limit - pos > _HEAD_BYTES:
            self._fail("an element is cut or too long")
            return limit
        return pos

    def _close(self, level: int) -> None:
        counted = _COUNTED.get(level)
        if counted is not None:
            self._facts[counted] = self._count
        if self._outer:
            self._level, self._last, self._count = self._outer.pop()
        else:
            self._done = True

    def _count_documents(self, data: bytes, pos: int) -> int:
        """Step over the array's documents in `data`; stops at anything else, at the array's end or at a cut head."""
        count = self._count
        digits = len(str(count))
        try:
            while True:
                step = _STEPS[digits]
                head = digits + 2
                for count in range(count, _POWERS[digits]):  # noqa: B007, B020 - goes on where it was
                    kind, zero, length = step(data, pos)
                    if kind != walk.DOCUMENT or zero or length < walk.MIN_DOCUMENT:
                        return pos
                    pos += head + length
                count += 1
                digits += 1
        except struct.error:
            return pos  # the next head is not in this piece, or the document before it is not all here
        finally:
            self._count = count

    def _take(self, data: bytes, pos: int, value: int, stop: int, limit: int, wanted: int) -> int:
        """Take a wanted value; `pos` itself means that more of it must come first."""
        kind = data[pos]
        if wanted >= _OPENS:
            if kind != walk.DOCUMENT and kind != walk.ARRAY:
                return stop
            self._outer.append((self._level, self._last, self._count + 1))
            self._level = wanted - _OPENS
            self._last = self._base + stop - 1
            self._count = 0
            return value + 4
        if wanted in _TEXTS:
            if kind != walk.STRING:
                return stop
            cut = min(stop - 1, value + 4 + ERRMSG_BYTES)
            if limit < cut:
                return pos
            self._facts[wanted] = data[value + 4 : cut].decode("utf-8", "replace")
        elif limit >= stop:
            self._facts[wanted] = (walk.number if wanted == _OK else walk.integer)(data, kind, value)
        elif kind in _NUMBERS:
            return pos
        return stop


def scan(data: bytes, start: int = 0, end: int | None = None) -> ReplyFacts:
    """The facts of a reply document that is whole in data[start:end]."""
    scanner = ReplyScanner()
    scanner.feed_range(data, start, len(data) if end is None else end)
    return scanner.finish()

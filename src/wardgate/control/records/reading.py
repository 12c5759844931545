"""A page of a session's log: the rows, with the bodies taken from the objects and shown as Extended JSON.

A page ends early when its bodies have grown large, so one page never holds more than a few of the largest commands.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any, Final

from ...api.models import Record
from ...audit.chain import ChainBroken, open_frame
from ...audit.codec import Assembler, CodecError, decode
from ...audit.frame import Frame, FrameError, split
from ...audit.records import BodyChunk, CommandIntent, Denied, UploadPart
from ...proof.epoch import UnreadableObject
from . import extjson
from .model import RecordBatchRow, RecordRow

PAGE_BODY_BYTES: Final = 8 * 1024 * 1024

_UNREADABLE: Final = "$wardgate"
UNREADABLE: Final = (FrameError, ChainBroken, CodecError, UnreadableObject)


class Bodies:
    """Bodies of one epoch's commands. It reads an object once for all the records of a page that lie in it."""

    def __init__(self, batches: Sequence[RecordBatchRow], key: bytes, load: Callable[[str], bytes]) -> None:
        self._batches = batches
        self._firsts = [batch.first_seq for batch in batches]
        self._key = key
        self._load = load
        self._cached: tuple[str, dict[int, Frame]] = ("", {})

    def body(self, seq: int) -> tuple[dict[str, Any], int]:
        """The body of the command whose intent is `seq`, and its size in bytes. What can't be read says so."""
        try:
            record = self.record(seq)
        except FileNotFoundError:
            return {_UNREADABLE: "the stored record is missing: verify this session"}, 0
        except UNREADABLE as error:
            return {_UNREADABLE: f"the stored record can't be read: {error}"}, 0
        return shown(record), size_of(record)

    def record(self, seq: int) -> CommandIntent | Denied:
        """The whole record of that command; FileNotFoundError, or one of `UNREADABLE`."""
        entry = decode(open_frame(self._frame(seq), self._key))
        assembler = Assembler(entry)
        if assembler.opened is not None:
            self._gather(assembler, assembler.opened, seq)
        while not assembler.whole:
            seq += 1
            chunk = decode(open_frame(self._frame(seq), self._key)).record
            if isinstance(chunk, BodyChunk):
                assembler.add(chunk)
        record = assembler.record()
        assert isinstance(record, CommandIntent | Denied)
        return record

    def _gather(self, assembler: Assembler, opened: int, seq: int) -> None:
        """The parts of a streamed body, which lie between the records of others before its own."""
        for place in range(opened + 1, seq):
            record = decode(open_frame(self._frame(place), self._key)).record
            if isinstance(record, UploadPart):
                assembler.add(record)
        if not assembler.whole:
            raise CodecError("A streamed body is not whole.")

    def _frame(self, seq: int) -> Frame:
        index = bisect.bisect_right(self._firsts, seq) - 1
        if index < 0 or seq > self._batches[index].last_seq:
            raise FileNotFoundError
        name = self._batches[index].name
        if self._cached[0] != name:
            self._cached = (name, {frame.head.seq: frame for frame in split(self._load(name))})
        frame = self._cached[1].get(seq)
        if frame is None:
            raise FileNotFoundError
        return frame


def size_of(record: CommandIntent | Denied) -> int:
    """The bytes of its body."""
    return len(record.body) + sum(len(documents) for _, documents in record.sequences)


def first_frame(row: RecordRow) -> int:
    """The first frame that has something of a command: its own, or the one where its parts begin."""
    opened = (row.details or {}).get("opened")
    return opened if isinstance(opened, int) else row.seq


def shown(record: CommandIntent | Denied) -> dict[str, Any]:
    """The command as its sender meant it: document sequences are arrays of the body again."""
    try:
        body = extjson.document(record.body)
        for name, documents in record.sequences:
            body[name] = extjson.documents(documents)
    except ValueError:
        return {_UNREADABLE: "the command is no readable BSON", "$hex": record.body[:1024].hex()}
    return body


def describe(row: RecordRow, body: dict[str, Any] | None, further: int | None = None) -> Record:
    """A row as the API shows it; `further` are documents that later commands read through its cursor."""
    return Record.model_validate(
        {
            **_written(row),
            "continues": row.continues,
            "documents_in_all": None if further is None else (row.documents or 0) + further,
            "epoch": row.epoch,
            "seq": row.seq,
            "at": row.at,
            "connection": row.connection,
            "kind": row.kind,
            "database": row.database,
            "collection": row.collection,
            "command": row.command,
            "body": body,
            "effect": row.effect,
            "ok": row.ok,
            "code": row.code,
            "rule": row.rule,
            "documents": row.documents,
            "bytes_in": row.bytes_in,
            "bytes_out": row.bytes_out,
            "duration_us": row.duration_us,
            "client_app": row.client_app,
            "unacknowledged": row.unacknowledged,
            "error": row.error,
            "event": row.event,
            "details": row.details,
        }
    )


def _written(row: RecordRow) -> dict[str, int | None]:
    """What a write did, in the words of its command: a reply has one number, which means something else in each."""
    found: dict[str, int | None] = {"write_errors": row.write_errors}
    if row.kind != "command" or row.ok is None or row.documents is None:
        return found
    if row.command == "insert":
        found["inserted"] = row.documents
    elif row.command == "delete":
        found["deleted"] = row.documents
    elif row.command == "update":
        upserted = row.upserted or 0
        found |= {"matched": row.documents - upserted, "modified": row.modified, "upserted": upserted}
    return found

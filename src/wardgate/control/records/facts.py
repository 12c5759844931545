"""A command's records as the facts that its row needs, read without making the record.

It knows exactly the form in which `audit.codec` writes an ordinary intent and outcome: one expression for the fields in
their order, the body stepped over. Whatever has another form (document sequences, chunks, masked paths, errors) is left
to `codec.decode`, which is the definition; so is whatever is wrong. Law: what is read here is what `decode` would read.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import Final, NamedTuple

_I32: Final = struct.Struct("<i").unpack_from
_I64: Final = struct.Struct("<q").unpack
_F64: Final = struct.Struct("<d").unpack
_AT: Final = rb"\x12at\0(.{8})"


def _text(name: bytes) -> bytes:
    """A string: its length, which counts the zero, and its bytes. One with a zero inside is not matched."""
    return b"\\x02" + name + rb"\0(.{4})([^\0]*+)\0"


def _number(name: bytes) -> bytes:
    return b"\\x12" + name + rb"\0(.{8})"


def _if(pattern: bytes) -> bytes:
    return b"(?:" + pattern + b")?+"


# Where the length of the kind's name stands: what tells the kinds apart that are worth a try.
_KIND: Final = 10
_INTENT_KIND: Final = len(b"intent\0")
_OUTCOME_KIND: Final = len(b"outcome\0")
_LEAST: Final = 16  # any record is longer

_INTENT: Final = re.compile(
    rb"(?s)\x02kind\0\x07\0\0\0intent\0"
    + _AT
    + _number(b"connection")
    + _number(b"request_id")
    + _text(b"database")
    + _if(_text(b"collection"))
    + _text(b"command")
    + _text(b"effect")
    + rb"\x03body\0"
).match
_INTENT_END: Final = re.compile(
    rb"(?s)"
    + _number(b"bytes_in")
    + _if(_text(b"rule"))
    + _if(_text(b"client_app"))
    + _if(_number(b"continues"))
    + rb"\0\Z"
).match
_OUTCOME: Final = re.compile(
    rb"(?s)\x02kind\0\x08\0\0\0outcome\0"
    + _AT
    + _number(b"intent_seq")
    + _if(rb"\x01ok\0(.{8})")
    + _if(_number(b"code"))
    + _if(_number(b"documents"))
    + _if(_number(b"bytes_out"))
    + _if(_number(b"duration_us"))
    + _if(_number(b"modified"))
    + _if(_number(b"upserted"))
    + _if(_number(b"write_errors"))
    + rb"\0\Z"
).match


class Intent(NamedTuple):
    """What a row says of an intent."""

    at_us: int
    connection: int
    database: str
    collection: str | None
    command: str
    effect: str
    bytes_in: int
    rule: str | None
    client_app: str | None
    continues: int | None


class Outcome(NamedTuple):
    """An outcome in its ordinary form: the fields of `CommandOutcome`, and far quicker to make."""

    intent_seq: int
    ok: float | None
    code: int | None
    documents: int | None
    bytes_out: int
    duration_us: int
    modified: int | None
    upserted: int | None
    write_errors: int
    unacknowledged: bool = False
    error: str | None = None
    more: bool = False


def intent(document: bytes) -> Intent | None:
    """The facts of an intent in its ordinary form; None if it is anything else."""
    if len(document) < _LEAST or document[_KIND] != _INTENT_KIND or _I32(document)[0] != len(document):
        return None
    begin = _INTENT(document, 4)
    if begin is None:
        return None
    end = _INTENT_END(document, _after(document, begin.end()))
    if end is None:
        return None
    when, connection, _, database_size, database, collection_size, collection, command_size, command, *effect = (
        begin.groups()
    )
    bytes_in, rule_size, rule, app_size, app, continues = end.groups()
    try:
        return Intent(
            _I64(when)[0],
            _I64(connection)[0],
            _read(database_size, database),
            None if collection is None else _read(collection_size, collection),
            _read(command_size, command),
            _read(*effect),
            _I64(bytes_in)[0],
            None if rule is None else _read(rule_size, rule),
            None if app is None else _read(app_size, app),
            None if continues is None else _I64(continues)[0],
        )
    except ValueError:
        return None


def outcome(document: bytes) -> Outcome | None:
    """An outcome in its ordinary form; None if it is anything else."""
    if len(document) < _LEAST or document[_KIND] != _OUTCOME_KIND or _I32(document)[0] != len(document):
        return None
    found = _OUTCOME(document, 4)
    if found is None:
        return None
    _, intent_seq, ok, code, documents, bytes_out, duration, modified, upserted, write_errors = found.groups()
    return Outcome(
        _I64(intent_seq)[0],
        None if ok is None else _F64(ok)[0],
        None if code is None else _I64(code)[0],
        None if documents is None else _I64(documents)[0],
        0 if bytes_out is None else _I64(bytes_out)[0],
        0 if duration is None else _I64(duration)[0],
        None if modified is None else _I64(modified)[0],
        None if upserted is None else _I64(upserted)[0],
        0 if write_errors is None else _I64(write_errors)[0],
    )


def _after(document: bytes, at: int) -> int:
    """The place behind the document at `at`; behind the end, where nothing matches, if its length lies."""
    if len(document) - at < 5:
        return len(document)
    size: int = _I32(document, at)[0]
    stop = at + size
    return stop if size >= 5 and stop < len(document) and document[stop - 1] == 0 else len(document)


@lru_cache(maxsize=4096)  # names of collections and commands come again and again
def _read(size: bytes, text: bytes) -> str:
    if int.from_bytes(size, "little") != len(text) + 1:
        raise ValueError("the length of a string is not its length")
    return text.decode()

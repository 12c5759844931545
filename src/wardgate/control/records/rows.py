"""Entries of a chain as rows of the log. Pure.

An intent makes a row, its outcomes are merged into it: at once where both came in one batch, else by an update. Each
frame is counted once, when it arrives, so merging adds and never starts over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ...audit import records
from ...audit.codec import CodecError, decode
from ...audit.records import CommandIntent, CommandOutcome, Denied
from . import facts
from .extjson import moment
from .facts import Outcome

Row = dict[str, Any]

_BLANK: Row = dict.fromkeys(
    (
        "connection",
        "database",
        "collection",
        "command",
        "effect",
        "ok",
        "code",
        "rule",
        "documents",
        "bytes_in",
        "bytes_out",
        "duration_us",
        "client_app",
        "unacknowledged",
        "error",
        "continues",
        "modified",
        "upserted",
        "write_errors",
        "event",
        "details",
    )
)


@dataclass(slots=True)
class Harvest:
    """What one batch adds: rows to insert, outcomes for rows of earlier batches, counts for the session."""

    rows: dict[int, Row] = field(default_factory=dict)
    outcomes: list[CommandOutcome | Outcome] = field(default_factory=list)
    commands: int = 0
    errors: int = 0
    documents_read: int = 0
    documents_changed: int = 0
    closed: bool = False


def harvest(
    session_id: str, epoch: int, documents: Iterable[tuple[int, bytes]], place_id: int = 0, project: int = 0
) -> Harvest:
    """The rows of these (sequence number, record's document) pairs; CodecError for one that can't be read."""
    found = Harvest()
    place: Row = _BLANK | {"session_id": session_id, "epoch": epoch, "place": place_id, "project": project}
    for seq, document in documents:
        outcome = facts.outcome(document)
        if outcome is not None:
            _conclude(found, outcome)
            continue
        intent = facts.intent(document)
        if intent is not None:
            found.commands += 1
            found.rows[seq] = {
                **place,
                "seq": seq,
                "kind": "command",
                "at": moment(intent.at_us),
                "connection": intent.connection,
                "database": intent.database,
                "collection": intent.collection,
                "command": intent.command,
                "effect": intent.effect,
                "bytes_in": intent.bytes_in,
                "rule": intent.rule,
                "client_app": intent.client_app,
                "continues": intent.continues,
            }
            continue
        _other(found, place, seq, document)
    return found


def _other(found: Harvest, place: Row, seq: int, document: bytes) -> None:
    """What is no ordinary intent or outcome."""
    try:
        entry = decode(document)
    except CodecError as error:
        raise CodecError(f"Record {seq} can't be read by this version: {error.message}") from error
    record = entry.record
    if isinstance(record, CommandOutcome):
        _conclude(found, record)
        return
    described = _facts(record)
    if described is None:
        return
    found.commands += isinstance(record, CommandIntent | Denied)
    found.errors += isinstance(record, Denied)
    found.closed = found.closed or isinstance(record, records.SessionClosed)
    found.rows[seq] = place | {"seq": seq, "at": moment(entry.at_us)} | described


def _conclude(found: Harvest, outcome: CommandOutcome | Outcome) -> None:
    found.errors += failed(outcome)
    row = found.rows.get(outcome.intent_seq)
    if row is None:
        found.outcomes.append(outcome)
    else:
        merge(row, outcome)
        read, changed = documents_of(row["effect"], outcome)
        found.documents_read += read
        found.documents_changed += changed


def documents_of(effect: str | None, outcome: CommandOutcome | Outcome) -> tuple[int, int]:
    """(documents read, documents changed) by a command of this effect."""
    if effect == "read":
        return outcome.documents or 0, 0
    if effect != "write":
        return 0, 0
    if outcome.modified is not None:
        return 0, outcome.modified + (outcome.upserted or 0)
    return 0, outcome.documents or 0


def failed(outcome: CommandOutcome | Outcome) -> bool:
    """Whether the command is counted as an error."""
    return outcome.ok == 0 or (outcome.ok is None and not outcome.unacknowledged)


def merge(row: Row, outcome: CommandOutcome | Outcome) -> None:
    """Put an outcome into its intent's row. Exhaust replies add up; the last one says how it went."""
    row["ok"] = outcome.ok
    row["code"] = outcome.code
    if outcome.documents is not None:
        row["documents"] = (row["documents"] or 0) + outcome.documents
    row["bytes_out"] = (row["bytes_out"] or 0) + outcome.bytes_out
    row["duration_us"] = outcome.duration_us
    row["unacknowledged"] = outcome.unacknowledged or None
    row["error"] = outcome.error
    row["modified"] = outcome.modified
    row["upserted"] = outcome.upserted
    row["write_errors"] = outcome.write_errors or None


def _facts(record: records.Record) -> Row | None:
    match record:
        case CommandIntent() | Denied():
            return _command(record)
        case records.ConnectionOpened():
            return _connection(record.connection, "opened", {"peer": record.peer, "member": record.member})
        case records.ConnectionHello():
            details = {"driver": record.driver, "platform": record.platform}
            return _connection(record.connection, "hello", details) | {"client_app": record.client_app}
        case records.ConnectionClosed():
            counts: dict[str, Any] = {
                "reason": record.reason,
                "hellos": record.hellos,
                "sasl": record.sasl,
                "logins": record.logins,
                "commands": record.commands,
            }
            sizes = {"bytes_in": record.bytes_in, "bytes_out": record.bytes_out}
            return _connection(record.connection, "closed", counts) | sizes
        case records.Malformed():
            sender = "server" if record.from_server else "client"
            details = {"reason": record.reason, "sender": sender, "head": record.head.hex()}
            return _connection(record.connection, "malformed", details)
        case records.SessionOpened():
            details = {
                "user": record.user,
                "resource": record.resource,
                "account": record.account,
                "gateway": record.gateway,
                "durability": record.durability,
                "version": record.version,
            }
            return _session("opened", details)
        case records.SessionClosed():
            ending: dict[str, Any] = {
                "reason": record.reason,
                "message": record.message,
                "killed": record.killed,
                "not_killed": list(record.not_killed),
            }
            return _session("closed", ending)
        case records.SessionNotice():
            return _session(record.event, {"message": record.message})
        case _:
            return None  # a chunk, an upload or a part of one: they belong to an intent's body


def _command(record: CommandIntent | Denied) -> Row:
    facts: Row = {
        "kind": "command",
        "connection": record.connection,
        "database": record.database,
        "collection": record.collection,
        "command": record.command,
        "effect": record.effect,
        "bytes_in": record.bytes_in,
        "rule": record.rule,
        "client_app": record.client_app,
    }
    if isinstance(record, CommandIntent):
        facts["continues"] = record.continues
    if isinstance(record, Denied):
        facts |= {"kind": "denied", "ok": 0.0, "code": record.code, "error": record.error}
    details: dict[str, Any] = {"masked": list(record.masked)} if record.masked else {}
    if record.streamed is not None:
        details["opened"] = record.streamed.opened
    if details:
        facts["details"] = details
    return facts


def _connection(connection: int, event: str, details: dict[str, Any]) -> Row:
    return {"kind": "connection", "connection": connection, "event": event, "details": _known(details)}


def _session(event: str, details: dict[str, Any]) -> Row:
    return {"kind": "session", "event": event, "details": _known(details)}


def _known(details: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in details.items() if value is not None}

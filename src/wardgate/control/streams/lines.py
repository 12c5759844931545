"""What is sent: one line for each command, connection, event or seal, the same for every kind of receiver. Pure.

A line's `id` is the same however often it is sent, so a receiver that gets one twice can tell. Law: a line is JSON in
ASCII without control characters, whatever a client or a database put into a name or an error: no line can end early,
and none can pass for another.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Final

from ...api.models import Record
from ..access.places import RecordPlace
from ..audit_log.model import AuditEvent
from ..records.feed import SealFacts

_ALARMING: Final = frozenset({"records.alarm"})
_WARNING: Final = (".failed", ".refused", ".denied", ".failing", ".token_reused", ".terminated", "records.deleted")
_SHORT: Final = (
    "id", "kind", "at", "project_id", "session_id", "epoch", "seq", "number", "event", "actor_id", "command", "ok",
    "code",
)  # fmt: skip


class Severity(IntEnum):
    """As syslog numbers them."""

    CRITICAL = 2
    WARNING = 4
    NOTICE = 5
    INFORMATIONAL = 6


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `facts` begin with `id`, `kind` and `at`."""

    id: str
    kind: str
    at: datetime
    severity: Severity
    facts: dict[str, Any]

    def text(self, most: int) -> str:
        """As JSON of at most `most` characters: first the body goes, then everything that is not needed to find it."""
        whole = _json(self.facts)
        if len(whole) <= most:
            return whole
        if "body" in self.facts:
            left_out = {"$wardgate": "left out here for its size: wardgate pam session logs shows it"}
            whole = _json({**self.facts, "body": left_out})
            if len(whole) <= most:
                return whole
        kept: dict[str, Any] = {name: self.facts[name] for name in _SHORT if name in self.facts}
        return _json({**kept, "shortened": True})


def of_record(place: RecordPlace, record: Record, *, outcome: bool = False) -> Line:
    """A line of a session's log; with `outcome`, only how a command ended that was sent while it ran."""
    kind = "outcome" if outcome else record.kind
    identity = f"{place.session_id}/{record.epoch}/{record.seq}{'/outcome' if outcome else ''}"
    facts = record.model_dump(mode="json", exclude_none=True, exclude={"body"} if outcome else set())
    del facts["kind"], facts["at"]
    head: dict[str, Any] = {
        "id": identity,
        "kind": kind,
        "at": _time(record.at),
        "project_id": place.scope.project_id,
        "session_id": place.session_id,
        "user": place.user,
        "user_id": place.user_id,
        "resource": place.resource,
        "account": place.account,
    }
    if kind == "command" and is_pending(record):
        head["pending"] = True
    return Line(identity, kind, record.at, _severity(record), head | facts)


def of_event(event: AuditEvent) -> Line:
    """A line of the audit log; `previous` and `hash` are its chain."""
    identity = f"event/{event.seq}"
    facts = {
        "id": identity,
        "kind": "event",
        "at": _time(event.at),
        "number": event.seq,
        "event": event.event,
        "actor": event.actor,
        "actor_id": event.actor_id,
        "address": event.address,
        "client": event.client,
        "request_id": event.request_id,
        "target": event.target,
        "project_id": event.project_id,
        "details": event.details,
        "previous": event.previous.hex(),
        "hash": event.hash.hex(),
    }
    severity = Severity.INFORMATIONAL
    if event.event in _ALARMING:
        severity = Severity.CRITICAL
    elif event.event.endswith(_WARNING):
        severity = Severity.WARNING
    return Line(
        identity, "event", event.at, severity, {name: value for name, value in facts.items() if value is not None}
    )


def of_seal(place: RecordPlace, seal: SealFacts) -> Line:
    """A seal over a session's chains: who keeps it elsewhere can show later that an end was cut off."""
    identity = f"{place.session_id}/seal/{seal.number}"
    facts = {
        "id": identity,
        "kind": "seal",
        "at": _time(seal.at),
        "project_id": place.scope.project_id,
        "session_id": place.session_id,
        "number": seal.number,
        "final": seal.final,
        "statement": seal.statement,
        "signature": seal.signature,
        "key_id": seal.key_id,
    }
    return Line(identity, "seal", seal.at, Severity.INFORMATIONAL, facts)


def of_test(identity: str, at: datetime, name: str) -> Line:
    """A line that says nothing but that it arrived."""
    facts = {"id": identity, "kind": "test", "at": _time(at), "message": f"This is a test of the stream {name}."}
    return Line(identity, "test", at, Severity.INFORMATIONAL, facts)


def is_pending(record: Record) -> bool:
    """Whether a command's outcome is not known."""
    return record.kind == "command" and record.ok is None and not record.unacknowledged and record.error is None


def _severity(record: Record) -> Severity:
    if record.kind == "denied":
        return Severity.WARNING
    return Severity.NOTICE if record.ok == 0 or record.event == "malformed" else Severity.INFORMATIONAL


def _time(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _json(facts: dict[str, Any]) -> str:
    try:
        text = json.dumps(facts, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(facts), separators=(",", ":"), allow_nan=False)
    return text.replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    """JSON has no word for infinity: as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value

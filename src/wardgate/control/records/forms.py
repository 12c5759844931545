"""The text forms of an export, and how each keeps what was recorded from doing harm.

JSON lines and the script are ASCII: whatever is not stands in JSON's own escapes, so no terminal, editor or interpreter
finds a control character or a line separator in them. In the table, control characters are escaped, and a text that a
spreadsheet would take for a formula begins with an apostrophe.

The script is built of Extended JSON literals only: nothing that was recorded is ever code, a name or part of a comment
but inside such a literal.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from typing import Any, Final, Protocol

from ...api.models import Record

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


class Form(Protocol):
    """A text form, written line by line."""

    def begin(self) -> str:
        """What comes first."""

    def line(self, record: Record) -> str:
        """One record."""

    def end(self) -> str:
        """What comes last."""


class JsonLines:
    """One object a line, as the API has it."""

    def begin(self) -> str:
        """Nothing."""
        return ""

    def line(self, record: Record) -> str:
        """The record."""
        return json.dumps(record.model_dump(mode="json", exclude_none=True), ensure_ascii=True) + "\n"

    def end(self) -> str:
        """Nothing."""
        return ""


# --- the table of facts ---------------------------------------------------------------------------------------------

_COLUMNS: Final = tuple(name for name in Record.model_fields if name != "body")


class CsvForm:
    """Facts without bodies (RFC 4180), with a line of names."""

    def begin(self) -> str:
        """The names of the columns."""
        return ",".join(_COLUMNS) + "\r\n"

    def line(self, record: Record) -> str:
        """One record."""
        values = record.model_dump(mode="json")
        out = io.StringIO()
        csv.writer(out).writerow([_cell(values[name]) for name in _COLUMNS])
        return out.getvalue()

    def end(self) -> str:
        """Nothing."""
        return ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=True)
    return escaped("'" + text if text.startswith(_FORMULA) else text)


def escaped(text: str) -> str:
    """`text` with control, format and separator characters escaped, as the command line shows it."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char == " " or unicodedata.category(char)[0] not in "CZ" else char.encode("unicode_escape").decode()
        for char in text
    )


# --- the script -----------------------------------------------------------------------------------------------------

# What a driver adds for its own connection, and what belongs to the cluster that it was sent to.
_OF_THE_CONNECTION: Final = frozenset(
    {"$audit", "$client", "$clusterTime", "$configTime", "$db", "$readPreference", "$topologyTime"}
    | {"autocommit", "lsid", "startTransaction", "txnNumber", "txnRetryCounter"}
)
_NOT_AGAIN: Final = {
    **dict.fromkeys(("getMore", "killCursors"), "its cursor is gone"),
    **dict.fromkeys(("abortTransaction", "commitTransaction"), "what was committed is replayed without a transaction"),
    **dict.fromkeys(("endSessions", "killSessions", "refreshSessions", "startSession"), "its logical session is gone"),
    **dict.fromkeys(("killOp", "killAllSessions", "killAllSessionsByPattern"), "what it reached is gone"),
    **dict.fromkeys(("hello", "isMaster", "ismaster", "ping"), "it changes nothing"),
}
_PRELUDE: Final = """\
// wardgate: the commands of session {session}, in their order. Run it with: mongosh URI --file THIS
// Every command stands in an Extended JSON literal. A line that begins with two slashes was not replayed, and says why.
const wardgateRun = (database, command) => {{
  const answer = db.getSiblingDB(database).runCommand(EJSON.parse(command, {{ relaxed: false }}));
  if (answer.ok !== 1 || (answer.writeErrors ?? []).length > 0 || answer.writeConcernError) {{
    throw new Error("A command was not replayed: " + EJSON.stringify(answer));
  }}
}};
"""


class Script:
    """A script for mongosh that does again what succeeded. `committed` are the transactions whose end is known."""

    def __init__(self, session_id: str, committed: frozenset[str]) -> None:
        self._session_id = session_id
        self._committed = committed

    def begin(self) -> str:
        """What every line uses."""
        return _PRELUDE.format(session=self._session_id)

    def line(self, record: Record) -> str:
        """One command, or why it is not done again; nothing for other records."""
        if record.kind not in ("command", "denied"):
            return ""
        body = record.body or {}
        reason = self._why_not(record, body)
        if reason is not None:
            shown = _literal({"at": f"{record.at.isoformat()}", "command": record.command, "body": body})
            return f"// {reason}: {shown}\n"
        return f"wardgateRun({_literal(record.database or 'test')}, {_literal(_literal(_again(body)))});\n"

    def _why_not(self, record: Record, body: dict[str, Any]) -> str | None:
        if record.kind == "denied":
            return "denied"
        if record.ok == 0:
            return "failed"
        if record.ok is None and not record.unacknowledged:
            return "its outcome is not known"
        if (record.details or {}).get("masked") or any(name.startswith("$wardgate") for name in body):
            return "not recorded whole"
        again = _NOT_AGAIN.get(record.command or "")
        if again is None and body.get("autocommit") is False and transaction(body) not in self._committed:
            return "its transaction was not committed"
        return again

    def end(self) -> str:
        """That it is all: a script that was cut off lacks this line."""
        return "// wardgate: end of the session's commands\n"


def once(record: Record) -> str | None:
    """One command as a line for mongosh; None for what can't be said so: no command, or not recorded whole."""
    body = record.body
    if record.kind not in ("command", "denied") or not body:
        return None
    if (record.details or {}).get("masked") or any(name.startswith("$wardgate") for name in body):
        return None
    database, command = _literal(record.database or "test"), _literal(_literal(_again(body)))
    return f"db.getSiblingDB({database}).runCommand(EJSON.parse({command}, {{ relaxed: false }}))"


def _again(body: dict[str, Any]) -> dict[str, Any]:
    """A command as it can be sent on another connection."""
    kept = {name: value for name, value in body.items() if name not in _OF_THE_CONNECTION}
    concern = kept.get("readConcern")
    if isinstance(concern, dict):
        kept["readConcern"] = {n: v for n, v in concern.items() if n not in ("afterClusterTime", "atClusterTime")}
    return kept


def transaction(body: dict[str, Any] | None) -> str:
    """What names the transaction that a command belongs to."""
    body = body or {}
    return json.dumps([body.get("lsid"), body.get("txnNumber")], sort_keys=True)


def _literal(value: Any) -> str:
    """JSON in ASCII, which is a literal of JavaScript too."""
    return json.dumps(value, ensure_ascii=True)

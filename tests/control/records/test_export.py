"""export: each form holds the session, harms nobody who opens it, and leaves a trace."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import bson
import pytest

from wardgate.api.audit import ExportFormat
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.audit.records import CommandIntent, CommandOutcome, ConnectionHello
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role
from wardgate.control.records import exporting

from .conftest import Recorded
from .samples import CLOSED, OPENED, denied, failed, find, insert, ok

HOSTILE = "=cmd|' /C calc'!A0\x1b[2J\u202e\x9b\u2028//\n*/</script>`${1}"


def command(document: dict[str, object], *, effect: str = "write") -> CommandIntent:
    body = bson.encode(document)
    name = next(iter(document))
    collection = document[name] if isinstance(document[name], str) else None
    return CommandIntent(1, 7, str(document["$db"]), collection, name, effect, body, len(body) + 21)  # type: ignore[arg-type]


async def hostile(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(
        OPENED,
        ConnectionHello(1, HOSTILE, "-1+1", "@linux"),
        command(
            {
                "insert": HOSTILE,
                "documents": [{"x": HOSTILE, "n": bson.Int64(5), HOSTILE: float("nan")}],
                "$db": HOSTILE,
            }
        ),
        ok(3, 1),
        denied(),
        find(),
        failed(6),
        CLOSED,
    )
    await epoch.ship()
    await recorded.end()
    await recorded.records.sweep()


@pytest.mark.parametrize("form", [ExportFormat.CSV, ExportFormat.JSONL, ExportFormat.MONGOSH])
async def test_no_form_has_a_control_character(recorded: Recorded, form: ExportFormat) -> None:
    await hostile(recorded)
    text = (await recorded.export(form)).decode()
    assert HOSTILE not in text
    assert all(char.isprintable() or char in "\r\n" for char in text)


async def test_json_lines_are_the_records_of_the_api(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_PAGE", 2)
    await hostile(recorded)
    lines = [json.loads(line) for line in (await recorded.export(ExportFormat.JSONL)).splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 5, 6, 8]
    assert lines[2]["body"]["documents"][0]["n"] == {"$numberLong": "5"}
    assert lines[2]["database"] == HOSTILE


async def test_no_cell_of_the_table_is_a_formula(recorded: Recorded) -> None:
    await hostile(recorded)
    rows = list(csv.DictReader(io.StringIO((await recorded.export(ExportFormat.CSV)).decode())))
    assert len(rows) == 6
    assert not [cell for row in rows for cell in row.values() if cell[:1] in "=+-@\t\r" and cell]
    assert rows[2]["database"].startswith("'=cmd")
    assert (rows[2]["documents"], rows[2]["ok"], rows[4]["code"]) == ("1", "1.0", "11000")


async def test_a_script_does_again_what_succeeded(recorded: Recorded) -> None:
    lsid, other = {"id": bson.Binary(bytes(16), 4)}, {"id": bson.Binary(b"\1" * 16, 4)}
    within = {"txnNumber": bson.Int64(1), "autocommit": False, "$db": "shop"}
    epoch = (await recorded.lease()).append(OPENED)
    sent: list[dict[str, object]] = [
        {"insert": "a", "documents": [{"_id": 1}], "lsid": lsid, "$clusterTime": {"x": 1}, "$db": "shop"},
        {"insert": "a", "documents": [{"_id": 2}], "lsid": lsid, "startTransaction": True, **within},
        {"commitTransaction": 1, "lsid": lsid, **within},
        {"insert": "a", "documents": [{"_id": 3}], "lsid": other, "startTransaction": True, **within},
        {"abortTransaction": 1, "lsid": other, **within},
        {"getMore": bson.Int64(5), "collection": "a", "$db": "shop"},
    ]
    for document in sent:
        epoch.append(command(document), CommandOutcome(epoch.writer.seq + 1, 1.0))
    epoch.append(command({"drop": "b", "$db": "shop"}))  # its outcome never came
    epoch.append(command({"insert": "a", "documents": [{"_id": 4}], "$db": "shop"}))
    epoch.append(CommandOutcome(epoch.writer.seq, None, unacknowledged=True))
    await epoch.ship()
    script = (await recorded.export(ExportFormat.MONGOSH)).decode()
    calls = [line for line in script.splitlines() if line.startswith("wardgateRun(")]
    bodies = [json.loads(json.loads("[" + call[12:-2] + "]")[1]) for call in calls]
    assert bodies == [{"insert": "a", "documents": [{"_id": {"$numberInt": str(number)}}]} for number in (1, 2, 4)]
    assert script.count("its transaction was not committed") == 1
    assert script.count("its outcome is not known") == 1
    assert script.endswith("// wardgate: end of the session's commands\n")


async def test_who_may_export_and_that_it_is_on_record(recorded: Recorded) -> None:
    await hostile(recorded)
    export = recorded.records.export
    scope = Scope(recorded.project_id, "res_one", "acc_one")
    before = await recorded.control.count("audit_events WHERE event = 'records.exported'")
    await export(recorded.actor(Role.AUDITOR, scope), recorded.session_id, ExportFormat.CSV)
    assert await recorded.control.count("audit_events WHERE event = 'records.exported'") == before + 1
    for actor, code in [
        (recorded.actor(Role.CONNECTOR, scope, "usr_ann"), ProblemCode.FORBIDDEN),
        (recorded.actor(Role.ADMIN, Scope("prj_other")), ProblemCode.NOT_FOUND),
    ]:
        with pytest.raises(ProblemError) as caught:
            await export(actor, recorded.session_id, ExportFormat.BUNDLE)
        assert caught.value.problem.code is code
    assert await recorded.control.count("audit_events WHERE event = 'records.exported'") == before + 1


async def test_a_long_body_is_exported_whole(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(insert(3_000_000))
    await epoch.ship()
    (line,) = (await recorded.export(ExportFormat.JSONL)).splitlines()
    assert len(json.loads(line)["body"]["documents"]) == 29


def test_cells() -> None:
    from wardgate.control.records.forms import _cell

    cell: Callable[[object], str] = _cell
    assert [cell(value) for value in (None, True, -1, 1.5, "-1", "a\tb", {"a": "\x1b"})] == [
        "", "true", "-1", "1.5", "'-1", "a\\tb", '{"a": "\\u001b"}',
    ]  # fmt: skip

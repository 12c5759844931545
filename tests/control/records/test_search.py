"""search: what is found, in which order, for whom; and that no query walks the whole table."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest

from wardgate.api.audit import RecordHit, RecordQuery
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.audit.records import CommandIntent, CommandOutcome
from wardgate.control.identity.actor import Actor, Scope
from wardgate.control.identity.permissions import Role
from wardgate.control.paging import Paging
from wardgate.control.records import query, search
from wardgate.control.records.model import RecordRow
from wardgate.control.records.query import Range

from .conftest import AT, Recorded
from .samples import CLOSED, OPENED, denied, find, insert

Make = Callable[..., Awaitable[Recorded]]


def command(collection: str, document: dict[str, Any], effect: str = "read", database: str = "shop") -> CommandIntent:
    body = bson.encode({**document, "$db": database})
    return CommandIntent(1, 7, database, collection, next(iter(document)), effect, body, len(body) + 21)


async def ask(recorded: Recorded, actor: Actor | None = None, limit: int = 100, **asked: Any) -> list[RecordHit]:
    """All pages of a search."""
    found: list[RecordHit] = []
    after = None
    while True:
        page = await recorded.records.search(
            actor or recorded.actor(), RecordQuery.model_validate(asked), Paging(after, limit)
        )
        assert len(page.items) <= limit
        found += page.items
        if page.next is None:
            return found
        after = page.next


async def seqs(recorded: Recorded, **asked: Any) -> list[int]:
    return [hit.record.seq for hit in await ask(recorded, **asked)]


async def _filled(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(
        OPENED,  # 1
        command("orders", {"find": "orders", "filter": {"_id": 5}}),
        CommandOutcome(2, 1.0, None, 3, 100, 2_500_000),
        command(
            "orders", {"update": "orders", "updates": [{"q": {"_id": 5.0}, "u": {"$set": {"note": "Käse"}}}]}, "write"
        ),
        CommandOutcome(4, 1.0, None, 1, 100, 250),
        command("stock", {"find": "stock", "filter": {"_id": {"$in": ["a", "b"]}}}),
        CommandOutcome(6, 0.0, 13, None, 100, 250, error="not authorized"),
        denied(),  # 8
        command("orders", {"aggregate": "orders", "pipeline": []}, database="attic"),
        CommandOutcome(9, 1.0, None, 5_000, 100, 250),
        CLOSED,  # 11
    )
    await epoch.ship()


async def test_each_filter_finds_its_lines(recorded: Recorded) -> None:
    await _filled(recorded)
    at = datetime.fromtimestamp(AT / 1e6, UTC)
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [11, 9, 8, 6, 4, 2, 1]),
        ({"database": "shop"}, [6, 4, 2]),
        ({"database": "shop", "collection": "orders"}, [4, 2]),
        ({"database": "shop", "collection": "orders", "effect": "write"}, [4]),
        ({"command": "find"}, [6, 2]),
        ({"effect": "admin"}, [8]),
        ({"failed": True}, [8, 6]),
        ({"code": 13}, [8, 6]),
        ({"kind": "denied"}, [8]),
        ({"min_duration_ms": 2000}, [2]),
        ({"min_duration_ms": 0}, [9, 6, 4, 2]),
        ({"min_documents": 2}, [9, 2]),
        ({"min_documents": 4000}, [9]),
        ({"user": "ann@example.com"}, [11, 9, 8, 6, 4, 2, 1]),
        ({"user": "usr_ann", "resource": "mongo", "account": "acc_one", "command": "find"}, [6, 2]),
        ({"user": "bob@example.com"}, []),
        ({"since": at + timedelta(microseconds=7), "until": at + timedelta(microseconds=10)}, [9, 8]),
        ({"session_id": recorded.session_id, "command": "find"}, [6, 2]),
        ({"session_id": "ses_x"}, []),
        ({"project_id": recorded.project_id, "effect": "write"}, [4]),
        ({"text": "KÄSE"}, [4]),
        ({"text": "$in"}, [6]),
        ({"text": "nowhere"}, []),
        ({"id": "5"}, [4, 2]),
        ({"id": "5", "effect": "write"}, [4]),
        ({"id": '"b"'}, [6]),
        ({"id": "b"}, [6]),
        ({"id": '{"$numberLong": "5"}'}, [4, 2]),
        ({"id": "6"}, []),
    ]
    for asked, expected in cases:
        assert (asked, await seqs(recorded, **asked)) == (asked, expected)
        assert await seqs(recorded, limit=1, **asked) == expected, asked


async def test_a_line_says_whose_it_is(recorded: Recorded) -> None:
    await _filled(recorded)
    (hit,) = await ask(recorded, effect="write", bodies=True)
    assert (hit.session_id, hit.project_id) == (recorded.session_id, recorded.project_id)
    assert (hit.user, hit.resource, hit.account) == ("ann@example.com", "mongo", "reader")
    assert hit.record.body is not None
    assert hit.record.body["update"] == "orders"
    (bare,) = await ask(recorded, effect="write")
    assert bare.record.body is None


async def test_sessions_are_merged_newest_first_and_pages_join(make_session: Make) -> None:
    """Same times in all sessions: the order is still one, and no page loses or repeats a line."""
    sessions = [await make_session() for _ in range(3)]
    for recorded in sessions:
        epoch = await recorded.lease()
        for _ in range(7):
            epoch.append(find())
        await epoch.ship()
    whole = [(hit.record.at, hit.session_id, hit.record.seq) for hit in await ask(sessions[0])]
    assert len(whole) == 21
    assert whole == sorted(whole, reverse=True)
    for limit in (1, 4, 20, 21):
        found = await ask(sessions[0], limit=limit)
        assert [(hit.record.at, hit.session_id, hit.record.seq) for hit in found] == whole
    assert len(await ask(sessions[0], project_id=sessions[1].project_id)) == 7


async def test_a_reader_finds_what_a_role_covers_and_nothing_else(
    make_session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = [await make_session(account=name, project=project) for name, project in
                       (("acc_one", "same"), ("acc_two", "same"), ("acc_one", "other"))]  # fmt: skip
    for recorded in (one, two, three):
        await (await recorded.lease()).append(find()).ship()
    for few in (search._FEW, 0):  # asked place by place, or together
        monkeypatch.setattr(search, "_FEW", few)
        for scope, expected in [
            (Scope(), {one, two, three}),
            (Scope(one.project_id), {one, two}),
            (Scope(one.project_id, "res_one"), {one, two}),
            (Scope(one.project_id, "res_one", "acc_two"), {two}),
            (Scope(three.project_id), {three}),
        ]:
            found = await ask(one, one.actor(Role.AUDITOR, scope))
            assert {hit.session_id for hit in found} == {recorded.session_id for recorded in expected}
            texts = await ask(one, one.actor(Role.AUDITOR, scope), text="orders")
            assert {hit.session_id for hit in texts} == {recorded.session_id for recorded in expected}
    only_two = one.actor(Role.AUDITOR, Scope(one.project_id, "res_one", "acc_two"))
    assert not await ask(one, only_two, session_id=one.session_id)
    refused: list[tuple[Actor, dict[str, Any], ProblemCode]] = [
        (one.actor(Role.CONNECTOR, Scope(one.project_id), "usr_ann"), {}, ProblemCode.FORBIDDEN),
        (one.actor(Role.AUDITOR, Scope(one.project_id)), {"project_id": three.project_id}, ProblemCode.NOT_FOUND),
        (one.actor(), {"collection": "orders"}, ProblemCode.INVALID_REQUEST),
    ]
    for actor, asked, code in refused:
        with pytest.raises(ProblemError) as caught:
            await ask(one, actor, **asked)
        assert caught.value.problem.code is code


async def test_a_place_that_is_new_while_a_search_runs_is_no_part_of_it(
    make_session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not among the places whose reader was judged, though it lies in the project that is asked as a whole."""
    one, two = [await make_session(account=name, project="same") for name in ("acc_one", "acc_two")]
    await (await one.lease()).append(find()).ship()
    rows = query.rows

    async def late(*args: Any) -> list[RecordRow]:
        monkeypatch.undo()
        await (await two.lease()).append(find()).ship()
        return await rows(*args)

    monkeypatch.setattr(query, "rows", late)
    reader = one.actor(Role.AUDITOR, Scope(one.project_id, "res_one", "acc_one"))
    assert {hit.session_id for hit in await ask(one, reader)} == {one.session_id}
    assert {hit.session_id for hit in await ask(one)} == {one.session_id, two.session_id}


async def test_a_search_in_bodies_goes_on_page_by_page(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_LOOKED_AT", 4)
    monkeypatch.setattr(search, "_STEP", 2)
    epoch = await recorded.lease()
    for number in range(20):
        epoch.append(find(value="needle" if number == 3 else number))
    await epoch.ship()
    pages, after = [], None
    while True:
        page = await recorded.records.search(recorded.actor(), RecordQuery(text="needle"), Paging(after, 100))
        pages.append(len(page.items))
        if page.next is None:
            break
        after = page.next
    assert sum(pages) == 1
    assert len(pages) > 3
    assert await seqs(recorded, text="needle") == [4]


async def test_large_bodies_make_short_pages(recorded: Recorded) -> None:
    epoch = await recorded.lease()
    for _ in range(3):
        epoch.append(insert(5_000_000))
        await epoch.ship()
    page = await recorded.records.search(recorded.actor(), RecordQuery(bodies=True), Paging())
    assert len(page.items) == 2
    assert len(await ask(recorded, bodies=True)) == 3


async def test_a_search_is_on_record_without_what_was_looked_for(recorded: Recorded) -> None:
    await _filled(recorded)
    await ask(recorded, text="a-name-nobody-should-see", limit=1)
    found = [event.details for event in await recorded.control.events() if event.event == "records.searched"]
    assert len(found) == 1
    assert "a-name-nobody-should-see" not in str(found[0])
    assert found[0]["text"] is True


@pytest.mark.parametrize("after", ["", "x", "1.2", "1.ses.x.1", "1.ses.1.-1", "9" * 20 + ".ses.1.1"])
async def test_bad_cursors_are_refused(recorded: Recorded, after: str) -> None:
    with pytest.raises(ProblemError) as caught:
        await recorded.records.search(recorded.actor(), RecordQuery(), Paging(after))
    assert caught.value.problem.code is ProblemCode.INVALID_REQUEST


PLANS: list[tuple[dict[str, Any], Range, str]] = [
    ({}, Range(project=1, upto=9), "ix_records_project (project=? AND at<?)"),
    ({"effect": "write"}, Range(place=1), "ix_records_place (place=? AND at<?)"),
    ({"since": datetime(2020, 1, 1, tzinfo=UTC)}, Range(place=1), "ix_records_place (place=? AND at>? AND at<?)"),
    (
        {"database": "shop", "collection": "orders"},
        Range(project=1, upto=9),
        "ix_records_namespace (project=? AND database=? AND collection=? AND at<?)",
    ),
    ({"command": "find"}, Range(project=1, upto=9), "ix_records_command (project=? AND command=? AND at<?)"),
    ({"effect": "write"}, Range(project=1, among=(1, 2)), "ix_records_effect (project=? AND effect=? AND at<?)"),
    ({"failed": True}, Range(project=1, upto=9), "ix_records_failed (project=? AND at<?)"),
    ({"min_duration_ms": 1500}, Range(project=1, upto=9), "ix_records_slow (project=? AND at<?)"),
    ({"min_documents": 5000}, Range(project=1, upto=9), "ix_records_many (project=? AND at<?)"),
    ({"text": "x"}, Range(project=1, upto=9), "ix_records_project (project=? AND at<?)"),
]


@pytest.mark.parametrize(("asked", "where", "expected"), PLANS)
async def test_every_query_walks_an_index_in_its_order(
    recorded: Recorded, asked: dict[str, Any], where: Range, expected: str
) -> None:
    if recorded.control.cluster is not None:
        pytest.skip("PostgreSQL plans by what is in the tables, which here is nothing")
    after = query.Cursor(AT, "ses_x", 1, 1)
    statement = query.statement(RecordQuery.model_validate(asked), where, after, 100)
    async with recorded.control.services.database.read() as session:
        connection = await session.connection()
        compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
        values = tuple(
            value.replace(tzinfo=None).isoformat(" ") if isinstance(value, datetime) else value
            for value in (compiled.params[name] for name in compiled.positiontup or ())
        )
        plan = [
            str(row._mapping["detail"])
            for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)
        ]
    assert plan[0] == f"SEARCH records USING INDEX {expected}"
    # Lines of the same microsecond are put in order; nothing else is.
    assert all(re.fullmatch(r"USE TEMP B-TREE FOR (LAST 3 TERMS|RIGHT PART) OF ORDER BY", step) for step in plan[1:])

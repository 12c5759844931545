"""read: every line of a session, in order, with the body that was sent."""

from __future__ import annotations

import bson
import pytest

from wardgate.api.models import VerificationState
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.audit.records import (
    CommandIntent,
    CommandOutcome,
    ConnectionClosed,
    ConnectionHello,
    ConnectionOpened,
    Malformed,
)
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role
from wardgate.control.paging import Paging
from wardgate.control.records import reading

from ..conftest import Control
from .conftest import Recorded
from .samples import CLOSED, OPENED, denied, failed, find, insert, ok, streamed


async def read(recorded: Recorded, after: str | None = None, limit: int = 100):  # type: ignore[no-untyped-def]
    return await recorded.records.read(recorded.actor(), recorded.session_id, Paging(after, limit))


async def test_a_log_reads_as_it_happened(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(
        OPENED,
        ConnectionOpened(1, "127.0.0.1:50000"),
        ConnectionHello(1, "mongosh 2.12", "nodejs 6", "linux"),
        find(value=bson.Int64(5)),
        ok(4),
        denied(),
        find(),
        failed(7),
        find(),
        CommandOutcome(9, None, unacknowledged=True),
        find(),
        Malformed(1, "bad opcode", b"GET /"),
        ConnectionClosed(1, "client closed", hellos=3, commands=5),
        CLOSED,
    )
    await epoch.ship()
    items = (await read(recorded)).items
    assert [(item.kind, item.event or item.command) for item in items] == [
        ("session", "opened"),
        ("connection", "opened"),
        ("connection", "hello"),
        ("command", "find"),
        ("denied", "shutdown"),
        ("command", "find"),
        ("command", "find"),
        ("command", "find"),
        ("connection", "malformed"),
        ("connection", "closed"),
        ("session", "closed"),
    ]
    first = items[3]
    assert first.body == {"find": "orders", "filter": {"n": {"$numberLong": "5"}}, "$db": "shop"}
    assert (first.seq, first.ok, first.documents, first.duration_us, first.client_app) == (
        4,
        1.0,
        3,
        250,
        "mongosh 2.12",
    )
    assert (items[4].ok, items[4].code, items[4].rule) == (0.0, 13, "admin.shutdown")
    assert (items[5].ok, items[5].code, items[5].error) == (0.0, 11000, "E11000 duplicate key")
    assert (items[6].ok, items[6].unacknowledged) == (None, True)
    assert items[7].ok is None
    assert items[8].details == {"reason": "bad opcode", "sender": "client", "head": b"GET /".hex()}
    assert items[0].details is not None
    assert items[0].details["user"] == "ann@example.com"
    assert [item.at for item in items] == sorted(item.at for item in items)


async def test_what_a_write_did_is_told_in_its_own_words(recorded: Recorded) -> None:
    def write(name: str) -> CommandIntent:
        body = bson.encode({name: "orders", "$db": "shop"})
        return CommandIntent(1, 7, "shop", "orders", name, "write", body, len(body) + 21)

    epoch = (await recorded.lease()).append(
        write("update"),
        CommandOutcome(1, 1.0, None, 5, modified=3, upserted=1),
        write("insert"),
        CommandOutcome(3, 1.0, 11000, 2, write_errors=1),
        write("delete"),
        CommandOutcome(5, 1.0, None, 4),
        write("update"),
    )
    await epoch.ship()
    epoch.append(CommandOutcome(7, 1.0, None, 2, modified=0))  # in another batch than its intent
    await epoch.ship()
    items = (await read(recorded)).items
    assert [
        (item.matched, item.modified, item.upserted, item.inserted, item.deleted, item.write_errors) for item in items
    ] == [
        (4, 3, 1, None, None, None),
        (None, None, None, 2, None, 1),
        (None, None, None, None, 4, None),
        (2, 0, 0, None, None, None),
    ]
    assert (await recorded.verify()).state is VerificationState.OPEN


async def test_a_cursor_is_traced_to_its_find(recorded: Recorded) -> None:
    more = bson.encode({"getMore": bson.Int64(9), "collection": "orders", "$db": "shop"})
    get_more = CommandIntent(2, 7, "shop", "orders", "getMore", "read", more, len(more) + 21, continues=1)
    epoch = (await recorded.lease()).append(find(), ok(1, 101), get_more, ok(3, 50), find(), ok(5, 7))
    await epoch.ship()
    epoch.append(get_more, ok(7, 20), get_more)
    await epoch.ship()
    items = (await read(recorded)).items
    assert [(item.seq, item.continues, item.documents_in_all) for item in items] == [
        (1, None, 171),
        (3, 1, None),
        (5, None, None),
        (7, 1, None),
        (9, 1, None),
    ]


async def test_pages_join_without_a_seam(recorded: Recorded) -> None:
    one = await recorded.lease()
    for value in range(10):
        one.append(find(value=value), ok(2 * value + 1))
        await one.ship()
    two = (await recorded.lease(2, previous=one.link)).append(find(value="second"))
    await two.ship()
    seen, after = [], None
    while True:
        page = await read(recorded, after, 3)
        assert len(page.items) <= 3
        seen += [(item.epoch, item.seq, item.body["filter"]["n"]) for item in page.items]
        if page.next is None:
            break
        after = page.next
    assert seen == [(1, 2 * v + 1, {"$numberInt": str(v)}) for v in range(10)] + [(2, 1, "second")]


async def test_a_page_of_large_bodies_ends_early(recorded: Recorded) -> None:
    epoch = await recorded.lease()
    for _ in range(4):
        epoch.append(insert(reading.PAGE_BODY_BYTES // 2 + 200_000))
    for frame in epoch.frames:
        await recorded.records.ingest("gw_one", frame)
    page = await read(recorded)
    assert len(page.items) == 2
    rest = await read(recorded, page.next)
    assert len(rest.items) == 2
    assert rest.next is None


async def test_a_streamed_command_is_one_line_with_its_whole_body(recorded: Recorded) -> None:
    epoch = await recorded.lease()
    opened, *parts, intent = streamed(2)
    epoch.append(find(value="before"), opened)
    for number, part in enumerate(parts):
        epoch.append(part, find(value=number))  # what others do meanwhile
    epoch.append(intent)
    seq = epoch.writer.seq
    epoch.append(ok(seq, 40), find(value="after"))
    for frame in epoch.frames:
        await recorded.records.ingest("gw_one", frame)
    items = [item for item in (await read(recorded)).items if item.command == "insert"]
    assert [(item.seq, item.ok, item.documents) for item in items] == [(seq, 1.0, 40)]
    assert items[0].body is not None
    assert len(items[0].body["documents"]) == 40
    assert items[0].details == {"opened": 2}
    behind = await read(recorded, f"1.{seq - 1}", 1)  # a page that begins behind its parts
    assert behind.items[0].body == items[0].body


async def test_a_streamed_command_that_is_withheld_shows_what_is_left(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(*streamed(1, into="system.users", withheld=True))
    await epoch.ship()
    (item,) = (await read(recorded)).items
    assert item.body == {"insert": "system.users", "$db": "shop", "$wardgateMasked": "withheld"}
    assert item.details == {"masked": ["*"], "opened": 1}


async def test_an_upload_that_was_cut_off_is_no_command(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(*streamed(1)[:-2], find(), ok(5))
    await epoch.ship()
    assert [item.command for item in (await read(recorded)).items] == ["find"]


async def test_a_streamed_command_without_its_parts_says_so(recorded: Recorded) -> None:
    opened, _, *rest = streamed(1)
    epoch = (await recorded.lease()).append(opened, *rest)  # never written by a gateway
    await epoch.ship()
    (item,) = (await read(recorded)).items
    assert "can't be read" in (item.body or {})["$wardgate"]


async def test_a_lost_object_says_so_and_hides_nothing_else(recorded: Recorded) -> None:
    epoch = await recorded.lease()
    for value in range(3):
        epoch.append(find(value=value))
        await epoch.ship()
    recorded.files()[1].unlink()
    items = (await read(recorded)).items
    assert ["$wardgate" in (item.body or {}) for item in items] == [False, True, False]


async def test_bodies_are_not_in_the_database_nor_readable_in_the_store(recorded: Recorded, control: Control) -> None:
    epoch = (await recorded.lease()).append(find(value="a-secret-filter-value"))
    await epoch.ship()
    raw = b"".join(path.read_bytes() for path in control.folder.rglob("*") if path.is_file())
    assert b"a-secret-filter-value" not in raw + control.dump()


@pytest.mark.parametrize("after", ["x", "1", "1.", "1.x", "-1.2", "1.2.3", "9" * 50 + ".1", "9" * 20 + ".1", "1.٣"])
async def test_bad_cursors_are_refused(recorded: Recorded, after: str) -> None:
    with pytest.raises(ProblemError) as caught:
        await read(recorded, after)
    assert caught.value.problem.code is ProblemCode.INVALID_REQUEST


async def test_who_may_read(recorded: Recorded) -> None:
    scope = Scope(recorded.project_id, "res_one", "acc_one")
    await recorded.records.read(recorded.actor(Role.AUDITOR, scope), recorded.session_id, Paging())
    for actor, code in [
        (recorded.actor(Role.CONNECTOR, scope, "usr_ann"), ProblemCode.FORBIDDEN),
        (recorded.actor(Role.ADMIN, Scope("prj_other")), ProblemCode.NOT_FOUND),
    ]:
        with pytest.raises(ProblemError) as caught:
            await recorded.records.read(actor, recorded.session_id, Paging())
        assert caught.value.problem.code is code


async def test_reading_leaves_a_trace_once_per_log(recorded: Recorded) -> None:
    await (await recorded.lease()).append(find(), find()).ship()
    before = await recorded.control.count("audit_events")
    page = await read(recorded, limit=1)
    await read(recorded, page.next, 1)
    assert await recorded.control.count("audit_events") == before + 1

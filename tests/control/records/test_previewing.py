"""Trying a masking rule out: what it would have masked, for whom, within which bounds; and never a value."""

from __future__ import annotations

from typing import Any

import bson
import pytest

from wardgate.api.masking import MaskingPreview, MaskingPreviewRequest
from wardgate.api.models import VerificationState
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.audit.parts import PartSealer, section_head
from wardgate.audit.records import CommandIntent, Record, Upload
from wardgate.control.identity.actor import Actor, Scope
from wardgate.control.identity.permissions import Role
from wardgate.control.paging import Paging
from wardgate.control.records import previewing

from .conftest import Recorded
from .samples import CLOSED, OPENED, denied, find, ok, streamed
from .test_search import Make, command

SECRET = "4111-secret-1111"


async def preview(
    recorded: Recorded, actor: Actor | None = None, after: str | None = None, **asked: Any
) -> MaskingPreview:
    return await recorded.records.preview_masking(
        actor or recorded.actor(), recorded.project_id, MaskingPreviewRequest.model_validate(asked), after
    )


def paths(found: MaskingPreview) -> list[tuple[str | None, str, str, int]]:
    return [(each.collection, each.command, each.path, each.commands) for each in found.paths]


def masked_insert(seq: int, *, array: bool) -> list[Record]:
    """A streamed insert as a gateway with another rule records it."""
    body = bson.encode({"insert": "customers", **({"documents": []} if array else {}), "$db": "shop"})
    documents = bson.encode({"card": {"number": SECRET}, "note": "$wardgateMasked:string"}) * 3
    sealer = PartSealer(bytes(range(32)))
    part = sealer.seal(seq, section_head(b"documents") + documents)
    intent = CommandIntent(
        3, 11, "shop", "customers", "insert", "write", body, 500_000,
        masked=("documents.note",), streamed=sealer.streamed(seq, withheld=False, masked=True),
    )  # fmt: skip
    return [Upload(3, 11, 500_000), part, intent]


async def _filled(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(
        OPENED,
        command("customers", {"find": "customers", "filter": {"card.number": SECRET, "a": 1}}),
        command("customers", {"find": "customers", "filter": {"card.number": SECRET}}),
        command("customers", {"update": "customers", "updates": [{"q": {}, "u": {"$set": {"card": {"number": 1}}}}]}),
        command("customers", {"planCacheClear": "customers", "query": {"x": SECRET}}),
        command("orders", {"find": "orders", "filter": {"note": SECRET}}),
        denied(),
        CommandIntent(1, 9, "shop", "customers", "applyOps", "admin", bson.encode({"applyOps": 1}), 50, masked=("*",)),
        *masked_insert(9, array=False),
        *masked_insert(12, array=True),
        *streamed(15, 4),
        CLOSED,
    )
    await epoch.ship()


async def test_paths_and_counts(recorded: Recorded) -> None:
    await _filled(recorded)
    found = await preview(recorded, path="customers.card.number")
    assert paths(found) == [
        ("customers", "find", "filter.card.number", 2),
        ("customers", "insert", "documents.card.number", 2),
        ("customers", "planCacheClear", "*", 1),
        ("customers", "update", "updates.u.$set.card.number", 1),
    ]
    assert (found.commands, found.masked, found.withheld, found.unreadable) == (10, 6, 1, 1)
    assert found.next is None
    assert SECRET not in found.model_dump_json()
    by_pattern = await preview(recorded, pattern=r"\d{4}-secret-\d{4}")
    assert ("orders", "find", "filter.note", 1) in paths(by_pattern)
    assert by_pattern.masked == 6
    assert SECRET not in by_pattern.model_dump_json()
    assert paths(await preview(recorded, path="customers.nothing.here")) == [("customers", "planCacheClear", "*", 1)]


async def test_it_is_the_body_of_the_log_that_is_masked(recorded: Recorded) -> None:
    """What a gateway recorded under a rule is read, and proved, as any other."""
    await _filled(recorded)
    page = await recorded.records.read(recorded.actor(), recorded.session_id, Paging())
    inserts = [item for item in page.items if item.command == "insert" and item.collection == "customers"]
    for item in inserts:
        assert item.body is not None
        assert [each["note"] for each in item.body["documents"]] == ["$wardgateMasked:string"] * 3
        assert item.details is not None
        assert item.details["masked"] == ["documents.note"]
    assert list(inserts[1].body or {}) == ["insert", "documents", "$db"]
    await recorded.end()
    await recorded.records.sweep()
    assert (await recorded.verify()).state is VerificationState.VERIFIED


async def test_a_look_is_bounded_and_can_go_on(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previewing, "_LOOKED_AT", 4)
    monkeypatch.setattr(previewing, "_STEP", 2)
    (await recorded.lease()).append(OPENED, *[find(value=n) for n in range(9)], ok(2), ok(3))
    await (await recorded.lease(2)).append(OPENED, *[find(value=n) for n in range(9)]).ship()
    looks, after = [], None
    while True:
        looks.append(await preview(recorded, path="orders.n", after=after))
        after = looks[-1].next
        if after is None:
            break
    assert [look.commands for look in looks] == [4, 4, 1]
    assert sum(each.commands for look in looks for each in look.paths) == 9
    with pytest.raises(ProblemError) as error:
        await preview(recorded, path="orders.n", after="nonsense")
    assert error.value.problem.code is ProblemCode.INVALID_REQUEST


async def test_a_reader_tries_rules_on_what_they_may_read(make_session: Make) -> None:
    recorded, other = await make_session(project="shop"), await make_session("acc_other", project="shop")
    for each in (recorded, other):
        await (await each.lease()).append(OPENED, find()).ship()
    everywhere = await preview(recorded, path="orders.n")
    scope = Scope(recorded.project_id, (await recorded.row()).resource_id, (await recorded.row()).account_id)
    some = await preview(recorded, recorded.actor(Role.AUDITOR, scope), path="orders.n")
    assert (everywhere.commands, some.commands) == (2, 1)
    for role, place, code in (
        (Role.CONNECTOR, Scope(recorded.project_id), ProblemCode.FORBIDDEN),
        (Role.ADMIN, Scope("prj_elsewhere"), ProblemCode.NOT_FOUND),
    ):
        with pytest.raises(ProblemError) as error:
            await preview(recorded, recorded.actor(role, place), path="orders.n")
        assert error.value.problem.code is code


@pytest.mark.parametrize("asked", [{"path": "orders"}, {"pattern": "("}, {"pattern": "x*"}])
async def test_a_rule_that_can_not_be_used_is_refused_here_too(recorded: Recorded, asked: Any) -> None:
    with pytest.raises(ProblemError) as error:
        await preview(recorded, **asked)
    assert error.value.problem.code is ProblemCode.INVALID_REQUEST


async def test_each_first_look_is_an_event_that_quotes_no_pattern(recorded: Recorded) -> None:
    await _filled(recorded)
    await preview(recorded, pattern=SECRET)
    await preview(recorded, path="customers.card.number", session_id=recorded.session_id)
    count = recorded.control.count
    assert await count("audit_events WHERE event = 'records.previewed'") == 2
    assert await count(f"audit_events WHERE CAST(details AS TEXT) LIKE '%{SECRET}%'") == 0

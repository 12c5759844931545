"""Ways into other people's work: two access sessions on one MongoDB user, whom MongoDB itself can't tell apart.

Never removed. Where the ids come from is no secret: `$currentOp` shows the cursors, logical sessions and operations of
everybody who has the same MongoDB user.
"""

from __future__ import annotations

import bson
import pytest

from wardgate.proxy.work import Claims, WorkLog
from wardgate.testing.playbook import MEMBER, Playbook, command, reply

LSID = {"id": bson.Binary(b"u" * 16, 4)}
OWN = "wardgate:ann@example.com:ses_01k00000000000000000000000"
DENIED = "record denied "


def pair() -> tuple[Playbook, Playbook]:
    claims = Claims()
    made = Playbook(work=WorkLog(claims)), Playbook(work=WorkLog(claims))
    for each in made:
        each.ready()
    return made


def found(cursor_id: int, batch: str = "firstBatch") -> dict[str, object]:
    return {batch: [{"a": 1}], "id": bson.Int64(cursor_id), "ns": "shop.orders"}


def test_a_foreign_cursor_is_not_read() -> None:
    victim, thief = pair()
    victim.client(command({"find": "orders"}, 7))
    victim.server(reply(7, cursor=found(77)))
    more = {"getMore": bson.Int64(77), "collection": "orders"}
    answer = thief.client(command(more, 7))
    assert answer[0].startswith(DENIED + "getMore others_work")
    assert "code=43" in answer[0]  # as MongoDB says of a cursor that is not there: a change stream goes on from it
    assert victim.client(command(more, 8))[-1] == ">> getMore #8"


def test_a_foreign_cursor_does_not_become_ones_own_by_reading_it() -> None:
    _, thief = pair()
    thief.client(command({"getMore": bson.Int64(77), "collection": "orders"}, 7))
    assert thief.client(command({"killCursors": "orders", "cursors": [bson.Int64(77)]}, 8))[0].startswith(DENIED)


@pytest.mark.parametrize(
    "document",
    [
        {
            "insert": "orders",
            "documents": [{}],
            "txnNumber": bson.Int64(1),
            "autocommit": False,
            "startTransaction": True,
        },
        {"insert": "orders", "documents": [{}], "txnNumber": bson.Int64(1)},
        {"find": "orders"},
        {"ping": 1},
    ],
)
def test_a_foreign_logical_session_is_not_used(document: dict[str, object]) -> None:
    victim, thief = pair()
    victim.client(command({"find": "orders", "lsid": LSID}, 7))
    victim.server(reply(7))
    assert thief.client(command({**document, "lsid": LSID}, 7))[0].startswith(DENIED)
    assert thief.client(command({"killSessions": [LSID]}, 8, database="admin"))[0].startswith(DENIED)
    assert thief.work.logical_sessions == ()  # else the end of one session would kill the work of another
    assert victim.client(command({**document, "lsid": LSID}, 8))[0].startswith("record intent")


def test_a_logical_session_is_free_once_its_owner_has_ended() -> None:
    first, second = pair()
    first.client(command({"find": "orders", "lsid": LSID}, 7))
    first.work.release()
    assert second.client(command({"find": "orders", "lsid": LSID}, 7))[0].startswith("record intent")


@pytest.mark.parametrize(
    "stages",
    [
        [{"$project": {"appName": {"$literal": OWN}, "opid": {"$literal": 4712}}}],
        [{"$match": {}}, {"$set": {"appName": OWN}}],
        [{"$limit": 1}, {"$unionWith": {"pipeline": [{"$documents": [{"appName": OWN, "opid": 4712}]}]}}],
    ],
)
def test_operations_are_not_forged_into_ones_own(stages: list[dict[str, object]]) -> None:
    _, thief = pair()
    pipeline = [{"$currentOp": {}}, *stages]
    thief.client(command({"aggregate": 1, "pipeline": pipeline, "cursor": {}}, 7, database="admin"))
    batch = [{"appName": OWN, "opid": 4712}]
    thief.server(reply(7, cursor={"firstBatch": batch, "id": bson.Int64(0), "ns": "admin.$cmd.aggregate"}))
    assert thief.client(command({"killOp": 1, "op": 4712}, 8, database="admin"))[0].startswith(DENIED)


def test_an_old_cursor_in_use_outlives_many_newer_ones() -> None:
    """The list of own cursors is bounded, and a change stream may be older than all of it."""
    log = WorkLog()
    log.saw_cursor(1, MEMBER, "shop", "orders")
    for cursor_id in range(2, 60_000):
        log.saw_cursor(cursor_id, MEMBER, "shop", "orders")
        if cursor_id % 10_000 == 0:
            log.saw_cursor(1, MEMBER, "shop", "orders")
    assert 1 in log.view.cursors


def elsewhere() -> tuple[Playbook, Playbook]:
    """Two access sessions at two instances of a gateway, which share nothing."""
    made = Playbook(work=WorkLog(Claims())), Playbook(work=WorkLog(Claims()))
    for each in made:
        each.ready()
    return made


TRANSACTION = {"lsid": LSID, "txnNumber": bson.Int64(5), "autocommit": False}
START = {"insert": "orders", "documents": [{}], **TRANSACTION, "startTransaction": True}


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"find": "orders", **TRANSACTION}, 251),
        ({"insert": "orders", "documents": [{}], **TRANSACTION}, 251),
        ({"abortTransaction": 1, **TRANSACTION}, 251),
        ({"commitTransaction": 1, **TRANSACTION}, 50),
        ({"find": "orders", **TRANSACTION, "startTransaction": False}, 251),
        ({"find": "orders", **TRANSACTION, "txnNumber": bson.Int64(6)}, 251),
        ({"find": "orders", "autocommit": False, "lsid": LSID}, 251),
    ],
)
def test_a_transaction_is_not_joined_through_another_instance(document: dict[str, object], code: int) -> None:
    victim, thief = elsewhere()
    victim.client(command(START, 7))
    victim.server(reply(7))
    answer = thief.client(command(document, 8, database="admin"))
    assert answer[0].startswith(DENIED)
    assert "transaction_elsewhere" in answer[0]
    assert f"code={code}" in answer[0]


STATEMENTS: list[dict[str, object]] = [{"find": "orders"}, {"abortTransaction": 1}, {"commitTransaction": 1}]


@pytest.mark.parametrize("document", STATEMENTS)
def test_a_transaction_whose_beginning_was_lost_with_the_server_goes_on(document: dict[str, object]) -> None:
    """It may be open there with its locks: MongoDB tells, and it is MongoDB that has to hear of the abort."""
    victim, _ = elsewhere()
    victim.client(command(START, 7))
    assert victim.event(victim.machine.server_gone, "the connection was lost")[-1] == "close client"
    again = Playbook(work=victim.work)
    again.ready()
    answer = again.client(command({**document, **TRANSACTION}, 8, database="admin"))
    assert answer[0].startswith("record intent")


@pytest.mark.parametrize("document", STATEMENTS)
def test_it_does_not_when_the_client_leaves_by_itself(document: dict[str, object]) -> None:
    victim, _ = elsewhere()
    victim.client(command(START, 7))
    victim.event(victim.machine.client_gone)
    again = Playbook(work=victim.work)
    again.ready()
    answer = again.client(command({**document, **TRANSACTION}, 8, database="admin"))
    assert "transaction_elsewhere" in answer[0]


def test_a_transaction_does_not_become_ones_own_by_failing_to_begin_it() -> None:
    """MongoDB refuses to begin a number that is under way (50911); that must not open its statements."""
    _, thief = elsewhere()
    thief.client(command(START, 7))
    thief.server(reply(7, ok=0.0, code=50911, errmsg="in progress"))
    statements: list[dict[str, object]] = [{"find": "orders"}, {"commitTransaction": 1}]
    for document in statements:
        answer = thief.client(command({**document, **TRANSACTION}, 8, database="admin"))
        assert answer[0].startswith(DENIED)
        assert "code=251" in answer[0]


def test_a_transaction_of_ones_own_goes_on_over_all_connections() -> None:
    work = WorkLog(Claims())
    one, other = Playbook(work=work), Playbook(work=work)
    for each in (one, other):
        each.ready()
    one.client(command(START, 7))
    one.server(reply(7))
    statements: list[dict[str, object]] = [{"find": "orders"}, {"commitTransaction": 1}, {"commitTransaction": 1}]
    for number, document in enumerate(statements, 8):
        answer = other.client(command({**document, **TRANSACTION}, number, database="admin"))
        assert answer[0].startswith("record intent")
        other.server(reply(number))

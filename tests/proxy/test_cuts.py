"""The same dialogue with its bytes cut anywhere: the same messages, the same records, the same order of the two."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import bson
from hypothesis import given
from hypothesis import strategies as st

from wardgate.audit import records as audit
from wardgate.proxy import actions as do
from wardgate.testing.playbook import (
    EXHAUST_ALLOWED,
    MEMBER,
    MORE_TO_COME,
    Playbook,
    command,
    hello_document,
    hello_request,
    op_msg,
    op_query,
    op_reply,
    reply,
)


@dataclass(frozen=True)
class Step:
    """`who` sends `data`, or the event of this name happens."""

    who: str
    data: bytes = b""


BATCH = {"nextBatch": [{"a": n, "text": "x" * 40} for n in range(8)], "id": bson.Int64(5), "ns": "shop.orders"}
DIALOGUE = [
    Step("server_ready"),
    Step("client", op_query({"isMaster": 1, "helloOk": True}, 1)),
    Step("server", op_reply(hello_document(), 800, 1)),
    Step("client", hello_request(2)),
    Step("server", op_msg(hello_document(), 801, 2)),
    Step("client", command({"ping": 1}, 3)),
    Step("server", reply(3)),
    Step("client", command({"insert": "orders", "documents": [{"x": "y" * 300}]}, 4, MORE_TO_COME)),
    Step("logged_in"),
    Step("durable"),
    Step("client", command({"find": "orders"}, 5) + command({"count": "orders"}, 6)),
    Step(
        "server", reply(5, 805, cursor={"firstBatch": [{"x": "y" * 99}] * 9, "id": bson.Int64(5), "ns": "shop.orders"})
    ),
    Step("server", reply(6, 806, n=9)),
    Step("client", command({"shutdown": 1}, 7, database="admin")),
    Step("client", op_msg({"find": "orders"}, 8)),
    Step("client", op_msg({"saslStart": 1, "mechanism": "PLAIN", "payload": b"\x00a\x00b", "$db": "$external"}, 9)),
    Step("client", command({"getMore": bson.Int64(5), "collection": "orders"}, 10, EXHAUST_ALLOWED)),
    Step("server", reply(10, 810, MORE_TO_COME, cursor=BATCH)),
    Step("server", reply(810, 811, MORE_TO_COME, cursor=BATCH)),
    Step("server", reply(811, 812, cursor={**BATCH, "id": bson.Int64(0)})),
    Step("client", command({"aggregate": "orders", "pipeline": [], "cursor": {}}, 11)),
    Step("session_ending"),
]


def perform(play: Playbook, step: Step, cuts: list[int]) -> None:
    """One step, its bytes in pieces."""
    machine = play.machine
    match step.who:
        case "server_ready":
            play.event(machine.server_ready, MEMBER)
        case "session_ending":
            play.event(machine.session_ending, "It ended.")
        case "logged_in" | "durable":
            play.event(getattr(machine, step.who))
        case who:
            edges = [0, *cuts, len(step.data)]
            pieces = [step.data[a:b] for a, b in itertools.pairwise(edges)]
            send = play.client if who == "client" else play.server
            send(*(piece for piece in pieces if piece))


def trace(play: Playbook) -> tuple[bytes, bytes, list[audit.Record]]:
    """What came out, without what may differ: how the client's bytes were cut."""
    return play.to_client, play.to_server, play.records


def milestones(play: Playbook) -> list[Any]:
    """Records and bytes to the server in their order, and each end of a held reply."""
    kept: list[Any] = []
    for action in play.actions:
        if isinstance(action, do.Record | do.ToServer):
            kept.append(action)
        elif isinstance(action, do.ToClient) and action.held:
            kept.append("released")
    return kept


def run(cuts: list[list[int]]) -> Playbook:
    """The whole dialogue."""
    play = Playbook()
    play.start()
    for step, where in zip(DIALOGUE, cuts, strict=True):
        perform(play, step, where)
    return play


WHOLE = run([[] for _ in DIALOGUE])


def test_the_dialogue_is_what_it_should_be() -> None:
    assert WHOLE.machine.closed
    assert [type(record).__name__ for record in WHOLE.records] == [
        "ConnectionOpened",
        "ConnectionHello",
        *["CommandIntent", "CommandOutcome"] * 4,
        "Denied",
        "Malformed",
        "CommandIntent",
        *["CommandOutcome"] * 3,
        *["CommandIntent", "CommandOutcome"],
        "ConnectionClosed",
    ]


@given(
    st.tuples(
        *(st.lists(st.integers(0, len(step.data)), max_size=6).map(sorted) for step in DIALOGUE),
    )
)
def test_cuts_change_nothing(cuts: tuple[list[int], ...]) -> None:
    play = run(list(cuts))
    assert trace(play) == trace(WHOLE)
    assert milestones(play) == milestones(WHOLE)


def test_one_byte_at_a_time() -> None:
    play = run([list(range(1, len(step.data))) for step in DIALOGUE])
    assert trace(play) == trace(WHOLE)
    assert milestones(play) == milestones(WHOLE)


def test_time_only_shows_in_durations() -> None:
    play = Playbook()
    play.start()
    for step in DIALOGUE:
        play.now += 1
        perform(play, step, [])
    assert [untimed(record) for record in play.records] == [untimed(record) for record in WHOLE.records]


def untimed(record: audit.Record) -> audit.Record:
    """The record with no duration."""
    return replace(record, duration_us=0) if isinstance(record, audit.CommandOutcome) else record

"""What the core costs: microseconds of Python for one small find, request and reply, without sockets and spool.

    .venv/bin/python bench/core.py [--profile]

It drives the connection machine with the bytes of a real driver's find and a one-document reply, and prints the time
for the whole turn and for its steps. The target is under 60 µs a turn on the project's two-core machine.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from collections.abc import Callable
from time import perf_counter

import bson

from wardgate.audit.records import CommandIntent
from wardgate.command.facts import parse
from wardgate.command.sensitive import record_body
from wardgate.policy.decide import Policy, decide
from wardgate.proxy import actions as do
from wardgate.testing.playbook import Playbook, command, reply
from wardgate.wire.message import parse_request
from wardgate.wire.replies import scan_message

ROUNDS = 20_000
BEST_OF = 5

FIND = command(
    {
        "find": "orders",
        "filter": {"_id": bson.ObjectId("65a000000000000000000001")},
        "limit": 1,
        "singleBatch": True,
        "lsid": {"id": bson.Binary(b"u" * 16, 4)},
        "$clusterTime": {"clusterTime": bson.Timestamp(1, 2), "signature": {"hash": b"\x00" * 20, "keyId": 7}},
    },
    7,
)
DOCUMENT = {"_id": bson.ObjectId("65a000000000000000000001"), "name": "Ann", "total": 12.5, "items": [1, 2, 3]}
ANSWER = reply(
    7,
    cursor={"firstBatch": [DOCUMENT], "id": bson.Int64(0), "ns": "shop.orders"},
    operationTime=bson.Timestamp(1, 2),
)
THOUSAND = reply(7, cursor={"firstBatch": [DOCUMENT] * 1000, "id": bson.Int64(0), "ns": "shop.orders"})


def micros(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Best of a few runs, in microseconds each."""
    best = float("inf")
    for _ in range(BEST_OF):
        begun = perf_counter()
        for _ in range(rounds):
            work()
        best = min(best, perf_counter() - begun)
    return best / rounds * 1e6


def turn(play: Playbook, answer: bytes) -> Callable[[], None]:
    """One find and its reply through the machine, with the least a pump has to do."""
    machine = play.machine

    def run() -> None:
        for action in machine.client_data(FIND, 1.0):
            if type(action) is do.Record and type(action.record) is CommandIntent:
                machine.recorded(1)
        machine.server_data(answer, 2.0)

    return run


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--profile", action="store_true", help="show where the time of a turn goes")
    play = Playbook()
    play.ready()
    run = turn(play, ANSWER)
    if arguments.parse_args().profile:
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(ROUNDS):
            run()
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    request = parse_request(FIND)
    understood = parse(request)
    policy = Policy()
    rows = {
        "turn, find of one document": micros(run),
        "turn, find of 1,000 documents": micros(turn(play, THOUSAND), 500),
        "  parse_request": micros(lambda: parse_request(FIND)),
        "  command.parse": micros(lambda: parse(request)),
        "  policy.decide": micros(lambda: decide(understood, policy, play.work.view)),
        "  record_body": micros(lambda: record_body(understood)),
        "  scan_message": micros(lambda: scan_message(ANSWER)),
        "  scan_message, 1,000 documents": micros(lambda: scan_message(THOUSAND), 500),
    }
    for name, value in rows.items():
        print(f"{name:34} {value:9.1f} µs")


if __name__ == "__main__":
    main()

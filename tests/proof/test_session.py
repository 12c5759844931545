"""A whole session: no epoch goes missing unseen, and none is passed over."""

from __future__ import annotations

import os
from typing import Any

from wardgate import ids
from wardgate.audit.chain import ChainWriter, EpochHead, Link, seal_statement
from wardgate.proof.breaks import Break
from wardgate.proof.epoch import StoredEpoch
from wardgate.proof.seals import StoredSeal
from wardgate.proof.session import Checked, check

SESSION = bytes(range(16))
NAME = ids.from_bytes(ids.Kind.SESSION, SESSION)


class Made:
    """Two epochs, the second opened behind the first; each is one object, named by its number."""

    def __init__(self) -> None:
        self.keys = {1: os.urandom(32), 2: os.urandom(32)}
        self.objects: dict[str, bytes] = {}
        self.ends: dict[int, Link] = {}
        for number in (1, 2):
            head = EpochHead(b"sealed", "k", "gw_x", 1, self.ends.get(number - 1))
            writer = ChainWriter(SESSION, number, self.keys[number], head)
            self.objects[str(number)] = writer.head_frame + writer.append(b"one")
            self.ends[number] = Link(number, writer.seq, writer.hash)

    def epoch(self, number: int, **more: Any) -> StoredEpoch:
        return StoredEpoch(number, [str(number)], **more)

    def check(self, *epochs: StoredEpoch, final: bool = False) -> Checked:
        seals = [StoredSeal(seal_statement(NAME, self.ends.values(), final=True, sealed_at_us=1), True)]
        return check(
            SESSION, NAME, epochs, seals if final else [], self.objects.__getitem__, lambda number, _: self.keys[number]
        )


def how(checked: Checked) -> tuple[Break, int, int] | None:
    broken = checked.broken
    return None if broken is None else (broken.how, broken.epoch, broken.seq)


def test_a_whole_session_is_sound() -> None:
    made = Made()
    for final in (False, True):
        checked = made.check(made.epoch(1), made.epoch(2), final=final)
        assert (how(checked), checked.records, checked.sealed, checked.last) == (None, 2, final, made.ends[2])


def test_a_missing_first_epoch_is_told_by_the_next_ones_head() -> None:
    made = Made()
    assert how(made.check(made.epoch(2))) == (Break.MISSING_EPOCH, 1, 0)


def test_an_epoch_that_is_told_twice_is_not_passed_over() -> None:
    made = Made()
    made.objects["forged"] = made.objects["1"][:-1] + b"x"
    forged = StoredEpoch(1, ["forged"])
    for epochs in ((forged, made.epoch(1)), (made.epoch(1), forged), (made.epoch(1), made.epoch(1))):
        assert how(made.check(*epochs, made.epoch(2), final=True)) == (Break.REPLAYED, 1, 0)

"""The ways in which a record can be spoilt, and the place where it is."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Break(StrEnum):
    """What was done to a record. Alphabetical; programs branch on the values."""

    ALTERED = "altered"  # the bytes of a frame are not those that were recorded
    ALTERED_ROW = "altered_row"  # a row of the database says something else than the records
    BAD_SEAL = "bad_seal"  # a seal that the control plane did not make
    CUT_TAIL = "cut_tail"  # the end is gone, and what counts it was mended
    DAMAGED = "damaged"  # bytes that are no frame
    EDITED_HEAD = "edited_head"  # the head of an epoch was changed
    FOREIGN = "foreign"  # a frame that belongs elsewhere
    FOREIGN_ROW = "foreign_row"  # a row of the database that no record stands behind
    GAP = "gap"
    MISSING_EPOCH = "missing_epoch"
    MISSING_OBJECT = "missing_object"
    MISSING_ROW = "missing_row"
    MISSING_SEAL = "missing_seal"
    REORDERED = "reordered"
    REPLAYED = "replayed"  # a frame or an epoch that stands there a second time
    SUBSTITUTED = "substituted"  # a proper frame, but another one than was recorded
    TRUNCATED = "truncated"  # the end is gone
    WRONG_KEY = "wrong_key"  # the epoch's key is not the one that its frames were written with


class ChainBroken(Exception):  # noqa: N818 - it is what was found, not what failed
    """The first bad place of a chain, and how it is bad."""

    def __init__(self, how: Break, epoch: int, seq: int, detail: str) -> None:
        super().__init__(f"epoch {epoch}, sequence {seq}: {detail}")
        self.how = how
        self.epoch = epoch
        self.seq = seq
        self.detail = detail


class Link(NamedTuple):
    """A place in a session's chains: `hash` is SHA-256 of that frame."""

    epoch: int
    seq: int
    hash: bytes

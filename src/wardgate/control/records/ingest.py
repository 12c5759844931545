"""Opening what a gateway delivered: the work of a batch that needs neither the database nor the loop.

Everything here is checked before anything is kept. A batch that can't be true is an `Alarm`; one that merely does not
fit now (a gap that a later delivery may fill) is refused without one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ... import ids
from ...api.problems import ProblemCode, ProblemError
from ...audit.chain import Break, ChainBroken, ChainReader, Link
from ...audit.codec import CodecError, Entry, decode
from ...audit.frame import Frame, FrameError, Kind, split


class Alarm(Exception):  # noqa: N818 - it is what was found, not what failed
    """Something was delivered that no honest gateway delivers."""

    def __init__(self, how: Break, seq: int, detail: str) -> None:
        super().__init__(detail)
        self.how = how
        self.seq = seq
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole frames of one epoch, ascending."""

    session: bytes
    session_id: str
    epoch: int
    frames: Sequence[Frame]


@dataclass(frozen=True, slots=True)
class Opened:
    """A checked batch: its records, and the chain's last place behind it."""

    entries: list[tuple[int, Entry]]
    link: Link
    closed: bool


def read_batch(body: bytes) -> Batch:
    """The frames in a request's body; ProblemError `invalid_request` if they are none or of several epochs."""
    try:
        frames = split(body)
    except FrameError as error:
        raise ProblemError(ProblemCode.INVALID_REQUEST, f"The batch holds no proper frames: {error.message}") from error
    if not frames:
        raise ProblemError(ProblemCode.INVALID_REQUEST, "The batch holds no frames.")
    first = frames[0].head
    if any((frame.head.session, frame.head.epoch) != (first.session, first.epoch) for frame in frames):
        raise ProblemError(ProblemCode.INVALID_REQUEST, "The batch holds frames of more than one epoch.")
    return Batch(first.session, ids.from_bytes(ids.Kind.SESSION, first.session), first.epoch, frames)


def open_frames(reader: ChainReader, frames: Sequence[Frame]) -> Opened:
    """Check and open `frames`, which follow what `reader` has seen; Alarm, or ProblemError `records_refused`."""
    entries = []
    for frame in frames:
        try:
            document = reader.accept(frame)
        except ChainBroken as broken:
            if broken.how is Break.GAP:
                raise ProblemError(
                    ProblemCode.RECORDS_REFUSED,
                    f"Frame {frame.head.seq} of epoch {broken.epoch} can't be taken before frame {broken.seq}.",
                    context={"epoch": broken.epoch, "seq": broken.seq},
                ) from broken
            raise Alarm(broken.how, broken.seq, broken.detail) from broken
        if document is None:
            continue
        try:
            entries.append((frame.head.seq, decode(document)))
        except CodecError as error:
            # Its writer had the key, so it is no forgery: most likely a gateway that is newer than we are.
            raise ProblemError(
                ProblemCode.RECORDS_REFUSED, f"Record {frame.head.seq} can't be read by this version: {error.message}"
            ) from error
    return Opened(entries, reader.link, reader.closed)


def compare(frames: Sequence[Frame], stored: dict[int, bytes]) -> None:
    """Check frames that were delivered before against the hashes of what was kept; Alarm if one is another."""
    for frame in frames:
        if hashlib.sha256(frame.raw).digest() != stored.get(frame.head.seq):
            raise Alarm(Break.SUBSTITUTED, frame.head.seq, "a frame was delivered twice and is not the same")


def hashes(data: bytes) -> dict[int, bytes]:
    """Sequence number → SHA-256 of every frame in a stored object."""
    return {frame.head.seq: hashlib.sha256(frame.raw).digest() for frame in split(data)}


def is_head(frame: Frame) -> bool:
    """Whether it is an epoch head."""
    return frame.head.kind == Kind.HEAD

"""Opening what a gateway delivered: the work of a batch that needs neither the database nor the loop.

Everything here is checked before anything is kept. A batch that can't be true is an `Alarm`; one that merely does not
fit now (a gap that a later delivery may fill) is refused without one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ... import ids
from ...api.problems import ProblemCode, ProblemError
from ...audit.chain import Break, ChainBroken, ChainReader, Link, parse_epoch_head
from ...audit.codec import CodecError
from ...audit.frame import HEAD_BYTES, Frame, FrameError, Kind, parse_head, split
from . import packing
from .rows import Harvest, harvest

Unseal: TypeAlias = Callable[[str, int, str, bytes], bytes]


class Alarm(Exception):  # noqa: N818 - it is what was found, not what failed
    """Something was delivered that no honest gateway delivers."""

    def __init__(self, how: Break, seq: int, detail: str) -> None:
        super().__init__(detail)
        self.how = how
        self.seq = seq
        self.detail = detail


class Overlap(Exception):  # noqa: N818 - it is what was found, not what failed
    """Frames `first` to `last` are here already, and only the store knows their hashes."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(first, last)
        self.first = first
        self.last = last


@dataclass(frozen=True, slots=True)
class Known:
    """An epoch as the last batch left it. Without `link` nothing of it is here yet, and its head tells the rest.

    `holder` is the gateway's instance that delivers it; empty where that is not known.
    """

    session_id: str
    epoch: int
    gateway_id: str
    holder: str = ""
    audit_key_id: str = ""
    sealed_key: bytes = b""
    key: bytes = field(default=b"", repr=False)
    head_hash: bytes = b""
    link: Link | None = None
    closed: bool = False
    place: int = 0
    project: int = 0
    project_id: str = ""

    @property
    def seq(self) -> int:
        """The newest frame that is here; -1 if none is."""
        return -1 if self.link is None else self.link.seq


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole frames of one epoch."""

    session: bytes
    epoch: int
    frames: Sequence[Frame]


@dataclass(frozen=True, slots=True)
class Taken:
    """A checked batch: what is new in it, packed for the store, and the epoch as it stands behind it."""

    first_seq: int
    data: bytes
    harvest: Harvest
    known: Known


def whose(body: bytes) -> tuple[str, int]:
    """The session and epoch that the first frame names; ProblemError `invalid_request` if there is no frame."""
    if len(body) < HEAD_BYTES:
        raise ProblemError(ProblemCode.INVALID_REQUEST, "The batch holds no frames.")
    try:
        head = parse_head(body)
        return ids.from_bytes(ids.Kind.SESSION, head.session), head.epoch
    except FrameError as error:
        raise ProblemError(ProblemCode.INVALID_REQUEST, f"The batch holds no proper frames: {error.message}") from error


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
    return Batch(first.session, first.epoch, frames)


def take(known: Known, body: bytes, unseal: Unseal, stored: Mapping[int, bytes]) -> Taken | None:
    """Check and open a batch for the epoch `known`; None if nothing in it is new.

    `stored` adds hashes of frames that are here already. Raises Alarm, Overlap, and ProblemError `invalid_request` or
    `records_refused`.
    """
    batch = read_batch(body)
    old = [frame for frame in batch.frames if frame.head.seq <= known.seq]
    new = [frame for frame in batch.frames if frame.head.seq > known.seq] if old else batch.frames
    if old and known.link is not None:
        hashes_ = {0: known.head_hash, known.seq: known.link.hash, **stored}
        beyond = [frame.head.seq for frame in old if frame.head.seq not in hashes_]
        if beyond and not stored:
            raise Overlap(min(beyond), max(beyond))
        compare(old, hashes_)
    if not new:
        return None
    if known.link is None:
        known = _begin(known, new[0], unseal)
    before = b"" if known.link is None else known.link.hash
    reader = ChainReader(batch.session, batch.epoch, known.key, known.link)
    documents = open_frames(reader, new)
    try:
        found = harvest(known.session_id, known.epoch, documents, known.place, known.project)
    except CodecError as error:
        # Its writer had the key, so it is no forgery: most likely a gateway that is newer than we are.
        raise ProblemError(ProblemCode.RECORDS_REFUSED, error.message) from error
    data = packing.pack(new, dict(documents), before, known.key, known.audit_key_id, known.sealed_key)
    closed = known.closed or found.closed or reader.closed
    return Taken(new[0].head.seq, data, found, replace(known, link=reader.link, closed=closed))


def _begin(known: Known, first: Frame, unseal: Unseal) -> Known:
    """The epoch as its head, which must come first, describes it."""
    if first.head.kind != Kind.HEAD:
        raise ProblemError(
            ProblemCode.RECORDS_REFUSED,
            f"Epoch {known.epoch} can't begin with frame {first.head.seq}.",
            context={"epoch": known.epoch, "seq": 0},
        )
    try:
        head = parse_epoch_head(first)
    except ChainBroken as error:
        raise ProblemError(ProblemCode.RECORDS_REFUSED, "The epoch's head can't be read.") from error
    if head.gateway != known.gateway_id:
        raise ProblemError(ProblemCode.RECORDS_REFUSED, "The epoch's head names another gateway.")
    return replace(
        known,
        audit_key_id=head.audit_key_id,
        sealed_key=head.sealed_key,
        key=unseal(known.session_id, known.epoch, head.audit_key_id, head.sealed_key),
        head_hash=hashlib.sha256(first.raw).digest(),
    )


def open_frames(reader: ChainReader, frames: Sequence[Frame]) -> list[tuple[int, bytes]]:
    """Check `frames`, which follow what `reader` has seen; the sequence numbers and documents of the records in them.

    Raises Alarm, or ProblemError `records_refused`."""
    documents = []
    accept = reader.accept
    for frame in frames:
        try:
            document = accept(frame)
        except ChainBroken as broken:
            if broken.how is Break.GAP:
                raise ProblemError(
                    ProblemCode.RECORDS_REFUSED,
                    f"Frame {frame.head.seq} of epoch {broken.epoch} can't be taken before frame {broken.seq}.",
                    context={"epoch": broken.epoch, "seq": broken.seq},
                ) from broken
            raise Alarm(broken.how, broken.seq, broken.detail) from broken
        if document is not None:
            documents.append((frame.head.seq, document))
    return documents


def compare(frames: Sequence[Frame], stored: Mapping[int, bytes]) -> None:
    """Check frames that were delivered before against the hashes of what was kept; Alarm if one is another."""
    for frame in frames:
        if hashlib.sha256(frame.raw).digest() != stored.get(frame.head.seq):
            raise Alarm(Break.SUBSTITUTED, frame.head.seq, "a frame was delivered twice and is not the same")


def hashes(data: bytes) -> dict[int, bytes]:
    """Sequence number → SHA-256 of every frame in a stored object."""
    return {frame.head.seq: hashlib.sha256(frame.raw).digest() for frame in split(data)}

"""Checking a whole session from what is stored: every frame of every epoch, their links, and the seals over them.

It trusts the keys and nothing else: neither the rows of the log nor the counters beside the chains. What it finds is
the first bad place, in the order of epochs and sequence numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...audit.chain import (
    KEY_BYTES,
    Break,
    ChainBroken,
    ChainReader,
    EpochHead,
    Link,
    check_epoch,
    parse_epoch_head,
)
from ...audit.frame import Frame, FrameError, walk
from ...errors import WardgateError


@dataclass(frozen=True, slots=True)
class StoredEpoch:
    """An epoch as the database tells it: where its objects are, and where it should end."""

    epoch: int
    objects: Sequence[str]
    last: Link


@dataclass(frozen=True, slots=True)
class StoredSeal:
    """A seal; `genuine` says that the signature is ours."""

    statement: bytes
    genuine: bool


@dataclass(slots=True)
class Checked:
    """What was found; `broken` is None when all is well."""

    broken: ChainBroken | None = None
    records: int = 0


Load = Callable[[str], bytes]
Unseal = Callable[[int, EpochHead], bytes]
Places = dict[tuple[int, int], bytes]


def check(
    session: bytes, epochs: Sequence[StoredEpoch], seals: Sequence[StoredSeal], load: Load, unseal: Unseal
) -> Checked:
    """Check everything. `load` gives an object's bytes or raises FileNotFoundError; `unseal` gives the key that an
    epoch head holds, or raises WardgateError."""
    found = Checked()
    try:
        claims = [claim for seal in seals for claim in _claims(seal)]
        heads = {epoch.epoch: _head(session, epoch, load) for epoch in epochs}
        claims += [
            (head.previous, "the frame is not the one that the next epoch was opened behind")
            for head in heads.values()
            if head.previous is not None
        ]
        places: Places = {(link.epoch, link.seq): b"" for link, _ in claims}
        for epoch in epochs:
            _check_epoch(session, epoch, load, _key(epoch.epoch, heads[epoch.epoch], unseal), places, found)
        for link, otherwise in claims:
            known = places[link.epoch, link.seq]
            if not known:
                raise ChainBroken(Break.TRUNCATED, link.epoch, link.seq, "a frame that was vouched for is missing")
            if known != link.hash:
                raise ChainBroken(Break.SUBSTITUTED, link.epoch, link.seq, otherwise)
    except ChainBroken as broken:
        found.broken = broken
    return found


def _key(number: int, head: EpochHead, unseal: Unseal) -> bytes:
    try:
        return unseal(number, head)
    except WardgateError as error:
        raise ChainBroken(Break.SUBSTITUTED, number, 0, "the epoch's key does not open") from error


def _check_epoch(session: bytes, epoch: StoredEpoch, load: Load, key: bytes, places: Places, found: Checked) -> None:
    """Walk one epoch, noting the hashes at `places`."""
    reader = ChainReader(session, epoch.epoch, key)
    for link in check_epoch(reader, _frames(epoch, load, reader)):
        found.records += link.seq > 0 and not reader.closed
        if (link.epoch, link.seq) in places:
            places[link.epoch, link.seq] = link.hash
    if reader.seq < epoch.last.seq:
        missing = epoch.last.seq - reader.seq
        raise ChainBroken(Break.TRUNCATED, epoch.epoch, reader.seq + 1, f"{missing} frames are missing at the end")
    if reader.link != epoch.last:
        raise ChainBroken(
            Break.SUBSTITUTED, epoch.epoch, reader.seq, "the last frame is not the one that was acknowledged"
        )


def _head(session: bytes, epoch: StoredEpoch, load: Load) -> EpochHead:
    reader = ChainReader(session, epoch.epoch, bytes(KEY_BYTES))  # opens nothing: a head stands in clear
    first = next(_frames(epoch, load, reader), None)
    if first is None or first.head.seq != 0:
        raise ChainBroken(Break.GAP, epoch.epoch, 0, "the epoch's head is missing")
    reader.accept(first)
    return parse_epoch_head(first)


def _frames(epoch: StoredEpoch, load: Callable[[str], bytes], reader: ChainReader) -> Iterator[Frame]:
    for name in epoch.objects:
        try:
            yield from walk(load(name))
        except FileNotFoundError as error:
            raise ChainBroken(Break.GAP, epoch.epoch, reader.seq + 1, "an object of the store is missing") from error
        except FrameError as error:
            raise ChainBroken(Break.DAMAGED, epoch.epoch, reader.seq + 1, error.message) from error


def _claims(seal: StoredSeal) -> list[tuple[Link, str]]:
    """What a seal vouches for."""
    try:
        if not seal.genuine:
            raise ValueError("its signature is not ours")
        heads = json.loads(seal.statement.partition(b"\n")[2])["heads"]
        return [
            (Link(head["epoch"], head["seq"], bytes.fromhex(head["hash"])), "the frame is not the one that was sealed")
            for head in heads
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ChainBroken(Break.SUBSTITUTED, 0, 0, f"a seal is not genuine: {error}") from error

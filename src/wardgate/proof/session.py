"""Checking a whole session: every epoch, what each says of the one before, and the seals over all of them.

It trusts the keys and nothing else. What it finds is the first bad place, in the order of epochs and sequence numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from .breaks import Break, ChainBroken, Link
from .epoch import EpochFacts, Load, StoredEpoch, UnreadableObject, Unseal, Visit, check_epoch, head_of, read_head
from .seals import StoredSeal, read_seal


@dataclass(slots=True)
class Checked:
    """What was found; `broken` is None when all is well. `sealed`: a genuine final seal covers all of it."""

    broken: ChainBroken | None = None
    records: int = 0
    sealed: bool = False
    last: Link | None = None
    sealed_at: datetime | None = None


class _Claim(NamedTuple):
    """Somebody's word that a frame with this hash stands at this place."""

    link: Link
    otherwise: str


def check(
    session: bytes,
    session_id: str,
    epochs: Sequence[StoredEpoch],
    seals: Sequence[StoredSeal],
    load: Load,
    unseal: Unseal,
    visit: Visit | None = None,
) -> Checked:
    """Check everything. `load` gives an object's bytes, or raises FileNotFoundError or UnreadableObject; `unseal` gives
    the key of an epoch, or raises ValueError; `visit` sees the records of what was found good."""
    found = Checked()
    try:
        said = [read_seal(seal, session_id) for seal in seals]
        claims = [_Claim(link, "the frame is not the one that was sealed") for facts in said for link in facts.heads]
        claims += _of_heads(epochs, load)
        if said:
            found.sealed_at = max(facts.sealed_at for facts in said)
        final = next((facts for facts in said if facts.final), None)
        by_number: dict[int, StoredEpoch] = {}
        for epoch in epochs:
            if by_number.setdefault(epoch.epoch, epoch) is not epoch:
                raise ChainBroken(Break.REPLAYED, epoch.epoch, 0, "an epoch stands there a second time")
        for number in sorted(by_number.keys() | {claim.link.epoch for claim in claims}):
            due = [claim for claim in claims if claim.link.epoch == number]
            facts = _one(session, number, by_number.get(number), due, load, unseal, visit)
            found.records += facts.records
            found.last = facts.link
            if final is not None and facts.link not in final.heads:
                detail = "frames follow what was sealed as the end of the session"
                raise ChainBroken(Break.FOREIGN, number, facts.link.seq, detail)
        found.sealed = final is not None
    except ChainBroken as broken:
        found.broken = broken
    return found


def _of_heads(epochs: Sequence[StoredEpoch], load: Load) -> list[_Claim]:
    """What each epoch's head says of the epoch before it; a head that can't be read is told of when its turn comes."""
    claims = []
    for epoch in epochs:
        if epoch.epoch <= 1 or not epoch.objects:
            continue  # the first has none before it
        try:
            head = read_head(head_of(load(epoch.objects[0])))
        except (FileNotFoundError, UnreadableObject):
            continue
        if head is not None and head.previous is not None:
            claims.append(_Claim(head.previous, "the frame is not the one that the next epoch was opened behind"))
    return claims


def _one(
    session: bytes,
    number: int,
    stored: StoredEpoch | None,
    claims: Sequence[_Claim],
    load: Load,
    unseal: Unseal,
    visit: Visit | None,
) -> EpochFacts:
    """One epoch and what others say of it."""
    if stored is None:
        raise ChainBroken(Break.MISSING_EPOCH, number, 0, "an epoch that was vouched for is missing")
    places = {claim.link.seq: b"" for claim in claims}
    facts = check_epoch(session, stored, load, unseal, places, visit, [claim.link for claim in claims])
    for claim in sorted(claims):
        known = places[claim.link.seq]
        if not known:
            raise ChainBroken(
                Break.CUT_TAIL,
                number,
                facts.link.seq + 1,
                f"the end was cut off: frame {claim.link.seq} was vouched for and is missing",
            )
        if known != claim.link.hash:
            raise ChainBroken(Break.SUBSTITUTED, number, claim.link.seq, claim.otherwise)
    return facts

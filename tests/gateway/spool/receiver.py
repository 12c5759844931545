"""A control plane in memory: it takes frames as the real one does, and can be made to fail."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable

from wardgate import ids, sealing
from wardgate.api.machine import RecordsAck
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.audit.chain import ChainBroken, ChainReader, parse_epoch_head
from wardgate.audit.codec import decode
from wardgate.audit.frame import Frame, split
from wardgate.audit.records import Record
from wardgate.gateway.spool.epoch import Durability, EpochRecorder
from wardgate.gateway.spool.spool import Spool


def session_id() -> str:
    return ids.from_bytes(ids.Kind.SESSION, os.urandom(16))


class Receiver:
    """`post` is what a shipper calls; what arrived is in `records` and `closed`, by session and epoch."""

    def __init__(self) -> None:
        self.private, self.public = sealing.generate()
        self.records: dict[tuple[str, int], list[Record]] = {}
        self.readers: dict[tuple[str, int], ChainReader] = {}
        self.hashes: dict[tuple[str, int], list[str]] = {}
        self.closed: set[tuple[str, int]] = set()
        self.posts: list[tuple[str, int, int]] = []
        self.before: Callable[[], None] = lambda: None

    async def post(self, session: str, epoch: int, body: bytes) -> RecordsAck:
        await asyncio.sleep(0)
        self.before()
        frames = split(body)
        key = (session, epoch)
        self.posts.append((session, epoch, len(frames)))
        for frame in frames:
            self._take(key, frame)
        reader = self.readers[key]
        closed = reader.closed or key in self.closed
        return RecordsAck(session_id=session, epoch=epoch, seq=reader.seq, hash=reader.hash.hex(), closed=closed)

    def _take(self, key: tuple[str, int], frame: Frame) -> None:
        known = self.hashes.setdefault(key, [])
        digest = hashlib.sha256(frame.raw).hexdigest()
        if frame.head.seq < len(known):
            if known[frame.head.seq] != digest:
                raise ProblemError(ProblemCode.RECORDS_REFUSED, "another frame with this sequence number")
            return
        reader = self.readers.get(key)
        if reader is None:
            sealed = parse_epoch_head(frame).sealed_key
            opened = sealing.open_(self.private, sealing.epoch_info(*key), sealed)
            reader = ChainReader(ids.to_bytes(key[0], ids.Kind.SESSION), key[1], opened)
        try:
            document = reader.accept(frame)
        except ChainBroken as broken:
            raise ProblemError(ProblemCode.RECORDS_REFUSED, str(broken)) from broken
        self.readers[key] = reader
        known.append(digest)
        if document is not None:
            self.records.setdefault(key, []).append(decode(document).record)

    def open_epoch(
        self,
        spool: Spool,
        session: str | None = None,
        epoch: int = 1,
        on_failed: Callable[[str], None] = lambda reason: None,
        durability: Durability = "strict",
    ) -> EpochRecorder:
        return spool.open_epoch(
            session or session_id(),
            epoch,
            audit_public_key=self.public,
            audit_key_id="key-1",
            gateway_id="gw_test",
            previous=None,
            on_failed=on_failed,
            durability=durability,
        )


async def durable(recorder: EpochRecorder, seq: int) -> None:
    """Wait until `seq` is on disk."""
    done = asyncio.Event()
    recorder.when_durable(seq, done.set)
    await done.wait()

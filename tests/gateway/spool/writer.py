"""A process that records until it is killed: `writer.py FOLDER PUBLIC_KEY_HEX`.

Each line on standard output is a promise: `w SESSION SEQ`, the record was taken (its command might run now);
`d SESSION SEQ`, it was told to be durable (its reply might be with the client now).
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from wardgate import ids
from wardgate.audit.records import CommandIntent, CommandOutcome
from wardgate.gateway.spool.spool import Spool
from wardgate.numbers import KIB, Numbers

_INTENT = CommandIntent(1, 1, "shop", "orders", "find", "read", b"\x05\0\0\0\0", 21)


def _say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


async def _write(spool: Spool, public: bytes) -> None:
    session = ids.from_bytes(ids.Kind.SESSION, os.urandom(16))
    recorder = spool.open_epoch(
        session, 1, audit_public_key=public, audit_key_id="k", gateway_id="g", previous=None, on_failed=_say
    )
    while True:
        seq = recorder.append(_INTENT)
        _say(f"w {session} {seq}")
        await asyncio.sleep(0)
        last = recorder.append(CommandOutcome(seq, 1.0))
        done = asyncio.Event()
        recorder.when_durable(last, done.set)
        await done.wait()
        _say(f"d {session} {last}")


async def _main(folder: Path, public: bytes) -> None:
    spool = await Spool.open(folder, replace(Numbers(), spool_segment_bytes=64 * KIB))
    await asyncio.gather(*(_write(spool, public) for _ in range(4)))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), bytes.fromhex(sys.argv[2])))

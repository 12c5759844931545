"""Writes vectors/frames.json: run it only for a new version of the format; the old vectors stay."""

from __future__ import annotations

import json
from pathlib import Path

import bson

from wardgate.audit.chain import ChainWriter, EpochHead, Link, tail_frame
from wardgate.audit.codec import encode
from wardgate.audit.records import CommandIntent, CommandOutcome, Record, SessionClosed

SESSION = bytes(range(16))
EPOCH = 7
KEY = bytes(range(32, 64))
HEAD = EpochHead(b"\xaa" * 80, "audit-key-1", "gw_0123456789abcdefghjkmnpqrs", 1_700_000_000_000_000, None)
AT = 1_700_000_000_000_001
BODY = bson.encode({"find": "orders", "filter": {"n": float("inf")}, "$db": "shop"})
RECORDS: list[Record] = [
    CommandIntent(1, 42, "shop", "orders", "find", "read", BODY, 99, client_app="mongosh 2.12", masked=("filter.pin",)),
    CommandOutcome(1, 1.0, None, 10, 4096, 350),
    SessionClosed("client_closed"),
]


def make() -> dict[str, object]:
    """The whole file as a value."""
    writer = ChainWriter(SESSION, EPOCH, KEY, HEAD)
    frames = [{"kind": "head", "document": "", "frame": writer.head_frame.hex()}]
    for record in RECORDS:
        (document,) = encode(record, AT, writer.seq + 1)
        frames.append(
            {"kind": type(record).__name__, "document": document.hex(), "frame": writer.append(document).hex()}
        )
    tail = tail_frame(SESSION, Link(EPOCH, writer.seq, writer.hash))
    frames.append({"kind": "tail", "document": "", "frame": tail.hex()})
    return {"session": SESSION.hex(), "epoch": EPOCH, "key": KEY.hex(), "frames": frames}


if __name__ == "__main__":
    path = Path(__file__).with_name("vectors") / "frames.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(make(), indent=1) + "\n")

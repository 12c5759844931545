"""Writes vectors/: run it only for a new version of the format, or for a new kind of record; the old vectors stay."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import bson

from wardgate.audit.chain import ChainWriter, EpochHead, Link, tail_frame
from wardgate.audit.codec import encode
from wardgate.audit.parts import PartSealer
from wardgate.audit.records import CommandIntent, CommandOutcome, Record, SessionClosed, Upload
from wardgate.testing.playbook import body_section, op_msg_sections, sequence_section

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


# A streamed insert: its message in two parts, under a key of its own.
PART_KEY = bytes(range(64, 96))
MESSAGE = op_msg_sections(
    [body_section({"insert": "orders", "$db": "shop"}), sequence_section("documents", [{"n": 1}, {"n": 2}])], 43
)


def streamed() -> list[Record]:
    """The records of a streamed insert that begins an epoch."""
    sealer = PartSealer(PART_KEY)
    parts = [sealer.seal(1, MESSAGE[:50]), sealer.seal(1, MESSAGE[50:])]
    what = sealer.streamed(1, withheld=False)
    intent = CommandIntent(1, 43, "shop", "orders", "insert", "write", b"", len(MESSAGE), streamed=what)
    return [Upload(1, 43, len(MESSAGE)), *parts, intent, CommandOutcome(4, 1.0, None, 2, 60, 900)]


def make(records: Sequence[Record] = RECORDS) -> dict[str, object]:
    """A whole file as a value."""
    writer = ChainWriter(SESSION, EPOCH, KEY, HEAD)
    frames = [{"kind": "head", "document": "", "frame": writer.head_frame.hex()}]
    for record in records:
        (document,) = encode(record, AT, writer.seq + 1)
        frames.append(
            {"kind": type(record).__name__, "document": document.hex(), "frame": writer.append(document).hex()}
        )
    tail = tail_frame(SESSION, Link(EPOCH, writer.seq, writer.hash))
    frames.append({"kind": "tail", "document": "", "frame": tail.hex()})
    return {"session": SESSION.hex(), "epoch": EPOCH, "key": KEY.hex(), "frames": frames}


if __name__ == "__main__":
    folder = Path(__file__).with_name("vectors")
    folder.mkdir(exist_ok=True)
    for name, content in (("frames", make()), ("streamed", make(streamed()))):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")

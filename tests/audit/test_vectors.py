"""The format that is on disks and in stores: what the first version wrote is read by this one, and written alike."""

from __future__ import annotations

import json
from pathlib import Path

from wardgate.audit.chain import ChainReader, parse_epoch_head
from wardgate.audit.codec import decode
from wardgate.audit.frame import split

from .make_vectors import AT, EPOCH, HEAD, KEY, RECORDS, SESSION, make

VECTORS = json.loads((Path(__file__).with_name("vectors") / "frames.json").read_text())


def test_the_vectors_read() -> None:
    frames = split(b"".join(bytes.fromhex(item["frame"]) for item in VECTORS["frames"]))
    assert parse_epoch_head(frames[0]) == HEAD
    reader = ChainReader(SESSION, EPOCH, KEY)
    documents = [reader.accept(frame) for frame in frames]
    assert [document.hex() for document in documents if document] == [
        item["document"] for item in VECTORS["frames"] if item["document"]
    ]
    entries = [decode(document) for document in documents if document]
    assert [entry.record for entry in entries] == RECORDS
    assert {entry.at_us for entry in entries} == {AT}
    assert reader.closed


def test_the_same_is_written_today() -> None:
    assert make() == VECTORS

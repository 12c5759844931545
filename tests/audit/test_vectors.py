"""The format that is on disks and in stores: what the first version wrote is read by this one, and written alike."""

from __future__ import annotations

import json
from pathlib import Path

from wardgate.audit.chain import ChainReader, parse_epoch_head
from wardgate.audit.codec import Assembler, decode
from wardgate.audit.frame import split
from wardgate.audit.records import CommandIntent, UploadPart
from wardgate.wire.message import split_sections

from .make_vectors import AT, EPOCH, HEAD, KEY, MESSAGE, RECORDS, SESSION, make, streamed

FOLDER = Path(__file__).with_name("vectors")
VECTORS = json.loads((FOLDER / "frames.json").read_text())
STREAMED = json.loads((FOLDER / "streamed.json").read_text())


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
    assert make(streamed()) == STREAMED


def test_the_vectors_of_a_streamed_request_read() -> None:
    reader = ChainReader(SESSION, EPOCH, KEY)
    documents = [reader.accept(frame) for item in STREAMED["frames"] for frame in split(bytes.fromhex(item["frame"]))]
    entries = [decode(document) for document in documents if document]
    assert [entry.record for entry in entries] == streamed()
    intent = entries[3]
    assembler = Assembler(intent)
    assert assembler.opened == 1
    for entry in entries[1:3]:
        assert isinstance(entry.record, UploadPart)
        assembler.add(entry.record)
    whole = assembler.record()
    assert isinstance(whole, CommandIntent)
    assert (whole.body, whole.sequences) == split_sections(MESSAGE)

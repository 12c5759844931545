"""Parts of streamed requests: what was sealed opens to the same, and to nothing else."""

from __future__ import annotations

import dataclasses
import itertools

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.audit.codec import Assembler, CodecError, Entry
from wardgate.audit.parts import PartsBroken, PartSealer, open_parts
from wardgate.audit.records import CommandIntent, Streamed, UploadPart
from wardgate.testing.playbook import body_section, op_msg_sections, sequence_section

KEY = bytes(range(32))
DOCUMENTS = [{"n": n} for n in range(9)]
MESSAGE = op_msg_sections([body_section({"insert": "c", "$db": "d"}), sequence_section("documents", DOCUMENTS)], 7)


def sealed(*cuts: int, withheld: bool = False) -> tuple[Streamed, list[UploadPart]]:
    sealer = PartSealer(KEY)
    edges = [0, *sorted(cuts), len(MESSAGE)]
    parts = [sealer.seal(5, MESSAGE[a:b]) for a, b in itertools.pairwise(edges)]
    return sealer.streamed(5, withheld=withheld), parts


def intent(streamed: Streamed) -> CommandIntent:
    return CommandIntent(1, 7, "d", "c", "insert", "write", b"", len(MESSAGE), streamed=streamed)


@given(st.lists(st.integers(0, len(MESSAGE)), max_size=5))
def test_they_open_to_what_was_sealed(cuts: list[int]) -> None:
    streamed, parts = sealed(*cuts)
    body, sequences = open_parts(streamed, (part.data for part in parts))
    assert bson.decode(body) == {"insert": "c", "$db": "d"}
    assert sequences == (("documents", b"".join(map(bson.encode, DOCUMENTS))),)


def test_changed_missing_and_swapped_parts_are_found() -> None:
    streamed, parts = sealed(30, 60)
    one, two, three = (part.data for part in parts)
    for wrong in ([one, two], [two, one, three], [one, two, three[:-1]], [one, two, three, three], []):
        with pytest.raises(PartsBroken):
            open_parts(streamed, wrong)
    with pytest.raises(PartsBroken):
        open_parts(dataclasses.replace(streamed, sha256=bytes(32)), [one, two, three])
    with pytest.raises(PartsBroken):
        open_parts(dataclasses.replace(streamed, key=KEY[::-1]), [one, two, three])


def test_parts_of_others_are_passed_over_and_one_out_of_place_is_not() -> None:
    streamed, parts = sealed(30, 60)
    assembler = Assembler(Entry(0, intent(streamed), ()))
    assembler.add(UploadPart(4, 0, b"another's"))
    assembler.add(parts[0])
    with pytest.raises(CodecError):
        assembler.add(parts[2])
    with pytest.raises(CodecError):
        assembler.record()
    assembler.add(parts[1])
    assembler.add(parts[2])
    assert assembler.whole
    with pytest.raises(CodecError):
        assembler.add(UploadPart(5, 3, b"too many"))
    record = assembler.record()
    assert isinstance(record, CommandIntent)
    assert bson.decode(record.body)["insert"] == "c"


def test_what_is_withheld_wants_no_parts() -> None:
    streamed, parts = sealed(30, withheld=True)
    assert (streamed.key, streamed.sha256) == (b"", b"")
    record = intent(streamed)
    assembler = Assembler(Entry(0, record, ()))
    assembler.add(parts[0])
    assert assembler.opened is None
    assert assembler.whole
    assert assembler.record() == record

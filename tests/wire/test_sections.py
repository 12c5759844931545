"""Outlines of large messages: what the reader makes of one in pieces, against what the parser makes of it whole."""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import bson
import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.testing.playbook import body_section, op_msg_sections, sequence_section
from wardgate.wire.errors import RemoteProtocolError
from wardgate.wire.header import HEADER
from wardgate.wire.message import OpMsg, parse_request
from wardgate.wire.sections import SectionReader

CARRIES = frozenset({b"documents", b"updates"})
HINTS = (b"$where\0", b"$accumulator\0")
HINT = re.compile(rb"\$(?:where|accumulator)\0")
LIMIT = 4096
T = TypeVar("T")


def pieces(raw: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The message, cut at these places."""
    edges = [0, *sorted(cuts), len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(edges) if a < b]


def read(raw: bytes, cuts: Iterable[int] = ()) -> tuple[OpMsg, bool]:
    """Its outline, and whether a hint was seen."""
    reader = SectionReader(CARRIES, HINT, LIMIT)
    for piece in pieces(raw, cuts):
        reader.feed(piece)
    return reader.finish(), reader.hinted


def with_checksum(raw: bytes) -> bytes:
    """The message with its flag and its checksum."""
    length, request_id, response_to, opcode = HEADER.unpack_from(raw)
    flags = struct.unpack_from("<I", raw, 16)[0] | 1
    raw = HEADER.pack(length + 4, request_id, response_to, opcode) + struct.pack("<I", flags) + raw[20:]
    return raw + struct.pack("<I", google_crc32c.value(raw))


documents = st.lists(
    st.dictionaries(st.sampled_from(["a", "$where", "x" * 30]), st.integers(0, 9) | st.text(max_size=30), max_size=4),
    max_size=6,
)
fields = st.dictionaries(
    st.sampled_from(["insert", "documents", "updates", "$db", "lsid", "n", "longer"]),
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.text(max_size=20),
        documents,
        st.floats(),
        st.binary(max_size=9),
        st.none(),
        st.booleans(),
        st.builds(bson.Regex, st.sampled_from(["a.b", "x"]), st.just("i")),
        st.builds(bson.ObjectId),
    ),
    max_size=6,
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Sound messages: sections in any order, with or without a checksum."""
    names = draw(st.lists(st.sampled_from(["documents", "updates", "nsInfo"]), max_size=3, unique=True))
    sections = [sequence_section(name, draw(documents)) for name in names]
    sections.insert(draw(st.integers(0, len(sections))), body_section(draw(fields)))
    raw = op_msg_sections(sections, draw(st.integers(-5, 5)), draw(st.sampled_from([0, 2, 1 << 16])))
    return with_checksum(raw) if draw(st.booleans()) else raw


def emptied(body: bytes) -> dict[str, Any]:
    """A kind-0 document as an outline shows it."""
    document = bson.decode(body)
    return {k: [] if k.encode() in CARRIES and isinstance(v, list) else v for k, v in document.items()}


def check(raw: bytes, cuts: Iterable[int]) -> None:
    """The outline of a sound message says what the message says."""
    whole = parse_request(raw)
    assert isinstance(whole, OpMsg)
    outline, hinted = read(raw, cuts)
    assert (outline.request_id, outline.response_to, outline.flags) == (
        whole.request_id,
        whole.response_to,
        whole.flags,
    )
    assert repr(bson.decode(outline.body)) == repr(emptied(whole.body))
    assert HEADER.unpack_from(outline.raw) == HEADER.unpack_from(raw)
    assert [each.identifier for each in outline.sequences] == [each.identifier for each in whole.sequences]
    for kept, sent in zip(outline.sequences, whole.sequences, strict=True):
        carried = sent.identifier.encode() in CARRIES
        assert outline.raw[kept.start : kept.end] == (b"" if carried else raw[sent.start : sent.end])
        assert not carried or kept.documents == sent.documents
    assert hinted == any(hint in raw for hint in HINTS)


@given(messages(), st.lists(st.integers(0, 600), max_size=8))
def test_an_outline_says_what_the_message_says(raw: bytes, cuts: list[int]) -> None:
    check(raw, [cut for cut in cuts if cut < len(raw)])


@given(messages())
def test_one_byte_at_a_time(raw: bytes) -> None:
    check(raw, range(1, len(raw)))


@given(messages(), st.data())
def test_a_damaged_message_is_refused_as_the_parser_refuses_it(raw: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(16, len(raw) - 1))
    raw = raw[:place] + bytes([data.draw(st.integers(0, 255))]) + raw[place + 1 :]
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=4))
    outline, wrong = outcome(lambda: read(raw, cuts)[0])
    sound, refused = outcome(lambda: parse_request(raw))
    if wrong is not None:
        assert refused is not None
        # A checksum is known to be wrong at the end only, when what it would have caught has been found already.
        assert refused.code == "wrong_checksum" or (refused.mongo_code is None) == (wrong.mongo_code is None)
    elif refused is not None:
        assert outline is not None
        # Only the inside of what was stepped over may be wrong: what is left is sound without it.
        parse_request(HEADER.pack(len(outline.raw), *HEADER.unpack_from(raw)[1:]) + bytes(4) + outline.raw[20:])
        assert b"documents\0" in raw or b"updates\0" in raw
    else:
        assert isinstance(sound, OpMsg)


def outcome(work: Callable[[], T]) -> tuple[T | None, RemoteProtocolError | None]:
    """What it gives, or how it is refused."""
    try:
        return work(), None
    except RemoteProtocolError as error:
        return None, error


def test_a_wrong_checksum_is_found_wherever_the_message_is_cut() -> None:
    raw = with_checksum(op_msg_sections([body_section({"insert": "c", "$db": "d"})], 1))
    damaged = raw[:30] + bytes([raw[30] ^ 1]) + raw[31:]
    for cut in range(1, len(raw)):
        read(raw, [cut])
        with pytest.raises(RemoteProtocolError) as error:
            read(damaged, [cut])
        assert error.value.mongo_code is None


def test_a_hint_is_found_across_a_cut() -> None:
    raw = op_msg_sections(
        [body_section({"update": "c", "$db": "d"}), sequence_section("updates", [{"q": {"$accumulator": 1}}])], 1
    )
    for cut in range(1, len(raw)):
        assert read(raw, [cut])[1]


@pytest.mark.parametrize(
    "what", [{"insert": "c", "other": "x" * LIMIT}, {"insert": "c", "comment": {"x": "y" * LIMIT}}]
)
def test_more_than_the_limit_beside_the_data_is_refused(what: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError) as error:
        read(op_msg_sections([body_section(what)], 1))
    assert error.value.code == "large_command"


def test_data_of_any_size_is_no_part_of_the_limit() -> None:
    many = [{"n": n, "text": "x" * 100} for n in range(1000)]
    check(op_msg_sections([body_section({"insert": "c", "documents": many, "$db": "d"})], 1), [7, 100, 50_000])
    raw = op_msg_sections([sequence_section("documents", many), body_section({"insert": "c", "$db": "d"})], 1)
    check(raw, range(0, len(raw), 777))


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ([body_section({"a": 1}), body_section({"b": 1})], "repeated_body"),
        ([sequence_section("documents", [])], "no_body"),
        ([body_section({"a": 1}), *[sequence_section("documents", [])] * 2], "repeated_sequence"),
        ([body_section({"a": 1}), b"\x02"], "unknown_section"),
        ([body_section({"a": 1}), b"\x01\x05\0\0\0"], "invalid_bson"),
        ([b"\0\x05\0\0\0\x01"], "invalid_bson"),
        ([body_section({"a": 1}), b"\x01" + struct.pack("<i", 16) + b"documents\0" + b"\0\0"], "invalid_bson"),
    ],
)
def test_refusals(sections: list[bytes], code: str) -> None:
    raw = op_msg_sections(sections, 1)
    for cuts in (range(0), range(1, len(raw))):
        with pytest.raises(RemoteProtocolError) as error:
            read(raw, cuts)
        assert error.value.code == code

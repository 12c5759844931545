"""What is recorded of a command is what was sent, whatever BSON it is made of, from the wire to the log's line.

Every command that a MongoDB knows goes through the machine, the codec and the reader, with values of all types (those
that no driver writes any more too), with repeated keys inside, text that is no UTF-8, and dates and numbers at their
ends. Either the recorded bytes are those that were sent, or the record lists what was masked and everything else is.
"""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wardgate.audit import records as audit
from wardgate.audit.codec import Assembler, decode, encode
from wardgate.command.catalogue import CATALOGUE
from wardgate.command.masking import Masking, Redactor, Rule
from wardgate.control.records import reading
from wardgate.policy.decide import Policy
from wardgate.rawbson import build, walk
from wardgate.testing.playbook import Playbook, op_msg_sections

_I32, _I64 = struct.Struct("<i").pack, struct.Struct("<q").pack
_text = st.text(max_size=8).map(str.encode) | st.binary(max_size=6)  # not always UTF-8
_names = st.sampled_from([b"a", b"b", b"card", b"number", b"$set", b"", b"0", "ä".encode(), b"\xff", b"pwd", b"a.b"])


def _string(data: bytes) -> bytes:
    return _I32(len(data) + 1) + data + b"\0"


def _cstring(data: bytes) -> bytes:
    return data.replace(b"\0", b"") + b"\0"


def _binary(data: bytes, subtype: int) -> bytes:
    if subtype == 2:
        data = _I32(len(data)) + data
    return _I32(len(data)) + bytes([subtype]) + data


def _scoped(code: bytes, scope: bytes) -> bytes:
    inner = _string(code) + scope
    return _I32(len(inner) + 4) + inner


_any_int64 = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)
_any_double = st.binary(min_size=8, max_size=8) | st.sampled_from(
    [struct.pack("<d", value) for value in (0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324)]
)
_scalars: list[st.SearchStrategy[tuple[int, bytes]]] = [
    st.tuples(st.just(walk.DOUBLE), _any_double),
    st.tuples(st.sampled_from([walk.STRING, walk.SYMBOL, walk.CODE]), _text.map(_string)),
    st.tuples(st.just(walk.BINARY), st.builds(_binary, st.binary(max_size=9), st.integers(0, 255))),
    st.tuples(st.sampled_from([walk.UNDEFINED, walk.NULL, walk.MIN_KEY, walk.MAX_KEY]), st.just(b"")),
    st.tuples(st.just(walk.OBJECT_ID), st.binary(min_size=12, max_size=12)),
    st.tuples(st.just(walk.BOOLEAN), st.sampled_from([b"\0", b"\1"])),
    st.tuples(st.sampled_from([walk.DATETIME, walk.INT64, walk.TIMESTAMP]), _any_int64.map(_I64)),
    st.tuples(st.just(walk.REGEX), st.builds(lambda a, b: _cstring(a) + _cstring(b), _text, st.just(b"im"))),
    st.tuples(st.just(walk.DB_POINTER), st.builds(lambda a, b: _string(a) + b, _text, st.just(bytes(12)))),
    st.tuples(st.just(walk.INT32), st.integers(-(2**31), 2**31 - 1).map(_I32)),
    st.tuples(st.just(walk.DECIMAL128), st.binary(min_size=16, max_size=16)),
]
_scalar = st.one_of(_scalars)


def _documents(values: st.SearchStrategy[tuple[int, bytes]]) -> st.SearchStrategy[bytes]:
    elements = st.builds(lambda name, value: build.element(value[0], name, value[1]), _names, values)
    return st.lists(elements, max_size=4).map(build.document)


_values: st.SearchStrategy[tuple[int, bytes]] = st.recursive(
    _scalar,
    lambda inner: (
        st.tuples(st.sampled_from([walk.DOCUMENT, walk.ARRAY]), _documents(inner))
        | st.tuples(st.just(walk.CODE_WITH_SCOPE), st.builds(_scoped, _text, _documents(inner)))
    ),
    max_leaves=8,
)
_fields = st.sampled_from([
    "filter", "query", "q", "u", "updates", "deletes", "documents", "pipeline", "update", "let", "sort", "projection",
    "comment", "pwd", "x", "ops", "nsInfo",
])  # fmt: skip
_COMMANDS = [*sorted(CATALOGUE), b"noSuchCommand", b"createuser"]


@st.composite
def commands(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A body with a command's name first, and sections."""
    first = draw(st.sampled_from(_COMMANDS))
    kind, value = draw(st.just((walk.STRING, _string(b"things"))) | st.just((walk.INT32, _I32(1))) | _values)
    parts = [build.element(kind, first, value)]
    for name in draw(st.lists(_fields, unique=True, max_size=4)):
        if name.encode() != first:
            kind, value = draw(_values)
            parts.append(build.element(kind, name.encode(), value))
    parts.append(build.string(b"$db", "shop"))
    section = {b"insert": "documents", b"update": "updates", b"delete": "deletes"}.get(first)
    sections = []
    if section is not None and section not in str(parts) and draw(st.booleans()):
        sections.append((section, b"".join(draw(st.lists(_documents(_values), max_size=3)))))
    return build.document(parts), sections


def _message(body: bytes, sections: list[tuple[str, bytes]]) -> bytes:
    whole = [b"\0" + body]
    for name, documents in sections:
        data = name.encode() + b"\0" + documents
        whole.append(b"\1" + _I32(len(data) + 4) + data)
    return op_msg_sections(whole, 7)


def _recorded(message: bytes, rules: Masking | None = None) -> audit.CommandIntent | audit.Denied | None:
    """The command's record, written down and read again; None where the message is refused or not recorded."""
    it = Playbook(policy=Policy(allow_admin=True), redactor=Redactor(rules))
    it.ready()
    it.client(message)
    for record in it.records:
        if isinstance(record, audit.CommandIntent | audit.Denied):
            first, *rest = encode(record, 1, 5)
            assembler = Assembler(decode(first))
            for document in rest:
                chunk = decode(document).record
                assert isinstance(chunk, audit.BodyChunk)
                assembler.add(chunk)
            found = assembler.record()
            assert isinstance(found, audit.CommandIntent | audit.Denied)
            return found
    return None


def _without(data: bytes, masked: set[str], path: str = "") -> Any:
    """The document as nested lists of (name, type, value), and a mark where a listed path is."""
    found: list[tuple[Any, ...]] = []
    for kind, name, start, stop in walk.elements(data):
        here = path + name.decode("utf-8", "backslashreplace")
        if here in masked:
            found.append((name, "masked"))
        elif kind in (walk.DOCUMENT, walk.ARRAY):
            found.append((name, kind, _without(data[start:stop], masked, f"{here}.")))
        else:
            found.append((name, kind, data[start:stop]))
    return found


@given(commands())
@settings(deadline=None, max_examples=400)
def test_it_is_what_was_sent_but_for_listed_paths(sent: tuple[bytes, list[tuple[str, bytes]]]) -> None:
    body, sections = sent
    found = _recorded(_message(body, sections))
    if found is None:
        return
    if not found.masked:
        assert (found.body, found.sequences) == (body, tuple(sections))
    elif found.masked == ("*",):
        assert "withheld" in reading.shown(found)["$wardgateMasked"]
    else:
        assert _without(found.body, set(found.masked)) == _without(body, set(found.masked))


@given(commands())
@settings(deadline=None, max_examples=200)
def test_the_log_never_shows_nothing_for_something(sent: tuple[bytes, list[tuple[str, bytes]]]) -> None:
    body, sections = sent
    found = _recorded(_message(body, sections))
    if found is None:
        return
    shown = reading.shown(found)
    assert shown
    if found.masked != ("*",):
        assert list(shown)[: len(list(walk.elements(body)))] == [
            name.decode("utf-8", "replace") for _, name, _, _ in walk.elements(body)
        ]
    for kind, name, start, stop in walk.elements(found.body):
        if kind in (walk.DOCUMENT, walk.ARRAY) and list(walk.elements(found.body, start, stop)):
            assert shown[name.decode("utf-8", "replace")] not in ({}, [], None)


@given(
    commands(), st.lists(st.sampled_from(["things.card.number", "**.a", "things.b", "shop/*.card", "x.y"]), max_size=3)
)
@settings(deadline=None, max_examples=300)
def test_under_rules_it_is_sound_and_what_no_path_lists_is_what_was_sent(
    sent: tuple[bytes, list[tuple[str, bytes]]], paths: list[str]
) -> None:
    body, sections = sent
    found = _recorded(_message(body, sections), Masking([Rule("path", path) for path in paths]))
    if found is None:
        return
    walk.validate(found.body)
    reading.shown(found)
    if not found.masked:
        assert (found.body, found.sequences) == (body, tuple(sections))
    if found.masked != ("*",):
        assert [name for _, name, _, _ in walk.elements(found.body)] == [name for _, name, _, _ in walk.elements(body)]
        assert [name for name, _ in found.sequences] == [name for name, _ in sections]

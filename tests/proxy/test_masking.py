"""Masking rules at the proxy: records, errors and streamed requests under them, and rules that change."""

from __future__ import annotations

import hashlib
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardgate.audit import records as audit
from wardgate.audit.parts import open_documents
from wardgate.command.masking import Masking, Redactor, Rule
from wardgate.command.placeholders import MASK, TEXT
from wardgate.policy.decide import Policy
from wardgate.testing.playbook import (
    Playbook,
    body_section,
    command,
    op_msg_sections,
    reply,
    sequence_section,
)

SECRET = "4111-secret-1111"
HIDDEN = f"{MASK}:string"
CARD = Masking([Rule("path", "shop/orders.card.number"), Rule("pattern", r"\d{4}-secret-\d{4}")])
DOCUMENTS = [{"n": n, "card": {"number": f"{n}", "kept": "x" * 40}, "note": SECRET} for n in range(60)]
MASKED = [{"n": n, "card": {"number": HIDDEN, "kept": "x" * 40}, "note": HIDDEN} for n in range(60)]
ALL_PATHS = ("documents.card.number", "documents.note")


def play(rules: Masking | None = CARD, **more: Any) -> Playbook:
    it = Playbook(machine={"whole_bytes": 600}, redactor=Redactor(rules), **more)
    it.ready()
    return it


def insert(*, last: bool = False, documents: Any = DOCUMENTS, into: str = "orders", database: str = "shop") -> bytes:
    sections = [body_section({"insert": into, "$db": database}), sequence_section("documents", documents)]
    return op_msg_sections(sections[::-1] if last else sections, 7)


def in_pieces(data: bytes, size: int = 500) -> list[bytes]:
    return [data[a : a + size] for a in range(0, len(data), size)]


def error(request_id: int, code: int, text: str) -> bytes:
    return reply(request_id, ok=0.0, errmsg=text, code=code, codeName="Some")


def only(it: Playbook) -> audit.CommandIntent | audit.Denied:
    (found,) = it.bodies()
    return found


def written(it: Playbook) -> bytes:
    """All bytes that were recorded, parts opened."""
    found = b"".join(repr(record).encode() for record in it.records)
    return found + b"".join(body.body + b"".join(data for _, data in body.sequences) for body in it.bodies())


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("size", [1, 333, 100_000])
def test_documents_of_a_streamed_request_are_masked_one_by_one(last: bool, size: int) -> None:
    it, message = play(), insert(last=last)
    it.client(*in_pieces(message, size))
    assert it.to_server == message, "MongoDB gets what was sent"
    intent = only(it)
    assert bson.decode(intent.body) == {"insert": "orders", "$db": "shop"}
    assert [(name, bson.decode_all(data)) for name, data in intent.sequences] == [("documents", MASKED)]
    assert intent.masked == ALL_PATHS
    assert intent.bytes_in == len(message)
    assert SECRET.encode() not in written(it)


def test_its_digest_is_of_what_was_recorded() -> None:
    it = play()
    it.client(*in_pieces(insert()))
    intent = next(record for record in it.records if isinstance(record, audit.CommandIntent))
    assert intent.streamed is not None
    assert intent.streamed.masked
    parts = [record.data for record in it.records if isinstance(record, audit.UploadPart)]
    ((name, documents),) = open_documents(intent.streamed, parts)
    plain = bytes(4) + name.encode() + b"\0" + documents
    assert intent.streamed.sha256 == hashlib.sha256(plain).digest()


@pytest.mark.parametrize("size", [1, 333, 100_000])
def test_documents_in_the_body(size: int) -> None:
    message = command({"insert": "orders", "documents": DOCUMENTS, "ordered": False}, 7)
    it = play()
    it.client(*in_pieces(message, size))
    assert it.to_server == message
    intent = only(it)
    assert list(bson.decode(intent.body)) == ["insert", "documents", "ordered", "$db"]
    assert [(name, bson.decode_all(data)) for name, data in intent.sequences] == [("documents", MASKED)]
    assert SECRET.encode() not in written(it)


def test_what_no_rule_names_is_recorded_as_it_came() -> None:
    documents = [{"n": n, "card": {"number": str(n)}, "pad": "x" * 50} for n in range(30)]
    for message in (
        insert(into="others", documents=documents),
        command({"insert": "others", "documents": documents}, 7),
    ):
        it = play()
        it.client(*in_pieces(message))
        intent = only(it)
        assert intent.masked == ()
        assert intent.sequences == (("documents", b"".join(map(bson.encode, documents))),)


def test_before_it_is_known_what_it_is_about_every_rule_counts() -> None:
    documents = [{"n": n, "card": {"number": str(n)}, "pad": "x" * 50} for n in range(30)]
    it = play()
    it.client(*in_pieces(insert(into="others", documents=documents, last=True)))
    assert only(it).masked == ("documents.card.number",)


@pytest.mark.parametrize(
    "statements",
    [
        ("update", "updates", [{"q": {"card.number": SECRET}, "u": {"$set": {"pad": "x" * 900, "a": SECRET}}}]),
        ("delete", "deletes", [{"q": {"card.number": SECRET, "pad": "x" * 900}, "limit": 1}]),
        ("update", "updates", [{"q": {"pad": "x" * 900}, "u": {"$set": {"card.number": 5}},
                                "arrayFilters": [{"x.number": 5}]}]),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("in_body", [False, True])
def test_every_carrier(statements: tuple[str, str, Any], in_body: bool) -> None:
    name, section, documents = statements
    if in_body:
        message = command({name: "orders", section: documents}, 7)
    else:
        sections = [body_section({name: "orders", "$db": "shop"}), sequence_section(section, documents)]
        message = op_msg_sections(sections, 7)
    it = play()
    it.client(*in_pieces(message, 200))
    intent = only(it)
    ((_, data),) = intent.sequences
    (found,) = bson.decode_all(data)
    assert intent.masked
    assert "x" * 900 in repr(found)
    assert SECRET not in repr(found)
    assert f"{MASK}:" in repr(found)


@pytest.mark.parametrize("in_body", [False, True])
def test_a_document_too_long_to_be_gathered_withholds_the_body(in_body: bool) -> None:
    documents = [{"n": 1, "note": SECRET}, {"pad": "x" * 1_100_000, "note": SECRET}, {"n": 3, "note": SECRET}]
    message = command({"insert": "orders", "documents": documents}, 7) if in_body else insert(documents=documents)
    it = play()
    it.client(*in_pieces(message, 100_000))
    assert it.to_server == message
    intent = only(it)
    assert intent.masked == ("*",)
    assert intent.streamed is not None
    assert (intent.streamed.key, intent.streamed.sha256) == (b"", b"")
    assert "masking rule" in bson.decode(intent.body)[MASK]
    assert SECRET.encode() not in written(it)


def test_an_array_of_what_is_no_document_withholds_the_body() -> None:
    message = command({"insert": "orders", "documents": [{"a": 1}, SECRET * 100, {"b": 1}]}, 7)
    it = play()
    it.client(*in_pieces(message))
    assert it.to_server == message
    assert only(it).masked == ("*",)


def test_a_rule_that_is_made_meanwhile_withholds_the_body() -> None:
    for before, after in ((None, CARD), (CARD, Masking([Rule("path", "a.b")])), (CARD, None)):
        redactor = Redactor(before)
        it = Playbook(machine={"whole_bytes": 600}, redactor=redactor)
        it.ready()
        message = insert()
        it.client(message[:2_000])
        redactor.rules = after
        it.client(message[2_000:])
        assert it.to_server == message
        assert only(it).masked == ("*",)
        it.server(reply(7, n=60))
        it.client(insert())
        assert it.bodies()[1].masked == (ALL_PATHS if after is CARD else ())


def test_a_refused_request_is_masked_too() -> None:
    it = play(policy=Policy())
    it.client(*in_pieces(insert(into="system.js", database="config")))
    denied = only(it)
    assert isinstance(denied, audit.Denied)
    assert SECRET.encode() not in written(it)
    assert it.to_server == b""


@given(st.lists(st.integers(1, 900), max_size=12), st.booleans(), st.integers(1, 40))
@settings(deadline=None)
def test_wherever_it_is_cut_the_record_is_the_same(cuts: list[int], last: bool, count: int) -> None:
    message = insert(last=last, documents=DOCUMENTS[:count])
    it = play()
    at = 0
    for cut in cuts:
        it.client(message[at : at + cut])
        at += cut
    it.client(message[at:])
    intent = only(it)
    assert [bson.decode_all(data) for _, data in intent.sequences] == [MASKED[:count]]
    assert intent.masked == ALL_PATHS


# --- ordinary requests ----------------------------------------------------------------------------------------------


def test_an_ordinary_command_and_its_error() -> None:
    it = play()
    it.client(command({"find": "orders", "filter": {"card.number": "5"}}, 7))
    it.server(error(7, 96, "can't do that to { card.number: '5' }"))
    intent, outcome = it.records[-2:]
    assert isinstance(intent, audit.CommandIntent)
    assert isinstance(outcome, audit.CommandOutcome)
    assert bson.decode(intent.body)["filter"] == {"card.number": HIDDEN}
    assert (outcome.code, outcome.error) == (96, TEXT)
    assert b"card.number: '5'" in it.to_client, "who asked is told"


def test_the_error_of_a_command_that_names_nothing_masked() -> None:
    it = play()
    it.client(command({"update": "orders", "updates": [{"q": {"_id": 1}, "u": {"$inc": {"n": 1}}}]}, 7))
    it.server(error(7, 14, "Cannot increment … {_id: 1, card: {number: 5}}"))
    it.client(command({"find": "others"}, 8))
    it.server(error(8, 2, "kept"))
    it.client(command({"find": "others"}, 9))
    it.server(error(9, 2, f"quotes {SECRET}"))
    assert [each.error for each in it.records if isinstance(each, audit.CommandOutcome)] == [TEXT, "kept", TEXT]


def test_a_new_rule_counts_from_the_next_command_on() -> None:
    redactor = Redactor()
    it = Playbook(redactor=redactor)
    it.ready()
    it.client(command({"find": "orders", "filter": {"note": SECRET}}, 7))
    redactor.rules = CARD
    it.server(reply(7, n=0))
    it.client(command({"find": "orders", "filter": {"note": SECRET}}, 8))
    assert [bson.decode(each.body)["filter"]["note"] for each in it.bodies()] == [SECRET, HIDDEN]

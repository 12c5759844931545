"""Masking rules: what they name is in no record, and nothing else is missing from one."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from wardgate.command.masking import Masking, Redactor, Rule, RuleError, digest_of
from wardgate.command.masking.patterns import unanchored
from wardgate.command.masking.walker import ELEMENTS_MAX
from wardgate.command.placeholders import MASK, TEXT
from wardgate.command.sensitive import Recorded, record_body
from wardgate.wire.errors import RemoteProtocolError

from .build import command, raw_command

SECRET = "4111-secret-1111"
HIDDEN = f"{MASK}:string"
PAN = r"\b\d{4}-\w+-\d{4}\b"
S: Any = SECRET


def paths(*texts: str) -> Masking:
    return Masking([Rule("path", text) for text in texts])


def patterns(*texts: str) -> Masking:
    return Masking([Rule("pattern", text) for text in texts])


CARD = paths("customers.card.number")


def of(masking: Masking, document: dict[str, Any], sequences: Any = None, database: str = "shop") -> Recorded:
    return masking.record(command(document, database, sequences))


def shown(masking: Masking, document: dict[str, Any], sequences: Any = None, database: str = "shop") -> dict[str, Any]:
    found = bson.decode(of(masking, document, sequences, database).body)
    del found["$db"]
    return found


def says(recorded: Recorded, text: str = SECRET) -> bool:
    return text.encode() in recorded.body or any(text.encode() in documents for _, documents in recorded.sequences)


# --- where a masked field's value can stand -------------------------------------------------------------------------

FILTERS: list[dict[str, Any]] = [
    {"card.number": S},
    {"card": {"number": S}},
    {"card": {"$eq": {"number": S}}},
    {"card": {"$in": [{"number": S}]}},
    {"card.number": {"$in": [S, "x"]}},
    {"card.number": {"$not": {"$eq": S}}},
    {"card.number": {"$regex": S, "$options": "i"}},
    {"card.number": Regex(S)},
    {"card.0.number": S},
    {"card": {"$elemMatch": {"number": S}}},
    {"card.number.digits": S},
    {"$or": [{"a": 1}, {"$and": [{"card.number": {"$gte": S}}]}]},
    {"$nor": [{"card.number": S}]},
    {"$expr": {"$eq": ["$card.number", S]}},
    {"$expr": {"$in": [{"$getField": {"field": "number", "input": "$card"}}, [S]]}},
    {"$expr": {"$eq": [{"$arrayElemAt": ["$card.number", 0]}, {"$literal": S}]}},
    {"$expr": {"$let": {"vars": {"v": "$card"}, "in": {"$eq": ["$$v.number", S]}}}},
    {"$expr": {"$eq": ["$$ROOT.card.number", S]}},
    {"$expr": {"$eq": ["$$CURRENT.card.number", S]}},
    {"$expr": {"$eq": [{"$first": {"$objectToArray": "$$ROOT"}}, S]}},
    {"$expr": {"$function": {"body": f"function(c) {{ return c == '{S}' }}", "args": ["$x"], "lang": "js"}}},
    {"$where": f"this.card.number == '{S}'"},
    {"$where": Code(f"this.card.number == '{S}'", {"s": S})},
    {"$jsonSchema": {"properties": {"card": {"properties": {"number": {"enum": [S]}}}}}},
    {"$text": {"$search": S}},
]


@pytest.mark.parametrize("found", FILTERS, ids=str)
def test_no_filter_shows_it(found: dict[str, Any]) -> None:
    for document in (
        {"find": "customers", "filter": found},
        {"count": "customers", "query": found},
        {"distinct": "customers", "key": "name", "query": found},
        {"delete": "customers", "deletes": [{"q": found, "limit": 0}]},
        {"update": "customers", "updates": [{"q": found, "u": {"$set": {"a": 1}}}]},
        {"findAndModify": "customers", "query": found, "remove": True},
        {"aggregate": "customers", "pipeline": [{"$match": found}], "cursor": {}},
        {"aggregate": "orders", "pipeline": [{"$lookup": {"from": "customers", "as": "c", "pipeline": [
            {"$match": found}]}}], "cursor": {}},
        {"aggregate": "orders", "pipeline": [{"$unionWith": {"coll": "customers", "pipeline": [{"$match": found}]}}]},
        {"aggregate": "orders", "pipeline": [{"$facet": {"f": [{"$lookup": {"from": "customers", "as": "c",
            "pipeline": [{"$match": found}]}}]}}], "cursor": {}},
        {"explain": {"find": "customers", "filter": found}},
        {"mapReduce": "customers", "query": found, "map": "m", "reduce": "r", "out": {"inline": 1}},
        {"create": "customers", "validator": found},
        {"collMod": "customers", "validator": found},
        {"createIndexes": "customers", "indexes": [{"key": {"a": 1}, "name": "a", "partialFilterExpression": found}]},
        {"bulkWrite": 1, "ops": [{"delete": 0, "filter": found}], "nsInfo": [{"ns": "shop.customers"}]},
        {"planCacheClear": "customers", "query": found},
        {"someCommand": "customers", "filter": found},
    ):  # fmt: skip
        recorded = of(CARD, document)
        assert not says(recorded), document
        assert recorded.masked, document
        bson.decode(recorded.body)


UPDATES: list[Any] = [
    {"card": {"number": S}},
    {"$set": {"card.number": S, "name": "Ann"}},
    {"$set": {"card": {"number": S}}},
    {"$setOnInsert": {"card.0.number": S}},
    {"$push": {"card": {"$each": [{"number": S}]}}},
    {"$addToSet": {"card": {"number": S}}},
    {"$pull": {"card": {"number": {"$in": [S]}}}},
    {"$pullAll": {"card.number": [S]}},
    {"$set": {"card.$.number": S, "card.$[].number": S, "card.$[x].number": S}},
    {"$max": {"card.number": S}},
    [{"$set": {"card.number": S}}],
    [{"$set": {"card": {"number": {"$concat": [S, "x"]}}}}],
    [{"$set": {"other": "$card.number"}}, {"$set": {"flag": {"$eq": ["$other", S]}}}],
    [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"card": {"number": S}}]}}],
]


@pytest.mark.parametrize("update", UPDATES, ids=str)
def test_no_update_shows_it(update: Any) -> None:
    statement = {"q": {"_id": 1}, "u": update}
    for document, sequences in (
        ({"update": "customers", "updates": [statement]}, None),
        ({"update": "customers"}, {"updates": [statement]}),
        ({"findAndModify": "customers", "query": {"_id": 1}, "update": update}, None),
        ({"bulkWrite": 1, "ops": [{"update": 0, "filter": {"_id": 1}, "updateMods": update}],
          "nsInfo": [{"ns": "shop.customers"}]}, None),
        ({"bulkWrite": 1}, {"ops": [{"update": 0, "filter": {"_id": 1}, "updateMods": update}],
                            "nsInfo": [{"ns": "shop.customers"}]}),
    ):  # fmt: skip
        recorded = of(CARD, document, sequences)
        assert not says(recorded), document
        assert recorded.masked


@pytest.mark.parametrize(
    "document",
    [
        {"insert": "customers", "documents": [{"card": {"number": S}}, {"card": [{"number": [S]}]}]},
        {"insert": "customers", "documents": [{"card.number": S}]},
        {"find": "customers", "min": {"card.number": S}, "max": {"card.number": S}, "hint": {"card.number": 1}},
        {"find": "customers", "let": {"v": S}, "filter": {"$expr": {"$eq": ["$card.number", "$$v"]}}},
        {"find": "customers", "projection": {"card": {"$elemMatch": {"number": S}}}},
        {"find": "customers", "projection": {"same": {"$eq": ["$card.number", S]}}},
        {"find": "customers", "fliter": {"card.number": S}},
        {"update": "customers", "updates": [{"q": {}, "u": {"$set": {"card.$[x].y": 1}},
                                             "arrayFilters": [{"x.number": S}]}]},
        {"update": "customers", "updates": [{"q": {}, "u": {"$unset": {"card.$[x]": 1}}, "arrayFilters": [{"x": S}]}]},
        {"update": "customers", "updates": [{"q": {}, "u": {"$set": {"card.$[x].y": 1}},
                                             "arrayFilters": [{"$or": [{"x.number": S}]}]}]},
        {"update": "customers", "updates": [{"q": {}, "u": [{"$set": {"a": 1}}], "c": {"v": S}}]},
        {"aggregate": "customers", "pipeline": [{"$group": {"_id": "$card.number"}}, {"$match": {"_id": S}}]},
        {"aggregate": "customers", "pipeline": [{"$project": {"x": "$card"}}, {"$match": {"x.number": S}}]},
        {"aggregate": "customers", "pipeline": [{"$replaceRoot": {"newRoot": "$card"}}, {"$match": {"number": S}}]},
        {"aggregate": "customers", "pipeline": [{"$addFields": {"all": "$$ROOT"}},
                                                {"$match": {"all.card.number": S}}]},
        {"aggregate": "customers", "pipeline": [{"$facet": {"a": [{"$limit": 1}]}}, {"$match": {"a.card.number": S}}]},
        {"aggregate": "customers", "pipeline": [{"$changeStream": {}}, {"$match": {"fullDocument.card.number": S}}]},
        {"aggregate": 1, "pipeline": [{"$changeStream": {}}, {"$match": {"fullDocument.card.number": S}}]},
        {"aggregate": "customers", "pipeline": [{"$geoNear": {"near": [1, 2], "query": {"card.number": S}}}]},
        {"aggregate": "customers", "pipeline": [{"$search": {"text": {"path": "card.number", "query": S}}}]},
        {"aggregate": "customers", "pipeline": [{"$newStage": {"anything": S}}]},
        {"aggregate": "orders", "pipeline": [{"$lookup": {"from": "customers", "as": "c"}},
                                             {"$match": {"c.card.number": S}}]},
        {"aggregate": "orders", "pipeline": [{"$lookup": {"from": {"db": "shop", "coll": "customers"}, "as": "c"}},
                                             {"$match": {"c.card.number": S}}]},
        {"aggregate": "orders", "pipeline": [{"$unionWith": "customers"}, {"$match": {"card.number": S}}]},
        {"aggregate": "orders", "pipeline": [{"$graphLookup": {"from": "customers", "startWith": S, "as": "c",
            "connectFromField": "a", "connectToField": "b", "restrictSearchWithMatch": {"card.number": S}}}]},
        {"aggregate": "customers", "pipeline": [{"$lookup": {"from": "orders", "as": "o",
            "let": {"n": "$card.number"}, "pipeline": [{"$match": {"$expr": {"$eq": ["$$n", S]}}}]}}]},
        {"aggregate": "customers", "pipeline": [{"$lookup": {"from": "orders", "localField": "card.number",
            "foreignField": "paid", "as": "o"}}, {"$match": {"o.paid": S}}]},
        {"aggregate": "orders", "pipeline": [{"$merge": {"into": "customers", "let": {"n": S},
            "whenMatched": [{"$set": {"card.number": S}}]}}]},
        {"aggregate": "customers", "pipeline": [{"$bucket": {"groupBy": "$card.number", "boundaries": [S, "z"]}}]},
        {"aggregate": "customers", "pipeline": [{"$fill": {"output": {"card.number": {"value": S}}}}]},
        {"aggregate": "customers", "pipeline": [{"$redact": {"$cond": [{"$eq": ["$card.number", S]}, 1, 2]}}]},
        {"aggregate": 1, "pipeline": [{"$documents": [{"card": {"number": S}}]}]},
        {"aggregate": 1, "pipeline": [{"$currentOp": {}}, {"$match": {"command.filter.card.number": S}}]},
        {"find": "system.buckets.customers", "filter": {"data.card.number": S}},
        {"find": "system.profile", "filter": {"command.filter.card.number": S}},
        {"currentOp": 1, "command.filter.card.number": S},
        {"profile": 1, "filter": {"command.filter.card.number": S}},
        {"find": Binary(b"0123456789abcdef", 4), "filter": {"card.number": S}},
    ],
    ids=str,
)  # fmt: skip
def test_no_other_part_shows_it(document: dict[str, Any]) -> None:
    recorded = of(CARD, document)
    assert not says(recorded)
    assert recorded.masked


def test_the_oplog_is_everybodys() -> None:
    assert not says(of(CARD, {"find": "oplog.rs", "filter": {"o.card.number": S}}, database="local"))


# --- what stays -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        {"find": "orders", "filter": {"card.number": S, "$where": "1"}},
        {"find": "customers", "filter": {"name": S, "card.holder": S, "number": S}, "sort": {"card.number": -1}},
        {"find": "customers", "projection": {"card.number": 1, "name": True, "a": 0}, "limit": 5, "comment": S},
        {"insert": "customers", "documents": [{"card": {"holder": S}, "cards": {"number": S}, "n": [S, {"x": S}]}]},
        {"update": "customers", "updates": [{"q": {"_id": S}, "u": {"$set": {"name": S}}, "upsert": True,
                                             "arrayFilters": [{"x.holder": S}]}]},
        {"aggregate": "customers", "pipeline": [
            {"$match": {"city": S}}, {"$group": {"_id": "$city", "n": {"$sum": 1}}}, {"$match": {"n": {"$gt": 5}}},
            {"$sort": {"n": -1}}, {"$limit": 3}, {"$project": {"n": 1, "label": {"$concat": ["$city", S]}}},
            {"$lookup": {"from": "cities", "localField": "_id", "foreignField": "name", "as": "c",
                         "pipeline": [{"$match": {"x": S}}]}}, {"$match": {"c.x": S}}]},
        {"createIndexes": "customers", "indexes": [{"key": {"card.number": 1}, "name": "card", "unique": True}]},
        {"getMore": Int64(5), "collection": "customers"},
        {"dropIndexes": "customers", "index": "card"},
        {"serverStatus": 1, "repl": 0},
        {"killOp": 1, "op": 5},
        {"ping": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_no_rule_is_about_is_as_it_was(document: dict[str, Any]) -> None:
    found = command(document)
    assert CARD.record(found) == record_body(found)
    assert CARD.record(found).masked == ()


def test_a_command_shows_everything_else() -> None:
    assert shown(CARD, {
        "update": "customers", "ordered": False, "updates": [
            {"q": {"card.number": {"$in": [S]}, "_id": 7}, "u": {"$set": {"card.number": S, "n": 1}}, "multi": True},
        ],
    }) == {
        "update": "customers", "ordered": False, "updates": [
            {"q": {"card.number": {"$in": f"{MASK}:array"}, "_id": 7}, "u": {"$set": {"card.number": HIDDEN, "n": 1}},
             "multi": True},
        ],
    }  # fmt: skip


def test_the_record_lists_masked_paths_without_indices_each_once() -> None:
    documents = [{"card": [{"number": S}, {"number": 1}]}] * 3
    assert of(CARD, {"insert": "customers", "documents": documents}).masked == ("documents.card.number",)
    assert of(CARD, {"insert": "customers"}, {"documents": documents}).masked == ("documents.card.number",)
    many = {f"f{n}": 1 for n in range(500)}
    listed = of(paths("customers.*"), {"insert": "customers", "documents": [many]}).masked
    assert len(listed) == 65
    assert listed[-1] == "…"


VALUES: list[tuple[Any, str]] = [
    (S, "string"), (1, "int"), (Int64(1), "long"), (1.5, "double"), (True, "bool"), (None, "null"),
    ({"a": 1}, "object"), ([1], "array"), (b"x", "binData"),
    (ObjectId(), "objectId"), (Decimal128("1"), "decimal"), (Regex("x"), "regex"),
    (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "date"), (Timestamp(1, 1), "timestamp"), (MinKey(), "value"),
    (Code("x"), "javascript"), (Code("x", {"a": 1}), "javascriptWithScope"), (MaxKey(), "value"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "name"), VALUES, ids=[name for _, name in VALUES])
def test_placeholders_are_typed(value: Any, name: str) -> None:
    (document,) = shown(CARD, {"insert": "customers", "documents": [{"card": {"number": value}}]})["documents"]
    assert document == {"card": {"number": f"{MASK}:{name}"}}


def test_a_command_that_is_not_understood_is_withheld_and_says_so() -> None:
    recorded = of(CARD, {"planCacheClear": "customers", "query": {"a": S}})
    assert recorded.masked == ("*",)
    found = bson.decode(recorded.body)
    assert list(found) == ["planCacheClear", "$db", MASK]
    assert "masking rule" in found[MASK]
    assert not says(of(paths("other/customers.card.number"), {"renamed": "customers", "x": 1}))


def test_too_much_to_look_at_is_withheld() -> None:
    wide = {"card": [{"x": n} for n in range(ELEMENTS_MAX // 2 + 10)]}
    recorded = of(CARD, {"find": "customers", "filter": wide})
    assert recorded.masked == ("*",)
    assert len(recorded.body) < 500


@pytest.mark.parametrize("operator", ["card", "$and", "$not", "x", "$facet"])
def test_the_deepest_command_that_passes(operator: str) -> None:
    value: Any = {"card.number": S, "y": 1}
    for _ in range(85):
        value = {operator: [value]}
    document = {"aggregate": "customers", "pipeline": [value, {"$match": value}, {"$lookup": {"from": "customers",
                "pipeline": [value]}}]} if operator == "$facet" else {"find": "customers", "filter": value}  # fmt: skip
    for masking in (
        CARD,
        paths("**.card.number"),
        patterns(PAN),
        Masking([Rule("pattern", PAN), Rule("path", "**.y")]),
    ):
        recorded = of(masking, document)
        assert not says(recorded) or (masking is CARD and operator in ("x", "card"))
        bson.decode(recorded.body)


def test_documents_that_can_not_be_read_are_withheld() -> None:
    broken = bson.encode({"card": {"number": S}})
    broken = broken[:10] + b"\xff\xff\xff\x7f" + broken[14:]
    good = command({"insert": "customers"}, sequences={"documents": [{"a": bson.decode(bson.encode({"x": 1}))}]})
    start, end = good.request.sequences[0].start, good.request.sequences[0].end
    raw = bytearray(good.request.raw)
    raw[start + 4 : end - 1] = b"\x05" * (end - start - 5)
    spoilt = dataclasses.replace(good, request=dataclasses.replace(good.request, raw=bytes(raw)))
    assert CARD.record(spoilt).masked == ("*",)
    assert CARD.record(spoilt).sequences == ()


# --- paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "collection", "field", "masks"),
    [
        ("c.a", "c", "a", True),
        ("c.a", "c", "a.b", True),
        ("c.a.b", "c", "a", False),
        ("c.a", "d", "a", False),
        ("c.a", "c", "A", False),
        ("c.*.b", "c", "x.b", True),
        ("c.*.b", "c", "b", False),
        ("c.**.b", "c", "b", True),
        ("c.**.b", "c", "x.y.b", True),
        ("c.**", "c", "anything", True),
        ("*.b", "any", "b", True),
        ("*.b", "any.thing", "b", True),
        ("*.b", "any", "x.b", False),
        ("**.b", "any", "x.b", True),
        ("fs.files.owner", "fs.files", "owner", True),
        ("fs.files.owner", "fs", "files.owner", True),
        ("fs.files.owner", "files", "owner", False),
        ("shop/c.a", "c", "a", True),
        ("*/c.a", "c", "a", True),
        ("bank/c.a", "c", "a", False),
        ("c.a.0", "c", "a.0", True),
        ("c.a.0", "c", "a.1", False),
        ("c.ä.名", "c", "ä.名", True),
        ("c.a.*.b.*.d", "c", "a.a.b.b.d", True),
    ],
)
def test_paths(rule: str, collection: str, field: str, masks: bool) -> None:
    found = shown(paths(rule), {"find": collection, "filter": {field: S}})
    assert (found["filter"][field] == HIDDEN) is masks
    nested: Any = S
    for name in reversed(field.split(".")):
        nested = {name: nested}
    assert says(of(paths(rule), {"insert": collection, "documents": [nested]})) is not masks


@pytest.mark.parametrize(
    "text",
    ["", "c", "c.", ".c", "c..a", "c.$set", "c.a*", "c.***", "**", "*.*", "/c.a", "a.b/c.d", "a*/c.d", "c.a\n",
     "c." + "x" * 600, "c" + ".x" * 32],
)  # fmt: skip
def test_paths_that_are_refused(text: str) -> None:
    with pytest.raises(RuleError):
        paths(text)


def test_many_wildcards_and_names_cost_no_memory() -> None:
    masking = paths(*(f"**.a{'.*' * n}.b" for n in range(1, 20)))
    names = {"a": {f"n{n}": {"a": {"x": {"a": n}}} for n in range(3_000)}}
    of(masking, {"insert": "c", "documents": [names]})
    for n in range(3_000):
        of(masking, {"find": f"c{n}", "filter": {"a": 1}})
    assert len(masking._automaton._nodes) <= 1_024
    assert len(masking._automaton._roots) <= 1_024


# --- an independent reading of documents -----------------------------------------------------------------------------

NAMES = st.sampled_from(["card", "number", "a", "0", "card.number"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**31), 2**31 - 1), st.floats(), st.text(max_size=5), st.binary(max_size=3)
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=3), max_leaves=12
)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bool, Any]]:
    """(names on the way, whether card.number is on it, value) of each value that masking leaves or replaces."""
    plain = [name for name in path if not name.isdigit()]
    if plain[:2] == ["card", "number"] or (value == HIDDEN):
        yield path, True, None
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, *name.split(".")))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, str(index)))
    else:
        yield path, False, repr(value)


@given(st.dictionaries(NAMES, DOCUMENTS, max_size=4))
def test_documents_lose_what_a_rule_names_and_nothing_else(document: dict[str, Any]) -> None:
    (masked,) = shown(CARD, {"insert": "customers", "documents": [document]})["documents"]
    (as_section,) = bson.decode_all(of(CARD, {"insert": "customers"}, {"documents": [document]}).sequences[0][1])
    assert repr(masked) == repr(as_section)
    before, after = list(leaves(document)), list(leaves(masked))
    assert [each for each in before if not each[1]] == [each for each in after if not each[1]]
    assert [path for path, hidden, _ in before if hidden] == [path for path, hidden, _ in after if hidden]


@given(DOCUMENTS, st.sampled_from(["filter", "u", "pipeline", "documents"]))
def test_any_shape_is_recorded_as_sound_bson(value: Any, place: str) -> None:
    document: dict[str, Any] = {
        "filter": {"find": "customers", "filter": value},
        "u": {"update": "customers", "updates": [{"q": {}, "u": value, "arrayFilters": value}]},
        "pipeline": {"aggregate": "customers", "pipeline": [{"$match": value}, value, {"$lookup": value}]},
        "documents": {"insert": "customers", "documents": value},
    }[place]
    try:
        found = command(document)
    except RemoteProtocolError:
        return  # such a command is refused, and never recorded
    for masking in (CARD, paths("**.number"), patterns("a|b|0")):
        recorded = masking.record(found)
        bson.decode(recorded.body)
        assert next(iter(bson.decode(recorded.body))) == next(iter(document))


# --- patterns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [f"a {S} b", Code(f"x = '{S}'"), Code("x", {"s": S}), Regex(S), {"deep": [[{"er": S}]]}, [S], {f"k {S}": 1},
     {f"k {S}": {"a": 1}, f"l {S}": 2}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("text", [PAN, f"{PAN[:-2]}$|{PAN}"])
def test_a_pattern_is_found_wherever_it_stands(value: Any, text: str) -> None:
    masking = patterns(text)
    for document, sequences in (
        ({"find": "any", "filter": {"x": value, "y": "kept"}}, None),
        ({"insert": "any", "documents": [{"x": value, "y": "kept"}]}, None),
        ({"insert": "any"}, {"documents": [{"x": value, "y": "kept"}]}),
        ({"noSuchCommand": {"x": value, "y": "kept"}}, None),
        ({"ping": 1, "comment": value, "y": "kept"}, None),
    ):
        recorded = of(masking, document, sequences)
        assert not says(recorded)
        assert recorded.masked
        assert says(recorded, "kept")
        bson.decode(recorded.body)


def test_anchors_hold_at_the_ends_of_a_text() -> None:
    masking = patterns("^begin", "end$", r"\Awhole\z")
    kept = {"a": "not begin", "b": "end not", "c": "a whole"}
    assert shown(masking, {"find": "c", "filter": kept})["filter"] == kept
    found = shown(masking, {"find": "c", "filter": {"a": "beginning", "b": "the end", "c": "whole"}})["filter"]
    assert set(found.values()) == {HIDDEN}


@pytest.mark.parametrize(
    "text", ["", "(", "(?=a)", r"(a)\1", "a*", "a{2000}", r"\Qa", "x\n", "|a", "^", "a" * 513, "(?P<n>"]
)
def test_patterns_that_are_refused(text: str) -> None:
    with pytest.raises(RuleError):
        patterns("good", text)


def test_a_pattern_takes_no_longer_for_a_text_made_for_it() -> None:
    masking = patterns("(a+)+%$", "(a|a)*%", "([a-zA-Z]+)*0")
    recorded = of(masking, {"find": "c", "filter": {"x": "a" * 200_000 + "!"}})
    assert recorded.masked == ()


@pytest.mark.parametrize(
    ("text", "relaxed"),
    [
        ("^a$", "(?:)a(?:)"), (r"\Aa\z", "(?:)a(?:)"), (r"\^a\$", r"\^a\$"), ("[^a]$", "[^a](?:)"), ("[$^]", "[$^]"),
        ("[]^]^", "[]^](?:)"), ("[^]^]^", "[^]^](?:)"), (r"\Q^a$\Eb$", r"\Q^a$\Eb(?:)"),
        ("[[:alpha:]^]^", "[[:alpha:]^](?:)"),
        (r"[\]^]^", r"[\]^](?:)"), (r"\\^", r"\\(?:)"),
    ],
)  # fmt: skip
def test_anchors_are_left_out_of_the_search_of_a_whole_message(text: str, relaxed: str) -> None:
    assert unanchored(text) == relaxed


@given(
    st.lists(st.sampled_from(["a", "b", "^", "$", r"\A", r"\z", r"\b", r"\B", ".", "[^b]", "[b^]", "|", "c+", r"\x41"]),
             min_size=1, max_size=6),
    st.lists(st.text("abcA\n", max_size=6), min_size=1, max_size=4),
)  # fmt: skip
def test_the_search_of_a_whole_message_overlooks_nothing(parts: list[str], texts: list[str]) -> None:
    try:
        masking = patterns("".join(parts))
    except RuleError:
        return
    found = masking._patterns
    assert found is not None
    document = {f"{index}{text.replace(chr(0), '')}": text for index, text in enumerate(texts)}
    data = bson.encode(document)
    if any(found.found_in(text.encode()) for text in [*document, *document.values()]):
        assert found.may_be_in(data)


# --- rules together -------------------------------------------------------------------------------------------------


def test_masking_adds_to_what_is_always_masked() -> None:
    masking = Masking([Rule("path", "customers.card.number"), Rule("pattern", "Liddell")])
    found = shown(masking, {"createUser": "Alice Liddell", "pwd": S, "customData": {"name": "Liddell"}, "roles": []})
    assert found == {"createUser": HIDDEN, "pwd": HIDDEN, "customData": {"name": HIDDEN}, "roles": []}
    withheld = masking.record(command({"applyOps": [{"o": {"card": S}}]}))
    assert withheld == record_body(command({"applyOps": [{"o": {"card": S}}]}))


def test_errors_of_masked_collections_and_errors_with_a_pattern_are_not_shown() -> None:
    masking = Masking([Rule("path", "customers.card.number"), Rule("pattern", "secret")])
    text = 'E11000 duplicate key error … dup key: { card.number: "4111" }'
    assert masking.error(text, command({"update": "customers", "updates": []})) == TEXT
    assert masking.error(text, command({"update": "orders", "updates": []})) == text
    assert masking.error("a secret", command({"update": "orders", "updates": []})) == TEXT
    assert masking.error(text, command({"ping": 1})) == text


def test_without_rules_nothing_is_looked_at() -> None:
    redactor = Redactor()
    found = command({"find": "customers", "filter": {"card.number": S}})
    assert redactor.record(found) == record_body(found)
    redactor.rules = CARD
    assert redactor.record(found).masked == ("filter.card.number",)
    assert redactor.error("x", found) == TEXT


def test_a_set_of_rules_has_one_digest() -> None:
    one, two = Rule("path", "c.a"), Rule("pattern", "c.a")
    assert digest_of([]) == ""
    assert digest_of([one, two]) == digest_of([two, one, two]) == Masking([one, two]).digest
    assert digest_of([one]) != digest_of([two])
    assert re.fullmatch("[0-9a-f]{64}", digest_of([one]))
    with pytest.raises(RuleError, match="at most 100"):
        Masking([Rule("path", f"c.f{n}") for n in range(101)])


def test_arrays_with_strange_keys_are_arrays() -> None:
    """The keys of an array mean nothing to MongoDB."""
    inner = bson.encode({"number": S})
    array = b"\x03strange\0" + inner
    document = b"\x04card\0" + (len(array) + 5).to_bytes(4, "little") + array + b"\0"
    documents = b"\x030\0" + (len(document) + 5).to_bytes(4, "little") + document + b"\0"
    found = raw_command(
        b"\x02insert\0\x0a\0\0\0customers\0",
        b"\x04documents\0" + (len(documents) + 5).to_bytes(4, "little") + documents + b"\0",
        b"\x02$db\0\x05\0\0\0shop\0",
    )
    recorded = CARD.record(found)
    assert not says(recorded)
    assert recorded.masked == ("documents.card.number",)

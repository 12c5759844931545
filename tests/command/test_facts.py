from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Binary, Code, Int64
from bson.son import SON
from hypothesis import given
from hypothesis import strategies as st

from wardgate.command.catalogue import CATALOGUE, Area, Effect, look_up
from wardgate.command.facts import parse
from wardgate.wire.errors import MongoCode, RemoteProtocolError
from wardgate.wire.message import EXHAUST_ALLOWED, MORE_TO_COME, build_msg, parse_request

from .build import command, query, raw_command

UUID = bytes(range(16))
LSID = {"id": Binary(UUID, 4)}

READ, WRITE, CODE, ADMIN = Effect.READ, Effect.WRITE, Effect.CODE, Effect.ADMIN


def code_of(*elements: bytes) -> MongoCode | None:
    with pytest.raises(RemoteProtocolError) as caught:
        raw_command(*elements)
    return caught.value.mongo_code


def string(name: str, value: str) -> bytes:
    return bson.encode({name: value})[4:-1]


# --- effects, judged by content


@pytest.mark.parametrize(
    ("document", "effect"),
    [
        ({"find": "orders", "filter": {}}, READ),
        ({"find": "orders", "filter": {"$where": "sleep(1)"}}, CODE),
        ({"find": "orders", "filter": {"$or": [{"a": 1}, {"$and": [{"$where": Code("1")}]}]}}, CODE),
        ({"find": "orders", "filter": {"$expr": {"$function": {"body": "f", "args": [], "lang": "js"}}}}, CODE),
        ({"find": "orders", "filter": {"note": "$where"}}, READ),
        ({"find": "orders", "filter": {"note": {"$eq": "say $function"}}}, READ),
        ({"count": "orders", "query": {"$where": "1"}}, CODE),
        ({"distinct": "orders", "key": "x"}, READ),
        ({"insert": "orders", "documents": [{"$where": "just data"}]}, WRITE),
        ({"insert": "system.js", "documents": [{"_id": "f", "value": Code("1")}]}, CODE),
        ({"update": "orders", "updates": [{"q": {}, "u": {}}]}, WRITE),
        ({"update": "orders", "updates": [{"q": {"$where": "1"}, "u": {}}]}, CODE),
        ({"delete": "orders", "deletes": [{"q": {}, "limit": 0}]}, WRITE),
        ({"findAndModify": "orders", "query": {}, "remove": True}, WRITE),
        ({"aggregate": "orders", "pipeline": [{"$match": {}}], "cursor": {}}, READ),
        ({"aggregate": "orders", "pipeline": [{"$out": "copy"}], "cursor": {}}, WRITE),
        ({"aggregate": "orders", "pipeline": [{"$merge": {"into": "copy"}}], "cursor": {}}, WRITE),
        ({"aggregate": "orders", "pipeline": [{"$group": {"x": {"$accumulator": {}}}}], "cursor": {}}, CODE),
        ({"aggregate": "orders", "pipeline": [{"$out": "copy"}, {"$match": {"$where": "1"}}]}, CODE),
        ({"mapReduce": "orders", "map": Code("m"), "reduce": Code("r"), "out": {"inline": 1}}, CODE),
        ({"drop": "orders"}, WRITE),
        ({"dropDatabase": 1}, WRITE),
        ({"createIndexes": "orders", "indexes": []}, WRITE),
        ({"serverStatus": 1}, READ),
        ({"createUser": "eve", "pwd": "x", "roles": []}, ADMIN),
        ({"shutdown": 1}, ADMIN),
        ({"saslStart": 1}, Effect.AUTH),
        ({"explain": {"find": "orders"}}, READ),
        ({"explain": {"delete": "orders", "deletes": []}}, READ),
        ({"explain": {"find": "orders", "filter": {"$where": "1"}}, "verbosity": "executionStats"}, CODE),
        ({"explain": {"shutdown": 1}}, ADMIN),
        ({"eval": "1"}, CODE),
        ({"noSuchThing": 1}, ADMIN),
        ({"_internal": 1}, ADMIN),
    ],
)
def test_effects(document: dict[str, Any], effect: Effect) -> None:
    assert command(document).effect is effect


def test_code_in_a_sequence() -> None:
    update = {"update": "orders"}
    assert command(update, sequences={"updates": [{"q": {}, "u": {}}]}).effect is WRITE
    assert command(update, sequences={"updates": [{"q": {}, "u": {}}, {"q": {"$where": "1"}, "u": {}}]}).effect is CODE
    assert command({"insert": "orders"}, sequences={"documents": [{"$where": 1}]}).effect is WRITE


def test_a_search_that_takes_too_long_counts_as_found() -> None:
    assert command({"find": "c", "filter": {"a": list(range(30_000)), "b": "$where"}}).effect is CODE
    assert command({"find": "c", "filter": {"a": list(range(1_000)), "b": "$where"}}).effect is READ


# --- namespaces


@pytest.mark.parametrize(
    ("document", "namespaces", "written"),
    [
        ({"find": "orders"}, ["shop.orders"], []),
        ({"find": "with.dots"}, ["shop.with.dots"], []),
        ({"insert": "orders"}, ["shop.orders"], ["shop.orders"]),
        ({"ping": 1}, ["shop"], []),
        ({"aggregate": 1, "pipeline": [{"$currentOp": {}}]}, ["shop"], []),
        ({"getMore": Int64(5), "collection": "orders"}, ["shop.orders"], []),
        ({"renameCollection": "a.b", "to": "c.d"}, ["a.b", "c.d"], ["a.b", "c.d"]),
        ({"cloneCollectionAsCapped": "a", "toCollection": "b"}, ["shop.a", "shop.b"], ["shop.a", "shop.b"]),
        ({"create": "v", "viewOn": "t", "pipeline": [{"$unionWith": "u"}]}, ["shop.v", "shop.t", "shop.u"], ["shop.v"]),
        ({"mapReduce": "a", "out": "b"}, ["shop.a", "shop.b"], ["shop.b"]),
        ({"mapReduce": "a", "out": {"merge": "b", "db": "x"}}, ["shop.a", "x.b"], ["x.b"]),
        ({"explain": {"find": "orders"}}, ["shop.orders"], []),
        ({"dropDatabase": 1}, ["shop"], ["shop"]),
        (
            {"bulkWrite": 1, "ops": [], "nsInfo": [{"ns": "a.b"}, {"ns": "c.d"}]},
            ["shop", "a.b", "c.d"],
            ["a.b", "c.d"],
        ),
    ],
)
def test_namespaces(document: dict[str, Any], namespaces: list[str], written: list[str]) -> None:
    found = command(document)
    assert list(found.namespaces) == namespaces
    assert list(found.written) == written


def test_namespaces_of_pipelines() -> None:
    found = command(
        {
            "aggregate": "orders",
            "pipeline": [
                {
                    "$lookup": {
                        "from": "items",
                        "pipeline": [{"$unionWith": {"coll": "old", "pipeline": [{"$match": {}}]}}],
                    }
                },
                {"$graphLookup": {"from": "tree"}},
                {"$lookup": {"from": {"db": "config", "coll": "cache"}}},
                {"$facet": {"a": [{"$lookup": {"from": "deep"}}], "b": [{"$count": "n"}]}},
                {"$merge": {"into": {"db": "stats", "coll": "daily"}}},
            ],
        }
    )
    assert set(found.namespaces) == {
        "shop.orders", "shop.items", "shop.old", "shop.tree", "config.cache", "shop.deep", "stats.daily",
    }  # fmt: skip
    assert found.written == ("stats.daily",)
    assert {"$lookup", "$unionWith", "$match", "$facet", "$count", "$merge"} <= set(found.stages)


@pytest.mark.parametrize(
    "out", ["copy", {"db": "shop", "coll": "copy"}, {"db": "shop", "coll": "copy", "timeseries": {}}]
)
def test_out(out: object) -> None:
    assert command({"aggregate": "orders", "pipeline": [{"$out": out}]}).written == ("shop.copy",)


def test_an_output_that_can_not_be_read_writes_the_database() -> None:
    stages: list[dict[str, Any]] = [{"$out": 5}, {"$merge": {}}, {"$merge": {"into": []}}]
    for stage in stages:
        found = command({"aggregate": "orders", "pipeline": [stage]})
        assert found.written == ("shop",)
        assert found.effect is WRITE


def test_bulk_write_sections() -> None:
    found = command({"bulkWrite": 1}, "admin", {"ops": [{"insert": 0, "document": {}}], "nsInfo": [{"ns": "a.b"}]})
    assert found.written == ("a.b",)


# --- the rest of the facts


def test_facts() -> None:
    found = command({"find": "orders", "lsid": LSID, "txnNumber": Int64(3), "comment": "why"})
    assert (found.name, found.database, found.collection, found.txn_number) == ("find", "shop", "orders", 3)
    assert found.lsid == bson.encode(LSID)
    assert found.has_comment
    assert found.known
    assert found.area is Area.DATA
    assert (found.request_id, found.more_to_come, found.exhaust) == (7, False, False)
    assert not command({"find": "orders"}).has_comment


def test_flags() -> None:
    body = bson.encode({"ping": 1, "$db": "admin"})
    assert parse(parse_request(build_msg(body, 1, flags=MORE_TO_COME))).more_to_come
    assert parse(parse_request(build_msg(body, 1, flags=EXHAUST_ALLOWED))).exhaust


def test_cursors_sessions_and_operations() -> None:
    assert command({"getMore": Int64(2**62), "collection": "c"}).cursor_ids == (2**62,)
    assert command({"killCursors": "c", "cursors": [Int64(1), Int64(2)]}).cursor_ids == (1, 2)
    assert command({"killSessions": [LSID, {"id": 5}, {}]}).logical_sessions == (UUID, None, None)
    assert command({"endSessions": [LSID]}).logical_sessions == (UUID,)
    assert command({"killOp": 1, "op": 77}, "admin").op == 77
    assert command({"killOp": 1, "op": "shard1:77"}, "admin").op == "shard1:77"


def test_traits() -> None:
    assert command({"find": Binary(UUID, 4)}).traits == {"by_uuid"}
    assert command({"getMore": Int64(1), "collection": Binary(UUID, 4)}).traits == {"by_uuid"}
    assert command({"usersInfo": 1, "showCredentials": True}).traits == {"credentials"}
    assert command({"usersInfo": 1, "showCredentials": False}).traits == set()
    assert command({"profile": -1}).traits == {"profile_read"}
    assert command({"profile": 2}).traits == set()
    assert command({"profile": -1, "slowms": 0}).traits == set()


def test_explain() -> None:
    found = command({"explain": SON([("aggregate", "c"), ("pipeline", [{"$out": "d"}])]), "comment": 1})
    assert (found.name, found.inner, found.collection) == ("explain", "aggregate", "c")
    assert found.effect is READ
    assert found.has_comment
    assert not command({"explain": {"nothingKnown": 1}}).known


def test_names_are_exact() -> None:
    assert not command({"FIND": "orders"}).known
    assert command({"ismaster": 1}).known
    assert not command({"isMASTER": 1}).known


def test_op_query() -> None:
    found = query({"isMaster": 1})
    assert (found.name, found.database, found.effect) == ("isMaster", "admin", READ)
    assert query({"$query": {"ismaster": 1}}, "shop.$cmd").database == "shop"
    with pytest.raises(RemoteProtocolError) as caught:
        query({"find": "orders"})
    assert caught.value.mongo_code == MongoCode.UNSUPPORTED_OP_QUERY_COMMAND


# --- refusals


DB = string("$db", "shop")


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ([], MongoCode.FAILED_TO_PARSE),
        ([string("find", "c")], MongoCode.NO_DATABASE),
        ([string("find", "c"), DB, DB], MongoCode.DUPLICATE_FIELD),
        ([string("find", "c"), DB, string("find", "d")], MongoCode.DUPLICATE_FIELD),
        ([string("find", "c"), string("filter", "x"), DB, string("filter", "y")], MongoCode.DUPLICATE_FIELD),
        ([string("find", "c"), b"\x10$db\0\1\0\0\0"], MongoCode.TYPE_MISMATCH),
        ([string("find", "c"), string("$db", "")], MongoCode.INVALID_NAMESPACE),
        ([string("find", "c"), string("$db", "a.b")], MongoCode.INVALID_NAMESPACE),
        ([string("find", "c"), string("$db", "a\0b")], MongoCode.INVALID_NAMESPACE),
        ([string("find", "c"), string("$db", "x" * 64)], MongoCode.INVALID_NAMESPACE),
        ([string("find", "c\0d"), DB], MongoCode.INVALID_NAMESPACE),
        ([b"\x02find\0\3\0\0\0\xff\xff\0", DB], MongoCode.INVALID_BSON),
        ([string("find", "c"), b"\x02$db\0\3\0\0\0\xff\xff\0"], MongoCode.INVALID_BSON),
        ([string("explain", "find"), DB], MongoCode.TYPE_MISMATCH),
    ],
)
def test_refusals(elements: list[bytes], code: MongoCode) -> None:
    assert code_of(*elements) == code


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"aggregate": "c", "pipeline": "x"}, MongoCode.TYPE_MISMATCH),
        ({"aggregate": "c", "pipeline": [1]}, MongoCode.TYPE_MISMATCH),
        ({"aggregate": "c", "pipeline": [{"$facet": {"a": 1}}]}, MongoCode.TYPE_MISMATCH),
        ({"aggregate": "c", "pipeline": [{"$match": {}}] * 1_001}, MongoCode.BAD_VALUE),
        ({"explain": {"explain": {"find": "c"}}}, MongoCode.BAD_VALUE),
        ({"explain": {"find": "c", "$db": "other"}}, MongoCode.INVALID_NAMESPACE),
        ({"killCursors": "c", "cursors": ["x"]}, MongoCode.TYPE_MISMATCH),
        ({"killSessions": 1}, MongoCode.TYPE_MISMATCH),
        ({"bulkWrite": 1, "nsInfo": [{"ns": 1}]}, MongoCode.INVALID_NAMESPACE),
    ],
)
def test_refused_contents(document: dict[str, Any], code: MongoCode) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        command(document)
    assert caught.value.mongo_code == code


def test_sequences_belong_to_their_commands() -> None:
    for name, section in (("find", "documents"), ("aggregate", "pipeline"), ("insert", "updates"), ("unknown", "x")):
        with pytest.raises(RemoteProtocolError) as caught:
            command({name: "c"}, "shop", {section: [{}]})
        assert caught.value.mongo_code == MongoCode.UNKNOWN_FIELD
    with pytest.raises(RemoteProtocolError) as caught:
        command({"insert": "c", "documents": [{}]}, sequences={"documents": [{}]})
    assert caught.value.mongo_code == MongoCode.SEQUENCE_IN_BODY


# --- the catalogue


def test_the_catalogue_has_every_spelling_once() -> None:
    assert all(entry.name.encode() == name for name, entry in CATALOGUE.items())
    assert look_up(b"_shardsvrDropDatabase") is not None
    assert look_up(b"find ") is None


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), st.text(max_size=4), st.binary(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(
        ["$out", "$merge", "$lookup", "from", "pipeline", "$facet", "into", "db", "coll", "ns", "id", "$unionWith",
         "find", "$where"]
    ), inner, max_size=3)),
    max_leaves=12,
)  # fmt: skip
KEYS = st.sampled_from([
    "pipeline", "collection", "cursors", "out", "to", "viewOn", "nsInfo", "op", "lsid", "txnNumber", "comment",
    "filter", "toCollection", "showCredentials", "slowms",
])  # fmt: skip


@given(
    name=st.sampled_from(sorted(entry.name for entry in CATALOGUE.values())),
    value=VALUES,
    rest=st.dictionaries(KEYS, VALUES, max_size=6),
)
def test_no_content_raises_anything_else(name: str, value: Any, rest: dict[str, Any]) -> None:
    for document in ({name: value, **rest}, {"explain": {name: value, **rest}}):
        try:
            found = command(document)
        except RemoteProtocolError:
            continue
        assert found.namespaces

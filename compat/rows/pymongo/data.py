"""Rows about documents: writing, reading, bulks, indexes, kinds of collections, files."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

import bson
import gridfs
import pymongo
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, Regex, Timestamp
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne

from .trial import AbsentError, Trial, has, plain, row


async def _fill(t: Trial, number: int = 250, **more: Any) -> None:
    await t(t.things.insert_many([{"_id": each, "n": each, "group": each % 5, **more} for each in range(number)]))


@row("CRUD")
async def crud(t: Trial) -> Any:
    await _fill(t)
    things = t.things
    return {
        "one": (await t(things.insert_one({"_id": "one"}))).inserted_id,
        "find": await t.all(things.find({"n": {"$lt": 5}}, {"n": 1}).sort("_id", 1)),
        "update": (await t(things.update_one({"_id": 1}, {"$inc": {"n": 5}}))).raw_result["nModified"],
        "many": (await t(things.update_many({"group": 2}, {"$set": {"x": 1}}))).modified_count,
        "upsert": (await t(things.update_one({"_id": "up"}, {"$set": {"y": 2}}, upsert=True))).upserted_id,
        "replace": (await t(things.replace_one({"_id": 3}, {"z": 3}))).matched_count,
        "delete": (await t(things.delete_one({"_id": 4}))).deleted_count,
        "deletes": (await t(things.delete_many({"group": 3}))).deleted_count,
        "count": await t(things.count_documents({})),
        "estimate": await t(things.estimated_document_count()),
        "distinct": sorted(each for each in await t(things.distinct("group")) if each is not None),
        "page": [each["_id"] for each in await t.all(things.find().sort("n", -1).skip(5).limit(5).batch_size(2))],
    }


@row("find-and-modify")
async def find_and_modify(t: Trial) -> Any:
    await _fill(t, 10)
    after = pymongo.ReturnDocument.AFTER
    return [
        await t(t.things.find_one_and_update({"_id": 1}, {"$inc": {"n": 1}}, return_document=after)),
        await t(t.things.find_one_and_replace({"_id": 2}, {"r": 1})),
        await t(t.things.find_one_and_delete({"_id": 3}, projection={"n": 1})),
        await t(t.things.find_one_and_update({"_id": 99}, {"$set": {"u": 1}}, upsert=True, return_document=after)),
        await t(t.things.find_one_and_delete({"_id": "none"})),
    ]


@row("update pipelines and array filters")
async def update_pipelines(t: Trial) -> Any:
    await t(t.things.insert_one({"_id": 1, "list": [1, 5, 9], "a": 2}))
    await t(t.things.update_one({"_id": 1}, {"$set": {"list.$[big]": 0}}, array_filters=[{"big": {"$gt": 4}}]))
    await t(t.things.update_one({"_id": 1}, [{"$set": {"sum": {"$sum": "$list"}}}, {"$unset": "a"}]))
    return await t.all(t.things.find())


@row("bulk writes")
async def bulk(t: Trial) -> Any:
    done = await t(
        t.things.bulk_write(
            [
                *(InsertOne({"_id": each}) for each in range(100)),
                UpdateOne({"_id": 1}, {"$set": {"x": 1}}),
                UpdateMany({"_id": {"$lt": 9}}, {"$set": {"y": 1}}),
                ReplaceOne({"_id": 200}, {"z": 1}, upsert=True),
                DeleteOne({"_id": 5}),
            ]
        )
    )
    clash = [InsertOne({"_id": 1}), InsertOne({"_id": 300}), InsertOne({"_id": 2}), InsertOne({"_id": 301})]
    return {
        "result": plain(done.bulk_api_result),
        "ordered": await t.caught(lambda: t.things.bulk_write(clash)),
        "unordered": await t.caught(lambda: t.things.bulk_write(clash, ordered=False)),
        "count": await t(t.things.count_documents({})),
    }


@row("client.bulk_write (a server of 8.0 has it)")
async def client_bulk(t: Trial) -> Any:
    has(t.client, "bulk_write")
    model = InsertOne(namespace=f"{t.name}.things", document={"_id": 1})
    return await t.caught(lambda: t.client.bulk_write([model]))


@row("100,001 operations in one bulk")
async def many_operations(t: Trial) -> Any:
    done = await t(t.things.bulk_write([InsertOne({"_id": each}) for each in range(100_001)], ordered=False))
    return [done.inserted_count, await t(t.things.estimated_document_count())]


@row("47 MB in one insert")
async def big_insert(t: Trial) -> Any:
    filler = "x" * (1_000_000 - 200)
    await t(t.things.insert_many([{"_id": each, "filler": filler} for each in range(47)]))
    return [await t(t.things.count_documents({})), len((await t(t.things.find_one({"_id": 46})))["filler"])]


@row("a document of 16 MiB, and one beyond")
async def biggest_document(t: Trial) -> Any:
    filler = b"\7" * (16 * 1024 * 1024 - 35)
    document = {"_id": 1, "filler": filler}
    size = len(bson.encode(document) if hasattr(bson, "encode") else bson.BSON.encode(document))
    await t(t.things.insert_one(document))
    found = await t(t.things.find_one({"_id": 1}))
    too_big = await t.caught(lambda: t.things.insert_one({"_id": 2, "filler": filler + b"\7" * 100}))
    return [size, plain(found), too_big.get("error")]


@row("a result of 60 MB")
async def big_result(t: Trial) -> Any:
    await t(t.things.insert_many([{"_id": each, "filler": f"{each:04}" * 50_000} for each in range(300)]))
    digest, number = hashlib.sha256(), 0
    async for document in t.each(t.things.find().sort("_id", 1)):
        digest.update(document["filler"].encode())
        number += 1
    return [number, digest.hexdigest()]


@row("every BSON type there and back")
async def types(t: Trial) -> Any:
    now = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000)  # noqa: DTZ001 - BSON has no zones
    await t(
        t.things.insert_one(
            {
                "_id": bson.ObjectId("0" * 24),
                "numbers": [1, Int64(2**60), -0.0, float("nan"), float("inf"), Decimal128("1.10")],
                "texts": ["", "ünïcode \U0001f600", "a\0b", Regex("^a", "i"), Code("1"), Code("x", {"x": 1})],
                "binaries": [Binary(b"\0", each) for each in (0, 1, 5, 6, 128)],
                "others": [None, True, now, Timestamp(5, 6), MinKey(), MaxKey(), {}, []],
                "a.b": 1,
                "": {"deep": {"deeper": [{"deepest": 1}]}},
            }
        )
    )
    found = await t(t.things.find_one())
    return [repr(each) for each in found.items()]


@row("nesting of 150 levels, and beyond the limit")
async def nesting(t: Trial) -> Any:
    deep: Any = 1
    for _ in range(150):
        deep = {"d": deep}
    await t(t.things.insert_one({"_id": 1, "deep": deep}))
    for _ in range(60):
        deep = {"d": deep}
    beyond = await t.caught(lambda: t.things.insert_one({"_id": 2, "deep": deep}))
    return [(await t(t.things.find_one({"_id": 1}))) is not None, "error" in beyond]


@row("names with dots, spaces and accents")
async def names(t: Trial) -> Any:
    collections = ["dots.in.a.name", "ünïcode", "a space", "$dollar".replace("$", "") + "-dash"]
    for name in collections:
        await t(t.db[name].insert_one({"_id": name}))
    return [sorted(await t(t.db.list_collection_names())), [await t(t.db[each].find_one()) for each in collections]]


@row("aggregation")
async def aggregation(t: Trial) -> Any:
    await _fill(t)
    await t(t.db.others.insert_many([{"_id": each, "name": f"g{each}"} for each in range(5)]))
    lookup = {"from": "others", "localField": "group", "foreignField": "_id", "as": "named"}
    window = {"sortBy": {"n": 1}, "output": {"run": {"$sum": "$n", "window": {"documents": ["unbounded", "current"]}}}}
    pipelines: list[list[dict[str, Any]]] = [
        [{"$group": {"_id": "$group", "sum": {"$sum": "$n"}}}, {"$sort": {"_id": 1}}],
        [{"$match": {"n": {"$lt": 3}}}, {"$lookup": lookup}, {"$unwind": "$named"}, {"$sort": {"_id": 1}}],
        [{"$facet": {"low": [{"$match": {"n": {"$lt": 9}}}, {"$count": "n"}], "all": [{"$count": "n"}]}}],
        [{"$bucket": {"groupBy": "$n", "boundaries": [0, 50, 100], "default": "more"}}],
        [{"$setWindowFields": window}, {"$sort": {"n": -1}}, {"$limit": 1}],
        [{"$unionWith": "others"}, {"$count": "n"}],
    ]
    found = [await t.all(t.things.aggregate(each)) for each in pipelines]
    batches = await t.all(t.things.aggregate([{"$sort": {"n": 1}}], batchSize=7, allowDiskUse=True))
    return [plain(found), len(batches)]


@row("$out and $merge")
async def out_and_merge(t: Trial) -> Any:
    await _fill(t)
    group = {"$group": {"_id": "$group", "sum": {"$sum": "$n"}}}
    await t.all(t.things.aggregate([group, {"$out": "written"}]))
    await t.all(t.things.aggregate([{"$limit": 3}, {"$merge": {"into": "merged", "whenMatched": "replace"}}]))
    await t.all(t.things.aggregate([group, {"$merge": {"into": "merged", "on": "_id", "whenMatched": "merge"}}]))
    return [await t.all(t.db.written.find().sort("_id", 1)), await t.all(t.db.merged.find().sort("_id", 1))]


@row("map-reduce")
async def map_reduce(t: Trial) -> Any:
    await _fill(t, 20)
    command = {
        "mapReduce": "things",
        "map": Code("function() { emit(this.group, this.n); }"),
        "reduce": Code("function(key, values) { return Array.sum(values); }"),
        "out": {"inline": 1},
    }
    found = await t(t.db.command(command))
    return sorted((each["_id"], each["value"]) for each in found["results"])


@row("collations")
async def collations(t: Trial) -> Any:
    await t(t.things.insert_many([{"_id": each, "name": name} for each, name in enumerate(["b", "A", "é", "a", "Z"])]))
    english = {"locale": "en", "strength": 1}
    found = await t.all(t.things.find().collation(english).sort("name", 1))
    number = await t(t.things.count_documents({"name": "E"}, collation=english))
    await t(t.db.create_collection("folded", collation=english))
    await t(t.db.folded.insert_one({"_id": "X"}))
    return [[each["name"] for each in found], number, await t(t.db.folded.find_one({"_id": "x"}))]


@row("views")
async def views(t: Trial) -> Any:
    await _fill(t, 20)
    await t(t.db.create_collection("low", viewOn="things", pipeline=[{"$match": {"n": {"$lt": 3}}}]))
    refused = await t.caught(lambda: t.db.low.insert_one({}))
    return [await t.all(t.db.low.find()), await t(t.db.low.count_documents({})), refused]


@row("indexes")
async def indexes(t: Trial) -> Any:
    await _fill(t, 20)
    made = [
        await t(t.things.create_index([("n", 1), ("group", -1)], name="both")),
        await t(t.things.create_index("name", unique=True, partialFilterExpression={"name": {"$exists": True}})),
        await t(t.things.create_index("at", expireAfterSeconds=3600)),
        await t(t.things.create_index([("words", "text")])),
        await t(t.things.create_index([("place", "2dsphere")])),
        await t(t.things.create_index([("$**", 1)], wildcardProjection={"w": 1})),
        await t(t.things.create_index([("hashed", "hashed")])),
    ]
    listed = {name: plain(each) for name, each in (await t(t.things.index_information())).items()}
    await t(t.things.drop_index("both"))
    missing = await t.caught(lambda: t.things.drop_index("both"))
    await t(t.things.drop_indexes())
    return [made, listed, missing, len(await t.all(t.things.list_indexes()))]


@row("text and geographic queries")
async def text_and_places(t: Trial) -> Any:
    await t(t.things.create_index([("words", "text")]))
    await t(t.things.create_index([("place", "2dsphere")]))
    point = {"type": "Point", "coordinates": [13.4, 52.5]}
    await t(t.things.insert_many([{"_id": 1, "words": "grey goose", "place": point}, {"_id": 2, "words": "red fox"}]))
    near = {"place": {"$near": {"$geometry": point, "$maxDistance": 1000}}}
    return [await t.all(t.things.find({"$text": {"$search": "goose"}})), len(await t.all(t.things.find(near)))]


@row("hints")
async def hints(t: Trial) -> Any:
    await _fill(t, 50)
    await t(t.things.create_index("n"))
    plan = await t(t.things.find({"group": 1}).hint("n_1").explain())
    bad = await t.caught(lambda: t.things.find({"n": 1}).hint("nothing").explain())
    changed = await t(t.things.update_one({"n": 3}, {"$set": {"h": 1}}, hint="n_1"))
    return [plan["queryPlanner"]["winningPlan"]["stage"], bad, changed.modified_count]


@row("explain")
async def explain(t: Trial) -> Any:
    await _fill(t, 50)
    query = {"explain": {"find": "things", "filter": {"n": 7}}, "verbosity": "executionStats"}
    plan = await t(t.db.command(query))
    write = {"explain": {"update": "things", "updates": [{"q": {"n": 1}, "u": {"$set": {"x": 1}}}]}}
    planned = await t(t.db.command(write))
    unchanged = await t(t.things.count_documents({"x": 1}))
    stats = plan["executionStats"]
    stage = planned["queryPlanner"]["winningPlan"]["stage"]
    return [stats["nReturned"], stats["totalDocsExamined"], stage, unchanged, sorted(plan)]


@row("time series")
async def time_series(t: Trial) -> Any:
    await t(t.db.create_collection("series", timeseries={"timeField": "at", "metaField": "m"}))
    start = datetime.datetime(2026, 1, 1)  # noqa: DTZ001
    minutes = [start + datetime.timedelta(minutes=each) for each in range(100)]
    await t(t.db.series.insert_many([{"at": at, "m": at.minute % 3, "v": at.minute} for at in minutes]))
    group = {"$group": {"_id": "$m", "sum": {"$sum": "$v"}}}
    kinds = {each["name"]: each["type"] for each in await t.all(t.db.list_collections())}
    return [await t.all(t.db.series.aggregate([group, {"$sort": {"_id": 1}}])), dict(sorted(kinds.items()))]


@row("collections: create, rename, validate, collMod, capped, drop")
async def collections(t: Trial) -> Any:
    schema = {"$jsonSchema": {"required": ["name"], "properties": {"name": {"bsonType": "string"}}}}
    await t(t.db.create_collection("strict", validator=schema))
    refused = await t.caught(lambda: t.db.strict.insert_one({"_id": 1, "name": 5}))
    await t(t.db.command("collMod", "strict", validationLevel="off"))
    await t(t.db.strict.insert_one({"_id": 1, "name": 5}))
    again = await t.caught(lambda: t.db.create_collection("strict", capped=True, size=4096))
    await t(t.db.strict.rename("renamed"))
    checked = await t(t.db.command("validate", "renamed"))
    await t(t.db.command("convertToCapped", "renamed", size=100_000))
    found = await t.all(t.db.list_collections(filter={"name": "renamed"}))
    await t(t.db.drop_collection("renamed"))
    return [refused, again, checked["valid"], found[0]["options"].get("capped"), await t(t.db.list_collection_names())]


@row("GridFS")
async def files(t: Trial) -> Any:
    name = "AsyncGridFSBucket" if t.is_async else "GridFSBucket"
    if not hasattr(gridfs, name):
        raise AbsentError(f"no {name}")
    bucket = getattr(gridfs, name)(t.db, chunk_size_bytes=65_536)
    content = bytes(range(256)) * 8_000
    file_id = await t(bucket.upload_from_stream("file", content, metadata={"m": 1}))
    stream = await t(bucket.open_download_stream(file_id))
    whole = await t(stream.read())
    await t(stream.seek(1_000_000))
    part = await t(stream.read(10))
    listed = [(each.filename, each.length) for each in await t.all(bucket.find({}))]
    await t(bucket.rename(file_id, "other"))
    await t(bucket.delete(file_id))
    missing = await t.caught(lambda: bucket.open_download_stream_by_name("other"))
    left = await t(t.db["fs.chunks"].count_documents({}))
    return [plain(whole), plain(part), listed, missing.get("error"), left]


@row("legacy helpers of PyMongo 3")
async def legacy(t: Trial) -> Any:
    insert = has(t.things, "insert")
    kept = [insert({"_id": 1, "n": 1}), t.things.update({"_id": 1}, {"$set": {"n": 2}})["nModified"]]
    return [
        *kept,
        t.things.save({"_id": 2, "n": 5}),
        t.things.find_and_modify({"_id": 1}, {"$inc": {"n": 1}}, new=True),
        t.things.find().count(),
        t.things.remove({"_id": 1})["n"],
        t.db.collection_names(),
        t.things.ensure_index("n"),
    ]

"""Rows that read and write as the database tools do, which no registry here has: their commands, in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bson
import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo.errors import PyMongoError

from .trial import Trial, row

_OPLOG = "oplog.rs"


async def _code(t: Trial, work: Callable[[], Any]) -> Any:
    """What it gives, or the error's code: whose sentence it is does not matter."""
    try:
        return await t(work())
    except PyMongoError as error:
        return {"code": getattr(error, "code", None)}


async def _fill(t: Trial) -> None:
    await t(t.things.insert_many([{"_id": each, "text": "x" * 500} for each in range(3_000)]))
    await t(t.things.create_index([("text", 1)], name="by_text", sparse=True))
    await t(t.db.create_collection("capped", capped=True, size=50_000, max=20))
    await t(t.db.command("create", "shown", viewOn="things", pipeline=[{"$match": {"_id": {"$lt": 5}}}]))


@row("mongodump: names, options, indexes, raw documents")
async def dump(t: Trial) -> Any:
    await _fill(t)
    admin = t.client.admin
    names = await t(admin.command("listDatabases", nameOnly=True, authorizedDatabases=True))
    version = await _code(t, lambda: admin.command("getParameter", 1, featureCompatibilityVersion=1))
    listed = await t(t.db.command("listCollections", filter={}, cursor={"batchSize": 2}))
    first = [each["name"] for each in listed["cursor"]["firstBatch"]]
    rest: list[str] = []
    if listed["cursor"]["id"]:
        more = await t(t.db.command("getMore", listed["cursor"]["id"], collection="$cmd.listCollections"))
        rest = [each["name"] for each in more["cursor"]["nextBatch"]]
    indexes = await t(t.db.command("listIndexes", "things", cursor={}))
    stats = await t(t.db.command("collStats", "things"))
    raw = t.db.get_collection("things", codec_options=bson.CodecOptions(document_class=RawBSONDocument))
    cursor = raw.find({}, no_cursor_timeout=True, batch_size=700).hint([("_id", 1)])
    documents = [each async for each in t.each(cursor)]
    natural = [each["_id"] async for each in t.each(t.things.find({}, {"_id": 1}).hint([("$natural", 1)]))]
    return {
        "listed": t.name in [each["name"] for each in names["databases"]],
        "version": isinstance(version, dict) and version.get("ok", version.get("code")),
        "collections": sorted(name for name in first + rest if not name.startswith("system.")),
        "indexes": [each["name"] for each in indexes["cursor"]["firstBatch"]],
        "stats": [stats["count"], stats["nindexes"], stats["capped"]],
        "raw": [len(documents), sum(len(each.raw) for each in documents)],
        "natural": [len(natural), natural[:3]],
        "count": await t(t.db.command("count", "things", query={})),
    }


@row("mongodump --oplog: the oplog from one moment to another", needs="replica")
async def oplog(t: Trial) -> Any:
    log = t.client.local[_OPLOG]
    newest = (await t.all(log.find({}, {"ts": 1}).sort("$natural", -1).limit(1)))[0]["ts"]
    await _fill(t)
    until = (await t.all(log.find({}, {"ts": 1}).sort("$natural", -1).limit(1)))[0]["ts"]
    wanted = {"ts": {"$gte": newest, "$lte": until}, "ns": f"{t.name}.things"}
    seen = [each["op"] async for each in t.each(log.find(wanted, no_cursor_timeout=True))]
    oldest = (await t.all(log.find({}, {"ts": 1}).sort("$natural", 1).limit(1)))[0]["ts"]
    return [len(seen), sorted(set(seen)), oldest <= newest < until]


@row("the oplog, tailed", needs="replica")
async def tail(t: Trial) -> Any:
    log = t.client.local[_OPLOG]
    newest = (await t.all(log.find({}, {"ts": 1}).sort("$natural", -1).limit(1)))[0]["ts"]
    kind = pymongo.CursorType.TAILABLE_AWAIT
    cursor = log.find({"ts": {"$gt": newest}, "ns": f"{t.name}.things"}, cursor_type=kind, oplog_replay=True)
    cursor.max_await_time_ms(2_000)
    await t(t.things.insert_many([{"_id": each} for each in range(5)]))
    await t(t.things.delete_one({"_id": 3}))
    seen: list[Any] = []
    while len(seen) < 6 and cursor.alive:
        async for each in t.each(cursor):
            seen.append([each["op"], each["o"]["_id"]])
            if len(seen) == 6:
                break
    await t(cursor.close())
    return seen


@row("mongorestore: collections with options, raw documents unordered, indexes")
async def restore(t: Trial) -> Any:
    collation = {"locale": "en", "strength": 2}
    await t(t.db.command("create", "things", collation=collation, validator={"n": {"$type": "int"}}))
    raw = [RawBSONDocument(bson.encode({"_id": each % 900, "n": each if each % 10 else "no"})) for each in range(1_000)]
    try:
        done = await t(t.things.insert_many(raw, ordered=False, bypass_document_validation=True))
        inserted: Any = len(done.inserted_ids)
    except pymongo.errors.BulkWriteError as error:
        inserted = [error.details["nInserted"], len(error.details["writeErrors"])]
    specs = [{"v": 2, "key": {"n": 1}, "name": "n_1", "collation": collation}]
    made = await t(t.db.command("createIndexes", "things", indexes=specs))
    await t(t.db.command("collMod", "things", validationLevel="off"))
    again = await _code(t, lambda: t.db.command("create", "things"))
    information = [each async for each in t.each(await t(t.db.list_collections(filter={"name": "things"})))]
    return {
        "inserted": inserted,
        "count": await t(t.things.count_documents({})),
        "indexes": [made["numIndexesBefore"], made["numIndexesAfter"]],
        "again": again,
        "options": sorted(information[0]["options"]),
    }


@row("mongorestore --oplogReplay: applyOps")
async def replay(t: Trial) -> Any:
    await t(t.db.create_collection("things"))
    operation = {"op": "i", "ns": f"{t.name}.things", "o": {"_id": 1}}
    return await _code(t, lambda: t.client.admin.command("applyOps", [operation]))


@row("mongostat and mongotop: serverStatus and top")
async def stat(t: Trial) -> Any:
    await t(t.things.insert_one({}))
    status = await t(t.client.admin.command("serverStatus", recordStats=0))
    top = await t(t.client.admin.command("top"))
    return [sorted(status["opcounters"]), status["process"], f"{t.name}.things" in top["totals"]]


@row("mongoimport: upserts in unordered bulks; mongoexport: a sorted, projected read")
async def exchange(t: Trial) -> Any:
    work = [pymongo.ReplaceOne({"_id": each % 50}, {"n": each}, upsert=True) for each in range(200)]
    done = await t(t.things.bulk_write(work, ordered=False, bypass_document_validation=True))
    found = await t.all(t.things.find({"n": {"$gte": 160}}, {"n": 1}).sort("_id", 1).limit(20))
    return [done.upserted_count, done.modified_count, found]

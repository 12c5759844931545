// Rows about documents: writing, reading, bulks, indexes, kinds of collections, files.
"use strict";
const { createHash } = require("node:crypto");
const { Absent, driver, has, major, plain, row } = require("./trial.cjs");

row("CRUD", "any", async (t) => {
  await t.fill();
  const things = t.things;
  return {
    one: (await things.insertOne({ _id: "one" })).insertedId,
    find: await things.find({ n: { $lt: 5 } }, { projection: { n: 1 } }).sort({ _id: 1 }).toArray(),
    update: (await things.updateOne({ _id: 1 }, { $inc: { n: 5 } })).modifiedCount,
    many: (await things.updateMany({ group: 2 }, { $set: { x: 1 } })).modifiedCount,
    upsert: (await things.updateOne({ _id: "up" }, { $set: { y: 2 } }, { upsert: true })).upsertedCount,
    replace: (await things.replaceOne({ _id: 3 }, { z: 3 })).matchedCount,
    remove: (await things.deleteOne({ _id: 4 })).deletedCount,
    removes: (await things.deleteMany({ group: 3 })).deletedCount,
    count: await things.countDocuments({}),
    estimate: await things.estimatedDocumentCount(),
    distinct: (await things.distinct("group")).filter((each) => each !== null).sort(),
    page: (await things.find().sort({ n: -1 }).skip(5).limit(5).batchSize(2).toArray()).map((each) => each._id),
  };
});

row("find-and-modify", "any", async (t) => {
  await t.fill(10);
  const after = major < 4 ? { returnOriginal: false } : { returnDocument: "after" };
  const document = (found) => (major < 6 ? found.value : found);
  return [
    document(await t.things.findOneAndUpdate({ _id: 1 }, { $inc: { n: 1 } }, after)),
    document(await t.things.findOneAndReplace({ _id: 2 }, { r: 1 })),
    document(await t.things.findOneAndDelete({ _id: 3 })),
    document(await t.things.findOneAndUpdate({ _id: 99 }, { $set: { u: 1 } }, { upsert: true, ...after })),
    document(await t.things.findOneAndDelete({ _id: "none" })),
  ];
});

row("bulk writes", "any", async (t) => {
  const inserts = Array.from({ length: 100 }, (_, n) => ({ insertOne: { document: { _id: n } } }));
  const done = await t.things.bulkWrite([
    ...inserts,
    { updateOne: { filter: { _id: 1 }, update: { $set: { x: 1 } } } },
    { updateMany: { filter: { _id: { $lt: 9 } }, update: { $set: { y: 1 } } } },
    { replaceOne: { filter: { _id: 200 }, replacement: { z: 1 }, upsert: true } },
    { deleteOne: { filter: { _id: 5 } } },
  ]);
  const clash = [1, 300, 2, 301].map((_id) => ({ insertOne: { document: { _id } } }));
  return [
    [done.insertedCount, done.matchedCount, done.modifiedCount, done.deletedCount, done.upsertedCount],
    await t.caught(() => t.things.bulkWrite(clash)),
    await t.caught(() => t.things.bulkWrite(clash, { ordered: false })),
    await t.things.countDocuments({}),
  ];
});

row("client.bulkWrite (a server of 8.0 has it)", "any", async (t) => {
  has(t.client, "bulkWrite");
  const models = [{ name: "insertOne", namespace: `${t.name}.things`, document: { _id: 1 } }];
  return t.caught(() => t.client.bulkWrite(models));
});

row("100,001 operations in one bulk", "any", async (t) => {
  const done = await t.things.insertMany(Array.from({ length: 100001 }, (_, _id) => ({ _id })), { ordered: false });
  return [done.insertedCount, await t.things.estimatedDocumentCount()];
});

row("47 MB in one insert", "any", async (t) => {
  const filler = "x".repeat(1000000 - 200);
  await t.things.insertMany(Array.from({ length: 47 }, (_, _id) => ({ _id, filler })));
  return [await t.things.countDocuments({}), (await t.things.findOne({ _id: 46 })).filler.length];
});

row("a document of 16 MiB, and one beyond", "any", async (t) => {
  const filler = Buffer.alloc(16 * 1024 * 1024 - 35, 7);
  await t.things.insertOne({ _id: 1, filler });
  const found = await t.things.findOne({ _id: 1 });
  const beyond = await t.caught(() => t.things.insertOne({ _id: 2, filler: Buffer.alloc(16 * 1024 * 1024 + 65, 7) }));
  return [plain(found), beyond];
});

row("a result of 60 MB", "any", async (t) => {
  await t.things.insertMany(Array.from({ length: 300 }, (_, n) => ({ _id: n, filler: String(n).padStart(4, "0").repeat(50000) })));
  const hash = createHash("sha256");
  let number = 0;
  for await (const document of t.things.find().sort({ _id: 1 })) {
    hash.update(document.filler);
    number += 1;
  }
  return [number, hash.digest("hex")];
});

row("every BSON type there and back", "any", async (t) => {
  const b = driver;
  const Id = b.ObjectId ?? b.ObjectID;
  await t.things.insertOne({
    _id: 1,
    numbers: [1, b.Long.fromString("1152921504606846976"), -0.0, NaN, Infinity, b.Decimal128.fromString("1.10"), new b.Double(2), new b.Int32(3)],
    texts: ["", "ünïcode \u{1f600}", "a\0b", /^a/i, new b.Code("1"), new b.Code("x", { x: 1 })],
    binaries: [0, 1, 5, 6, 128].map((kind) => new b.Binary(Buffer.alloc(1), kind)),
    others: [null, true, new Date(1700000000678), new b.Timestamp(major < 4 ? 5 : { t: 5, i: 6 }), new b.MinKey(), new b.MaxKey(), {}, []],
    id: new Id("0".repeat(24)),
    "": { deep: { deeper: [{ deepest: 1 }] } },
  });
  const found = await t.things.findOne({}, { promoteValues: false, promoteLongs: false });
  return [plain(found), plain(await t.things.findOne({}))];
});

row("aggregation", "any", async (t) => {
  await t.fill();
  await t.db.collection("others").insertMany([0, 1, 2, 3, 4].map((_id) => ({ _id, name: `g${_id}` })));
  const lookup = { from: "others", localField: "group", foreignField: "_id", as: "named" };
  const window = { sortBy: { n: 1 }, output: { run: { $sum: "$n", window: { documents: ["unbounded", "current"] } } } };
  const found = [];
  for (const pipeline of [
    [{ $group: { _id: "$group", sum: { $sum: "$n" } } }, { $sort: { _id: 1 } }],
    [{ $match: { n: { $lt: 3 } } }, { $lookup: lookup }, { $unwind: "$named" }, { $sort: { _id: 1 } }],
    [{ $facet: { low: [{ $match: { n: { $lt: 9 } } }, { $count: "n" }], all: [{ $count: "n" }] } }],
    [{ $setWindowFields: window }, { $sort: { n: -1 } }, { $limit: 1 }],
  ]) {
    found.push(await t.things.aggregate(pipeline).toArray());
  }
  return [found, (await t.things.aggregate([{ $sort: { n: 1 } }], { batchSize: 7, allowDiskUse: true }).toArray()).length];
});

row("$out and $merge", "any", async (t) => {
  await t.fill();
  const group = { $group: { _id: "$group", sum: { $sum: "$n" } } };
  await t.things.aggregate([group, { $out: "written" }]).toArray();
  await t.things.aggregate([{ $limit: 3 }, { $merge: { into: "merged" } }]).toArray();
  return [
    await t.db.collection("written").find().sort({ _id: 1 }).toArray(),
    await t.db.collection("merged").find().sort({ _id: 1 }).toArray(),
  ];
});

row("collations", "any", async (t) => {
  await t.things.insertMany(["b", "A", "é", "a", "Z"].map((name, _id) => ({ _id, name })));
  const collation = { locale: "en", strength: 1 };
  const found = await t.things.find({}, { collation }).sort({ name: 1 }).toArray();
  return [found.map((each) => each.name), await t.things.countDocuments({ name: "E" }, { collation })];
});

row("views", "any", async (t) => {
  await t.fill(20);
  await t.db.createCollection("low", { viewOn: "things", pipeline: [{ $match: { n: { $lt: 3 } } }] });
  const low = t.db.collection("low");
  return [await low.find().toArray(), await low.countDocuments({}), await t.caught(() => low.insertOne({ _id: 1 }))];
});

row("indexes and hints", "any", async (t) => {
  await t.fill(20);
  const made = [
    await t.things.createIndex({ n: 1, group: -1 }, { name: "both" }),
    await t.things.createIndex("name", { unique: true, partialFilterExpression: { name: { $exists: true } } }),
    await t.things.createIndex({ at: 1 }, { expireAfterSeconds: 3600 }),
    await t.things.createIndex({ words: "text" }),
    await t.things.createIndex({ place: "2dsphere" }),
    await t.things.createIndex({ "$**": 1 }),
  ];
  const listed = await t.things.listIndexes().toArray();
  const plan = await t.db.command({ explain: { find: "things", filter: { n: 3 }, hint: "both" }, verbosity: "executionStats" });
  await t.things.dropIndex("both");
  const missing = await t.caught(() => t.things.dropIndex("both"));
  await t.things.dropIndexes();
  return [made, listed, plan.executionStats.totalDocsExamined, missing, (await t.things.indexes()).length];
});

row("explain", "any", async (t) => {
  await t.fill(50);
  const plan = await t.things.find({ n: 7 }).explain();
  return [plan.executionStats.nReturned, plan.executionStats.totalDocsExamined, plan.queryPlanner.winningPlan.stage];
});

row("time series", "any", async (t) => {
  await t.db.createCollection("series", { timeseries: { timeField: "at", metaField: "m" } });
  const series = t.db.collection("series");
  await series.insertMany(Array.from({ length: 100 }, (_, n) => ({ at: new Date(1700000000000 + n * 60000), m: n % 3, v: n })));
  const kinds = (await t.db.listCollections().toArray()).map((each) => [each.name, each.type]).sort();
  return [await series.aggregate([{ $group: { _id: "$m", sum: { $sum: "$v" } } }, { $sort: { _id: 1 } }]).toArray(), kinds];
});

row("collections: create, validate, rename, capped, drop", "any", async (t) => {
  const validator = { $jsonSchema: { required: ["name"], properties: { name: { bsonType: "string" } } } };
  await t.db.createCollection("strict", { validator });
  const refused = await t.caught(() => t.db.collection("strict").insertOne({ _id: 1, name: 5 }));
  const again = await t.caught(() => t.db.createCollection("strict", { capped: true, size: 4096 }));
  await t.db.collection("strict").rename("renamed");
  await t.db.command({ convertToCapped: "renamed", size: 100000 });
  const found = await t.db.listCollections({ name: "renamed" }).toArray();
  await t.db.collection("renamed").drop();
  return [refused, again, found[0].options.capped, (await t.db.listCollections().toArray()).length];
});

row("GridFS", "any", async (t) => {
  const bucket = new driver.GridFSBucket(t.db, { chunkSizeBytes: 65536 });
  const content = Buffer.from(Array.from({ length: 2048000 }, (_, n) => n % 256));
  const upload = bucket.openUploadStream("file", { metadata: { m: 1 } });
  await new Promise((resolve, reject) => upload.once("finish", resolve).once("error", reject).end(content));
  const read = (stream) =>
    new Promise((resolve, reject) => {
      const parts = [];
      stream.on("data", (part) => parts.push(part));
      stream.once("end", () => resolve(Buffer.concat(parts))).once("error", reject);
    });
  const whole = await read(bucket.openDownloadStream(upload.id));
  const part = await read(bucket.openDownloadStream(upload.id, { start: 1000000, end: 1000010 }));
  const listed = (await bucket.find({}).toArray()).map((each) => [each.filename, each.length]);
  await bucket.rename(upload.id, "other");
  await bucket.delete(upload.id);
  const missing = await t.caught(() => read(bucket.openDownloadStreamByName("other")));
  return [whole, part, listed, missing.error, await t.db.collection("fs.chunks").countDocuments({})];
});

row("legacy helpers of driver 3", "any", async (t) => {
  if (major > 3) throw new Absent("none in this version");
  const inserted = await t.things.insert([{ _id: 1, n: 1 }, { _id: 2, n: 2 }]);
  return [
    inserted.insertedCount,
    (await t.things.update({ _id: 1 }, { $set: { n: 5 } })).result.nModified,
    (await t.things.findAndModify({ _id: 1 }, [["_id", 1]], { $inc: { n: 1 } }, { new: true })).value,
    await t.things.find().count(),
    (await t.things.remove({ _id: 2 })).result.n,
    (await t.db.collections()).map((each) => each.collectionName),
    await new Promise((resolve, reject) => t.things.find().toArray((error, found) => (error ? reject(error) : resolve(found)))),
  ];
});

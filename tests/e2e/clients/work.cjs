// What an application does, with the Node driver: node work.cjs URI DATABASE. Prints one JSON object of what it saw, which
// must be the same directly and through wardgate.
"use strict";
const { MongoClient, GridFSBucket } = require("mongodb");

async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    return { error: error.code ?? error.name };
  }
}

async function readFile(bucket, id) {
  let bytes = 0;
  for await (const chunk of bucket.openDownloadStream(id)) bytes += chunk.length;
  return bytes;
}

async function main(uri, name) {
  const client = new MongoClient(uri, { serverSelectionTimeoutMS: 20000 });
  await client.connect();
  const db = client.db(name);
  await db.dropDatabase();
  const things = db.collection("things");
  const seen = {};
  seen.insert = (await things.insertMany(Array.from({ length: 250 }, (_, n) => ({ _id: n, n })))).insertedCount;
  seen.batches = (await things.find({}, { batchSize: 40, sort: { _id: 1 } }).toArray()).map((d) => d.n).at(-1);
  seen.update = (await things.updateMany({ n: { $lt: 10 } }, { $set: { low: true } })).modifiedCount;
  seen.remove = (await things.deleteOne({ _id: 249 })).deletedCount;
  seen.sum = (await things.aggregate([{ $group: { _id: null, sum: { $sum: "$n" } } }]).toArray())[0].sum;
  seen.duplicate = await attempt(() => things.insertOne({ _id: 1 }));
  seen.transaction = await attempt(() =>
    client.withSession((session) =>
      session.withTransaction(async () => {
        await things.updateOne({ _id: 1 }, { $inc: { n: 100 } }, { session });
        await things.insertOne({ _id: 1000 }, { session });
        return "committed";
      }),
    ),
  );
  seen.after = (await things.findOne({ _id: 1 })).n;
  seen.change = await attempt(async () => {
    const stream = things.watch();
    const first = stream.next();
    first.catch(() => {}); // awaited below; on a standalone it fails before that
    const started = things.insertOne({ _id: "watched" });
    const again = setInterval(() => things.updateOne({ _id: "watched" }, { $inc: { n: 1 } }).catch(() => {}), 200);
    try {
      await started;
      return (await first).documentKey._id;
    } finally {
      clearInterval(again);
      await stream.close();
    }
  });
  const bucket = new GridFSBucket(db, { chunkSizeBytes: 65536 });
  const upload = bucket.openUploadStream("file");
  await new Promise((resolve, reject) => upload.once("finish", resolve).once("error", reject).end(Buffer.alloc(1000000, 7)));
  seen.gridfs = await readFile(bucket, upload.id);
  seen.kind = client.topology?.description?.type ?? null;
  await client.close();
  return seen;
}

main(process.argv[2], process.argv[3]).then(
  (seen) => console.log(JSON.stringify(seen)),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);

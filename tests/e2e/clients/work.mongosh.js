// What a person does in mongosh: mongosh URI --eval 'var name = "…"' --file work.mongosh.js. Prints one JSON object of
// what it saw, which must be the same directly and through wardgate.
const attempt = (work) => {
  try {
    const result = work(); // mongosh awaits here; in a return it would not
    return result;
  } catch (error) {
    return { error: error.code ?? error.name };
  }
};

const mine = db.getSiblingDB(name);
mine.dropDatabase();
const seen = {};
seen.insert = Object.keys(mine.things.insertMany(Array.from({ length: 250 }, (_, n) => ({ _id: n, n }))).insertedIds).length;
seen.batches = mine.things.find().sort({ _id: 1 }).batchSize(40).toArray().at(-1).n;
seen.update = mine.things.updateMany({ n: { $lt: 10 } }, { $set: { low: true } }).modifiedCount;
seen.remove = mine.things.deleteOne({ _id: 249 }).deletedCount;
seen.sum = mine.things.aggregate([{ $group: { _id: null, sum: { $sum: "$n" } } }]).toArray()[0].sum;
seen.duplicate = attempt(() => mine.things.insertOne({ _id: 1 }));
seen.transaction = attempt(() => {
  const session = db.getMongo().startSession();
  try {
    session.startTransaction();
    const inside = session.getDatabase(name).things;
    inside.updateOne({ _id: 1 }, { $inc: { n: 100 } });
    inside.insertOne({ _id: 1000 });
    session.commitTransaction();
    return "committed";
  } finally {
    session.endSession();
  }
});
seen.after = mine.things.findOne({ _id: 1 }).n;
seen.change = attempt(() => {
  const stream = mine.things.watch();
  mine.things.insertOne({ _id: "watched" });
  let event = null;
  while (event === null) event = stream.tryNext();
  stream.close();
  return event.documentKey._id;
});
seen.kind = db.hello().setName ?? null;
seen.refused = attempt(() => db.getSiblingDB("admin").runCommand({ find: "system.users" }).ok);
print(JSON.stringify(seen));

// Rows about work in progress: sessions, transactions, cursors, streams, retries.
"use strict";
const { Absent, major, row } = require("./trial.cjs");

const withSession = async (t, options, work) => {
  const session = t.client.startSession(options);
  try {
    return await work(session);
  } finally {
    await session.endSession();
  }
};
// Commands as the driver sends them.
const listen = async (t, options = {}) => {
  const client = await t.make({ monitorCommands: true, heartbeatFrequencyMS: 500, ...options });
  const commands = [];
  client.on("commandStarted", (event) => commands.push(event));
  return { client, commands, named: (name) => commands.filter((each) => each.commandName === name).map((each) => each.command) };
};

row("transactions: commit and abort", "set", async (t) => {
  await t.fill(3);
  return withSession(t, {}, async (session) => {
    session.startTransaction();
    await t.things.updateOne({ _id: 1 }, { $inc: { n: 100 } }, { session });
    await t.things.insertOne({ _id: "new" }, { session });
    const outside = await t.things.countDocuments({});
    const inside = await t.things.countDocuments({}, { session });
    await session.commitTransaction();
    session.startTransaction();
    await t.things.deleteMany({}, { session });
    await session.abortTransaction();
    return [outside, inside, await t.things.find().toArray()];
  });
});

row("withTransaction, with a commit that fails once", "set", async (t) => {
  await t.fill(1);
  let calls = 0;
  const data = { failCommands: ["commitTransaction"], errorCode: 251, errorLabels: ["TransientTransactionError"] };
  await t.failing(1, data, () =>
    withSession(t, {}, (session) =>
      session.withTransaction(async () => {
        calls += 1;
        await t.things.updateOne({ _id: 0 }, { $inc: { n: 1 } }, { session });
      }),
    ),
  );
  return [calls, await t.things.findOne()];
});

row("write conflict of two transactions", "set", async (t) => {
  await t.fill(1);
  return withSession(t, {}, (first) =>
    withSession(t, {}, async (second) => {
      first.startTransaction();
      second.startTransaction();
      await t.things.updateOne({ _id: 0 }, { $set: { by: 1 } }, { session: first });
      const clash = await t.caught(() => t.things.updateOne({ _id: 0 }, { $set: { by: 2 } }, { session: second }));
      await first.commitTransaction();
      const late = await t.caught(() => t.things.findOne({}, { session: second }));
      await second.abortTransaction();
      return [clash, late, await t.things.findOne()];
    }),
  );
});

row("a transaction goes on over another socket", "set", async (t) => {
  await t.fill(3);
  return withSession(t, {}, async (session) => {
    session.startTransaction();
    await t.things.updateOne({ _id: 1 }, { $set: { x: 1 } }, { session });
    const busy = [1, 2, 3, 4].map(() => t.slow(t.things, 50));
    const inside = await t.things.countDocuments({ x: 1 }, { session });
    await Promise.all(busy);
    await session.commitTransaction();
    return [inside, await t.things.countDocuments({ x: 1 })];
  });
});

row("causal consistency", "set", async (t) => {
  const { client, named } = await listen(t);
  const concern = { readConcern: { level: "majority" }, writeConcern: { w: "majority" } };
  const things = client.db(t.name).collection("things", concern);
  const session = client.startSession({ causalConsistency: true });
  const seen = [];
  for (let n = 0; n < 5; n++) {
    await things.insertOne({ _id: n }, { session });
    seen.push(await things.findOne({ _id: n }, { session }));
  }
  const times = [session.operationTime != null, session.clusterTime != null];
  await session.endSession();
  return [seen, times, named("find").map((each) => "afterClusterTime" in each.readConcern), "$clusterTime" in named("find")[0]];
});

row("snapshot reads", "set", async (t) => {
  if (major < 4) throw new Absent("no snapshot sessions");
  await t.db.collection("things", { writeConcern: { w: "majority" } }).insertOne({ _id: 1 });
  return withSession(t, { snapshot: true }, async (session) => {
    const before = await t.things.countDocuments({}, { session });
    await t.things.insertOne({ _id: 2 });
    return [before, await t.things.countDocuments({}, { session }), await t.things.countDocuments({})];
  });
});

row("logical sessions: implicit, refreshed, killed", "any", async (t) => {
  const { client, commands } = await listen(t);
  const things = client.db(t.name).collection("things");
  await things.insertMany([1, 2, 3, 4, 5].map((_id) => ({ _id })));
  const session = client.startSession();
  const cursor = things.find({}, { batchSize: 2, session });
  const first = await cursor.next();
  const admin = client.db("admin");
  const refreshed = (await admin.command({ refreshSessions: [session.id] })).ok;
  const killed = (await admin.command({ killSessions: [session.id] })).ok;
  const after = await t.caught(() => cursor.toArray());
  await session.endSession();
  return [commands.filter((each) => each.commandName === "insert").map((each) => "lsid" in each.command), first, refreshed, killed, after];
});

row("getMore over several sockets", "any", async (t) => {
  await t.fill(60);
  const cursor = t.things.find({}, { batchSize: 5 }).sort({ _id: 1 });
  const seen = [await cursor.next(), await cursor.next()];
  const busy = [1, 2, 3, 4].map(() => t.slow(t.things, 3));
  const rest = await cursor.toArray();
  return [seen, rest.length, await Promise.all(busy)];
});

row("cursors as async iterators, streams and forEach", "any", async (t) => {
  await t.fill(50);
  const iterated = [];
  for await (const each of t.things.find({}, { batchSize: 7 }).sort({ _id: 1 })) iterated.push(each._id);
  const streamed = [];
  for await (const each of t.things.find({}, { batchSize: 7 }).stream()) streamed.push(each._id);
  const visited = [];
  await t.things.find().limit(10).forEach((each) => void visited.push(each._id));
  const mapped = await t.things.find().limit(3).map((each) => each._id * 2).toArray();
  const partly = t.things.find({}, { batchSize: 2 });
  for await (const each of partly) if (each._id === 3) break;
  await partly.close();
  return [iterated.length, streamed.length, visited.length, mapped];
});

row("killCursors", "any", async (t) => {
  await t.fill();
  const opened = await t.db.command({ find: "things", batchSize: 2 });
  const id = opened.cursor.id;
  const killed = await t.db.command({ killCursors: "things", cursors: [id] });
  return [killed.cursorsKilled.length, await t.caught(() => t.db.command({ getMore: id, collection: "things" }))];
});

row("tailable and awaitData cursors", "any", async (t) => {
  await t.db.createCollection("capped", { capped: true, size: 100000 });
  const capped = t.db.collection("capped");
  await capped.insertMany([0, 1, 2].map((_id) => ({ _id })));
  const cursor = capped.find({}, { tailable: true, awaitData: true, maxAwaitTimeMS: 5000 });
  const seen = [await cursor.next(), await cursor.next(), await cursor.next()];
  const late = cursor.next();
  await capped.insertOne({ _id: "late" });
  seen.push(await late);
  await cursor.close();
  return seen;
});

// A change stream opens with its first read: events from before that are not its own.
async function watching(target, options, work, number) {
  const stream = target.watch(options.pipeline ?? [], { maxAwaitTimeMS: 300, ...options.stream });
  const first = stream.next();
  first.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 300));
  try {
    await work(stream);
    const events = [await first];
    while (events.length < number) events.push(await stream.next());
    return { events, token: stream.resumeToken };
  } finally {
    await stream.close();
  }
}
const shown = (events) => events.map(({ operationType, documentKey, fullDocument, updateDescription, ns }) => ({ operationType, documentKey, fullDocument, updateDescription, ns }));

row("change streams: collection, database, cluster", "set", async (t) => {
  await t.fill(2);
  const found = [];
  const targets = [[t.things, {}], [t.db, {}], [t.client, { pipeline: [{ $match: { "ns.db": t.name } }] }]];
  for (const [target, options] of targets) {
    const seen = await watching(target, { ...options, stream: { fullDocument: "updateLookup" } }, async () => {
      await t.things.insertOne({ _id: "a" });
      await t.things.updateOne({ _id: "a" }, { $set: { x: 1 } });
      await t.things.deleteOne({ _id: "a" });
    }, 3);
    found.push(shown(seen.events).map((each) => [each.operationType, each.documentKey, each.ns]));
  }
  return found;
});

row("change streams: resume by token and after a lost cursor", "set", async (t) => {
  await t.fill(1);
  const first = await watching(t.things, {}, () => t.things.insertMany(["a", "b", "c"].map((_id) => ({ _id }))), 1);
  const token = first.events[0]._id;
  const second = await watching(t.things, { stream: { resumeAfter: token } }, async () => {}, 2);
  const found = [shown(first.events), shown(second.events)];
  for (const [id, data] of [["e", { errorCode: 43, closeConnection: false }], ["f", { closeConnection: true }]]) {
    const stream = t.things.watch([], { maxAwaitTimeMS: 300 });
    const waiting = stream.next();
    await new Promise((resolve) => setTimeout(resolve, 400));
    await t.failing(1, { failCommands: ["getMore"], ...data }, async () => {
      await new Promise((resolve) => setTimeout(resolve, 400));
      await t.things.insertOne({ _id: id });
    });
    found.push((await waiting).documentKey);
    await stream.close();
  }
  return found;
});

row("retryable writes: txnNumber, and one retry after a lost connection", "set", async (t) => {
  const { client, commands, named } = await listen(t, { retryWrites: true });
  const things = client.db(t.name).collection("things");
  await things.insertOne({ _id: 0 });
  const found = [];
  const label = { errorLabels: ["RetryableWriteError"] };
  for (const [n, failure] of [{ closeConnection: true }, { errorCode: 10107, ...label }, { errorCode: 91, ...label }].entries()) {
    commands.length = 0;
    const result = await t.failing(1, { failCommands: ["insert"], ...failure }, () => t.caught(() => things.insertOne({ _id: n + 1 })));
    found.push([result.error ?? "ok", named("insert").length, named("insert").every((each) => each.txnNumber !== undefined)]);
  }
  return [found, await things.countDocuments({})];
});

row("retryable reads", "any", async (t) => {
  await t.fill(3);
  const { client, commands, named } = await listen(t, { retryReads: true });
  const things = client.db(t.name).collection("things");
  const found = [];
  for (const failure of [{ closeConnection: true }, { errorCode: 91 }, { errorCode: 8 }]) {
    commands.length = 0;
    const answer = await t.failing(1, { failCommands: ["find"], ...failure }, () => t.caught(() => things.findOne({ _id: 1 })));
    found.push([answer, named("find").length]);
  }
  return found;
});

row("writeConcernError by the server, and one that can't be had", "any", async (t) => {
  await t.fill(1);
  const found = [];
  for (const code of [64, 91]) {
    const client = await t.make({ retryWrites: false, heartbeatFrequencyMS: 500 });
    const data = { failCommands: ["insert"], writeConcernError: { code, errmsg: "compat" } };
    found.push(await t.failing(1, data, () => t.caught(() => client.db(t.name).collection("things").insertOne({ _id: code }))));
  }
  const options = major < 4 ? { w: 9, wtimeout: 200 } : { writeConcern: { w: 9, wtimeoutMS: 200 } };
  return [found, await t.caught(() => t.things.insertOne({ _id: 9 }, options))];
});

row("unacknowledged writes keep their order", "any", async (t) => {
  const client = await t.make(major < 4 ? { poolSize: 1 } : { maxPoolSize: 1 });
  const things = client.db(t.name).collection("things");
  const options = major < 4 ? { w: 0 } : { writeConcern: { w: 0 } };
  for (let n = 0; n < 1000; n++) await things.insertOne({ _id: n }, options);
  const counted = await things.countDocuments({});
  await things.deleteMany({ _id: { $lt: 500 } }, options);
  return [counted, await things.countDocuments({})];
});

row("a command is cut off by its deadline", "any", async (t) => {
  await t.fill(20);
  const slow = { $where: "sleep(100) || true" };
  const server = await t.caught(() => t.things.find(slow).maxTimeMS(200).toArray());
  const client = await t.make({ socketTimeoutMS: 300, retryReads: false });
  const socket = await t.caught(() => client.db(t.name).collection("things").find(slow).toArray());
  return [server, socket.error, await t.things.countDocuments({})];
});

row("an aborted operation leaves the pool usable", "any", async (t) => {
  if (major < 6) throw new Absent("no AbortSignal");
  await t.fill(20);
  const controller = new AbortController();
  const running = t.things.find({ $where: "sleep(100) || true" }, { signal: controller.signal }).toArray();
  setTimeout(() => controller.abort(), 200);
  const aborted = await t.caught(() => running);
  return [aborted.error ?? "finished", await t.things.countDocuments({})];
});

"use strict";
// The load generator with the Node driver: the same job, the same workers and the same lines as load.py, which says
// what they mean.

const { MongoClient, MongoServerError } = require("mongodb");

const ROWS = 400;
const LAST = "last";
const CATCH_UP_MS = 45_000;
const job = JSON.parse(process.env.TORTURE_JOB);
const client = new MongoClient(job.uri, { appName: job.way, ...(job.nodeOptions ?? {}) });
const database = client.db(job.database);
const others = job.others ?? true;
const pause = job.pause * 1000;
const waiting = new Set();
let stopping = false;
let stop;
const stopped = new Promise((resolve) => { stop = () => { stopping = true; resolve(); }; });
let sawLast;
const lastSeen = new Promise((resolve) => { sawLast = () => { lastSeen.is = true; resolve(); }; });

const now = () => Number(process.hrtime.bigint()) / 1e9;
const tell = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const sleep = (ms) => Promise.race([new Promise((resolve) => setTimeout(resolve, ms)), stopped]);

function describe(error) {
  const wanted = ["RetryableWriteError", "TransientTransactionError", "UnknownTransactionCommitResult"];
  const labels = wanted.filter((label) => error.hasErrorLabel?.(label));
  const code = error instanceof MongoServerError || typeof error.code === "number" ? error.code ?? null : null;
  return { kind: error.constructor.name, code, labels, message: String(error.message).slice(0, 300) };
}

async function operate(worker, op, token, work) {
  const line = { w: worker, op, id: token, a: now() };
  try {
    await work();
  } catch (error) {
    line.error = describe(error);
  }
  line.b = now();
  tell(line);
  if (!line.error && waiting.delete(worker) && waiting.size === 0) tell({ ready: true });
}

const increase = [{ $inc: { n: 1 } }, { upsert: true }];
const kinds = [
  ["insertOne", (token) => database.collection("inserts").insertOne({ _id: token })],
  ["updateOne", (token) => database.collection("updates").updateOne({ _id: token }, ...increase)],
  ["findAndModify", (token) => database.collection("updates").findOneAndUpdate({ _id: token }, ...increase)],
  ["withTransaction", (token) => client.withSession((session) => session.withTransaction(async () => {
    await database.collection("left").insertOne({ _id: token }, { session });
    await database.collection("right").insertOne({ _id: token }, { session });
  }))],
];

async function writer(number) {
  for (let turn = 0; ; turn++) {
    await sleep(pause);
    if (stopping) return;
    const [op, work] = kinds[(number + turn) % kinds.length];
    const token = `writer${number}-${turn}`;
    await operate(`writer${number}`, op, token, () => work(token));
  }
}

async function again(worker, op, work, slower = 1) {
  for (let turn = 0; ; turn++) {
    await sleep(pause * slower);
    if (stopping) return;
    const token = `${worker}-${turn}`;
    await operate(worker, op, token, () => work(token));
  }
}

async function walkCursor() {
  let seen = 0;
  const cursor = database.collection("rows").find({}, { batchSize: 20 });
  try {
    for await (const _ of cursor) {
      seen++;
      if (seen % 20 === 0) await sleep(100);
      if (stopping) return;
    }
  } finally {
    await cursor.close();
  }
  if (seen !== ROWS) throw Object.assign(new Error(`a cursor gave ${seen} of ${ROWS} documents`), { code: -1 });
}

async function bareTransaction(token) {
  const session = client.startSession();
  try {
    session.startTransaction();
    await database.collection("bare").insertOne({ _id: token, side: 1 }, { session });
    await new Promise((resolve) => setTimeout(resolve, 50));
    await database.collection("bare").updateOne({ _id: token }, { $set: { side: 2 } }, { session });
    await session.commitTransaction();
  } finally {
    await session.endSession();
  }
}

async function watch(streaming) {
  let resumeAfter;
  for (let turn = 0; !lastSeen.is; turn++) {
    const started = now();
    const stream = database.collection("inserts").watch([], { resumeAfter, maxAwaitTimeMS: 500 });
    try {
      while (!lastSeen.is) {
        const change = await stream.tryNext();
        streaming();
        resumeAfter = stream.resumeToken ?? resumeAfter;
        if (change === null) continue;
        const token = change.documentKey._id;
        if (token === LAST) sawLast();
        else tell({ w: "watch", op: "change", id: token, a: started, b: now() });
      }
    } catch (error) {
      tell({ w: "watch", op: "changeStream", id: `watch-${turn}`, a: started, b: now(), error: describe(error) });
      await new Promise((resolve) => setTimeout(resolve, pause));
    } finally {
      await stream.close().catch(() => {});
    }
  }
}

function workers() {
  const all = new Map();
  for (let number = 0; number < job.writers; number++) all.set(`writer${number}`, () => writer(number));
  if (!others) return all;
  const rows = database.collection("rows");
  all.set("many", () => again("many", "updateMany", () => rows.updateMany({}, { $inc: { n: 1 } }), 5));
  all.set("cursor", () => again("cursor", "cursor", walkCursor));
  all.set("bare", () => again("bare", "transaction", bareTransaction));
  const readPreference = "secondaryPreferred";
  all.set("secondary", () => again("secondary", "secondaryRead", () => rows.findOne({ _id: 7 }, { readPreference })));
  all.set("find", () => again("find", "find", () => rows.findOne({ _id: 7 })));
  all.set("aggregate", () => again("aggregate", "aggregate", () => rows.aggregate([{ $limit: 1 }]).toArray()));
  return all;
}

async function main() {
  await database.collection("rows").insertMany(Array.from({ length: ROWS }, (_, number) => ({ _id: number })));
  for (const name of ["inserts", "updates", "left", "right", "bare"]) await database.createCollection(name);
  if (others) await new Promise((resolve) => { watch(resolve); });
  const all = workers();
  const stuck = new Set(all.keys());
  for (const name of all.keys()) waiting.add(name);
  const running = [...all].map(([name, work]) => work().then(() => stuck.delete(name)));
  await stopped;
  await Promise.race([Promise.all(running), new Promise((resolve) => setTimeout(resolve, 60_000))]);
  if (others) {
    await operate("last", "insertLast", LAST, () => database.collection("inserts").insertOne({ _id: LAST }));
    await Promise.race([lastSeen, new Promise((resolve) => setTimeout(resolve, CATCH_UP_MS))]);
  }
  const done = JSON.stringify({ done: true, stuck: [...stuck], caught_up: Boolean(lastSeen.is) || !others });
  process.stdout.write(done + "\n", () => process.exit(0));
}

process.on("SIGTERM", () => stop());
main().catch((error) => { process.stderr.write(`${error.stack}\n`, () => process.exit(1)); });

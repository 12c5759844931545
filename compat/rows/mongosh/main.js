// What a person does in mongosh, as a list of rows: mongosh URI --eval 'var ASKED = "…json"' --file main.js. Prints one JSON
// object a line: first {"version"}, then {"row", "needs"} with value or error. The shell awaits by itself in plain
// statements, and not in what a return or an argument hides; therefore results are named before they are used.
const fs = require("fs");
const asked = JSON.parse(fs.readFileSync(ASKED, "utf8"));
const VOLATILE = ["$clusterTime", "operationTime", "topologyVersion", "localTime", "connectionId", "lastWrite", "electionId"];
const rows = [];
const row = (name, needs, work) => rows.push({ name, needs, work });

const scrub = (text) =>
  text.replace(/cursor id \d+/g, "cursor id N").replace(/connection \d+ to/g, "connection N to").replace(/Executor error during \w+( command)? :: caused by :: /g, "").replace(/UUID\("[-0-9a-f]+"\)/g, "UUID").replace(/txnNumber: \d+/g, "txnNumber: N").replace(/, \$clusterTime: .*?\} \}/g, "");
const plain = (value) => {
  if (value === undefined || value === null) return null;
  if (typeof value === "string") return scrub(value);
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "boolean") return value;
  if (typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Date) return value.toISOString();
  if (value._bsontype) return /ObjectId|Timestamp/.test(value._bsontype) ? value._bsontype : `${value._bsontype} ${value}`;
  const found = {};
  for (const key of Object.keys(value)) if (!VOLATILE.includes(key)) found[key] = plain(value[key]);
  return found;
};
const fault = (error) => {
  const found = { error: error.name, message: scrub(String(error.message)) };
  if (error.code !== undefined) found.code = error.code;
  if (error.codeName) found.codeName = error.codeName;
  if (error.errorLabels) found.labels = error.errorLabels.filter((label) => /Transaction|Retryable/.test(label));
  return found;
};
const caught = (work) => {
  try {
    const result = work();
    return plain(result);
  } catch (error) {
    return fault(error);
  }
};
// What a command that prints would print.
const printed = (value) => {
  const shown = value && value.toString ? value : String(value);
  return plain(shown);
};
const numbers = (mine, count) => mine.things.insertMany(Array.from({ length: count }, (_, n) => ({ _id: n, n, group: n % 5 })));
const failing = (data, times, work) => {
  const root = new Mongo(asked.admin_uri);
  const admin = root.getDB("admin");
  admin.runCommand({ configureFailPoint: "failCommand", mode: { times }, data });
  try {
    const result = work();
    return result;
  } finally {
    admin.runCommand({ configureFailPoint: "failCommand", mode: "off" });
    root.close();
  }
};

row("CRUD", "any", (mine) => {
  numbers(mine, 250);
  const one = mine.things.insertOne({ _id: "one" });
  const found = mine.things.find({ n: { $lt: 5 } }, { n: 1 }).sort({ _id: 1 }).toArray();
  const update = mine.things.updateMany({ group: 2 }, { $set: { x: 1 } });
  const upsert = mine.things.updateOne({ _id: "up" }, { $set: { y: 2 } }, { upsert: true });
  const replace = mine.things.replaceOne({ _id: 3 }, { z: 3 });
  const remove = mine.things.deleteMany({ group: 3 });
  const count = mine.things.countDocuments({});
  const distinct = mine.things.distinct("group");
  const page = mine.things.find().sort({ n: -1 }).skip(5).limit(5).batchSize(2).toArray();
  return [one, found, update, upsert, replace, remove, count, distinct, page];
});
row("find-and-modify", "any", (mine) => {
  numbers(mine, 5);
  const first = mine.things.findOneAndUpdate({ _id: 1 }, { $inc: { n: 1 } }, { returnDocument: "after" });
  const second = mine.things.findAndModify({ query: { _id: 2 }, update: { $set: { m: 1 } }, new: true });
  const third = mine.things.findOneAndDelete({ _id: 3 });
  return [first, second, third];
});
row("bulk writes", "any", (mine) => {
  const done = mine.things.bulkWrite([{ insertOne: { document: { _id: 1 } } }, { updateOne: { filter: { _id: 1 }, update: { $set: { a: 1 } } } }]);
  const clash = caught(() => mine.things.bulkWrite([{ insertOne: { document: { _id: 1 } } }]));
  const bulk = mine.things.initializeOrderedBulkOp();
  bulk.insert({ _id: 5 });
  bulk.find({ _id: 1 }).update({ $set: { b: 1 } });
  const executed = bulk.execute();
  const left = mine.things.find().toArray();
  return [done.insertedCount, clash, executed.insertedCount, left];
});
row("aggregation, $out, $merge", "any", (mine) => {
  numbers(mine, 50);
  const sums = mine.things.aggregate([{ $group: { _id: "$group", sum: { $sum: "$n" } } }, { $sort: { _id: 1 } }]).toArray();
  mine.things.aggregate([{ $match: { n: { $lt: 3 } } }, { $out: "written" }]).toArray();
  mine.things.aggregate([{ $limit: 2 }, { $merge: "merged" }]).toArray();
  const written = mine.written.countDocuments({});
  const merged = mine.merged.countDocuments({});
  return [sums, written, merged];
});
row("indexes", "any", (mine) => {
  numbers(mine, 5);
  const made = mine.things.createIndex({ n: 1 }, { unique: true });
  const many = mine.things.createIndexes([{ a: 1 }, { b: -1 }]);
  const listed = mine.things.getIndexes();
  const keys = mine.things.getIndexKeys();
  const dropped = mine.things.dropIndex("a_1");
  const missing = caught(() => mine.things.dropIndex("nothing"));
  return [made, many, listed, keys, dropped, missing];
});
row("explain", "any", (mine) => {
  numbers(mine, 50);
  const plan = mine.things.find({ n: 7 }).explain("executionStats");
  const explained = mine.things.explain().aggregate([{ $match: { n: 1 } }]);
  return [plan.executionStats.nReturned, plan.executionStats.totalDocsExamined, explained.queryPlanner.winningPlan.stage];
});
row("collections, views, validation, capped", "any", (mine) => {
  numbers(mine, 10);
  mine.createView("low", "things", [{ $match: { n: { $lt: 3 } } }]);
  mine.createCollection("strict", { validator: { $jsonSchema: { required: ["name"] } } });
  const refused = caught(() => mine.strict.insertOne({ _id: 1 }));
  mine.createCollection("capped", { capped: true, size: 4096 });
  const capped = mine.capped.isCapped();
  const infos = mine.getCollectionInfos();
  const names = mine.getCollectionNames();
  const low = mine.low.find().toArray();
  const renamed = mine.strict.renameCollection("renamed");
  const dropped = mine.renamed.drop();
  return [refused, capped, infos.map((each) => [each.name, each.type]).sort(), names.sort(), low, renamed, dropped];
});
row("time series", "any", (mine) => {
  mine.createCollection("series", { timeseries: { timeField: "at", metaField: "m" } });
  mine.series.insertMany(Array.from({ length: 20 }, (_, n) => ({ at: new Date(1700000000000 + n * 60000), m: n % 3, v: n })));
  const found = mine.series.aggregate([{ $group: { _id: "$m", sum: { $sum: "$v" } } }, { $sort: { _id: 1 } }]).toArray();
  return found;
});
row("every BSON type there and back", "any", (mine) => {
  mine.things.insertOne({ _id: 1, long: Long("1152921504606846976"), decimal: Decimal128("1.10"), int: Int32(3), date: new Date(1700000000678), uuid: UUID("00112233445566778899aabbccddeeff"), bin: BinData(0, "AAEC"), min: MinKey(), max: MaxKey(), re: /^a/i, code: Code("1"), ts: Timestamp({ t: 1, i: 2 }), none: null, nan: NaN });
  const found = mine.things.findOne();
  return EJSON.stringify(found, { relaxed: false });
});
row("cursors: it, batches, iteration, count", "any", (mine) => {
  numbers(mine, 50);
  const cursor = mine.things.find().sort({ _id: 1 }).batchSize(7);
  const first = cursor.next();
  const more = cursor.hasNext();
  const left = cursor.objsLeftInBatch();
  const rest = cursor.toArray();
  const seen = [];
  mine.things.find().limit(3).forEach((each) => seen.push(each._id));
  const mapped = mine.things.find().limit(3).map((each) => each._id * 2).toArray();
  const size = mine.things.find().limit(3).size();
  const printedPage = mine.things.find().sort({ _id: 1 }).pretty().toArray().length;
  return [first, more, left, rest.length, seen, mapped, size, printedPage];
});
row("collations and hints", "any", (mine) => {
  mine.things.insertMany(["b", "A", "a"].map((name, _id) => ({ _id, name })));
  mine.things.createIndex({ name: 1 });
  const found = mine.things.find().collation({ locale: "en", strength: 1 }).sort({ name: 1 }).toArray();
  const hinted = mine.things.find({ name: "b" }).hint("name_1").toArray();
  const wrong = caught(() => mine.things.find().hint("nothing").toArray());
  return [found.map((each) => each.name), hinted, wrong];
});
row("transactions: commit and abort", "set", (mine) => {
  numbers(mine, 3);
  const session = db.getMongo().startSession();
  session.startTransaction();
  const inside = session.getDatabase(mine.getName()).things;
  inside.updateOne({ _id: 1 }, { $inc: { n: 100 } });
  inside.insertOne({ _id: "new" });
  const outside = mine.things.countDocuments({});
  session.commitTransaction();
  session.startTransaction();
  inside.deleteMany({});
  session.abortTransaction();
  session.endSession();
  const left = mine.things.find().toArray();
  return [outside, left];
});
row("withTransaction", "set", (mine) => {
  numbers(mine, 1);
  const session = db.getMongo().startSession();
  session.withTransaction(() => {
    const inside = session.getDatabase(mine.getName()).things;
    inside.updateOne({ _id: 0 }, { $inc: { n: 1 } });
  });
  session.endSession();
  const found = mine.things.findOne();
  return found;
});
row("change streams", "set", (mine) => {
  numbers(mine, 1);
  const stream = mine.things.watch();
  mine.things.insertOne({ _id: "a" });
  let event = null;
  for (let tries = 0; event === null && tries < 100; tries++) event = stream.tryNext();
  const token = stream.getResumeToken();
  stream.close();
  mine.things.insertOne({ _id: "b" });
  const again = mine.watch([], { resumeAfter: token });
  let second = null;
  for (let tries = 0; second === null && tries < 100; tries++) second = again.tryNext();
  again.close();
  return [event.operationType, event.documentKey, second.documentKey];
});
row("retryable writes: one retry after a lost connection", "set", (mine) => {
  numbers(mine, 1);
  const done = failing({ failCommands: ["insert"], closeConnection: true }, 1, () => mine.things.insertOne({ _id: "again" }));
  const left = mine.things.countDocuments({});
  return [done, left];
});
row("writeConcernError by the server", "any", (mine) => {
  numbers(mine, 1);
  const data = { failCommands: ["insert"], writeConcernError: { code: 64, errmsg: "compat" } };
  const found = failing(data, 1, () => caught(() => mine.things.insertOne({ _id: "concern" }, { writeConcern: { w: 1 } })));
  return found;
});
row("error documents", "any", (mine) => {
  numbers(mine, 5);
  const duplicate = caught(() => mine.things.insertOne({ _id: 1 }));
  const duplicates = caught(() => mine.things.insertMany([{ _id: 1 }, { _id: 2 }], { ordered: false }));
  const operator = caught(() => mine.things.find({ $nonsense: 1 }).toArray());
  const stage = caught(() => mine.things.aggregate([{ $nonsense: 1 }]).toArray());
  const limit = caught(() => mine.things.find({ $where: "sleep(200) || true" }).maxTimeMS(100).toArray());
  const rights = caught(() => db.getSiblingDB("config").things.insertOne({ _id: 1 }));
  const missing = caught(() => mine.runCommand({ validate: "nothing" }));
  const field = caught(() => mine.runCommand({ find: "things", nonsense: 1 }));
  return { duplicate, duplicates, operator, stage, limit, rights, missing, field };
});
row("prompt's facts: hello, version, set name", "any", (mine) => {
  const hello = db.hello();
  const legacy = db.isMaster();
  const version = db.version();
  const kept = ["isWritablePrimary", "secondary", "setName", "hosts", "me", "primary", "msg", "maxWireVersion", "readOnly"];
  return [Object.fromEntries(kept.map((key) => [key, plain(hello[key])])), Object.keys(hello).sort(), Object.keys(legacy).sort(), version];
});
row("rs.status(), rs.conf(), rs.hello(), rs.printReplicationInfo()", "replica", () => {
  const status = caught(() => rs.status());
  const conf = caught(() => rs.conf());
  const hello = caught(() => rs.hello());
  const secondary = caught(() => rs.printSecondaryReplicationInfo());
  const members = status.members ? status.members.map((each) => [each.name, each.stateStr]) : status;
  const hosts = conf.members ? conf.members.map((each) => [each.host, each.priority]) : conf;
  return [members, hosts, hello.setName, Object.keys(secondary).sort()];
});
row("sh.status() says what it is not", "any", () => {
  const status = caught(() => sh.status());
  const shards = caught(() => sh.getBalancerState());
  return [status.error ?? "ok", status.message, shards.error ?? "ok"];
});
row("show dbs, collections, users, roles, profile, log", "any", (mine) => {
  numbers(mine, 2);
  const dbs = show("databases");
  const names = dbs.value.map((each) => each.name);
  db = mine;
  const collections = show("collections");
  const users = caught(() => show("users"));
  const roles = caught(() => show("roles"));
  const logs = caught(() => show("logs"));
  const profile = caught(() => show("profile"));
  return [names.includes(mine.getName()), collections.value, users, roles.error ?? "ok", logs, Object.keys(profile)];
});
row("use, db, getSiblingDB, getMongo", "any", (mine) => {
  const before = db.getName();
  use(mine.getName());
  const after = db.getName();
  const sibling = db.getSiblingDB("other").getName();
  const uri = typeof db.getMongo().getURI();
  use(before);
  return [after, sibling, uri];
});
row("db helpers: stats, serverStatus, hostInfo, buildInfo", "any", (mine) => {
  numbers(mine, 20);
  const stats = mine.stats();
  const collection = mine.things.stats();
  const server = db.serverStatus();
  const build = db.serverBuildInfo();
  const host = db.hostInfo();
  const commands = db.listCommands();
  const options = caught(() => db.serverCmdLineOpts());
  const size = mine.things.dataSize();
  const shape = mine.things.totalIndexSize();
  return [stats.objects, collection.count, Object.keys(server).sort(), build.version, host.os.type, Object.keys(commands).length, options.error ?? "ok", size, typeof shape];
});
row("currentOp, killOp of one's own", "any", (mine) => {
  const current = db.currentOp({ $ownOps: true });
  const all = caught(() => db.currentOp(true));
  return [current.ok, all.ok ?? all.error, typeof current.inprog[0].opid];
});
row("profiling level and fsync locks are asked for", "any", (mine) => {
  const level = caught(() => mine.getProfilingStatus());
  return level;
});
row("connectionStatus, logout, whatsmyuri", "any", () => {
  const status = db.runCommand({ connectionStatus: 1 });
  const uri = db.adminCommand({ whatsmyuri: 1 });
  return [status.authInfo.authenticatedUserRoles.map((each) => each.role).sort(), Object.keys(uri)];
});
row("read preference and read concern of the shell", "any", (mine) => {
  numbers(mine, 3);
  db.getMongo().setReadPref("secondaryPreferred");
  const count = mine.things.find().readConcern("local").toArray().length;
  const mode = db.getMongo().getReadPrefMode();
  db.getMongo().setReadPref("primary");
  const pref = mine.things.find().readPref("nearest").toArray().length;
  return [count, mode, pref];
});
row("legacy helpers", "any", (mine) => {
  const insert = caught(() => mine.things.insert([{ _id: 1 }, { _id: 2 }]));
  const update = caught(() => mine.things.update({ _id: 1 }, { $set: { a: 1 } }, { multi: false }));
  const count = caught(() => mine.things.count());
  const save = caught(() => mine.things.save({ _id: 9 }));
  const remove = caught(() => mine.things.remove({ _id: 2 }, { justOne: true }));
  const reduced = caught(() => mine.things.mapReduce(function () { emit(1, 1); }, function (key, values) { return Array.sum(values); }, { out: { inline: 1 } }));
  const run = caught(() => mine.runCommand("ping"));
  return [insert, update, count, save.error ?? "ok", remove, reduced.results ?? reduced, run.ok];
});
row("versioned API", "any", (mine) => {
  const api = { api: { version: "1", strict: true, deprecationErrors: true } };
  const other = new Mongo(asked.uri, undefined, api);
  const things = other.getDB(mine.getName()).things;
  things.insertOne({ _id: 1 });
  const found = things.findOne();
  const strict = caught(() => other.getDB(mine.getName()).runCommand({ collStats: "things" }));
  other.close();
  return [found, strict];
});
row("a second connection: Mongo() and connect()", "any", (mine) => {
  numbers(mine, 4);
  const other = new Mongo(asked.uri);
  const count = other.getDB(mine.getName()).things.countDocuments({});
  other.close();
  return count;
});
row("tailable cursor", "any", (mine) => {
  mine.createCollection("capped", { capped: true, size: 100000 });
  mine.capped.insertMany([{ _id: 1 }, { _id: 2 }]);
  const cursor = mine.capped.find().tailable();
  const first = cursor.tryNext();
  const second = cursor.tryNext();
  const third = cursor.tryNext();
  mine.capped.insertOne({ _id: 3 });
  let late = null;
  for (let tries = 0; late === null && tries < 100; tries++) late = cursor.tryNext();
  cursor.close();
  return [first, second, third, late];
});
row("16 MiB document and a large result", "any", (mine) => {
  mine.things.insertOne({ _id: 1, filler: "x".repeat(16 * 1024 * 1024 - 40) });
  mine.others.insertMany(Array.from({ length: 100 }, (_, n) => ({ _id: n, filler: String(n).repeat(50000) })));
  const one = mine.things.findOne();
  const all = mine.others.find().toArray();
  return [one.filler.length, all.length, all.reduce((sum, each) => sum + each.filler.length, 0)];
});
row("unacknowledged write", "any", (mine) => {
  const done = mine.things.insertOne({ _id: 1 }, { writeConcern: { w: 0 } });
  let count = 0;
  for (let tries = 0; count === 0 && tries < 50; tries++) count = mine.things.countDocuments({});
  return [done.acknowledged, count];
});
row("database-level aggregation", "any", () => {
  const sessions = caught(() => db.getSiblingDB("admin").aggregate([{ $listLocalSessions: {} }, { $limit: 1 }]).toArray());
  const operations = caught(() => db.getSiblingDB("admin").aggregate([{ $currentOp: { localOps: true } }]).toArray());
  return [Array.isArray(sessions) || sessions, Array.isArray(operations) || operations];
});
row("bulk insert of 47 MB", "any", (mine) => {
  const filler = "x".repeat(999800);
  const done = mine.things.insertMany(Array.from({ length: 47 }, (_, _id) => ({ _id, filler })));
  const count = mine.things.countDocuments({});
  return [Object.keys(done.insertedIds).length, count];
});
row("logging in by oneself: a wrong password", "any", () => {
  const uri = asked.uri.replace(/\/\/([^@/]*@)?/, "//compat:wrong@");
  const wrong = caught(() => new Mongo(uri).getDB("admin").runCommand({ buildInfo: 1 }));
  return [wrong.error, wrong.code, wrong.codeName];
});

print(JSON.stringify({ version: version() }));
for (const each of rows) {
  if (asked.rows && !asked.rows.some((wanted) => each.name.startsWith(wanted))) continue;
  const said = { row: each.name, needs: each.needs };
  const began = Date.now();
  const mine = db.getSiblingDB(`compat_${each.name.toLowerCase().replace(/[^a-z0-9]/g, "_").slice(0, 40)}`);
  try {
    mine.dropDatabase();
    const value = each.work(mine);
    said.value = plain(value);
  } catch (error) {
    said.error = fault(error);
    said.trace = String(error.stack);
  }
  try {
    mine.dropDatabase();
  } catch (error) {
    said.error = said.error ?? fault(error);
  }
  said.seconds = (Date.now() - began) / 1000;
  print(JSON.stringify(said));
}

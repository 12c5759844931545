// Rows about the server as a client sees it: addresses, monitoring, errors, diagnosis, options of the connection.
"use strict";
const { Absent, driver, major, plain, row } = require("./trial.cjs");

row("connect: ping, topology", "any", async (t) => {
  await t.db.command({ ping: 1 });
  const description = t.client.topology?.description ?? t.client.s?.topology?.description;
  const servers = [...description.servers.values()];
  return [(await t.db.admin().buildInfo()).version, description.type, description.setName ?? null, servers.map((each) => each.type).sort()];
});

row("hello, field by field", "any", async (t) => {
  const modern = await t.db.command({ hello: 1 });
  const legacy = await t.db.command({ isMaster: 1 });
  return [plain(modern), Object.keys(modern).sort(), Object.keys(legacy).sort()];
});

row("discovery: replicaSet=wrong fails as it does directly", "any", async (t) => {
  const hosts = (await t.db.command({ hello: 1 })).hosts ?? [];
  const [where, query = ""] = t.asked.uri.split("?");
  const kept = query.split("&").filter((each) => each && !/^(replicaSet|directConnection)=/i.test(each));
  const uri = `${where}?${[...kept, "replicaSet=nosuchset"].join("&")}`;
  const wrong = await t.caught(() => t.make({ serverSelectionTimeoutMS: 1500, connectTimeoutMS: 1500 }, uri));
  return [hosts.length, wrong.error];
});

row("monitoring: heartbeats in every mode", "any", async (t) => {
  const found = {};
  for (const mode of major < 6 ? ["auto"] : ["auto", "stream", "poll"]) {
    const options = { heartbeatFrequencyMS: 500, ...(mode === "auto" ? {} : { serverMonitoringMode: mode }) };
    const client = new driver.MongoClient(t.asked.uri, major < 4 ? { useUnifiedTopology: true, useNewUrlParser: true, ...options } : options);
    t.clients.push(client);
    let succeeded = 0;
    let awaited = 0;
    let failed = 0;
    const enough = new Promise((resolve) =>
      client.on("serverHeartbeatSucceeded", (event) => {
        succeeded += 1;
        awaited += event.awaited ? 1 : 0;
        if (succeeded >= 4 && (awaited > 0 || mode === "poll")) resolve(true);
      }),
    );
    client.on("serverHeartbeatFailed", () => (failed += 1));
    await client.connect();
    const late = new Promise((resolve) => setTimeout(() => resolve(false), 10000).unref());
    found[mode] = [await Promise.race([enough, late]), awaited > 0, failed];
    await client.close();
  }
  return found;
});

// Until it knows all members, a client may well take the first that it hears of.
const discovered = async (client) => {
  const { hosts = [] } = await client.db("admin").command({ hello: 1 });
  const known = () => client.topology?.description ?? client.s.topology.description;
  for (let tries = 0; tries < 100 && !/Single|LoadBalanced/.test(known().type); tries++) {
    if ([...known().servers.values()].filter((each) => each.type !== "Unknown").length >= hosts.length) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

row("read preferences: who serves", "any", async (t) => {
  await t.db.collection("things").insertOne({ _id: 1 }, major < 4 ? { w: "majority" } : { writeConcern: { w: "majority" } });
  const found = {};
  for (const mode of ["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"]) {
    const client = await t.make({ serverSelectionTimeoutMS: 1000 });
    await discovered(client);
    const roles = await t.caught(async () => {
      const answer = await client.db("admin").command({ hello: 1 }, { readPreference: mode });
      const document = await client.db(t.name).collection("things", { readPreference: mode }).findOne();
      return [mode === "nearest" || [answer.isWritablePrimary, answer.secondary], document !== null || mode !== "primary"];
    });
    found[mode] = roles.error ?? roles;
  }
  return found;
});

row("error documents", "any", async (t) => {
  await t.fill(20);
  await t.things.createIndex({ n: 1 }, { unique: true });
  const command = (document) => t.caught(() => t.db.command(document));
  return {
    duplicate: await t.caught(() => t.things.insertOne({ _id: 1 })),
    duplicates: await t.caught(() => t.things.insertMany([{ _id: 1 }, { _id: 2 }], { ordered: false })),
    "duplicate index": await t.caught(() => t.things.updateOne({ _id: 2 }, { $set: { n: 3 } })),
    operator: await t.caught(() => t.things.findOne({ $nonsense: 1 })),
    stage: await t.caught(() => t.things.aggregate([{ $nonsense: 1 }]).toArray()),
    field: await command({ find: "things", nonsense: 1 }),
    type: await command({ find: 5 }),
    "no collection": await command({ validate: "nothing" }),
    rights: await t.caught(() => t.client.db("config").collection("things").insertOne({ _id: 1 })),
    immutable: await t.caught(() => t.things.updateOne({ _id: 1 }, { $set: { _id: 5 } })),
    collation: await t.caught(() => t.things.findOne({}, { collation: { locale: "nonsense" } })),
  };
});

row("errors by fail point: codes and labels unchanged", "any", async (t) => {
  await t.fill(3);
  const client = await t.make({ retryReads: false, retryWrites: false, heartbeatFrequencyMS: 500 });
  const things = client.db(t.name).collection("things");
  const found = [];
  for (const [errorCode, errorLabels] of [[112, []], [50, []], [13, []], [6, []], [251, ["TransientTransactionError"]], [133, []]]) {
    found.push(await t.failing(1, { failCommands: ["find"], errorCode, errorLabels }, () => t.caught(() => things.findOne())));
  }
  return found;
});

row("listDatabases, stats, hostInfo, serverStatus", "any", async (t) => {
  await t.fill(20);
  const admin = t.db.admin();
  const stats = await t.db.command({ collStats: "things" });
  return {
    listed: (await admin.listDatabases()).databases.some((each) => each.name === t.name),
    stats: [(await t.db.stats()).objects, stats.ns, stats.count, stats.nindexes],
    buildInfo: await admin.buildInfo(),
    serverStatus: Object.keys(await admin.serverStatus()).sort(),
    hostInfo: (await t.db.admin().command({ hostInfo: 1 })).os.type,
    collections: (await t.db.listCollections().toArray()).map((each) => [each.name, each.type]).sort(),
    indexStats: (await t.things.aggregate([{ $indexStats: {} }]).toArray()).length,
    commands: Object.keys((await admin.command({ listCommands: 1 })).commands).length,
  };
});

row("replica set commands", "replica", async (t) => {
  const status = await t.db.admin().command({ replSetGetStatus: 1 });
  return [status.set, status.members.map((each) => [each.name, each.stateStr])];
});

row("connectionStatus on a pool of 20 sockets", "any", async (t) => {
  await t.fill(5);
  const client = await t.make(major < 4 ? { poolSize: 20 } : { maxPoolSize: 20, minPoolSize: 20 });
  const found = await Promise.all(
    Array.from({ length: 20 }, async () => {
      await t.slow(client.db(t.name).collection("things"), 20);
      const { authInfo } = await client.db("admin").command({ connectionStatus: 1 });
      return [authInfo.authenticatedUsers.length, authInfo.authenticatedUserRoles.map((each) => each.role).sort()];
    }),
  );
  return [found.length, found[0], found.every((each) => JSON.stringify(each) === JSON.stringify(found[0]))];
});

row("currentOp shows one's own operation, and killOp ends it", "any", async (t) => {
  await t.fill(20);
  const comment = `compat-${process.pid}-${Date.now()}`;
  const running = t.caught(() => t.things.find({ $where: "sleep(500) || true", $comment: comment }).toArray());
  const admin = t.client.db("admin");
  let killed = "never seen";
  for (let tries = 0; tries < 100 && killed === "never seen"; tries++) {
    const stages = [{ $currentOp: {} }, { $match: { "command.filter.$comment": comment } }];
    const found = await admin.aggregate(stages).toArray();
    if (found.length) killed = (await admin.command({ killOp: 1, op: found[0].opid })).ok;
    else await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return [killed, await running];
});

row("versioned API", "any", async (t) => {
  if (major < 4) throw new Absent("no versioned API");
  const client = await t.make({ serverApi: { version: "1", strict: true, deprecationErrors: true } });
  const things = client.db(t.name).collection("things");
  await things.insertMany([{ _id: 1 }, { _id: 2 }]);
  return [
    await things.find({}, { batchSize: 1 }).toArray(),
    await t.caught(() => client.db(t.name).command({ collStats: "things" })),
    await t.caught(() => things.distinct("_id")),
    await t.caught(() => t.db.command({ ping: 1, apiVersion: "2" })),
  ];
});

row("compressors asked for in the URI", "any", async (t) => {
  const found = {};
  for (const names of [["zlib"], ["snappy"], ["snappy", "zlib"]]) {
    const seen = await t.caught(async () => {
      const client = await t.make(major < 4 ? { compression: { compressors: names } } : { compressors: names });
      const things = client.db(t.name).collection("things");
      await things.insertMany(Array.from({ length: 50 }, () => ({ filler: "x".repeat(10000) })));
      return (await things.find({}).limit(30).toArray()).every((each) => each.filler.length === 10000);
    });
    found[names.join()] = seen.error ?? seen;
  }
  return found;
});

row("read concerns", "any", async (t) => {
  await t.fill(5);
  const found = {};
  for (const level of ["local", "available", "majority", "linearizable", "snapshot"]) {
    found[level] = await t.caught(() => t.db.collection("things", { readConcern: { level } }).countDocuments({}));
  }
  return found;
});

row("logging in by oneself: a wrong password", "any", async (t) => {
  const uri = t.asked.uri.replace(/\/\/([^@/]*@)?/, "//compat:wrong@");
  const wrong = await t.caught(async () => (await t.make({ serverSelectionTimeoutMS: 3000 }, uri)).db("admin").command({ buildInfo: 1 }));
  return [wrong.error, wrong.code, wrong.codeName];
});

row("many clients, opened and closed", "any", async (t) => {
  await t.fill(20);
  const counts = [];
  for (let n = 0; n < 10; n++) {
    const client = await t.make();
    counts.push(await client.db(t.name).collection("things").countDocuments({}));
    await client.close();
  }
  return counts;
});

// Carries out the specifications' unified test files with the Node driver and says what happened, without judging it: what
// each operation returned or threw, which events the driver sent out, what lies in the collections afterwards. Whoever
// called compares two such accounts. node specs.cjs '{"uri": …, "topology": "replicaset", "auth": false, "files": [[name, path], …]}'
// with COMPAT_DRIVER naming the driver's folder; prints one JSON object a line, first {"version"}.
"use strict";
const { readFileSync } = require("node:fs");
const { driver, plain: simple, fault, version } = require("./trial.cjs");
const { OPERATIONS, Unsupported } = require("./operations.cjs");

const TEST_MS = 40000;
const SERVER = "6.0.5";
const COMMANDS = { commandStarted: "commandStartedEvent", commandSucceeded: "commandSucceededEvent", commandFailed: "commandFailedEvent" };
const POOL = {
  connectionPoolCleared: "poolClearedEvent",
  connectionPoolReady: "poolReadyEvent",
  connectionPoolCreated: "poolCreatedEvent",
  connectionCreated: "connectionCreatedEvent",
  connectionReady: "connectionReadyEvent",
  connectionClosed: "connectionClosedEvent",
  connectionCheckOutStarted: "connectionCheckOutStartedEvent",
  connectionCheckOutFailed: "connectionCheckOutFailedEvent",
  connectionCheckedOut: "connectionCheckedOutEvent",
  connectionCheckedIn: "connectionCheckedInEvent",
};
const WATCHED = { serverDescriptionChanged: "serverDescriptionChangedEvent", topologyDescriptionChanged: "topologyDescriptionChangedEvent" };
const SECRET = new Set(["authenticate", "saslStart", "saslContinue", "getnonce", "createUser", "updateUser"]);
const asked = JSON.parse(process.argv[2]);
process.on("unhandledRejection", () => {});

const parse = (text) => driver.BSON.EJSON.parse(text, { relaxed: true });
const number = (text) => text.split(".").reduce((sum, each) => sum * 1000 + Number(each), 0);
const three = (text) => number(text.split(".").concat(["0", "0"]).slice(0, 3).join("."));

// Names for what is random: the first session is session 1, whatever its id.
class Names {
  constructor() {
    this.known = new Map();
  }
  of(kind, id) {
    const key = `${kind} ${id}`;
    if (!this.known.has(key)) this.known.set(key, `${kind} ${[...this.known.keys()].filter((each) => each.startsWith(kind)).length + 1}`);
    return this.known.get(key);
  }
  plain(value) {
    if (value && typeof value === "object" && !value._bsontype && !(value instanceof Date) && !Buffer.isBuffer(value)) {
      if (Array.isArray(value)) return value.map((each) => this.plain(each));
      if (value instanceof RegExp || value instanceof Map) return simple(value);
      if (value instanceof Error) return fault(value);
      const found = {};
      for (const [key, each] of Object.entries(value)) if (typeof each !== "function") this.field(found, key, each);
      return found;
    }
    if (value?._bsontype === "ObjectId") return this.of("ObjectId", value.toHexString());
    if (value?._bsontype === "Long") return String(value);
    if (value?._bsontype === "Timestamp") return "Timestamp";
    return simple(value);
  }
  field(found, key, each) {
    if (["$clusterTime", "operationTime", "topologyVersion", "electionId", "opTime", "lastWrite", "localTime", "connectionId", "uploadDate", "uuid", "collectionUUID", "nonce"].includes(key)) return;
    if (key === "lsid" && each?.id) found.lsid = this.of("session", each.id.toString("hex"));
    else if (key === "_data" && typeof each === "string") found._data = "token";
    else if (["maxTimeMS", "maxAwaitTimeMS", "wtimeout", "wallTime", "rand"].includes(key)) found[key] = typeof each;
    else if (key === "getMore" || (key === "id" && each?._bsontype === "Long")) found[key] = String(each) === "0" ? "0" : "cursor";
    else if (key === "cursors") found.cursors = each.length;
    else if (key === "endSessions") found.endSessions = "sessions"; // how many there are depends on how busy the pool was
    else found[key] = this.plain(each);
  }
}

class Test {
  constructor(file, test) {
    Object.assign(this, { file, test, entities: new Map(), events: new Map(), sessions: new Map(), threads: new Map(), points: [], unexpected: [], names: new Names() });
  }
  plain(value) {
    return this.names.plain(value);
  }
  get(id) {
    if (!this.entities.has(id)) throw new Unsupported(`no entity ${id}`);
    return this.entities.get(id);
  }
  async create(entities) {
    for (const each of entities) {
      const [kind, is] = Object.entries(each)[0];
      if (kind === "client") this.entities.set(is.id, await this.client(is));
      else if (kind === "database") this.entities.set(is.id, this.get(is.client).db(is.databaseName, this.options(is.databaseOptions)));
      else if (kind === "collection") this.entities.set(is.id, this.get(is.database).collection(is.collectionName, this.options(is.collectionOptions)));
      else if (kind === "bucket") this.entities.set(is.id, new driver.GridFSBucket(this.get(is.database), this.options(is.bucketOptions)));
      else if (kind === "session") this.session(is);
      else if (kind === "thread") this.threads.set(is.id, Promise.resolve());
      else throw new Unsupported(`entity ${kind}`);
    }
  }
  session(is) {
    const { defaultTransactionOptions, ...rest } = is.sessionOptions ?? {};
    const options = this.options(rest);
    if (defaultTransactionOptions) options.defaultTransactionOptions = this.options(defaultTransactionOptions);
    const session = this.get(is.client).startSession(options);
    this.entities.set(is.id, session);
    this.names.of("session", session.id.id.toString("hex"));
  }
  options(given = {}) {
    const { readConcern, readPreference, writeConcern, session, ...rest } = given;
    if (readConcern) rest.readConcern = readConcern;
    if (writeConcern) rest.writeConcern = { ...writeConcern, wtimeoutMS: writeConcern.wtimeoutMS };
    if (readPreference) rest.readPreference = driver.ReadPreference.fromOptions({ readPreference });
    if (session) rest.session = typeof session === "string" ? this.get(session) : session;
    return rest;
  }
  async client({ id, uriOptions = {}, observeEvents = [], ignoreCommandMonitoringEvents = [], observeSensitiveCommands, serverApi, autoEncryptOpts }) {
    if (autoEncryptOpts) throw new Unsupported("automatic encryption");
    const { appname, loadBalanced, ...rest } = uriOptions;
    if (loadBalanced) throw new Unsupported("a load balancer");
    if (appname) rest.appName = appname;
    if (rest.readConcernLevel) rest.readConcern = { level: rest.readConcernLevel };
    delete rest.readConcernLevel;
    const client = new driver.MongoClient(asked.uri, { monitorCommands: true, heartbeatFrequencyMS: 500, ...rest, serverApi });
    const seen = [];
    this.events.set(id, seen);
    const ignored = new Set(["configureFailPoint", ...ignoreCommandMonitoringEvents]);
    for (const [event, name] of Object.entries(COMMANDS)) {
      if (!observeEvents.includes(name)) continue;
      client.on(event, (told) => {
        if (ignored.has(told.commandName) || (!observeSensitiveCommands && SECRET.has(told.commandName))) return;
        seen.push({ name, commandName: told.commandName, databaseName: told.databaseName, command: told.command, reply: told.reply, failure: told.failure });
      });
    }
    for (const [event, name] of Object.entries(POOL)) {
      if (observeEvents.includes(name)) client.on(event, (told) => seen.push({ name, reason: told.reason }));
    }
    for (const [event, name] of Object.entries(WATCHED)) {
      const type = (told) => told?.type;
      if (observeEvents.includes(name)) client.on(event, (told) => seen.push({ name, previousDescription: { type: type(told.previousDescription) }, newDescription: { type: type(told.newDescription) } }));
    }
    await client.connect().catch(() => {}); // what it meets on its way there belongs to the operations
    return client;
  }
  async run() {
    const { createEntities = [], initialData = [] } = this.file;
    await this.fill(initialData);
    await this.create(createEntities);
    const operations = [];
    for (const each of this.test.operations) operations.push(await this.carryOut(each));
    for (const thread of this.threads.values()) await thread;
    for (const client of this.entities.values()) if (client instanceof driver.MongoClient && this.test.expectEvents?.some((each) => each.eventType === "cmap")) await client.close();
    const events = {};
    for (const [id, seen] of this.events) events[id] = seen.map((each) => this.told(each));
    return { operations, events, outcome: await this.outcome(this.test.outcome ?? []) };
  }
  // The reply itself is compared where the operation returns it; here its kind is enough.
  told({ command, reply, failure, ...rest }) {
    const found = { ...rest };
    if (command) found.command = this.plain(command);
    if (reply) found.reply = { ok: reply.ok, fields: Object.keys(this.plain(reply)) };
    if (failure) found.failure = fault(failure);
    return found;
  }
  // What it returned, as the account shows it; what it threw is thrown.
  async perform({ name, object, arguments: given = {}, ignoreResultAndError, saveResultAsEntity }) {
    const work = OPERATIONS[name];
    if (work === undefined) throw new Unsupported(name);
    const target = object === "testRunner" ? this : this.get(object);
    const result = await work(target, this.options(given), this);
    if (saveResultAsEntity) this.entities.set(saveResultAsEntity, result);
    const opened = result instanceof driver.AbstractCursor || result instanceof driver.ChangeStream;
    return ignoreResultAndError ? null : opened ? "opened" : this.plain(result);
  }
  async carryOut(operation) {
    try {
      return await this.perform(operation);
    } catch (error) {
      if (error instanceof Unsupported) throw error;
      if (operation.ignoreResultAndError) return null;
      if (!operation.expectError) this.unexpected.push(`${operation.name}: ${error.message}`);
      return { threw: fault(error) };
    }
  }
  async fill(data) {
    for (const { databaseName, collectionName, documents, createOptions } of data) {
      const db = keeper.db(databaseName);
      await db.collection(collectionName).drop().catch(() => {});
      if (createOptions || !documents.length) await db.createCollection(collectionName, { ...createOptions, writeConcern: { w: "majority" } });
      if (documents.length) await db.collection(collectionName).insertMany(documents, { writeConcern: { w: "majority" } });
    }
  }
  async outcome(expected) {
    const found = [];
    for (const { databaseName, collectionName } of expected) {
      found.push(this.plain(await keeper.db(databaseName).collection(collectionName).find({}, { sort: { _id: 1 } }).toArray()));
    }
    return found;
  }
  async end() {
    for (const point of new Set(this.points)) await keeper.db("admin").command({ configureFailPoint: point, mode: "off" }).catch(() => {});
    // A transaction that a fail point left open would be in the way of the next test.
    await keeper.db("admin").command({ killAllSessions: [] }).catch(() => {});
    for (const each of this.entities.values()) if (each instanceof driver.ClientSession) await each.endSession().catch(() => {});
    for (const each of this.entities.values()) if (each instanceof driver.MongoClient) await each.close().catch(() => {});
  }
}

function fits(requirements) {
  if (!requirements?.length) return true;
  return requirements.some((each) => {
    if ((each.auth !== undefined && each.auth !== asked.auth) || each.csfle || each.serverless === "require") return false;
    if (each.topologies && !each.topologies.includes(asked.topology)) return false;
    if (each.minServerVersion && three(each.minServerVersion) > three(SERVER)) return false;
    return !(each.maxServerVersion && three(each.maxServerVersion) < three(SERVER));
  });
}

const limited = (work) => {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("took too long")), TEST_MS)));
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
};

let keeper;
(async () => {
  console.log(JSON.stringify({ version }));
  keeper = new driver.MongoClient(asked.uri, { monitorCommands: true });
  await keeper.connect();
  for (const [name, path] of asked.files) {
    const file = parse(readFileSync(path, "utf8"));
    for (const test of file.tests) {
      const row = `${name}: ${test.description}`;
      if (asked.rows && !asked.rows.includes(row)) continue;
      const said = { row };
      const trial = new Test(file, test);
      if (!fits(file.runOnRequirements) || !fits(test.runOnRequirements)) said.absent = "for another deployment";
      else if (test.skipReason) said.absent = test.skipReason;
      else {
        try {
          said.value = await limited(trial.run());
          if (trial.unexpected.length) said.unexpected = trial.unexpected.map((each) => each.slice(0, 160));
        } catch (error) {
          if (error instanceof Unsupported) said.absent = error.message;
          else Object.assign(said, { error: fault(error), trace: error.stack });
        }
        await limited(trial.end()).catch(() => {});
      }
      console.log(JSON.stringify(said));
    }
  }
  process.exit(0);
})();

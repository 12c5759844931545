// What a row of the Node driver's list is made of. Runs under driver 3 to 7: promises only, nothing that one of them lacks
// without saying so (Absent). A row gets a Trial and returns what it saw; it knows nothing of wardgate.
"use strict";
const { createHash } = require("node:crypto");
const driver = require(process.env.COMPAT_DRIVER);
const version = require(`${process.env.COMPAT_DRIVER}/package.json`).version;
const major = Number(version.split(".")[0]);
const VOLATILE = new Set(["$clusterTime", "operationTime", "topologyVersion", "localTime", "connectionId", "lastWrite", "electionId"]);
const LABELS = ["TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError"];

class Absent extends Error {}

const rows = [];
// needs: any, set (transactions), replica, many (members)
const row = (name, needs, work) => rows.push({ name, needs, work });

function scrub(text) {
  return text
    .replace(/cursor id \d+/g, "cursor id N").replace(/connection \d+ to/g, "connection N to").replace(/Executor error during \w+( command)? :: caused by :: /g, "")
    .replace(/txnNumber: \d+/g, "txnNumber: N")
    .replace(/[0-9A-F]{40,}/g, "token")
    .replace(/table:(index|collection)-\d+--?\d+/g, "table:$1-N")
    .replace(/, \$clusterTime: .*?\} \}/g, "")
    .replace(/for event: \{.*/g, "for event: …") // its times and its resume token
    .replace(/UUID\("[-0-9a-f]+"\)/g, "UUID");
}

function plain(value) {
  if (value === undefined) return null;
  if (typeof value === "string") return scrub(value);
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "bigint") return `bigint ${value}`;
  if (value === null || typeof value === "boolean") return value;
  if (Buffer.isBuffer(value)) return `${value.length} bytes ${createHash("sha256").update(value).digest("hex").slice(0, 16)}`;
  if (value instanceof Date) return value.toISOString();
  if (value instanceof RegExp) return String(value);
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (Array.isArray(value)) return value.map(plain);
  if (value._bsontype) {
    if (/^(ObjectID|ObjectId|Timestamp)$/.test(value._bsontype)) return value._bsontype.replace("ID", "Id");
    if (value._bsontype === "Binary") return plain(Buffer.from(value.buffer.subarray(0, value.position)));
    return `${value._bsontype} ${value.toString ? value.toString() : ""}`;
  }
  const found = {};
  for (const [key, each] of Object.entries(value)) if (!VOLATILE.has(key) && typeof each !== "function") found[key] = plain(each);
  return found;
}

function fault(error) {
  const found = { error: error.name, message: scrub(error.message) };
  if (error.code !== undefined) found.code = plain(error.code);
  if (error.codeName) found.codeName = error.codeName;
  const inner = error.writeErrors ?? error.result?.result?.writeErrors;
  if (inner) found.writeErrors = [inner].flat().map((each) => [each.code, each.index, scrub(String(each.errmsg))]);
  if (error.errInfo) found.errInfo = plain(error.errInfo);
  if (error.hasErrorLabel) found.labels = LABELS.filter((label) => error.hasErrorLabel(label));
  return found;
}

class Trial {
  constructor(asked, name) {
    this.asked = asked;
    this.name = name;
    this.clients = [];
  }
  async open() {
    this.client = await this.make();
    this.db = this.client.db(this.name);
    this.things = this.db.collection("things");
    return this;
  }
  // Another client like the first, with options of its own.
  async make(options = {}, uri = this.asked.uri) {
    const modern = major < 4 ? { useUnifiedTopology: true, useNewUrlParser: true } : {};
    const client = new driver.MongoClient(uri, { serverSelectionTimeoutMS: 20000, ...modern, ...options });
    this.clients.push(client);
    await client.connect();
    return client;
  }
  async close() {
    for (const client of this.clients) await client.close().catch(() => {});
  }
  async caught(work) {
    try {
      return plain(await work());
    } catch (error) {
      return fault(error);
    }
  }
  async root(work) {
    const client = await this.make({}, this.asked.admin_uri);
    try {
      return await work(client);
    } finally {
      await client.close();
    }
  }
  // The server fails the named commands so many times while `work` runs.
  async failing(times, data, work) {
    const set = (mode) => this.root((root) => root.db("admin").command({ configureFailPoint: "failCommand", mode, data }));
    await set({ times });
    try {
      return await work();
    } finally {
      await this.root((root) => root.db("admin").command({ configureFailPoint: "failCommand", mode: "off" }));
    }
  }
  async fill(number = 250) {
    await this.things.insertMany(Array.from({ length: number }, (_, n) => ({ _id: n, n, group: n % 5 })));
  }
  slow(things, milliseconds) {
    return things.find({ $where: `sleep(${milliseconds}) || true` }).toArray().then((found) => found.length);
  }
}

const has = (thing, name) => {
  if (thing?.[name] === undefined) throw new Absent(`no ${name}`);
  return thing[name];
};

module.exports = { Absent, Trial, driver, fault, has, major, plain, row, rows, version };

// What the operations of the unified test format are in the Node driver's words. Each takes (object, arguments, test).
"use strict";
const { Readable } = require("node:stream");
const { buffer } = require("node:stream/consumers");
const { setTimeout: sleep } = require("node:timers/promises");
const { driver } = require("./trial.cjs");

const WAIT_MS = 10000;

class Unsupported extends Error {}

const models = (requests, test) => requests.map((request) => Object.fromEntries(Object.entries(request).map(([kind, is]) => [kind, test.options(is)])));
const after = ({ returnDocument, ...options }) => (returnDocument ? { ...options, returnDocument: returnDocument.toLowerCase() } : options);

// Whether an event is the one meant, as far as it is written without the format's own operators.
function matches(wanted, event) {
  return Object.entries(wanted ?? {}).every(([key, value]) => {
    if (key.startsWith("$$")) return true;
    if (value && typeof value === "object") return event?.[key] !== undefined ? matches(value, event[key]) : Object.keys(value).every((each) => each.startsWith("$$"));
    return event?.[key] === value;
  });
}
const counted = (test, { client, event }) => {
  const [name, wanted] = Object.entries(event)[0];
  return test.events.get(client).filter((each) => each.name === name && matches(wanted, each)).length;
};
const lsids = (test, client) => test.events.get(client).filter((each) => each.name === "commandStartedEvent").slice(-2).map((each) => test.plain({ lsid: each.command.lsid }).lsid);

async function failPoint(test, { client, failPoint: point }) {
  test.points.push(point.configureFailPoint);
  await test.get(client).db("admin").command(point, { readPreference: "primary" });
}

const keeperOf = (test) => [...test.entities.values()].find((each) => each instanceof driver.MongoClient);
const hexBytes = (source) => Buffer.from(source.$$hexBytes, "hex");

async function upload(bucket, { id, filename, source, ...options }) {
  const stream = id === undefined ? bucket.openUploadStream(filename, options) : bucket.openUploadStreamWithId(id, filename, options);
  await new Promise((resolve, reject) => Readable.from([hexBytes(source)]).pipe(stream).on("finish", resolve).on("error", reject));
  return { length: stream.length };
}

const named = async (bucket, filename, work) => {
  const found = await bucket.find({ filename }).toArray();
  for (const each of found) await work(each._id);
  return found.length;
};

// The driver itself has to see what the callback throws, or it would not begin again.
async function transaction(session, { callback, ...options }, test) {
  const told = [];
  await session.withTransaction(async () => {
    for (const each of callback) {
      if (each.expectError) told.push(await test.carryOut(each));
      else told.push(await test.perform(each));
    }
  }, options);
  return told;
}

// MongoDB names a database's collections in an order of the moment.
const byName = (found) => found.sort((one, other) => (one.name < other.name ? -1 : 1));
const OPERATIONS = {
  // collections
  find: (on, { filter, ...options }) => on.find(filter, options).toArray(),
  findOne: (on, { filter, ...options }) => on.findOne(filter, options),
  aggregate: (on, { pipeline, ...options }) => on.aggregate(pipeline, options).toArray(),
  insertOne: (on, { document, ...options }) => on.insertOne(document, options),
  insertMany: (on, { documents, ...options }) => on.insertMany(documents, options),
  updateOne: (on, { filter, update, ...options }) => on.updateOne(filter, update, options),
  updateMany: (on, { filter, update, ...options }) => on.updateMany(filter, update, options),
  replaceOne: (on, { filter, replacement, ...options }) => on.replaceOne(filter, replacement, options),
  deleteOne: (on, { filter, ...options }) => on.deleteOne(filter, options),
  deleteMany: (on, { filter, ...options }) => on.deleteMany(filter, options),
  findOneAndUpdate: (on, { filter, update, ...options }) => on.findOneAndUpdate(filter, update, after(options)),
  findOneAndReplace: (on, { filter, replacement, ...options }) => on.findOneAndReplace(filter, replacement, after(options)),
  findOneAndDelete: (on, { filter, ...options }) => on.findOneAndDelete(filter, options),
  countDocuments: (on, { filter, ...options }) => on.countDocuments(filter, options),
  estimatedDocumentCount: (on, options) => on.estimatedDocumentCount(options),
  count: (on, { filter, ...options }) => on.count(filter ?? {}, options),
  distinct: (on, { fieldName, filter, ...options }) => on.distinct(fieldName, filter, options),
  bulkWrite: (on, { requests, ...options }, test) => on.bulkWrite(models(requests, test), options),
  createIndex: (on, { keys, ...options }) => on.createIndex(keys, options),
  dropIndex: (on, { name, ...options }) => on.dropIndex(name, options),
  dropIndexes: (on, options) => on.dropIndexes(options),
  listIndexes: (on, options) => on.listIndexes(options).toArray(),
  listIndexNames: async (on, options) => (await on.listIndexes(options).toArray()).map((each) => each.name),
  // databases and clients
  listCollections: (on, { filter, ...options }) => on.listCollections(filter ?? {}, options).toArray().then(byName),
  listCollectionNames: (on, { filter, ...options }) => on.listCollections(filter ?? {}, { ...options, nameOnly: true }).toArray().then(byName),
  createCollection: async (on, { collection, ...options }) => (await on.createCollection(collection, options)).collectionName,
  dropCollection: (on, { collection, ...options }) => on.dropCollection(collection, options),
  modifyCollection: (on, { collection, ...options }) => on.command({ collMod: collection, ...options }),
  dropDatabase: (on, { database, ...options }) => on.db(database).dropDatabase(options),
  runCommand: (on, { command, commandName, ...options }) => on.command(command, options),
  runCursorCommand: (on, { command, commandName, ...options }) => cursorOf(on, command, options).toArray(),
  createCommandCursor: (on, { command, commandName, ...options }) => cursorOf(on, command, options),
  listDatabases: async (on, options) => (await on.db().admin().listDatabases(options)).databases.map((each) => each.name).sort(),
  listDatabaseNames: async (on, options) => (await on.db().admin().listDatabases({ ...options, nameOnly: true })).databases.map((each) => each.name).sort(),
  clientBulkWrite: (on, { models: given, ...options }) => on.bulkWrite(given.map(writeModel), options),
  appendMetadata: (on, { driverInfoOptions }) => on.appendMetadata(driverInfoOptions),
  // cursors and streams: opened by one operation, read by others
  createChangeStream: async (on, { pipeline, ...options }) => {
    const stream = on.watch(pipeline, options);
    await stream.tryNext(); // the driver opens it lazily
    return stream;
  },
  createFindCursor: (on, { filter, ...options }) => on.find(filter, options),
  iterateUntilDocumentOrError: (cursor) => cursor.next(),
  iterateOnce: (cursor) => cursor.tryNext(),
  close: (on) => on.close(),
  // sessions
  startTransaction: (session, options) => session.startTransaction(options),
  commitTransaction: (session, options) => session.commitTransaction(options),
  abortTransaction: (session, options) => session.abortTransaction(options),
  withTransaction: transaction,
  endSession: (session) => session.endSession(),
  // GridFS
  upload,
  download: async (bucket, { id }) => (await buffer(bucket.openDownloadStream(id))).toString("hex"),
  downloadByName: async (bucket, { filename, ...options }) => (await buffer(bucket.openDownloadStreamByName(filename, options))).toString("hex"),
  delete: (bucket, { id }) => bucket.delete(id),
  deleteByName: (bucket, { filename }) => named(bucket, filename, (id) => bucket.delete(id)),
  rename: (bucket, { id, newFilename }) => bucket.rename(id, newFilename),
  renameByName: (bucket, { filename, newFilename }) => named(bucket, filename, (id) => bucket.rename(id, newFilename)),
  drop: (bucket, options) => bucket.drop(options),
  // the test's own: states are told, not judged
  failPoint,
  targetedFailPoint: (test, { session, failPoint: point }) => {
    test.points.push(point.configureFailPoint);
    return session.client.db("admin").command(point);
  },
  createEntities: (test, { entities }) => test.create(entities),
  wait: (_, { ms }) => sleep(ms),
  waitForEvent: async (test, { count, ...wanted }) => {
    for (const until = Date.now() + WAIT_MS; counted(test, wanted) < count && Date.now() < until; ) await sleep(20);
    return counted(test, wanted) >= count;
  },
  assertEventCount: (test, { count, ...wanted }) => counted(test, wanted) === count,
  assertSessionPinned: (_, { session }) => session.isPinned,
  assertSessionUnpinned: (_, { session }) => session.isPinned,
  assertSessionDirty: (_, { session }) => session.serverSession?.isDirty ?? null,
  assertSessionNotDirty: (_, { session }) => session.serverSession?.isDirty ?? null,
  assertSessionTransactionState: (_, { session }) => session.transaction.state,
  assertSameLsidOnLastTwoCommands: (test, { client }) => new Set(lsids(test, client)).size,
  assertDifferentLsidOnLastTwoCommands: (test, { client }) => new Set(lsids(test, client)).size,
  assertNumberConnectionsCheckedOut: () => null, // the driver does not tell it
  assertCollectionExists: (test, { databaseName, collectionName }) => keeperOf(test).db(databaseName).listCollections({ name: collectionName }).hasNext(),
  assertCollectionNotExists: (test, { databaseName, collectionName }) => keeperOf(test).db(databaseName).listCollections({ name: collectionName }).hasNext(),
  assertIndexExists: (test, where) => hasIndex(test, where),
  assertIndexNotExists: (test, where) => hasIndex(test, where),
  runOnThread: (test, { thread, operation }) => {
    const before = test.threads.get(thread);
    test.threads.set(thread, before.then(() => test.carryOut(operation)));
  },
  waitForThread: (test, { thread }) => test.threads.get(thread),
};

const hasIndex = (test, { databaseName, collectionName, indexName }) => keeperOf(test).db(databaseName).collection(collectionName).indexExists(indexName).catch((error) => error.code);

function cursorOf(db, command, { cursorTimeout, batchSize, maxTimeMS, comment, cursorType, ...options }) {
  const cursor = db.runCursorCommand(command, options);
  if (batchSize !== undefined) cursor.setBatchSize(batchSize);
  if (maxTimeMS !== undefined) cursor.setMaxTimeMS(maxTimeMS);
  if (comment !== undefined) cursor.setComment(comment);
  return cursor;
}

const writeModel = (model) => {
  const [name, is] = Object.entries(model)[0];
  return { name, ...is };
};

module.exports = { OPERATIONS, Unsupported };

// Runs the Node driver's list once: node main.cjs '{"uri": …, "admin_uri": …, "rows": […]}' with COMPAT_DRIVER naming the
// driver's folder. Prints one JSON object a line: first {"version"}, then {"row", "needs"} with value, error or absent.
"use strict";
const { Absent, Trial, fault, plain, rows, version } = require("./trial.cjs");
require("./data.cjs");
require("./work.cjs");
require("./server.cjs");

const ROW_MS = 120000;
const asked = JSON.parse(process.argv[2]);
process.on("unhandledRejection", (error) => console.error("unhandled", error));

const limited = (work) => {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("took too long")), ROW_MS)));
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
};

async function run({ name, needs, work }) {
  const said = { row: name, needs };
  const began = Date.now();
  const t = new Trial(asked, `compat_${name.toLowerCase().replace(/[^a-z0-9]/g, "_").slice(0, 40)}`);
  try {
    await t.open();
    await t.db.dropDatabase();
    said.value = plain(await limited(work(t)));
  } catch (error) {
    if (error instanceof Absent) said.absent = error.message;
    else Object.assign(said, { error: fault(error), trace: error.stack });
  }
  try {
    if (t.db) await t.db.dropDatabase();
  } catch (error) {
    said.error ??= { ...fault(error), at: "cleaning up" };
  }
  await t.close();
  said.seconds = (Date.now() - began) / 1000;
  return said;
}

(async () => {
  console.log(JSON.stringify({ version }));
  for (const each of rows) {
    if (!asked.rows || asked.rows.some((wanted) => each.name.startsWith(wanted))) console.log(JSON.stringify(await run(each)));
  }
  process.exit(0);
})();

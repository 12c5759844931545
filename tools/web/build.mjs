// Builds the pages' style, script, icons and fonts into src/wardgate/control/web/static. Started by tools/web/build.
// The same sources and packages give the same bytes: the output is committed and a test compares it.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [here, modules, out] = process.argv.slice(2).map((path) => resolve(path));
const require = createRequire(join(modules, "x.js"));
const { buildSync } = require("esbuild");

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, "fonts"), { recursive: true });

// Latin and its extension, upright, all weights in one file each.
const fonts = [
  ["inter", "latin"],
  ["inter", "latin-ext"],
  ["jetbrains-mono", "latin"],
];
for (const [family, subset] of fonts) {
  const name = `${family}-${subset}-wght-normal.woff2`;
  cpSync(join(modules, "@fontsource-variable", family, "files", name), join(out, "fonts", name));
}

const cli = join(modules, "@tailwindcss", "cli", "dist", "index.mjs");
execFileSync(process.execPath, [cli, "--input", join(here, "app.css"), "--output", join(out, "app.css"), "--minify"], {
  cwd: here,
  stdio: ["ignore", "ignore", "inherit"],
});

for (const name of ["app", "chart", "log", "passkeys"]) {
  buildSync({
    entryPoints: [join(here, `${name}.js`)],
    outfile: join(out, `${name}.js`),
    bundle: true,
    minify: true,
    format: "iife",
    target: "es2022",
    legalComments: "none",
    nodePaths: [modules],
    logLevel: "warning",
  });
}

const icons = {};
for (const name of readFileSync(join(here, "icons.txt"), "utf8").split(/\s+/).filter(Boolean).sort()) {
  const svg = readFileSync(join(modules, "lucide-static", "icons", `${name}.svg`), "utf8");
  icons[name] = svg
    .replace(/<!--[\s\S]*?-->/g, "")
    .replace(/<svg[\s\S]*?>/, "")
    .replace("</svg>", "")
    .replace(/\s*\n\s*/g, "")
    .trim();
}
writeFileSync(join(out, "icons.json"), JSON.stringify(icons, null, 1) + "\n");

// What every page runs. Pages work without it (links, forms, popovers and dialogs are the browser's own); this makes them
// quicker to use: keys, copying, times that stay true, live parts, and files that are read into a field.
import "./htmx.js";
import "htmx.org/dist/ext/hx-sse.js";

const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// --- theme: a cookie, so that the server draws the first frame right -----------------------------------------------
function setTheme(theme) {
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  const age = theme === "system" ? 0 : 31536000;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `wardgate-theme=${theme}; path=/; max-age=${age}; samesite=lax${secure}`;
  for (const button of all("[data-set-theme]")) {
    button.setAttribute("aria-pressed", String(button.dataset.setTheme === theme));
  }
  document.dispatchEvent(new CustomEvent("wardgate:theme"));
}

// --- times ---------------------------------------------------------------------------------------------------------
const skew = Date.parse(root.dataset.now) - Date.now();
const units = [[31536000, "year"], [2592000, "month"], [86400, "day"], [3600, "hour"], [60, "minute"]];

function relative(moment) {
  const seconds = (Date.now() + skew - moment) / 1000;
  const size = Math.abs(seconds);
  if (size < 45) return seconds >= 0 ? "just now" : "in a moment";
  const [unit, word] = units.find(([unit]) => size >= unit) ?? [60, "minute"];
  const count = Math.max(1, Math.round(size / unit));
  const text = `${count} ${word}${count === 1 ? "" : "s"}`;
  return seconds >= 0 ? `${text} ago` : `in ${text}`;
}

function lasting(seconds) {
  const parts = [];
  let left = Math.max(0, Math.round(seconds));
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]]) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count) parts.push(`${count} ${unit}`);
  }
  return parts.slice(0, 2).join(" ") || "0 s";
}

function tick(within = document) {
  for (const time of all("time[data-ago]", within)) {
    const text = relative(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
  for (const time of all("time[data-since]", within)) {
    time.textContent = lasting((Date.now() + skew - Date.parse(time.dateTime)) / 1000);
  }
  for (const time of all("time[data-left]", within)) {
    time.textContent = lasting((Date.parse(time.dateTime) - Date.now() - skew) / 1000);
  }
}
setInterval(() => document.hidden || tick(), 1000);

// --- copying -------------------------------------------------------------------------------------------------------
const live = () => document.getElementById("announce");

async function copy(button) {
  const from = button.dataset.copyFrom ? document.querySelector(button.dataset.copyFrom) : null;
  const text = from ? (from.value ?? from.textContent).trim() : button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard on this page (plain http on a name): select it, so that Ctrl+C works.
    if (from) getSelection().selectAllChildren(from);
    return;
  }
  button.classList.add("is-copied");
  if (live()) live().textContent = "Copied";
  setTimeout(() => {
    button.classList.remove("is-copied");
    if (live()) live().textContent = "";
  }, 1600);
}

// --- toasts --------------------------------------------------------------------------------------------------------
function toast(text, tone = "ok") {
  const item = document.createElement("div");
  item.className = `toast is-${tone}`;
  item.setAttribute("role", "status");
  const words = document.createElement("p");
  words.textContent = text;
  item.append(words);
  document.getElementById("toasts").append(item);
  setTimeout(() => item.remove(), 6000);
}

// --- clicks --------------------------------------------------------------------------------------------------------
document.addEventListener("click", (event) => {
  const button = event.target.closest("button, [data-href]");
  if (!button) return;
  if (button.matches("[data-copy], [data-copy-from]")) copy(button);
  if (button.dataset.setTheme) setTheme(button.dataset.setTheme);
  if (button.dataset.dialog) document.getElementById(button.dataset.dialog)?.showModal();
  if (button.matches("[data-close]")) button.closest("dialog, .toast, .flash")?.[button.closest("dialog") ? "close" : "remove"]();
  if (button.dataset.reveal) {
    const field = document.getElementById(button.dataset.reveal);
    field.type = field.type === "password" ? "text" : "password";
    button.setAttribute("aria-pressed", String(field.type === "text"));
  }
  if (button.dataset.href && !event.target.closest("a, button, input, label")) location.assign(button.dataset.href);
});

// A click beside a dialog closes it.
document.addEventListener("mousedown", (event) => {
  if (event.target instanceof HTMLDialogElement) event.target.close();
});

// --- forms ---------------------------------------------------------------------------------------------------------
document.addEventListener("change", async (event) => {
  const field = event.target;
  if (field.matches?.("input[type=file][data-into]") && field.files[0]) {
    const into = document.getElementById(field.dataset.into);
    into.value = await field.files[0].text();
    into.dispatchEvent(new Event("input", { bubbles: true }));
    into.dispatchEvent(new Event("change", { bubbles: true }));
    field.value = "";
  }
  if (field.matches?.("[data-submit]")) field.form.requestSubmit();
  showWhen(field.form ?? document);
});

document.addEventListener("input", (event) => {
  const field = event.target;
  // Deleting asks for the name: the button wakes up when it is typed.
  if (field.matches?.("[data-must-be]")) {
    const button = field.form.querySelector("[type=submit]");
    button.disabled = field.value !== field.dataset.mustBe;
  }
  if (field.matches?.("[data-mirror]")) mirror(field);
});

// What is typed stands in the command to copy too, quoted as a shell wants it.
const quoted = (text) => (/^[\w.,:/@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

function mirror(field) {
  const value = field.value.trim() || field.dataset.empty || "";
  const shown = field.dataset.option ? (value ? ` ${field.dataset.option} ${quoted(value)}` : "") : quoted(value);
  const whole = field.closest("form, dialog") ?? document;
  for (const target of all(`[data-mirrored="${field.dataset.mirror}"]`, whole)) target.textContent = shown;
}

// `data-show-when="field=value|value"`: parts of a form that matter only then; "field" alone: while it is ticked.
function showWhen(within = document) {
  for (const part of all("[data-show-when]", within)) {
    const [name, wanted] = part.dataset.showWhen.split("=");
    const form = part.closest("form");
    const field = form?.elements.namedItem(name);
    if (!field) continue;
    const shown = wanted === undefined ? field.checked : wanted.split("|").includes(field.value);
    part.hidden = !shown;
  }
}

// One click, one request: a form that is on its way can't be sent again, and says that it is.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.hasAttribute("data-no-submit")) event.preventDefault();
  if (event.defaultPrevented || form.method === "get" || form.hasAttribute("hx-post")) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "1";
  const button = event.submitter;
  if (button) {
    button.classList.add("is-busy");
    button.setAttribute("aria-busy", "true");
  }
});
window.addEventListener("pageshow", () => {
  for (const form of all("form[data-sent]")) {
    delete form.dataset.sent;
    for (const button of all(".is-busy", form)) {
      button.classList.remove("is-busy");
      button.removeAttribute("aria-busy");
    }
  }
});

// --- keys ----------------------------------------------------------------------------------------------------------
let waiting = 0; // until when the second key after `g` counts

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (typing) {
    if (event.key === "Escape") typing.blur();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  if (Date.now() < waiting) {
    waiting = 0;
    const link = document.querySelector(`[data-keys="${CSS.escape(event.key)}"]`);
    if (link) {
      event.preventDefault();
      location.assign(link.href);
    }
    return;
  }
  if (event.key === "g") waiting = Date.now() + 1200;
  else if (event.key === "/") {
    const search = document.querySelector("[data-search]");
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  } else if (event.key === "?") document.getElementById("keys")?.showModal();
  else if (event.key === "n") document.querySelector("[data-new]")?.click();
  else if (event.key === "j" || event.key === "k") moveInList(event);
});

// j and k go through a list's rows as Tab goes through its links.
function moveInList(event) {
  const rows = all("[data-row] a[data-main]");
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  const next = event.key === "j" ? Math.min(at + 1, rows.length - 1) : Math.max(at - 1, 0);
  rows[next].focus();
  event.preventDefault();
}

// --- htmx ----------------------------------------------------------------------------------------------------------
document.addEventListener("htmx:config:request", (event) => {
  const token = document.querySelector("meta[name=csrf]")?.content;
  if (token) event.detail.ctx.request.headers["X-CSRF-Token"] = token;
});
document.addEventListener("htmx:error", () => toast("The control plane did not answer: is it running?", "bad"));
document.addEventListener("htmx:after:swap", (event) => {
  tick();
  showWhen();
  watch();
  const dialog = event.detail?.ctx?.sourceElement?.dataset?.thenDialog;
  if (dialog) document.getElementById(dialog).showModal();
});

// --- live parts ----------------------------------------------------------------------------------------------------
// <div data-live="/…/events" hx-get="…" hx-trigger="changed" hx-select="…">: an event there has the part fetched again.
const sources = new Map(); // one stream for each address, however many parts listen to it

function watch() {
  const wanted = new Set(all("[data-live]").map((part) => part.dataset.live));
  for (const [address, source] of sources) {
    if (wanted.has(address)) continue;
    source.close();
    sources.delete(address);
  }
  for (const address of wanted) {
    if (sources.has(address)) continue;
    const source = new EventSource(address);
    const parts = () => all(`[data-live="${CSS.escape(address)}"]`);
    source.addEventListener("changed", () => parts().forEach((part) => htmx.trigger(part, "changed")));
    source.addEventListener("error", () => parts().forEach((part) => part.classList.add("is-stale")));
    source.addEventListener("open", () => parts().forEach((part) => part.classList.remove("is-stale")));
    sources.set(address, source);
  }
}
window.addEventListener("pagehide", () => {
  for (const source of sources.values()) source.close();
  sources.clear();
});
window.addEventListener("pageshow", watch);

window.wardgate = { toast, lasting, relative };
tick();
showWhen();
for (const dialog of all("dialog[data-open]")) dialog.showModal();

// The page of a session: its command log and its chart. The log is fetched in pieces as one scrolls; pieces far from the
// window give their lines up and keep their height, so a log of a million commands costs no more than what is seen.
const LINES = 100; // in a piece, as the server gives them out
const NEAR = 1200; // pixels around the window in which lines are kept

function piecesOf(log) {
  const base = log.dataset.log;
  const url = (after, wait) => {
    const link = new URL(base, location.href);
    if (after) link.searchParams.set("after", after);
    if (wait) link.searchParams.set("wait", "true");
    return link;
  };
  let following = null; // the controller of the request that waits
  let loading = false;

  const fetchPiece = async (after, wait, signal) => {
    const answer = await fetch(url(after, wait), { signal, headers: { accept: "text/html" } });
    if (!answer.ok || answer.redirected) throw new Error(`status ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    return page.querySelector(".log-piece");
  };

  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) restore(target);
        else giveUp(target);
      }
    },
    { root: log, rootMargin: `${NEAR}px 0px` },
  );

  function giveUp(piece) {
    const kept = piece === log.lastElementChild || piece.querySelector("details[open]") || !piece.childElementCount;
    if (kept || piece.contains(document.activeElement)) return;
    piece.style.height = `${piece.offsetHeight}px`;
    piece.replaceChildren();
  }

  async function restore(piece) {
    if (piece.childElementCount || !piece.style.height || piece.dataset.loading) return;
    piece.dataset.loading = "1";
    try {
      const found = await fetchPiece(piece.dataset.after ?? "", false);
      piece.replaceChildren(...[...found.children].slice(0, Number(piece.dataset.lines)));
      piece.style.height = "";
    } catch {
      // It stays empty, and is asked for again when it comes near once more.
    }
    delete piece.dataset.loading;
  }

  const last = () => log.lastElementChild;
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 60;

  // Adds what came; a piece that is not full takes it, so that each can be fetched again as it was.
  function add(found) {
    const piece = last();
    const lines = [...found.children];
    const stay = atEnd();
    piece.querySelector(".log-none")?.remove();
    let into = piece;
    for (const line of lines) {
      if (into.querySelectorAll(".log-line").length >= LINES) {
        const next = document.createElement("ol");
        next.className = "log-piece";
        next.dataset.after = into.lastElementChild.dataset.place;
        into.dataset.lines = String(LINES);
        log.append(next);
        seen.observe(into);
        into = next;
      }
      into.append(line);
    }
    into.dataset.lines = String(into.childElementCount);
    if (found.dataset.next) into.dataset.next = found.dataset.next;
    else delete into.dataset.next;
    into.toggleAttribute("data-full", found.hasAttribute("data-full"));
    if (into !== piece) {
      delete piece.dataset.next;
      piece.removeAttribute("data-full");
    }
    return stay && lines.length > 0;
  }

  async function more() {
    const piece = last();
    if (loading || !piece.hasAttribute("data-full") || !piece.dataset.next) return;
    loading = true;
    log.setAttribute("aria-busy", "true");
    try {
      add(await fetchPiece(piece.dataset.next, false));
    } catch {
      window.wardgate.toast("The control plane did not answer: scroll again to go on.", "bad");
    }
    loading = false;
    log.removeAttribute("aria-busy");
    if (atEnd()) more();
  }

  async function follow(button) {
    following = new AbortController();
    const { signal } = following;
    button?.setAttribute("aria-pressed", "true");
    log.scrollTop = log.scrollHeight;
    let pause = 1000;
    while (!signal.aborted && last().dataset.next) {
      try {
        const stay = add(await fetchPiece(last().dataset.next, true, signal));
        if (stay) log.scrollTop = log.scrollHeight;
        pause = 1000;
      } catch (error) {
        if (signal.aborted) break;
        await new Promise((done) => setTimeout(done, pause));
        pause = Math.min(pause * 2, 15000);
      }
    }
    button?.setAttribute("aria-pressed", "false");
    following = null;
  }

  function toggle(button) {
    if (following) following.abort();
    else follow(button);
  }

  for (const piece of log.children) {
    piece.dataset.lines = String(piece.childElementCount);
    const after = new URL(location.href).searchParams.get("after");
    if (after) piece.dataset.after = after;
    seen.observe(piece);
  }
  log.addEventListener("scroll", () => log.scrollHeight - log.scrollTop - log.clientHeight < NEAR && more(), { passive: true });
  more();
  window.addEventListener("pagehide", () => following?.abort());
  return { follow, toggle };
}

// A line that is opened fetches its whole command, once.
async function open(details) {
  const inner = details.querySelector(".log-inner");
  if (!details.open || !inner || inner.dataset.fetched) return;
  inner.dataset.fetched = "1";
  try {
    const answer = await fetch(inner.dataset.line);
    if (!answer.ok || answer.redirected) throw new Error();
    inner.innerHTML = await answer.text(); // ours: the server has escaped what was recorded
  } catch {
    delete inner.dataset.fetched;
    window.wardgate.toast("The command could not be fetched: open it again.", "bad");
  }
}

// --- the chart -----------------------------------------------------------------------------------------------------
const BUCKETS = 120;

// The server's stretches are of records; the eye wants equal times.
function buckets(timeline) {
  const since = Date.parse(timeline.since) / 1000;
  const until = Math.max(Date.parse(timeline.until) / 1000, since + 1);
  const width = (until - since) / BUCKETS;
  const times = Array.from({ length: BUCKETS }, (_, number) => since + width * (number + 0.5));
  const good = new Array(BUCKETS).fill(0);
  const bad = new Array(BUCKETS).fill(0);
  const longest = new Array(BUCKETS).fill(null);
  const place = (seconds) => Math.min(BUCKETS - 1, Math.max(0, Math.floor((seconds - since) / width)));
  for (const step of timeline.steps) {
    const first = place(Date.parse(step.at) / 1000);
    const final = place(Date.parse(step.until) / 1000);
    const parts = final - first + 1;
    for (let at = first; at <= final; at++) {
      good[at] += (step.commands - step.errors) / parts;
      bad[at] += step.errors / parts;
      if (step.longest_us !== null) longest[at] = Math.max(longest[at] ?? 0, step.longest_us / 1000);
    }
  }
  return [times, good.map((each, at) => each + bad[at]), bad, longest];
}

async function chart(box) {
  let timeline;
  try {
    const answer = await fetch(box.dataset.timeline);
    if (!answer.ok) throw new Error();
    timeline = await answer.json();
  } catch {
    box.textContent = "The activity could not be fetched: reload the page.";
    return;
  }
  if (!timeline.steps.length) {
    box.textContent = "No command yet.";
    box.classList.add("faint");
    return;
  }
  const data = buckets(timeline);
  const total = timeline.steps.reduce((sum, step) => sum + step.commands, 0);
  const slowest = Math.max(...data[3].map((each) => each ?? 0));
  box.setAttribute("aria-label", `${total} commands; the longest took ${slowest.toFixed(1)} ms`);
  let plot;
  const draw = () => {
    const probe = (name) => {
      const dot = document.createElement("i");
      dot.style.color = `var(${name})`;
      box.append(dot);
      const found = getComputedStyle(dot).color;
      dot.remove();
      return found;
    };
    const axis = { stroke: probe("--ink-3"), grid: { stroke: probe("--line"), width: 1 }, ticks: { show: false }, font: "11px Inter" };
    const bars = window.uPlot.paths.bars({ size: [0.8, 12] });
    plot?.destroy();
    plot = new window.uPlot(
      {
        width: box.clientWidth,
        height: 190,
        cursor: { points: { show: false }, drag: { x: false, y: false } },
        legend: { live: true },
        scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(max * 1.15, 1)] }, ms: { range: (_, __, max) => [0, Math.max(max * 1.15, 1)] } },
        axes: [
          { ...axis, space: 80, values: (_, ticks) => ticks.map((at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })) },
          { ...axis, size: 44 },
          { ...axis, side: 1, scale: "ms", size: 56, grid: { show: false }, values: (_, ticks) => ticks.map((tick) => `${tick} ms`) },
        ],
        series: [
          { label: "Time", value: (_, at) => (at === null ? "–" : new Date(at * 1000).toLocaleTimeString()) },
          { label: "Commands", paths: bars, fill: probe("--accent-line"), stroke: "transparent", width: 0, points: { show: false }, value: (_, each) => (each === null ? "–" : Math.round(each)) },
          { label: "Errors", paths: bars, fill: probe("--bad-dot"), stroke: "transparent", width: 0, points: { show: false }, value: (_, each) => (each === null ? "–" : Math.round(each)) },
          { label: "Longest", scale: "ms", stroke: probe("--accent"), width: 1.5, spanGaps: false, points: { show: true, size: 4, fill: probe("--accent") }, value: (_, each) => (each === null ? "–" : `${each.toFixed(1)} ms`) },
        ],
      },
      data,
      box,
    );

  };
  draw();
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 190 })).observe(box);
  document.addEventListener("wardgate:theme", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

document.addEventListener("DOMContentLoaded", () => {
  const log = document.getElementById("log");
  if (log) {
    const button = document.getElementById("follow");
    const pieces = piecesOf(log);
    button?.addEventListener("click", () => pieces.toggle(button));
    if (log.hasAttribute("data-open")) pieces.follow(button);
    log.addEventListener("toggle", (event) => open(event.target), { capture: true });
  }
  const box = document.querySelector("[data-timeline]");
  if (box) chart(box);
});

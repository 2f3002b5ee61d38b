// The row of numbers at the top.

import { el, number, setText, svg } from "./dom.js";

const strip = document.getElementById("strip");
const cells = new Map();

const FACTS = [
  ["open", "Open", "Conversations with work waiting or running"],
  ["waiting", "Waiting", "Messages that no pump has taken, and dispatches that no worker has claimed"],
  ["running", "Running", "Messages that pumps hold and dispatches that workers have claimed"],
  ["hops", "Hops / min", "Runs of handlers that have ended, over the last minute"],
  ["retries", "Retries / min", "Runs that failed and will be tried again"],
  ["taken", "Take-overs", "What dead pumps and workers held, taken over by others"],
  ["letters", "Dead letters", "Messages that were given up"],
];

function build() {
  const list = el("dl", {});
  for (const [key, label, title] of FACTS) {
    const value = el("dd", { textContent: "–" });
    const cell = el("div", { title }, el("dt", { textContent: label }), value);
    cells.set(key, { value, cell });
    list.append(cell);
  }
  const line = svg("polyline", { points: "", fill: "none" });
  cells.set("line", line);
  cells.get("hops").cell.append(svg("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" }, line));
  strip.append(list);
}

export function updateStrip({ standing, rates }) {
  if (!standing) return;
  if (!cells.size) build();
  strip.hidden = false;
  const { counts } = standing;
  const values = {
    open: standing.open,
    waiting: standing.waiting + standing.ready + standing.published + standing.delayed,
    running: standing.held + standing.claimed,
    hops: rates?.per_minute.hops ?? 0,
    retries: rates?.per_minute.retries ?? 0,
    taken: counts.taken_over ?? 0,
    letters: standing.letters,
  };
  for (const [key, value] of Object.entries(values)) setText(cells.get(key).value, number(value));
  cells.get("letters").cell.classList.toggle("bad", standing.letters > 0);
  const badge = document.getElementById("letters");
  setText(badge, standing.letters ? number(standing.letters) : "");
  badge.hidden = !standing.letters;
  spark(rates?.hops_per_s ?? []);
}

function spark(points) {
  const most = Math.max(1, ...points);
  const step = 100 / Math.max(1, points.length - 1);
  const text = points.map((value, place) => `${(place * step).toFixed(1)},${(22 - (value / most) * 20).toFixed(1)}`).join(" ");
  cells.get("line").setAttribute("points", text);
}

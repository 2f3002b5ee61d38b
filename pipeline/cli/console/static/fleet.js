// Listeners with rates and durations; workers and pumps with their leases.

import { get } from "./api.js";
import { duration, el, heading, moment, number, reconcile, setText, stateMark, table } from "./dom.js";
import { throttled } from "./throttle.js";

const LISTENERS = [["Listener"], ["Runs on", "wide"], ["Per min", "num"], ["Median", "num"], ["95 %", "num wide"], ["Longest", "num wide"], ["Failed", "num"], ["Retries", "num wide"], ["Last", "num wide"]];

export function listeners(root, world) {
  const body = el("tbody");
  const note = el("p", { className: "note" });
  root.append(heading("Listeners"), table("Listeners", LISTENERS, body, "list"), note);

  function draw() {
    if (!world.listeners) return;
    reconcile(body, world.listeners, (each) => each.name, makeListener, updateListener);
    const seen = world.rates?.seen;
    const part = seen === null || seen === undefined ? "" : ` ${number(seen * 100)} % of the runs of the last minute were seen.`;
    setText(note, `From the latest 1,000 runs of each that this console has seen, of conversations that have ended.${part}`);
  }
  draw();
  return { title: "Listeners", told: (name) => (name === "listeners" || name === "rates") && draw() };
}

function makeListener(each) {
  const name = el("th", { scope: "row" }, each.name, each.description ? el("p", { className: "sub", textContent: each.description }) : null);
  return el("tr", {}, name, ...LISTENERS.slice(1).map(([, kind = ""]) => el("td", { className: kind })));
}

function updateListener(row, each) {
  const [, where, rate, median, p95, longest, failed, retries, last] = row.children;
  const workers = each.workers === null ? (each.is_cpu_bound ? "its executor" : "pumps") : each.workers ? `${each.workers} ${each.workers === 1 ? "worker" : "workers"}` : "no worker";
  setText(where, workers);
  where.classList.toggle("bad", each.workers === 0);
  setText(rate, each.per_minute ? number(each.per_minute) : "–");
  setText(median, duration(each.median_s));
  setText(p95, duration(each.p95_s));
  setText(longest, duration(each.longest_s));
  setText(failed, each.runs ? (each.failures ? `${number(each.failures)} of ${number(each.runs)}` : "0") : "–");
  failed.classList.toggle("bad", each.failures > 0);
  setText(retries, each.runs ? number(each.retries) : "–");
  if (row.dataset.last !== String(each.last)) {
    row.dataset.last = each.last;
    last.replaceChildren(moment(each.last));
  }
}

const WORKERS = [["Worker"], ["Lease"], ["Processes", "num"], ["Busy", "num"], ["Lacks", "wide"]];
const PUMPS = [["Pump"], ["Lease"], ["Holds", "num"]];
const AT_WORK = [["Listener"], ["State"], ["Where", "wide"], ["Try", "num wide"], ["Killed", "num wide"], ["Conversation"]];

export function fleet(root, world) {
  let isOver = false;
  const bodies = { workers: el("tbody"), pumps: el("tbody"), underway: el("tbody") };
  const notes = { workers: el("p", { className: "note" }), pumps: el("p", { className: "note" }), underway: el("p", { className: "note" }) };
  const counts = el("dl", { className: "facts" });
  const refresh = throttled(load, 1000);
  root.append(
    heading("Fleet"),
    el("h2", { textContent: "Workers" }), table("Workers", WORKERS, bodies.workers, "list"), notes.workers,
    el("h2", { textContent: "Pumps" }), table("Pumps", PUMPS, bodies.pumps, "list"), notes.pumps,
    el("h2", { textContent: "Under way on workers" }), table("Under way on workers", AT_WORK, bodies.underway, "list"), notes.underway,
    el("h2", { textContent: "Counted since the counters began" }), counts,
  );

  async function load() {
    try {
      const found = await get("underway");
      if (isOver) return;
      bodies.underway.replaceChildren(...found.map(atWork));
      setText(notes.underway, found.length ? "" : "Workers have nothing to do.");
    } catch (error) {
      if (!isOver) setText(notes.underway, `${error.message}.`);
    }
  }

  function draw() {
    if (world.workers) {
      reconcile(bodies.workers, world.workers, (each) => each.id, makeWorker, updateWorker);
      setText(notes.workers, world.workers.length ? "" : "No worker holds a lease: what is for workers waits.");
    }
    if (world.pumps) {
      reconcile(bodies.pumps, world.pumps, (each) => each.id, makePump, updatePump);
      setText(notes.pumps, world.pumps.length ? "" : "No pump holds a lease: messages wait.");
    }
    if (world.standing) showCounts(counts, world.standing);
  }
  draw();
  refresh.now();
  return {
    title: "Fleet",
    refresh: () => refresh.now(),
    told: (name) => { draw(); if (name === "marks") refresh(); },
    close: () => { isOver = true; refresh.stop(); },
  };
}

const LABELS = { taken_over: "taken over", published_again: "published again", dead_letters: "dead letters", late_answers: "late answers" };

function showCounts(list, { counts, delayed, parked }) {
  const pairs = [...Object.entries(counts).map(([name, count]) => [LABELS[name] ?? name.replaceAll("_", " "), count]), ["to be tried again", delayed], ["no worker fits", parked]];
  reconcile(list, pairs, ([name]) => name, ([name]) => el("div", {}, el("dt", { textContent: name }), el("dd")), (node, [, count]) => setText(node.lastElementChild, number(count)));
}

function lease(seconds) {
  return seconds > 0 ? `${seconds} s left` : `lapsed ${-seconds} s ago`;
}

function makeWorker(each) {
  const name = el("th", { scope: "row" }, el("span", { className: "mono", textContent: each.node }), el("p", { className: "sub", textContent: `process ${each.pid}` }));
  return el("tr", {}, name, ...WORKERS.slice(1).map(([, kind = ""]) => el("td", { className: kind })));
}

function updateWorker(row, each) {
  const [, left, processes, busy, lacks] = row.children;
  setText(left, lease(each.left_s));
  left.classList.toggle("bad", each.left_s <= 0);
  setText(processes, number(each.processes));
  setText(busy, number(each.busy));
  setText(lacks, each.lacks.length ? each.lacks.join(", ") : "–");
  lacks.classList.toggle("bad", each.lacks.length > 0);
}

function makePump(each) {
  return el("tr", {}, el("th", { scope: "row" }, el("span", { className: "id", textContent: each.id })), el("td"), el("td", { className: "num" }));
}

function updatePump(row, each) {
  const [, left, held] = row.children;
  setText(left, lease(each.left_s));
  left.classList.toggle("bad", each.left_s <= 0);
  setText(held, number(each.held));
}

function atWork(each) {
  return el(
    "tr", {},
    el("th", { scope: "row", textContent: each.listener }), el("td", {}, stateMark(each.state)),
    el("td", { className: "mono wide", textContent: each.place || "–" }), el("td", { className: "num wide", textContent: String(each.attempt) }),
    el("td", { className: `num wide ${each.deaths ? "bad" : ""}`, textContent: each.deaths ? String(each.deaths) : "" }),
    el("td", {}, el("a", { className: "id", href: `#/conversation/${encodeURIComponent(each.conversation)}`, textContent: each.conversation })),
  );
}

// One conversation: its waterfall, its graph, what is under way, its dead letters.

import { get } from "./api.js";
import { bytes, duration, el, heading, moment, number, plural, setText, shortType, stateMark, table, took } from "./dom.js";
import { drawGraph } from "./graph.js";
import { faultText, fieldsOf } from "./payload.js";
import { letterTable } from "./letters.js";
import { throttled } from "./throttle.js";

/** Rows of the waterfall that are shown at once. */
const STEP = 200;
const HEADS = [["Listener"], ["Payload", "wide"], ["Where", "wide"], ["Try", "num wide"], ["Took", "num"]];

export function conversation(root, world, id) {
  let isOver = false;
  let shown = STEP;
  let detail = null;
  let before = "";
  const opened = new Set();
  const note = el("p", { className: "note", attr: { role: "status" } });
  const facts = el("dl", { className: "facts" });
  const faults = el("div");
  const waterfall = el("div");
  const graph = el("div");
  const underway = el("div");
  const letters = el("div");
  const refresh = throttled(load, 1000);

  async function load() {
    let found;
    try {
      found = await get("conversation", { id });
    } catch (error) {
      if (!isOver) setText(note, error.status === 404 ? "Nothing of this conversation is kept." : `${error.message}.`);
      return;
    }
    if (isOver) return;
    setText(note, "");
    const now = JSON.stringify(found);
    if (now === before) return;
    before = now;
    detail = found;
    draw();
  }

  function draw() {
    factsOf(facts, detail);
    faults.replaceChildren(...(detail.faults.length ? [el("h2", { textContent: "What whoever asked was told" }), whyOf(detail.faults)] : []));
    drawWaterfall();
    graph.replaceChildren(el("h2", { textContent: "Who called whom" }), ...drawGraph(detail.nodes, detail.edges));
    underway.replaceChildren(...underwayOf(detail));
    letters.replaceChildren(...(detail.letters.length ? [el("h2", { textContent: "Dead letters" }), letterTable(detail.letters, world, () => refresh.now())] : []));
  }

  function drawWaterfall() {
    const held = document.activeElement?.dataset?.run;
    const { runs, more } = detail;
    const scale = scaleOf(detail);
    const body = el("tbody");
    const callers = [];
    runs.slice(0, shown).forEach((run, place) => {
      callers[run.depth] = run;
      const caller = callers[run.depth - 1];
      // What a listener is answered has come from elsewhere.
      const sent = caller?.listener === run.from_id ? caller.started + caller.seconds : run.started;
      const line = lineOf({ ...run, at: place, sent }, scale, world, opened.has(place), toggle);
      body.append(line);
      if (opened.has(place)) body.append(messagesOf(run, caller, place));
    });
    const head = el("tr", {}, ...HEADS.map(([text, kind = ""]) => el("th", { scope: "col", className: kind, textContent: text })), el("th", { scope: "col", className: "lane" }, axis(scale)));
    const left = runs.length - shown;
    waterfall.replaceChildren(
      el("div", { className: "row" }, el("h2", { textContent: "Waterfall" }), legend()),
      el("div", { className: "scroll", tabIndex: 0, attr: { role: "region", "aria-label": "Waterfall" } },
        el("table", { className: "waterfall" }, el("caption", { className: "aside", textContent: "Runs of handlers, each below the one that called it" }), el("thead", {}, head), body)),
      ...(left > 0 ? [el("button", { type: "button", textContent: `Show ${number(Math.min(left, STEP))} more of ${number(left)}`, on: { click: () => { shown += STEP; drawWaterfall(); } } })] : []),
      ...(more ? [el("p", { className: "note", textContent: `${plural(more, "run")} more are kept; \`pump trace\` shows them.` })] : []),
    );
    if (held !== undefined) body.querySelector(`[data-run="${held}"]`)?.focus();
  }

  function toggle(place) {
    if (!opened.delete(place)) opened.add(place);
    drawWaterfall();
  }

  root.append(
    el("p", { className: "crumb" }, el("a", { href: "#/conversations", textContent: "Conversations" })),
    heading("", el("span", { className: "id", textContent: id })),
    note, facts, faults, waterfall, underway, graph, letters,
  );
  refresh.now();
  return {
    title: `Conversation ${id}`,
    refresh: () => refresh.now(),
    told: (name) => name === "marks" && (!detail || detail.row.state === "open" || detail.letters.length) && refresh(),
    close: () => { isOver = true; refresh.stop(); },
  };
}

function factsOf(list, { row, threads, letters }) {
  const pairs = [
    ["State", stateMark(row.state)],
    ["Runs", number(row.hops)],
    ["Failed", number(row.failures)],
    ["Retries", number(row.retries)],
    ["Busy", number(row.busy)],
    ["Threads", number(threads)],
    ["Dead letters", number(letters.length)],
    ["Started", moment(row.started)],
    ["Took", took(row)],
  ];
  list.replaceChildren(...pairs.map(([name, value]) => el("div", {}, el("dt", { textContent: name }), el("dd", {}, value))));
}

/** From where to where the lanes reach, in seconds. */
function scaleOf({ runs, row }) {
  const start = Math.min(...runs.map((run) => run.started), row.started ?? Infinity);
  const end = Math.max(...runs.map((run) => run.started + run.seconds), start + 1e-4);
  return { start, span: end - start };
}

function axis({ span }) {
  const marks = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const mark = el("span", { className: "tick", textContent: part ? duration(span * part) : "0" });
    mark.style.left = `${part * 100}%`;
    return mark;
  });
  return el("div", { className: "axis" }, el("span", { className: "aside", textContent: "When" }), ...marks);
}

function legend() {
  const entry = (kind, text) => el("span", {}, el("span", { className: `swatch ${kind}`, attr: { "aria-hidden": "true" } }), text);
  return el("p", { className: "legend" }, entry("on-worker", "on workers"), entry("on-pump", "on pumps"), entry("failed", "failed"), entry("waiting", "waiting"));
}

function lineOf(run, scale, world, isOpen, toggle) {
  const isRemote = world.listeners?.find((each) => each.name === run.listener)?.is_cpu_bound;
  const kind = run.error ? "failed" : isRemote ? "on-worker" : "on-pump";
  const bar = el("span", { className: `run ${kind}` });
  bar.style.left = `${((run.started - scale.start) / scale.span) * 100}%`;
  bar.style.width = `${(run.seconds / scale.span) * 100}%`;
  const wait = el("span", { className: "wait" });
  wait.style.left = `${((run.sent - scale.start) / scale.span) * 100}%`;
  wait.style.width = `${(Math.max(0, run.started - run.sent) / scale.span) * 100}%`;
  const name = el("button", {
    type: "button", className: "name", title: `from ${run.from_id}`,
    attr: { "aria-expanded": String(isOpen), "data-run": run.at },
    on: { click: () => toggle(run.at) },
  }, el("span", { className: "twist", attr: { "aria-hidden": "true" } }), run.listener);
  name.style.marginInlineStart = `${Math.min(run.depth, 12) * 1.1}rem`;
  const attempt = el("td", { className: "num wide" }, run.attempt > 1 ? el("span", { className: "warn", textContent: String(run.attempt) }) : "1");
  const after = duration(run.started - scale.start);
  const label = `starts after ${after}${run.error ? `, failed: ${run.error}` : ""}`;
  return el(
    "tr", { className: run.error ? "has-failed" : "" },
    el("th", { scope: "row" }, name),
    el("td", { className: "wide", title: run.type }, shortType(run.type)),
    el("td", { className: "wide mono", textContent: run.place }),
    attempt,
    el("td", { className: "num", textContent: run.error === "worker_lost" ? "–" : duration(run.seconds) }),
    el("td", { className: "lane", title: label }, el("span", { className: "aside", textContent: label }), el("div", { className: "track", attr: { "aria-hidden": "true" } }, wait, bar, run.error ? errorBeside(run, scale) : null)),
  );
}

function errorBeside(run, scale) {
  const from = (run.started - scale.start) / scale.span;
  const to = from + run.seconds / scale.span;
  const text = el("span", { className: "error", textContent: run.error.replaceAll("_", " ") });
  if (to < 0.7) text.style.left = `calc(${to * 100}% + 0.5rem)`;
  else text.style.right = `calc(${(1 - from) * 100}% + 0.5rem)`;
  return text;
}

function messagesOf(run, caller, place) {
  const cell = el("div", { className: "inner" }, "…");
  load();
  return el("tr", { className: "more", attr: { "data-of": place } }, el("td", { colSpan: HEADS.length + 1 }, cell));

  async function load() {
    try {
      const found = await get("messages", { thread: run.thread });
      // Why a call failed stands where its caller was told.
      const told = run.error && caller ? await get("messages", { thread: caller.thread }) : [];
      const faults = told.flatMap(({ payload }) => payload.faults).filter((fault) => fault.listener === run.listener && fault.code === run.error);
      const body = el("tbody", {}, ...found.map((message) => messageLine(message)));
      cell.replaceChildren(
        el("p", { className: "kv" }, "Thread ", el("span", { className: "id", textContent: run.thread }), ` · called by ${run.from_id} · ran on ${run.place}`),
        ...(faults.length ? [whyOf(faults)] : []),
        found.length ? table("Messages of this thread", [["From"], ["To"], ["Payload"], ["Size", "num"], ["Fields"]], body, "messages") : el("p", { textContent: "Its messages are no longer kept." }),
      );
    } catch (error) {
      setText(cell, `${error.message}.`);
    }
  }
}

function whyOf(faults) {
  return el("ul", { className: "why" }, ...faults.map((fault) => el("li", {}, faultText(fault))));
}

function messageLine({ from_id, to_id, payload }) {
  return el(
    "tr", {},
    el("td", { textContent: from_id }), el("td", { textContent: to_id }),
    el("td", { title: payload.type, textContent: shortType(payload.type) }),
    el("td", { className: "num", textContent: bytes(payload.bytes) }),
    el("td", {}, fieldsOf(payload)),
  );
}

export function underwayOf({ underway, row }) {
  if (!underway.length) {
    return row.busy ? [el("p", { className: "note", textContent: `${plural(row.busy, "message")} under way.` })] : [];
  }
  const lines = underway.map((each) => el(
    "tr", {},
    el("th", { scope: "row", textContent: each.listener }),
    el("td", {}, stateMark(each.state)),
    el("td", { className: "mono", textContent: each.place || "–" }),
    el("td", { className: "num", textContent: String(each.attempt) }),
    el("td", { className: `num ${each.deaths ? "bad" : ""}`, textContent: each.deaths ? String(each.deaths) : "" }),
  ));
  const heads = [["Listener"], ["State"], ["Where"], ["Try", "num"], ["Workers killed", "num"]];
  return [el("h2", { textContent: "Under way" }), table("Under way on workers", heads, el("tbody", {}, ...lines))];
}

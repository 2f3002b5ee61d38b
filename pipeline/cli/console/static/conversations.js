// The list of conversations, a page at a time.

import { get } from "./api.js";
import { el, heading, moment, number, plural, reconcile, setText, stateMark, table, took } from "./dom.js";
import { throttled } from "./throttle.js";

const STATES = [["all", "All"], ["open", "Open"], ["ended", "Ended"], ["answered", "Answered"], ["failed", "Failed"], ["closed", "Closed without answer"]];
const HEADS = [["State"], ["Conversation"], ["Listeners", "wide"], ["Busy", "num wide"], ["Hops", "num"], ["Failed", "num wide"], ["Retries", "num wide"], ["Started", "num wide"], ["Took", "num"]];
const LIMIT = 50;
const SHOWN = 3;
/** Kept from one visit to the next, so that going back leads back. */
const kept = { state: "all", q: "", starts: [0] };

export function conversations(root, world) {
  let isOver = false;
  let next = null;
  const body = el("tbody");
  const note = el("p", { className: "note", attr: { role: "status" } });
  const newer = el("button", { type: "button", textContent: "Newer", on: { click: () => turn(-1) } });
  const older = el("button", { type: "button", textContent: "Older", on: { click: () => turn(1) } });
  const state = el(
    "select",
    { attr: { id: "state" }, on: { change: () => search() } },
    ...STATES.map(([value, text]) => el("option", { value, textContent: text, selected: value === kept.state })),
  );
  const text = el("input", {
    type: "search", value: kept.q, placeholder: "id or listener", spellcheck: false,
    attr: { id: "text", "aria-keyshortcuts": "/", autocomplete: "off" },
    on: { input: () => searchSoon() },
  });
  const refresh = throttled(load, 1000);

  function search() {
    Object.assign(kept, { state: state.value, q: text.value.trim(), starts: [0] });
    refresh.now();
  }
  let soon;
  function searchSoon() {
    clearTimeout(soon);
    soon = setTimeout(search, 250);
  }
  function turn(by) {
    if (by < 0) kept.starts.pop();
    else kept.starts.push(next);
    refresh.now();
  }

  async function load() {
    const asked = { state: kept.state, q: kept.q, offset: kept.starts.at(-1), limit: LIMIT };
    let page;
    try {
      page = await get("conversations", asked);
    } catch (error) {
      if (!isOver) setText(note, `${error.message}.`);
      return;
    }
    if (isOver || asked.state !== kept.state || asked.q !== kept.q || asked.offset !== kept.starts.at(-1)) return;
    next = page.next;
    reconcile(body, page.rows, (row) => row.id, make, update);
    show(page, asked);
  }

  function show(page, asked) {
    const isFirst = kept.starts.length === 1;
    // A button that has the focus and goes must hand it on.
    const had = document.activeElement;
    newer.disabled = isFirst;
    older.disabled = next === null;
    if (had === newer && isFirst) older.focus();
    if (had === older && next === null) newer.focus();
    setText(note, noteOn(page, asked));
  }

  root.append(
    heading("Conversations"),
    el(
      "div", { className: "tools" },
      el("label", {}, "State ", state),
      el("label", { className: "grow" }, "Find ", text),
      el("span", { className: "pair", attr: { role: "group", "aria-label": "Pages" } }, newer, older),
    ),
    table("Conversations, open ones first, each the newest first", HEADS, body, "list"),
    note,
  );
  refresh.now();
  return {
    title: "Conversations",
    refresh: () => refresh.now(),
    // An older page stays as it is while somebody reads it.
    told: (name) => name === "marks" && kept.starts.length === 1 && refresh(),
    close: () => { isOver = true; refresh.stop(); },
  };
}

function noteOn(page, { offset, q, state }) {
  const isFiltered = q || !["all", "open", "ended"].includes(state);
  if (isFiltered) {
    const among = page.next === null ? "" : ` among ${plural(page.examined, "conversation")}; “Older” looks further`;
    return `${plural(page.rows.length, "match", "matches")}${among}`;
  }
  if (!page.rows.length) return "No conversation is open or kept.";
  return `${number(offset + 1)} to ${number(offset + page.rows.length)} of ${number(page.total)}`;
}

function make(row) {
  const link = el("a", { href: `#/conversation/${encodeURIComponent(row.id)}`, className: "id", textContent: row.id });
  const cells = HEADS.map(([, kind = ""], place) => (place === 1 ? el("th", { scope: "row" }, link) : el("td", { className: kind })));
  return el("tr", {}, ...cells);
}

function update(node, row) {
  const [state, , listeners, busy, hops, failed, retries, started, time] = node.children;
  if (node.dataset.state !== row.state) {
    state.replaceChildren(stateMark(row.state));
    node.dataset.state = row.state;
  }
  const rest = row.listeners.length - SHOWN;
  setText(listeners, row.listeners.slice(0, SHOWN).join(", ") + (rest > 0 ? ` and ${rest} more` : ""));
  setText(busy, row.is_large ? "" : row.busy || "");
  setText(hops, row.is_large ? "many" : number(row.hops));
  setText(failed, row.failures || "");
  failed.classList.toggle("bad", row.failures > 0);
  setText(retries, row.retries || "");
  if (node.dataset.started !== String(row.started)) {
    node.dataset.started = row.started;
    started.replaceChildren(moment(row.started));
  }
  setText(time, took(row));
}

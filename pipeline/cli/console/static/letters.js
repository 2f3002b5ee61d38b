// Dead letters: what they were, why they died, and what to do with them.

import { get, post } from "./api.js";
import { bytes, el, heading, moment, number, say, setText, shortType, table } from "./dom.js";
import { fieldsOf } from "./payload.js";
import { throttled } from "./throttle.js";

const HEADS = [["Listener"], ["Why"], ["Payload", "wide"], ["Died", "num wide"], ["Do", "do"]];
const LIMIT = 50;

export function letters(root, world) {
  let isOver = false;
  let next = null;
  let starts = [0];
  let before = "";
  const list = el("div");
  const note = el("p", { className: "note", attr: { role: "status" } });
  const newer = el("button", { type: "button", textContent: "Newer", on: { click: () => { starts.pop(); refresh.now(); } } });
  const older = el("button", { type: "button", textContent: "Older", on: { click: () => { starts.push(next); refresh.now(); } } });
  const pages = el("span", { className: "pair", attr: { role: "group", "aria-label": "Pages" } }, newer, older);
  const refresh = throttled(load, 1000);

  async function load() {
    let page;
    try {
      page = await get("letters", { offset: starts.at(-1), limit: LIMIT });
    } catch (error) {
      if (!isOver) setText(note, `${error.message}.`);
      return;
    }
    if (isOver) return;
    if (!page.rows.length && starts.length > 1) {
      starts = [0];
      return refresh();
    }
    next = page.next;
    const now = JSON.stringify(page.rows);
    if (now !== before) show(page.rows);
    before = now;
    newer.disabled = starts.length === 1;
    older.disabled = next === null;
    pages.hidden = newer.disabled && older.disabled;
    const first = starts.at(-1);
    setText(note, page.rows.length ? `${number(first + 1)} to ${number(first + page.rows.length)} of ${number(page.total)}` : "No dead letters.");
  }

  /** Draws anew; focus goes to the same button, or to the one that has taken its place. */
  function show(rows) {
    const buttons = [...list.querySelectorAll("button")];
    const held = buttons.indexOf(document.activeElement);
    const name = document.activeElement?.dataset?.act;
    list.replaceChildren(...(rows.length ? [letterTable(rows, world, () => refresh.now())] : []));
    if (held < 0) return;
    const now = [...list.querySelectorAll("button")];
    const same = now.find((button) => button.dataset.act === name);
    (same ?? now[Math.min(held, now.length - 1)] ?? root.querySelector("h1")).focus();
  }

  root.append(
    heading("Dead letters"),
    el("div", { className: "tools" }, el("p", { className: "lead", textContent: "Messages that were given up: their handler killed its workers, or nobody could read, deliver or run them." }), pages),
    list, note,
  );
  refresh.now();
  return {
    title: "Dead letters",
    refresh: () => refresh.now(),
    told: (name) => name === "marks" && refresh(),
    close: () => { isOver = true; refresh.stop(); },
  };
}

export function letterTable(rows, world, onChange) {
  return table("Dead letters, the newest first", HEADS, el("tbody", {}, ...rows.map((row) => lineOf(row, world, onChange))), "letters");
}

function lineOf(letter, world, onChange) {
  const history = letter.history.map(([process, when]) => el("li", {}, "killed ", el("span", { className: "id", textContent: process }), " at ", moment(when)));
  const where = el("a", { href: `#/conversation/${encodeURIComponent(letter.conversation)}`, className: "id", textContent: letter.conversation });
  return el(
    "tr", {},
    el("th", { scope: "row" }, letter.listener || "?", el("p", { className: "sub" }, "from ", letter.from_id || "?", letter.conversation ? " in " : "", letter.conversation ? where : "")),
    el("td", {}, el("span", { className: "code", textContent: letter.code.replaceAll("_", " ") }), el("p", { className: "sub", textContent: letter.why }),
      history.length ? el("details", {}, el("summary", { textContent: "History" }), el("ul", { className: "plain" }, ...history)) : null),
    el("td", { className: "wide" }, payloadOf(letter.payload)),
    el("td", { className: "num wide" }, moment(letter.died)),
    el("td", { className: "do" }, ...actionsOf(letter, world, onChange)),
  );
}

function payloadOf(payload) {
  if (!payload) return "–";
  return el("div", {}, el("span", { title: payload.type, textContent: `${shortType(payload.type)}, ${bytes(payload.bytes)}` }), fieldsOf(payload));
}

function actionsOf(letter, world, onChange) {
  if (world.session.read_only) return [el("span", { className: "muted", textContent: "read-only" })];
  const button = (text, act, action, kind = "") => el("button", {
    type: "button", className: kind, textContent: text,
    attr: { "aria-label": `${text} the letter to ${letter.listener || "?"}, ${letter.id}`, "data-act": `${act} ${letter.id}` },
    on: { click: action },
  });
  const replay = button("Replay", "replay", () => act("replay"));
  const drop = button("Drop", "drop", () => confirmDrop(letter, () => act("drop")), "danger");
  return [replay, drop];

  async function act(what) {
    replay.disabled = drop.disabled = true;
    try {
      await post(`letters/${what}`, { letter: letter.id });
      say(what === "replay" ? `Replayed: ${letter.listener} runs again` : `Dropped the letter to ${letter.listener}`);
    } catch (error) {
      say(`${error.message}`);
    }
    replay.disabled = drop.disabled = false;
    onChange();
  }
}

function confirmDrop(letter, action) {
  const asker = document.activeElement;
  const dialog = el(
    "dialog",
    { attr: { "aria-labelledby": "ask" }, on: { close: () => { dialog.remove(); if (asker.isConnected) asker.focus(); if (dialog.returnValue === "drop") action(); } } },
    el("form", { method: "dialog", on: { submit: (event) => { event.preventDefault(); dialog.close(event.submitter?.value ?? ""); } } },
      el("h2", { textContent: "Drop this letter?", attr: { id: "ask" } }),
      el("p", { textContent: `The message to ${letter.listener || "?"} is deleted for good.` }),
      el("p", { className: "pair" }, el("button", { value: "", textContent: "Keep it" }), el("button", { value: "drop", className: "danger", textContent: "Drop it" }))),
  );
  document.body.append(dialog);
  dialog.showModal();
}

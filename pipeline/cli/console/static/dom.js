// Elements and the texts in them. All text goes in as text nodes: what comes from a message is
// never read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `options` are properties, `on…` listeners, `data`, `aria` and attributes `attr`. */
export function el(tag, options = {}, ...children) {
  return fill(document.createElement(tag), options, children);
}

/** The same for a part of a drawing; all options are attributes. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), { attr: attributes }, children);
}

function fill(node, { attr = {}, on = {}, ...properties }, children) {
  for (const [name, value] of Object.entries(attr)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  for (const [name, listener] of Object.entries(on)) node.addEventListener(name, listener);
  Object.assign(node, properties);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Set a text only where it has changed, so that nothing is read out or selected in vain. */
export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

/**
 * Keep the rows of a table body as they are where they stay, so that focus stays too.
 * `make(item)` returns a row; `update(row, item)` brings it up to date.
 */
export function reconcile(body, items, keyOf, make, update) {
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  let place = body.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let row = known.get(key);
    known.delete(key);
    if (!row) {
      row = make(item);
      row.dataset.key = key;
    }
    update(row, item);
    if (row === place) place = place.nextElementSibling;
    else body.insertBefore(row, place);
  }
  for (const row of known.values()) row.remove();
}

export const number = (value) => Math.round(value).toLocaleString("en");

export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/** Seconds, with the unit that suits them. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const ms = Math.max(0, seconds) * 1000;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${ms.toFixed(0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** How long a conversation took, or has been open. */
export function took({ state, started, last }) {
  if (!started || !last) return "–";
  const end = state === "open" ? Math.max(last, Date.now() / 1000) : last;
  return duration(end - started);
}

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${(count / 1e3).toFixed(1)} kB`;
  return `${(count / 1e6).toFixed(1)} MB`;
}

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** A moment in seconds since the epoch: its time of day, and its day unless that is today. */
export function moment(seconds) {
  if (seconds === null || seconds === undefined) return el("span", { textContent: "–" });
  const then = new Date(seconds * 1000);
  if (Number.isNaN(then.getTime())) return el("span", { textContent: "–" });
  const isToday = then.toDateString() === new Date().toDateString();
  const text = isToday ? CLOCK.format(then) : `${DAY.format(then)} ${CLOCK.format(then)}`;
  return el("time", { textContent: text, dateTime: then.toISOString(), title: then.toISOString() });
}

/** The class behind a payload's full name. */
export const shortType = (name) => name.slice(name.lastIndexOf(".") + 1) || "?";

export function stateMark(state) {
  return el("span", { className: `state ${state}` }, el("span", { className: "dot", attr: { "aria-hidden": "true" } }), state);
}

/** A table that may be wider than the screen: it scrolls by itself, by keyboard too. */
export function table(caption, heads, body, className = "") {
  const row = el("tr", {}, ...heads.map(([text, kind = ""]) => el("th", { scope: "col", className: kind, textContent: text })));
  return el(
    "div",
    { className: "scroll", tabIndex: 0, attr: { role: "region", "aria-label": caption } },
    el("table", { className }, el("caption", { className: "aside", textContent: caption }), el("thead", {}, row), body),
  );
}

export function heading(text, ...more) {
  return el("h1", { tabIndex: -1, textContent: text }, ...more);
}

const said = () => document.getElementById("said");

/** Tell something, in passing, to those who see and to those who listen. */
export function say(text) {
  const node = said();
  node.textContent = "";
  // A region whose text is set twice to the same is read out once.
  requestAnimationFrame(() => (node.textContent = text));
}

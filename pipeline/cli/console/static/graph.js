// Who called whom, drawn from left to right; and the same as a table.

import { duration, el, number, svg, table } from "./dom.js";

const WIDTH = 168, HEIGHT = 46, ACROSS = 66, DOWN = 22, MARGIN = 16;

export function drawGraph(nodes, edges) {
  if (!nodes.length) return [el("p", { className: "note", textContent: "No handler has come to an end here." })];
  const places = layOut(nodes, edges);
  const columns = Math.max(...[...places.values()].map((place) => place.column)) + 1;
  const rows = Math.max(...[...places.values()].map((place) => place.row + 1));
  const width = 2 * MARGIN + columns * WIDTH + (columns - 1) * ACROSS;
  const height = 2 * MARGIN + rows * HEIGHT + (rows - 1) * DOWN;
  const drawing = svg(
    "svg",
    { class: "graph", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${nodes.length} listeners and the calls between them; the table below says the same` },
    svg("defs", {}, svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" }, svg("path", { d: "M0 0.5 7.5 4 0 7.5z" }))),
    ...edges.map((edge) => drawEdge(edge, places)),
    ...nodes.map((node) => drawNode(node, places.get(node.name))),
  );
  const lines = edges.map((edge) => el(
    "tr", {},
    el("th", { scope: "row", textContent: edge.source }), el("td", { textContent: edge.target }),
    el("td", { className: "num", textContent: number(edge.calls) }),
    el("td", { className: `num ${edge.failures ? "bad" : ""}`, textContent: edge.failures ? number(edge.failures) : "" }),
    el("td", { className: "num", textContent: edge.returns ? number(edge.returns) : "" }),
  ));
  return [
    el("div", { className: "scroll canvas", tabIndex: 0, attr: { role: "region", "aria-label": "Graph of calls" } }, drawing),
    el("p", { className: "note", textContent: "Numbers are calls; ⇄ marks those whose answer had the caller run again." }),
    el("details", {}, el("summary", { textContent: "The same as a table" }),
      table("Calls", [["From"], ["To"], ["Calls", "num"], ["Failed", "num"], ["Answers", "num"]], el("tbody", {}, ...lines))),
  ];
}

/** A column for each node, right of all that call it but for calls in circles; rows in their order. */
function layOut(nodes, edges) {
  const calls = edges.filter((edge) => edge.calls && edge.source !== edge.target);
  const column = new Map(nodes.map((node) => [node.name, 0]));
  // As many rounds as the longest way may have steps; a circle ends with them.
  const ahead = withoutCircles(nodes, calls);
  for (let round = 0; round < nodes.length; round += 1) {
    for (const { source, target } of ahead) {
      column.set(target, Math.max(column.get(target), column.get(source) + 1));
    }
  }
  const filled = new Map();
  const places = new Map();
  for (const { name } of nodes) {
    const at = column.get(name);
    const row = filled.get(at) ?? 0;
    filled.set(at, row + 1);
    places.set(name, { column: at, row });
  }
  const rows = Math.max(...filled.values());
  for (const place of places.values()) place.row += (rows - filled.get(place.column)) / 2;
  return places;
}

/** The calls that lead onwards: those that lead back to who is on the way are left out. */
function withoutCircles(nodes, calls) {
  const from = new Map(nodes.map((node) => [node.name, []]));
  for (const call of calls) from.get(call.source).push(call);
  const ahead = [];
  const state = new Map();
  for (const { name } of nodes) {
    if (state.has(name)) continue;
    const way = [[name, 0]];
    state.set(name, "on");
    while (way.length) {
      const top = way.at(-1);
      const call = from.get(top[0])[top[1]++];
      if (!call) {
        state.set(top[0], "done");
        way.pop();
      } else if (state.get(call.target) !== "on") {
        ahead.push(call);
        if (!state.has(call.target)) {
          state.set(call.target, "on");
          way.push([call.target, 0]);
        }
      }
    }
  }
  return ahead;
}

const left = ({ column }) => MARGIN + column * (WIDTH + ACROSS);
const top = ({ row }) => MARGIN + row * (HEIGHT + DOWN);

function drawNode(node, place) {
  const isOutside = !node.runs;
  const text = isOutside ? "sent from outside" : `${number(node.runs)} × ${duration(node.seconds / node.runs)}`;
  const failed = node.failures ? `, ${number(node.failures)} failed` : "";
  return svg(
    "g", { class: `node ${isOutside ? "outside" : ""} ${node.failures ? "bad" : ""}`, transform: `translate(${left(place)} ${top(place)})` },
    svg("title", {}, `${node.name}: ${text}${failed}`),
    svg("rect", { width: WIDTH, height: HEIGHT, rx: 6 }),
    svg("text", { x: 12, y: 19, class: "who" }, cut(node.name, 21)),
    svg("text", { x: 12, y: 35, class: "how" }, `${text}${failed}`),
  );
}

function drawEdge(edge, places) {
  const from = places.get(edge.source);
  const to = places.get(edge.target);
  const kind = `edge ${edge.failures ? "bad" : ""}`;
  const label = (x, y) => svg("text", { x, y, class: "count" }, `${number(edge.calls)}${edge.returns ? " ⇄" : ""}`);
  if (from === to) {
    const x = left(from) + WIDTH - 34, y = top(from);
    return svg("g", { class: kind }, svg("path", { d: `M${x} ${y} c0 -18 22 -18 22 -1`, "marker-end": "url(#arrow)" }), label(x + 11, y - 4));
  }
  const isAhead = to.column > from.column;
  const x1 = left(from) + (isAhead ? WIDTH : WIDTH / 2);
  const x2 = left(to) + (isAhead ? 0 : WIDTH / 2);
  const y1 = top(from) + (isAhead ? HEIGHT / 2 : HEIGHT), y2 = top(to) + (isAhead ? HEIGHT / 2 : HEIGHT);
  const bend = isAhead ? Math.min(ACROSS, x2 - x1) / 2 : 0;
  const drop = isAhead ? 0 : 16;
  const path = isAhead
    ? `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`
    : `M${x1} ${y1} C${x1} ${y1 + drop} ${x2} ${y2 + drop} ${x2} ${y2}`;
  return svg("g", { class: kind }, svg("path", { d: path, "marker-end": "url(#arrow)" }), label((x1 + x2) / 2, (y1 + y2) / 2 - 6 + drop));
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

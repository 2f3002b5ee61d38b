// What is told of a payload.

import { el } from "./dom.js";

/** A payload's fields without their values. */
export function fieldsOf({ fields, more, note, faults }) {
  if (faults.length) return el("ul", { className: "plain" }, ...faults.map((fault) => el("li", {}, faultText(fault))));
  if (note) return el("span", { className: "muted", textContent: note });
  if (!fields.length) return el("span", { className: "muted", textContent: "none told" });
  const items = fields.map((field) => {
    const told = field.value === null ? [] : [" = ", el("span", { className: "value", textContent: field.value })];
    return el("li", {}, field.name, el("span", { className: "type", textContent: ` ${field.type}${field.size ? `, ${field.size}` : ""}` }), ...told);
  });
  if (more) items.push(el("li", { className: "muted", textContent: `${more} more` }));
  return el("ul", { className: "fields" }, ...items);
}

/** Why a call failed: its code, the exception's class, and where it was raised. */
export function faultText({ listener, code, raised, where, message, attempt }) {
  const what = code === "raised" && raised ? `raised ${raised}` : code.replaceAll("_", " ");
  const rest = `${where ? ` at ${where}` : ""}${attempt > 1 ? `, on try ${attempt}` : ""}`;
  return el("span", {}, `${listener} `, el("span", { className: "bad", textContent: what }), rest, ...(message ? [": ", el("span", { className: "value", textContent: message })] : []));
}

// What is told of a payload.

import { el } from "./dom.js";

/** A payload's fields without their values. */
export function fieldsOf({ fields, more, note }) {
  if (note) return el("span", { className: "muted", textContent: note });
  if (!fields.length) return el("span", { className: "muted", textContent: "none told" });
  const items = fields.map((field) => {
    const told = field.value === null ? [] : [" = ", el("span", { className: "value", textContent: field.value })];
    return el("li", {}, field.name, el("span", { className: "type", textContent: ` ${field.type}${field.size ? `, ${field.size}` : ""}` }), ...told);
  });
  if (more) items.push(el("li", { className: "muted", textContent: `${more} more` }));
  return el("ul", { className: "fields" }, ...items);
}

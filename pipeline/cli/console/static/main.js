// Lets people in, follows what changes, and shows one view at a time.

import { follow, get, post } from "./api.js";
import { el, heading, say, setText } from "./dom.js";
import { updateStrip } from "./strip.js";
import { conversations } from "./conversations.js";
import { conversation } from "./conversation.js";
import { letters } from "./letters.js";
import { fleet, listeners } from "./fleet.js";

const SECTIONS = ["redis", "standing", "rates", "listeners", "pumps", "workers", "marks"];
const VIEWS = { conversations, conversation, letters, listeners, fleet };

/** What the server has told last, by section; and what it said of itself. */
const world = { session: null };
let view = null;
let isFollowing = false;

const main = document.getElementById("main");
const banner = document.getElementById("banner");

function warn(text) {
  setText(banner, text);
  banner.hidden = !text;
}

function linked(isThere) {
  const away = world.redis?.away;
  const link = document.getElementById("link");
  link.className = `link ${isThere && !away ? "good" : "bad"}`;
  setText(document.getElementById("link-text"), isThere ? (away ? "Redis away" : "live") : "reconnecting");
  if (!isThere) warn("The console's server does not answer. This page goes on by itself once it does.");
  else warn(away ? `${away}. Work goes on once it is back, and so does this page.` : "");
}

function told(name, value) {
  const wasAway = world.redis?.away;
  world[name] = value;
  if (name === "redis") {
    linked(true);
    if (wasAway && !value.away) {
      say("Redis is back");
      view?.refresh?.();
    }
  }
  if (name === "standing" || name === "rates") updateStrip(world);
  view?.told?.(name, value);
}

/** What stands in an address; as it stands where nobody has encoded it. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function route() {
  const [, name = "conversations", ...rest] = location.hash.slice(1).split("/");
  const make = Object.hasOwn(VIEWS, name) ? VIEWS[name] : conversations;
  view?.close?.();
  for (const link of document.querySelectorAll("#sections a")) {
    const isHere = link.hash === `#/${name === "conversation" ? "conversations" : name}`;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.replaceChildren();
  view = make(main, world, decoded(rest.join("/")));
  document.title = `${view.title} – ${world.session.organism}`;
}

function moved() {
  if (!world.session || !location.hash.startsWith("#/")) return;
  route();
  scrollTo(0, 0);
  main.querySelector("h1")?.focus({ preventScroll: true });
}

function enter(session) {
  world.session = session;
  setText(document.getElementById("organism"), session.organism);
  document.body.classList.add("inside");
  if (!location.hash.startsWith("#/")) history.replaceState(null, "", "#/conversations");
  route();
  if (isFollowing) return;
  isFollowing = true;
  follow(SECTIONS, { onSection: told, onState: linked, onRefused: () => knock("The console has been started again.") });
}

function knock(why = "") {
  isFollowing = false;
  world.session = null;
  view?.close?.();
  view = null;
  document.body.classList.remove("inside");
  document.getElementById("strip").hidden = true;
  warn("");
  const field = el("input", { type: "password", name: "token", autocomplete: "off", required: true, attr: { id: "token" } });
  const wrong = el("p", { className: "wrong", textContent: why, attr: { role: "alert" } });
  const form = el(
    "form",
    { className: "door", on: { submit: (event) => { event.preventDefault(); open(field.value, wrong); } } },
    heading("Console"),
    el("p", { textContent: "Open the URL that `pump console` has printed, or enter the token in it." }),
    el("label", { textContent: "Token", htmlFor: "token" }),
    field,
    el("button", { type: "submit", textContent: "Enter" }),
    wrong,
  );
  main.replaceChildren(form);
  document.title = "Console";
  field.focus();
}

async function open(token, wrong) {
  try {
    enter(await post("session", { token: token.trim() }));
  } catch (error) {
    if (wrong) setText(wrong, `${error.message}.`);
    else knock(`${error.message}.`);
  }
}

async function begin() {
  const [, token] = /^#token=(.+)$/.exec(location.hash) ?? [];
  if (token) {
    // Out of sight and out of the history at once.
    history.replaceState(null, "", "#/conversations");
    return open(token);
  }
  try {
    enter(await get("session"));
  } catch (error) {
    knock(error.status === 401 ? "" : `${error.message}.`);
  }
}

addEventListener("hashchange", () => (location.hash.startsWith("#token=") ? begin() : moved()));
addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, select, textarea, dialog");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = main.querySelector("input[type=search]");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
begin();

// Questions to the server, and the stream of what changes.

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(`/api/${path}`, {
      method,
      credentials: "same-origin",
      headers: { "X-Pump-Console": "1", ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body ? JSON.stringify(body) : undefined,
      signal: AbortSignal.timeout(20_000),
    });
  } catch {
    throw new Refused(0, "the console's server does not answer");
  }
  const found = answer.status === 204 ? null : await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, found?.error ?? `HTTP ${answer.status}`);
  return found;
}

export const get = (path, query = {}) => ask("GET", `${path}?${new URLSearchParams(query)}`);
export const post = (path, body) => ask("POST", path, body);

/**
 * What changes, section by section; goes on for ever.
 * `onState(true | false)` tells whether the stream is there, `onRefused()` that we are not let in.
 */
export function follow(sections, { onSection, onState, onRefused }) {
  const stream = new EventSource("/api/events");
  for (const name of sections) {
    stream.addEventListener(name, (event) => onSection(name, JSON.parse(event.data)));
  }
  stream.onopen = () => onState(true);
  stream.onerror = async () => {
    onState(false);
    if (stream.readyState !== EventSource.CLOSED) return;
    // It has given up; perhaps the server has been started again, with another token.
    try {
      await get("session");
    } catch (error) {
      if (error.status === 401) return onRefused();
    }
    setTimeout(() => follow(sections, { onSection, onState, onRefused }), 3000);
  };
}

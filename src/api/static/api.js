// Calls to the server: problem documents become errors, 401 asks for a token, streams are read event by event.

const TOKEN_KEY = "rag-token";

let askForToken = async () => null;

/** Who is asked when the server wants a token: a function from a message to the token, or null when the person declines. */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

/** Whether a token can stand in a header: `fetch` throws on anything else, which would look like an outage. */
export const usable = (value) => /^[\x21-\x7e]+$/.test(value);

export const token = {
  get: () => sessionStorage.getItem(TOKEN_KEY),
  set: (value) => sessionStorage.setItem(TOKEN_KEY, value),
  clear: () => sessionStorage.removeItem(TOKEN_KEY),
};

/** What the server said went wrong (RFC 9457). */
export class Problem extends Error {
  /** `away`: nobody answered, or what stands before the server did in its place. */
  constructor(body, away = false) {
    super(body.detail || body.title || "Something went wrong.");
    this.away = away;
    this.hint = body.hint || "";
    this.status = body.status || 0;
    this.reason = body.reason || "";
    this.correlation = this.status >= 500 ? body.correlation_id || "" : "";
  }
}

async function problemOf(response) {
  try {
    const body = await response.json();
    if (typeof body === "object" && body !== null) return new Problem({ status: response.status, ...body });
  } catch {
    // Not a problem document: something between us and the server answered.
  }
  const away = [502, 503, 504].includes(response.status);
  return new Problem({ status: response.status, detail: `The server answered ${response.status}.`, ...(away ? { hint: "Try again." } : {}) }, away);
}

/** `fetch` with the token of this tab; throws a Problem for everything but success. */
export async function call(method, path, { json, form, signal, headers: more = {} } = {}) {
  for (;;) {
    const headers = { ...more };
    if (token.get() !== null && !usable(token.get())) token.clear();
    const used = token.get();
    if (used) headers.Authorization = `Bearer ${used}`;
    if (json !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method, headers, body: json === undefined ? form : JSON.stringify(json), signal, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem({ detail: "The server cannot be reached.", hint: "Check that it is running, then try again." }, true);
    }
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status !== 401) throw problem;
    if (token.get() !== used) continue; // another call has a new token meanwhile
    const given = await askForToken(used ? problem.message : "This server asks for an access token.");
    if (!given) throw problem;
    token.set(given);
  }
}

export const getJson = async (path, options) => (await call("GET", path, options)).json();

/** The path of a document's resource; ids may hold anything, so all of an id is one encoded piece. */
export const documentPath = (id, rest = "") => `/v1/documents/${encodeURIComponent(id.toWellFormed ? id.toWellFormed() : id)}${rest}`;

/** The path of a thread's resource. */
export const threadPath = (id, rest = "") => `/v1/threads/${encodeURIComponent(id)}${rest}`;

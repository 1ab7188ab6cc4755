// One question, or decision, whose answer comes as events, whatever becomes of the connection in between.

import { call, getJson, Problem, threadPath } from "./api.js";
import { Broken, events } from "./events.js";
import { delay, pause } from "./retry.js";

const KEPT = "rag-pending";
const MOST_TRIES = 24; // about three minutes
const LOOKED_AT_TRIES = 8; // a key stays taken for 20 seconds where its server was killed
const STALE_MS = 600000; // the server tells the events of an answer for ten minutes after its end
const CLOCKS_MS = 120000; // by which this machine's clock may be ahead of the server's
const STOPPED = "stopped"; // the reason of a server that is told to stop; it may be back in a moment
const LAST = ["done", "error"];

/** A sign that nobody can guess; `crypto.randomUUID` is not there over plain HTTP. */
const random = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Asks once: sent again under one Idempotency-Key, listened to again by Last-Event-ID. */
export class Run {
  /**
   * @param about what one has to know to find it again: `{thread, question, known, listed, asked, decided}`: `known` are the ids of the turns
   * before, `listed` those of the latest conversations, `asked` is the time, `decided` an approval's id.
   */
  constructor(path, json, about, { key = random(), id = null } = {}) {
    Object.assign(this, { path, json, about, key, id, last: null, broke: id !== null, gone: false, again: false });
    this.keep();
  }

  /** The run that this tab waited for when the page was left, or null. */
  static kept() {
    try {
      const found = JSON.parse(sessionStorage.getItem(KEPT));
      return found && Date.now() - found.about.asked < STALE_MS ? found : null;
    } catch {
      return null; // not ours, or no storage
    }
  }

  static forget() {
    try {
      sessionStorage.removeItem(KEPT);
    } catch {
      // Storage may be switched off; then nothing was kept.
    }
  }

  keep() {
    try {
      const { path, json, about, key, id } = this;
      sessionStorage.setItem(KEPT, JSON.stringify({ path, json, about, key, id }));
    } catch {
      // Full, or switched off: a reload will not find the answer under way.
    }
  }

  /** Tell the server that nobody waits for it any more. A closed connection may have broken, so it waits a while for that. */
  stop() {
    if (this.id) call("DELETE", `/v1/chat/runs/${this.id}`).catch(() => {});
  }

  /**
   * Events as `{name, data}`, the last one `done` or `error`; `again` says that all that came before is void.
   * `tell` hears "away", "back" and "again". Throws a Problem for what the server refuses, or where it stays away.
   */
  async *events(signal, tell) {
    let tries = 0;
    for (;;) {
      try {
        for await (const event of this.once(signal, () => tries && tell("back"))) {
          tries = 0;
          if (event.name === "again") tell("again");
          yield event;
          if (LAST.includes(event.name)) return;
        }
        if (this.gone) continue;
      } catch (error) {
        if (signal.aborted || !this.passes(error, tries)) throw error;
        if (tries >= MOST_TRIES) throw new Problem({ detail: "The server cannot be reached.", hint: "Check that it is running, then try again." }, true);
      }
      this.broke = true;
      tell("away");
      await pause(delay(tries), signal);
      tries += 1;
    }
  }

  /** What comes over one connection; `opened` is called when there is one. */
  async *once(signal, opened) {
    if (this.gone) {
      const found = await outcomeOf(this.about);
      if (found) yield { name: "done", data: found };
      if (found) return;
      if (this.again) throw new Problem({ detail: "The server was restarted before the answer was ready.", hint: "Try again." });
      Object.assign(this, { again: true, gone: false, broke: false, id: null, last: null });
      yield { name: "again" };
    }
    const response = await this.connect(signal);
    if (!response) return;
    opened();
    for await (const event of events(response)) {
      if (event.id) this.last = event.id;
      if (!this.broke && event.name === "error" && event.data.reason === STOPPED) throw new Broken();
      // Its server stopped, or nobody listened for so long that it was ended.
      this.gone = Boolean(this.broke) && event.name === "error" && [409, 503].includes(event.data.status);
      if (this.gone) return;
      yield event;
    }
  }

  /** Ask. What is stopped before the server has told its name is stopped as soon as it has. */
  async post(signal) {
    const sent = new AbortController();
    const asked = call("POST", this.path, { json: this.json, signal: sent.signal, headers: { "Idempotency-Key": this.key } });
    const named = asked.then((response) => {
      this.id = response.headers.get("X-Run-ID");
      if (signal.aborted) {
        this.stop();
        sent.abort();
      }
      return response;
    });
    const stopped = new Promise((_, reject) => {
      const stop = () => {
        if (this.id) sent.abort();
        reject(new DOMException("stopped", "AbortError"));
      };
      if (signal.aborted) stop();
      else signal.addEventListener("abort", stop, { once: true });
    });
    return Promise.race([named, stopped]);
  }

  async connect(signal) {
    if (!this.id) {
      const response = await this.post(signal);
      this.keep();
      return response;
    }
    try {
      const headers = this.last ? { "Last-Event-ID": this.last } : {};
      const response = await call("GET", `/v1/chat/runs/${this.id}/events`, { signal, headers });
      this.gone = response.status === 204; // it is over, and its last event never came here
      return this.gone ? null : response;
    } catch (error) {
      if (error.status !== 404) throw error;
      this.gone = true;
      return null;
    }
  }

  /** Whether trying again may help: the connection broke, or the first sending of this question is still being looked at. */
  passes(error, tries) {
    if (error instanceof Broken) return true;
    return error instanceof Problem && (error.away || error.reason === STOPPED || (error.status === 409 && this.broke && !this.id && !this.again && tries < LOOKED_AT_TRIES));
  }
}

/** What became of a question whose run the server does not know any more: its answer, or what it waits with; null where nothing is kept of it. */
async function outcomeOf({ thread, question, known, listed, asked, decided }) {
  const { approvals } = await getJson(thread ? threadPath(thread, "/approvals") : "/v1/approvals");
  const approval = approvals.find((one) => one.question === question && one.approval_id !== decided && Date.parse(one.created_at) > asked - CLOCKS_MS);
  if (approval) return { thread_id: approval.thread_id, message_id: "", answer: "", citations: [], approval };
  const id = thread ?? (await beganSince(question, listed, asked));
  if (!id) return null;
  const { turns } = await getJson(threadPath(id, "/history"));
  const turn = turns.findLast((one) => one.question === question && !known.includes(one.message_id));
  return turn ? { ...turn, thread_id: id } : null;
}

/** The thread that a question began: its id was in the answer that did not come. */
async function beganSince(question, listed, asked) {
  const { threads } = await getJson("/v1/threads?limit=5");
  for (const { thread_id: id, turns, created_at: made } of threads) {
    if (turns !== 1 || listed.includes(id) || Date.parse(made) < asked - CLOCKS_MS) continue;
    const { turns: [first] } = await getJson(threadPath(id, "/history"));
    if (first?.question === question) return id;
  }
  return null;
}

// The conversation: sends questions, shows answers as they come.

import { $, announce, h, icon, setStatus } from "./dom.js";
import { call, events, getJson, Problem } from "./api.js";
import { FeedbackBar, feedbackOf } from "./feedback.js";
import { renderAnswer, spoken } from "./render.js";
import { openCitation, place } from "./viewer.js";

let threadId = null;
let running = null;
let run = null; // the answer under way, as the server calls it
let gone = false; // the thread on the page was deleted elsewhere
let steps = 0; // counts what the person did, so that what arrives late can tell
let onThreadChange = () => {};

export const currentThread = () => threadId;

/** One question with its answer on the page. */
class TurnView {
  constructor(question) {
    this.text = "";
    this.citations = new Map();
    this.body = h("div", { class: "answer-text" });
    this.extra = h("div", { class: "extra" });
    this.answer = h("div", { class: "answer", "aria-busy": "true" }, this.body, this.extra);
    this.root = h("article", { class: "turn" }, h("h2", { class: "question" }, h("span", { class: "visually-hidden" }, "You asked: "), question), this.answer);
    this.wait();
    $("turns").append(this.root);
    $("empty").hidden = true;
  }

  wait() {
    this.body.replaceChildren(h("p", { class: "waiting" }, "Reading the documents", h("span", { class: "dots", "aria-hidden": "true" })));
  }

  add(text) {
    announce(spoken(text));
    this.text += text;
    this.draw();
  }

  setCitations(citations) {
    this.citations = new Map(citations.map((citation) => [citation.n, citation]));
    this.draw();
  }

  draw() {
    this.body.replaceChildren(...renderAnswer(this.text, (n) => this.mark(n)));
  }

  mark(n) {
    const citation = this.citations.get(n);
    if (!citation) return h("span", { class: "cite pending" }, String(n));
    const where = place(citation);
    const name = `Citation ${n}: ${citation.title}${where ? `, ${where}` : ""}`;
    return h("button", { type: "button", class: "cite", "aria-label": name, title: name, onclick: (event) => openCitation(citation, event.currentTarget) }, String(n));
  }

  /** The finished answer, from a stream or from history. */
  finish({ answer, citations = [], refused = false, degraded = [] }) {
    this.text = answer;
    this.setCitations(citations);
    this.answer.setAttribute("aria-busy", "false");
    this.answer.classList.toggle("refused", refused);
    const notes = [];
    if (refused) notes.push(h("p", { class: "note" }, icon("alert"), "Not in the documents. Try other words, or add the document that covers it."));
    if (degraded.length) notes.push(h("p", { class: "note warn" }, icon("alert"), `This answer is less than asked for: ${degraded.join("; ")}`));
    const sources = citations.length ? [h("h3", { class: "label" }, "Sources"), h("ul", { class: "sources" }, ...citations.map((citation) => this.source(citation)))] : [];
    this.extra.replaceChildren(...notes, ...sources);
  }

  /** Let the person say whether the answer was good. */
  askFor(thread, message, known) {
    this.extra.append(new FeedbackBar(thread, message, known).root);
  }

  source(citation) {
    const open = (event) => openCitation(citation, event.currentTarget);
    const text = h("span", { class: "source-text" }, h("span", { class: "source-title" }, citation.title), h("span", { class: "where" }, place(citation)));
    return h("li", {}, h("button", { type: "button", class: "source", onclick: open }, h("span", { class: "n", "aria-hidden": "true" }, String(citation.n)), text));
  }

  fail(error, retry, label) {
    this.answer.setAttribute("aria-busy", "false");
    if (!this.text) this.body.replaceChildren();
    const id = error.correlation ? h("span", { class: "correlation" }, `Reference: ${error.correlation}`) : null;
    const again = h("button", { type: "button", class: "button quiet", onclick: retry }, label);
    this.extra.replaceChildren(h("div", { class: "note bad", role: "alert" }, icon("alert"), h("div", {}, h("p", {}, error.message), error.hint ? h("p", {}, error.hint) : null, id, again)));
  }

  stop() {
    this.answer.setAttribute("aria-busy", "false");
    if (!this.text) this.body.replaceChildren();
    this.extra.replaceChildren(h("p", { class: "note" }, "Stopped."));
    setStatus("Stopped.");
  }
}

/** Ask a question in the current thread, or in a new one where that was deleted elsewhere. */
export async function ask(message) {
  if (running) return;
  if (gone) newThread();
  steps += 1;
  const turn = new TurnView(message);
  const controller = new AbortController();
  running = controller;
  busy(true);
  follow();
  try {
    await stream(message, turn, controller.signal);
  } catch (error) {
    if (controller.signal.aborted) turn.stop();
    else failed(error, turn, message);
  } finally {
    if (running === controller) {
      running = null;
      busy(false);
    }
    follow();
  }
}

function failed(error, turn, message) {
  gone = Boolean(threadId) && error instanceof Problem && error.status === 404;
  const shown = gone
    ? new Problem({ detail: "This conversation was deleted elsewhere.", hint: "The question can begin a new one." })
    : error instanceof Problem ? error : new Problem({ detail: "The answer broke off.", hint: "Try again." });
  turn.fail(shown, () => again(turn, message), gone ? "Ask in a new conversation" : "Try again");
}

async function stream(message, turn, signal) {
  const json = { message, stream: true, ...(threadId ? { thread_id: threadId } : {}) };
  run = null;
  const response = await call("POST", "/v1/chat", { json, signal });
  run = response.headers.get("X-Run-ID");
  for await (const { name, data } of events(response)) {
    if (signal.aborted) throw new DOMException("stopped", "AbortError");
    if (name === "token") turn.add(data.text);
    else if (name === "citations") turn.setCitations(data);
    else if (name === "error") throw new Problem(data);
    else if (name === "done") {
      turn.finish(data);
      setStatus(data.refused ? "The documents do not hold an answer." : `Answered with ${data.citations.length} citations.`);
      if (threadId !== data.thread_id) {
        threadId = data.thread_id;
        if ($("title").dataset.fresh) setTitle(message);
      }
      turn.askFor(threadId, data.message_id);
      onThreadChange(threadId);
      return;
    }
    follow();
  }
  throw new Problem({ detail: "The answer broke off before its end.", hint: "Try again." });
}

function again(turn, message) {
  turn.root.remove();
  ask(message);
}

export function stopAnswer() {
  // For a connection that closes the server waits a while: it may have broken.
  if (running && run) call("DELETE", `/v1/chat/runs/${run}`).catch(() => {});
  running?.abort();
}

function busy(on) {
  $("send").hidden = on;
  $("stop").hidden = !on;
  $("stop").title = on ? "Stop the answer" : "";
  if (on) setStatus("Reading the documents.");
}

/** Keep the end in view, unless the person has scrolled up to read. */
function follow() {
  const log = $("log");
  const near = log.scrollHeight - log.scrollTop - log.clientHeight < 240;
  if (near || running) log.scrollTop = log.scrollHeight;
}

export function setTitle(text, fresh = false) {
  const title = $("title");
  title.textContent = text;
  if (fresh) title.dataset.fresh = "1";
  else delete title.dataset.fresh;
  document.title = fresh ? "Ask your documents" : `${text} – Ask your documents`;
}

/** Leave the present thread for a new one. */
export function newThread() {
  steps += 1;
  gone = false;
  stopAnswer();
  running = null;
  busy(false);
  threadId = null;
  $("turns").replaceChildren();
  $("empty").hidden = false;
  setTitle("New conversation", true);
}

/** Show an existing thread; false when the person asked or opened something else meanwhile. Throws a Problem when it is not there. */
export async function openThread(id, title) {
  const mine = ++steps;
  let turns;
  try {
    ({ turns } = await getJson(`/v1/threads/${encodeURIComponent(id)}/history`));
  } catch (error) {
    if (mine !== steps) return false;
    throw error;
  }
  if (mine !== steps) return false;
  newThread();
  threadId = id;
  const said = feedbackOf(id);
  for (const turn of turns) {
    const view = new TurnView(turn.question);
    view.finish(turn);
    said.then((known) => view.askFor(id, turn.message_id, known[turn.message_id]));
  }
  setTitle(title || turns[0]?.question || "Conversation");
  $("log").scrollTop = $("log").scrollHeight;
  return true;
}

export function setupChat(changed) {
  onThreadChange = changed;
  const form = $("ask");
  const box = $("question");
  const grow = () => {
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, 200)}px`;
  };
  box.addEventListener("input", grow);
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const message = box.value.trim();
    if (!message || running) return;
    box.value = "";
    grow();
    ask(message);
  });
  $("stop").addEventListener("click", () => {
    stopAnswer();
    box.focus();
  });
}

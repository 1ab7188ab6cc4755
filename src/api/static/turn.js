// One question with its answer on the page.

import { $, announce, h, icon, setStatus } from "./dom.js";
import { approvalCard, names } from "./approvals.js";
import { FeedbackBar } from "./feedback.js";
import { renderAnswer, spoken } from "./render.js";
import { openCitation, place } from "./viewer.js";

const STATES = {
  away: "The connection to the server broke. Trying again …",
  back: "Connected again. Waiting for the rest of the answer …",
  again: "The server was restarted, and the answer was not ready. The question is asked again.",
};

export class TurnView {
  /** @param does what its buttons do: `again`, `edit`, `branch` and `decide`. */
  constructor(question, does) {
    this.question = question;
    this.does = does;
    this.id = null;
    this.approval = null;
    this.text = "";
    this.citations = new Map();
    this.head = h("h2", { class: "question" }, h("span", { class: "visually-hidden" }, "You asked: "), question);
    this.state = h("p", { class: "connection", hidden: true });
    this.body = h("div", { class: "answer-text" });
    this.extra = h("div", { class: "extra" });
    this.answer = h("div", { class: "answer", "aria-busy": "true" }, this.body, this.state, this.extra);
    this.root = h("article", { class: "turn" }, this.head, this.answer);
    this.reset();
    $("turns").append(this.root);
    $("empty").hidden = true;
  }

  /** Nothing of the answer is there, or counts any more. */
  reset() {
    this.text = "";
    this.citations = new Map();
    this.answer.setAttribute("aria-busy", "true");
    this.body.replaceChildren(h("p", { class: "waiting" }, "Reading the documents", h("span", { class: "dots", "aria-hidden": "true" })));
    this.extra.replaceChildren();
  }

  /** Say how the connection is; once. */
  connection(state) {
    if (this.state.dataset.state === state) return;
    this.state.dataset.state = state;
    this.state.hidden = false;
    this.state.replaceChildren(icon("alert"), STATES[state]);
    setStatus(STATES[state]);
  }

  add(text) {
    this.calm(); // the answer goes on
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
  finish({ message_id: id, answer, citations = [], refused = false, clarifying = false, degraded = [] }) {
    this.id = id;
    this.end();
    this.text = answer;
    this.setCitations(citations);
    this.answer.classList.toggle("refused", refused && !clarifying);
    const notes = [];
    if (refused && !clarifying) notes.push(h("p", { class: "note" }, icon("alert"), "Not in the documents. Try other words, or add the document that covers it."));
    if (degraded.length) notes.push(h("p", { class: "note warn" }, icon("alert"), `This answer is less than asked for: ${degraded.join("; ")}`));
    const sources = citations.length ? [h("h3", { class: "label" }, "Sources"), h("ul", { class: "sources" }, ...citations.map((citation) => this.source(citation)))] : [];
    this.extra.replaceChildren(...notes, ...sources);
  }

  /** What the person can do with a finished turn: say whether it was good, and go on from it in other ways. */
  offer(thread, known) {
    const make = (does, name, sign, kind = "") =>
      h("button", { type: "button", class: `icon-button small ${kind}`, "aria-label": name, title: name, "data-does": does, onclick: () => this.does[does](this) }, icon(sign));
    const actions = h("div", { class: "turn-actions", role: "group", "aria-label": "This question" },
      make("again", "Answer again", "again", "only-last"), make("edit", "Edit the question", "edit"), make("branch", "Branch from here", "branch"));
    this.extra.append(h("div", { class: "turn-foot" }, actions, new FeedbackBar(thread, this.id, known).root));
  }

  /** The turn waits until the person has decided about tool calls. */
  ask({ answer = "", citations = [], approval }, focus) {
    this.end();
    this.text = answer;
    this.setCitations(citations);
    this.approval = approval;
    const card = approvalCard(approval, (approved) => this.does.decide(this, approved));
    this.extra.replaceChildren(card);
    setStatus(`The assistant asks whether it may run ${names(approval)}.`);
    if (focus) this.lead();
    else card.scrollIntoView({ block: "nearest" });
  }

  /** Lead the person to the question whether tools may run. */
  lead() {
    const card = this.extra.querySelector(".approval");
    card.querySelector("h3").focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
  }

  /** The person has decided; the answer goes on. */
  decided(approved) {
    const said = `You ${approved ? "allowed" : "refused"} ${names(this.approval)}.`;
    this.approval = null;
    this.reset();
    this.extra.append(h("p", { class: "note" }, icon(approved ? "check" : "close"), said));
    setStatus(said);
  }

  source(citation) {
    const open = (event) => openCitation(citation, event.currentTarget);
    const text = h("span", { class: "source-text" }, h("span", { class: "source-title" }, citation.title), h("span", { class: "where" }, place(citation)));
    return h("li", {}, h("button", { type: "button", class: "source", onclick: open }, h("span", { class: "n", "aria-hidden": "true" }, String(citation.n)), text));
  }

  fail(error, retry, label) {
    this.end();
    const id = error.correlation ? h("span", { class: "correlation" }, `Reference: ${error.correlation}`) : null;
    const again = h("button", { type: "button", class: "button quiet", onclick: retry }, label);
    this.extra.replaceChildren(h("div", { class: "note bad", role: "alert" }, icon("alert"), h("div", {}, h("p", {}, error.message), error.hint ? h("p", {}, error.hint) : null, id, again)));
  }

  /** A note under what there is of the answer. */
  note(text) {
    this.end();
    this.extra.append(h("p", { class: "note" }, text));
    setStatus(text);
  }

  /** Nothing is the matter with the connection. */
  calm() {
    this.state.hidden = true;
    delete this.state.dataset.state;
  }

  end() {
    this.answer.setAttribute("aria-busy", "false");
    this.calm();
    if (!this.text) this.body.replaceChildren();
  }
}

// A word on an answer: good or bad, and why.

import { call, getJson, Problem } from "./api.js";
import { h, icon, setStatus } from "./dom.js";
import { noticeOf } from "./notice.js";

const NAMES = { up: "Good answer", down: "Bad answer" };

/** What the person said of the answers of a thread: `{message_id: {rating, comment}}`; empty where it cannot be had. */
export async function feedbackOf(thread) {
  try {
    const { feedback } = await getJson(`/v1/threads/${encodeURIComponent(thread)}/feedback`);
    return Object.fromEntries(feedback.map((one) => [one.message_id, one]));
  } catch (error) {
    if (error.status !== 404) noticeOf(error, "What you said of these answers before cannot be shown.");
    return {};
  }
}

/** Two buttons and, once one of them is pressed, a line for the reason. */
export class FeedbackBar {
  constructor(thread, message, known = { rating: null, comment: "" }) {
    this.path = `/v1/threads/${encodeURIComponent(thread)}/messages/${encodeURIComponent(message)}/feedback`;
    this.known = { ...known };
    this.buttons = Object.keys(NAMES).map((rating) => this.button(rating));
    this.said = h("span", { class: "feedback-said" });
    this.reason = h("input", { type: "text", class: "feedback-reason", maxlength: "4000", "aria-label": "What was good or bad about it", placeholder: "Why? (optional)" });
    this.form = h("form", { class: "feedback-form", hidden: true, onsubmit: (event) => this.explain(event) }, this.reason, h("button", { type: "submit", class: "button quiet" }, "Send"));
    this.root = h("div", { class: "feedback", role: "group", "aria-label": "Feedback on this answer" }, ...this.buttons, this.form, this.said);
    this.reason.value = this.known.comment;
    this.draw();
  }

  button(rating) {
    return h("button", { type: "button", class: "icon-button small", "aria-label": NAMES[rating], title: NAMES[rating], "data-rating": rating, onclick: () => this.press(rating) }, icon(rating));
  }

  draw() {
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.rating === this.known.rating));
    this.form.hidden = this.known.rating === null;
  }

  press(rating) {
    return rating === this.known.rating ? this.send(null, "") : this.send(rating, this.known.comment);
  }

  explain(event) {
    event.preventDefault();
    return this.send(this.known.rating, this.reason.value.trim());
  }

  async send(rating, comment) {
    try {
      if (rating === null) await call("DELETE", this.path);
      else await call("PUT", this.path, { json: { rating, comment } });
      // What was typed and not sent stays.
      if ([this.known.comment, comment].includes(this.reason.value.trim())) this.reason.value = comment;
      this.known = { rating, comment };
      this.draw();
      this.tell(rating === null ? "Taken back." : "Thank you.");
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.tell(error.message);
    }
  }

  tell(text) {
    this.said.textContent = text;
    setStatus(text);
  }
}

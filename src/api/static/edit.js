// Editing a question in its place.

import { h } from "./dom.js";

/**
 * Put a form in the place of a turn's question. `send` gets the new text, and answers why it cannot be asked now, or nothing: what was
 * written stays until it is asked. `after` tells how many turns would give way with it.
 */
export function editQuestion(turn, after, send) {
  const box = h("textarea", { class: "edit-box", rows: "3", maxlength: "10000", "aria-label": "New wording of the question" });
  box.value = turn.question;
  const close = () => {
    form.replaceWith(turn.head);
    turn.root.querySelector("[data-does=edit]")?.focus();
  };
  const warning = h("p", { class: "hint" });
  const why = h("p", { class: "hint", role: "alert" });
  let warned = 0;
  const warn = () => {
    warned = after();
    warning.hidden = !warned;
    warning.textContent = `The new answer takes the place of this one and of the ${warned === 1 ? "question" : `${warned} questions`} after it. Branch first to keep them.`;
  };
  const submit = (event) => {
    event.preventDefault();
    const text = box.value.trim();
    const more = after() > warned; // asked since, which the warning did not speak of
    warn();
    why.textContent = (text && send(text, more)) || "";
    if (!text || why.textContent) box.focus();
    else form.replaceWith(turn.head);
  };
  const keys = (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  };
  const form = h("form", { class: "edit", onsubmit: submit, onkeydown: keys }, box, warning, why,
    h("div", { class: "actions" }, h("button", { type: "button", class: "button quiet", onclick: close }, "Cancel"), h("button", { type: "submit", class: "button primary" }, "Ask")));
  warn();
  turn.head.replaceWith(form);
  box.focus();
  box.setSelectionRange(box.value.length, box.value.length);
}

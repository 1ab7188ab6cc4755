// Editing a question in its place.

import { h } from "./dom.js";

/** Put a form in the place of a turn's question; `send` gets the new text. `after` is how many turns would give way with it. */
export function editQuestion(turn, after, send) {
  const box = h("textarea", { class: "edit-box", rows: "3", maxlength: "10000", "aria-label": "New wording of the question" });
  box.value = turn.question;
  const close = () => {
    form.replaceWith(turn.head);
    turn.root.querySelector("[data-does=edit]")?.focus();
  };
  const warning = after ? h("p", { class: "hint" }, `The new answer takes the place of this one and of the ${after === 1 ? "question" : `${after} questions`} after it. Branch first to keep them.`) : null;
  const submit = (event) => {
    event.preventDefault();
    const text = box.value.trim();
    if (!text) return box.focus();
    form.replaceWith(turn.head);
    return send(text);
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
  const form = h("form", { class: "edit", onsubmit: submit, onkeydown: keys }, box, warning,
    h("div", { class: "actions" }, h("button", { type: "button", class: "button quiet", onclick: close }, "Cancel"), h("button", { type: "submit", class: "button primary" }, "Ask")));
  turn.head.replaceWith(form);
  box.focus();
  box.setSelectionRange(box.value.length, box.value.length);
}

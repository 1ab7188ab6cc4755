// The line at the top of the page that says what went wrong, or what was done, outside of an answer.

import { $ } from "./dom.js";
import { Problem } from "./api.js";

/** Show a message until it is closed, or another takes its place; `label` and `act` make a button of it. */
export function notice(text, { kind = "info", label = "", act = null } = {}) {
  const bar = $("notice");
  bar.dataset.kind = kind;
  bar.setAttribute("role", kind === "bad" ? "alert" : "status");
  $("notice-text").textContent = text;
  $("notice-act").hidden = !label;
  $("notice-act").textContent = label;
  $("notice-act").onclick = act;
  bar.hidden = false;
}

export function clearNotice() {
  $("notice").hidden = true;
  $("notice-text").textContent = "";
}

/** Say what failed; what is no answer of the server is the page's own fault, and says so. */
export function noticeOf(error, doing = "") {
  if (error instanceof Problem) notice([doing, error.message, error.hint].filter(Boolean).join(" "), { kind: "bad" });
  else unexpected(error);
}

function unexpected(error) {
  notice(`Something went wrong on this page (${error?.message || error}). Load it again.`, { kind: "bad", label: "Load again", act: () => location.reload() });
}

export function setupNotice() {
  $("notice-close").addEventListener("click", () => {
    clearNotice();
    $("question").focus();
  });
  addEventListener("error", (event) => unexpected(event.error || event.message));
  addEventListener("unhandledrejection", (event) => unexpected(event.reason));
}

// Tool calls that the assistant may run only if the person says so.

import { $, h, icon } from "./dom.js";
import { getJson } from "./api.js";
import { onceBack } from "./retry.js";

/** Characters that show as nothing, or turn the text around them: what is allowed must be what is seen. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]/gu;

const seen = (text) => text.replaceAll(UNSEEN, (one) => `⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

/** "send_mail and search": the tools of an approval. */
export const names = ({ calls }) => [...new Set(calls.map((call) => seen(call.tool)))].join(" and ");

/** The question whether calls may run, with their arguments as the model wrote them; `decide` is called with the answer. */
export function approvalCard(approval, decide) {
  const calls = approval.calls.map(({ tool, arguments: given }) =>
    h("li", {}, h("p", { class: "tool" }, "Tool ", h("code", {}, seen(tool)), " with these arguments:"), h("pre", { class: "arguments", tabindex: "0", role: "region", "aria-label": `Arguments of ${seen(tool)}` }, seen(given) || "(none)")));
  const one = approval.calls.length === 1;
  const press = (approved) => () => decide(approved);
  const head = `approval-${approval.approval_id}`;
  return h("section", { class: "approval", role: "dialog", "aria-labelledby": head, "aria-describedby": `${head}-why` },
    h("h3", { id: head, tabindex: "-1" }, icon("alert"), one ? "May this tool run?" : "May these tools run?"),
    h("p", { id: `${head}-why` }, `The assistant wants to run ${one ? "it" : "them"} for this question. Nothing runs before you decide; what you allow runs once.`),
    h("ul", {}, ...calls),
    h("div", { class: "actions" },
      h("button", { type: "button", class: "button quiet", onclick: press(false) }, "Refuse"),
      h("button", { type: "button", class: "button primary", onclick: press(true) }, "Allow")));
}

let open = () => {};
let loads = 0;

/** List what waits, in all conversations. */
export async function refreshWaiting() {
  const mine = ++loads;
  let approvals;
  try {
    ({ approvals } = await getJson("/v1/approvals"));
  } catch (error) {
    if (error.away) onceBack("waiting", refreshWaiting);
    else show([h("li", { class: "hint" }, `What waits for your decision cannot be listed. ${error.message}`)]);
    return;
  }
  if (mine === loads) show(approvals.map((approval) => h("li", { class: "thread" }, h("button", { type: "button", class: "thread-open", title: approval.question, onclick: () => open(approval.thread_id) }, approval.question))));
}

function show(items) {
  $("waiting").hidden = !items.length;
  $("waiting-list").replaceChildren(...items);
}

export function setupApprovals(given) {
  ({ open } = given);
}

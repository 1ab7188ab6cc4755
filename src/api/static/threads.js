// The list of conversations.

import { $, h, icon, setStatus } from "./dom.js";
import { call, getJson } from "./api.js";

const PAGE = 50;
let handlers = { open: () => {}, deleted: () => {} };
let current = null;
let cursor = null;
let loads = 0;

/** Load the list anew; `selected` is the thread on the page. */
export async function refreshThreads(selected) {
  current = selected;
  const mine = ++loads;
  const { threads, next_cursor: next } = await getJson(`/v1/threads?limit=${PAGE}`);
  if (mine !== loads) return threads; // a later list is on its way, or here already
  $("threads").replaceChildren(...threads.map(item));
  after(next);
  return threads;
}

async function more() {
  const mine = loads;
  const { threads, next_cursor: next } = await getJson(`/v1/threads?limit=${PAGE}&cursor=${encodeURIComponent(cursor)}`);
  if (mine !== loads) return;
  const items = threads.map(item);
  $("threads").append(...items);
  after(next);
  items[0]?.querySelector("button").focus();
}

function after(next) {
  cursor = next || null;
  $("more-threads").hidden = !cursor;
  $("no-threads").hidden = $("threads").childElementCount > 0;
}

function item(thread) {
  const selected = thread.thread_id === current;
  const title = thread.title || "Conversation";
  const open = h("button", { type: "button", class: "thread-open", "aria-current": selected ? "page" : null, title, onclick: () => handlers.open(thread.thread_id, title) }, title);
  const remove = h("button", { type: "button", class: "icon-button small", "aria-label": `Delete “${title}”`, onclick: (event) => confirmDelete(thread.thread_id, title, event.currentTarget) }, icon("trash"));
  return h("li", { class: selected ? "thread selected" : "thread" }, open, remove);
}

export function select(id) {
  current = id;
}

function confirmDelete(id, title, from) {
  const dialog = $("confirm-dialog");
  $("confirm-message").textContent = `“${title}” with all its questions and answers.`;
  const finish = (event) => {
    dialog.removeEventListener("close", closed);
    $("confirm-yes").onclick = null;
    $("confirm-no").onclick = null;
    if (event !== "close") dialog.close();
  };
  const closed = () => {
    finish("close");
    from.focus();
  };
  $("confirm-no").onclick = () => dialog.close();
  $("confirm-yes").onclick = async () => {
    finish();
    try {
      await call("DELETE", `/v1/threads/${encodeURIComponent(id)}`);
    } catch (error) {
      if (error.status !== 404) {
        setStatus(error.message);
        return;
      }
    }
    setStatus("Conversation deleted.");
    handlers.deleted(id);
  };
  dialog.addEventListener("close", closed);
  dialog.showModal();
  $("confirm-no").focus();
}

export function setupThreads(given) {
  handlers = given;
  $("more-threads").addEventListener("click", () => more().catch((error) => setStatus(error.message)));
}

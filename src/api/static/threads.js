// The list of conversations: paged, searched, and what can be done with each.

import { $, h, icon, setStatus } from "./dom.js";
import { call, getJson, Problem, threadPath } from "./api.js";
import { perform } from "./dialogs.js";
import { notice, noticeOf } from "./notice.js";

const PAGE = 50;
const LATEST = 20;
const TYPING_MS = 250;
let page = { open: () => {}, deleting: () => {}, deleted: () => {}, renamed: () => {}, current: () => null };
let cursor = null;
let loads = 0;
let chosen = null; // what the menu is about: {id, title, from}

const words = () => $("find").value.trim();

function load(from) {
  const asked = new URLSearchParams({ limit: PAGE, ...(words() ? { q: words() } : {}), ...(from ? { cursor: from } : {}) });
  return getJson(`/v1/threads?${asked}`);
}

/** Load the list anew. */
export async function refreshThreads() {
  const mine = ++loads;
  const { threads, next_cursor: next } = await load(null);
  if (mine !== loads) return; // a later list is on its way, or here already
  $("threads").replaceChildren(...threads.map(item));
  after(next);
}

/** Ids of the latest conversations, as far as they are listed. */
export const listedIds = () => [...$("threads").children].slice(0, LATEST).map((one) => one.dataset.id);

async function more() {
  const mine = loads;
  const { threads, next_cursor: next } = await load(cursor);
  if (mine !== loads) return;
  const items = threads.map(item);
  $("threads").append(...items);
  after(next);
  (items[0] ?? $("more-threads")).querySelector?.("button")?.focus();
}

function after(next) {
  cursor = next || null;
  $("more-threads").hidden = !cursor;
  const none = $("threads").childElementCount === 0;
  $("no-threads").hidden = !none;
  $("no-threads").textContent = words() ? "No conversation has these words in its title." : "Your conversations will be listed here.";
  $("find-form").hidden = none && !words();
}

function item(thread) {
  const id = thread.thread_id;
  const title = thread.title || "Conversation";
  const selected = id === page.current();
  const open = h("button", { type: "button", class: "thread-open", "aria-current": selected ? "page" : null, title, onclick: () => page.open(id, title) }, title);
  const menu = h("button", { type: "button", class: "icon-button small", "aria-haspopup": "true", "aria-label": `More for “${title}”`, onclick: (event) => showMenu(id, title, event.currentTarget) }, icon("more"));
  return h("li", { class: selected ? "thread selected" : "thread", "data-id": id }, open, menu);
}

/** The menu of a conversation, beside the button that it was asked for with. */
function showMenu(id, title, from) {
  chosen = { id, title, from };
  const menu = $("thread-menu");
  menu.setAttribute("aria-label", `“${title}”`);
  menu.showPopover();
  const { bottom, right, top } = from.getBoundingClientRect();
  const below = bottom + 4 + menu.offsetHeight <= innerHeight;
  menu.style.top = `${below ? bottom + 4 : Math.max(8, top - menu.offsetHeight - 4)}px`;
  menu.style.left = `${Math.min(Math.max(8, right - menu.offsetWidth), innerWidth - menu.offsetWidth - 8)}px`;
  menu.querySelector("button").focus();
}

function moveInMenu(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const buttons = [...$("thread-menu").querySelectorAll("button")];
  buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length].focus();
}

async function rename({ id, title, from }) {
  const box = $("rename-title");
  box.value = title;
  let now = title;
  const work = async () => {
    if (!box.value.trim()) throw new Problem({ detail: "A title has at least one letter or digit." });
    now = (await (await call("PATCH", threadPath(id), { json: { title: box.value } })).json()).title;
  };
  const done = perform("rename-dialog", { work, from, focus: box });
  box.select();
  if (!(await done)) return;
  setStatus(`The conversation is called “${now}” now.`);
  page.renamed(id, now);
}

async function remove({ id, title, from }) {
  $("confirm-message").textContent = `“${title}” with all its questions and answers.`;
  const work = async () => {
    try {
      page.deleting(id); // the server would wait for the end of an answer
      await call("DELETE", threadPath(id));
    } catch (error) {
      if (error.status !== 404) throw error;
    }
  };
  if (!(await perform("confirm-dialog", { work, from, focus: $("confirm-no") }))) return;
  setStatus("Conversation deleted.");
  page.deleted(id);
}

async function copy({ id }) {
  const made = await (await call("POST", threadPath(id, "/fork"), {})).json();
  await page.open(made.thread_id, made.title);
  notice("This is a copy of the conversation. The first one stays as it is.");
}

async function download({ id, title }) {
  const told = await getJson(threadPath(id, "/export"));
  const url = URL.createObjectURL(new Blob([JSON.stringify(told, null, 2)], { type: "application/json" }));
  const name = title.replaceAll(/[^\p{L}\p{N}]+/gu, "-").replaceAll(/^-|-$/g, "").slice(0, 60) || "conversation";
  h("a", { href: url, download: `${name}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  setStatus("The conversation was saved as a file.");
}

const DOES = { rename: [rename, "renamed"], copy: [copy, "copied"], download: [download, "exported"], remove: [remove, "deleted"] };

function setupMenu() {
  const menu = $("thread-menu");
  menu.addEventListener("keydown", moveInMenu);
  for (const button of menu.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const [work, done] = DOES[button.dataset.does];
      const about = chosen;
      menu.hidePopover();
      work(about).catch((error) => noticeOf(error, `The conversation could not be ${done}.`));
    });
  }
  $("thread-more").addEventListener("click", (event) => showMenu(page.current(), $("title").textContent, event.currentTarget));
}

function setupSearch() {
  let timer;
  const search = async () => {
    clearTimeout(timer);
    try {
      await refreshThreads();
      const count = $("threads").childElementCount;
      if (words()) setStatus(`${count}${cursor ? " or more" : ""} ${count === 1 ? "conversation" : "conversations"} found.`);
    } catch (error) {
      noticeOf(error, "The conversations could not be searched.");
    }
  };
  $("find").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, TYPING_MS);
  });
  $("find-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
}

export function setupThreads(given) {
  page = given;
  setupMenu();
  setupSearch();
  $("more-threads").addEventListener("click", () => more().catch((error) => noticeOf(error, "No more conversations could be listed.")));
}

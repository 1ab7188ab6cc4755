// Puts the page together.

import { $, fillIcons } from "./dom.js";
import { onTokenNeeded, usable } from "./api.js";
import { refreshWaiting, setupApprovals } from "./approvals.js";
import { currentThread, newThread, openThread, resume, setTitle, setupChat, stopAnswer } from "./chat.js";
import { clearNotice, notice, noticeOf, setupNotice } from "./notice.js";
import { onceBack } from "./retry.js";
import { Run } from "./stream.js";
import { refreshThreads, setupThreads } from "./threads.js";
import { setupUpload } from "./upload.js";
import { closeViewer, isOpen, setupViewer } from "./viewer.js";

const threadInAddress = () => new URLSearchParams(location.hash.slice(1)).get("thread");

function setAddress(id) {
  const wanted = id ? `#${new URLSearchParams({ thread: id })}` : location.pathname;
  if (threadInAddress() !== id) history.pushState(null, "", wanted);
}

async function list() {
  try {
    await refreshThreads();
  } catch (error) {
    if (error.away) onceBack("list", list);
    else noticeOf(error, "Your conversations cannot be listed.");
  }
}

/** Show a conversation, or a new one; false where the server has to be back first. */
async function show(id, title) {
  menu(false);
  clearNotice();
  if (isOpen()) closeViewer();
  if (!id) {
    newThread();
    setAddress(null);
    await list();
    $("question").focus();
    return true;
  }
  try {
    if (!(await openThread(id, title))) return true; // the person went on elsewhere meanwhile
    setAddress(id);
  } catch (error) {
    newThread();
    if (error.away) {
      onceBack("show", () => opened(id, title));
      return false;
    }
    setAddress(null);
    if (error.status === 404) notice("That conversation is not there any more.", { kind: "bad" });
    else noticeOf(error, "The conversation cannot be opened.");
  }
  await list();
  return true;
}

/** Show a conversation with the answer that this tab waits for. */
async function opened(id, title) {
  if (await show(id, title)) resume();
}

function menu(open) {
  $("app").classList.toggle("with-menu", open);
  $("backdrop").hidden = !open;
  $("menu").setAttribute("aria-expanded", String(open));
  if (open) $("new-thread").focus();
}

function setupTheme() {
  const button = $("theme");
  const dark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const draw = () => button.setAttribute("aria-pressed", String(dark()));
  button.addEventListener("click", () => {
    const chosen = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    try {
      localStorage.setItem("rag-theme", chosen);
    } catch {
      // Not kept then; the choice still holds until the page is left.
    }
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

/** Ask for a token; several calls that fail at once share one question. */
let asking = null;
function tokenDialog(message) {
  asking ??= new Promise((resolve) => {
    const dialog = $("token-dialog");
    $("token-message").textContent = message;
    $("token").value = "";
    let given = null;
    $("token-form").onsubmit = (event) => {
      event.preventDefault();
      const value = $("token").value.trim();
      $("token").value = "";
      if (!usable(value)) {
        $("token-message").textContent = "A token has letters, digits and signs of the English keyboard only, and no spaces. Copy it again.";
        return;
      }
      given = value;
      Run.forget(); // it may be another person's: nothing is asked again in their name
      dialog.close();
    };
    $("token-cancel").onclick = () => dialog.close();
    dialog.addEventListener("close", () => {
      asking = null;
      resolve(given);
    }, { once: true });
    dialog.showModal();
    $("token").focus();
  });
  return asking;
}

function setupKeys() {
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.querySelector("dialog[open], :popover-open")) return;
    if ($("app").classList.contains("with-menu")) {
      menu(false);
      $("menu").focus();
    } else closeViewer();
  });
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("question").focus();
  });
}

async function start() {
  document.documentElement.dataset.started = "1";
  fillIcons();
  setupNotice();
  onTokenNeeded(tokenDialog);
  setupTheme();
  setupViewer();
  setupUpload();
  setupKeys();
  setupApprovals({ open: (id) => show(id) });
  setupChat({
    changed: (id) => {
      setAddress(id);
      list();
    },
    waits: refreshWaiting,
    open: show,
  });
  setupThreads({
    open: show,
    current: currentThread,
    renamed: (id, title) => {
      if (id === currentThread()) setTitle(title);
      list();
    },
    deleting: (id) => {
      if (id === currentThread()) stopAnswer();
    },
    deleted: (id) => {
      refreshWaiting();
      return id === currentThread() ? show(null) : list();
    },
  });
  $("new-thread").addEventListener("click", () => show(null));
  $("menu").addEventListener("click", () => menu(!$("app").classList.contains("with-menu")));
  $("backdrop").addEventListener("click", () => menu(false));
  addEventListener("popstate", () => {
    if (threadInAddress() !== currentThread()) show(threadInAddress());
  });
  refreshWaiting();
  await opened(threadInAddress());
  document.documentElement.dataset.ready = "1";
}

start();

// Puts the page together.

import { $, fillIcons, setStatus } from "./dom.js";
import { onTokenNeeded, Problem, usable } from "./api.js";
import { currentThread, newThread, openThread, setTitle, setupChat } from "./chat.js";
import { refreshThreads, select, setupThreads } from "./threads.js";
import { setupUpload } from "./upload.js";
import { closeViewer, isOpen, setupViewer } from "./viewer.js";

const threadInAddress = () => new URLSearchParams(location.hash.slice(1)).get("thread");

function setAddress(id) {
  const wanted = id ? `#${new URLSearchParams({ thread: id })}` : location.pathname;
  if (threadInAddress() !== id) history.pushState(null, "", wanted);
}

async function list() {
  try {
    return await refreshThreads(currentThread());
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    setStatus(error.message);
    return [];
  }
}

async function show(id, title) {
  menu(false);
  if (isOpen()) closeViewer();
  if (!id) {
    newThread();
    setAddress(null);
    await list();
    $("question").focus();
    return;
  }
  try {
    if (!(await openThread(id, title))) return; // the person went on elsewhere meanwhile
    setAddress(id);
    select(id);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    newThread();
    setAddress(null);
    setStatus(error.message);
    if (error.status === 404) setTitle("That conversation is not there any more", true);
  }
  const threads = await list();
  const known = threads.find((thread) => thread.thread_id === currentThread());
  if (known?.title) setTitle(known.title);
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
    if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
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
  fillIcons();
  onTokenNeeded(tokenDialog);
  setupTheme();
  setupViewer();
  setupUpload();
  setupKeys();
  setupChat((id) => {
    setAddress(id);
    list();
  });
  setupThreads({
    open: (id, title) => show(id, title),
    deleted: (id) => (id === currentThread() ? show(null) : list()),
  });
  $("new-thread").addEventListener("click", () => show(null));
  $("menu").addEventListener("click", () => menu(!$("app").classList.contains("with-menu")));
  $("backdrop").addEventListener("click", () => menu(false));
  addEventListener("popstate", () => {
    if (threadInAddress() !== currentThread()) show(threadInAddress());
  });
  await show(threadInAddress());
  document.documentElement.dataset.ready = "1";
}

start();

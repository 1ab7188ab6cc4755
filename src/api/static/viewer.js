// The panel that shows a cited passage in its document: its page as text, with the quote marked.

import { $, h, setStatus } from "./dom.js";
import { call, documentPath, getJson, Problem, token } from "./api.js";
import { markQuote, reflow } from "./render.js";

const narrow = matchMedia("(max-width: 900px)");
const TEXT_TYPES = /^text\/(plain|markdown)\b/;

let opener = null;
let shown = null;
let serial = 0;

export const isOpen = () => !$("viewer").hidden;

/** Open the passage of a citation; `from` gets the focus back when the panel closes. */
export async function openCitation(citation, from) {
  opener = from;
  $("viewer").hidden = false;
  $("app").classList.add("with-viewer");
  modal(narrow.matches);
  markCurrent(from);
  head(`Citation ${citation.n}`, citation.title, place(citation));
  $("viewer-body").replaceChildren(h("p", { class: "hint" }, "Opening the passage …"));
  $("viewer-title").focus();
  await show(citation.document_id, citation.chunk_id, citation.quote, citation);
}

export function closeViewer() {
  if (!isOpen()) return;
  $("viewer").hidden = true;
  $("app").classList.remove("with-viewer");
  modal(false);
  markCurrent(null);
  serial += 1;
  if (opener && opener.isConnected) opener.focus();
  else $("question").focus();
  opener = null;
}

async function show(documentId, chunkId, quote, citation = null) {
  const mine = ++serial;
  buttons(null);
  let found;
  try {
    found = await getJson(documentPath(documentId, `/passages?chunk_id=${encodeURIComponent(chunkId)}`));
  } catch (error) {
    if (mine === serial) failed(error, quote);
    return;
  }
  if (mine !== serial) return;
  shown = found;
  if (!citation) {
    head(`Passage ${found.position + 1} of ${found.total}`, found.document.title, place({ ...found, title: found.document.title }));
    setStatus(`Passage ${found.position + 1} of ${found.total}`);
  }
  fill(found, quote);
  buttons(found);
}

function fill(found, quote) {
  const body = $("viewer-body");
  let target = null;
  const passages = found.passages.map((passage) => {
    const current = passage.chunk_id === found.chunk_id;
    const text = reflow(passage.text);
    const marked = current && quote ? markQuote(text, quote) : null;
    const element = h("div", { class: current ? "passage current" : "passage", "aria-current": current ? "true" : null }, ...(marked || [text]));
    if (current) target = element.querySelector("mark") || element;
    return element;
  });
  body.replaceChildren(...passages);
  if (target) body.scrollTop = Math.max(0, target.getBoundingClientRect().top - body.getBoundingClientRect().top - body.clientHeight / 4);
}

function failed(error, quote) {
  const note = h("p", { class: "note bad", role: "alert" }, error.message, error.hint ? ` ${error.hint}` : "");
  const cited = quote ? [h("p", { class: "hint" }, "What the answer quoted:"), h("div", { class: "passage current" }, h("mark", {}, quote))] : [];
  $("viewer-body").replaceChildren(note, ...cited);
}

function head(label, title, where) {
  $("viewer-label").textContent = label;
  $("viewer-title").textContent = title;
  $("viewer-where").textContent = where;
  $("viewer-where").hidden = !where;
}

/** "Page 3 · Safety › Ladders": where in a document; its title is not said again. */
export function place({ page, section, title }) {
  const path = (section || "").split(" > ");
  if (path[0] === title) path.shift();
  return [page ? `Page ${page}` : "", path.join(" › ")].filter(Boolean).join(" · ");
}

function buttons(found) {
  $("viewer-previous").disabled = !found?.previous;
  $("viewer-next").disabled = !found?.next;
  const link = $("viewer-file");
  link.hidden = !found;
  if (!found) return;
  const page = found.page && found.document.content_type === "application/pdf" ? `#page=${found.page}` : "";
  link.href = documentPath(found.document.document_id, `/file${page}`);
}

/** With a token a plain link cannot fetch the file, so we do; only types that cannot run anything are shown as they are. */
async function openFile(event) {
  if (!token.get() || !shown) return;
  event.preventDefault();
  const { document_id: id, content_type: type, title } = shown.document;
  const showable = type === "application/pdf" || TEXT_TYPES.test(type);
  const tab = showable ? window.open("about:blank", "_blank") : null;
  try {
    const response = await call("GET", documentPath(id, "/file"));
    const blob = new Blob([await response.arrayBuffer()], { type: type === "application/pdf" ? type : showable ? "text/plain;charset=utf-8" : "application/octet-stream" });
    const url = URL.createObjectURL(blob);
    if (tab) tab.location.replace(url + (shown.page ? `#page=${shown.page}` : ""));
    else h("a", { href: url, download: id.split(/[\\/]/).pop() || title }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  } catch (error) {
    tab?.close();
    if (error instanceof Problem) failed(error, "");
    else throw error;
  }
}

function step(direction) {
  const next = shown?.[direction];
  if (next) show(shown.document.document_id, next, "");
}

function markCurrent(from) {
  for (const other of document.querySelectorAll(".cite.current, .source.current")) other.classList.remove("current");
  from?.classList.add("current");
}

/** On a narrow screen the panel covers everything, so everything else is out of reach. */
function modal(on) {
  $("chat").inert = on;
  $("sidebar").inert = on;
}

export function setupViewer() {
  $("viewer-close").addEventListener("click", closeViewer);
  $("viewer-previous").addEventListener("click", () => step("previous"));
  $("viewer-next").addEventListener("click", () => step("next"));
  $("viewer-file").addEventListener("click", openFile);
  narrow.addEventListener("change", () => modal(narrow.matches && isOpen()));
}

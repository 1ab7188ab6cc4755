// Adding documents: by button or by dropping files. One request a file, so that each reports for itself.

import { $, announce, h, icon } from "./dom.js";
import { call } from "./api.js";

function row(name) {
  const state = h("span", { class: "tray-state" }, "Reading …");
  const close = h("button", { type: "button", class: "icon-button small", "aria-label": `Dismiss ${name}`, onclick: () => element.remove() }, icon("close"));
  const element = h("li", { class: "tray-item" }, h("span", { class: "tray-name", title: name }, name), state, close);
  $("tray").append(element);
  return {
    set(kind, text) {
      element.dataset.kind = kind;
      state.textContent = text;
      announce(`${name}: ${text}`);
    },
  };
}

const WORDS = { added: "Added", updated: "Updated", unchanged: "Already there" };

async function add(file) {
  const line = row(file.name);
  const form = new FormData();
  form.append("files", file);
  try {
    const [result] = (await (await call("POST", "/v1/documents", { form })).json()).documents;
    if (result.status === "failed") line.set("bad", result.message || result.reason || "It could not be read.");
    else line.set("good", `${WORDS[result.status] ?? result.status}${result.chunks ? `, ${result.chunks} ${result.chunks === 1 ? "passage" : "passages"}` : ""}`);
  } catch (error) {
    line.set("bad", [error.message, error.hint].filter(Boolean).join(" "));
  }
}

export async function addFiles(files) {
  for (const file of files) await add(file);
}

const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

export function setupUpload() {
  if (document.body.dataset.upload === "off") {
    $("add-files").parentElement.remove();
    return;
  }
  $("add-files").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => {
    const files = [...$("files").files];
    $("files").value = "";
    addFiles(files);
  });
  let depth = 0;
  const over = (change) => {
    depth = Math.max(0, depth + change);
    $("drop").hidden = depth === 0;
  };
  addEventListener("dragenter", (event) => holdsFiles(event) && over(1));
  addEventListener("dragleave", (event) => holdsFiles(event) && over(-1));
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    over(-depth);
    addFiles([...event.dataTransfer.files]);
  });
}

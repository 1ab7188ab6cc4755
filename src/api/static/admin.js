// The operator's view: health, hotspots, what went wrong, ingestion. All text goes through textContent.

import { $, h } from "./dom.js";
import { getJson, onTokenNeeded, token, usable } from "./api.js";

const EVERY_MS = 10000;
const REST = new Set(["chat", "retrieve", "ingest"]);

const label = (stage) => (REST.has(stage) ? `${stage} (rest)` : stage);
const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });
const when = (iso) => new Date(iso).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });

function ms(value) {
  if (value >= 1000) return `${number(value / 1000, value >= 10000 ? 1 : 2)} s`;
  return `${number(value, value >= 10 ? 0 : value >= 1 ? 1 : 2)} ms`;
}

function percent(share) {
  return `${number(share * 100, share < 0.1 ? 1 : 0)} %`;
}

function change({ verdict, of, percent: by }) {
  return by !== undefined && (verdict === "slower" || verdict === "faster") ? `${verdict}, ${of} ${by > 0 ? "+" : ""}${number(by)} %` : verdict;
}

/** A table of rows of cells; a cell is text, a node, or `{ text, class }`. The first of a row is its heading. */
function table(caption, heads, rows) {
  const cell = (content, place) => {
    const { text, class: name } = content instanceof Node || typeof content !== "object" ? { text: content } : content;
    return h(place ? "td" : "th", place ? { class: name ?? "" } : { scope: "row" }, text);
  };
  return h("table", {},
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", {}, h("tr", {}, ...heads.map(({ text, class: name }) => h("th", { scope: "col", class: name ?? "" }, text)))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map(cell)))));
}

const none = (text) => h("p", { class: "none" }, text);

function bar(share) {
  const element = h("div", { class: "bar-of" });
  element.style.width = `${Math.min(share, 1) * 100}%`;
  return { text: element, class: "track" };
}

const STAGE_HEADS = ["Stage", { text: "", class: "track" }, "Share", "p50", "p95", "p99", "Calls", "Budget", "Missed", { text: "Change", class: "text" }]
  .map((head) => (typeof head === "string" ? { text: head } : head));

const stageTable = (caption, stages) => table(caption, STAGE_HEADS, stages.map((line) => [
  label(line.stage),
  bar(line.share),
  line.own_ms ? percent(line.share) : "–",
  ms(line.p50_ms), ms(line.p95_ms), ms(line.p99_ms),
  number(line.calls),
  line.budget_ms === undefined ? "–" : ms(line.budget_ms),
  line.budget_ms === undefined ? "–" : { text: number(line.missed), class: line.missed ? "bad" : "" },
  { text: change(line.change), class: line.change.verdict === "slower" ? "text bad" : "text" },
]));

const ids = (request) => [`tenant ${request.tenant}`, request.correlation_id && `correlation ${request.correlation_id}`, request.trace_id && `trace ${request.trace_id}`]
  .filter(Boolean).join(" · ");

function counted(requests) {
  const names = { chat: ["answer", "answers"], retrieve: ["search", "searches"], ingest: ["ingestion", "ingestions"] };
  const found = Object.entries(requests).map(([kind, { count }]) => `${number(count)} ${names[kind]?.[count === 1 ? 0 : 1] ?? kind}`);
  for (const word of ["failed", "degraded", "cancelled"]) {
    const count = Object.values(requests).reduce((sum, outcome) => sum + outcome[word], 0);
    if (count) found.push(`${number(count)} ${word}`);
  }
  return found.join(", ");
}

function showHotspots(report) {
  const hottest = report.stages[0];
  const counts = counted(report.requests);
  $("headline").replaceChildren(...(hottest
    ? ["Most of the time of questions: ", h("strong", {}, `${label(hottest.stage)}, ${percent(hottest.share)}`), ` (p50 ${ms(hottest.p50_ms)}, p95 ${ms(hottest.p95_ms)}). ${counts}.`]
    : [counts ? `${counts}.` : ""]));
  $("questions").replaceChildren(report.stages.length ? stageTable("Stages of questions", report.stages) : none("No question was asked in this period."));
  $("ingestion-stages").replaceChildren(...(report.ingestion.length ? [stageTable("Stages of ingestion", report.ingestion)] : []));
  const heads = [{ text: "When" }, { text: "What", class: "text" }, { text: "Took" }, { text: "Where the time went, and where to look further", class: "text" }];
  $("worst").replaceChildren(report.worst.length
    ? table("Slowest requests", heads, report.worst.map((request) => [
      when(request.at),
      { text: request.kind + (request.failed ? `, failed: ${request.failed}` : ""), class: "text" },
      ms(request.ms),
      { text: `${request.stages.map((part) => `${label(part.stage)} ${ms(part.ms)}`).join(", ")} · ${ids(request)}`, class: "text ids" },
    ]))
    : none("None in this period."));
}

function showDegraded({ requests }) {
  const heads = [{ text: "When" }, { text: "What", class: "text" }, { text: "Took" }, { text: "Why", class: "text" }, { text: "Where to look further", class: "text" }];
  $("degraded").replaceChildren(requests.length
    ? table("Degraded and failed requests", heads, requests.map((request) => [
      when(request.at),
      { text: request.kind, class: "text" },
      ms(request.ms),
      { text: [request.failed && `failed: ${request.failed}`, ...request.degraded].filter(Boolean).join("; "), class: "text words" },
      { text: ids(request), class: "text ids" },
    ]))
    : none("None in this period."));
}

function showIngestion({ runs }) {
  const heads = ["When", "Took", "Added", "Updated", "Unchanged", "Chunks", "Failed"].map((text) => ({ text }));
  heads.push({ text: "Why", class: "text" }, { text: "Tenant", class: "text" });
  $("ingestion").replaceChildren(runs.length
    ? table("Runs of ingestion", heads, runs.map((run) => {
      const failed = Object.values(run.failures).reduce((sum, count) => sum + count, 0);
      const why = [run.stopped && `stopped: ${run.stopped}`, ...Object.entries(run.failures).map(([reason, count]) => `${reason} ${number(count)}`)].filter(Boolean);
      const counts = [run.added, run.updated, run.unchanged, run.chunks].map((count) => number(count));
      return [when(run.at), ms(run.seconds * 1000), ...counts, { text: number(failed), class: failed ? "bad" : "" },
        { text: why.join(", ") || "–", class: "text words" }, { text: run.tenant, class: "text words" }];
    }))
    : none("None in this period."));
}

/** `/health` says 503 with its whole body while something is wrong, so it is no call that fails. */
async function health() {
  const known = token.get();
  const response = await fetch("/health", { headers: known && usable(known) ? { Authorization: `Bearer ${known}` } : {}, cache: "no-store" });
  return response.json();
}

function showHealth({ status, components }) {
  const all = Object.entries(components ?? {});
  $("health").replaceChildren(...(all.length ? all : [["server", { status: status ?? "unknown" }]]).map(([name, found]) => h("li", { class: found.status },
    h("strong", {}, name),
    h("span", { class: "word" }, found.status),
    found.latency_ms === undefined || found.latency_ms === null ? "" : ` · ${ms(found.latency_ms)}`,
    found.message ? h("p", {}, found.message) : "")));
}

function say(problem) {
  const again = h("button", { type: "button", class: "button", onclick: () => { token.clear(); refresh(); } }, "Use another token");
  $("notice").hidden = !problem;
  $("notice").replaceChildren(...(problem ? [[problem.message, problem.hint].filter(Boolean).join(" "), problem.status === 403 ? again : ""] : []));
}

let asking = null;

function askForToken(message) {
  const dialog = $("token-dialog");
  asking ??= new Promise((resolve) => {
    $("token-message").textContent = message;
    $("token").value = "";
    $("token-form").onsubmit = (event) => {
      event.preventDefault();
      const given = $("token").value.trim();
      if (!usable(given)) {
        $("token-message").textContent = "Copy it again: it holds a character that no token has.";
        return;
      }
      dialog.close(given);
    };
    dialog.addEventListener("close", () => { asking = null; resolve(dialog.returnValue || null); dialog.returnValue = ""; }, { once: true });
    dialog.showModal();
    $("token").focus();
  });
  return asking;
}

let running = false;

async function refresh() {
  if (running) return;
  running = true;
  const since = $("since").value;
  try {
    showHotspots(await getJson(`/v1/admin/hotspots?since=${since}`)); // alone: it asks for a token where one is needed
    const [wrong, runs, parts] = await Promise.all([getJson(`/v1/admin/degraded?since=${since}`), getJson(`/v1/admin/ingestion?since=${since}`), health()]);
    showDegraded(wrong);
    showIngestion(runs);
    showHealth(parts);
    say(null);
    $("updated").textContent = `As of ${new Date().toLocaleTimeString()}; again every ${EVERY_MS / 1000} seconds.`;
    $("main").removeAttribute("aria-busy");
  } catch (problem) {
    say(problem instanceof Error ? problem : new Error(String(problem)));
  } finally {
    running = false;
    document.documentElement.dataset.ready = "";
  }
}

onTokenNeeded(askForToken);
$("refresh").addEventListener("click", refresh);
$("since").addEventListener("change", refresh);
setInterval(() => { if (!document.hidden && $("notice").hidden) refresh(); }, EVERY_MS);
refresh();

// The conversation: sends questions and decisions, shows answers as they come.

import { $, setStatus } from "./dom.js";
import { call, getJson, Problem, threadPath } from "./api.js";
import { editQuestion } from "./edit.js";
import { feedbackOf } from "./feedback.js";
import { notice, noticeOf } from "./notice.js";
import { Run } from "./stream.js";
import { listedIds } from "./threads.js";
import { TurnView } from "./turn.js";

const NEAR_PX = 40; // about a line and a half

let threadId = null;
let turns = []; // the views on the page, in order
let running = null; // the answer under way: its run, and what ends it
let gone = false; // the thread on the page was deleted elsewhere
let following = true; // the end of the conversation is kept in view
let steps = 0; // counts what the person did, so that what arrives late can tell
let page = { changed: () => {}, waits: () => {}, open: () => {} };

export const currentThread = () => threadId;

const does = {
  again: (turn) => ask(turn.question, turn),
  edit: (turn) => running || waits() || editQuestion(turn, () => turns.slice(turns.indexOf(turn) + 1).filter((one) => one.id).length, (text, more) => edited(turn, text, more)),
  branch: (turn) => branch(turn),
  decide: (turn, approved) => decide(turn, approved),
};

function add(question) {
  const turn = new TurnView(question, does);
  turns.push(turn);
  return turn;
}

function remove(turn) {
  turn.root.remove();
  turns = turns.filter((other) => other !== turn);
}

const about = (question, more = {}) => ({
  thread: threadId, question, known: turns.map((turn) => turn.id).filter(Boolean), listed: listedIds(), asked: Date.now(), ...more,
});

/** Ask a question in the current thread, or in a new one where that was deleted elsewhere; `replaced` and those after it give way to the answer. */
export async function ask(message, replaced = null) {
  if (running || waits()) return;
  if (gone) {
    newThread(); // nothing is there that could be replaced
    replaced = null;
  }
  steps += 1;
  const old = replaced ? turns.slice(turns.indexOf(replaced)) : [];
  const json = { message, stream: true, ...(threadId ? { thread_id: threadId } : {}), ...(replaced ? { replaces: replaced.id } : {}) };
  const run = new Run("/v1/chat", json, about(message));
  await listen(run, add(message), old);
}

/** Ask a turn's question in other words; why that cannot be now, else nothing. */
function edited(turn, text, more) {
  if (running) return "An answer is on its way. Wait for it or stop it, then ask this.";
  if (waits()) return "This conversation waits for your decision.";
  if (more) return "There are more questions after this one by now. Ask again to replace them, too.";
  ask(text, turn);
  return "";
}

/** Whether the conversation waits for a decision, which the person is then led to. */
function waits() {
  const waiting = turns.find((turn) => turn.approval);
  if (!waiting) return false;
  notice("This conversation waits for your decision. Allow or refuse the tool first.");
  waiting.lead();
  return true;
}

async function decide(turn, approved) {
  if (running) return;
  steps += 1;
  const { approval_id: id, thread_id: thread } = turn.approval;
  const path = threadPath(thread, `/approvals/${encodeURIComponent(id)}`);
  const run = new Run(path, { approve: approved, stream: true }, about(turn.question, { thread, decided: id }));
  turn.decided(approved);
  $("question").focus();
  await listen(run, turn);
}

/** Show what comes of a run. `old` are the turns that give way once it is answered; they come back where it is not. */
async function listen(run, turn, old = []) {
  const controller = new AbortController();
  const mine = { run, controller };
  running = mine;
  busy(true);
  for (const view of old) view.root.hidden = true;
  following = true;
  follow();
  try {
    await show(run, turn, controller.signal, old);
  } catch (error) {
    for (const view of old) view.root.hidden = false;
    if (controller.signal.aborted) stopped(run, turn, old);
    else await failed(error, run, turn, old);
  } finally {
    if (running === mine) {
      Run.forget();
      running = null;
      busy(false);
    }
    follow();
  }
}

async function show(run, turn, signal, old) {
  for await (const { name, data } of run.events(signal, (state) => turn.connection(state))) {
    if (signal.aborted) throw new DOMException("stopped", "AbortError");
    if (name === "again") turn.reset();
    else if (name === "token") turn.add(data.text);
    else if (name === "citations") turn.setCitations(data);
    else if (name === "error") throw new Problem(data);
    else if (name === "done") arrived(data, turn, old, run);
    follow();
  }
}

function arrived(data, turn, old, run) {
  old.forEach(remove);
  if (threadId !== data.thread_id) {
    threadId = data.thread_id;
    if ($("title").dataset.fresh) setTitle(turn.question);
  }
  if (data.approval) {
    turn.ask(data, document.activeElement === document.body || document.activeElement === $("question"));
  } else {
    turn.finish(data);
    turn.offer(threadId);
    const count = data.citations.length;
    setStatus(data.clarifying ? "The assistant asks back." : data.refused ? "The documents do not hold an answer." : `Answered with ${count} ${count === 1 ? "citation" : "citations"}.`);
  }
  if (data.approval || run.about.decided) page.waits();
  page.changed(threadId);
}

function stopped(run, turn, old) {
  if (old.length) {
    remove(turn);
    old[0].note("Stopped. The answer before stays.");
  } else turn.note(run.about.decided ? "Stopped. A tool that you allowed may have run already." : "Stopped.");
  if (run.about.decided) page.waits();
}

async function failed(error, run, turn, old) {
  if (!(error instanceof Problem)) console.error(error);
  if ((error.status === 409 || (error.status === 404 && run.about.decided)) && (await conflict(run, turn))) return;
  const missing = Boolean(threadId) && error.status === 404;
  if (missing && run.json.replaces && (await changed(turn))) return;
  gone = missing;
  const shown = gone
    ? new Problem({ detail: "This conversation was deleted elsewhere.", hint: "The question can begin a new one." })
    : error instanceof Problem ? error : new Problem({ detail: "The answer broke off.", hint: "Try again." });
  turn.fail(shown, () => again(error, run, turn, old), gone ? "Ask in a new conversation" : "Try again");
  if (run.about.decided) page.waits();
}

/** A conversation that waits, or a decision that was made before: show it as it is by now. False where it is neither. */
async function conflict(run, turn) {
  if (!threadId) return false;
  const waiting = await getJson(threadPath(threadId, "/approvals")).then((found) => found.approvals[0], () => null);
  if (!waiting && !run.about.decided) return false;
  await reopen(run.about.decided ? null : turn, waiting ? "This conversation waits for your decision. Allow or refuse the tool first."
    : "This was decided already, or the server was restarted while the tool ran. If the answer is not here in a moment, ask the question again.");
  return true;
}

/** A question that was to be replaced is not there any more: show the conversation as it is by now. False where that is gone, too. */
async function changed(turn) {
  const thread = threadId;
  if (!(await getJson(threadPath(thread)).catch(() => null))) return false;
  await reopen(turn, "This conversation was changed in another window. It is shown as it is now, and what you asked stands below.");
  return true;
}

/** Show the thread anew, with the question that was not asked where it can be sent again. */
async function reopen(turn, why) {
  running = null;
  Run.forget();
  await page.open(threadId);
  if (turn && !$("question").value) $("question").value = turn.question;
  notice(why);
}

function again(error, run, turn, old) {
  if (running) return null;
  if (error.away) { // it may be answered already: the same question goes on
    turn.reset();
    return listen(run, turn, old.filter((view) => turns.includes(view)));
  }
  remove(turn);
  return ask(turn.question, turns.includes(old[0]) ? old[0] : null);
}

async function branch(turn) {
  if (running) return;
  try {
    const copy = await (await call("POST", threadPath(threadId, "/fork"), { json: { message_id: turn.id } })).json();
    await page.open(copy.thread_id, copy.title);
    notice("This is a new conversation with the questions up to there. The first one stays as it is.");
    $("question").focus();
  } catch (error) {
    noticeOf(error, "The conversation could not be branched.");
  }
}

/** Take up the answer that this tab waited for when the page was left, if it belongs to the thread on the page. */
export function resume() {
  if (running) return; // it is kept itself
  const kept = Run.kept();
  Run.forget();
  if (!kept || kept.about.thread !== threadId) return;
  const { question, known } = kept.about;
  if (turns.some((view) => view.question === question && !known.includes(view.id))) return; // it was answered meanwhile
  steps += 1;
  const waiting = turns.find((view) => view.approval);
  if (waiting && kept.about.decided) remove(waiting);
  const at = turns.findIndex((view) => view.id === kept.json.replaces);
  const old = at < 0 ? [] : turns.slice(at);
  listen(new Run(kept.path, kept.json, kept.about, kept), add(question), old);
}

export function stopAnswer() {
  running?.run.stop();
  running?.controller.abort();
}

function busy(on) {
  $("send").hidden = on;
  $("stop").hidden = !on;
  $("stop").title = on ? "Stop the answer" : "";
  for (const button of document.querySelectorAll(".turn-actions button")) button.disabled = on;
  if (on) setStatus("Reading the documents.");
}

/** Keep the end in view, unless the person has scrolled up to read. */
function follow() {
  if (following) $("log").scrollTop = $("log").scrollHeight;
}

/** Only a move upwards is a person's: an answer that grows puts the end further down without one. */
function watchScrolling() {
  const log = $("log");
  let before = 0;
  log.addEventListener("scroll", () => {
    if (log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_PX) following = true;
    else if (log.scrollTop < before) following = false;
    before = log.scrollTop;
  });
}

export function setTitle(text, fresh = false) {
  const title = $("title");
  title.textContent = text;
  if (fresh) title.dataset.fresh = "1";
  else delete title.dataset.fresh;
  $("thread-more").hidden = !threadId;
  document.title = fresh ? "Ask your documents" : `${text} – Ask your documents`;
}

/** Leave the present thread for a new one. */
export function newThread() {
  steps += 1;
  gone = false;
  if (running) {
    stopAnswer();
    Run.forget();
    notice("The answer under way was stopped, because its conversation was left.");
  }
  running = null;
  busy(false);
  threadId = null;
  turns = [];
  $("turns").replaceChildren();
  $("empty").hidden = false;
  setTitle("New conversation", true);
}

/** Show an existing thread; false when the person asked or opened something else meanwhile. Throws a Problem when it is not there. */
export async function openThread(id, title) {
  const mine = ++steps;
  let found;
  try {
    found = await Promise.all([getJson(threadPath(id, "/history")), title ? { title } : getJson(threadPath(id))]);
  } catch (error) {
    if (mine !== steps) return false;
    throw error;
  }
  if (mine !== steps) return false;
  const [{ turns: told }, { title: named }] = found;
  newThread();
  threadId = id;
  const said = feedbackOf(id);
  for (const one of told) {
    const view = add(one.question);
    view.finish(one);
    said.then((known) => view.offer(id, known[one.message_id]));
  }
  setTitle(named || told[0]?.question || "Conversation");
  following = true;
  follow();
  showWaiting(id, steps);
  return true;
}

/** What the thread waits with comes by itself: the conversation can be read without it. */
async function showWaiting(id, mine) {
  try {
    const { approvals } = await getJson(threadPath(id, "/approvals"));
    if (mine !== steps) return;
    for (const approval of approvals) add(approval.question).ask({ approval }, true);
  } catch (error) {
    if (mine === steps && !error.away) noticeOf(error, "Whether this conversation waits for a decision is not known.");
  }
}

export function setupChat(given) {
  page = given;
  watchScrolling();
  const form = $("ask");
  const box = $("question");
  const grow = () => {
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, 200)}px`;
  };
  box.addEventListener("input", grow);
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const message = box.value.trim();
    if (!message || running || waits()) return;
    box.value = "";
    grow();
    ask(message);
  });
  $("stop").addEventListener("click", () => {
    stopAnswer();
    box.focus();
  });
}

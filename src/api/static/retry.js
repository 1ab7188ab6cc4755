// Trying again: after how long, and once for everything that waits for a server which is away.

import { clearNotice, notice } from "./notice.js";
import { setStatus } from "./dom.js";

const FIRST_MS = 500;
const LONGEST_MS = 8000;

/** How long to wait before the n-th time, from 0; a little by chance, so that not all pages come back at one moment. */
export const delay = (n) => Math.min(LONGEST_MS, FIRST_MS * 2 ** n) * (0.8 + 0.4 * Math.random());

const hurry = () => dispatchEvent(new Event("rag-hurry"));

/** Wait; less where the network comes back, the person returns to the page, or asks to try now. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const finish = () => {
      clearTimeout(timer);
      removeEventListener("online", finish);
      removeEventListener("rag-hurry", finish);
      signal?.removeEventListener("abort", stop);
      resolve();
    };
    const stop = () => {
      finish();
      reject(new DOMException("stopped", "AbortError"));
    };
    const timer = setTimeout(finish, ms);
    addEventListener("online", finish);
    addEventListener("rag-hurry", finish);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop);
  });
}

const jobs = new Map();
let waiting = false;

/** Say that the server is away, and do `work` once it answers again; the last work of a name counts. */
export function onceBack(name, work) {
  jobs.set(name, work);
  notice("The server cannot be reached. This page goes on by itself as soon as it is back.", { kind: "bad", label: "Try now", act: hurry });
  if (!waiting) wait();
}

async function wait() {
  waiting = true;
  for (let n = 0; !(await alive()); n += 1) await pause(delay(n));
  waiting = false;
  clearNotice();
  setStatus("The server is back.");
  const todo = [...jobs.values()];
  jobs.clear();
  for (const work of todo) await work();
}

async function alive() {
  try {
    return (await fetch("/health/live", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

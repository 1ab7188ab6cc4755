// A tiny renderer of answers: paragraphs, lists, **strong**, `code` and [n]. It makes elements, never markup.

import { h } from "./dom.js";

const INLINE = /\[(\d{1,3})\]|\*\*([^*\n]+)\*\*|`([^`\n]+)`/g;
const BULLET = /^\s*[-*•]\s+(.*)$/;
const NUMBERED = /^\s*\d{1,3}[.)]\s+(.*)$/;
const HEADING = /^#{1,6}\s+(.*)$/;

/** Nodes of an answer. `cite(n)` gives the node for a mark, or null where there is no such citation. */
export function renderAnswer(text, cite) {
  const blocks = [];
  let list = null;
  for (const line of text.split("\n")) {
    const bullet = BULLET.exec(line);
    const numbered = bullet ? null : NUMBERED.exec(line);
    if (bullet || numbered) {
      const tag = bullet ? "ul" : "ol";
      if (!list || list.localName !== tag) blocks.push((list = h(tag)));
      list.append(h("li", {}, ...inline((bullet || numbered)[1], cite)));
      continue;
    }
    list = null;
    const heading = HEADING.exec(line);
    if (heading) blocks.push(h("p", {}, h("strong", {}, ...inline(heading[1], cite))));
    else if (line.trim() !== "") blocks.push(h("p", {}, ...inline(line, cite)));
  }
  return blocks;
}

function inline(text, cite) {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, number, strong, code] = match;
    const node = number !== undefined ? cite(Number(number)) : h(strong !== undefined ? "strong" : "code", {}, strong ?? code);
    if (node === null) continue;
    const before = text.slice(from, match.index);
    from = match.index + whole.length;
    if (number === undefined) {
      nodes.push(before, node);
      continue;
    }
    // A mark stays on the line of the word before it, and takes the full stop behind it along.
    const word = /\S*\s*$/.exec(before)[0];
    const stop = /^[.,;:!?)]*/.exec(text.slice(from))[0];
    nodes.push(before.slice(0, before.length - word.length), h("span", { class: "together" }, word, node, stop));
    from += stop.length;
  }
  nodes.push(text.slice(from));
  return nodes.filter((node) => node !== "");
}

/** Text without its [n] marks, as it is read aloud. */
export const spoken = (text) => text.replaceAll(/\s*\[\d{1,3}\]/g, "");

const FULL_LINE = 55;

/** Text of a page with the line breaks of running text taken out: a line that was full went on. Every character keeps its place. */
export const reflow = (text) => text.replaceAll(new RegExp(`([^\\n]{${FULL_LINE},})\\n(?=\\S)`, "g"), "$1 ");

/** Nodes of a passage in which `quote` stands marked; white space may differ. `null` when the quote is not in it. */
export function markQuote(text, quote) {
  const found = findQuote(text, quote);
  if (!found) return null;
  const [start, end] = found;
  return [text.slice(0, start), h("mark", {}, text.slice(start, end)), text.slice(end)].filter((node) => node !== "");
}

function findQuote(text, quote) {
  const wanted = (quote || "").trim();
  if (!wanted) return null;
  const at = text.indexOf(wanted);
  if (at >= 0) return [at, at + wanted.length];
  const words = wanted.split(/\s+/).map((word) => word.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const match = new RegExp(words.join("\\s+")).exec(text);
  return match ? [match.index, match.index + match[0].length] : null;
}

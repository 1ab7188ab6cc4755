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
  let lines = [];
  const flush = () => {
    if (lines.length) blocks.push(paragraph(lines, cite));
    lines = [];
  };
  for (const line of text.split("\n")) {
    const bullet = BULLET.exec(line);
    const numbered = bullet ? null : NUMBERED.exec(line);
    if (bullet || numbered) {
      flush();
      const tag = bullet ? "ul" : "ol";
      if (!list || list.localName !== tag) blocks.push((list = h(tag)));
      list.append(h("li", {}, ...inline((bullet || numbered)[1], cite)));
      continue;
    }
    list = null;
    const heading = HEADING.exec(line);
    if (heading) {
      flush();
      blocks.push(h("p", {}, h("strong", {}, ...inline(heading[1], cite))));
    } else if (line.trim() === "") flush();
    else lines.push(line);
  }
  flush();
  return blocks;
}

function paragraph(lines, cite) {
  const nodes = [];
  lines.forEach((line, at) => {
    if (at > 0) nodes.push(h("br"));
    nodes.push(...inline(line, cite));
  });
  return h("p", {}, ...nodes);
}

function inline(text, cite) {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, number, strong, code] = match;
    const node = number !== undefined ? cite(Number(number)) : h(strong !== undefined ? "strong" : "code", {}, strong ?? code);
    if (node === null) continue;
    nodes.push(text.slice(from, match.index), node);
    from = match.index + whole.length;
  }
  nodes.push(text.slice(from));
  return nodes.filter((node) => node !== "");
}

/** Text without its [n] marks, as it is read aloud. */
export const spoken = (text) => text.replaceAll(/\s*\[\d{1,3}\]/g, "");

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

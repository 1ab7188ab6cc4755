// A plain rendering of /openapi.json, as nothing may be loaded from elsewhere.

import { $, h } from "./dom.js";
import { renderAnswer } from "./render.js";

const resolve = (api, schema) => {
  const path = schema?.$ref?.split("/").slice(1);
  return path ? path.reduce((at, step) => at[step], api) : schema;
};

/** A schema as an example-like outline: `{"message": string, "thread_id"?: string}`. */
function outline(api, given, depth = 0) {
  const schema = resolve(api, given) ?? {};
  const pad = "  ".repeat(depth + 1);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.map((choice) => outline(api, choice, depth)).filter((text) => text !== "null").join(" | ");
  if (schema.type === "array") return `[${outline(api, schema.items, depth)}, …]`;
  if (schema.properties && depth < 5) {
    const lines = Object.entries(schema.properties).map(([name, value]) => `${pad}"${name}"${schema.required?.includes(name) ? "" : "?"}: ${outline(api, value, depth + 1)}`);
    return `{\n${lines.join(",\n")}\n${"  ".repeat(depth)}}`;
  }
  return schema.format === "binary" || schema.contentMediaType ? "file" : schema.type ?? "any";
}

function operation(api, path, method, found) {
  const parts = [];
  for (const text of (found.description ?? "").split("\n\n").filter(Boolean)) parts.push(...renderAnswer(text.replaceAll("``", "`").replaceAll("\n", " "), () => null));
  if (found.parameters?.length) {
    parts.push(h("h3", {}, "Parameters"));
    for (const parameter of found.parameters) parts.push(h("p", {}, h("code", {}, parameter.name), ` in ${parameter.in}${parameter.required ? ", required" : ""}: ${outline(api, parameter.schema)}`));
  }
  for (const [type, { schema }] of Object.entries(found.requestBody?.content ?? {})) parts.push(h("h3", {}, `Body, ${type}`), h("pre", {}, outline(api, schema)));
  for (const [status, { content }] of Object.entries(found.responses ?? {})) {
    const schema = content?.["application/json"]?.schema;
    if (schema && status.startsWith("2")) parts.push(h("h3", {}, `Answer ${status}`), h("pre", {}, outline(api, schema)));
  }
  return h("details", {}, h("summary", {}, h("span", { class: "method" }, method.toUpperCase()), h("code", {}, path), h("span", {}, found.summary ?? "")), h("div", {}, ...parts));
}

const api = await (await fetch("/openapi.json")).json();
document.title = `${api.info.title} – HTTP API`;
$("about").textContent = `${api.info.description} Version ${api.info.version}.`;
const groups = new Map();
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, found] of Object.entries(methods)) {
    const tag = found.tags?.[0] ?? "other";
    if (!groups.has(tag)) groups.set(tag, []);
    groups.get(tag).push(operation(api, path, method, found));
  }
}
for (const [tag, operations] of groups) $("api").append(h("h2", {}, tag), ...operations);
$("api").removeAttribute("aria-busy");

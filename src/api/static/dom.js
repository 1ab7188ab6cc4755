// The only way this page makes elements. Text goes through textContent: nothing from a document or a model becomes markup.

export const $ = (id) => document.getElementById(id);

/** An element with properties, attributes (`data-*`, `aria-*`, …) and children, which are nodes or text. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const ICONS = {
  plus: "M12 5v14M5 12h14",
  upload: "M12 16V4M7 9l5-5 5 5M4 16v4h16v-4",
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "M6 6l12 12M18 6L6 18",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M8 8h8v8H8z",
  theme: "M20 14.500A8.500 8.500 0 1 1 9.500 4a7 7 0 0 0 10.500 10.500z",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v6M14 11v6",
  more: "M4.500 12h1M11.500 12h1M18.500 12h1",
  again: "M20 11a8 8 0 1 0-2.300 6.300M20 5v6h-6",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  branch: "M6 4v10M6 20a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM18 4a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM18 10c0 4-6 3-11 5",
  download: "M12 4v12M7 11l5 5 5-5M4 20h16",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5",
  check: "M5 12l5 5 9-10",
  up: "M7 11v9H4v-9zM7 11l4-8c1.700 0 2.500 1.200 2.200 2.800L12.500 9H19c1 0 1.700 1 1.400 2l-2 7.500c-.200.900-.900 1.500-1.900 1.500H7",
  down: "M7 13V4H4v9zM7 13l4 8c1.700 0 2.500-1.200 2.200-2.800L12.500 15H19c1 0 1.700-1 1.400-2l-2-7.500c-.200-.900-.900-1.500-1.900-1.500H7",
  alert: "M12 8v5M12 16.500v.1M12 3l9.500 17h-19z",
};

/** A line icon, hidden from screen readers: the button beside it carries the name. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

export function fillIcons() {
  for (const place of document.querySelectorAll("[data-icon]")) place.replaceChildren(icon(place.dataset.icon));
}

/** Say something to screen readers. Several messages queue up as lines of a live region. */
export function announce(text) {
  const line = h("p", {}, text);
  $("announce").append(line);
  setTimeout(() => line.remove(), 30000);
}

export function setStatus(text) {
  $("status").textContent = text;
}

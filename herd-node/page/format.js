// How things are shown, and elements made of text: ids are never taken for HTML.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function facts(pairs) {
  const list = element("dl", { class: "facts" });
  for (const [name, value] of pairs) list.append(element("dt", {}, name), element("dd", {}, value));
  return list;
}

export function table(caption, heads, rows) {
  const numbers = heads.map((head) => head.endsWith("#"));
  const cell = (name, content, index) => element(name, numbers[index] ? { class: "number" } : {}, content);
  const head = element("tr", {}, ...heads.map((head, index) => cell("th", head.replace("#", ""), index)));
  const body = rows.map((row) => element("tr", {}, ...row.map((content, index) => cell("td", content, index))));
  return element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...body));
}

export const whole = new Intl.NumberFormat("en");

export function age(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const size = Math.abs(seconds);
  if (size < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (size < 1) return `${(seconds * 1e3).toFixed(size < 0.01 ? 1 : 0)} ms`;
  return `${seconds.toFixed(size < 10 ? 1 : 0)} s`;
}

export function distance(metres) {
  return metres < 1000 ? `${metres.toFixed(0)} m` : `${(metres / 1000).toFixed(1)} km`;
}

export function degrees(latitude, longitude) {
  return `${latitude.toFixed(6)}, ${longitude.toFixed(6)}`;
}

export function moment(milliseconds) {
  return milliseconds === null ? "–" : new Date(milliseconds).toISOString().replace("T", " ");
}

// Okabe and Ito's palette, which colour-blind people tell apart; shapes tell it once more.
const ORIGINS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999933", "#7f7f7f"];
const SHAPES = ["circle", "square", "triangle", "diamond"];
export const AGES = [
  { upTo: 10e3, colour: "#ffb000", name: "under 10 s" },
  { upTo: 60e3, colour: "#fe6100", name: "under 1 min" },
  { upTo: 600e3, colour: "#dc267f", name: "under 10 min" },
  { upTo: 3600e3, colour: "#785ef0", name: "under 1 h" },
  { upTo: Infinity, colour: "#7a8794", name: "older" },
];

const origins = [];
export function originStyle(name) {
  let index = origins.indexOf(name);
  if (index < 0) index = origins.push(name) - 1;
  return { colour: ORIGINS[index % ORIGINS.length], shape: SHAPES[index % SHAPES.length] };
}
export function knownOrigins() {
  return [...origins];
}

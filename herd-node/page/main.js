// Puts the parts together.

import { Clients } from "./clients.js";
import { Details } from "./details.js";
import { AGES, drawn, duration, element, knownOrigins, originStyle, whole } from "./format.js";
import { BUSY, Graph, nodeState } from "./graph.js";
import { Map as ClientMap, legendShape } from "./map.js";
import { Stream } from "./stream.js";
import { Table } from "./table.js";

const find = (id) => document.getElementById(id);
const clients = new Clients();
let limit = Infinity;
let skew = 0; // The node's clock minus the browser's.
let total = null;
let watched = null;
let lastReports = null;
let ownDigests = [];
const now = () => Date.now() + skew;

const stream = new Stream({
  begin: () => clients.begin(),
  event: (name, data) => ({ hello, clients: changed, status })[name]?.(data),
  state: badge,
  token: askForToken,
});
const map = new ClientMap(find("map"), clients, follow);
const graph = new Graph(find("graph"), find("links"));
const details = new Details(find("client"), clients, () => stream.headers());
const table = new Table(find("table"), clients);

function badge(state, words) {
  find("badge").dataset.state = state;
  find("badge").textContent = words;
}

function hello(data) {
  limit = data.limit;
  map.tiles = data.tiles;
  find("herd-name").textContent = data.cluster;
  find("seen-by").textContent = `as seen by ${data.node}`;
  document.title = `${data.cluster}: ${data.node}`;
  if (data.tiles) find("attribution").textContent = `Tiles: ${new URL(data.tiles, location).host}`;
  badge("live", "live");
}

function changed(frame) {
  clients.apply(frame);
  map.redraw();
  notes();
}

function status(data) {
  skew = data.now - Date.now();
  map.now = data.now;
  map.redraw();
  graph.show(data);
  numbers(data);
  legend();
  notes();
  details.show(now(), map.radius);
  table.show(now(), find("search").value.trim());
}

function numbers({ nodes, propagation, now: at }) {
  const up = nodes.filter((node) => node.status);
  const put = (id, text, mood) => {
    find(id).textContent = text;
    find(id).className = mood ?? "";
  };
  total = nodes[0].status.clients;
  put("n-clients", whole.format(total));
  const taken = up.reduce((sum, { status }) => sum + status.taken, 0);
  const last = lastReports;
  lastReports = { taken, at, nodes: up.length };
  if (last && last.nodes === up.length && taken >= last.taken && at > last.at) {
    // The other nodes are asked each two seconds: a mean keeps the number from flickering.
    const rate = ((taken - last.taken) / (at - last.at)) * 1000;
    lastReports.rate = last.rate === undefined ? rate : last.rate * 0.7 + rate * 0.3;
    put("n-rate", whole.format(Math.round(lastReports.rate)));
  }
  const ready = nodes.filter((node) => nodeState(node) === "ready").length;
  put("n-nodes", `${ready} of ${nodes.length}`, ready === nodes.length ? "good" : "bad");
  const agree = agreement(up);
  put("n-agree", agree, agree === "yes" ? "good" : "");
  const { count, p50, p99 } = propagation;
  const bound = (seconds) => (count === 0 ? "–" : seconds === null ? "> 1 h" : `≤ ${duration(seconds)}`);
  put("n-propagation", `${bound(p50)} / ${bound(p99)}`);
  const peers = nodes[0].status.peers;
  const received = peers.reduce((sum, peer) => sum + peer.received, 0);
  const known = peers.reduce((sum, peer) => sum + peer.known, 0);
  put("n-known", received ? `${((known / received) * 100).toFixed(0)} %` : "–");
  const versions = [...new Set(up.map(({ status }) => status.version))];
  put("n-version", versions.join(", "), versions.length > 1 ? "bad" : "");
}

// Whether all hold the same. The others were asked up to some seconds ago: each is compared with what this node held
// since. Where reports come faster than they are looked at no two moments are alike, and what waits tells.
function agreement(up) {
  if (up.length < 2) return "–";
  const [own, ...others] = up.map(({ status }) => status);
  ownDigests = [own.digest, ...ownDigests.slice(0, 4)];
  if (others.every(({ digest }) => ownDigests.includes(digest))) return "yes";
  const links = up.flatMap(({ status }) => status.peers);
  const keepsUp = links.every((peer) => peer.up && peer.pending + peer.in_flight <= BUSY);
  return keepsUp ? "keeping up" : "catching up";
}

// What is not shown, and why.
function notes() {
  const words = [];
  if (!clients.complete) words.push("loading …");
  if (clients.hidden > 0) {
    words.push(`showing ${whole.format(clients.byId.size)} of ${total === null ? "more" : whole.format(total)} clients: zoom in to see the others`);
  } else if (watched) words.push(`showing the ${whole.format(clients.byId.size)} in this part of the map`);
  find("shown").textContent = words.join("; ");
  find("empty").hidden = !(clients.complete && clients.byId.size === 0 && !watched && find("badge").dataset.state === "live");
}

// Where there are more clients than can be shown, those of the part that is seen are.
function follow() {
  const area = clients.hidden > 0 || watched ? map.area() : null;
  if (JSON.stringify(area) === JSON.stringify(watched)) return;
  watched = area;
  stream.watch(area);
}

function legend() {
  const entries = map.colourBy === "age" ? AGES.map(({ colour, name }) => ({ colour, name, shape: "circle" }))
    : knownOrigins().sort().map((name) => ({ name, ...originStyle(name) }));
  const items = entries.map(({ colour, name, shape }) => {
    const mark = drawn("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, drawn("path", { d: legendShape(shape), fill: colour }));
    return element("li", {}, mark, ` ${name}`);
  });
  find("legend").replaceChildren(...items);
}

function askForToken(why) {
  badge("lost", "not allowed");
  const dialog = find("token-dialog");
  find("token-why").textContent = why;
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(find("token").value);
      find("token").value = "";
    }, { once: true });
  });
}

async function choose(id, goThere = false) {
  map.selected = id;
  map.redraw();
  const client = id !== null && clients.get(id);
  if (client && goThere) map.show(client.latitude, client.longitude);
  if (id !== null) openTab("tab-client");
  document.activeElement?.closest("#panel")?.focus();
  await details.choose(id, map.radius);
  details.show(now(), map.radius);
}

function openTab(id) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const open = tab.id === id;
    tab.setAttribute("aria-selected", open);
    tab.tabIndex = open ? 0 : -1;
    find(tab.getAttribute("aria-controls")).hidden = !open;
  }
  table.show(now(), find("search").value.trim());
}

map.onSelect = (id) => choose(id);
details.onChoose = table.onChoose = (id) => choose(id, true);
for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => openTab(tab.id));
  tab.addEventListener("keydown", (event) => {
    const tabs = [...document.querySelectorAll("[role=tab]")];
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    openTab(next.id);
    next.focus();
  });
}
find("colour").addEventListener("change", (event) => {
  map.colourBy = event.target.value;
  map.redraw();
  legend();
});
find("radius").addEventListener("change", (event) => {
  map.radius = Number(event.target.value);
  map.redraw();
  if (map.selected !== null) choose(map.selected);
});
find("tools").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = find("search").value.trim();
  // A client that is not shown is asked for by its whole id.
  if (text) choose(clients.get(text)?.id ?? clients.find(text, 1)[0]?.id ?? text, true);
});
find("search").addEventListener("input", (event) => table.show(now(), event.target.value.trim()));
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, select, dialog")) {
    event.preventDefault();
    find("search").focus();
  }
});
// The client that is chosen is asked after again while somebody looks.
setInterval(() => { if (map.selected !== null && !document.hidden) details.choose(map.selected, map.radius); }, 3000);
setInterval(() => { map.now = now(); if (find("badge").dataset.state === "live") map.redraw(); }, 1000);
legend();
stream.run();

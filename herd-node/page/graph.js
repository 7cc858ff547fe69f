// The herd as a graph, on a ring so that nothing jumps, and the same as tables.

import { drawn, duration, element, table, whole } from "./format.js";

export const BUSY = 1000; // records that wait: more than a second's worth of most herds

// What is known of each pair of nodes, from both ends.
function links(nodes) {
  const found = new Map();
  const names = new Set(nodes.map(({ name }) => name));
  for (const { name, status } of nodes) {
    for (const peer of status?.peers ?? []) {
      const ends = [name, peer.name].sort();
      const key = JSON.stringify(ends);
      const link = found.get(key) ?? { ends, sides: new Map(), guest: !names.has(peer.name) };
      link.sides.set(name, peer);
      found.set(key, link);
    }
  }
  return [...found.values()];
}

function stateOf({ sides }) {
  const peers = [...sides.values()];
  if (peers.some(({ up }) => !up)) return "down";
  return peers.some(({ pending, in_flight }) => pending + in_flight > BUSY) ? "busy" : "up";
}

export function nodeState({ status }) {
  return status ? (status.ready ? "ready" : "not ready") : "down";
}

export class Graph {
  #graph; #tables; #last = new Map(); #drawn = "";

  constructor(graph, tables) {
    this.#graph = graph;
    this.#tables = tables;
  }

  show({ nodes }) {
    const all = links(nodes);
    const rates = this.#rates(nodes);
    const shape = JSON.stringify([nodes.map((node) => [node.name, nodeState(node), node.status?.clients]),
      all.map((link) => [link.ends, stateOf(link)]), [...rates.values()].map((rate) => rate.toFixed(0))]);
    if (shape === this.#drawn) return;
    this.#drawn = shape;
    this.#draw(nodes, all.filter(({ guest }) => !guest), rates);
    this.#tables.replaceChildren(this.#nodeTable(nodes), this.#linkTable(all, rates));
  }

  // Records a second over each link and direction, by the clock of the node that sends: the nodes are asked at moments of
  // their own, and less often than the page hears of them.
  #rates(nodes) {
    const rates = new Map();
    const next = new Map();
    for (const { name, status } of nodes) {
      for (const { name: to, sent } of status?.peers ?? []) {
        const key = JSON.stringify([name, to]);
        const last = this.#last.get(key);
        const seconds = status.uptime - (last?.uptime ?? Infinity);
        const rate = seconds > 0 && seconds < 60 && sent >= last.sent ? (sent - last.sent) / seconds
          : seconds === 0 ? last.rate : undefined;
        if (rate !== undefined) rates.set(key, rate);
        next.set(key, { sent, uptime: status.uptime, rate });
      }
    }
    this.#last = next;
    return rates;
  }

  #draw(nodes, all, rates) {
    const places = new Map(nodes.map(({ name }, index) => {
      const turn = (index / nodes.length) * 2 * Math.PI - Math.PI / 2;
      return [name, [170 + 110 * Math.cos(turn), 150 + 100 * Math.sin(turn)]];
    }));
    const svg = drawn("svg", { viewBox: "0 0 340 300", role: "img", "aria-label": "The nodes and their links; the tables below tell the same" });
    for (const link of all) {
      const [[x1, y1], [x2, y2]] = link.ends.map((name) => places.get(name));
      svg.append(drawn("line", { x1, y1, x2, y2, class: `link ${stateOf(link)}` }));
      const rate = [...link.sides].reduce((sum, [from, peer]) => sum + (rates.get(JSON.stringify([from, peer.name])) ?? 0), 0);
      const label = stateOf(link) === "down" ? "down" : rate >= 1 ? `${whole.format(Math.round(rate))}/s` : "";
      svg.append(drawn("text", { x: (x1 + x2) / 2, y: (y1 + y2) / 2, "text-anchor": "middle", class: "dim" }, label));
    }
    nodes.forEach((node, index) => {
      const [x, y] = places.get(node.name);
      const state = nodeState(node);
      const kind = { ready: "", "not ready": "unready", down: "down" }[state];
      svg.append(drawn("circle", { cx: x, cy: y, r: 15, class: `node ${kind} ${index === 0 ? "self" : ""}` }));
      svg.append(drawn("text", { x, y: y - 20, "text-anchor": "middle" }, node.name));
      const below = node.status ? whole.format(node.status.clients) : "?";
      svg.append(drawn("text", { x, y: y + 4, "text-anchor": "middle", class: "dim" }, below));
    });
    this.#graph.replaceChildren(svg);
  }

  #nodeTable(nodes) {
    const rows = nodes.map((node) => {
      const { name, status, error } = node;
      const words = [nodeState(node), ...(status?.troubles ?? []), ...(error ? [error] : [])].join("; ");
      return [name, element("span", { class: status?.ready ? "" : "bad" }, words),
        status ? whole.format(status.clients) : "–", status ? status.digest.slice(0, 8) : "–", status?.version ?? "–"];
    });
    return table("Nodes, as they say themselves", ["Node", "State", "Clients#", "Digest", "Version"], rows);
  }

  #linkTable(all, rates) {
    const rows = all.flatMap(({ sides }) => [...sides].map(([from, peer]) => {
      const rate = rates.get(JSON.stringify([from, peer.name]));
      const state = peer.up ? "up" : `down: ${peer.error || "never was up"}`;
      return [`${from} → ${peer.name}`, element("span", { class: peer.up ? "" : "bad" }, state),
        whole.format(peer.pending + peer.in_flight), duration(peer.round_trip), rate === undefined ? "–" : whole.format(Math.round(rate))];
    }));
    return table("Links, as seen from the first of each pair", ["Link", "State", "Waiting#", "Round trip#", "Sent/s#"], rows);
  }
}

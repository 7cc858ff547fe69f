// What is known of one client, who is near it, and how its location went through the herd.

import { age, degrees, distance, duration, element, facts, moment } from "./format.js";

// The nodes as a tree: each below the one that told it.
function hops(nodes) {
  const newest = Math.max(...nodes.map(({ location }) => location?.received ?? 0));
  const children = new Map();
  const roots = [];
  for (const node of nodes) {
    const from = node.location?.from;
    const parent = from && nodes.find(({ name }) => name === from);
    if (parent) children.set(from, [...(children.get(from) ?? []), node]);
    else roots.push(node);
  }
  const seen = new Set();
  const item = (node) => {
    if (seen.has(node.name)) return [];
    seen.add(node.name);
    const { location, error } = node;
    let words = error ?? "";
    if (location) {
      const after = location.applied === null ? "since before it started" : `after ${duration((location.applied - location.received) / 1000)}`;
      words = location.received < newest ? `holds an older location (${after})` : after;
      if (!location.from && location.applied !== null) words += node.name === location.origin ? ", from the client" : "";
    }
    const below = (children.get(node.name) ?? []).flatMap(item);
    const line = element("li", {}, element("b", {}, node.name), ` ${words}`);
    if (below.length) line.append(element("ul", { class: "hops" }, ...below));
    return [line];
  };
  const lines = roots.flatMap(item);
  // A circle of tales, from a moment at which the location changed.
  return element("ul", { class: "hops" }, ...lines, ...nodes.flatMap(item));
}

export class Details {
  #panel; #clients; #headers; #asked = 0; #trace = null; #near = null; #shown = null; #error = "";
  onChoose = () => {};

  constructor(panel, clients, headers) {
    this.#panel = panel;
    this.#clients = clients;
    this.#headers = headers;
  }

  async choose(id, radius) {
    if (id !== this.#shown) [this.#trace, this.#near, this.#error] = [null, null, ""];
    this.#shown = id;
    if (id === null) {
      this.#panel.replaceChildren(element("p", {}, "Choose a client on the map, in the table, or by its id."));
      return;
    }
    const asked = ++this.#asked;
    const ask = async (path) => {
      const response = await fetch(path, { headers: this.#headers() });
      if (!response.ok) throw new Error(`${path.split("?")[0]}: ${await response.text()}`);
      return response.json();
    };
    const query = `id=${encodeURIComponent(id)}`;
    try {
      const trace = ask(`/api/v1/client?${query}`);
      const near = radius > 0 && this.#clients.get(id) ? ask(`/api/v1/near?${query}&radius=${radius}&max=20`) : null;
      const [known, found] = await Promise.all([trace, near]);
      if (asked !== this.#asked) return;
      [this.#trace, this.#near, this.#error] = [known, found, ""];
    } catch (error) {
      if (asked === this.#asked) this.#error = error.message;
    }
  }

  show(now, radius) {
    const id = this.#shown;
    if (id === null) return;
    const client = this.#clients.get(id);
    const parts = [element("h2", {}, id)];
    if (this.#error) parts.push(element("p", { class: "bad" }, this.#error));
    const own = this.#trace?.nodes[0]?.location;
    if (client || own) {
      const { latitude, longitude, received, origin } = client ?? own;
      parts.push(facts([
        ["position", degrees(latitude, longitude)], ["age", age(now - received)], ["home node", origin],
        ["received", moment(received)],
        ["client's clock", own && Math.floor(own.received) === Math.floor(received) ? moment(own.time) : "–"],
      ]));
    } else if (this.#trace) {
      parts.push(element("p", {}, `${this.#trace.nodes[0].name} knows no such client.`));
    }
    if (this.#trace) parts.push(element("h2", {}, "How its location went through the herd"), hops(this.#trace.nodes),
      element("p", { class: "warn" }, "Times are those of each node's own clock."));
    if (this.#near && radius > 0) {
      const { neighbors, truncated } = this.#near;
      const lines = neighbors.map(([other, metres]) => {
        const button = element("button", { type: "button" }, other);
        button.addEventListener("click", () => this.onChoose(other));
        return element("tr", {}, element("td", {}, button), element("td", { class: "number" }, distance(metres)));
      });
      parts.push(element("h2", {}, `Within ${distance(radius)}: ${neighbors.length}${truncated ? " and more" : ""}`),
        element("table", {}, ...lines));
    }
    // What has the focus must not be swept away under somebody's fingers.
    if (!this.#panel.contains(document.activeElement)) this.#panel.replaceChildren(...parts);
  }
}

// The clients as a table: the same as the map, for those who cannot see it or would rather read.

import { age, degrees, element, table, whole } from "./format.js";

const ROWS = 200;

export class Table {
  #panel; #clients;
  onChoose = () => {};

  constructor(panel, clients) {
    this.#panel = panel;
    this.#clients = clients;
  }

  show(now, text) {
    if (this.#panel.hidden || this.#panel.contains(document.activeElement)) return;
    const found = this.#clients.find(text, ROWS);
    const rows = found.map(({ id, latitude, longitude, received, origin }) => {
      const button = element("button", { type: "button" }, id);
      button.addEventListener("click", () => this.onChoose(id));
      return [button, degrees(latitude, longitude), age(now - received), origin];
    });
    const of = text ? `clients whose ids have “${text}”` : "clients";
    const all = whole.format(this.#clients.byId.size);
    const caption = found.length < ROWS ? `${found.length} ${of}` : `The first ${ROWS} of ${text ? "the " : `${all} `}${of}; search to see others`;
    this.#panel.replaceChildren(table(caption, ["Client", "Position", "Age#", "Home"], rows));
  }
}

// Where the clients are, as far as this page was told.

export class Clients {
  byId = new Map();
  complete = false;
  hidden = 0;
  // Clients known when the stream began anew, until they are told again.
  #old = null;

  // A new stream begins: what it does not tell is gone.
  begin() {
    this.#old = this.byId;
    this.byId = new Map();
    this.complete = false;
    this.hidden = 0;
  }

  apply(frame) {
    for (const [id, latitude, longitude, received, origin] of frame.moved) {
      const known = this.byId.get(id) ?? this.#old?.get(id);
      const trail = known?.trail ?? [];
      if (known && (known.latitude !== latitude || known.longitude !== longitude)) {
        trail.push([known.latitude, known.longitude]);
        if (trail.length > 50) trail.shift();
      }
      this.byId.set(id, { id, latitude, longitude, received, origin, trail });
    }
    for (const id of frame.gone) this.byId.delete(id);
    this.hidden = frame.hidden;
    this.complete = frame.complete;
    if (this.complete) this.#old = null;
  }

  // Those to be drawn: while a stream begins, also those that were there before.
  *shown() {
    yield* this.byId.values();
    if (this.#old) for (const [id, client] of this.#old) if (!this.byId.has(id)) yield client;
  }

  get(id) {
    return this.byId.get(id) ?? this.#old?.get(id);
  }

  find(text, limit) {
    const found = [];
    const wanted = text.toLowerCase();
    for (const client of this.byId.values()) {
      if (client.id.toLowerCase().includes(wanted)) found.push(client);
      if (found.length > limit * 20) break;
    }
    found.sort((a, b) => (b.id.toLowerCase() === wanted) - (a.id.toLowerCase() === wanted) || (a.id < b.id ? -1 : 1));
    return found.slice(0, limit);
  }
}

// The map: land, tiles if there are any, clients, a ring, on one canvas in the Mercator projection.

import { AGES, originStyle } from "./format.js";

const LIMIT = 85.0511; // where the projection ends
const MAX_ZOOM = 20;
const EARTH = 6371008.8;

const toX = (longitude) => (longitude + 180) / 360;
function toY(latitude) {
  const sine = Math.sin((Math.max(-LIMIT, Math.min(LIMIT, latitude)) * Math.PI) / 180);
  return 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
}
const toLongitude = (x) => x * 360 - 180;
const toLatitude = (y) => (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;

export class Map {
  #canvas; #context; #clients; #land = []; #dirty = true; #tiles = null; #images = new globalThis.Map();
  #zoom = 0; #x = 0.5; #y = 0.42; #moved; #pointers = new globalThis.Map();
  colourBy = "age"; radius = 10000; selected = null; now = Date.now(); onSelect = () => {};

  // moved() is called when the part that is seen has changed and stays for a moment.
  constructor(canvas, clients, moved) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#clients = clients;
    let timer;
    this.#moved = () => { clearTimeout(timer); timer = setTimeout(moved, 400); };
    new ResizeObserver(() => this.#resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    this.#listen();
    this.#loadLand();
    requestAnimationFrame(() => this.#frame());
  }

  redraw() { this.#dirty = true; }
  set tiles(url) { this.#tiles = url; this.redraw(); }

  show(latitude, longitude) {
    this.#x = toX(longitude);
    this.#y = toY(latitude);
    this.#zoom = Math.max(this.#zoom, 5);
    this.#settle();
  }

  // South, west, north and east of what is seen; null for the whole Earth.
  area() {
    const { width, height, size } = this.#view();
    if (width >= size) return null;
    const edge = (y) => toLatitude(Math.max(0, Math.min(1, y)));
    const wrap = (x) => toLongitude(x - Math.floor(x));
    const [south, north] = [edge(this.#y + height / size / 2), edge(this.#y - height / size / 2)];
    return [south < -LIMIT + 0.1 ? -90 : south, wrap(this.#x - width / size / 2),
      north > LIMIT - 0.1 ? 90 : north, wrap(this.#x + width / size / 2)];
  }

  async #loadLand() {
    try {
      const rings = await (await fetch("/page/land.json")).json();
      this.#land = rings.map((ring) => {
        const points = new Float64Array(ring.length);
        let [longitude, latitude] = [0, 0];
        for (let i = 0; i < ring.length; i += 2) {
          points[i] = toX((longitude += ring[i]) / 100);
          points[i + 1] = toY((latitude += ring[i + 1]) / 100);
        }
        return points;
      });
      this.redraw();
    } catch { /* A map without land still shows the clients. */ }
  }

  #resize() {
    const { clientWidth, clientHeight } = this.#canvas;
    this.#canvas.width = clientWidth * devicePixelRatio;
    this.#canvas.height = clientHeight * devicePixelRatio;
    this.#settle();
  }

  #view() {
    const [width, height] = [this.#canvas.clientWidth, this.#canvas.clientHeight];
    // At zoom 0 the Earth is as wide as the map.
    return { width, height, size: Math.max(width, 256) * 2 ** this.#zoom };
  }

  #settle() {
    this.#zoom = Math.max(0, Math.min(MAX_ZOOM, this.#zoom));
    this.#x -= Math.floor(this.#x);
    const { height, size } = this.#view();
    const half = Math.min(0.5, height / size / 2);
    this.#y = Math.max(half, Math.min(1 - half, this.#y));
    this.redraw();
    this.#moved();
  }

  #zoomAt(change, left, top) {
    const before = this.#view();
    const [x, y] = [this.#x + (left - before.width / 2) / before.size, this.#y + (top - before.height / 2) / before.size];
    this.#zoom = Math.max(0, Math.min(MAX_ZOOM, this.#zoom + change));
    const { width, height, size } = this.#view();
    this.#x = x - (left - width / 2) / size;
    this.#y = y - (top - height / 2) / size;
    this.#settle();
  }

  #listen() {
    const canvas = this.#canvas;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#zoomAt(-event.deltaY * (event.deltaMode ? 0.05 : 0.002), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => this.#zoomAt(1, event.offsetX, event.offsetY));
    let travelled = 0;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      if (this.#pointers.size === 0) travelled = 0;
      this.#pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    });
    canvas.addEventListener("pointermove", (event) => {
      const last = this.#pointers.get(event.pointerId);
      if (!last) return;
      const [left, top] = [event.offsetX, event.offsetY];
      travelled += Math.hypot(left - last[0], top - last[1]);
      if (this.#pointers.size === 2) {
        const [other] = [...this.#pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
        const apart = (at) => Math.max(1, Math.hypot(at[0] - other[0], at[1] - other[1]));
        this.#zoomAt(Math.log2(apart([left, top]) / apart(last)), (left + other[0]) / 2, (top + other[1]) / 2);
      } else if (travelled > 4) {
        const { size } = this.#view();
        this.#x -= (left - last[0]) / size;
        this.#y -= (top - last[1]) / size;
        this.#settle();
      }
      this.#pointers.set(event.pointerId, [left, top]);
    });
    const release = (event) => {
      const was = this.#pointers.delete(event.pointerId);
      if (was && event.type === "pointerup" && travelled <= 4) this.onSelect(this.#at(event.offsetX, event.offsetY));
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("keydown", (event) => {
      const { width, height, size } = this.#view();
      const step = 80 / size;
      const keys = {
        ArrowLeft: () => { this.#x -= step; }, ArrowRight: () => { this.#x += step; },
        ArrowUp: () => { this.#y -= step; }, ArrowDown: () => { this.#y += step; },
        "+": () => this.#zoomAt(0.5, width / 2, height / 2), "=": () => this.#zoomAt(0.5, width / 2, height / 2),
        "-": () => this.#zoomAt(-0.5, width / 2, height / 2),
        0: () => { this.#zoom = 0; this.#x = 0.5; this.#y = 0.42; },
        Escape: () => this.onSelect(null),
      };
      if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      keys[event.key]();
      this.#settle();
    });
  }

  #place(latitude, longitude, view) {
    let x = toX(longitude) - this.#x;
    x -= Math.round(x); // The nearest of the Earths side by side.
    return [view.width / 2 + x * view.size, view.height / 2 + (toY(latitude) - this.#y) * view.size];
  }

  // The client at a point of the canvas, if one is within reach of a finger.
  #at(left, top) {
    const view = this.#view();
    let [best, nearest] = [null, 14];
    for (const client of this.#clients.shown()) {
      const [x, y] = this.#place(client.latitude, client.longitude, view);
      const apart = Math.hypot(x - left, y - top);
      if (apart < nearest) [best, nearest] = [client.id, apart];
    }
    return best;
  }

  #frame() {
    requestAnimationFrame(() => this.#frame());
    if (!this.#dirty) return;
    this.#dirty = false;
    this.#draw();
  }

  #draw() {
    const context = this.#context;
    const view = this.#view();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.fillStyle = colour("sea");
    context.fillRect(0, 0, view.width, view.height);
    this.#drawGrid(view, colour("line"));
    if (this.#tiles) this.#drawTiles(view);
    else this.#drawLand(view, colour("land"), colour("shore"));
    this.#drawClients(view, colour("ground"));
    this.#drawSelected(view, colour("accent"));
  }

  // Draws the Earth as often as it is seen side by side.
  #earths(view, draw, more = 0) {
    const half = view.width / view.size / 2;
    for (let turn = Math.floor(this.#x - half) - more; turn <= Math.floor(this.#x + half) + more; turn++) {
      draw(view.width / 2 + (turn - this.#x) * view.size, view.height / 2 - this.#y * view.size);
    }
  }

  #drawGrid(view, colour) {
    const context = this.#context;
    context.strokeStyle = colour;
    context.lineWidth = 0.5;
    context.beginPath();
    this.#earths(view, (left, top) => {
      for (let longitude = -180; longitude < 180; longitude += 30) {
        const x = left + toX(longitude) * view.size;
        context.moveTo(x, top);
        context.lineTo(x, top + view.size);
      }
      for (let latitude = -60; latitude <= 60; latitude += 30) {
        const y = top + toY(latitude) * view.size;
        context.moveTo(left, y);
        context.lineTo(left + view.size, y);
      }
    });
    context.stroke();
  }

  #drawLand(view, land, shore) {
    const context = this.#context;
    context.fillStyle = land;
    context.strokeStyle = shore;
    context.lineWidth = 0.7;
    this.#earths(view, (left, top) => {
      context.beginPath();
      for (const ring of this.#land) {
        for (let i = 0; i < ring.length; i += 2) {
          const at = [left + ring[i] * view.size, top + ring[i + 1] * view.size];
          if (i === 0) context.moveTo(...at);
          else context.lineTo(...at);
        }
        context.closePath();
      }
      context.fill("evenodd");
      context.stroke();
    }, 1); // Land that crosses the antimeridian sticks out of its Earth.
  }

  #drawTiles(view) {
    const level = Math.max(0, Math.min(19, Math.round(Math.log2(view.size / 256))));
    const count = 2 ** level;
    const side = view.size / count;
    const [firstX, firstY] = [Math.floor((this.#x - view.width / view.size / 2) * count), Math.floor((this.#y - view.height / view.size / 2) * count)];
    for (let x = firstX; x <= firstX + view.width / side + 1; x++) {
      for (let y = Math.max(0, firstY); y <= Math.min(count - 1, firstY + view.height / side + 1); y++) {
        const image = this.#tile(level, ((x % count) + count) % count, y);
        if (!image.complete || !image.naturalWidth) continue;
        const left = view.width / 2 + (x / count - this.#x) * view.size;
        const top = view.height / 2 + (y / count - this.#y) * view.size;
        this.#context.drawImage(image, left, top, side + 0.5, side + 0.5);
      }
    }
  }

  #tile(z, x, y) {
    const url = this.#tiles.replace("{z}", z).replace("{x}", x).replace("{y}", y);
    let image = this.#images.get(url);
    if (!image) {
      image = new Image();
      image.onload = () => this.redraw();
      image.src = url;
      this.#images.set(url, image);
      if (this.#images.size > 400) this.#images.delete(this.#images.keys().next().value);
    }
    return image;
  }

  #style(client) {
    if (this.colourBy === "origin") return originStyle(client.origin);
    const age = this.now - client.received;
    return { colour: AGES.find(({ upTo }) => age < upTo).colour, shape: "circle" };
  }

  #drawClients(view, ring) {
    const context = this.#context;
    // One path for all of one colour.
    let count = 0;
    const groups = new globalThis.Map();
    for (const client of this.#clients.shown()) {
      const { colour, shape } = this.#style(client);
      let path = groups.get(colour);
      if (!path) groups.set(colour, (path = new Path2D()));
      const [x, y] = this.#place(client.latitude, client.longitude, view);
      if (x > -9 && y > -9 && x < view.width + 9 && y < view.height + 9) {
        trace(path, shape, x, y, 4);
        count += 1;
      }
    }
    context.lineWidth = 0.8;
    context.strokeStyle = ring;
    for (const [colour, path] of groups) {
      context.fillStyle = colour;
      context.fill(path);
      if (count <= MOST_RINGS) context.stroke(path);
    }
  }

  #drawSelected(view, accent) {
    const client = this.selected && this.#clients.get(this.selected);
    if (!client) return;
    const context = this.#context;
    const [x, y] = this.#place(client.latitude, client.longitude, view);
    context.strokeStyle = context.fillStyle = accent;
    context.lineWidth = 1.5;
    context.beginPath();
    let last = null;
    for (const [latitude, longitude] of [...client.trail, [client.latitude, client.longitude]]) {
      const at = this.#place(latitude, longitude, view);
      if (last && Math.abs(at[0] - last[0]) < view.size / 2) context.lineTo(...at);
      else context.moveTo(...at);
      last = at;
    }
    context.stroke();
    context.lineWidth = 2.5;
    context.beginPath();
    context.arc(x, y, 8, 0, 7);
    context.stroke();
    if (this.radius > 0) this.#drawRing(client, view);
  }

  // All at one distance, along great circles; not round on this map, and less so near the poles.
  #drawRing(client, view) {
    const context = this.#context;
    const radians = Math.PI / 180;
    const [angle, latitude] = [this.radius / EARTH, client.latitude * radians];
    context.setLineDash([6, 4]);
    context.lineWidth = 1.5;
    context.beginPath();
    let last = null;
    for (let bearing = 0; bearing <= 360; bearing += 5) {
      const sine = Math.sin(latitude) * Math.cos(angle) + Math.cos(latitude) * Math.sin(angle) * Math.cos(bearing * radians);
      const turn = Math.atan2(Math.sin(bearing * radians) * Math.sin(angle) * Math.cos(latitude), Math.cos(angle) - Math.sin(latitude) * sine);
      const at = this.#place(Math.asin(Math.max(-1, Math.min(1, sine))) / radians, client.longitude + turn / radians, view);
      if (last && Math.abs(at[0] - last[0]) < view.size / 2) context.lineTo(...at);
      else context.moveTo(...at);
      last = at;
    }
    context.stroke();
    context.setLineDash([]);
  }
}

// Most clients that are drawn with a ring each, which takes a browser longer than all the rest.
const MOST_RINGS = 2000;

function trace(path, shape, x, y, size) {
  if (shape === "square") {
    path.rect(x - size * 0.85, y - size * 0.85, size * 1.7, size * 1.7);
  } else if (shape === "triangle") {
    path.moveTo(x, y - size * 1.2);
    path.lineTo(x + size * 1.1, y + size * 0.8);
    path.lineTo(x - size * 1.1, y + size * 0.8);
    path.closePath();
  } else if (shape === "diamond") {
    path.moveTo(x, y - size * 1.25);
    path.lineTo(x + size * 1.25, y);
    path.lineTo(x, y + size * 1.25);
    path.lineTo(x - size * 1.25, y);
    path.closePath();
  } else {
    path.moveTo(x + size, y);
    path.arc(x, y, size, 0, 7);
  }
}

export function legendShape(shape) {
  const shapes = {
    circle: "M6 2a4 4 0 1 0 .01 0z", square: "M2.6 2.6h6.8v6.8H2.6z", triangle: "M6 1l4.6 8.4H1.4z", diamond: "M6 1l5 5-5 5-5-5z",
  };
  return shapes[shape];
}

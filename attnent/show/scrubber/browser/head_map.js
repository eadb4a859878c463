// The layer x head map of one token, or of what differs there between two responses.

import { button, clamp, fill, format, h, hatch, nameAxis, places, s, scale, shade, titled, write } from "./elements.js";
import { cellOf, errorAt, placeOf, valueAt } from "./data.js";

const MAP = { left: 44, top: 6 }; // pixels

export class HeadMap {
  constructor(panel) {
    Object.assign(this, { panel, scrubber: panel.scrubber, response: panel.response, pointed: -1 });
    this.title = h("div", { class: "map-title" });
    this.canvas = h("canvas", { tabindex: 0, role: "application", "aria-roledescription": "map of heads" });
    this.axes = s("svg", { "aria-hidden": "true" });
    this.square = s("rect", { class: "followed" });
    this.pointer = s("rect", { class: "pointed" });
    this.note = h("span");
    this.mean = button("mean of heads", () => this.follow(-1));
    const stage = h("div", { class: "stage" }, this.canvas, this.axes);
    this.node = h("div", { class: "map" }, this.title, stage, h("div", { class: "note" }, this.note, this.mean));
    this.canvas.onpointermove = (event) => this.point(this.cellAt(event));
    this.canvas.onpointerleave = this.canvas.onblur = () => this.point(-1);
    this.canvas.onclick = (event) => this.press(this.cellAt(event));
    this.canvas.onkeydown = (event) => this.key(event);
  }

  /** Sizes, axes and the square of the followed head: once for a response, a measure, a head and a width. */
  layout() {
    const { layers, n_heads } = this.response, { mapped, followed } = this.scrubber;
    const room = Math.max(160, this.node.clientWidth) - MAP.left - 6;
    const size = (this.size = clamp(Math.floor(Math.min(room / n_heads, 380 / layers.length)), 2, 30));
    const width = size * n_heads, height = size * layers.length, ratio = (this.ratio = window.devicePixelRatio || 1);
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    this.hatch = hatch(this.canvas.getContext("2d"));
    fill(this.axes, { width: MAP.left + width + 2, height: MAP.top + height + 34 });
    this.axes.replaceChildren(...this.axisParts(width, height), this.square, this.pointer);
    this.limits = this.panel.difference?.mapLimits ?? mapped.map_limits;
    this.name = `${titled(mapped)} of each head${this.panel.difference ? `, ${this.panel.difference.name}` : ""}`;
    const colours = scale(this.limits, this.colours(), { under: "≤ ", over: "≥ " });
    this.title.replaceChildren(h("span", { title: mapped.said }, this.name), h("span", { class: "map-scale" }, ...colours));
    this.canvas.setAttribute("aria-label", `${this.name}, ${layers.length} layers by ${n_heads} heads. ` +
      "Arrow keys move, Enter follows a head, Escape shows the mean.");
    this.followed = cellOf(this.response, followed);
    this.frame(this.square, this.followed);
    this.mean.hidden = this.followed < 0;
  }

  axisParts(width, height) {
    const { layers, n_heads } = this.response, { size } = this, bottom = MAP.top + height;
    const heads = places(n_heads, width / 22).map((head) => write(MAP.left + (head + 0.5) * size, bottom + 14, head));
    const rows = places(layers.length, height / 14).map((row) =>
      write(MAP.left - 5, bottom - (row + 0.5) * size + 4, layers[row], { "text-anchor": "end" }));
    const layer = nameAxis(11, MAP.top + height / 2, "layer", -90);
    return [...heads, ...rows, nameAxis(MAP.left + width / 2, bottom + 29, "head"), layer];
  }

  colours() {
    const { palette } = this.scrubber.data;
    return this.panel.difference ? palette.difference : palette.map;
  }

  valueAt(step, cell) {
    const { name } = this.scrubber.mapped, { difference } = this.panel;
    return difference ? difference.valueAt(name, step, cell) : valueAt(this.response, name, step, cell);
  }

  draw(step) {
    const { layers, n_heads, nCells } = this.response, context = this.canvas.getContext("2d");
    const side = this.size * this.ratio, gap = this.size > 8 ? this.ratio : 0;
    this.step = step;
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (let cell = 0; step >= 0 && cell < nCells; cell++) {
      const row = Math.floor(cell / n_heads);
      context.fillStyle = this.colourAt(step, cell) ?? this.hatch;
      context.fillRect((cell % n_heads) * side, (layers.length - 1 - row) * side, side - gap, side - gap);
    }
    this.say();
  }

  colourAt(step, cell) {
    const value = this.valueAt(step, cell);
    return Number.isNaN(value) || !this.limits ? null : this.colours()[shade(value, this.limits)];
  }

  point(cell) {
    this.pointed = cell;
    this.frame(this.pointer, cell);
    this.say();
  }

  frame(rect, cell) {
    const { n_heads, layers } = this.response, { size } = this, row = layers.length - 1 - Math.floor(cell / n_heads);
    rect.style.display = cell < 0 ? "none" : "";
    const place = { x: MAP.left + (cell % n_heads) * size - 1, y: MAP.top + row * size - 1 };
    fill(rect, { ...place, width: size + 1, height: size + 1 });
  }

  say() {
    const { layers, kinds } = this.response, { mapped } = this.scrubber;
    const cell = this.pointed >= 0 ? this.pointed : this.followed, { layer, head } = placeOf(this.response, cell);
    if (this.step < 0) return void (this.note.textContent = "");
    if (cell < 0) return void (this.note.textContent = "Click a cell to follow its head.");
    const kind = kinds[layers.indexOf(layer)], ofKind = kind === "self" ? "" : ` (${kind})`;
    const error = errorAt(this.response, mapped.name, this.step, cell) * (this.panel.difference ? 2 : 1);
    const value = format(this.valueAt(this.step, cell), mapped.unit, error);
    const verb = cell === this.followed && this.pointed < 0 ? "Following layer" : "layer";
    this.note.textContent = `${verb} ${layer}${ofKind}, head ${head}: ${value}`;
  }

  /** The map as a picture of vectors. */
  picture() {
    const { layers, n_heads, nCells } = this.response, { size } = this;
    const cells = Array.from({ length: this.step < 0 ? 0 : nCells }, (_, cell) => s("rect", {
      x: MAP.left + (cell % n_heads) * size, y: MAP.top + (layers.length - 1 - Math.floor(cell / n_heads)) * size,
      width: size, height: size, fill: this.colourAt(this.step, cell) ?? "#ffffff",
    }));
    const picture = this.axes.cloneNode(true);
    picture.prepend(...cells);
    return picture;
  }

  cellAt({ offsetX, offsetY }) {
    const { layers, n_heads } = this.response;
    const head = Math.floor(offsetX / this.size), row = layers.length - 1 - Math.floor(offsetY / this.size);
    return head < 0 || head >= n_heads || row < 0 || row >= layers.length ? -1 : row * n_heads + head;
  }

  follow(cell) { this.scrubber.set(placeOf(this.response, cell)); }

  /** Follow a head, or no longer the one that is followed. */
  press(cell) { if (cell >= 0) this.follow(cell === this.followed ? -1 : cell); }

  key(event) {
    const { n_heads, nCells } = this.response;
    const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: n_heads, ArrowDown: -n_heads }[event.key];
    const from = this.pointed >= 0 ? this.pointed : Math.max(0, this.followed);
    if (move) this.point(clamp(this.pointed < 0 ? from : from + move, 0, nCells - 1));
    else if (event.key === "Enter" || event.key === " ") this.press(from);
    else if (event.key === "Escape") this.follow(-1);
    else return;
    event.preventDefault();
    this.scrubber.live.textContent = this.note.textContent;
  }
}

// A whole response at once: layers or heads by tokens, with zoom.

import {
  button, clamp, ends, fill, format, h, hatch, nameAxis, places, range, s, scale, shade, titled, write,
} from "./elements.js";
import { readerOf } from "./data.js";

const WHOLE = { left: 50, right: 10, top: 4 }, NARROWEST = 8; // pixels; tokens

export class Whole {
  constructor(panel) {
    Object.assign(this, { panel, scrubber: panel.scrubber, response: panel.response, from: 0, stop: panel.response.n });
    this.rows = h("select", { "aria-label": "rows of the map of the whole response" });
    const { layers } = this.response, ofLayers = layers.map((layer) => [String(layer), `heads of layer ${layer}`]);
    this.rows.append(...[["", "layers, mean of heads"], ...ofLayers].map(([value, text]) => h("option", { value }, text)));
    this.rows.onchange = () => this.layout();
    this.title = h("div", { class: "map-title" });
    this.canvas = h("canvas", { tabindex: -1, role: "img" });
    this.axes = s("svg", { "aria-hidden": "true" });
    this.cursor = h("div", { class: "cursor" });
    this.note = h("div", { class: "whole-note" });
    const zooms = [["zoom in", 0.5], ["zoom out", 2], ["all", Infinity]];
    const buttons = zooms.map(([name, factor]) => button(name, () => this.zoom(factor, this.panel.step)));
    const tools = h("div", { class: "tools" }, h("label", {}, this.rows), ...buttons);
    const stage = h("div", { class: "stage" }, this.canvas, this.axes, this.cursor);
    this.node = h("details", { class: "whole" }, h("summary", {}, "Whole response: layers or heads by tokens"),
      tools, this.title, stage, this.note);
    this.node.ontoggle = () => this.layout();
    this.canvas.onpointermove = (event) => this.say(this.at(event));
    this.canvas.onpointerleave = () => this.say(null);
    this.canvas.onclick = (event) => this.choose(this.at(event));
    this.canvas.onwheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 0.5 : 2, this.at(event)?.step ?? this.panel.step);
    };
  }

  zoom(factor, around) {
    const { n } = this.response, width = clamp(Math.round((this.stop - this.from) * factor), Math.min(n, NARROWEST), n);
    this.from = clamp(Math.round(around - width / 2), 0, n - width);
    this.stop = this.from + width;
    this.layout();
  }

  /** Values by row and step of all steps, NaN where there is none. */
  values() {
    const { layers, n_heads, n } = this.response, read = readerOf(this.response, this.scrubber.mapped.name);
    const mean = (from, stop) => Float32Array.from({ length: n }, (_, step) => {
      let sum = 0, nKnown = 0;
      for (let cell = from; cell < stop; cell++) {
        const value = read(step, cell);
        if (Number.isFinite(value)) sum += value, nKnown += 1;
      }
      return nKnown ? sum / nKnown : NaN;
    });
    if (this.rows.value === "") return layers.map((_, row) => mean(row * n_heads, (row + 1) * n_heads));
    const first = layers.indexOf(Number(this.rows.value)) * n_heads;
    return range(first, first + n_heads).map((cell) => mean(cell, cell + 1));
  }

  layout() {
    if (!this.node.open || !this.response.n) return;
    const { mapped, data } = this.scrubber, { layers } = this.response, ofHeads = this.rows.value !== "";
    if (this.of?.mapped !== mapped || this.of.rows !== this.rows.value) {
      this.of = { mapped, rows: this.rows.value };
      this.shown = this.values();
      this.limits = ends(...this.shown);
    }
    this.width = Math.max(170, this.node.clientWidth - WHOLE.left - WHOLE.right);
    this.size = clamp(Math.floor(360 / this.shown.length), 3, 16);
    const height = this.size * this.shown.length, { ratio = window.devicePixelRatio || 1 } = this;
    Object.assign(this.canvas, { width: this.width * ratio, height: height * ratio });
    Object.assign(this.canvas.style, { width: `${this.width}px`, height: `${height}px`, left: `${WHOLE.left}px`, top: `${WHOLE.top}px` });
    const context = this.canvas.getContext("2d"), missing = hatch(context);
    context.scale(ratio, ratio);
    this.shown.forEach((values, row) => range(this.from, this.stop).forEach((step) => {
      const value = values[step], known = this.limits && Number.isFinite(value);
      context.fillStyle = known ? data.palette.map[shade(value, this.limits)] : missing;
      context.fillRect(this.x(step), height - (row + 1) * this.size, this.x(step + 1) - this.x(step) + 0.5, this.size);
    }));
    const names = ofHeads ? range(0, this.shown.length) : layers;
    fill(this.axes, { width: WHOLE.left + this.width + WHOLE.right, height: WHOLE.top + height + 34 });
    this.axes.replaceChildren(
      ...places(names.length, height / 16).map((row) =>
        write(WHOLE.left - 5, WHOLE.top + height - (row + 0.5) * this.size + 4, names[row], { "text-anchor": "end" })),
      ...places(this.stop, this.width / 80, this.from).map((step) =>
        write(WHOLE.left + this.x(step + 0.5), WHOLE.top + height + 14, step)),
      nameAxis(WHOLE.left + this.width / 2, WHOLE.top + height + 30, "step (token)"),
      nameAxis(11, WHOLE.top + height / 2, ofHeads ? "head" : "layer", -90));
    const name = `${titled(mapped)}, ${ofHeads ? `heads of layer ${this.rows.value}` : "mean of the heads of each layer"}`;
    this.title.replaceChildren(h("span", {}, name), h("span", { class: "map-scale" }, ...scale(this.limits, data.palette.map)));
    this.canvas.setAttribute("aria-label", `${name}, tokens ${this.from} to ${this.stop - 1}`);
    Object.assign(this.cursor.style, { top: `${WHOLE.top}px`, height: `${height}px` });
    this.go(this.panel.step);
    this.say(null);
  }

  x(step) { return (this.width * (step - this.from)) / (this.stop - this.from); }

  go(step) {
    if (!this.shown || !this.node.open) return;
    this.cursor.hidden = step < this.from || step >= this.stop;
    this.cursor.style.transform = `translateX(${WHOLE.left + this.x(step + 0.5)}px)`;
  }

  at({ offsetX, offsetY }) {
    if (!this.shown) return null;
    const step = this.from + Math.floor((offsetX * (this.stop - this.from)) / this.width);
    const row = this.shown.length - 1 - Math.floor(offsetY / this.size);
    return step >= this.from && step < this.stop && this.shown[row] ? { step, row } : null;
  }

  say(place) {
    if (!place) return void (this.note.textContent = "Click a cell to choose its token; Ctrl and the wheel zoom.");
    const { mapped } = this.scrubber, { layers } = this.response, { step, row } = place;
    const where = this.rows.value === "" ? `layer ${layers[row]}` : `layer ${this.rows.value}, head ${row}`;
    this.note.textContent = `token ${step}, ${where}: ${format(this.shown[row][step], mapped.unit)}`;
  }

  choose(place) {
    if (!place) return;
    const followed = this.rows.value === "" ? {} : { layer: Number(this.rows.value), head: place.row };
    this.panel.choose({ step: place.step, ...followed });
  }
}

// Curves over the tokens of a response: a panel a measure, each with its own axis.

import { clamp, h, nameAxis, padded, places, s, ticks, write } from "./elements.js";

const CURVE = { left: 50, right: 10, top: 18, height: 100, gap: 32 }; // pixels

const swatch = (kind, name) => h("span", {}, h("span", { class: `swatch ${kind}` }), name);

export class Curves {
  constructor(panel) {
    this.panel = panel;
    this.key = h("div", { class: "key" });
    this.svg = s("svg", { class: "curve", role: "img" });
    this.cursor = h("div", { class: "cursor" });
    this.node = h("div", { class: "plot" }, this.svg, this.cursor);
  }

  /**
   * Axes and lines: once for a response, measures, a head and a width. Each row has a title, a unit and limits, `lines`
   * (kind, values, name) and, where they are known, `band` (low, middle, high, n_steps) and its name.
   */
  draw(rows, errors) {
    const { n } = this.panel.response, width = Math.max(220, this.panel.node.clientWidth);
    this.right = width - CURVE.right;
    this.height = CURVE.top + rows.length * (CURVE.height + CURVE.gap);
    const parts = rows.flatMap((row, place) => this.row(row, errors, CURVE.top + place * (CURVE.height + CURVE.gap)));
    const bottom = this.height - CURVE.gap;
    for (const step of places(n, width / 110)) parts.push(write(this.x(step), bottom + 14, step));
    parts.push(nameAxis((CURVE.left + this.right) / 2, this.height - 3, "step (token)"));
    const keys = new Map(rows.flatMap(({ lines, band, bandName }) => [
      ...lines.filter(({ name }) => name).map(({ kind, name }) => [name, kind]),
      ...(band ? [[bandName, "band"]] : []),
    ]));
    if (errors.length) keys.set("error span", "error");
    this.key.replaceChildren(...Array.from(keys, ([name, kind]) => swatch(kind, name)));
    this.svg.replaceChildren(...parts);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
    this.svg.setAttribute("height", this.height);
    const titles = rows.map(({ title, unit }) => title + (unit ? ` in ${unit}` : ""));
    this.svg.setAttribute("aria-label", `curves over tokens: ${titles.join("; ")}`);
    Object.assign(this.cursor.style, { top: `${CURVE.top - 4}px`, height: `${bottom - CURVE.top + 4}px` });
    this.panel.node.classList.toggle("dense", n > width);
    this.go(this.panel.step);
  }

  row({ title, unit, limits, lines, band, zero }, errors, top) {
    const { n } = this.panel.response, bottom = top + CURVE.height, middle = top + CURVE.height / 2;
    const parts = errors.map(({ start, stop }) => s("rect", { class: "error", x: this.x(start - 0.5), y: top,
      width: this.x(stop) - this.x(start), height: CURVE.height }));
    parts.push(write(CURVE.left, top - 6, title + (unit ? ` (${unit})` : ""), { "text-anchor": "start", class: "row-title" }));
    parts.push(s("path", { class: "axis", d: `M${CURVE.left} ${top}V${bottom}H${this.right}` }));
    if (!limits) return parts;
    const [low, high] = padded(limits), y = (value) => bottom - (CURVE.height * (value - low)) / (high - low);
    for (const tick of ticks([low, high], 4)) {
      parts.push(s("path", { class: "grid", d: `M${CURVE.left} ${y(tick)}H${this.right}` }));
      parts.push(write(CURVE.left - 5, y(tick) + 4, tick, { "text-anchor": "end" }));
    }
    parts.push(nameAxis(11, middle, unit || "no unit", -90));
    if (zero) parts.push(s("path", { class: "zero", d: `M${CURVE.left} ${y(0)}H${this.right}` }));
    if (band) parts.push(...this.band(band, (value) => y(clamp(value, low, high)), n));
    for (const { kind, values } of lines)
      parts.push(s("path", { class: `line ${kind}`, d: path(values, (step) => this.x(step), y) }));
    return parts;
  }

  band({ low, middle, high, n_steps }, y, n) {
    const stop = Math.min(n, n_steps), inside = (values) => Array.from(values).slice(0, stop);
    const along = (values) => inside(values).map((value, step) => [step, value]).filter(([, value]) => Number.isFinite(value));
    const point = ([step, value]) => `${this.x(step).toFixed(1)} ${y(value).toFixed(1)}`;
    const around = [...along(low), ...along(high).reverse()].map(point).join("L");
    if (!around) return [];
    return [
      s("path", { class: "band", d: `M${around}Z` }),
      s("path", { class: "line median", d: path(inside(middle), (step) => this.x(step), y) }),
    ];
  }

  x(step) { return CURVE.left + ((this.right - CURVE.left) * (step + 0.5)) / Math.max(1, this.panel.response.n); }
  go(step) {
    this.cursor.hidden = step < 0;
    this.cursor.style.transform = `translateX(${this.x(step) - 0.5}px)`;
  }

  stepAt({ clientX }) {
    const { n } = this.panel.response, from = this.svg.getBoundingClientRect().left + CURVE.left;
    return n ? clamp(Math.floor((n * (clientX - from)) / (this.right - CURVE.left)), 0, n - 1) : null;
  }
}

function path(values, x, y) {
  const isKnown = (step) => Number.isFinite(values[step]);
  const point = (value, step) => `${isKnown(step - 1) ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`;
  const dot = (step) => (isKnown(step - 1) || isKnown(step + 1) ? "" : "h0.01"); // a value between missing ones
  return Array.from(values, (value, step) => (isKnown(step) ? point(value, step) + dot(step) : "")).join("");
}

// The Scrubber in the browser: anywidget's `render` where there is a model, `mountAll` for a static page.
// All data is text content or a number: nothing is ever parsed as HTML.

const LEVELS = 255, MISSING = 255, MASSES = ["sink", "prompt", "generated"];
const STATE = ["response", "compared", "step", "measure", "overlay", "layer", "head", "grade"];
const SVG = "http://www.w3.org/2000/svg";

// ---- elements

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// ---- numbers

const range = (start, stop) => Array.from({ length: stop - start }, (_, i) => start + i);
const withUnit = (text, unit) => (unit && text !== "missing" ? `${text} ${unit}` : text);

/** No more digits than the number is exact to; without `error`, three. */
function format(value, error = 0) {
  if (!Number.isFinite(value)) return "missing";
  if (error > 0) return value.toFixed(Math.min(6, Math.max(0, Math.floor(-Math.log10(error)))));
  return value === 0 ? "0" : value.toPrecision(3).replace(/^(-?)0\.000.*/, () => value.toExponential(1));
}

const formatEnd = (limits, end) => format(limits[0] + (limits[1] - limits[0]) * end, (limits[1] - limits[0]) / 1000);

const counted = (n) => `${n} token${n === 1 ? "" : "s"}`;
const probability = (value) => (value < 0.001 ? "< 0.001" : value.toFixed(3));

function ends(...series) {
  let low = Infinity, high = -Infinity;
  for (const values of series) for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : null;
}

function ticks([low, high], n) {
  if (!(high > low)) return [low];
  const rough = (high - low) / n, power = 10 ** Math.floor(Math.log10(rough));
  const width = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const found = [];
  for (let place = Math.ceil(low / width); place * width <= high + width * 1e-9; place++) found.push(place * width);
  return found.map((tick) => Number(tick.toPrecision(12)));
}

// ---- data: a header in JSON, 4-byte numbers, 1-byte levels; attnent/scrubber/__init__.py packs them in this order

function unpack(view) {
  const { buffer, byteOffset } = view, size = view.getUint32(0, true), start = byteOffset + 4 + size;
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, byteOffset + 4, size)));
  const words = new Float32Array(buffer.slice(start, start + 4 * header.n_words));
  const levels = new Uint8Array(buffer, start + 4 * header.n_words);
  for (const one of header.responses) {
    let at = one.words;
    const take = (n) => words.subarray(at, (at += n));
    const n = one.tokens.length, nCells = one.layers.length * one.n_heads;
    one.n = n;
    one.means = Object.fromEntries(header.measures.map(({ name }) => [name, take(n)]));
    one.masses = MASSES.map(() => take(n));
    one.chosen = take(n);
    one.candidateIds = take(n * one.n_ranks);
    one.candidateProbabilities = take(n * one.n_ranks);
    one.maps = Object.fromEntries(header.measures.filter(({ map }) => map).map(({ name }, place) => [
      name,
      { low: take(nCells), high: take(nCells), code: levels.subarray(one.levels + place * n * nCells).subarray(0, n * nCells) },
    ]));
  }
  return header;
}

/** The value of a head at a step, NaN where missing; `cell` is layer index x heads + head. */
function valueAt(map, nCells, step, cell) {
  const code = map.code[step * nCells + cell];
  return code === MISSING ? NaN : map.low[cell] + (code * (map.high[cell] - map.low[cell])) / (LEVELS - 1);
}

const errorOf = (map, cell) => (map.high[cell] - map.low[cell]) / (2 * (LEVELS - 1));

// ---- colours

function palette(stops) {
  const css = [], ink = [];
  for (let place = 0; place < 256; place++) {
    const at = (place / 255) * (stops.length - 1), below = Math.min(Math.floor(at), stops.length - 2);
    const rgb = stops[below].map((part, i) => Math.round(part + (stops[below + 1][i] - part) * (at - below)));
    const [red, green, blue] = rgb.map((part) => part / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    css.push(`rgb(${rgb})`);
    ink.push(0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff");
  }
  const index = (value, limits) => Math.round(255 * Math.min(1, Math.max(0, (value - limits[0]) / (limits[1] - limits[0] || 1))));
  return { css, ink, index, gradient: `linear-gradient(90deg, ${css.filter((_, i) => i % 15 === 0)})` };
}

// ---- tokens as text: what cannot be seen gets a mark

const HIDDEN = /([\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff])/;

function mark(character) {
  const code = character.codePointAt(0), known = { "\n": "↵", "\t": "⇥", " ": "·" }[character];
  return known ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** `text` null is a further part of the character before. */
function writeToken(span, text) {
  if (!text) return span.append(h("i", {}, text === null ? "‥" : "empty"));
  const isBlank = text.trim() === "", isMarked = (piece) => isBlank || HIDDEN.test(piece);
  for (const piece of isBlank ? text : text.split(HIDDEN).filter(Boolean))
    span.append(isMarked(piece) ? h("i", {}, mark(piece)) : piece, piece === "\n" ? "\n" : "");
}

const spoken = (text) => [...text].map((one) => (HIDDEN.test(one) ? mark(one) : one)).join("");

// ---- one response: text, curve, map, masses, candidates

class Panel {
  constructor(scrubber) {
    this.scrubber = scrubber;
    this.title = h("div", { class: "title" });
    this.prompt = h("details", { class: "asked" });
    this.legend = h("div", { class: "legend" });
    this.text = h("div", { class: "text", dir: "auto", role: "group", "aria-label": "response, coloured by token" });
    this.errors = h("div", { class: "errors" });
    this.curve = new Curve(this);
    this.reading = h("div", { class: "reading" });
    this.map = new HeadMap(this);
    this.masses = new Masses();
    this.candidates = new Candidates(scrubber.data.texts);
    const beside = h("div", { class: "beside" }, this.reading, this.masses.node, this.candidates.node);
    this.node = h("section", { class: "panel" }, this.title, this.prompt, this.legend, this.text, this.errors,
      this.curve.key, this.curve.node, h("div", { class: "below" }, this.map.node, beside));
    this.scrub(this.text, (event) => { const at = event.target.closest("[data-step]"); return at && Number(at.dataset.step); });
    this.scrub(this.curve.svg, (event) => this.curve.stepAt(event));
  }

  /** Pointing previews a token, pressing and dragging chooses it. */
  scrub(node, stepOf) {
    node.addEventListener("pointermove", (event) => {
      const step = stepOf(event);
      if (event.buttons & 1 && step !== null) this.scrubber.set({ step });
      else this.scrubber.preview(step);
    });
    node.addEventListener("pointerdown", (event) => {
      const step = stepOf(event);
      if (event.button !== 0 || step === null) return;
      event.preventDefault();
      this.scrubber.set({ step });
      this.scrubber.slider.focus({ preventScroll: true });
    });
    node.addEventListener("pointerleave", () => this.scrubber.preview(null));
  }

  show(response) {
    this.response = response;
    this.step = -1;
    this.node.setAttribute("aria-label", `response ${response.id}`);
    const facts = `${counted(response.n)} · ${response.model}`;
    const cut = response.finish_reason === "length" ? " · cut at the length limit" : "";
    this.title.replaceChildren(h("b", {}, response.id), ...(response.grade ? [h("span", { class: "grade" }, response.grade)] : []),
      h("span", { class: "faint" }, facts + cut));
    this.prompt.replaceChildren(h("summary", {}, "Prompt: ", h("bdi", {}, response.prompt)), h("p", { dir: "auto" }, response.prompt));
    this.writeText();
    this.errors.replaceChildren(...response.errors.map((error) => this.errorLine(error)));
    this.candidates.reserve(response.n_ranks);
    this.map.show(response);
  }

  writeText() {
    const { tokens, groups, special, errors } = this.response;
    const firstOf = new Map(groups.flatMap(([start, stop]) => range(start, stop).map((step) => [step, start])));
    this.spans = tokens.map((token, step) => {
      const span = h("span", { "data-step": step, class: firstOf.has(step) ? "token part" : "token" });
      writeToken(span, firstOf.has(step) && firstOf.get(step) !== step ? null : token);
      return span;
    });
    for (const step of special) this.spans[step].classList.add("special");
    for (const { start, stop } of errors) for (const step of range(start, stop)) this.spans[step].classList.add("wrong");
    const nodes = [];
    for (const [step, span] of this.spans.entries()) {
      if (!firstOf.has(step)) nodes.push(span);
      else if (firstOf.get(step) === step) nodes.push(h("span", { class: "character" }, span));
      else nodes.at(-1).append(span);
    }
    this.text.replaceChildren(...(nodes.length ? nodes : [h("span", { class: "faint" }, "This response has no tokens.")]));
    this.text.scrollTop = 0;
  }

  errorLine(error) {
    const place = error.stop - error.start > 1 ? `tokens ${error.start}–${error.stop - 1}` : `token ${error.start}`;
    const button = h("button", { type: "button" }, place);
    button.addEventListener("click", () => this.scrubber.set({ step: error.start }));
    return h("div", {}, h("b", {}, error.kind || "error"), " at ", button, error.explanation ? `: ${error.explanation}` : "",
      error.judge ? h("span", { class: "faint" }, ` (${error.judge})`) : "");
  }

  /** The chosen measure at each step: the followed head's where there is one, else the mean. */
  series() {
    const { about, followed } = this.scrubber, cell = followed && about.map ? this.cellOf(followed) : -1;
    const { n, means, maps, layers, n_heads } = this.response;
    if (cell < 0) return { values: means[about.name], cell };
    const values = new Float32Array(n);
    for (let step = 0; step < n; step++) values[step] = valueAt(maps[about.name], layers.length * n_heads, step, cell);
    return { values, cell };
  }

  cellOf({ layer, head }) {
    const row = this.response.layers.indexOf(layer);
    return row < 0 || head >= this.response.n_heads ? -1 : row * this.response.n_heads + head;
  }

  colour(limits, curveLimits, overlayLimits) {
    const { about, palette } = this.scrubber, { values } = this.shown;
    this.spans.forEach((span, step) => {
      const value = values[step], index = limits && Number.isFinite(value) ? palette.index(value, limits) : -1;
      span.style.backgroundColor = index < 0 ? "" : palette.css[index];
      span.style.color = index < 0 ? "" : palette.ink[index];
      span.classList.toggle("missing", index < 0);
    });
    const ramp = h("span", { class: "ramp", style: `background: ${palette.gradient}` });
    this.legend.replaceChildren(h("span", {}, this.name() + (about.unit ? ` (${about.unit})` : "")),
      h("span", { class: "scale" }, ...(limits ? [formatEnd(limits, 0), ramp, formatEnd(limits, 1)] : ["missing everywhere"])));
    this.curve.draw(curveLimits, overlayLimits);
    this.map.mark();
  }

  /** The chosen measure and the heads that it is shown of. */
  name() {
    const { title, of_tokens } = this.scrubber.about, { cell } = this.shown, { n_heads, layers } = this.response;
    if (of_tokens) return title;
    return `${title}, ${cell < 0 ? "mean of heads" : `layer ${layers[Math.floor(cell / n_heads)]}, head ${cell % n_heads}`}`;
  }

  go(step, isPreview) {
    step = Math.min(step, this.response.n - 1);
    this.spans[this.step]?.classList.remove("now");
    this.step = step;
    this.map.draw(step);
    this.masses.draw(this, step);
    this.candidates.draw(this.response, step);
    this.read(step);
    this.curve.go(step);
    this.spans[step]?.classList.add("now");
    if (step >= 0 && !isPreview) this.intoView(this.spans[step]);
  }

  intoView(span) {
    const { text } = this, above = span.offsetTop - 6, below = span.offsetTop + span.offsetHeight + 6 - text.clientHeight;
    if (text.scrollTop > above) text.scrollTop = above;
    else if (text.scrollTop < below) text.scrollTop = below;
  }

  value(step) {
    const { values, cell } = this.shown, { about } = this.scrubber;
    const error = cell < 0 ? 0 : errorOf(this.response.maps[about.name], cell);
    return withUnit(format(values[step], error), about.unit);
  }

  read(step) {
    const { about, overlay } = this.scrubber, { tokens, means } = this.response;
    if (step < 0) return this.reading.replaceChildren(h("span", { class: "faint" }, "no token"));
    const rows = [[this.name(), this.value(step)]];
    if (overlay) rows.push([overlay.title, withUnit(format(means[overlay.name][step]), overlay.unit)]);
    this.reading.replaceChildren(h("div", { class: "token-name" }, h("span", { class: "faint" }, `token ${step} `), "“", h("bdi", {}, spoken(tokens[step])), "”"),
      ...rows.map(([name, value]) => h("div", { class: "row" }, h("span", {}, name), h("b", {}, value))));
  }

  /** The token, for those who listen. */
  spokenToken() {
    const { n, tokens, id } = this.response;
    return this.step < 0 ? `response ${id} has no tokens` : `token ${this.step} of ${n}, “${spoken(tokens[this.step])}”`;
  }

  /** What the token is worth, and where it is part of an error. */
  spokenValue() {
    const { step, response } = this;
    if (step < 0) return "";
    const wrong = response.errors.filter(({ start, stop }) => start <= step && step < stop).map(({ kind }) => `, marked ${kind || "error"}`);
    return `${this.name()}: ${this.value(step)}${wrong.join("")}`;
  }
}

// ---- curves over the tokens of a response

class Curve {
  constructor(panel) {
    this.panel = panel;
    this.key = h("div", { class: "key" });
    this.svg = s("svg", { class: "curve", role: "img" });
    this.cursor = h("div", { class: "cursor" });
    this.node = h("div", { class: "plot" }, this.svg, this.cursor);
  }

  /** Axes and lines: once for a response, measures, a head and a width. */
  draw(limits, overlayLimits) {
    const { response, shown, scrubber: { about, overlay } } = this.panel, { n, means, errors } = response;
    const width = Math.max(220, this.panel.node.clientWidth), height = 150, top = 8, bottom = height - 34;
    const left = 46, right = width - (overlay ? 46 : 10);
    Object.assign(this, { left, right, keys: [], parts: [] });
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    for (const { start, stop } of errors)
      this.add("rect", { class: "error", x: this.x(start - 0.5), y: top, width: this.x(stop) - this.x(start), height: bottom - top });
    this.add("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}` });
    for (const tick of ticks([0, Math.max(0, n - 1)], Math.max(2, width / 110)).filter(Number.isInteger))
      this.write(this.x(tick), bottom + 14, tick, { "text-anchor": "middle" });
    this.write((left + right) / 2, height - 4, "step (token)", { class: "name", "text-anchor": "middle" });
    if (overlay && overlayLimits) {
      const y = this.axis(overlayLimits, overlay.unit, { top, bottom, at: right + 5, anchor: "start", middle: width - 4 });
      this.line(means[overlay.name], y, "second", `${overlay.title} (right axis)`);
    }
    if (limits) {
      const y = this.axis(limits, about.unit, { top, bottom, at: left - 5, anchor: "end", middle: 11, grid: `M${left} 0H${right}` });
      if (shown.cell >= 0) this.line(means[about.name], y, "mean", `${about.title}, mean of heads`);
      this.line(shown.values, y, "main", this.panel.name());
    }
    if (errors.length) this.keys.push(h("span", {}, h("span", { class: "swatch error" }), "error span"));
    this.key.replaceChildren(...this.keys);
    this.svg.replaceChildren(...this.parts);
    this.svg.setAttribute("aria-label", `curve over tokens: ${this.keys.map((one) => one.textContent).join("; ")}`);
    this.panel.node.classList.toggle("dense", n > width);
    Object.assign(this.cursor.style, { top: `${top}px`, height: `${bottom - top}px` });
    this.go(this.panel.step);
  }

  add(tag, attributes, ...children) { this.parts.push(s(tag, attributes, ...children)); }
  write(x, y, text, attributes) { this.add("text", { x, y, ...attributes }, String(text)); }
  x(step) { return this.left + ((this.right - this.left) * (step + 0.5)) / Math.max(1, this.panel.response.n); }

  axis([low, high], unit, { top, bottom, at, anchor, middle, grid }) {
    const y = (value) => bottom - ((bottom - top) * (value - low)) / (high - low), centre = (top + bottom) / 2;
    for (const tick of ticks([low, high], 4)) {
      if (grid) this.add("path", { class: "grid", d: grid, transform: `translate(0 ${y(tick)})` });
      this.write(at, y(tick) + 4, tick, { "text-anchor": anchor });
    }
    this.write(middle, centre, unit || "1", { class: "name", "text-anchor": "middle", transform: `rotate(-90 ${middle} ${centre})` });
    return y;
  }

  line(values, y, kind, name) {
    this.add("path", { class: `line ${kind}`, d: path(values, (step) => this.x(step), y) });
    this.keys.unshift(h("span", {}, h("span", { class: `swatch ${kind}` }), name));
  }

  go(step) {
    this.cursor.hidden = step < 0;
    this.cursor.style.transform = `translateX(${this.x(step) - 0.5}px)`;
  }

  stepAt(event) {
    const { n } = this.panel.response, share = (event.clientX - this.svg.getBoundingClientRect().left - this.left) / (this.right - this.left);
    return n ? Math.min(n - 1, Math.max(0, Math.floor(share * n))) : null;
  }
}

function path(values, x, y) {
  let drawn = "", isOn = false;
  for (let step = 0; step < values.length; step++) {
    const known = Number.isFinite(values[step]);
    if (known) {
      drawn += `${isOn ? "L" : "M"}${x(step).toFixed(1)} ${y(values[step]).toFixed(1)}`;
      if (!isOn && !Number.isFinite(values[step + 1])) drawn += "h0.01"; // a value between missing ones is a dot
    }
    isOn = known;
  }
  return drawn;
}

// ---- layer x head map of one token

class HeadMap {
  constructor(panel) {
    this.panel = panel;
    this.title = h("div", { class: "map-title" });
    this.canvas = h("canvas", { tabindex: 0, role: "application", "aria-roledescription": "map of heads" });
    this.axes = s("svg", { "aria-hidden": "true" });
    this.square = s("rect", { class: "followed" });
    this.pointer = s("rect", { class: "pointed" });
    this.note = h("span");
    this.mean = h("button", { type: "button" }, "mean of heads");
    this.mean.addEventListener("click", () => panel.scrubber.set({ layer: -1, head: -1 }));
    this.stage = h("div", { class: "stage" }, this.canvas, this.axes);
    this.node = h("div", { class: "map" }, this.title, this.stage, h("div", { class: "note" }, this.note, this.mean));
    this.canvas.addEventListener("pointermove", (event) => this.point(this.cellAt(event)));
    this.canvas.addEventListener("pointerleave", () => this.point(-1));
    this.canvas.addEventListener("blur", () => this.point(-1));
    this.canvas.addEventListener("click", (event) => this.follow(this.cellAt(event)));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  show(response) {
    this.response = response;
    this.pointed = -1;
  }

  /** Sizes and axes: once for a response, a measure and a width. */
  layout() {
    const { layers, n_heads } = this.response, { palette, mapped } = this.panel.scrubber;
    const room = Math.max(160, this.node.clientWidth) - 118;
    const size = (this.size = Math.max(2, Math.min(30, Math.floor(room / n_heads), Math.floor(380 / layers.length))));
    const left = 44, top = 6, width = size * n_heads, height = size * layers.length, right = left + width, bottom = top + height;
    this.place = { left, top };
    const ratio = (this.ratio = window.devicePixelRatio || 1);
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    Object.assign(this.canvas.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    const parts = [];
    const label = (x, y, text, anchor, kind = "") => parts.push(s("text", { x, y, "text-anchor": anchor, class: kind }, text));
    for (let head = 0, each = every(n_heads, 22 / size); head < n_heads; head += each) label(left + (head + 0.5) * size, bottom + 14, String(head), "middle");
    for (let row = 0, each = every(layers.length, 14 / size); row < layers.length; row += each) label(left - 5, bottom - (row + 0.5) * size + 4, String(layers[row]), "end");
    label((left + right) / 2, bottom + 29, "head", "middle", "name");
    parts.push(s("text", { x: 11, y: (top + bottom) / 2, "text-anchor": "middle", class: "name", transform: `rotate(-90 11 ${(top + bottom) / 2})` }, "layer"));
    const limits = mapped.map_limits, barHeight = Math.max(60, height), slices = 64;
    if (limits) {
      for (let slice = 0; slice < slices; slice++) parts.push(s("rect", { x: right + 14, y: top + (barHeight * slice) / slices, width: 11, height: barHeight / slices + 0.5, fill: palette.css[255 - Math.round((255 * (slice + 0.5)) / slices)] }));
      label(right + 30, top + 9, `≥ ${formatEnd(limits, 1)}`, "start");
      label(right + 30, top + barHeight / 2 + 4, formatEnd(limits, 0.5), "start");
      label(right + 30, top + barHeight, `≤ ${formatEnd(limits, 0)}`, "start");
    }
    fill(this.axes, { width: right + 84, height: top + Math.max(barHeight, height) + 34 }, []);
    this.axes.replaceChildren(...parts, this.square, this.pointer);
    this.title.textContent = `${mapped.title}${mapped.unit ? ` (${mapped.unit})` : ""} of each head`;
    this.hatch = hatch(this.canvas.getContext("2d"));
  }

  draw(step) {
    const { layers, n_heads } = this.response, { palette, mapped } = this.panel.scrubber, nCells = layers.length * n_heads;
    const map = this.response.maps[mapped.name], context = this.canvas.getContext("2d"), side = this.size * this.ratio;
    const gap = this.size > 8 ? this.ratio : 0, limits = mapped.map_limits;
    this.step = step;
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (let cell = 0; step >= 0 && cell < nCells; cell++) {
      const value = valueAt(map, nCells, step, cell), row = Math.floor(cell / n_heads);
      context.fillStyle = Number.isNaN(value) || !limits ? this.hatch : palette.css[palette.index(value, limits)];
      context.fillRect((cell % n_heads) * side, (layers.length - 1 - row) * side, side - gap, side - gap);
    }
    this.say();
  }

  mark() {
    const { followed } = this.panel.scrubber, cell = followed ? this.panel.cellOf(followed) : -1;
    this.followed = cell;
    this.frame(this.square, cell);
    this.mean.hidden = cell < 0;
    this.say();
  }

  point(cell) {
    this.pointed = cell;
    this.frame(this.pointer, cell);
    this.say();
  }

  frame(rect, cell) {
    rect.style.display = cell < 0 ? "none" : "";
    if (cell < 0) return;
    const { left, top } = this.place, { n_heads, layers } = this.response, row = layers.length - 1 - Math.floor(cell / n_heads);
    fill(rect, { x: left + (cell % n_heads) * this.size - 1, y: top + row * this.size - 1, width: this.size + 1, height: this.size + 1 }, []);
  }

  say() {
    const { layers, kinds, n_heads } = this.response, { mapped } = this.panel.scrubber, map = this.response.maps[mapped.name];
    const cell = this.pointed >= 0 ? this.pointed : this.followed ?? -1;
    this.canvas.setAttribute("aria-label", `${this.title.textContent}, ${layers.length} layers by ${n_heads} heads. Arrow keys move, Enter follows a head, Escape shows the mean.`);
    if (cell < 0 || this.step < 0) return void (this.note.textContent = this.step < 0 ? "" : "Click a cell to follow its head.");
    const row = Math.floor(cell / n_heads), kind = kinds[row] === "self" ? "" : ` (${kinds[row]})`;
    const value = format(valueAt(map, layers.length * n_heads, this.step, cell), errorOf(map, cell));
    const verb = cell === this.followed && this.pointed < 0 ? "Following layer" : "layer";
    this.note.textContent = `${verb} ${layers[row]}${kind}, head ${cell % n_heads}: ${withUnit(value, mapped.unit)}`;
  }

  cellAt({ offsetX, offsetY }) {
    const { layers, n_heads } = this.response;
    const head = Math.floor(offsetX / this.size), row = layers.length - 1 - Math.floor(offsetY / this.size);
    return head < 0 || head >= n_heads || row < 0 || row >= layers.length ? -1 : row * n_heads + head;
  }

  follow(cell) {
    if (cell < 0) return;
    const { layers, n_heads } = this.response, isSame = cell === this.followed;
    const { scrubber } = this.panel, place = isSame ? { layer: -1, head: -1 } : { layer: layers[Math.floor(cell / n_heads)], head: cell % n_heads };
    scrubber.set({ ...place, measure: scrubber.mapped.name });
  }

  key(event) {
    const { n_heads, layers } = this.response, move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: n_heads, ArrowDown: -n_heads }[event.key];
    const from = this.pointed >= 0 ? this.pointed : Math.max(0, this.followed ?? 0);
    if (move) this.point(Math.min(layers.length * n_heads - 1, Math.max(0, this.pointed < 0 ? from : from + move)));
    else if (event.key === "Enter" || event.key === " ") this.follow(from);
    else if (event.key === "Escape") this.panel.scrubber.set({ layer: -1, head: -1 });
    else return;
    event.preventDefault();
    this.panel.scrubber.live.textContent = this.note.textContent;
  }
}

const every = (n, wanted) => [1, 2, 4, 5, 8, 10, 16, 20, 32].find((one) => one >= wanted) ?? n;

function hatch(context) {
  const tile = h("canvas", { width: 6, height: 6 }), pen = tile.getContext("2d");
  pen.strokeStyle = "#8a8a8a";
  pen.stroke(new Path2D("M-1 7L7 -1M-1 1L1 -1M5 7L7 5"));
  return context.createPattern(tile, "repeat");
}

// ---- masses and candidates of one token

class Masses {
  constructor() {
    this.name = h("div", { class: "heading" });
    this.bars = MASSES.map((name) => h("span", { class: `on-${name}` }));
    this.labels = MASSES.map((name) => h("span", { class: `mass on-${name}` }));
    this.bar = h("div", { class: "masses", role: "img" }, ...this.bars);
    this.node = h("div", {}, this.name, this.bar, h("div", { class: "mass-labels" }, ...this.labels));
  }

  draw({ response, scrubber, cellOf, shown, map }, step) {
    const { sink_mass: sink, prompt_mass: prompt } = response.maps, nCells = response.layers.length * response.n_heads;
    const cell = map.followed ?? -1, ofHead = cell >= 0 && sink && prompt;
    let parts = response.masses.map((values) => (step < 0 ? NaN : values[step])), error = 0.0005;
    if (ofHead && step >= 0) {
      const onSink = valueAt(sink, nCells, step, cell), onPrompt = valueAt(prompt, nCells, step, cell);
      parts = [onSink, Math.max(0, onPrompt - onSink), 1 - Math.max(onSink, onPrompt)];
      error = Math.max(0.0005, errorOf(sink, cell) + errorOf(prompt, cell));
    }
    this.name.textContent = `attention falls on, ${ofHead ? "followed head" : "mean of heads"}`;
    parts.forEach((part, place) => {
      this.bars[place].style.width = `${100 * (part || 0)}%`;
      this.labels[place].textContent = `${["sink", "rest of prompt", "generated"][place]} ${format(part, error)}`;
    });
    this.bar.setAttribute("aria-label", this.labels.map((one) => one.textContent).join(", "));
  }
}

class Candidates {
  constructor(texts) {
    this.texts = texts;
    this.list = h("ol", { class: "candidates" });
    this.node = h("div", {}, h("div", { class: "heading" }, "likeliest tokens"), this.list);
  }

  /** A row a rank, and one for a chosen token that is not among them. */
  reserve(nRanks) {
    this.rows = Array.from({ length: nRanks + 1 }, () => {
      const bar = h("span", { class: "bar" }), text = h("bdi"), share = h("span", { class: "share" });
      return { node: h("li", {}, bar, text, share), bar, text, share };
    });
    this.list.replaceChildren(...this.rows.map(({ node }) => node));
  }

  draw({ tokens, n_ranks, candidateIds, candidateProbabilities, means, chosen }, step) {
    const rows = [];
    for (let rank = 0; step >= 0 && rank < n_ranks; rank++) {
      const id = candidateIds[step * n_ranks + rank], share = candidateProbabilities[step * n_ranks + rank];
      if (Number.isFinite(share)) rows.push({ id, share, text: this.texts[id], isChosen: id === chosen[step] });
    }
    if (step >= 0 && !rows.some(({ isChosen }) => isChosen)) rows.push({ text: tokens[step], share: Math.exp(means.logprob[step]), isChosen: true });
    this.rows.forEach(({ node, bar, text, share }, place) => {
      const row = rows[place];
      node.hidden = !row;
      if (!row) return;
      node.className = row.isChosen ? "chosen" : "";
      bar.style.width = `${100 * (row.share || 0)}%`;
      text.textContent = row.text === undefined ? `token id ${row.id}` : spoken(row.text);
      text.className = row.text === undefined ? "" : "quoted";
      share.textContent = `${row.isChosen ? "chosen " : ""}${Number.isFinite(row.share) ? probability(row.share) : "missing"}`;
    });
  }
}

// ---- controls and state

class Scrubber {
  constructor(model, el) {
    this.model = model;
    this.data = unpack(model.get("data"));
    this.byId = new Map(this.data.responses.map((one) => [one.id, one]));
    this.measures = new Map(this.data.measures.map((one) => [one.name, one]));
    this.palette = palette(this.data.colours);
    this.pointed = null;
    this.panels = [new Panel(this)];
    this.slider = h("input", { type: "range", min: 0, "aria-label": "token" });
    this.count = h("output");
    this.live = h("div", { class: "heard", "aria-live": "polite" });
    this.controls = this.makeControls();
    this.row = h("div", { class: "panels" });
    const bar = h("div", { class: "controls" }, ...Object.values(this.controls).map(({ parentNode }) => parentNode));
    this.root = h("div", { class: "attnent", role: "group", "aria-label": "Scrubber" }, bar,
      h("div", { class: "transport" }, this.slider, this.count), this.row, this.live);
    el.replaceChildren(this.root);
    this.slider.addEventListener("input", () => this.set({ step: Number(this.slider.value) }));
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.listener = () => this.isSetting || this.draw();
    for (const name of STATE) model.on(`change:${name}`, this.listener);
    this.watcher = new ResizeObserver(() => requestAnimationFrame(() => this.resize()));
    this.watcher.observe(this.root);
    this.draw();
  }

  makeControls() {
    const control = (name, label) => {
      const select = h("select", { "aria-label": label });
      h("label", {}, h("span", {}, label), select);
      select.addEventListener("change", () => this.choose(name, select.value));
      return select;
    };
    const controls = { grade: control("grade", "grade"), response: control("response", "response"), compared: control("compared", "beside it"),
      measure: control("measure", "colour and curve"), overlay: control("overlay", "second curve") };
    const grades = new Map();
    for (const { grade } of this.data.responses) if (grade) grades.set(grade, (grades.get(grade) ?? 0) + 1);
    options(controls.grade, [["", `all (${this.data.responses.length})`], ...[...grades].map(([grade, n]) => [grade, `${grade} (${n})`])]);
    controls.grade.parentNode.hidden = !grades.size;
    controls.compared.parentNode.hidden = this.data.responses.length < 2;
    options(controls.measure, this.data.measures.map(({ name, title }) => [name, title]));
    options(controls.overlay, [["", "none"], ...this.data.measures.map(({ name, title }) => [name, title])]);
    return controls;
  }

  choose(name, value) {
    const changes = { [name]: value };
    if (name === "grade" && value && this.byId.get(this.model.get("response")).grade !== value)
      changes.response = this.data.responses.find(({ grade }) => grade === value).id;
    if (changes.response !== undefined) Object.assign(changes, { step: 0 }, this.keptHead(changes.response));
    this.set(changes);
  }

  keptHead(id) {
    const { layers, n_heads } = this.byId.get(id), layer = this.model.get("layer"), head = this.model.get("head");
    return layers.includes(layer) && head < n_heads ? {} : { layer: -1, head: -1 };
  }

  set(changes) {
    this.isSetting = true;
    for (const [name, value] of Object.entries(changes)) this.model.set(name, value);
    this.isSetting = false;
    this.pointed = null;
    this.draw();
    this.model.save_changes();
  }

  preview(step) {
    if (this.pointed === step) return;
    this.pointed = step;
    this.draw();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // in JupyterLab a plain key is a command: x cuts the cell
    if (event.target.matches("select, summary, button, canvas")) return;
    const { n } = this, step = this.model.get("step");
    const to = { ArrowLeft: step - 1, ArrowRight: step + 1, PageDown: step + 10, PageUp: step - 10, Home: 0, End: n - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.set({ step: Math.max(0, Math.min(n - 1, to)) });
  }

  /** Bring the picture in line with the state: only what has changed since the last time. */
  draw() {
    const state = Object.fromEntries(STATE.map((name) => [name, this.model.get(name)])), before = this.drawn ?? {};
    const changed = (...names) => names.some((name) => state[name] !== before[name]);
    this.drawn = state;
    this.about = this.measures.get(state.measure);
    this.overlay = state.overlay === state.measure ? null : this.measures.get(state.overlay);
    if (this.about.map || !this.mapped) this.mapped = this.about.map ? this.about : this.data.measures[0];
    this.followed = state.layer < 0 || state.head < 0 ? null : { layer: state.layer, head: state.head };
    const isNew = changed("response", "compared", "grade");
    if (isNew) this.showResponses(state);
    if (changed("measure", "overlay")) for (const name of ["measure", "overlay"]) this.controls[name].value = state[name];
    if (isNew || changed("measure", "overlay", "layer", "head")) this.colour();
    const step = Math.min(this.pointed ?? state.step, Math.max(0, this.n - 1));
    for (const panel of this.panels) panel.go(step, this.pointed !== null);
    this.slider.value = step;
    this.slider.setAttribute("aria-valuetext", this.panels.map((panel) => panel.spokenToken()).join("; "));
    this.count.textContent = this.n ? `token ${step} of 0–${this.n - 1}` : "no tokens";
    this.live.textContent = this.panels.map((panel) => panel.spokenValue()).join("; ");
  }

  showResponses(state) {
    const inGrade = this.data.responses.filter(({ id, grade }) => !state.grade || grade === state.grade || id === state.response);
    const label = ({ id, grade, n }) => [id, [id, grade, counted(n)].filter(Boolean).join(" · ")];
    options(this.controls.response, inGrade.map(label));
    options(this.controls.compared, [["", "none"], ...this.data.responses.map(label)]);
    for (const name of ["grade", "response", "compared"]) this.controls[name].value = state[name];
    const ids = [state.response, state.compared].filter((id, place) => place === 0 || id);
    while (this.panels.length < ids.length) this.panels.push(new Panel(this));
    this.panels.length = ids.length;
    this.row.replaceChildren(...this.panels.map(({ node }) => node));
    ids.forEach((id, place) => this.panels[place].show(this.byId.get(id)));
    this.n = Math.max(...this.panels.map(({ response }) => response.n));
    this.slider.max = Math.max(0, this.n - 1);
  }

  /** Colours and curves; two responses beside each other share every scale. */
  colour() {
    for (const panel of this.panels) panel.shown = panel.series();
    const shown = this.panels.map((panel) => panel.shown), isHead = shown.some(({ cell }) => cell >= 0);
    const series = shown.map(({ values }) => values), means = isHead ? this.panels.map(({ response }) => response.means[this.about.name]) : [];
    const limits = isHead ? ends(...series) : this.about.limits;
    const second = this.overlay && ends(...this.panels.map(({ response }) => response.means[this.overlay.name]));
    for (const panel of this.panels) {
      panel.map.layout();
      panel.colour(limits, padded(ends(...series, ...means)), padded(second));
      panel.map.draw(panel.step);
    }
  }

  resize() {
    const width = this.root.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    this.colour();
  }

  close() {
    this.watcher.disconnect();
    for (const name of STATE) this.model.off(`change:${name}`, this.listener);
  }
}

function padded(limits) {
  if (!limits) return null;
  const [low, high] = limits, margin = high > low ? 0.06 * (high - low) : Math.max(0.5, Math.abs(low) * 0.1);
  return [low - margin, high + margin];
}

const options = (select, pairs) => select.replaceChildren(...pairs.map(([value, text]) => h("option", { value }, text)));

function render({ model, el }) {
  const scrubber = new Scrubber(model, el);
  return () => scrubber.close();
}

export default { render };

// ---- the static page: a model without a kernel

class StaticModel {
  constructor(state) {
    this.state = state;
    this.listeners = {};
  }
  get(name) { return this.state[name]; }
  set(name, value) {
    if (this.state[name] === value) return;
    this.state[name] = value;
    for (const listener of this.listeners[name] ?? []) listener();
  }
  on(event, listener) { (this.listeners[event.replace("change:", "")] ??= []).push(listener); }
  off() { this.listeners = {}; }
  save_changes() {}
}

/** Bring every element that Python's `element` wrote to life. */
export function mountAll(root) {
  for (const place of root.querySelectorAll(".attnent-scrubber")) {
    const state = place.querySelector('script[type="application/json"]'), bytes = place.querySelector('script[type="text/plain"]');
    if (!state) continue;
    const text = atob(bytes.textContent), data = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) data[i] = text.charCodeAt(i);
    render({ model: new StaticModel({ ...JSON.parse(state.textContent), data: new DataView(data.buffer) }), el: place });
  }
}

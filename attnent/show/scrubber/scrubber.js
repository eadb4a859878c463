// The Scrubber in the browser: anywidget's `render` where there is a model, `mountAll` for a static page.
// All data is text content or a number: nothing is ever parsed as HTML.

const LEVELS = 255, MISSING = 255, MASSES = { sink: "sink", prompt: "rest of prompt", generated: "generated" };
const STATE = ["response", "compared", "step", "measure", "overlay", "layer", "head", "grade"];
const SVG = "http://www.w3.org/2000/svg";

// ---- elements

function fill(node, attributes, children = []) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const write = (x, y, text, attributes) => s("text", { x, y, "text-anchor": "middle", ...attributes }, String(text));
const nameAxis = (x, y, name, turn = 0) => write(x, y, name, { class: "name", transform: `rotate(${turn} ${x} ${y})` });
const faint = (text) => h("span", { class: "faint" }, text);
const button = (text, onclick) => Object.assign(h("button", { type: "button" }, text), { onclick });

// ---- numbers

const range = (start, stop) => Array.from({ length: stop - start }, (_, i) => start + i);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const counted = (n) => `${n} token${n === 1 ? "" : "s"}`;
const probability = (value) => (value < 0.001 ? "< 0.001" : value.toFixed(3));
const titled = ({ title, unit }) => title + (unit ? ` (${unit})` : "");

/** No more digits than the number is exact to; without `error`, three. */
function format(value, unit = "", error = 0) {
  if (!Number.isFinite(value)) return "missing";
  const short = () => (value === 0 ? "0" : value.toPrecision(3).replace(/^(-?)0\.000.*/, () => value.toExponential(1)));
  const text = error > 0 ? value.toFixed(clamp(Math.floor(-Math.log10(error)), 0, 6)) : short();
  return unit ? `${text} ${unit}` : text;
}

/** The smallest and the largest of what is known; null where nothing is. */
function ends(...series) {
  const known = series.flatMap((values) => Array.from(values)).filter(Number.isFinite);
  return known.length ? [Math.min, Math.max].map((end) => known.reduce((a, b) => end(a, b))) : null;
}

function padded([low, high]) {
  const margin = high > low ? 0.06 * (high - low) : Math.max(0.5, Math.abs(low) * 0.1);
  return [low - margin, high + margin];
}

function ticks([low, high], n) {
  if (!(high > low)) return [low];
  const rough = (high - low) / n, power = 10 ** Math.floor(Math.log10(rough));
  const width = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const found = [];
  for (let place = Math.ceil(low / width); place * width <= high + width * 1e-9; place++) found.push(place * width);
  return found.map((tick) => Number(tick.toPrecision(12)));
}

/** Those of n places that are named, about `wanted` of them. */
const places = (n, wanted) => ticks([0, n - 1], Math.max(1, wanted)).filter(Number.isInteger);

// ---- data: a header in JSON, 4-byte numbers, 1-byte levels, in the order of packing.py

function unpack(view) {
  const { buffer, byteOffset } = view, size = view.getUint32(0, true), start = byteOffset + 4 + size;
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, byteOffset + 4, size)));
  const words = new Float32Array(buffer.slice(start, start + 4 * header.n_words));
  const levels = new Uint8Array(buffer, start + 4 * header.n_words);
  const maps = header.measures.filter(({ map }) => map);
  for (const one of header.responses) {
    let at = one.words;
    const take = (n) => words.subarray(at, (at += n));
    const n = (one.n = one.tokens.length), nCells = (one.nCells = one.layers.length * one.n_heads);
    one.means = Object.fromEntries(header.measures.map(({ name }) => [name, take(n)]));
    one.masses = Object.keys(MASSES).map(() => take(n));
    one.chosen = take(n);
    one.candidateIds = take(n * one.n_ranks);
    one.candidateProbabilities = take(n * one.n_ranks);
    one.maps = Object.fromEntries(maps.map(({ name }, place) => {
      const from = one.levels + place * n * nCells;
      return [name, { low: take(nCells), high: take(nCells), code: levels.subarray(from, from + n * nCells) }];
    }));
  }
  return header;
}

/** The number of a head, NaN where missing; a cell is layer index x heads + head. */
function valueAt({ low, high, code }, step, cell) {
  const level = code[step * low.length + cell];
  return level === MISSING ? NaN : low[cell] + (level * (high[cell] - low[cell])) / (LEVELS - 1);
}

const errorOf = ({ low, high }, cell) => (high[cell] - low[cell]) / (2 * (LEVELS - 1));
const cellOf = ({ layers, n_heads }, { layer, head }) =>
  layers.includes(layer) && head >= 0 && head < n_heads ? layers.indexOf(layer) * n_heads + head : -1;
const placeOf = ({ layers, n_heads }, cell) =>
  cell < 0 ? { layer: -1, head: -1 } : { layer: layers[Math.floor(cell / n_heads)], head: cell % n_heads };

// ---- colours

const shade = (value, [low, high]) => Math.round(255 * clamp((value - low) / (high - low || 1), 0, 1));

/** What colours mean; `under` and `over` mark the ends where values lie beyond them. */
function scale(limits, { colours }, [under, over] = ["", ""]) {
  if (!limits) return ["missing everywhere"];
  const [low, high] = limits.map((end) => format(end, "", (limits[1] - limits[0]) / 1000));
  const gradient = `linear-gradient(90deg, ${colours.filter((_, place) => place % 15 === 0)})`;
  return [under + low, h("span", { class: "ramp", style: `background: ${gradient}` }), over + high];
}

// ---- tokens as text: what cannot be seen gets a mark

const HIDDEN = /([\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff])/;

function mark(character) {
  const code = character.codePointAt(0), known = { "\n": "↵", "\t": "⇥", " ": "·" }[character];
  return known ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

function pieces(text) {
  if (!text) return [h("i", {}, "empty")];
  const isBlank = text.trim() === "", parts = isBlank ? [...text] : text.split(HIDDEN).filter(Boolean);
  return parts.flatMap((one) => [isBlank || HIDDEN.test(one) ? h("i", {}, mark(one)) : one, one === "\n" ? "\n" : ""]);
}

const spoken = (text) => [...text].map((one) => (HIDDEN.test(one) ? mark(one) : one)).join("");

// ---- one response: text, curve, map, masses, candidates

class Panel {
  constructor(scrubber, response) {
    Object.assign(this, { scrubber, response, step: -1 });
    const { id, n, grade, model, finish_reason, prompt, errors } = response;
    const cut = finish_reason === "length" ? " · cut at the length limit" : "";
    const graded = grade ? [h("span", { class: "grade" }, grade)] : [];
    const title = h("div", { class: "title" }, h("b", {}, id), ...graded, faint(`${counted(n)} · ${model}${cut}`));
    const summary = h("summary", {}, "Prompt: ", h("bdi", {}, prompt));
    const asked = h("details", { class: "asked" }, summary, h("p", { dir: "auto" }, prompt));
    this.legend = h("div", { class: "legend" });
    this.text = h("div", { class: "text", dir: "auto", role: "group", "aria-label": "response, coloured by token" });
    this.writeText(response);
    this.curve = new Curve(this);
    this.map = new HeadMap(this);
    this.beside = h("div", { class: "beside" });
    this.node = h("section", { class: "panel", "aria-label": `response ${id}` }, title, asked, this.legend, this.text,
      h("div", { class: "errors" }, ...errors.map((error) => this.errorLine(error))), this.curve.key, this.curve.node,
      h("div", { class: "below" }, this.map.node, this.beside));
    this.scrub(this.text, ({ target }) => target.closest("[data-step]")?.dataset.step ?? null);
    this.scrub(this.curve.svg, (event) => this.curve.stepAt(event));
  }

  /** Pointing previews a token, pressing and dragging chooses it. */
  scrub(node, stepOf) {
    const on = (type, act) => node.addEventListener(type, (event) => {
      const found = stepOf(event);
      act(event, found === null ? null : Number(found));
    });
    on("pointermove", ({ buttons }, step) => {
      if (buttons & 1 && step !== null) this.scrubber.set({ step });
      else this.scrubber.preview(step);
    });
    on("pointerdown", (event, step) => {
      if (event.button !== 0 || step === null) return;
      event.preventDefault();
      this.scrubber.set({ step });
      this.scrubber.slider.focus({ preventScroll: true });
    });
    on("pointerleave", () => this.scrubber.preview(null));
  }

  writeText({ n, tokens, groups, special, errors }) {
    this.spans = tokens.map((token, step) => h("span", { "data-step": step, class: "token" }, ...pieces(token)));
    this.text.append(...(n ? this.spans : [faint("This response has no tokens.")]));
    for (const [start, stop] of groups) {
      const parts = this.spans.slice(start, stop), character = h("span", { class: "character" });
      parts[0].before(character);
      character.append(...parts);
      for (const part of parts) part.classList.add("part");
      for (const part of parts.slice(1)) part.replaceChildren(h("i", {}, "‥"));
    }
    for (const step of special) this.spans[step].classList.add("special");
    for (const { start, stop } of errors) for (const span of this.spans.slice(start, stop)) span.classList.add("wrong");
  }

  errorLine({ start, stop, kind, explanation, judge }) {
    const place = stop - start > 1 ? `tokens ${start}–${stop - 1}` : `token ${start}`;
    const show = button(place, () => this.scrubber.set({ step: start }));
    const said = [explanation ? `: ${explanation}` : "", judge ? faint(` (${judge})`) : ""];
    return h("div", {}, h("b", {}, kind || "error"), " at ", show, ...said);
  }

  /** The chosen measure at each step: the followed head's where there is one, else the mean. */
  choose() {
    const { about, followed } = this.scrubber, { n, means, maps } = this.response;
    this.cell = about.map ? cellOf(this.response, followed) : -1;
    const ofHead = () => Float32Array.from({ length: n }, (_, step) => valueAt(maps[about.name], step, this.cell));
    this.values = this.cell < 0 ? means[about.name] : ofHead();
    const { layer, head } = placeOf(this.response, this.cell);
    const heads = this.cell < 0 ? "mean of heads" : `layer ${layer}, head ${head}`;
    this.name = about.of_tokens ? about.title : `${about.title}, ${heads}`;
  }

  colour(limits, curveLimits, overlayLimits) {
    const { about, palette } = this.scrubber;
    this.spans.forEach((span, step) => {
      const value = this.values[step], isKnown = limits && Number.isFinite(value);
      span.style.backgroundColor = isKnown ? palette.colours[shade(value, limits)] : "";
      span.style.color = isKnown ? palette.inks[shade(value, limits)] : "";
      span.classList.toggle("missing", !isKnown);
    });
    const name = h("span", {}, titled({ title: this.name, unit: about.unit }));
    this.legend.replaceChildren(name, h("span", { class: "scale" }, ...scale(limits, palette)));
    this.curve.draw(curveLimits, overlayLimits);
  }

  go(step, isPreview) {
    step = Math.min(step, this.response.n - 1);
    this.spans[this.step]?.classList.remove("now");
    this.step = step;
    this.map.draw(step);
    this.curve.go(step);
    if (step < 0) return this.beside.replaceChildren(faint("no token"));
    const likeliest = candidates(this.response, step, this.scrubber.data.texts);
    this.beside.replaceChildren(this.reading(), masses(this), likeliest);
    this.spans[step].classList.add("now");
    if (!isPreview) this.intoView(this.spans[step]);
  }

  intoView(span) {
    const above = span.offsetTop - 6, below = span.offsetTop + span.offsetHeight + 6 - this.text.clientHeight;
    this.text.scrollTop = Math.max(below, Math.min(above, this.text.scrollTop));
  }

  value() {
    const { about } = this.scrubber, error = this.cell < 0 ? 0 : errorOf(this.response.maps[about.name], this.cell);
    return format(this.values[this.step], about.unit, error);
  }

  reading() {
    const { overlay } = this.scrubber, { tokens, means } = this.response, { step } = this;
    const row = (name, value) => h("div", { class: "row" }, h("span", {}, name), h("b", {}, value));
    const quoted = ["“", h("bdi", {}, spoken(tokens[step])), "”"];
    const name = h("div", { class: "token-name" }, faint(`token ${step} `), ...quoted);
    const second = overlay ? [row(overlay.title, format(means[overlay.name][step], overlay.unit))] : [];
    return h("div", { class: "reading" }, name, row(this.name, this.value()), ...second);
  }

  /** The token, for those who listen. */
  spokenToken() {
    const { step } = this, { n, tokens, id } = this.response;
    return step < 0 ? `response ${id} has no tokens` : `token ${step} of ${n}, “${spoken(tokens[step])}”`;
  }

  /** What the token is worth, and where it is part of an error. */
  spokenValue() {
    const { step } = this, wrong = this.response.errors.filter(({ start, stop }) => start <= step && step < stop);
    const marks = wrong.map(({ kind }) => `, marked ${kind || "error"}`).join("");
    return step < 0 ? "" : `${this.name}: ${this.value()}${marks}`;
  }
}

// ---- curves over the tokens of a response

const CURVE = { height: 150, top: 8, bottom: 116, left: 46 };

class Curve {
  constructor(panel) {
    this.panel = panel;
    this.key = h("div", { class: "key" });
    this.svg = s("svg", { class: "curve", role: "img", height: CURVE.height });
    this.cursor = h("div", { class: "cursor" });
    this.node = h("div", { class: "plot" }, this.svg, this.cursor);
  }

  /** Axes and lines: once for a response, measures, a head and a width. */
  draw(limits, overlayLimits) {
    const { response, values, cell, name, scrubber: { about, overlay } } = this.panel, { n, means, errors } = response;
    const width = Math.max(220, this.panel.node.clientWidth), { top, bottom, left } = CURVE;
    const right = (this.right = width - (overlay ? 46 : 10));
    const parts = errors.map(({ start, stop }) => s("rect", { class: "error", x: this.x(start - 0.5), y: top,
      width: this.x(stop) - this.x(start), height: bottom - top }));
    const keys = errors.length ? [swatch("error", "error span")] : [];
    const line = (series, y, kind, title) => {
      parts.push(s("path", { class: `line ${kind}`, d: path(series, (step) => this.x(step), y) }));
      keys.unshift(swatch(kind, title));
    };
    parts.push(s("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}` }));
    for (const step of places(n, width / 110)) parts.push(write(this.x(step), bottom + 14, step));
    parts.push(nameAxis((left + right) / 2, CURVE.height - 4, "step (token)"));
    if (overlay && overlayLimits) {
      const y = axis(parts, padded(overlayLimits), overlay.unit, { at: right + 5, anchor: "start", middle: width - 4 });
      line(means[overlay.name], y, "second", `${overlay.title} (right axis)`);
    }
    if (limits) {
      const grid = `M${left} 0H${right}`, place = { at: left - 5, anchor: "end", middle: 11, grid };
      const y = axis(parts, padded(limits), about.unit, place);
      if (cell >= 0) line(means[about.name], y, "mean", `${about.title}, mean of heads`);
      line(values, y, "main", name);
    }
    this.key.replaceChildren(...keys);
    this.svg.replaceChildren(...parts);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${CURVE.height}`);
    this.svg.setAttribute("aria-label", `curve over tokens: ${keys.map((one) => one.textContent).join("; ")}`);
    this.panel.node.classList.toggle("dense", n > width);
    this.go(this.panel.step);
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

const swatch = (kind, name) => h("span", {}, h("span", { class: `swatch ${kind}` }), name);

/** Draws the ticks and the name of an upright axis; gives the height of a value. */
function axis(parts, [low, high], unit, { at, anchor, middle, grid }) {
  const { top, bottom } = CURVE, y = (value) => bottom - ((bottom - top) * (value - low)) / (high - low);
  for (const tick of ticks([low, high], 4)) {
    if (grid) parts.push(s("path", { class: "grid", d: grid, transform: `translate(0 ${y(tick)})` }));
    parts.push(write(at, y(tick) + 4, tick, { "text-anchor": anchor }));
  }
  parts.push(nameAxis(middle, (top + bottom) / 2, unit || "1", -90));
  return y;
}

function path(values, x, y) {
  const isKnown = (step) => Number.isFinite(values[step]);
  const point = (value, step) => `${isKnown(step - 1) ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`;
  const dot = (step) => (isKnown(step - 1) || isKnown(step + 1) ? "" : "h0.01"); // a value between missing ones
  return Array.from(values, (value, step) => (isKnown(step) ? point(value, step) + dot(step) : "")).join("");
}

// ---- layer x head map of one token

const MAP = { left: 44, top: 6 };

class HeadMap {
  constructor(panel) {
    Object.assign(this, { scrubber: panel.scrubber, response: panel.response, pointed: -1 });
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
    const { layers, n_heads } = this.response, { palette, mapped, followed } = this.scrubber;
    const room = Math.max(160, this.node.clientWidth) - MAP.left - 6;
    const size = (this.size = clamp(Math.floor(Math.min(room / n_heads, 380 / layers.length)), 2, 30));
    const width = size * n_heads, height = size * layers.length, ratio = (this.ratio = window.devicePixelRatio || 1);
    const bottom = MAP.top + height, middle = MAP.left + width / 2;
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    this.hatch = hatch(this.canvas.getContext("2d"));
    const heads = places(n_heads, width / 22).map((head) => write(MAP.left + (head + 0.5) * size, bottom + 14, head));
    const rows = places(layers.length, height / 14).map((row) =>
      write(MAP.left - 5, bottom - (row + 0.5) * size + 4, layers[row], { "text-anchor": "end" }));
    const names = [nameAxis(middle, bottom + 29, "head"), nameAxis(11, MAP.top + height / 2, "layer", -90)];
    fill(this.axes, { width: MAP.left + width + 2, height: bottom + 34 });
    this.axes.replaceChildren(...heads, ...rows, ...names, this.square, this.pointer);
    const name = `${titled(mapped)} of each head`, colours = scale(mapped.map_limits, palette, ["≤ ", "≥ "]);
    this.title.replaceChildren(h("span", {}, name), h("span", { class: "map-scale" }, ...colours));
    this.canvas.setAttribute("aria-label", `${name}, ${layers.length} layers by ${n_heads} heads. ` +
      "Arrow keys move, Enter follows a head, Escape shows the mean.");
    this.followed = cellOf(this.response, followed);
    this.frame(this.square, this.followed);
    this.mean.hidden = this.followed < 0;
  }

  draw(step) {
    const { layers, n_heads, nCells, maps } = this.response, { palette, mapped } = this.scrubber;
    const map = maps[mapped.name], context = this.canvas.getContext("2d"), side = this.size * this.ratio;
    const gap = this.size > 8 ? this.ratio : 0, limits = mapped.map_limits;
    this.step = step;
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (let cell = 0; step >= 0 && cell < nCells; cell++) {
      const value = valueAt(map, step, cell), row = Math.floor(cell / n_heads);
      context.fillStyle = Number.isNaN(value) || !limits ? this.hatch : palette.colours[shade(value, limits)];
      context.fillRect((cell % n_heads) * side, (layers.length - 1 - row) * side, side - gap, side - gap);
    }
    this.say();
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
    const { layers, kinds, maps } = this.response, { mapped } = this.scrubber, map = maps[mapped.name];
    const cell = this.pointed >= 0 ? this.pointed : this.followed, { layer, head } = placeOf(this.response, cell);
    if (this.step < 0) return void (this.note.textContent = "");
    if (cell < 0) return void (this.note.textContent = "Click a cell to follow its head.");
    const kind = kinds[layers.indexOf(layer)], ofKind = kind === "self" ? "" : ` (${kind})`;
    const value = format(valueAt(map, this.step, cell), mapped.unit, errorOf(map, cell));
    const verb = cell === this.followed && this.pointed < 0 ? "Following layer" : "layer";
    this.note.textContent = `${verb} ${layer}${ofKind}, head ${head}: ${value}`;
  }

  cellAt({ offsetX, offsetY }) {
    const { layers, n_heads } = this.response;
    const head = Math.floor(offsetX / this.size), row = layers.length - 1 - Math.floor(offsetY / this.size);
    return head < 0 || head >= n_heads || row < 0 || row >= layers.length ? -1 : row * n_heads + head;
  }

  follow(cell) { this.scrubber.set(placeOf(this.response, cell)); }

  /** Follow a head, or no longer the one that is followed. */
  press(cell) {
    if (cell < 0) return;
    const place = placeOf(this.response, cell === this.followed ? -1 : cell);
    this.scrubber.set({ ...place, measure: this.scrubber.mapped.name });
  }

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

function hatch(context) {
  const tile = h("canvas", { width: 6, height: 6 }), pen = tile.getContext("2d");
  pen.strokeStyle = "#8a8a8a";
  pen.stroke(new Path2D("M-1 7L7 -1M-1 1L1 -1M5 7L7 5"));
  return context.createPattern(tile, "repeat");
}

// ---- masses and candidates of one token

const titledBlock = (title, ...children) => h("div", {}, h("div", { class: "heading" }, title), ...children);
const barOf = (kind, share) => h("span", { class: kind, style: `width: ${100 * (share || 0)}%` });

/** Where attention falls: of the followed head where its numbers were sent, else the mean. */
function masses({ response, map, step }) {
  const { sink_mass: sink, prompt_mass: prompt } = response.maps, cell = map.followed;
  const isOfHead = cell >= 0 && sink && prompt;
  let shares = response.masses.map((values) => values[step]), error = 0.0005;
  if (isOfHead) {
    const onSink = valueAt(sink, step, cell), onPrompt = valueAt(prompt, step, cell);
    shares = [onSink, Math.max(0, onPrompt - onSink), 1 - Math.max(onSink, onPrompt)];
    error = Math.max(error, errorOf(sink, cell) + errorOf(prompt, cell));
  }
  const kinds = Object.keys(MASSES), texts = kinds.map((kind, i) => `${MASSES[kind]} ${format(shares[i], "", error)}`);
  const bars = kinds.map((kind, i) => barOf(`on-${kind}`, shares[i]));
  const labels = kinds.map((kind, i) => h("span", { class: `mass on-${kind}` }, texts[i]));
  return titledBlock(`attention falls on, ${isOfHead ? "followed head" : "mean of heads"}`,
    h("div", { class: "masses", role: "img", "aria-label": texts.join(", ") }, ...bars),
    h("div", { class: "mass-labels" }, ...labels));
}

/** The likeliest tokens, and the chosen one where it is not among them. */
function candidates({ tokens, n_ranks, candidateIds, candidateProbabilities, means, chosen }, step, texts) {
  const rows = range(step * n_ranks, (step + 1) * n_ranks)
    .map((rank) => ({ id: candidateIds[rank], share: candidateProbabilities[rank] }))
    .filter(({ share }) => Number.isFinite(share));
  if (!rows.some(({ id }) => id === chosen[step])) rows.push({ id: chosen[step], share: Math.exp(means.logprob[step]) });
  const items = rows.map(({ id, share }) => {
    const isChosen = id === chosen[step], text = texts[id] ?? (isChosen ? tokens[step] : null);
    const name = text === null ? h("bdi", {}, `token id ${id}`) : h("bdi", { class: "quoted" }, spoken(text));
    const said = `${isChosen ? "chosen " : ""}${Number.isFinite(share) ? probability(share) : "missing"}`;
    return h("li", { class: isChosen ? "chosen" : "" }, barOf("bar", share), name, h("span", { class: "share" }, said));
  });
  return titledBlock("likeliest tokens", h("ol", { class: "candidates" }, ...items));
}

// ---- controls and state

const LABELS = {
  grade: "grade", response: "response", compared: "beside it", measure: "colour and curve", overlay: "second curve",
};
const options = (select, pairs) => select.replaceChildren(...pairs.map(([value, text]) => h("option", { value }, text)));

class Scrubber {
  constructor(model, el) {
    this.model = model;
    this.data = unpack(model.get("data"));
    this.palette = this.data.palette;
    this.byId = new Map(this.data.responses.map((one) => [one.id, one]));
    this.measures = new Map(this.data.measures.map((one) => [one.name, one]));
    this.pointed = null;
    this.slider = h("input", { type: "range", min: 0, "aria-label": "token" });
    this.count = h("output");
    this.live = h("div", { class: "heard", "aria-live": "polite" });
    this.row = h("div", { class: "panels" });
    this.controls = this.makeControls();
    this.root = h("div", { class: "attnent", role: "group", "aria-label": "Scrubber" },
      h("div", { class: "controls" }, ...Object.values(this.controls).map(({ parentNode }) => parentNode)),
      h("div", { class: "transport" }, this.slider, this.count), this.row, this.live);
    el.replaceChildren(this.root);
    this.slider.oninput = () => this.set({ step: Number(this.slider.value) });
    this.root.onkeydown = (event) => this.key(event);
    this.listener = () => this.isSetting || this.draw();
    for (const name of STATE) model.on(`change:${name}`, this.listener);
    this.watcher = new ResizeObserver(() => requestAnimationFrame(() => this.resize()));
    this.watcher.observe(this.root);
    this.draw();
  }

  /** The controls by name; a label around each is what is shown. */
  makeControls() {
    const { responses, measures } = this.data, grades = new Map(), titles = measures.map(({ name, title }) => [name, title]);
    for (const { grade } of responses) if (grade) grades.set(grade, (grades.get(grade) ?? 0) + 1);
    const controls = Object.fromEntries(Object.entries(LABELS).map(([name, label]) => {
      const select = h("select", { "aria-label": label });
      select.onchange = () => this.choose(name, select.value);
      h("label", {}, h("span", {}, label), select);
      return [name, select];
    }));
    const ofGrades = Array.from(grades, ([grade, n]) => [grade, `${grade} (${n})`]);
    options(controls.grade, [["", `all (${responses.length})`], ...ofGrades]);
    options(controls.measure, titles);
    options(controls.overlay, [["", "none"], ...titles]);
    controls.grade.parentNode.hidden = !grades.size;
    controls.compared.parentNode.hidden = responses.length < 2;
    return controls;
  }

  choose(name, value) {
    const changes = { [name]: value };
    if (name === "grade" && value && this.byId.get(this.model.get("response")).grade !== value)
      changes.response = this.data.responses.find(({ grade }) => grade === value).id;
    const chosen = this.byId.get(changes.response);
    if (chosen) Object.assign(changes, { step: 0 }, placeOf(chosen, cellOf(chosen, this.followed)));
    this.set(changes);
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
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageDown: 10, PageUp: -10, Home: -this.n, End: this.n };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.set({ step: Math.max(0, Math.min(this.n - 1, this.model.get("step") + moves[event.key])) });
  }

  /** Bring the picture in line with the state: only what has changed since the last time. */
  draw() {
    const state = Object.fromEntries(STATE.map((name) => [name, this.model.get(name)])), before = this.drawn ?? {};
    const changed = (...names) => names.some((name) => state[name] !== before[name]);
    this.drawn = state;
    this.about = this.measures.get(state.measure);
    this.overlay = state.overlay === state.measure ? null : this.measures.get(state.overlay);
    if (this.about.map || !this.mapped) this.mapped = this.about.map ? this.about : this.data.measures[0];
    this.followed = { layer: state.layer, head: state.head };
    const isNew = changed("response", "compared", "grade");
    if (isNew) this.showResponses(state);
    for (const [name, select] of Object.entries(this.controls)) select.value = state[name];
    if (isNew || changed("measure", "overlay", "layer", "head")) this.colour();
    const step = Math.min(this.pointed ?? state.step, Math.max(0, this.n - 1));
    for (const panel of this.panels) panel.go(step, this.pointed !== null);
    this.slider.value = step;
    this.slider.setAttribute("aria-valuetext", this.panels.map((panel) => panel.spokenToken()).join("; "));
    this.count.textContent = this.n ? `token ${step} of 0–${this.n - 1}` : "no tokens";
    this.live.textContent = this.panels.map((panel) => panel.spokenValue()).join("; ");
  }

  showResponses(state) {
    const { responses } = this.data;
    const inGrade = responses.filter(({ id, grade }) => !state.grade || grade === state.grade || id === state.response);
    const label = ({ id, grade, n }) => [id, [id, grade, counted(n)].filter(Boolean).join(" · ")];
    options(this.controls.response, inGrade.map(label));
    options(this.controls.compared, [["", "none"], ...responses.map(label)]);
    const ids = [state.response, state.compared].filter((id, place) => place === 0 || id);
    this.panels = ids.map((id) => new Panel(this, this.byId.get(id)));
    this.row.replaceChildren(...this.panels.map(({ node }) => node));
    this.n = Math.max(...this.panels.map(({ response }) => response.n));
    this.slider.max = Math.max(0, this.n - 1);
  }

  /** Colours and curves; two responses beside each other share every scale. */
  colour() {
    const { panels, about, overlay } = this;
    for (const panel of panels) panel.choose();
    const means = ({ name }) => panels.map(({ response }) => response.means[name]);
    const values = panels.map((panel) => panel.values), isHead = panels.some(({ cell }) => cell >= 0);
    const limits = isHead ? ends(...values) : about.limits;
    const ofCurve = ends(...values, ...(isHead ? means(about) : [])), ofOverlay = overlay && ends(...means(overlay));
    for (const panel of panels) {
      panel.map.layout();
      panel.colour(limits, ofCurve, ofOverlay);
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

function render({ model, el }) {
  const scrubber = new Scrubber(model, el);
  return () => scrubber.close();
}

export default { render };

// ---- the static page: a model without a kernel, which nobody but its Scrubber changes

const staticModel = (state) => ({
  get: (name) => state[name],
  set: (name, value) => (state[name] = value),
  on() {},
  save_changes() {},
});

/** Bring every element that Python's `element` wrote to life. */
export function mountAll(root) {
  for (const place of root.querySelectorAll(".attnent-scrubber")) {
    const partOf = (type) => place.querySelector(`script[type="${type}"]`);
    const state = partOf("application/json"), bytes = partOf("text/plain");
    if (!state) continue;
    const text = atob(bytes.textContent), data = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) data[i] = text.charCodeAt(i);
    render({ model: staticModel({ ...JSON.parse(state.textContent), data: new DataView(data.buffer) }), el: place });
  }
}

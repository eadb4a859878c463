// What everything is built of: elements, numbers as text, ticks, colours. All data is text content or a number:
// nothing is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children = []) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const write = (x, y, text, attributes) =>
  s("text", { x, y, "text-anchor": "middle", ...attributes }, String(text));
export const nameAxis = (x, y, name, turn = 0) =>
  write(x, y, name, { class: "name", transform: `rotate(${turn} ${x} ${y})` });
export const faint = (text) => h("span", { class: "faint" }, text);
export const button = (text, onclick, about = {}) =>
  Object.assign(h("button", { type: "button", ...about }, text), { onclick });
export const titledBlock = (title, ...children) => h("div", {}, h("div", { class: "heading" }, title), ...children);
const listed = new WeakMap();

/** Fill a list of choices, which is left alone where it has them already: it may be 10,000 long. */
export function options(list, choices) {
  const known = JSON.stringify(choices);
  if (listed.get(list) === known) return;
  listed.set(list, known);
  list.replaceChildren(...choices.map(([value, text, title = ""]) => h("option", { value, title }, text)));
}

// ---- numbers

export const range = (start, stop) => Array.from({ length: stop - start }, (_, i) => start + i);
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
export const counted = (n, of = "token") => `${n} ${of}${n === 1 ? "" : "s"}`;
export const probability = (value) => (value < 0.001 ? "< 0.001" : value.toFixed(3));
export const titled = ({ title, unit }) => title + (unit ? ` (${unit})` : "");

/** No more digits than the number is exact to; without `error`, three. */
export function format(value, unit = "", error = 0) {
  if (!Number.isFinite(value)) return "missing";
  const short = () => (value === 0 ? "0" : value.toPrecision(3).replace(/^(-?)0\.000.*/, () => value.toExponential(1)));
  const text = error > 0 ? value.toFixed(clamp(Math.floor(-Math.log10(error)), 0, 6)) : short();
  const unsigned = text.replace(/^-(?=[0.]*$)/, ""); // nothing is -0.00
  return unit ? `${unsigned} ${unit}` : unsigned;
}

/** The smallest and the largest of what is known; null where nothing is. */
export function ends(...series) {
  let low = Infinity, high = -Infinity;
  for (const values of series)
    for (const value of values)
      if (Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return low <= high ? [low, high] : null;
}

export function padded([low, high]) {
  const margin = high > low ? 0.06 * (high - low) : Math.max(0.5, Math.abs(low) * 0.1);
  return [low - margin, high + margin];
}

export function ticks([low, high], n) {
  if (!(high > low)) return [low];
  const rough = (high - low) / n, power = 10 ** Math.floor(Math.log10(rough));
  const width = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const found = [];
  for (let place = Math.ceil(low / width); place * width <= high + width * 1e-9; place++) found.push(place * width);
  return found.map((tick) => Number(tick.toPrecision(12)));
}

/** Those of places `from` to `stop` that are named, about `wanted` of them. */
export const places = (stop, wanted, from = 0) => ticks([from, stop - 1], Math.max(1, wanted)).filter(Number.isInteger);

// ---- colours

export const shade = (value, [low, high], isReversed = false) => {
  const share = clamp((value - low) / (high - low || 1), 0, 1);
  return Math.round(255 * (isReversed ? 1 - share : share));
};

/** What colours mean; `under` and `over` mark the ends where values lie beyond them. */
export function scale(limits, colours, { isReversed = false, under = "", over = "" } = {}) {
  if (!limits) return ["missing everywhere"];
  const [low, high] = limits.map((end) => format(end, "", (limits[1] - limits[0]) / 1000));
  const shown = colours.filter((_, place) => place % 15 === 0);
  const gradient = `linear-gradient(90deg, ${isReversed ? shown.reverse() : shown})`;
  return [under + low, h("span", { class: "ramp", style: `background: ${gradient}` }), over + high];
}

export function hatch(context) {
  const tile = h("canvas", { width: 6, height: 6 }), pen = tile.getContext("2d");
  pen.strokeStyle = "#8a8a8a";
  pen.stroke(new Path2D("M-1 7L7 -1M-1 1L1 -1M5 7L7 5"));
  return context.createPattern(tile, "repeat");
}

// ---- tokens as text: what cannot be seen gets a mark

const JOINED = "[\\p{Lo}\\p{M}\\p{Emoji_Modifier}\\p{Extended_Pictographic}]"; // where U+200C and U+200D have their place
const HIDDEN = new RegExp("([\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]" +
  `|(?<!${JOINED})[\\u200c\\u200d]|[\\u200c\\u200d](?!${JOINED}))`, "u");

function mark(character) {
  const code = character.codePointAt(0), known = { "\n": "↵", "\t": "⇥", " ": "·" }[character];
  return known ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

export function pieces(text) {
  if (!text) return [h("i", {}, "empty")];
  const isBlank = text.trim() === "", parts = isBlank ? [...text] : text.split(HIDDEN).filter(Boolean);
  return parts.flatMap((one) => [isBlank || HIDDEN.test(one) ? h("i", {}, mark(one)) : one, one === "\n" ? "\n" : ""]);
}

export const spoken = (text) => text.split(HIDDEN).map((one) => (HIDDEN.test(one) ? mark(one) : one)).join("");
export const quoted = (text) => h("bdi", { class: "quoted" }, spoken(text));

// What was sent, in the order of packing.py: a header in JSON, 4-byte numbers, 1-byte levels. And what it says of a
// head: its values, and how they compare with those of other tokens and responses.

import { range } from "./elements.js";

const LEVELS = 255, MISSING = 255;
export const MASSES = { sink: "sink", prompt: "rest of prompt", generated: "generated" };
const FEWEST = 5, FEWEST_IN_CELL = 20; // responses at a step, tokens of a kind: fewer do not say what is usual

/** Measures whose value at a head follows from its entropy and its number of visible keys, and how errors carry over. */
const OF_ENTROPY = {
  normalized_entropy: { of: (entropy, keys) => (keys > 1 ? entropy / Math.log(keys) : NaN), slope: (_, keys) => 1 / Math.log(keys) },
  effective_keys: { of: (entropy) => Math.exp(entropy), slope: (entropy) => Math.exp(entropy) },
  kl_to_uniform: { of: (entropy, keys) => Math.log(keys) - entropy, slope: () => 1 },
};

const headerOf = ({ buffer, byteOffset }, size) =>
  JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, byteOffset + 4, size)));

export function unpack(view) {
  const { buffer, byteOffset } = view, size = view.getUint32(0, true), start = byteOffset + 4 + size;
  const header = headerOf(view, size);
  const words = new Float32Array(buffer.slice(start, start + 4 * header.n_words));
  const levels = new Uint8Array(buffer, start + 4 * header.n_words);
  const sent = header.measures.filter((one) => one.sent);
  const names = header.measures.map(({ name }) => name);
  for (const one of header.responses) {
    let at = one.words;
    const take = (n) => words.subarray(at, (at += n));
    const n = (one.n = one.tokens.length), nCells = (one.nCells = one.layers.length * one.n_heads);
    const bySeries = () => Object.fromEntries(names.map((name) => [name, take(n)]));
    one.means = bySeries();
    one.masses = Object.keys(MASSES).map(() => take(n));
    one.chosen = take(n);
    one.candidateIds = take(n * one.n_ranks);
    one.candidateProbabilities = take(n * one.n_ranks);
    one.nKeys = take(n * one.layers.length);
    one.maps = Object.fromEntries(sent.map(({ name }, place) => {
      const from = one.levels + place * n * nCells;
      return [name, { low: take(nCells), high: take(nCells), code: levels.subarray(from, from + n * nCells) }];
    }));
    if (one.looks) readLooks(one.looks, n, take);
    at = one.usual;
    one.percentiles = bySeries();
    one.cells = take(n);
    one.nLike = take(n);
  }
  for (const one of header.bands) {
    const part = (place) => words.subarray(one.words + place * one.n_steps, one.words + (place + 1) * one.n_steps);
    Object.assign(one, { low: part(0), middle: part(1), high: part(2), n: part(3) });
  }
  header.byId = new Map(header.responses.map((one) => [one.id, one]));
  return header;
}

/** Where the heads of one response look, as it was sent later. */
export function unpackLooks(view) {
  const size = view.getUint32(0, true), looks = headerOf(view, size);
  const words = new Float32Array(view.buffer.slice(view.byteOffset + 4 + size));
  let at = 0;
  readLooks(looks, looks.n, (n) => words.subarray(at, (at += n)));
  return looks;
}

function readLooks(looks, n, take) {
  const size = n * looks.layers.length * looks.heads.length * looks.n_places;
  Object.assign(looks, { keys: take(size), weights: take(size) });
}

/** The keys that a head looks at most in a step, the first first; null where that was not recorded. */
export function topKeys({ looks }, step, { layer, head }) {
  const row = looks?.layers.indexOf(layer) ?? -1, column = looks?.heads.indexOf(head) ?? -1;
  if (row < 0 || column < 0) return null;
  const from = ((step * looks.layers.length + row) * looks.heads.length + column) * looks.n_places;
  const found = range(from, from + looks.n_places).map((at) => ({ key: looks.keys[at], weight: looks.weights[at] }));
  return found.filter(({ weight }) => Number.isFinite(weight));
}

// ---- heads; a cell is layer index x heads + head

export const cellOf = ({ layers, n_heads }, { layer, head }) =>
  layers.includes(layer) && head >= 0 && head < n_heads ? layers.indexOf(layer) * n_heads + head : -1;
export const placeOf = ({ layers, n_heads }, cell) =>
  cell < 0 ? { layer: -1, head: -1 } : { layer: layers[Math.floor(cell / n_heads)], head: cell % n_heads };
export const sameShape = (a, b) =>
  a.model === b.model && a.n_heads === b.n_heads && String(a.layers) === String(b.layers);

const keysAt = ({ nKeys, layers, n_heads }, step, cell) => nKeys[step * layers.length + Math.floor(cell / n_heads)];

/** What gives the number of a head in a step, NaN where it is missing. */
export function readerOf(response, name) {
  const { low, high, code } = response.maps[name] ?? response.maps.entropy, { nCells } = response;
  const read = (step, cell) => {
    const level = code[step * nCells + cell];
    return level === MISSING ? NaN : low[cell] + (level * (high[cell] - low[cell])) / (LEVELS - 1);
  };
  if (response.maps[name]) return read;
  return (step, cell) => OF_ENTROPY[name].of(read(step, cell), keysAt(response, step, cell));
}

export const valueAt = (response, name, step, cell) => readerOf(response, name)(step, cell);

/** By how much that number may be off. */
export function errorAt(response, name, step, cell) {
  const { low, high } = response.maps[name] ?? response.maps.entropy, error = (high[cell] - low[cell]) / (2 * (LEVELS - 1));
  if (response.maps[name]) return error;
  const entropy = valueAt(response, "entropy", step, cell);
  return Math.abs(error * OF_ENTROPY[name].slope(entropy, keysAt(response, step, cell)));
}

/** A head at every step; a cell below 0 is the mean of all. */
export function seriesOf(response, name, cell) {
  if (cell < 0) return response.means[name];
  const read = readerOf(response, name);
  return Float32Array.from({ length: response.n }, (_, step) => read(step, cell));
}

// ---- what is usual

const alike = ({ responses }, response) => responses.filter((one) => sameShape(one, response));

/** The band of a response's group at each step, 10 to 90 %; of a head, among the responses sent. Null: too few. */
export function bandOf(data, response, name, cell) {
  const { model, grade } = response;
  if (cell < 0)
    return data.bands.find((one) => one.model === model && one.group === grade && one.measure === name) ?? null;
  const group = alike(data, response).filter((one) => one.grade === grade);
  const lengths = group.map(({ n }) => n).sort((a, b) => b - a), nSteps = lengths[FEWEST - 1] ?? 0;
  if (!nSteps) return null;
  const series = group.map((one) => seriesOf(one, name, cell));
  const columns = range(0, nSteps).map((step) =>
    Float32Array.from(series.filter((one) => one.length > step).map((one) => one[step]).filter(Number.isFinite)).sort());
  const quantile = (share) => Float32Array.from(columns, (one) => (one.length ? at(one, share * (one.length - 1)) : NaN));
  const [low, middle, high] = [0.1, 0.5, 0.9].map(quantile);
  return { low, middle, high, n: Float32Array.from(columns, (one) => one.length), n_steps: nSteps };
}

function at(sorted, place) {
  const below = Math.floor(place), share = place - below;
  return share ? sorted[below] * (1 - share) + sorted[below + 1] * share : sorted[below];
}

/** Of each token the share of like tokens that are lower, 0 to 100; of a head, among the responses sent. */
export function percentilesOf(data, response, name, cell) {
  if (cell < 0) return response.percentiles[name];
  const byCell = new Map(), own = seriesOf(response, name, cell);
  for (const one of alike(data, response))
    seriesOf(one, name, cell).forEach((value, step) => {
      const kind = one.cells[step];
      if (!Number.isFinite(value) || !(kind >= 0)) return;
      if (!byCell.has(kind)) byCell.set(kind, []);
      byCell.get(kind).push(value);
    });
  const sorted = new Map(Array.from(byCell, ([kind, values]) => [kind, Float32Array.from(values).sort()]));
  return Float32Array.from(own, (value, step) => {
    const like = sorted.get(response.cells[step]);
    if (!Number.isFinite(value) || !like || like.length < FEWEST_IN_CELL) return NaN;
    return (50 * (below(like, value, false) + below(like, value, true))) / like.length;
  });
}

/** How many of sorted values are below one, or not above it. */
function below(sorted, value, isEqualToo) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value || (isEqualToo && sorted[middle] === value)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The steps of a response from the most unusual on; those without a percentile are left out. */
export const byUnusual = (percentiles) =>
  range(0, percentiles.length)
    .filter((step) => Number.isFinite(percentiles[step]))
    .sort((a, b) => Math.abs(percentiles[b] - 50) - Math.abs(percentiles[a] - 50));

/** The head that differs most in a step from what it is in all steps of the responses sent, in its own deviations. */
export function mostUnusualHead(data, response, name, step) {
  const { n, sum, squares } = momentsOf(data, response, name);
  let best = -1, largest = 0;
  for (let cell = 0; cell < response.nCells; cell++) {
    const mean = sum[cell] / n[cell], deviation = Math.sqrt(Math.max(0, squares[cell] / n[cell] - mean * mean));
    const away = Math.abs(valueAt(response, name, step, cell) - mean) / deviation;
    if (deviation > 1e-9 && away > largest) [best, largest] = [cell, away];
  }
  return best;
}

function momentsOf(data, response, name) {
  const known = (response.moments ??= {});
  if (known[name]) return known[name];
  const [n, sum, squares] = range(0, 3).map(() => new Float64Array(response.nCells));
  const group = alike(data, response);
  for (const one of group) {
    const read = readerOf(one, name);
    for (let step = 0; step < one.n; step++)
      for (let cell = 0; cell < one.nCells; cell++) {
        const value = read(step, cell);
        if (!Number.isFinite(value)) continue;
        n[cell] += 1, sum[cell] += value, squares[cell] += value * value;
      }
  }
  for (const one of group) (one.moments ??= {})[name] = { n, sum, squares };
  return known[name];
}

/** Mean and largest value of a measure in a response, and where that is. */
export function summaryOf(response, name) {
  const known = (response.summaries ??= {});
  if (known[name]) return known[name];
  let n = 0, sum = 0, peak = NaN, place = -1;
  response.means[name].forEach((value, step) => {
    if (!Number.isFinite(value)) return;
    n += 1, sum += value;
    if (!(value <= peak)) [peak, place] = [value, step];
  });
  return (known[name] = { mean: n ? sum / n : NaN, peak, place });
}

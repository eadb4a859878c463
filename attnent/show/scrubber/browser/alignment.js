// Two responses beside each other: which token of one stands where a token of the other does, and how they differ.

import { range } from "./elements.js";
import { sameShape, valueAt } from "./data.js";

const LONGEST = 64_000_000; // pairs of words that are compared: two responses of 8,000

/** The words of a response, each with its text and the token of each of its characters; parts of a character are one. */
function wordsOf({ tokens, groups }) {
  const rest = new Set(groups.flatMap(([start, stop]) => Array.from({ length: stop - start - 1 }, (_, i) => start + 1 + i)));
  let text = "";
  const owner = [];
  tokens.forEach((token, step) => {
    if (rest.has(step)) return;
    text += token;
    for (let i = 0; i < token.length; i++) owner.push(step);
  });
  return Array.from(text.matchAll(/\s*\S+/gu), ({ 0: word, index }) => {
    const skipped = word.length - word.trimStart().length;
    return { text: word.trim(), owners: owner.slice(index + skipped, index + word.length) };
  });
}

/**
 * Pairs of places of a longest common subsequence; ends that are alike are paired beforehand, and they alone where what
 * is left between them is too long.
 */
function commonPlaces(a, b) {
  let first = 0, last = 0;
  while (first < a.length && first < b.length && a[first] === b[first]) first++;
  while (last < a.length - first && last < b.length - first && a.at(-1 - last) === b.at(-1 - last)) last++;
  let n = a.length - first - last, m = b.length - first - last;
  if (n * m > LONGEST) n = m = 0;
  const lengths = new Uint16Array((n + 1) * (m + 1));
  for (let i = n - 1; i >= 0; i--)
    for (let j = m - 1; j >= 0; j--)
      lengths[i * (m + 1) + j] = a[first + i] === b[first + j]
        ? lengths[(i + 1) * (m + 1) + j + 1] + 1
        : Math.max(lengths[(i + 1) * (m + 1) + j], lengths[i * (m + 1) + j + 1]);
  const pairs = Array.from({ length: first }, (_, i) => [i, i]);
  for (let i = 0, j = 0; i < n && j < m;) {
    if (a[first + i] === b[first + j]) pairs.push([first + i++, first + j++]);
    else if (lengths[(i + 1) * (m + 1) + j] >= lengths[i * (m + 1) + j + 1]) i++;
    else j++;
  }
  for (let i = last; i > 0; i--) pairs.push([a.length - i, b.length - i]);
  return pairs;
}

/** For each token of either the token of the other in the same place of the same word, -1 where the other lacks it. */
function aligned(a, b) {
  const [mine, theirs] = [a, b].map(wordsOf), [toB, toA] = [a, b].map(({ n }) => new Int32Array(n).fill(-1));
  const numbers = new Map(), number = ({ text }) => numbers.get(text) ?? (numbers.set(text, numbers.size), numbers.size - 1);
  for (const [i, j] of commonPlaces(mine.map(number), theirs.map(number)))
    mine[i].owners.forEach((step, place) => {
      const other = theirs[j].owners[place];
      if (toB[step] < 0) toB[step] = other;
      if (toA[other] < 0) toA[other] = step;
    });
  return [toB, toA];
}

/** For each token of `a` that of `b` in the same step. */
const inStep = (a, b) => Int32Array.from({ length: a.n }, (_, step) => (step < b.n ? step : -1));

export class Pair {
  constructor(a, b) {
    Object.assign(this, { a, b, isByText: a.prompt === b.prompt, limits: {} });
    [this.toB, this.toA] = this.isByText ? aligned(a, b) : [inStep(a, b), inStep(b, a)];
    this.nPaired = this.toB.filter((step) => step >= 0).length;
    this.hasMaps = sameShape(a, b);
  }

  /** The token of `b` beside a token of `a`: its own, or that of the last token before it that has one. */
  beside(step) {
    while (step >= 0 && this.toB[step] < 0) step--;
    return step < 0 ? 0 : this.toB[step];
  }

  /** Of values over the tokens of `a` and of `b`, what is larger in `a`; NaN where a token has no counterpart. */
  difference(ofA, ofB) {
    return Float32Array.from(ofA, (value, step) => (this.toB[step] < 0 ? NaN : value - ofB[this.toB[step]]));
  }

  /** A head in a token of `b`: what is larger in `a`. */
  valueAt(name, step, cell) {
    return this.toA[step] < 0 ? NaN : valueAt(this.a, name, this.toA[step], cell) - valueAt(this.b, name, step, cell);
  }

  /** Ends of a scale for differences of heads, alike on both sides of 0; one in a hundred may lie beyond. */
  limitsOf(name) {
    if (this.limits[name]) return this.limits[name];
    const { n, nCells } = this.b, every = Math.max(1, Math.floor((n * nCells) / 20_000));
    const known = range(0, Math.floor((n * nCells) / every))
      .map((place) => Math.abs(this.valueAt(name, Math.floor((place * every) / nCells), (place * every) % nCells)))
      .filter(Number.isFinite).sort((x, y) => x - y);
    const reach = known.length ? known[Math.floor(0.99 * (known.length - 1))] : 0;
    return (this.limits[name] = reach > 0 ? [-reach, reach] : null);
  }
}

// One response: its text, curves, maps, and what is known of the current token.

import {
  button, counted, ends, faint, format, h, pieces, probability, quoted, range, scale, shade, spoken, titled, titledBlock,
} from "./elements.js";
import { bandOf, byUnusual, cellOf, errorAt, MASSES, mostUnusualHead, percentilesOf, placeOf, seriesOf, valueAt } from "./data.js";
import { Curves } from "./curves.js";
import { HeadMap } from "./head_map.js";
import { Looks } from "./looks.js";
import { Whole } from "./whole.js";

export class Panel {
  constructor(scrubber, response) {
    Object.assign(this, { scrubber, response, step: -1, pair: null, difference: null, rankShown: -1 });
    const { id, n, grade, model, finish_reason, errors } = response;
    const cut = finish_reason === "length" ? " · cut at the length limit" : "";
    const graded = grade ? [h("span", { class: "grade" }, grade)] : [];
    this.title = h("div", { class: "title" }, h("b", {}, id), ...graded, faint(`${counted(n)} · ${model}${cut}`));
    this.looks = new Looks(this);
    this.asked = h("details", { class: "asked" });
    this.writePrompt();
    this.legend = h("div", { class: "legend" });
    this.text = h("div", { class: "text", dir: "auto", role: "group", "aria-label": "response, coloured by token" });
    this.writeText(response);
    this.curves = new Curves(this);
    this.map = new HeadMap(this);
    this.whole = new Whole(this);
    this.beside = h("div", { class: "beside" });
    this.pairing = h("div", { class: "pairing" });
    this.node = h("section", { class: "panel", "aria-label": `response ${id}` }, this.title, this.pairing, this.asked,
      this.legend, this.text, h("div", { class: "errors" }, ...errors.map((error) => this.errorLine(error))),
      this.curves.key, this.curves.node, h("div", { class: "below" }, this.map.node, this.beside), this.whole.node);
    this.scrub();
  }

  /** Where the current token, or a head, is chosen: the first of two panels leads. */
  choose({ step, ...others }) {
    const isLed = this.pair && this !== this.scrubber.panels[0], { toA } = this.pair ?? {};
    const leading = isLed ? (toA[step] < 0 ? this.scrubber.model.get("step") : toA[step]) : step;
    this.scrubber.set({ step: leading, ...others });
  }

  /** Pointing previews a token and a click chooses it; along a curve, dragging does. Text can be selected. */
  scrub() {
    const stepIn = ({ target }) => target.closest("[data-step]")?.dataset.step ?? null;
    const preview = (step) => this.scrubber.preview(step === null ? null : this.leading(Number(step)));
    this.text.onpointermove = (event) => preview(stepIn(event));
    this.text.onpointerleave = this.curves.svg.onpointerleave = () => preview(null);
    this.text.onclick = (event) => {
      const step = stepIn(event);
      if (step === null || !getSelection().isCollapsed) return;
      this.choose({ step: Number(step) });
      this.scrubber.slider.focus({ preventScroll: true });
    };
    const along = (event) => this.curves.stepAt(event);
    this.curves.svg.onpointermove = (event) => {
      const step = along(event);
      if (event.buttons & 1 && step !== null) this.choose({ step });
      else preview(step);
    };
    this.curves.svg.onpointerdown = (event) => {
      const step = along(event);
      if (event.button !== 0 || step === null) return;
      event.preventDefault();
      this.choose({ step });
      this.scrubber.slider.focus({ preventScroll: true });
    };
  }

  leading(step) { return this.pair && this !== this.scrubber.panels[0] ? this.pair.toA[step] : step; }

  writePrompt() {
    const { prompt } = this.response, inTokens = this.looks.writePrompt(pieces);
    const summary = h("summary", {}, "Prompt: ", h("bdi", {}, prompt));
    this.asked.replaceChildren(summary, h("p", { dir: "auto" }, ...(inTokens ?? [prompt])));
    this.asked.open ||= inTokens !== null && inTokens !== undefined;
  }

  /** Where heads look, which was not known before. */
  learn(looks) {
    this.response.looks = looks;
    this.writePrompt();
    this.go(this.step, true);
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
    const show = button(place, () => this.choose({ step: start }));
    const said = [explanation ? `: ${explanation}` : "", judge ? faint(` (${judge})`) : ""];
    return h("div", {}, h("b", {}, kind || "error"), " at ", show, ...said);
  }

  /** The chosen measure at each step: the followed head's where there is one, else the mean. */
  measure() {
    const { about, followed, data } = this.scrubber, { response } = this;
    this.cell = about.map ? cellOf(response, followed) : -1;
    this.values = seriesOf(response, about.name, this.cell);
    const { layer, head } = placeOf(response, this.cell);
    const heads = this.cell < 0 ? "mean of heads" : `layer ${layer}, head ${head}`;
    this.name = about.of_tokens ? about.title : `${about.title}, ${heads}`;
    this.band = bandOf(data, response, about.name, this.cell);
    this.percentiles = percentilesOf(data, response, about.name, this.cell);
    this.order = byUnusual(this.percentiles);
    this.rankShown = -1;
  }

  /** What the curve of a measure spans, its band included as far as the response goes. */
  spanOf(values, band) {
    const inside = band ? [band.low, band.high].map((one) => one.subarray(0, this.response.n)) : [];
    return ends(values, ...inside);
  }

  limitsOf(overlay) {
    const { about, data } = this.scrubber, { means } = this.response, mean = this.cell < 0 ? [] : means[about.name];
    return {
      main: ends(this.spanOf(this.values, this.band) ?? [], mean),
      overlay: overlay && this.spanOf(means[overlay.name], bandOf(data, this.response, overlay.name, -1)),
    };
  }

  colour(limits, ofCurves) {
    const { about, overlay, ramp, data } = this.scrubber, { response } = this, { reversed } = about;
    this.spans.forEach((span, step) => {
      const value = this.values[step], isKnown = limits && Number.isFinite(value);
      span.style.background = isKnown ? ramp[shade(value, limits, reversed)] : "";
      span.classList.toggle("missing", !isKnown);
    });
    const name = h("span", { title: about.said }, titled({ title: this.name, unit: about.unit }));
    const shown = h("span", { class: "scale" }, ...scale(limits, ramp, { isReversed: reversed }));
    this.legend.replaceChildren(name, shown);
    const mean = { kind: "mean", values: response.means[about.name], name: "mean of heads" };
    const rows = [{
      title: this.name, unit: about.unit, limits: ofCurves.main, band: this.band, bandName: this.bandName(this.band),
      lines: [...(this.cell < 0 ? [] : [mean]), { kind: "main", values: this.values }],
    }];
    if (overlay) {
      const band = bandOf(data, response, overlay.name, -1), values = response.means[overlay.name];
      const title = overlay.of_tokens ? overlay.title : `${overlay.title}, mean of heads`;
      rows.push({ title, unit: overlay.unit, limits: ofCurves.overlay, band, lines: [{ kind: "second", values }],
        bandName: this.bandName(band) });
    }
    if (this.pair && this === this.scrubber.panels[0]) rows.push(this.differenceRow());
    this.curves.draw(rows, response.errors);
  }

  bandName(band) {
    if (!band) return "";
    const { grade } = this.response, n = Math.round(band.n[0]);
    return `10 to 90 % and median of ${n} ${grade ? `“${grade}” ` : ""}responses`;
  }

  differenceRow() {
    const { about, panels } = this.scrubber, values = this.pair.difference(this.values, panels[1].values);
    const known = values.filter(Number.isFinite), mean = known.reduce((sum, value) => sum + value, 0) / known.length;
    const said = known.length ? `, ${format(mean, about.unit)} on average` : "";
    return { title: `difference: this less the one beside it${said}`, unit: about.unit, zero: true,
      limits: ends(values, [0]), lines: [{ kind: "main", values }] };
  }

  go(step, isPreview) {
    step = Math.min(step, this.response.n - 1);
    this.spans[this.step]?.classList.remove("now");
    this.step = step;
    this.map.draw(step);
    this.curves.go(step);
    this.whole.go(step);
    const looks = this.looks.go(step);
    if (step < 0) return this.beside.replaceChildren(faint("no token"));
    const likeliest = candidates(this.response, step, this.scrubber.data.texts);
    this.beside.replaceChildren(this.reading(), ...looks, masses(this, this.scrubber), likeliest);
    this.spans[step].classList.add("now");
    if (!isPreview) this.intoView(this.spans[step]);
  }

  intoView(span) {
    const above = span.offsetTop - 6, below = span.offsetTop + span.offsetHeight + 6 - this.text.clientHeight;
    this.text.scrollTop = Math.max(below, Math.min(above, this.text.scrollTop));
  }

  value() {
    const { about } = this.scrubber;
    const error = this.cell < 0 ? 0 : errorAt(this.response, about.name, this.step, this.cell);
    return format(this.values[this.step], about.unit, error);
  }

  reading() {
    const { overlay } = this.scrubber, { tokens, means } = this.response, { step } = this;
    const row = (name, value) => h("div", { class: "row" }, h("span", {}, name), h("b", {}, value));
    const name = h("div", { class: "token-name" }, faint(`token ${step} `), quoted(tokens[step]));
    const second = overlay ? [row(overlay.title, format(means[overlay.name][step], overlay.unit))] : [];
    const rank = h("div", { class: "faint" }, this.rank());
    return h("div", { class: "reading" }, name, row(this.name, this.value()), rank, ...second);
  }

  /** Where the token lies among those of its class and place. */
  rank() {
    const { cells, nLike } = this.response, { step } = this, percentile = this.percentiles[step];
    if (!Number.isFinite(percentile)) return "too few tokens like it to say what is usual";
    const [kind, tenth] = this.scrubber.data.cells[cells[step]].split(" ");
    const like = this.cell < 0 ? `${nLike[step]} like it` : "those like it that are shown";
    const share = percentile > 99.95 ? "more than 99.9" : percentile < 0.05 ? "less than 0.1" : percentile.toFixed(1);
    return `higher than ${share} % of ${like} (${kind}, tenth ${Number(tenth) + 1} of a response)`;
  }

  /** The most unusual token; where that was shown last, the one after or before it in their order. */
  unusual(move) {
    const n = this.order.length;
    this.rankShown = this.order[this.rankShown] === this.step ? (this.rankShown + move + n) % n : 0;
    return n ? this.order[this.rankShown] : null;
  }

  unusualHead() {
    const { mapped, data } = this.scrubber;
    return this.step < 0 ? -1 : mostUnusualHead(data, this.response, mapped.name, this.step);
  }

  /** The numbers of every token, by name. */
  table() {
    const { response, scrubber } = this, { measures } = scrubber.data, { about } = scrubber;
    const columns = { step: range(0, response.n), token: response.tokens };
    for (const { name } of measures) columns[name] = Array.from(response.means[name]);
    const { layer, head } = placeOf(response, this.cell), where = this.cell < 0 ? "" : ` of layer ${layer} head ${head}`;
    if (this.cell >= 0) columns[`${about.name}${where}`] = Array.from(this.values);
    return { ...columns, [`percentile of ${about.name}${where}`]: Array.from(this.percentiles) };
  }

  forPython() { return { response: this.response, cell: this.cell, about: this.scrubber.about }; }

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

// ---- masses and candidates of one token

const barOf = (kind, share) => h("span", { class: kind, style: `width: ${100 * (share || 0)}%` });

/** Where attention falls: of the followed head where its numbers were sent, else the mean. */
function masses({ response, step }, { followed }) {
  const { sink_mass: sink, prompt_mass: prompt } = response.maps, cell = cellOf(response, followed);
  const isOfHead = cell >= 0 && sink && prompt;
  let shares = response.masses.map((values) => values[step]), error = 0.0005;
  if (isOfHead) {
    const [onSink, onPrompt] = ["sink_mass", "prompt_mass"].map((name) => valueAt(response, name, step, cell));
    shares = [onSink, Math.max(0, onPrompt - onSink), Math.max(0, 1 - Math.max(onSink, onPrompt))];
    error = Math.max(error, errorAt(response, "sink_mass", step, cell) + errorAt(response, "prompt_mass", step, cell));
  }
  if (shares.some(Number.isNaN)) return "";  // not recorded
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
    const name = text === null ? h("bdi", {}, `token id ${id}`) : quoted(text);
    const said = `${isChosen ? "chosen " : ""}${Number.isFinite(share) ? probability(share) : "missing"}`;
    return h("li", { class: isChosen ? "chosen" : "" }, barOf("bar", share), name, h("span", { class: "share" }, said));
  });
  return titledBlock("likeliest tokens", h("ol", { class: "candidates" }, ...items));
}

// The Scrubber in the browser: anywidget's `render` where there is a model, `mountAll` for a static page.

import { button, clamp, counted, ends, faint, h, options } from "./elements.js";
import { cellOf, placeOf, unpack, unpackLooks } from "./data.js";
import { Pair } from "./alignment.js";
import { asCsv, asPng, asText, download, lightPicture } from "./exports.js";
import { fragmentOf, pythonOf, readFragment } from "./links.js";
import { Panel } from "./panel.js";
import { ResponseTable } from "./table.js";

const STATE = ["response", "compared", "step", "measure", "overlay", "layer", "head", "grade"];
const LABELS = {
  grade: "grade", response: "response", compared: "beside it", measure: "colour and curve", overlay: "second curve",
};
const KEYS = {
  "← →": "the token before, after (with the slider or the text)",
  "Page Up, Page Down, Home, End": "ten tokens on, first and last token",
  "n, p": "the next, the previous most unusual token of this measure",
  "d": "follow the head that differs most in this token from what it mostly is",
  "m": "the mean of heads",
  "[ ]": "the response before, after",
  "b": "beside it another response to the same prompt; once more: none",
  "/": "search responses",
  "?": "this help; Escape closes it",
};

class Scrubber {
  constructor(model, el) {
    this.model = model;
    this.data = unpack(model.get("data"));
    const { light, dark } = this.data.palette.ramps;
    this.ramp = light.map((colour, place) => `light-dark(${colour}, ${dark[place]})`);
    this.measures = new Map(this.data.measures.map((one) => [one.name, one]));
    this.pointed = null;
    this.slider = h("input", { type: "range", min: 0, "aria-label": "token" });
    this.count = h("output");
    this.live = h("div", { class: "heard", "aria-live": "polite" });
    this.row = h("div", { class: "panels" });
    this.about = this.measures.get(model.get("measure"));
    this.table = new ResponseTable(this);
    this.controls = this.makeControls();
    this.said = h("div", { class: "said faint", id: `said-${Math.random().toString(36).slice(2)}` });
    this.controls.measure.setAttribute("aria-describedby", this.said.id);
    this.help = this.makeHelp();
    this.root = h("div", { class: "attnent", role: "region", "aria-label": "Scrubber" },
      h("div", { class: "transport" }, this.slider, this.count), this.makeTools(),
      h("div", { class: "controls" }, ...Object.values(this.controls).map(({ parentNode }) => parentNode)), this.said,
      ...(this.data.responses.length > 1 ? [this.table.node] : []), this.row, this.help, this.live);
    el.replaceChildren(this.root);
    this.slider.oninput = () => this.set({ step: Number(this.slider.value) });
    this.root.onkeydown = (event) => this.key(event);
    const changed = () => this.isSetting || this.draw(), told = () => this.tellOfReading();
    const learnt = () => this.learn(unpackLooks(model.get("looks")));
    const ofState = Object.fromEntries(STATE.map((name) => [name, changed]));
    this.listeners = Object.entries({ ...ofState, looks: learnt, asked: told, unread: told });
    for (const [name, listener] of this.listeners) model.on(`change:${name}`, listener);
    this.figures = (event) => this.openHead(event);
    document.addEventListener("click", this.figures);
    this.watcher = new ResizeObserver(() => requestAnimationFrame(() => this.resize()));
    this.watcher.observe(this.root);
    this.draw();
  }

  /** The controls by name; a label around each is what is shown. */
  makeControls() {
    const { responses, measures } = this.data, grades = new Map();
    const titles = measures.map(({ name, title, said }) => [name, title, said]);
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
    [this.samePrompt, this.others] = ["same prompt", "all"].map((label) => h("optgroup", { label }));
    controls.compared.append(h("option", { value: "" }, "none"), this.samePrompt, this.others);
    controls.grade.parentNode.hidden = !grades.size;
    controls.compared.parentNode.hidden = responses.length < 2;
    return controls;
  }

  makeTools() {
    const unusual = (move) => () => this.goUnusual(move);
    const many = this.data.responses.length > 1;
    const walk = [button("previous", () => this.walk(-1), { title: "[" }), button("next", () => this.walk(1), { title: "]" })];
    this.difference = button("difference of heads", () => this.toggleDifference());
    return h("div", { class: "tools" }, ...(many ? [h("span", {}, "response: ", ...walk)] : []),
      button("most unusual token", unusual(1), { title: "n; p goes back" }),
      button("head that differs most", () => this.followUnusual(), { title: "d" }), this.difference,
      this.makeExports(), button("keys and measures", () => this.showHelp(this.help.hidden), { title: "?" }));
  }

  makeExports() {
    const first = () => this.panels[0], name = (of) => `${first().response.id.replace(/[^\w.-]+/g, "_").slice(0, 60)}_${of}`;
    const curves = () => lightPicture(first().curves.svg, this.root);
    const map = () => {
      const picture = first().map.picture();
      first().map.axes.parentNode.append(picture);
      const light = lightPicture(picture, this.root);
      picture.remove();
      return light;
    };
    const svg = (draw, of) => () => download(asText(draw()), `${name(of)}.svg`, "image/svg+xml");
    const png = (draw, of) => async () => download(await asPng(draw()), `${name(of)}.png`, "image/png");
    const table = () => download(`\ufeff${asCsv(first().table())}`, `${name("tokens")}.csv`, "text/csv");
    this.copied = h("textarea", { readonly: "", "aria-label": "copied text", hidden: "" });
    const state = () => Object.fromEntries(STATE.map((one) => [one, this.model.get(one)]));
    const isPage = location.protocol === "file:" || this.model.isStatic;
    const link = () => this.offer(location.href.replace(/#.*/, "") + fragmentOf(state()));
    return h("details", { class: "exports" }, h("summary", {}, "export"),
      button("curves SVG", svg(curves, "curves")), button("curves PNG", png(curves, "curves")),
      button("map SVG", svg(map, "map")), button("map PNG", png(map, "map")), button("tokens CSV", table),
      ...(isPage ? [button("copy link", link)] : []),
      button("copy as Python", () => this.offer(pythonOf(state(), first().forPython()))), this.copied);
  }

  /** Copy a text; it is shown too, for where a browser lets no page write to the clipboard. */
  async offer(text) {
    Object.assign(this.copied, { value: text, rows: text.split("\n").length });
    this.copied.hidden = false;
    this.copied.select();
    const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    this.live.textContent = copied ? "copied" : "select and copy the text shown";
  }

  makeHelp() {
    const keys = Object.entries(KEYS).flatMap(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)]);
    const measures = this.data.measures.filter(({ said }) => said)
      .flatMap(({ title, said }) => [h("dt", {}, title), h("dd", {}, said)]);
    const close = button("close", () => this.showHelp(false));
    return h("section", { class: "help", "aria-label": "help", tabindex: -1, hidden: "" },
      h("div", { class: "heading" }, "keys ", close), h("dl", {}, ...keys),
      h("div", { class: "heading" }, "measures"), h("dl", {}, ...measures));
  }

  showHelp(isShown) {
    this.help.hidden = !isShown;
    (isShown ? this.help : this.slider).focus({ preventScroll: !isShown });
  }

  choose(name, value) {
    const changes = { [name]: value }, { byId, responses } = this.data;
    if (name === "grade" && value && byId.get(this.model.get("response")).grade !== value)
      changes.response = responses.find(({ grade }) => grade === value).id;
    const chosen = byId.get(changes.response);
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

  /** Open what a link asks for; what it names and is not there is said and left. */
  open(asked) {
    const { byId } = this.data, response = byId.get(asked.response ?? this.model.get("response"));
    const known = { response, measure: this.measures.has(asked.measure ?? this.model.get("measure")) };
    const lacking = ["response", "measure"].find((name) => !known[name]);
    if (lacking) return void (this.live.textContent = `the link names a ${lacking} that is not shown here`);
    const step = clamp(asked.step ?? 0, 0, Math.max(0, response.n - 1));
    const head = "layer" in asked ? placeOf(response, cellOf(response, asked)) : {};
    const compared = byId.has(asked.compared) ? { compared: asked.compared } : {};
    const measure = asked.measure ? { measure: asked.measure } : {};
    const grade = response.grade === this.model.get("grade") ? {} : { grade: "" };
    this.set({ response: response.id, ...grade, step, ...head, ...measure, ...compared });
  }

  /** A click on a cell of a figure of layers by heads follows that head here. */
  openHead({ target }) {
    const figure = target.closest?.(".js-plotly-plot"), [point] = figure?._hoverdata ?? [];
    if (figure?.layout?.meta?.opens !== "head" || !point || point.z === undefined) return;
    const place = { layer: Number(point.y), head: Number(point.x) };
    if (cellOf(this.panels[0].response, place) < 0) return;
    this.set(place);
    this.root.scrollIntoView({ behavior: "smooth", block: "start" });
    this.slider.focus({ preventScroll: true });
  }

  learn(looks) {
    this.data.byId.get(looks.id).looks = looks;
    for (const panel of this.panels) if (panel.response.id === looks.id) panel.learn(looks);
  }

  /** That a response is read again, or why it could not be. */
  tellOfReading() {
    for (const panel of this.panels) panel.go(panel.step, true);
    this.live.textContent = this.panels.map((panel) => panel.looks.said).join(" ");
  }

  goUnusual(move) {
    const step = this.panels[0].unusual(move);
    if (step === null) this.live.textContent = "too few tokens to say which is unusual";
    else this.set({ step });
  }

  followUnusual() {
    const { response } = this.panels[0], cell = this.panels[0].unusualHead();
    if (cell >= 0) this.set(placeOf(response, cell));
  }

  walk(move) {
    const id = this.table.neighbour(move);
    if (id !== undefined && id !== this.model.get("response")) this.choose("response", id);
  }

  /** Another response to the same prompt beside the one shown. */
  besideSame() {
    const { response } = this.panels[0];
    const other = this.data.responses.find((one) => one !== response && one.prompt === response.prompt);
    if (this.model.get("compared") || !other) this.choose("compared", "");
    else this.choose("compared", other.id);
    if (!other) this.live.textContent = "no other response to this prompt is shown";
  }

  toggleDifference() {
    this.showsDifference = !this.showsDifference;
    this.colour();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // in JupyterLab a plain key is a command: x cuts the cell
    const { target, key } = event, isTyped = target.matches("select, input[type=search], textarea");
    const commands = {
      n: () => this.goUnusual(1), p: () => this.goUnusual(-1), d: () => this.followUnusual(),
      m: () => this.set({ layer: -1, head: -1 }), "[": () => this.walk(-1), "]": () => this.walk(1),
      b: () => this.besideSame(), "/": () => this.searchFor(), "?": () => this.showHelp(this.help.hidden),
    };
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageDown: 10, PageUp: -10, Home: -this.n, End: this.n };
    if (key === "Escape" && !this.help.hidden) this.showHelp(false);
    else if (!isTyped && Object.hasOwn(commands, key)) commands[key]();
    else if (!isTyped && !target.matches("summary, button, canvas, .rows") && key in moves)
      this.set({ step: clamp(this.model.get("step") + moves[key], 0, Math.max(0, this.n - 1)) });
    else return;
    event.preventDefault();
  }

  searchFor() {
    this.table.node.open = true;
    this.table.search.focus();
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
    if (changed("measure")) this.table.arrange();
    const step = clamp(this.pointed ?? state.step, 0, Math.max(0, this.n - 1)), [first, second] = this.panels;
    first.go(step, this.pointed !== null);
    second?.go(first.pair.beside(Math.min(step, first.response.n - 1)), this.pointed !== null);
    this.slider.value = step;
    this.slider.setAttribute("aria-valuetext", this.panels.map((panel) => panel.spokenToken()).join("; "));
    this.count.textContent = this.n ? `token ${step} of 0–${this.n - 1}` : "no tokens";
    this.live.textContent = this.panels.map((panel) => panel.spokenValue()).join("; ");
  }

  showResponses(state) {
    const { responses, byId } = this.data, shown = byId.get(state.response);
    const inGrade = responses.filter(({ id, grade }) => !state.grade || grade === state.grade || id === state.response);
    const label = ({ id, grade, n }) => [id, [id, grade, counted(n)].filter(Boolean).join(" · ")];
    const same = responses.filter((one) => one !== shown && one.prompt === shown.prompt);
    options(this.controls.response, inGrade.map(label));
    options(this.samePrompt, same.map(label));
    options(this.others, responses.map(label));
    this.samePrompt.hidden = !same.length;
    const ids = [state.response, state.compared].filter((id, place) => place === 0 || id);
    this.panels = ids.map((id) => new Panel(this, byId.get(id)));
    const [first, second] = this.panels;
    if (second) this.pair(first, second);
    this.row.replaceChildren(...this.panels.map(({ node }) => node));
    this.n = first.response.n;
    this.slider.max = Math.max(0, this.n - 1);
    this.table.arrange();
    this.table.intoView();
  }

  pair(first, second) {
    const pair = (first.pair = second.pair = new Pair(first.response, second.response));
    const said = pair.isByText
      ? `same prompt, aligned by text: ${pair.nPaired} of ${counted(first.response.n)} have a counterpart`
      : "different prompts: beside each other step by step";
    first.pairing.append(faint(said));
    second.pairing.append(faint("\u00a0"));
  }

  /** Colours and curves; two responses beside each other share every scale. */
  colour() {
    const { panels, about, overlay, mapped } = this, [first, second] = panels;
    const canDiffer = Boolean(second && first.pair.hasMaps);
    this.difference.hidden = !canDiffer;
    this.difference.setAttribute("aria-pressed", Boolean(this.showsDifference));
    if (second)
      second.difference = canDiffer && this.showsDifference ? {
        name: "the other less this one", mapLimits: first.pair.limitsOf(mapped.name),
        valueAt: (...place) => first.pair.valueAt(...place),
      } : null;
    for (const panel of panels) panel.measure();
    const isHead = panels.some(({ cell }) => cell >= 0);
    const limits = isHead ? ends(...panels.map(({ values }) => values)) : about.limits;
    const each = panels.map((panel) => panel.limitsOf(overlay));
    const ofCurves = { main: ends(...each.map(({ main }) => main ?? [])), overlay: ends(...each.map((one) => one.overlay ?? [])) };
    this.said.textContent = about.said;
    for (const panel of panels) {
      panel.map.layout();
      panel.colour(limits, ofCurves);
      panel.map.draw(panel.step);
      panel.whole.layout();
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
    document.removeEventListener("click", this.figures);
    for (const [name, listener] of this.listeners) this.model.off(`change:${name}`, listener);
  }
}

function render({ model, el }) {
  const scrubber = new Scrubber(model, el);
  return () => scrubber.close();
}

export default { render };

// ---- the static page: a model without a kernel, which nobody but its Scrubber changes

const staticModel = (state) => ({
  isStatic: true,
  get: (name) => state[name],
  set: (name, value) => (state[name] = value),
  on() {},
  off() {},
  save_changes() {},
});

/** Bring every element that Python's `element` wrote to life, and open what the page's address asks for. */
function mountAll(root) {
  const scrubbers = [];
  for (const place of root.querySelectorAll(".attnent-scrubber")) {
    const partOf = (type) => place.querySelector(`script[type="${type}"]`);
    const state = partOf("application/json"), bytes = partOf("text/plain");
    if (!state) continue;
    const text = atob(bytes.textContent), data = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) data[i] = text.charCodeAt(i);
    const model = staticModel({ ...JSON.parse(state.textContent), data: new DataView(data.buffer) });
    scrubbers.push(new Scrubber(model, place));
  }
  const open = () => openLink(scrubbers, location.hash);
  addEventListener("hashchange", open);
  open();
}

function openLink(scrubbers, fragment) {
  if (fragment === "#scrubber") return scrubbers[0]?.slider.focus();
  const asked = readFragment(fragment);
  if (!asked) return;
  const meant = scrubbers.find(({ data }) => data.byId.has(asked.response)) ?? scrubbers[0];
  meant?.open(asked);
  meant?.root.scrollIntoView({ block: "start" });
}
